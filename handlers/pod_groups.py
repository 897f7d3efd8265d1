"""Groups of pods as PromQL can select them: by the names that are known, and by the shape of generated names.

A query about the past also means pods that are gone and that nobody listed: those of a revision are found by its
ReplicaSet's name, those of a whole Deployment (a day earlier, under other ReplicaSets) by the alphabet of generated parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daemon.core.model import Revision, Workload
from handlers.pod_names import BASE_CHARS_MAX, SUFFIX_CHARS
from handlers.prometheus import PODS_MAX, pods_regex

LETTERS = "[bcdfghjklmnpqrstvwxz2456789]"
"""The alphabet of generated names (apimachinery, util/rand): no vowels, no 0, 1, 3."""

HASH_CHARS = (6, 10)
"""Length of a pod-template-hash: the digits of a 32-bit number, one letter each (util/rand, SafeEncodeString). One of
50,000 is shorter; those are given up, because a DaemonSet `web-db` must not be taken for a Deployment `web`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodGroup:
    """Pods of one namespace: those with these `names`, and those whose name one of the RE2 `patterns` matches."""

    namespace: str
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nobody is in it: a query about it would have no answer."""
        return not self.names and not self.patterns


def of_revision(workload: Workload, revision: Revision | None, names: Iterable[str]) -> PodGroup:
    """All pods that ever ran the revision: its ReplicaSet's, and `names` where these are of another one.

    At most PODS_MAX names: the rest of so large a group can wait for the ReplicaSet to be known.
    """
    if revision is None:
        return PodGroup(namespace=workload.namespace)
    owner = revision.replica_set
    # Longer names are cut before the suffix is added, and what is left may be another ReplicaSet's beginning too.
    if owner is None or len(owner) >= BASE_CHARS_MAX:
        return PodGroup(namespace=workload.namespace, names=tuple(dict.fromkeys(names))[:PODS_MAX])
    length, start = len(owner) + 1 + SUFFIX_CHARS, f"{owner}-"
    others = [name for name in dict.fromkeys(names) if not (name.startswith(start) and len(name) == length)]
    pattern = f"{pods_regex([owner])}-[a-z0-9]{{{SUFFIX_CHARS}}}"
    return PodGroup(namespace=workload.namespace, names=tuple(others[:PODS_MAX]), patterns=(pattern,))


def of_workload(workload: Workload) -> PodGroup:
    """All pods that a Deployment of this name ever had, whatever their revision; nobody where names of pods are cut.

    Deployments with a longer name (`web-admin`) have one more dash, and the letters leave out nearly all words, so
    that `web-api-x7k2p` of a DaemonSet is not meant either.
    """
    shortest, longest = HASH_CHARS
    if len(workload.name) + 1 + longest + 1 > BASE_CHARS_MAX:
        return PodGroup(namespace=workload.namespace)
    generated = f"{LETTERS}{{{shortest},{longest}}}-{LETTERS}{{{SUFFIX_CHARS}}}"
    return PodGroup(namespace=workload.namespace, patterns=(f"{pods_regex([workload.name])}-{generated}",))
