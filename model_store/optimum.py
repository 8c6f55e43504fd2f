"""A decoder's folder as Optimum exports it → the draft of a bundle, and the files that go into it.

Reads the graph's signature, ``config.json``, ``generation_config.json`` and ``tokenizer.json``.
Knows no store, runs nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.answers.text import TextAnswer
from model_store.decoding import Decoding
from model_store.errors import NotImportable
from model_store.inputs.text import TextInput
from model_store.manifest import MAIN_GRAPH, Draft, Graph, Verb
from model_store.onnx_file import Signature, Value, read_signature
from model_store.plain import tensor_of
from model_store.spec import show

GRAPHS = ("model.onnx", "decoder_model.onnx", "decoder_model_merged.onnx")
CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer.json"
TOKENS, MASK, POSITIONS, LOGITS = "input_ids", "attention_mask", "position_ids", "logits"
PAST = re.compile(r"past_key_values\.(\d+\.(?:key|value))")
EXPORT = "optimum-cli export onnx --task text-generation-with-past"
CONTEXTS = ("max_position_embeddings", "n_positions")
EXAMPLE = "Once upon a time"
FLOATS = ("float32", "float16")
ANY, NUMBER = str, int
"""What an axis has to be: of a size that a run decides, or of a known one."""


@dataclass(frozen=True)
class Exported:
    """What was found: ``files`` are those of the bundle, copied from a path or given as bytes."""

    draft: Draft
    files: Mapping[str, Path | bytes]


def read_decoder(folder: Path, context: int | None = None) -> Exported:
    """``context`` in place of what the configuration says. Raises NotImportable, CorruptBundle."""
    file = _graph_file(folder)
    signature = read_signature(folder / file)
    config = _read_json(folder, CONFIG)
    generation = _read_json(folder, GENERATION) if (folder / GENERATION).exists() else {}
    graph, vocabulary = _graph(file, signature, config)
    positions = POSITIONS if any(one.name == POSITIONS for one in signature.inputs) else None
    decoding = Decoding(
        form="growing", tokens=TOKENS, logits=LOGITS, mask=MASK, positions=positions,
        cache=_cache(signature), context=_context(config, context),
        end=_end(config, generation, vocabulary),
    )  # fmt: skip
    tokenizer, example = _tokenizer(folder, vocabulary)
    verb = Verb(
        input=TextInput(tokens=TOKENS, mask=None),
        answer=TextAnswer(temperature=_temperature(generation)),
        example=example,
    )
    model = config.get("model_type") or "a decoder"
    draft = Draft(
        family="transformer",
        category="text",
        task="text-generation",
        description=f"Continues a text ({model}, made elsewhere).",
        license="unknown",
        graphs={MAIN_GRAPH: graph.model_copy(update={"decoding": decoding})},
        verbs={"generate": verb},
        metrics={},
        evaluation="never evaluated here",
        parity={},
    )
    beside = {name: folder / name for name in (file, *sorted(signature.external))}
    if TOKENIZER in signature.external:
        raise NotImportable(f"{file} keeps weights in {TOKENIZER}")
    return Exported(draft, {**beside, TOKENIZER: tokenizer})


# --- the graph ---------------------------------------------------------------------------------


def _graph_file(folder: Path) -> str:
    for file in GRAPHS:
        if (folder / file).is_file():
            return file
    raise NotImportable(f"{folder}: expected {GRAPHS[0]} or {GRAPHS[1]} in it; found neither")


def _graph(file: str, signature: Signature, config: Mapping[str, Any]) -> tuple[Graph, int]:
    """The graph with the tensors that the decoder uses, proved, and its vocabulary's size."""
    inputs = {value.name: value for value in signature.inputs}
    outputs = {value.name: value for value in signature.outputs}
    _refuse_other_exports(file, inputs)
    for name in (TOKENS, MASK, POSITIONS):
        if name in inputs:
            _expect(f"{file}: input {name}", inputs[name], ("int64",), (ANY, ANY))
    kept = [LOGITS]
    for taken, made in _cache(signature).items():
        _expect(f"{file}: input {taken}", inputs[taken], FLOATS, (ANY, NUMBER, ANY, NUMBER))
        if made not in outputs:
            raise NotImportable(f"{file}: output {made} is missing; input {taken} needs it")
        if outputs[made].dtype != inputs[taken].dtype:
            raise NotImportable(f"{file}: output {made}: expected {inputs[taken].dtype}, as input"
                                f" {taken} is; got {outputs[made].dtype}")  # fmt: skip
        kept.append(made)
    if LOGITS not in outputs:
        raise NotImportable(f"{file}: output {LOGITS} is missing")
    logits = _with_vocabulary(outputs[LOGITS], config)
    _expect(f"{file}: output {LOGITS}", logits, FLOATS, (ANY, ANY, NUMBER))
    told = {**outputs, LOGITS: logits}
    graph = Graph(
        file=file,
        inputs=tuple(tensor_of(value) for value in signature.inputs),
        outputs=tuple(tensor_of(told[name]) for name in kept),
    )
    return graph, int((logits.shape or (0,))[-1])


def _refuse_other_exports(file: str, inputs: Mapping[str, Value]) -> None:
    if "use_cache_branch" in inputs:
        raise NotImportable(
            f"{file}: input use_cache_branch: this file is two graphs in one; expected the one that"
            f" always takes past_key_values ({EXPORT}, without --legacy)"
        )
    if not any(PAST.fullmatch(name) for name in inputs):
        raise NotImportable(
            f"{file}: input past_key_values.0.key is missing; expected a decoder with its cache"
            f" ({EXPORT}). A graph of another kind is imported by its file, not its folder"
        )
    for name in (TOKENS, MASK):
        if name not in inputs:
            raise NotImportable(f"{file}: input {name} is missing")
    for name in inputs:
        if name not in (TOKENS, MASK, POSITIONS) and not PAST.fullmatch(name):
            raise NotImportable(
                f"{file}: input {name}: expected none but {TOKENS}, {MASK}, {POSITIONS} and"
                " past_key_values.N.key and .value; nothing here could fill it"
            )


def _cache(signature: Signature) -> dict[str, str]:
    found = (PAST.fullmatch(value.name) for value in signature.inputs)
    return {match[0]: f"present.{match[1]}" for match in found if match}


def _with_vocabulary(logits: Value, config: Mapping[str, Any]) -> Value:
    """Some exports leave the last axis without its size; the configuration has it."""
    size = config.get("vocab_size")
    if logits.shape and isinstance(logits.shape[-1], str) and _is_whole(size):
        return Value(logits.name, logits.dtype, (*logits.shape[:-1], int(size)))  # type: ignore[arg-type]
    return logits


def _expect(words: str, value: Value, dtypes: tuple[str, ...], axes: tuple[type, ...]) -> None:
    """Raises NotImportable for another element type, or an axis that is fixed where a run decides
    it, or unknown where it has to be known.
    """
    shape = value.shape or ()
    fits = len(shape) == len(axes) and all(map(isinstance, shape, axes))
    if value.dtype in dtypes and fits:
        return
    want = ", ".join("dynamic" if axis is ANY else "a number" for axis in axes)
    got = ", ".join(map(str, shape)) if value.shape is not None else "no declared shape"
    raise NotImportable(
        f"{words}: expected {' or '.join(dtypes)} [{want}]; got {value.dtype} [{got}]"
    )


# --- the files beside it -----------------------------------------------------------------------


def _read(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError:
        raise NotImportable(f"{file} is missing in {folder}") from None
    except OSError as error:
        raise NotImportable(f"{file} cannot be read: {error.strerror}") from None


def _read_json(folder: Path, file: str) -> dict[str, Any]:
    try:
        body = json.loads(_read(folder, file))
    except (ValueError, RecursionError) as error:
        raise NotImportable(f"{file} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise NotImportable(f"{file}: expected a mapping; got {show(body)}")
    return body


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _context(config: Mapping[str, Any], asked: int | None) -> int:
    """Tokens of a sequence: what the positions reach, or less if so asked."""
    key = next((key for key in CONTEXTS if config.get(key) is not None), None)
    most: Any = config[key] if key else None
    if key and (not _is_whole(most) or most < 2):
        raise NotImportable(f"{CONFIG}: {key}: expected a whole number above 1; got {show(most)}")
    if asked is None:
        if key is None:
            raise NotImportable(
                f"{CONFIG}: {' or '.join(CONTEXTS)} is missing; --context N says how many tokens"
                " fit"
            )
        return int(most)
    if asked < 2 or (key and asked > most):
        want = f"2 to {most:,}, the {key} of {CONFIG}" if key else "a whole number above 1"
        raise NotImportable(f"--context: expected {want}; got {asked:,}")
    return asked


def _end(
    config: Mapping[str, Any], generation: Mapping[str, Any], vocabulary: int
) -> tuple[int, ...]:
    """Tokens that end a sequence; none where both files say that there is none."""
    key, said = "eos_token_id", False
    for file, body in ((GENERATION, generation), (CONFIG, config)):
        said = said or key in body
        value = body.get(key)
        if value is None:
            continue
        tokens = value if isinstance(value, list) else [value]
        if not all(_is_whole(token) and 0 <= token < vocabulary for token in tokens):
            raise NotImportable(
                f"{file}: {key}: expected tokens from 0 to {vocabulary - 1:,}; got {value!r:.60}"
            )
        return tuple(tokens)
    if not said:
        raise NotImportable(f"{key} is missing in {GENERATION} and in {CONFIG}")
    return ()


def _temperature(generation: Mapping[str, Any]) -> float:
    """As transformers' own ``generate`` takes it: the likeliest token unless it is to draw."""
    if generation.get("do_sample") is not True:
        return 0.0
    value = generation.get("temperature")
    value = 1.0 if value is None else value
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 100:
        raise NotImportable(
            f"{GENERATION}: temperature: expected a number from 0 to 100; got {show(value)}"
        )
    return float(value)


def _tokenizer(folder: Path, vocabulary: int) -> tuple[bytes, str]:
    """Its text without padding and truncation, which would be taken for words, and an example."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise NotImportable(
            f"{TOKENIZER}: reading it needs tokenizers (pip install 'modelhub[serve]')"
        ) from None
    text = _read(folder, TOKENIZER)
    try:
        tokenizer = Tokenizer.from_buffer(text)
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself
        raise NotImportable(f"{TOKENIZER} is not a tokenizer: {str(error)[:200]}") from None
    most = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if not 0 <= most < vocabulary:
        raise NotImportable(
            f"{TOKENIZER}: expected tokens from 0 to {vocabulary - 1:,}, as {LOGITS} has them; got"
            f" {most:,}"
        )
    if tokenizer.padding or tokenizer.truncation:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        text = tokenizer.to_str().encode()
    examples = (EXAMPLE, *tokenizer.get_vocab(with_added_tokens=False))
    example = next((words for words in examples if tokenizer.encode(words).ids), None)
    if example is None:
        raise NotImportable(f"{TOKENIZER}: no text has a token in it")
    return text, example
