"""A bare ASGI echo on uvicorn, ``python -m service.bench.echo``: what HTTP alone costs here.

The same loop and the same parser as the hub's, the whole body awaited and sent back, nothing else.
"""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Message = MutableMapping[str, Any]
BACKLOG = 2048


async def echo(
    scope: Message,  # noqa: ARG001 - ASGI's first argument
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    config = uvicorn.Config(
        echo,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
    )
    print(f"echo on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - for the parent to read
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
