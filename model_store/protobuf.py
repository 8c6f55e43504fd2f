"""Protobuf's wire format: a file as nested fields, without reading what nobody asks for.

See https://protobuf.dev/programming-guides/encoding. Knows no message in particular. The file may
be a stranger's: whatever its bytes, a field lies inside its message or the file is refused.
"""

import os
import re
from collections.abc import Iterator
from typing import TypeAlias

from model_store.errors import CorruptBundle

WINDOW_BYTES = 16 * 1024
HEAD_BYTES = 20
"""A tag and a length, ten bytes each at most."""
MAX_FIELDS = 20_000_000
"""Half a minute of reading. A graph of twenty thousand nodes has less than one million."""
MAX_TEXT_BYTES = 64 * 1024

Field: TypeAlias = tuple[int, int, int]
"""Tag, start and end of a message or text; or tag, the number itself and 0."""


def part(number: int) -> int:
    """The tag of a message or text."""
    return number << 3 | 2


def integer(number: int) -> int:
    """The tag of a whole number."""
    return number << 3


class Wire:
    """An open file. ``skip`` matches runs of fields that need not be told one by one.

    Not mapped into memory: a plain folder's file may be overwritten while it is read, and a mapped
    file that shrinks takes the whole process with it.
    """

    def __init__(self, name: str, descriptor: int, skip: re.Pattern[bytes]) -> None:
        self.name, self._descriptor, self._skip = name, descriptor, skip
        self.size = os.fstat(descriptor).st_size
        self._window, self._base, self._fields = b"", 0, 0

    def broken(self, reason: str) -> CorruptBundle:
        return CorruptBundle(f"{self.name} is cut off or not ONNX: {reason}")

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of one message; one of any size is only stepped over. Raises CorruptBundle."""
        position = start
        while position < end:
            offset = self._seek(position)
            run = self._skip.match(self._window, offset, end - self._base)
            if run:
                position = self._base + run.end()
                continue
            tag, offset = self._varint(offset)
            kind, value = tag & 7, 0
            if kind in (0, 2):
                value, offset = self._varint(offset)
            first = position = self._base + offset
            if kind == 2:
                position += value
            elif kind in (1, 5):
                position += 8 if kind == 1 else 4
            elif kind != 0:
                raise self.broken(f"no field before byte {position:,}")
            if position > end:
                raise self.broken(f"a field that ends at byte {position:,} of {end:,}")
            yield (tag, first, position) if kind == 2 else (tag, value, 0)

    def text(self, start: int, end: int) -> str:
        """Raises CorruptBundle for one that is no name but a book, or not UTF-8."""
        if end - start > MAX_TEXT_BYTES:
            raise self.broken(f"a name of {end - start:,} bytes")
        try:
            return os.pread(self._descriptor, end - start, start).decode()
        except UnicodeDecodeError:
            raise self.broken(f"a name that is not UTF-8 at byte {start:,}") from None

    def _seek(self, position: int) -> int:
        """The place in the window, which then holds the field's head or the end of the file."""
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise self.broken(f"more than {MAX_FIELDS:,} fields")
        stop = self._base + len(self._window)
        held = self._base <= position < stop
        if not held or stop < min(position + HEAD_BYTES, self.size):
            self._base = position
            self._window = os.pread(self._descriptor, WINDOW_BYTES, position)
        return position - self._base

    def _varint(self, offset: int) -> tuple[int, int]:
        head = self._window[offset : offset + 10]
        if head and head[0] < 128:
            return head[0], offset + 1  # nearly all are so short
        value = 0
        for shift, byte in enumerate(head):
            value |= (byte & 127) << 7 * shift
            if byte < 128:
                return value & (1 << 64) - 1, offset + shift + 1
        raise self.broken(f"no number at byte {self._base + offset:,}")
