"""Figures of the service from /metrics: sums, ratios and quantiles since it started."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Figures:
    """Samples by name: (labels, value)."""

    samples: Mapping[str, Sequence[tuple[Mapping[str, str], float]]]

    @classmethod
    def of(cls, text: str) -> Figures:
        """Parse the text format. Raises ValueError for what is none."""
        found: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name].append((sample.labels, sample.value))
        return cls(found)

    def rows(self, name: str) -> Sequence[tuple[Mapping[str, str], float]]:
        """Every sample of this name."""
        return self.samples.get(name, ())

    def total(self, name: str, **labels: str) -> float | None:
        """The sum over samples with these labels; None where there are none."""
        values = [value for own, value in self.rows(name) if labels.items() <= own.items()]
        return sum(values) if values else None

    def share(self, name: str, **labels: str) -> float | None:
        """What part of the whole has these labels; None where there is nothing yet."""
        whole = self.total(name)
        return (self.total(name, **labels) or 0.0) / whole if whole else None

    def quantile(self, name: str, q: float, **labels: str) -> float | None:
        """The upper bound of the bucket in which the quantile lies; None without observations, or in the last one."""
        counts: dict[float, float] = defaultdict(float)
        for own, value in self.rows(f"{name}_bucket"):
            if labels.items() <= own.items():
                counts[float(own["le"])] += value
        if not counts or not (whole := counts[math.inf]):
            return None
        bound = min(le for le, count in counts.items() if count >= q * whole)
        return None if math.isinf(bound) else bound
