"""The speech recipe: own recordings, how training begins, and what its published graph takes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from model_store.store import Store
from training.data import spoken
from training.data.spoken import RATE, Voice
from training.parts.listener import EARLY, LATE
from training.recipes.rnn_speech import RnnSpeech
from training.sources import find

if TYPE_CHECKING:
    from tests.conftest import Trained


def own_recordings(folder: Path, texts: list[str]) -> Path:
    clips = spoken.say([(Voice("espeak", "en", 1.0, 1.0), (word,)) for word in ("one", "two")])
    rows = ["file,text"]
    for place, text in enumerate(texts):
        samples = clips[place % 2].samples
        soundfile.write(folder / f"{place}.flac", np.stack([samples] * 2, axis=1), RATE)
        rows.append(f"{place}.flac,{text}")
    (folder / "texts.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def smoke(**settings: Any) -> RnnSpeech:
    config = RnnSpeech.profiles["quick"].model_copy(update={**RnnSpeech.smoke, **settings})
    return RnnSpeech(config)  # type: ignore[arg-type]


def test_own_words_are_tokens_and_many_are_spelled(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()
    recipe = smoke()
    recipe.load(own_recordings(few, ["Hello there", "good bye"] * 12))
    assert recipe.tokens == ("bye", "good", "hello", "there")
    assert recipe.separator is None
    assert recipe.data_license == "the user's own"
    numbers = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)} one" for n in range(110)]
    recipe.load(own_recordings(many, numbers))
    assert recipe.separator == " "
    assert {" ", "w", "o"} <= set(recipe.tokens)
    networks = recipe.build(0)
    networks["listener"].eval()
    scores = recipe.evaluate([networks])
    assert scores.metrics["word_error"] >= 0
    assert "always_the_most_frequent_text" in scores.baselines


def test_known_times_are_learned_first_and_never_of_own_recordings(tmp_path: Path) -> None:
    recipe = smoke(epochs=2, spotting=0.5)
    recipe.load(None)
    first, second = ([batch[-1] for batch in recipe.batches(0, epoch)] for epoch in range(2))
    assert all(torch.equal(weights, torch.tensor(EARLY)) for weights in first)
    assert all(torch.equal(weights, torch.tensor(LATE)) for weights in second)
    recipe.load(own_recordings(tmp_path, ["one", "two"] * 12))
    [*own] = recipe.batches(0, 0)
    assert all(torch.equal(batch[-1], torch.tensor(LATE)) for batch in own)


def test_both_synthesisers_are_sources_with_licences() -> None:
    assert "GPL-3.0" in find("espeak").license
    assert "BSD" in find("flite").license


def test_published_model_takes_8_kilohertz_and_stereo(trained: "Trained") -> None:
    bundle = Store(trained.store).open("rnn_speech")
    verb = bundle.manifest.verbs["predict"]
    encode = bundle.encoder("predict")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 8_000)
    for rate, channels in ((8_000, 1), (44_100, 2)):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack([samples] * channels, axis=1), rate, format="WAV")
        encoded = encode(buffer.getvalue(), verb.input.parameters())
        assert encoded.tensors["audio"].shape == (1, -(-8_000 * 16_000 // rate // 640), 640)
        assert encoded.context["seconds"] == pytest.approx(8_000 / rate, abs=1e-3)
