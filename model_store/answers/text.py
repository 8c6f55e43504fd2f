"""Text: the tokens a decoder chose → what they say, whole or piece by piece."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field, field_validator

from model_store.spec import AnswerKind, Parameters, Tensors

MAX_STOPS, MAX_STOP_CHARACTERS = 16, 256
MAX_SEED = 2**63 - 1
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]


class SamplingParameters(Parameters):
    """How the next token is chosen and when to stop. Left out, the model's own rule holds.

    ``temperature`` 0 takes the likeliest token; ``top_k``, ``top_p`` (Holtzman et al. 2020) and
    ``min_p`` (Nguyen et al. 2024) leave only likely ones to draw from; ``repetition_penalty``
    (Keskar et al. 2019) makes those already there less likely. ``beams`` above 1 searches for the
    likeliest whole text instead of drawing. ``logprobs`` adds that many runners-up to each token.
    """

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    stop: Annotated[tuple[Stop, ...], Field(max_length=MAX_STOPS)] = ()
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    beams: Annotated[int, Field(ge=1, le=16)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool = False

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, value: object) -> object:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value


class Pieces(Protocol):
    """Tokens in, text out, as soon as it is certain: half a character waits for its other half."""

    def add(self, token: int) -> str:
        """The text that this token completes; often none."""

    def rest(self) -> str:
        """What was still waiting when the tokens ended."""

    def show(self, token: int) -> str:
        """One token's text by itself."""


class TextAnswer(AnswerKind):
    """What the model said, how many tokens that took, and why it ended: ``stop`` or ``length``.

    ``temperature``, ``beams`` and ``max_tokens`` are for callers who do not say.
    """

    parameters: ClassVar[type[Parameters]] = SamplingParameters

    kind: Literal["text"] = "text"
    tokenizer: str = "tokenizer.json"
    temperature: float = Field(default=1.0, ge=0)
    beams: int = Field(default=1, ge=1, le=16)
    length_penalty: float = Field(
        default=1.0, ge=0, description="a beam's score is divided by its length to this power"
    )
    max_tokens: int = Field(default=128, ge=1)

    def answer(
        self, tensors: Tensors, context: Mapping[str, Any], parameters: Any
    ) -> dict[str, Any]:
        """``tokens`` int64 ``[1, T]``; ``context`` has their ``text``, the ``finish_reason`` where
        it is not ``stop``, and ``logprobs`` if asked for.
        """
        del parameters
        answer = {"text": context.get("text", ""), "tokens": tensors["tokens"].shape[1]}
        answer["finish_reason"] = context.get("finish_reason", "stop")
        return answer | ({"logprobs": context["logprobs"]} if "logprobs" in context else {})

    def pieces(self, folder: Path) -> Callable[[], Pieces]:
        """Open the tokenizer; → a function that makes the :class:`Pieces` of one sequence."""
        from tokenizers import Tokenizer
        from tokenizers.decoders import DecodeStream

        tokenizer = Tokenizer.from_file(str(folder / self.tokenizer))

        class _Pieces:
            def __init__(self) -> None:
                self._stream = DecodeStream(skip_special_tokens=True)
                self._waiting: list[int] = []

            def add(self, token: int) -> str:
                self._waiting.append(token)
                text: str | None = self._stream.step(tokenizer, token)
                if text is None:
                    return ""
                self._waiting.clear()
                return text

            def rest(self) -> str:
                waiting, self._waiting = self._waiting, []
                text: str = tokenizer.decode(waiting) if waiting else ""
                return text

            def show(self, token: int) -> str:
                text: str = tokenizer.decode([token], skip_special_tokens=False)
                return text

        return _Pieces
