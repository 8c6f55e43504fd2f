"""How well speech is written down: word errors, how exact times are, and pictures of it."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from model_store.answers.transcript import TranscriptAnswer
from model_store.inputs.audio import AudioInput
from model_store.spec import Array
from training.data.spoken import RATE
from training.parts.acoustics import TELEPHONE_RATE
from training.parts.templates import Templates, cepstra, learn, word_errors
from training.parts.utterances import Samples, Utterance

TEMPLATES_A_WORD = 8
FULL_SCALE = 0.9


def hearer(
    served: nn.Module, audio: AudioInput, answer: TranscriptAnswer
) -> Callable[[object], dict[str, Any]]:
    """Item → answer, as a server gives it."""
    encode = audio.encoder(Path())

    def hear(item: object) -> dict[str, Any]:
        encoded = encode(item, audio.parameters())
        with torch.no_grad():
            told = served(*(torch.from_numpy(tensor) for tensor in encoded.tensors.values()))
        tensors = {answer.tensor: told.numpy()}
        return answer.answer(tensors, encoded.context, answer.parameters())

    return hear


def recording(samples: Samples, rate: int = RATE) -> bytes:
    """A 16-bit FLAC of one channel, its loudest sample near full scale."""
    if rate != RATE:
        samples = soxr.resample(samples, RATE, rate)
    buffer = io.BytesIO()
    loudest = float(np.abs(samples).max(initial=1e-6))
    soundfile.write(buffer, samples * (FULL_SCALE / loudest), rate, "PCM_16", format="FLAC")
    return buffer.getvalue()


def packed(samples: Samples) -> dict[str, str]:
    """An item small enough to show: at 8 kHz, in base64."""
    return {"b64": base64.b64encode(recording(samples, TELEPHONE_RATE)).decode()}


def word_error(tests: Sequence[Utterance], found: Sequence[Sequence[str]]) -> float:
    """Words put in, taken out or changed, as a share of those said."""
    errors = sum(word_errors(one.words, words) for one, words in zip(tests, found, strict=True))
    return errors / sum(len(one.words) for one in tests)


def time_error(tests: Sequence[Utterance], answers: Sequence[Mapping[str, Any]]) -> float:
    """Seconds between a word's true beginning and end and those told, on average; over recordings
    of which every word was right.
    """
    apart = [
        abs(told - true)
        for one, answer in zip(tests, answers, strict=True)
        if one.spans and " ".join(one.words) == answer["text"]
        for span, word in zip(one.spans, answer["words"], strict=True)
        for true, told in zip(span, (word["start"], word["end"]), strict=True)
    ]
    return float(np.mean(apart)) if apart else float(max(len(o.samples) for o in tests) / RATE)


# --- templates ---------------------------------------------------------------------------------


def template_frames(features: Tensor, bands: int) -> Array:
    """``[T, FRAMES · bands]`` → cepstra of every 20 ms ``[2 T, D]``."""
    frames = features.reshape(-1, 2, bands).mean(1)
    return cepstra(frames.numpy())


def templates(examples: Sequence[tuple[Tensor, Tensor]], bands: int) -> Templates:
    """From features ``[T, F]`` and which word is said at each block ``[T]``, 0 for none: some of
    each word, cut out where it is said.
    """
    cut: dict[int, list[Array]] = {}
    quiet: list[Array] = []
    for features, aligned in examples:
        frames, labels = template_frames(features, bands), aligned.numpy().repeat(2)
        quiet.append(frames[labels == 0])
        edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        for start, stop in pairwise(edges):
            kept = cut.setdefault(int(labels[start]), [])
            if len(kept) < TEMPLATES_A_WORD:
                kept.append(frames[start:stop])
    cut.pop(0, None)
    pieces = [(word, piece) for word, kept in sorted(cut.items()) for piece in kept]
    return learn([p for _, p in pieces], [w for w, _ in pieces], np.concatenate(quiet).mean(0))


# --- pictures ----------------------------------------------------------------------------------


def heard_figure(features: Tensor, bands: int, answer: Mapping[str, Any], said: str) -> Figure:
    """A recording's spectrum, and where each word was heard in it."""
    figure = Figure(figsize=(8, 3))
    axes = figure.subplots()
    frames = features.reshape(-1, bands).numpy()
    seconds = len(frames) / 100
    axes.imshow(frames.T, origin="lower", aspect="auto", extent=(0, seconds, 0, bands), vmin=-4)
    for word in answer["words"]:
        axes.axvspan(word["start"], word["end"], 0.9, 1, color="white", alpha=0.7)
        axes.text((word["start"] + word["end"]) / 2, 0.945 * bands, word["word"], ha="center",
                  va="center", fontsize=8)  # fmt: skip
    axes.set(xlabel="seconds", ylabel="mel band", title=f"said: {said}")
    axes.title.set_fontsize(9)
    return figure


def errors_figure(rows: Mapping[str, Mapping[str, float]]) -> Figure:
    """Word error by who speaks, a bar for each condition."""
    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    groups = list(next(iter(rows.values())))
    width = 0.8 / len(rows)
    for place, (condition, errors) in enumerate(rows.items()):
        at = np.arange(len(groups)) + (place - (len(rows) - 1) / 2) * width
        bars = axes.bar(at, [100 * errors[group] for group in groups], width, label=condition)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylabel("word error, %")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8)
    return figure


def samples_table(tests: Sequence[Utterance], answers: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: what was said and what was heard."""
    rows = [
        f"| {one.group or 'held out'} | {' '.join(one.words)} | {answer['text']} |"
        for one, answer in zip(tests, answers, strict=True)
    ]
    return "\n".join(["| by | said | heard |", "|---|---|---|", *rows])
