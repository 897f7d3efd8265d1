"""What a pod's name tells after the pod is gone: which ReplicaSet generated it (apiserver, names/generate.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SUFFIX_CHARS = 5
"""Length of the random end of a generated name."""

BASE_CHARS_MAX = 58
"""A generated name is at most 63 characters: longer beginnings are cut before the suffix is added."""


def replica_set_names(pod: str, existing: Iterable[str]) -> Iterator[str]:
    """Which of the `existing` ReplicaSets may have generated this pod's name."""
    base = pod[:-SUFFIX_CHARS]
    if not base:
        return
    for name in existing:
        if base == f"{name}-"[:BASE_CHARS_MAX]:
            yield name
