"""Which rollouts there were, from what kube-state-metrics said of ReplicaSets and StatefulSets.

Read twice: coarsely over the whole time, by what had replicas within ten samples, and then sample by sample where that changed.
A rollout began when a ReplicaSet got replicas that is not the one the workload was at; it is complete when only that one has
any and all of them are ready. A StatefulSet tells its revisions itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from handlers.backtest.reading import Reader, Steps, a_few_at_once, merged, spans
from handlers.backtest.recording import RolloutSeen
from handlers.prometheus import Matrix, escape_label, pods_regex, seconds

COARSE = 10
"""Samples in one coarse step."""

DAY = timedelta(days=1)
AFTER = timedelta(minutes=15)
"""So long after the last change it is looked whether the new pods became ready."""

QUERIES_PER_DAY = 3

Key = tuple[str, str, str]
"""Namespace, kind and name of a workload."""


@dataclass(slots=True, kw_only=True)
class Past:
    """What was found: every workload, whose each ReplicaSet (namespace, name) is, and the rollouts in time order.

    `active` holds for each workload when which of its ReplicaSets had replicas, in coarse steps; `sets` the same for the
    revisions of StatefulSets.
    """

    made: dict[tuple[str, str], Key] = field(default_factory=dict)
    workloads: set[Key] = field(default_factory=set)
    rollouts: list[RolloutSeen] = field(default_factory=list)
    active: dict[Key, dict[str, list[datetime]]] = field(default_factory=dict)
    sets: dict[Key, dict[str, list[datetime]]] = field(default_factory=dict)

    def replica_sets(self, workload: Key, start: datetime, end: datetime, coarse: timedelta) -> Sequence[str]:
        """Those of the workload that had replicas in this time."""
        found = self.active.get(workload, {})
        return [name for name, moments in found.items() if _any_in(moments, start, end + coarse)]

    def add(self, known: Iterable[RolloutSeen]) -> None:
        """Take in rollouts of workloads of which no ReplicaSet and no StatefulSet tells."""
        others = [each for each in known if key_of(each.workload) not in self.workloads]
        self.rollouts = sorted([*self.rollouts, *others], key=lambda each: (each.at, each.workload))
        self.workloads |= {key_of(each.workload) for each in others}


def _any_in(moments: Sequence[datetime], start: datetime, end: datetime) -> bool:
    place = bisect_left(moments, start)
    return place < len(moments) and moments[place] <= end


def revision_of(workload: Key, replica_set: str) -> str:
    """The end of the ReplicaSet's name, which is its pod-template-hash; the whole name where it is named otherwise."""
    return replica_set.removeprefix(f"{workload[2]}-")


def name_of(workload: Key) -> str:
    """`namespace/Kind/name`."""
    return "/".join(workload)


def key_of(workload: str) -> Key:
    """From `namespace/Kind/name`."""
    namespace, kind, name = workload.split("/", 2)
    return namespace, kind, name


async def read(reader: Reader, start: datetime, end: datetime, step: timedelta, steps: Steps) -> Past:
    """Everything about rollouts between the two moments. Raises Transient or Permanent."""
    past = Past()
    await _coarsely(reader, past, list(spans(start, end, DAY)), COARSE * step, steps)
    past.workloads |= {*past.active, *past.sets}
    busy = [
        *((key, span, tuple(past.active[key])) for key, span in _busy(past.active, COARSE * step)),
        *((key, span, ()) for key, span in _busy(past.sets, COARSE * step)),
    ]
    steps.begin(len(busy))
    found: list[RolloutSeen] = []

    async def finely(one: tuple[Key, tuple[datetime, datetime], tuple[str, ...]]) -> None:
        key, span, names = one
        first, last = max(span[0], start), min(span[1], end)
        if names:
            found.extend(of_replica_sets(key, await reader.matrix(_replicas(key, names), first, last, step), step))
        else:
            found.extend(of_stateful_set(key, await reader.matrix(_stateful_set(key), first, last, step)))
        steps.one()

    await a_few_at_once(finely, busy)
    past.rollouts = sorted(found, key=lambda each: (each.at, each.workload))
    return past


async def _coarsely(
    reader: Reader, past: Past, days: Sequence[tuple[datetime, datetime]], coarse: timedelta, steps: Steps
) -> None:
    """Whose ReplicaSets there were, and what had replicas when, in coarse steps."""
    steps.begin(QUERIES_PER_DAY * len(days))

    async def read_day(day: tuple[datetime, datetime]) -> None:
        first, last = day
        await _owners(reader, first, last, past, steps)
        # A coarse sample speaks of the time before it, so the last one lies behind the day's end.
        for query, note in ((_ACTIVE, _note), (_UPDATE, _note_sets)):
            promql = query.format(window=seconds(coarse))
            note(await reader.matrix(promql, first + coarse, last + coarse, coarse), past)
            steps.one()

    await a_few_at_once(read_day, days)
    for revisions in (*past.active.values(), *past.sets.values()):
        for moments in revisions.values():
            moments.sort()


_ACTIVE = "max by (namespace, replicaset) (max_over_time(kube_replicaset_spec_replicas[{window}])) > 0"
_UPDATE = (
    "max by (namespace, statefulset, revision) (max_over_time(kube_statefulset_status_update_revision[{window}])) > 0"
)


async def _owners(reader: Reader, first: datetime, last: datetime, past: Past, steps: Steps) -> None:
    """Whose ReplicaSets there were within the span."""

    def owner(window: timedelta) -> str:
        inner = f"max_over_time(kube_replicaset_owner[{seconds(window)}])"
        return f"max by (namespace, replicaset, owner_kind, owner_name) ({inner})"

    for labels, _ in await reader.vector(owner, last, last - first):
        namespace, replica_set = labels.get("namespace", ""), labels.get("replicaset", "")
        kind, name = labels.get("owner_kind", ""), labels.get("owner_name", "")
        if all((namespace, replica_set, kind, name)) and kind != "<none>":
            past.made[namespace, replica_set] = (namespace, kind, name)
    steps.one()


def moment(value: float | None) -> datetime | None:
    """A moment that a series tells in Unix seconds; None where it is none."""
    try:
        return None if not value else datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _note(matrix: Matrix, past: Past) -> None:
    for labels, samples in matrix:
        workload = past.made.get((labels.get("namespace", ""), labels.get("replicaset", "")))
        if workload is not None:
            moments = past.active.setdefault(workload, {}).setdefault(labels["replicaset"], [])
            moments += [at for at, _ in samples]


def _note_sets(matrix: Matrix, past: Past) -> None:
    for labels, samples in matrix:
        namespace, name, revision = (labels.get(each, "") for each in ("namespace", "statefulset", "revision"))
        if namespace and name and revision:
            moments = past.sets.setdefault((namespace, "StatefulSet", name), {}).setdefault(revision, [])
            moments += [at for at, _ in samples]


def _busy(
    active: Mapping[Key, Mapping[str, Sequence[datetime]]], coarse: timedelta
) -> list[tuple[Key, tuple[datetime, datetime]]]:
    """When a workload had more than one revision with replicas, or another than before; with what is just around."""
    found: list[tuple[Key, tuple[datetime, datetime]]] = []
    for key, revisions in sorted(active.items()):
        at_once: dict[datetime, set[str]] = defaultdict(set)
        for name, moments in revisions.items():
            for at in moments:
                at_once[at].add(name)
        before: set[str] | None = None
        windows: list[tuple[datetime, datetime]] = []
        for at, names in sorted(at_once.items()):
            if len(names) > 1 or (before is not None and names != before):
                windows.append((at - 2 * coarse, at + AFTER))
            before = names
        found += [(key, window) for window in merged(windows)]
    return found


def _replicas(workload: Key, names: Sequence[str]) -> str:
    chosen = f'namespace="{escape_label(workload[0])}",replicaset=~"{escape_label(pods_regex(names))}"'
    return tagged(
        {
            "spec": f"max by (replicaset) (kube_replicaset_spec_replicas{{{chosen}}})",
            "ready": f"max by (replicaset) (kube_replicaset_status_ready_replicas{{{chosen}}})",
            "created": f"max by (replicaset) (kube_replicaset_created{{{chosen}}})",
        }
    )


def _stateful_set(workload: Key) -> str:
    chosen = f'namespace="{escape_label(workload[0])}",statefulset="{escape_label(workload[2])}"'
    return tagged(
        {
            "update": f"max by (revision) (kube_statefulset_status_update_revision{{{chosen}}}) > 0",
            "current": f"max by (revision) (kube_statefulset_status_current_revision{{{chosen}}}) > 0",
        }
    )


def tagged(queries: Mapping[str, str]) -> str:
    """Several questions as one, each answer's series with its name as the label `what`."""
    return " or ".join(f'label_replace({query}, "what", "{what}", "", "")' for what, query in queries.items())


def of_replica_sets(workload: Key, matrix: Matrix, step: timedelta) -> list[RolloutSeen]:
    """The rollouts in these samples of `spec` and `ready` replicas of a workload's ReplicaSets, and when they were `created`."""
    spec, ready = _by_moment(matrix, "spec", "replicaset"), _by_moment(matrix, "ready", "replicaset")
    created = {
        labels.get("replicaset", ""): moment(values[0][1])
        for labels, values in matrix
        if labels.get("what") == "created"
    }
    turns = _Turns(workload)
    before: Mapping[str, float] = {}
    for at, now in sorted(spec.items()):
        if turns.target is None:
            turns.target = max(now, key=lambda name: now[name]) if any(now.values()) else None
        elif (chosen := _chosen(turns.target, before, now, created)) is not None:
            turns.begin(_began(created.get(chosen), at, step), chosen)
        if turns.target is not None and _alone(turns.target, now, ready.get(at, {})):
            turns.complete(at)
        before = now
    return turns.found


class _Turns:
    """The rollouts of one workload so far, and the revision it is at."""

    def __init__(self, workload: Key) -> None:
        self._workload = workload
        self._replaced: str | None = None
        self._complete = True
        self.target: str | None = None
        self.found: list[RolloutSeen] = []

    def begin(self, at: datetime, revision: str) -> None:
        self._replaced, self.target, self._complete = self.target, revision, False
        self._tell(at, "started")

    def complete(self, at: datetime) -> None:
        if not self._complete:
            self._complete = True
            self._tell(at, "completed")

    def _tell(self, at: datetime, phase: Literal["started", "completed"]) -> None:
        replaced = None if self._replaced is None else revision_of(self._workload, self._replaced)
        self.found.append(
            RolloutSeen(
                at=at,
                workload=name_of(self._workload),
                revision=revision_of(self._workload, self.target or ""),
                replaces=replaced,
                phase=phase,
            )
        )


def _alone(target: str, spec: Mapping[str, float], ready: Mapping[str, float]) -> bool:
    """Whether all replicas are the target's, and ready."""
    others = any(spec[name] or ready.get(name) for name in spec if name != target)
    return not others and 0 < spec.get(target, 0) <= ready.get(target, 0)


def _chosen(
    target: str, before: Mapping[str, float], now: Mapping[str, float], created: Mapping[str, datetime | None]
) -> str | None:
    """The ReplicaSet that the workload now moves to; None where it stays.

    One that had none gets replicas; or one that still had some gets more while the target gets fewer (a rollback in the
    middle of a rollout). When an autoscaler adds some to both, the target does not get fewer.
    """
    falls = now.get(target, 0) < before.get(target, 0)
    risen = [
        name
        for name, count in now.items()
        if name != target and count > before.get(name, 0) and (falls or not before.get(name, 0))
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(risen, key=lambda name: (not before.get(name, 0), created.get(name) or oldest), default=None)


def _began(created: datetime | None, seen: datetime, step: timedelta) -> datetime:
    """When it began: the ReplicaSet's creation where that fits between the samples, else the first sample that shows it."""
    return created if created is not None and seen - 2 * step <= created <= seen else seen


def of_stateful_set(workload: Key, matrix: Matrix) -> list[RolloutSeen]:
    """The rollouts in these samples of a StatefulSet's `update` and `current` revision."""
    update, current = _by_moment(matrix, "update", "revision"), _by_moment(matrix, "current", "revision")
    turns = _Turns(workload)
    for at, now in sorted(update.items()):
        # Where two are told at one moment, the one that is not the target is the newer.
        newest = next((name for name in now if name != turns.target), turns.target)
        if turns.target is None:
            turns.target = newest
        elif newest is not None and newest != turns.target:
            turns.begin(at, newest)
        if list(current.get(at, ())) == [turns.target]:
            turns.complete(at)
    return turns.found


def _by_moment(matrix: Matrix, what: str, label: str) -> dict[datetime, dict[str, float]]:
    found: dict[datetime, dict[str, float]] = defaultdict(dict)
    for labels, samples in matrix:
        if labels.get("what") == what and labels.get(label):
            for at, value in samples:
                found[at][labels[label]] = value
    return found
