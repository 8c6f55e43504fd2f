"""What all lanes of a server share."""

import asyncio
from dataclasses import dataclass

from service.settings import Settings
from service.tracing import Tracing
from service.turns import Turns


@dataclass(frozen=True, slots=True)
class Ground:
    """Settings, the event loop, and the threads that lanes take turns with."""

    settings: Settings
    loop: asyncio.AbstractEventLoop
    turns: Turns
    tracing: Tracing | None = None

    @property
    def cores(self) -> int:
        return self.turns.threads
