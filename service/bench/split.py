"""Where the server says its time goes: the statistics of the protocol, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class Split:
    """What a server has counted between two looks at its statistics."""

    rows: int = 0
    runs: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    ns: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, statistics: Mapping[str, Any]) -> "Split":
        stages = statistics.get("inference_stats", {})
        return cls(
            int(statistics.get("inference_count", 0)),
            int(statistics.get("execution_count", 0)),
            {name: int(stages.get(name, {}).get("count", 0)) for name in STAGES},
            {name: int(stages.get(name, {}).get("ns", 0)) for name in STAGES},
        )

    def since(self, before: "Split") -> "Split":
        return self._with(before, -1)

    def and_also(self, other: "Split") -> "Split":
        return self._with(other, 1)

    def _with(self, other: "Split", sign: int) -> "Split":
        return Split(
            self.rows + sign * other.rows,
            self.runs + sign * other.runs,
            {name: self.counts.get(name, 0) + sign * other.counts.get(name, 0) for name in STAGES},
            {name: self.ns.get(name, 0) + sign * other.ns.get(name, 0) for name in STAGES},
        )

    @property
    def rows_per_run(self) -> float | None:
        return self.rows / self.runs if self.runs > 0 else None

    def ms(self, stage: str) -> float | None:
        """Mean milliseconds of one request in this stage."""
        count = self.counts.get(stage, 0)
        return self.ns.get(stage, 0) / count / 1e6 if count > 0 else None
