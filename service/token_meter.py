"""What decoders have said, in the terms of vLLM's metrics."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.tally import MODEL, Tally, histogram

TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.5, 5, 10,
                 20, 40, 80)  # fmt: skip
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class TokenMeter:
    """What one decoder has said, in the terms of vLLM's metrics. Written on the event loop only."""

    def __init__(self) -> None:
        self.first_s, self.between_s = Tally(TOKEN_SECONDS), Tally(TOKEN_SECONDS)
        """From the request to its first token; from each token to the next."""
        self.queue_s, self.total_s = Tally(TOKEN_SECONDS), Tally(TOKEN_SECONDS)
        self.prompt_tokens, self.said_tokens = Tally(TOKENS), Tally(TOKENS)
        self.finished: dict[str, int] = {"stop": 0, "length": 0}
        self.running: Callable[[], int] = lambda: 0
        self.waiting: Callable[[], int] = lambda: 0
        self.cache_use: Callable[[], float] = lambda: 0.0
        self.prefixes: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Tokens of prompts that were looked up, and that had been read before."""


Labels = tuple[str, ...]
HISTOGRAMS: tuple[tuple[str, str, Callable[[TokenMeter], Tally]], ...] = (
    ("time_to_first_token_seconds", "From the request to its first token", lambda m: m.first_s),
    ("inter_token_latency_seconds", "From a token to the next", lambda m: m.between_s),
    ("sequence_queue_seconds", "Waiting for a row of the cache", lambda m: m.queue_s),
    ("sequence_seconds", "From the request to its last token", lambda m: m.total_s),
    ("sequence_prompt_tokens", "Tokens of a prompt", lambda m: m.prompt_tokens),
    ("sequence_generation_tokens", "Tokens said in answer to a prompt", lambda m: m.said_tokens),
)
GAUGES: tuple[tuple[str, str, Callable[[TokenMeter], float]], ...] = (
    ("sequences_running", "Sequences that have a row of the cache", lambda m: m.running()),
    ("sequences_waiting", "Sequences that wait for a row", lambda m: m.waiting()),
    ("kv_cache_usage_ratio", "Share of the cache that holds tokens", lambda m: m.cache_use()),
)
COUNTERS: tuple[tuple[str, str, Callable[[TokenMeter], float]], ...] = (
    ("prompt_tokens", "Tokens of prompts", lambda m: m.prompt_tokens.total),
    ("generation_tokens", "Tokens said", lambda m: m.said_tokens.total),
    ("prefix_cache_queries", "Tokens of prompts looked up", lambda m: m.prefixes()[0]),
    ("prefix_cache_hits", "Of these, tokens that had been read before", lambda m: m.prefixes()[1]),
)


def collect(meters: Mapping[Labels, TokenMeter]) -> Iterable[Metric]:
    """``(model, version)`` → meter, as samples."""
    for name, words, tally in HISTOGRAMS:
        yield histogram(name, words, MODEL, {key: tally(m) for key, m in meters.items()})
    for name, words, read in GAUGES:
        gauge = GaugeMetricFamily(f"modelhub_{name}", words, labels=MODEL)
        for key, meter in meters.items():
            gauge.add_metric(key, read(meter))
        yield gauge
    for name, words, read in COUNTERS:
        counter = CounterMetricFamily(f"modelhub_{name}", words, labels=MODEL)
        for key, meter in meters.items():
            counter.add_metric(key, read(meter))
        yield counter
    finished = CounterMetricFamily(
        "modelhub_sequences_finished", "Sequences by why they ended", labels=(*MODEL, "reason")
    )
    for key, meter in meters.items():
        for reason, number in meter.finished.items():
            finished.add_metric((*key, reason), number)
    yield finished
