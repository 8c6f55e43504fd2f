"""No item at all, for generators: noise drawn from a seed, and the label or the attributes of
models that take them.

Each of the ``n`` rows has a seed of its own (``seed``, ``seed + 1``, …), so any one of them can be
asked for again, alone, and comes out the same. What is not asked for is drawn from the seed too.
"""

import re
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, create_model, model_validator

from model_store.errors import ItemMismatch
from model_store.spec import (
    Array,
    Encoded,
    Encoder,
    InputKind,
    Parameters,
    Spec,
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


class Attribute(Spec):
    """One thing that can be asked for by name, and what it can be."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    values: tuple[str, ...] = Field(min_length=2)


class NoneInput(InputKind):
    """Standard normal noise ``[n, noise_size]``. Conditional models take labels int64 ``[n]`` too,
    or int64 ``[n, attributes]``, each by its place in the list of its values.
    """

    kind: Literal["none"] = "none"
    noise: str = "noise"
    noise_size: int = Field(gt=0)
    label: str = "label"
    labels: tuple[str, ...] = ()
    attribute: str = "attributes"
    attributes: tuple[Attribute, ...] = ()

    @model_validator(mode="after")
    def _attributes_have_names_of_their_own(self) -> Self:
        names = [attribute.name for attribute in self.attributes]
        taken = sorted({name for name in names if names.count(name) > 1})
        taken += [
            name
            for name in names
            if name in NoneParameters.model_fields or hasattr(NoneParameters, name)
        ]
        if taken:
            raise ValueError(f"attributes: expected names not in use; got {taken}")
        if self.labels and self.attributes:
            raise ValueError("attributes: expected none beside labels")
        return self

    @property
    def parameters(self) -> type[NoneParameters]:
        """Attributes are fields beside ``seed`` and ``n``."""
        return _with_attributes(self.attributes)

    def read_prompt(self, prompt: str) -> dict[str, str]:
        """What a prompt asks for, by field. With labels it is one of them; else attributes apart by
        commas: ``glasses``, ``brown hair``, ``hair: brown`` or ``no eyewear``. Raises ItemMismatch.
        """
        if not prompt.strip():
            return {}
        if not self.attributes and prompt not in self.labels:
            want = f"one of {show_names(self.labels)}" if self.labels else "none"
            raise ItemMismatch(f"expected {want} or nothing; got {show(prompt)}", field="prompt")
        if not self.attributes:
            return {"label": prompt}
        wish: dict[str, str] = {}
        for part in re.split(r"[,;]|\band\b", prompt.lower()):
            if words := _words(part):
                name, value = self._attribute(words, part.strip())
                if wish.setdefault(name, value) != value:
                    raise ItemMismatch(
                        f"expected one {name}; got {show(wish[name])} and {show(value)}",
                        field="prompt",
                    )
        return wish

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: NoneParameters) -> Encoded:
            if not isinstance(item, dict):
                fields = ", ".join(f'"{name}"' for name in self._fields)
                raise ItemMismatch(f"expected {{}} or {{{fields}}}; got {show(item)}")
            wish = parameters
            if item:
                # A field of the item wins over the parameters that stand for all items.
                raw = {**parameters.model_dump(exclude_unset=True), **item}
                wish = read_parameters(self.parameters, raw, "item")
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
        if self.attributes:
            found = [self._places(wish, seed) for seed in seeds]  # rows × attributes
            tensors[self.attribute] = np.array(found, dtype=np.int64)
            context["attributes"] = [
                {a.name: a.values[at] for a, at in zip(self.attributes, row, strict=True)}
                for row in found
            ]
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

    def _places(self, wish: NoneParameters, seed: int) -> list[int]:
        """Of each attribute's value; those that nobody wished for are drawn, always in the same
        order, so that one wish does not change what the others come out as.
        """
        generator = np.random.default_rng([seed, 1])
        drawn = [int(generator.integers(len(attribute.values))) for attribute in self.attributes]
        wished = [getattr(wish, attribute.name) for attribute in self.attributes]
        return [
            at if value is None else attribute.values.index(value)
            for attribute, value, at in zip(self.attributes, wished, drawn, strict=True)
        ]

    def _attribute(self, words: list[str], part: str) -> tuple[str, str]:
        """The attribute and the value that a few words name, each alone or with the other."""
        words = ["none", *words[1:]] if words[0] in ("no", "without") else words
        found = []
        for name, value in ((a.name, value) for a in self.attributes for value in a.values):
            called, is_it = _words(name), _words(value)
            if words in (is_it, called + is_it, is_it + called):
                found.append((name, value))
        if len(found) == 1:
            return found[0]
        if found:
            want = f"the name of one of {show_names(name for name, _ in found)} too"
        else:
            choice = "; ".join(f"{a.name}: {', '.join(a.values)}" for a in self.attributes)
            want = f"some of these apart by commas: {choice[:1000]}"
        raise ItemMismatch(f"expected {want}; got {show(part)}", field="prompt")

    @property
    def _fields(self) -> list[str]:
        own = [attribute.name for attribute in self.attributes] or ["label"]
        return [*own, "seed", "n"]

    def _label(self, label: str | None, seed: int) -> int:
        if label is None:
            return int(np.random.default_rng([seed, 1]).integers(len(self.labels)))
        if label not in self.labels:
            raise ItemMismatch(
                f"expected one of {show_names(self.labels)}; got {show(label)}", field="label"
            )
        return self.labels.index(label)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


@lru_cache(maxsize=256)
def _with_attributes(attributes: tuple[Attribute, ...]) -> type[NoneParameters]:
    if not attributes:
        return NoneParameters
    fields: dict[str, Any] = {
        attribute.name: (Literal[attribute.values] | None, None) for attribute in attributes
    }
    return create_model("AttributeParameters", __base__=NoneParameters, **fields)
