"""Reading a request's body within the limit. Knows no protocol."""

from fastapi import Request

from service.errors import BadBody, BodyTooLarge, UnreadableMedia


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
