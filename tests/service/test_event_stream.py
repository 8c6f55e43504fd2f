"""Server-sent events: nothing is read ahead, whatever breaks is said, and all is closed."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from fastapi import Response
from starlette.types import Message

from service.errors import Overloaded
from service.event_stream import DONE, EventStream, event


class Talk:
    """Counts what is taken from it, breaks where it is told to, and knows when it was closed."""

    def __init__(self, events: int, error: Exception | None = None) -> None:
        self.events, self.error = events, error
        self.made, self.closed = 0, False

    async def say(self) -> AsyncGenerator[bytes, None]:
        try:
            for number in range(1, self.events + 1):
                self.made = number
                yield event({"number": self.made})
            if self.error:
                raise self.error
            yield DONE
        finally:
            self.closed = True


def scope() -> dict[str, Any]:
    def encode_error(error: Exception, path: str) -> Response:
        return Response(orjson.dumps({"detail": str(error), "path": path}))

    state = SimpleNamespace(encode_error=encode_error)
    return {"type": "http", "path": "/talk", "app": SimpleNamespace(state=state),
            "modelhub": {"request_id": "r", "version": 3}}  # fmt: skip


async def nothing() -> Message:
    raise AssertionError("a stream reads nothing")


async def send_all(talk: Talk) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await EventStream(talk.say())(scope(), nothing, send)
    return sent


async def test_each_event_is_a_part_of_its_own_and_the_last_is_empty() -> None:
    start, *parts = await send_all(Talk(2))
    assert start["status"] == 200
    assert (b"x-model-version", b"3") in start["headers"]
    assert [part["body"] for part in parts] == [
        b'data: {"number":1}\n\n', b'data: {"number":2}\n\n', DONE, b"",
    ]  # fmt: skip
    assert [part.get("more_body", False) for part in parts] == [True, True, True, False]


async def test_nothing_is_taken_before_the_client_took_what_was_there() -> None:
    talk, taken = Talk(5), list[int]()

    async def send(message: Message) -> None:
        if message.get("body", b"").startswith(b'data: {"'):
            taken.append(talk.made)

    await EventStream(talk.say())(scope(), nothing, send)
    assert taken == [1, 2, 3, 4, 5]


async def test_error_before_the_first_event_is_the_requests_own() -> None:
    talk = Talk(0, Overloaded("full"))
    with pytest.raises(Overloaded):
        await send_all(talk)
    assert talk.closed


async def test_error_after_it_is_an_event_and_the_response_ends() -> None:
    _, first, second, end = await send_all(Talk(1, Overloaded("full")))
    assert first["body"] == b'data: {"number":1}\n\n'
    assert orjson.loads(second["body"].removeprefix(b"data: ")) == {
        "error": {"detail": "full", "path": "/talk"}
    }
    assert end == {"type": "http.response.body", "body": b""}


async def test_client_that_cannot_be_sent_to_ends_the_talk() -> None:
    talk = Talk(5)

    async def send(message: Message) -> None:
        if message.get("body") and talk.made == 2:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await EventStream(talk.say())(scope(), nothing, send)
    assert talk.closed
    assert talk.made == 2
