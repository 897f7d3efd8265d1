"""Groups of pods as PromQL can select them: by the names that are known, and by the shape of generated names.

A query about the past also means pods that are gone and that nobody listed: those of a revision are found by its
ReplicaSet's name where it has one, those of a whole workload (a day earlier, under other revisions) by what all their
names look like. Where a name is given again to the pod that follows it (StatefulSets) it means a revision's pod only at
times: such a group has stints, and its names at each moment are those of `spans`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from daemon.core.model import Revision, Stint, Workload
from handlers.kinds import DAEMON_SET, DEPLOYMENT, SERVICE, History, kind_named
from handlers.pod_names import BASE_CHARS_MAX, SUFFIX_CHARS
from handlers.prometheus import PODS_MAX, pods_regex

LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"
"""The alphabet of generated names (apimachinery, util/rand): no vowels, no 0, 1, 3."""

HASH_CHARS = (6, 10)
"""Length of a pod-template-hash: the digits of a 32-bit number, one letter each (util/rand, SafeEncodeString). One of
50,000 is shorter; those are given up, because a DaemonSet `web-db` must not be taken for a Deployment `web`."""

SPANS_MAX = 12
"""Spans of one group that are asked for, the latest first, with one query per span and signal. A rollout has as many as
the set has pods; of a set with more the latest exchanges are enough to compare, and Prometheus is shared with others.
"""

ROUNDED_BY = timedelta(seconds=1)
"""Creation times are whole seconds, rounded down: so much later than it says may a pod have been made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpan:
    """From `first` to `last` (both are moments of samples) the group was the pods with these names."""

    names: tuple[str, ...]
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """Pods of one namespace: those with these `names`, and those whose name one of the RE2 `patterns` matches.

    Or those that have `stints`, each while it lasted; then there are neither names nor patterns.
    """

    namespace: str
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    stints: tuple[Stint, ...] = ()

    @property
    def empty(self) -> bool:
        """Nobody is in it: a query about it would have no answer."""
        return not self.names and not self.patterns and not self.stints

    def spans(self, start: datetime, end: datetime, step: timedelta, window: timedelta) -> tuple[PodSpan, ...]:
        """The SPANS_MAX latest times within start..end in which the same stints count, oldest first; none without any.

        At a moment those count that lasted through the whole `window` before it, which is what a rate looks back on: a
        pod that has just been exchanged would bring along the samples of the one before it.
        """
        whole = int(step.total_seconds())
        begin, final = math.ceil(start.timestamp() / whole), math.floor(end.timestamp() / whole)
        lasting: list[tuple[str, int, int]] = []
        for stint in self.stints:
            first = max(begin, math.ceil(own_from(stint.since, window).timestamp() / whole))
            last = final if stint.until is None else min(final, math.floor(stint.until.timestamp() / whole))
            if first <= last:
                lasting.append((stint.name, first, last))
        return tuple(_spans(lasting, whole))


def _spans(lasting: Sequence[tuple[str, int, int]], step_seconds: int) -> Sequence[PodSpan]:
    """The latest spans of names that each last from one multiple of the step to another, oldest first."""
    edges = sorted({edge for _, first, last in lasting for edge in (first, last + 1)}, reverse=True)
    found: list[PodSpan] = []
    for after, begin in pairwise(edges):
        names = sorted({name for name, first, last in lasting if first <= begin and after <= last + 1})
        if names:
            first, last = (datetime.fromtimestamp(each * step_seconds, UTC) for each in (begin, after - 1))
            found.append(PodSpan(names=tuple(names[:PODS_MAX]), first=first, last=last))
        if len(found) == SPANS_MAX:
            break
    return found[::-1]


def names_return(workload: Workload) -> bool:
    """Whether its pods inherit the names of those before them, so that a name alone tells no revision."""
    kind = kind_named(workload.kind)
    return kind is not None and not kind.generates


def own_from(since: datetime, window: timedelta) -> datetime:
    """From when on a rate under the name of a pod that was made at `since` looks back on nothing but that pod."""
    return since + ROUNDED_BY + window


def of_stints(workload: Workload, stints: Iterable[Stint]) -> PodGroup:
    """The pods that ran a revision under names that others had before them or have now."""
    return PodGroup(namespace=workload.namespace, stints=tuple(stints))


def of_revision(workload: Workload, revision: Revision | None, names: Iterable[str]) -> PodGroup:
    """All pods that ever ran the revision: its ReplicaSet's, and `names` where these are of another one.

    Other kinds have no ReplicaSets: of their pods only the `names` are known. At most PODS_MAX names: the rest of so
    large a group can wait for the ReplicaSet to be known.
    """
    if revision is None:
        return PodGroup(namespace=workload.namespace)
    owner = revision.replica_set if _history_of(workload) is History.REPLICA_SETS else None
    # Longer names are cut before the suffix is added, and what is left may be another ReplicaSet's beginning too.
    if owner is None or len(owner) >= BASE_CHARS_MAX:
        return PodGroup(namespace=workload.namespace, names=tuple(dict.fromkeys(names))[:PODS_MAX])
    length, start = len(owner) + 1 + SUFFIX_CHARS, f"{owner}-"
    others = [name for name in dict.fromkeys(names) if not (name.startswith(start) and len(name) == length)]
    pattern = f"{pods_regex([owner])}-[a-z0-9]{{{SUFFIX_CHARS}}}"
    return PodGroup(namespace=workload.namespace, names=tuple(others[:PODS_MAX]), patterns=(pattern,))


def of_workload(workload: Workload, revisions: Iterable[Revision | None] = ()) -> PodGroup:
    """All pods that a workload of this name ever had, whatever their revision; nobody where names of pods are cut.

    Those of a blue/green Service are the pods of the Deployments that `revisions` tell.

    Workloads with a longer name (`web-admin`) have one more dash, and the letters leave out nearly all words, so that
    of a Deployment `web` the pod `web-api-x7k2p` of a DaemonSet is not meant either.
    """
    if workload.kind == SERVICE.name:
        made = [each.replica_set.rpartition("-")[0] for each in revisions if each is not None and each.replica_set]
        colours = [
            Workload(namespace=workload.namespace, kind=DEPLOYMENT.name, name=name) for name in dict.fromkeys(made)
        ]
        patterns = tuple(pattern for each in colours for pattern in of_workload(each).patterns)
        return PodGroup(namespace=workload.namespace, patterns=patterns)
    end = _ending(workload)
    if end is None:
        return PodGroup(namespace=workload.namespace)
    return PodGroup(namespace=workload.namespace, patterns=(f"{pods_regex([workload.name])}-{end}",))


def _ending(workload: Workload) -> str | None:
    """What follows the workload's name and a dash in its pods' names, as RE2; None where the name would be cut."""
    if names_return(workload):
        return "[0-9]+"  # never cut: the names of a StatefulSet's pods are also their host names
    suffix = f"{LETTERS}{{{SUFFIX_CHARS}}}"
    if _history_of(workload) is DAEMON_SET.history:
        return suffix if len(workload.name) + 1 <= BASE_CHARS_MAX else None
    shortest, longest = HASH_CHARS
    if len(workload.name) + 1 + longest + 1 > BASE_CHARS_MAX:
        return None
    return f"{LETTERS}{{{shortest},{longest}}}-{suffix}"


def _history_of(workload: Workload) -> History:
    """Where the workload's templates of before are kept; a kind that is not known is taken for a Deployment's like."""
    kind = kind_named(workload.kind)
    return History.REPLICA_SETS if kind is None else kind.history
