"""No item at all, for generators: noise drawn from a seed, and a label where the model takes one.

Each of the ``n`` rows has a seed of its own (``seed``, ``seed + 1``, …), so any one of them can be
asked for again, alone, and comes out the same.
"""

import secrets
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from model_store.errors import ItemMismatch
from model_store.spec import (
    Array,
    Encoded,
    Encoder,
    InputKind,
    Parameters,
    read_parameters,
    show,
    show_names,
)

MAX_SEED = 2**63 - 1


class NoneParameters(Parameters):
    """``truncation`` redraws noise further than so many standard deviations from zero."""

    n: Annotated[int, Field(ge=1, le=1024)] = 1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    label: str | None = None
    truncation: Annotated[float, Field(ge=0.1, le=10)] | None = None


class NoneInput(InputKind):
    """Standard normal noise ``[n, noise_size]``; labels int64 ``[n]`` for conditional models."""

    parameters: ClassVar[type[Parameters]] = NoneParameters

    kind: Literal["none"] = "none"
    noise: str = "noise"
    noise_size: int = Field(gt=0)
    label: str = "label"
    labels: tuple[str, ...] = ()

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: NoneParameters) -> Encoded:
            if not isinstance(item, dict):
                raise ItemMismatch(f'expected {{}} or {{"label", "seed", "n"}}; got {show(item)}')
            wish = parameters
            if item:
                # A field of the item wins over the parameters that stand for all items.
                raw = {**parameters.model_dump(exclude_unset=True), **item}
                wish = read_parameters(NoneParameters, raw, "item")
            return self._draw(wish)

        return encode

    def _draw(self, wish: NoneParameters) -> Encoded:
        first = secrets.randbelow(2**31) if wish.seed is None else wish.seed
        if first + wish.n - 1 > MAX_SEED:
            raise ItemMismatch(f"expected seed + n to stay below 2**63; got {first}", field="seed")
        seeds = [first + place for place in range(wish.n)]
        rows = [self._noise(seed, wish.truncation) for seed in seeds]
        tensors: dict[str, Array] = {self.noise: np.stack(rows)}
        context: dict[str, object] = {"seeds": seeds}
        if self.labels:
            chosen = [self._label(wish.label, seed) for seed in seeds]
            tensors[self.label] = np.array(chosen, dtype=np.int64)
            context["labels"] = [self.labels[place] for place in chosen]
        elif wish.label is not None:
            raise ItemMismatch("expected no label: this model has none", field="label")
        return Encoded(tensors, context)

    def _noise(self, seed: int, truncation: float | None) -> Array:
        generator = np.random.default_rng(seed)
        noise = generator.standard_normal(self.noise_size)
        if truncation is not None:
            # The truncation trick: Brock et al. 2019, "Large Scale GAN Training", section 3.1.
            while (far := np.abs(noise) > truncation).any():
                noise[far] = generator.standard_normal(int(far.sum()))
        return noise.astype(np.float32)

    def _label(self, label: str | None, seed: int) -> int:
        if label is None:
            return int(np.random.default_rng([seed, 1]).integers(len(self.labels)))
        if label not in self.labels:
            raise ItemMismatch(
                f"expected one of {show_names(self.labels)}; got {show(label)}", field="label"
            )
        return self.labels.index(label)
