"""What a pod's name tells after the pod is gone: who made it (apiserver, names/generate.go; StatefulSets number theirs)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

SUFFIX_CHARS = 5
"""Length of the random end of a generated name."""

BASE_CHARS_MAX = 58
"""A generated name is at most 63 characters: longer beginnings are cut before the suffix is added."""


def makers(pod: str, existing: Iterable[str]) -> Iterator[str]:
    """Which of the `existing` ReplicaSets or DaemonSets may have generated this pod's name."""
    base = pod[:-SUFFIX_CHARS]
    if not base:
        return
    for name in existing:
        if base == f"{name}-"[:BASE_CHARS_MAX]:
            yield name


def set_of(pod: str) -> str | None:
    """The StatefulSet that a pod of this name would be of, None where the name ends in no number."""
    name, _, ordinal = pod.rpartition("-")
    return name if name and ordinal.isascii() and ordinal.isdigit() else None
