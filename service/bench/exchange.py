"""One request as bytes and what is known of its answer. Knows HTTP/1.1 and no model."""

from dataclasses import dataclass
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


class Head(NamedTuple):
    """What a load needs of a response's head."""

    status: str
    body_at: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, sent over and over, and the shape of its right answer.

    Of a binary answer the length never changes. Of a JSON answer it does, with the digits of the
    numbers; the number of commas does not, unless a value is missing.
    """

    request: bytes
    body_bytes: int | None = None
    commas: int | None = None

    def fits(self, response: bytes, head: Head) -> bool:
        """The quick check that every response gets."""
        if self.commas is not None:
            return response.count(b",", head.body_at) == self.commas
        return self.body_bytes is None or head.body_bytes == self.body_bytes


def post(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of a request on a connection that is kept."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read_head(data: bytes) -> Head | None:
    """None while the head is not complete. Raises ValueError where it tells no length."""
    end = data.find(HEAD_END)
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(LENGTH)
    if at < 0 or not head.startswith(b"http/1."):
        raise ValueError("no HTTP/1.1 response with a Content-Length")
    at += len(LENGTH)
    stop = head.find(b"\r", at)
    length = int(head[at:] if stop < 0 else head[at:stop])
    return Head(head[9:12].decode("latin-1"), end + len(HEAD_END), length)


def read_headers(response: bytes) -> dict[str, str]:
    """All headers, names in lower case. For the few responses that are read in full."""
    lines = response[: response.find(HEAD_END)].decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def body_of(message: bytes) -> bytes:
    """What comes behind the head of a request or a response."""
    return message[message.find(HEAD_END) + len(HEAD_END) :]
