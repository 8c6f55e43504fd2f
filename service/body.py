"""Reading a request's body within the limit, a form's parts, and the headers that every protocol
has. Knows no protocol.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import BadBody, BodyTooLarge, UnreadableMedia
from service.schema import Priority

MAX_TIMEOUT_MS = 3_600_000


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises BodyTooLarge before reading more than ``max_bytes``, BadBody."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise UnreadableMedia(f"expected Content-Encoding identity; got {coding!r}")
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal():
        raise BadBody(f"expected a whole number as Content-Length; got {announced!r}")
    if int(announced) > max_bytes:
        raise BodyTooLarge(
            f"expected a body of at most {max_bytes:,} bytes; got {int(announced):,}"
        )
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(f"expected a body of at most {max_bytes:,} bytes; got more")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_timeout_ms(raw: str | None, default: int) -> int:
    """X-Timeout-Ms. Raises BadBody."""
    if raw is None:
        return default
    if not (
        raw.isascii() and raw.isdecimal() and len(raw) <= 9 and 1 <= int(raw) <= MAX_TIMEOUT_MS
    ):
        raise BadBody(f"X-Timeout-Ms: expected 1 to {MAX_TIMEOUT_MS}; got {raw[:20]!r}")
    return int(raw)


def read_priority(raw: str | None) -> Priority:
    """X-Priority. Raises BadBody."""
    if raw is None:
        return Priority.NORMAL
    try:
        return Priority[raw.upper()]
    except KeyError:
        raise BadBody(f"X-Priority: expected high, normal or low; got {raw[:20]!r}") from None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a ``multipart/form-data`` body; only files have a ``filename``."""

    name: str
    content: bytes
    filename: str | None = None
    media_type: str = ""


async def read_form(headers: Headers, body: bytes, *, max_files: int) -> list[Part]:
    """The parts of a form, in order. Raises BadBody, BodyTooLarge."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, stream(), max_files=max_files, max_fields=8).parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise BodyTooLarge(f"expected at most {max_files:,} files; got more") from None
        raise BadBody(f"expected multipart/form-data; {error.message}") from None
    parts = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            media_type = (value.content_type or "").partition(";")[0].strip().lower()
            parts.append(Part(name, await value.read(), value.filename, media_type))
        else:
            parts.append(Part(name, value.encode()))
    await form.close()
    return parts
