"""Table items: one row of named cells → float32 ``[1, columns]``.

A category is its place in its list.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, FiniteFloat, model_validator

from model_store.csv_body import read_csv, write_csv
from model_store.errors import ItemMismatch
from model_store.spec import (
    FLOAT32_MAX,
    Array,
    Divider,
    Encoded,
    Encoder,
    InputKind,
    Parts,
    Spec,
    show,
    show_names,
)


class Column(Spec):
    """A number, or one of ``categories``. ``usual`` is what it mostly is: the median of what the
    model learned from, or the commonest category.
    """

    name: str
    categories: tuple[str, ...] | None = None
    usual: FiniteFloat | str | None = None

    @model_validator(mode="after")
    def _usual_is_one_of_its_cells(self) -> Self:
        try:
            if self.usual is not None:
                self.cell(self.usual)
        except ItemMismatch as error:
            raise ValueError(f"usual: {error}") from None
        return self

    def learned_from(self, cells: Array) -> "Column":
        """The same column, told what is usual; a category as its place: ``[N]``."""
        if self.categories is None:
            return self.model_copy(update={"usual": float(np.median(cells))})
        counts = np.bincount(cells.astype(int), minlength=len(self.categories))
        return self.model_copy(update={"usual": self.categories[int(np.argmax(counts))]})

    def cell(self, value: object) -> float:
        """Raises ItemMismatch naming the column."""
        if self.categories is not None:
            if not isinstance(value, str) or value not in self.categories:
                raise ItemMismatch(
                    f"expected one of {show_names(self.categories)}; got {show(value)}",
                    field=self.name,
                )
            return float(self.categories.index(value))
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ItemMismatch(f"expected a number; got {show(value)}", field=self.name)
        if not abs(value) <= FLOAT32_MAX:
            raise ItemMismatch(
                f"expected a finite 32-bit number; got {show(value)}", field=self.name
            )
        return float(value)


class TableInput(InputKind):
    """One row, by column name or in column order."""

    media_types: ClassVar[tuple[str, ...]] = ("text/csv",)

    kind: Literal["table"] = "table"
    tensor: str = "table"
    columns: tuple[Column, ...] = Field(min_length=1)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def items(self, body: bytes, media_type: str) -> list[object]:
        """A CSV with a header: each row is an item."""
        del media_type
        texts = {column.name for column in self.columns if column.categories is not None}
        header, rows = read_csv(body, texts)
        return [dict(zip(header, row, strict=True)) for row in rows]

    def body(self, item: object) -> tuple[bytes, str]:
        return write_csv(self.names, [self._cells(item)]), "text/csv"

    def encoder(self, folder: Path) -> Encoder:
        del folder

        def encode(item: object, parameters: Any) -> Encoded:
            del parameters
            cells = [
                column.cell(value)
                for column, value in zip(self.columns, self._cells(item), strict=True)
            ]
            return Encoded({self.tensor: np.array([cells], dtype=np.float32)})

        return encode

    @property
    def divisible(self) -> bool:
        return all(column.usual is not None for column in self.columns)

    def divider(self, folder: Path) -> Divider:
        """Cells; one that is left out is what its column mostly is."""
        encode = self.encoder(folder)
        usual = np.array([column.cell(column.usual) for column in self.columns], np.float32)

        def divide(item: object, parameters: Any) -> Parts:
            row = encode(item, parameters).tensors[self.tensor]
            names = [
                {"feature": column.name, "value": value, "usual": column.usual}
                for column, value in zip(self.columns, self._cells(item), strict=True)
            ]
            return Parts(names, lambda kept: {self.tensor: np.where(kept, row, usual)})

        return divide

    def _cells(self, item: object) -> Sequence[object]:
        if isinstance(item, dict):
            missing = [name for name in self.names if name not in item]
            unknown = sorted(str(name) for name in item if name not in self.names)
            if missing or unknown:
                raise ItemMismatch(
                    f"expected columns {show_names(self.names)};"
                    f" missing {show_names(missing)}, unknown {show_names(unknown)}"
                )
            return [item[name] for name in self.names]
        if not isinstance(item, list):
            raise ItemMismatch(
                f"expected a mapping or list of {show_names(self.names)}; got {show(item)}"
            )
        if len(item) != len(self.columns):
            raise ItemMismatch(f"expected {len(self.columns)} cells; got {len(item)}")
        return item
