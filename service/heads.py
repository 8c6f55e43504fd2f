"""What is known of the heads of infer calls: where a URL leads, and what bytes seen before mean."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import Response

from model_store.errors import StoreError
from model_store.store import split_ref
from service.edge import Gate
from service.errors import NoSuchVerb
from service.hub import ModelHub
from service.lane import Lane
from service.loaded import LoadedModel
from service.protocols.open_inference.infer import (
    PATH,
    ROUTE,
    VERSION_ROUTE,
    Address,
    Codec,
    Codecs,
    Terms,
)

Place = tuple[Address, str, str, str]
"""Address, name, selector and route."""
EncodeError = Callable[[Exception, str], Response]
MAX_KEPT = 1024


@dataclass(slots=True)
class Head:
    """What the bytes up to an infer call's body mean."""

    url: bytes
    address: Address
    name: str
    selector: str
    route: str
    terms: Terms
    body_bytes: int
    keep_alive: bool
    asked_id: str
    found: tuple[LoadedModel, Lane, Codec] | None = None
    """The version that answered last, with its lane and codec: right as long as it serves."""


class Below:
    """What all connections share: the hub, the codecs, the gate, and what was understood before."""

    def __init__(
        self, hub: ModelHub, codecs: Codecs, gate: Gate, encode_error: EncodeError
    ) -> None:
        self.hub, self.codecs, self.gate, self.encode_error = hub, codecs, gate, encode_error
        self.heads: dict[bytes, Head] = {}
        self._addresses: dict[bytes, Place | None] = {}

    def address(self, url: bytes) -> Place | None:
        """Where an infer call's URL leads; None for any other URL."""
        if url in self._addresses:
            return self._addresses[url]
        if len(self._addresses) >= MAX_KEPT:
            self._addresses.clear()
        found = self._addresses[url] = _read_address(url)
        return found

    def keep(self, raw: bytes, head: Head) -> None:
        if not raw.startswith(b"POST "):
            return  # blank lines that clients may put before it hide where it ends
        if len(self.heads) >= MAX_KEPT:
            self.heads.clear()
        self.heads[raw] = head

    def find(self, head: Head) -> bool:
        """Fill in who answers. False where the app has to see to it."""
        model = self.hub.at_hand(head.name, head.selector)
        if model is None:
            return False
        if head.found is None or model is not head.found[0]:
            try:
                head.found = model, *self.codecs.find(model, head.address)
            except (StoreError, NoSuchVerb):
                return False
        return True


def _read_address(url: bytes) -> Place | None:
    match = PATH.fullmatch(url.decode("latin-1"))
    if not match:
        return None
    try:
        address = Address.read(unquote(match[1]), match[2])
        return address, *split_ref(address.ref), VERSION_ROUTE if match[2] else ROUTE
    except StoreError:
        return None  # the app says what is wrong with it
