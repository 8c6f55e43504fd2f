"""One kept connection with at most one request in flight. Knows no schedule and no clock.

Every microsecond here is taken from the server on the same machine, so the common case, a response
that comes in one or two pieces, costs one search and one count.
"""

import asyncio
import time
from typing import Protocol, cast

from service.bench.exchange import Exchange, Head, read_head


class Owner(Protocol):
    """Who sends on the connection and wants the answers."""

    def answered(
        self, connection: "Connection", exchange: Exchange, head: Head, response: bytes
    ) -> None: ...
    def lost(self, connection: "Connection", in_flight: bool) -> None: ...


class Connection(asyncio.Protocol):
    """A client's side of HTTP/1.1, as much of it as a load needs."""

    _transport: asyncio.Transport

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.exchange: Exchange | None = None
        """What is in flight."""
        self.began_s = 0.0
        """The moment its latency is counted from."""
        self.sent_s = 0.0
        """The moment it went out."""
        self._pieces: list[bytes] = []
        self._missing_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, exchange: Exchange, began_s: float) -> None:
        self.exchange, self.began_s = exchange, began_s
        self.sent_s = time.perf_counter()
        self._transport.write(exchange.request)

    def data_received(self, data: bytes) -> None:
        if self._pieces:
            self._pieces.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return
            data = b"".join(self._pieces)
        exchange = self.exchange
        try:
            head = read_head(data)
        except ValueError:
            self.close()
            return
        missing = 1 if head is None else head.body_at + head.body_bytes - len(data)
        if missing > 0:
            self._pieces, self._missing_bytes = [data], missing
            return
        if head is None or missing < 0 or exchange is None:
            self.close()  # more than one answer to one request
            return
        self._pieces, self.exchange = [], None
        self._owner.answered(self, exchange, head, data)

    def connection_lost(self, exc: Exception | None) -> None:
        in_flight, self.exchange = self.exchange is not None, None
        self._owner.lost(self, in_flight)

    def close(self) -> None:
        """At once; what is in flight is lost."""
        self._transport.abort()

    def forget(self) -> None:
        """Close, but the owner has already counted what is in flight."""
        self.exchange = None
        self.close()
