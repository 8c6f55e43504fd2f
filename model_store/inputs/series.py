"""Series items: time × feature numbers → float32 ``[1, length, features]``.

Where series may be shorter than ``length``, they keep their own, and a mask float32 ``[1, T]`` that
is 1 at every step goes with them.
"""

import itertools
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from model_store.csv_body import read_csv, write_csv
from model_store.errors import ItemMismatch, ItemTooLarge
from model_store.spec import (
    MAX_PARTS,
    Array,
    Divider,
    Encoded,
    Encoder,
    InputKind,
    Parts,
    Tensors,
    numbers,
    show,
    show_names,
)


class SeriesInput(InputKind):
    """The recent past of one or more columns; of a longer one, the last ``length`` steps. With
    ``min_steps``, a shorter one will do.
    """

    media_types: ClassVar[tuple[str, ...]] = ("text/csv",)

    kind: Literal["series"] = "series"
    tensor: str = "series"
    columns: tuple[str, ...] = Field(min_length=1)
    length: int = Field(gt=0)
    min_steps: int | None = Field(default=None, gt=0)
    mask: str = "mask"
    max_steps: int = 1_000_000

    @model_validator(mode="after")
    def _shorter_is_shorter(self) -> Self:
        if self.min_steps is not None and self.min_steps > self.length:
            raise ValueError(f"min_steps: expected at most {self.length}; got {self.min_steps}")
        return self

    def items(self, body: bytes, media_type: str) -> list[object]:
        """A CSV with a header is one item: a column of numbers under each name."""
        del media_type
        header, rows = read_csv(body)
        columns: dict[str, object] = {}
        for place, name in enumerate(header):
            columns[name] = [row[place] for row in rows]
        return [columns]

    def body(self, item: object) -> tuple[bytes, str]:
        return write_csv(self.columns, self._steps(item).tolist()), "text/csv"

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: Any) -> Encoded:
            del parameters
            steps = self._steps(item)
            if len(steps) > self.max_steps:
                raise ItemTooLarge(f"expected at most {self.max_steps:,} steps; got {len(steps):,}")
            least = self.length if self.min_steps is None else self.min_steps
            if len(steps) < least:
                raise ItemMismatch(f"expected at least {least} steps; got {len(steps)}")
            recent = steps[-self.length :].astype(np.float32)
            tensors: Tensors = {self.tensor: recent[None]}
            if self.min_steps is not None:
                tensors[self.mask] = np.ones((1, len(recent)), dtype=np.float32)
            return Encoded(tensors, {"steps": len(steps)})

        return encode

    @property
    def divisible(self) -> bool:
        return True

    def divider(self, folder: Path) -> Divider:
        """Stretches of each column; one that is left out is at its column's mean."""
        encode = self.encoder(folder)

        def divide(item: object, parameters: Any) -> Parts:
            encoded = encode(item, parameters)
            seen = encoded.tensors[self.tensor]  # [1, steps, columns]
            steps, columns = seen.shape[1:]
            stretches = max(1, min(steps, MAX_PARTS // columns))
            edges = np.linspace(0, steps, stretches + 1).round().astype(int)
            owner = np.searchsorted(edges, np.arange(steps), side="right") - 1
            mean = seen.mean(axis=1, keepdims=True)

            def keep(kept: Array) -> Tensors:
                visible = kept.reshape(-1, columns, stretches)[:, :, owner].transpose(0, 2, 1)
                rows = {name: np.repeat(row, len(kept), 0) for name, row in encoded.tensors.items()}
                return {**rows, self.tensor: np.where(visible, seen, mean)}

            first = encoded.context["steps"] - steps
            spans = [(first + int(a), first + int(b)) for a, b in itertools.pairwise(edges)]
            names = [
                {"column": column, "start": start, "end": end}
                for column in self.columns
                for start, end in spans
            ]
            return Parts(names, keep)

        return divide

    def _steps(self, item: object) -> Array:
        """float64 ``[steps, features]``."""
        wanted = show_names(self.columns)
        if isinstance(item, dict):
            if set(item) != set(self.columns):
                raise ItemMismatch(f"expected columns {wanted}; got {show_names(item)}")
            columns = [numbers(item[name], field=name) for name in self.columns]
            if any(column.ndim != 1 or len(column) != len(columns[0]) for column in columns):
                raise ItemMismatch(f"expected {wanted} as lists of numbers of equal length")
            return np.stack(columns, axis=1)
        if not isinstance(item, list):
            raise ItemMismatch(
                f"expected rows of {wanted} or one list per column; got {show(item)}"
            )
        steps = numbers(item, field="series")
        if steps.ndim == 1 and len(self.columns) == 1:
            steps = steps[:, None]
        if steps.ndim != 2 or steps.shape[1] != len(self.columns):
            raise ItemMismatch(
                f"expected time × {len(self.columns)} {wanted}; got shape {list(steps.shape)}",
                field="series",
            )
        return steps
