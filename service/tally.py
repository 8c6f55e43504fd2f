"""Histograms and sums in plain numbers, made into Prometheus samples at a scrape."""

from bisect import bisect_left
from collections.abc import Mapping

from prometheus_client.core import HistogramMetricFamily, Metric

NS = 1_000_000_000
MODEL = ("model", "version")


class Tally:
    """A histogram in plain numbers, with one writer."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound → how many are not above it, as Prometheus counts."""
        so_far, found = 0, []
        for bound, number in zip([*map(float, self.bounds), "+Inf"], self.counts, strict=True):
            so_far += number
            found.append((str(bound), float(so_far)))
        return found


class Duration:
    """How often, and how long in all: what Triton's statistics are made of."""

    __slots__ = ("count", "ns")

    def __init__(self) -> None:
        self.count = 0
        self.ns = 0

    def add(self, seconds: float, times: int = 1) -> None:
        self.count += times
        self.ns += int(seconds * NS) * times


def histogram(
    name: str, words: str, labels: tuple[str, ...], tallies: Mapping[tuple[str, ...], Tally]
) -> Metric:
    family = HistogramMetricFamily(f"modelhub_{name}", words, labels=labels)
    for values, tally in tallies.items():
        family.add_metric(values, tally.buckets(), tally.total)
    return family
