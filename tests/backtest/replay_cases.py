"""A small shop made by hand, for the tests of the replay: front calls web, and web rolls out beside its old pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.recording import (
    AlertSeen,
    EdgeSeen,
    Evidence,
    PodSeen,
    Record,
    Recording,
    RolloutSeen,
    SampleSeen,
    TruthSeen,
    recording,
)
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEB, FRONT = "shop/Deployment/web", "shop/Deployment/front"
ROLLED_AT = NOON + 30 * MINUTE
"""When web begins to roll out `new` in place of `old`. It lies on no sample."""

GOOD = 0.002
BAD = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What happens. Two old pods of each service run all the time; two new ones of web come with its rollout.

    `errors` is the share of failed requests of the new pods, `everybody` that of all others after the rollout; `weight` are the
    requests behind each sample. `alert_after`: how long after the rollout an alert on web fires; None: never.
    """

    errors: float = BAD
    everybody: float = GOOD
    weight: float | None = 600.0
    step: timedelta = MINUTE
    minutes: int = 60
    completed: bool = False
    alert_after: timedelta | None = 3 * MINUTE
    signals: tuple[str, ...] = ("error_ratio", "latency_seconds", "traffic_rate")
    stagger: timedelta = timedelta(0)
    """Between one pod's samples and the next one's."""
    culprit: str | None = WEB

    @property
    def end(self) -> datetime:
        """Of the recording."""
        return NOON + self.minutes * MINUTE

    def records(self) -> list[Record]:
        """All of it, in time order."""
        return sorted(self._records(), key=lambda record: record.at)

    def recording(self) -> Recording:
        """As `backtest` reads it."""
        return recording("shop.jsonl", self.records())

    def _records(self) -> Iterator[Record]:
        yield EdgeSeen(at=NOON, caller=FRONT, callee=WEB)
        yield TruthSeen(at=ROLLED_AT, culprit=self.culprit)
        for number, (workload, name, since, revision) in enumerate(self._pods()):
            yield PodSeen(at=since, pod=name, workload=workload, revision=revision, ready=True)
            yield from self._samples(workload, name, since, revision, number * self.stagger)
        yield RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")
        if self.completed:
            yield RolloutSeen(at=self.end, workload=WEB, revision="new", replaces="old", phase="completed")
        if self.alert_after is not None:
            at = ROLLED_AT + self.alert_after
            labels = {"alertname": "Errors", "namespace": "shop", "deployment": "web"}
            yield AlertSeen(at=at, status="firing", labels=labels, starts_at=at)

    def _pods(self) -> Iterator[tuple[str, str, datetime, str]]:
        for workload in (FRONT, WEB):
            for letter in "ab":
                yield workload, f"{workload.rsplit('/')[-1]}-old-{letter}", NOON, "old"
        for letter in "ab":
            yield WEB, f"web-new-{letter}", ROLLED_AT + timedelta(seconds=1), "new"

    def _samples(self, workload: str, pod: str, since: datetime, revision: str, late: timedelta) -> Iterator[Record]:
        at = NOON + self.step + late
        while at <= self.end:
            if at > since:
                errors = self.errors if revision == "new" else self.everybody if at > ROLLED_AT else GOOD
                values = {"error_ratio": errors, "latency_seconds": 0.08, "traffic_rate": 10.0}
                for signal in self.signals:
                    yield SampleSeen(
                        at=at,
                        signal=signal,
                        workload=workload,
                        pod=pod,
                        value=values.get(signal, 0.2),
                        weight=self.weight if signal != "traffic_rate" else None,
                    )
            at += self.step


def clustered(records: Iterable[Record]) -> RecordedCluster:
    """The cluster that these records tell of, in their order."""
    cluster = RecordedCluster()
    for record in records:
        if isinstance(record, PodSeen):
            cluster.pod(record)
        elif isinstance(record, RolloutSeen):
            cluster.rollout(record)
    return cluster


def told(shop: Shop) -> list[Told]:
    """Every verdict on it."""
    return list(replay(shop.recording()))


def documents(found: Recording) -> list[dict[str, object]]:
    """What is printed about it."""
    return [each.document() for each in replay(found)]


def cut(found: Recording, until: datetime) -> Recording:
    """The recording as it was at that moment."""
    return replace(
        found,
        evidence=[each for each in found.evidence if each.at <= until],
        truths=[each for each in found.truths if each.at <= until],
    )


def without(found: Recording, dropped: Callable[[Evidence], bool]) -> Recording:
    """The recording without some of its evidence."""
    return replace(found, evidence=[each for each in found.evidence if not dropped(each)])
