"""A CSV body as a header and rows; cells that read as numbers are numbers."""

import csv
import io
from collections.abc import Collection, Iterable, Sequence

from model_store.errors import ItemMismatch
from model_store.spec import show_names


def read_csv(body: bytes, texts: Collection[str] = ()) -> tuple[list[str], list[list[object]]]:
    """Cells under the names in ``texts`` stay text, whatever they look like.

    Raises ItemMismatch where the body is not UTF-8, has no rows, or has ragged ones.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ItemMismatch(f"expected UTF-8 text; got byte {error.start} that is not") from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise ItemMismatch(f"expected CSV; got a line that is not ({error})") from None
    if len(lines) < 2:
        raise ItemMismatch(f"expected a header and at least one row; got {len(lines)} lines")
    header = [name.strip() for name in lines[0]]
    if len(set(header)) != len(header):
        raise ItemMismatch(f"expected a header of distinct names; got {show_names(header)}")
    for place, line in enumerate(lines[1:], start=2):
        if len(line) != len(header):
            raise ItemMismatch(
                f"expected {len(header)} cells in each row; got {len(line)} in row {place}"
            )
    readers = [str if name in texts else _cell for name in header]
    rows = [[read(cell) for read, cell in zip(readers, line, strict=True)] for line in lines[1:]]
    return header, rows


def write_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A header and rows as a CSV body."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _cell(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
