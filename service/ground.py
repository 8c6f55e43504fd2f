"""What all lanes of a server share; those of a model also share its device."""

import asyncio
from dataclasses import dataclass, replace

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
    place: str = ""
    """One of the devices that the settings name, where those are several."""

    def on(self, device: str) -> "Ground":
        """The same for lanes on this device."""
        return replace(self, place=device)

    @property
    def device(self) -> str:
        return self.place or self.settings.device

    @property
    def cores(self) -> int:
        return self.turns.threads
