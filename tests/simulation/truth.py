"""How the services really do: errors and traffic of each revision at each moment, whatever anybody measures or believes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.core.model import RevisionId
from tests.simulation.controllers import Cluster

GOOD, MILD, BAD, OUTAGE = 0.001, 0.03, 0.3, 0.4
"""Error ratios: healthy, neither here nor there, bad, and what a common cause does to everybody."""

SYMPTOM = 0.05
"""The error ratio of a service from which its alert is about to fire."""

LEAK_SECONDS = 240.0
"""How long a leaking revision is well."""


@dataclass(slots=True)
class Truth:
    """`outages` are (begin, end) of a cause common to all; `quiet` are those with hardly any traffic."""

    cluster: Cluster
    leak_seconds: float = LEAK_SECONDS
    outages: list[tuple[float, float]] = field(default_factory=list)
    quiet: list[tuple[float, float]] = field(default_factory=list)
    healed: dict[RevisionId, float] = field(default_factory=dict)

    def traffic(self, at: float) -> float:
        """Requests per second of one revision."""
        return 0.2 if _within(self.quiet, at) else 20.0

    def errors(self, revision: RevisionId, at: float) -> float:
        """The error ratio of a revision's pods at a moment."""
        if _within(self.outages, at):
            return OUTAGE
        age = at - self.cluster.first_ready.get(revision, at)
        quality = self.cluster.quality.get(revision, "good")
        if self.healed.get(revision, 1e18) <= at:
            return GOOD
        match quality:
            case "bad":
                return BAD if age >= 0 else GOOD
            case "mild":
                return MILD
            case "leak":
                return BAD if age >= self.leak_seconds else GOOD
            case _:
                return GOOD

    def service(self, key: tuple[str, str], at: float) -> float | None:
        """The error ratio of a whole service, None where nobody serves."""
        ready: Mapping[RevisionId, int] = self.cluster.served(key, at)
        total = sum(ready.values())
        if not total:
            return None
        return sum(count * self.errors(revision, at) for revision, count in ready.items()) / total

    def harmful(self, revision: RevisionId, at: float) -> bool:
        """Whether this revision itself does harm, now or soon: what may be rolled back by itself."""
        return self.cluster.quality.get(revision) in ("bad", "crash", "leak")


def _within(spans: list[tuple[float, float]], at: float) -> bool:
    return any(begin <= at < end for begin, end in spans)
