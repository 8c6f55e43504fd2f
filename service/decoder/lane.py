"""One loaded graph that is run token by token: its runner, its cache and the decoder in front."""

import time

from model_store.bundle import Bundle
from model_store.decoding import Decoding
from model_store.manifest import Graph
from service.decoder.cache import Cache
from service.decoder.decoder import Decoder
from service.decoder.growing import GrowingCache
from service.decoder.prefixes import Prefixes
from service.decoder.shared import SharedCache
from service.decoder.state import StateCache
from service.devices import cuda_of
from service.ground import Ground
from service.runner import Runner
from service.token_meter import TokenMeter

FORMS: dict[str, type[Cache]] = {
    "shared": SharedCache, "growing": GrowingCache, "state": StateCache,
}  # fmt: skip
WARM_TOKENS = 16


class DecoderLane:
    """Loads the graph, makes room for its sequences and warms it up. Raises NotReady,
    CorruptBundle, or what the first run's failure was.
    """

    def __init__(
        self, bundle: Bundle, graph_name: str, *, ground: Ground, meter: TokenMeter
    ) -> None:
        settings, manifest = ground.settings, bundle.manifest
        self.graph: Graph = manifest.graphs[graph_name]
        if self.graph.decoding is None:
            raise ValueError(f"graph {graph_name} is not run token by token")
        self.decoding: Decoding = self.graph.decoding
        clock = time.monotonic()
        path = bundle.path(self.graph.file)
        outputs = [tensor.name for tensor in self.graph.outputs]
        self.runner = Runner(
            path, outputs, device=ground.device, threads=ground.cores, cuda=cuda_of(settings)
        )
        loaded = time.monotonic()
        try:
            self.cache = self._make_cache(settings.max_sequences)
            room = self._room(settings.kv_cache_bytes)
            self._warm_up()
        except BaseException:
            self.runner.close()
            raise
        self.seconds = {"load": loaded - clock, "warm_up": time.monotonic() - loaded}
        """How long each phase of loading took."""
        kept = self.cache if isinstance(self.cache, SharedCache) else None
        # What follows a source depends on it, so its beginnings are never the same.
        prefix_bytes = 0 if self.decoding.source else settings.prefix_cache_bytes
        prefixes = Prefixes(kept, prefix_bytes)
        self.decoder = Decoder(
            self.cache, prefixes, name=f"{manifest.name}@{manifest.version}~{graph_name}",
            loop=ground.loop, turns=ground.turns, threads=ground.cores, max_tokens=room,
            max_waiting=settings.max_waiting, meter=meter,
        )  # fmt: skip
        self.cache_bytes = room * self.cache.token_bytes + self.cache.rows * self.cache.row_bytes
        """What its sequences may come to take, beside the weights."""
        meter.running = lambda: self.decoder.running
        meter.waiting = lambda: self.decoder.waiting
        meter.cache_use = lambda: self.decoder.cache_use
        meter.prefixes = lambda: (prefixes.asked, prefixes.found)

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together."""
        return self.decoding.context

    @property
    def rows(self) -> int:
        """Sequences that can be said at the same time."""
        return self.cache.rows

    def close(self, *, timeout_s: float) -> None:
        """Finish what is in hand, then free the graph. Not on the event loop."""
        self.decoder.close(timeout_s=timeout_s)
        if self.decoder.idle:
            self.runner.close()

    def _make_cache(self, rows: int) -> Cache:
        form = self.decoding.form
        if form == "growing" and not self.decoding.mask:
            rows = 1  # nothing would tell it which places of a shorter row are not there
        return FORMS[form](self.runner, self.graph, self.decoding, rows)

    def _room(self, max_bytes: int) -> int:
        """Tokens that fit, at least one sequence at its longest."""
        most, token_bytes = self.rows * self.context, self.cache.token_bytes
        return max(self.context, min(most, max_bytes // token_bytes if token_bytes else most))

    def _warm_up(self) -> None:
        """One prompt, one step of one row and one of all rows."""
        if self.decoding.source:
            return  # only its source's graph can give what it needs
        cache = self.cache
        tokens = [(self.decoding.start or (0,))[0]] * max(1, min(WARM_TOKENS, self.context - 2))
        cache.open(0, {})
        cache.read(0, tokens)
        cache.step(0, 1)
        for row in range(cache.rows):
            cache.open(row, {})
        cache.step(0, cache.rows)
        cache.idle()
