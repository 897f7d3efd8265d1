"""Which revision ran under which pod name, and when: for kinds whose pods inherit the names of those before them.

`web-2` of a StatefulSet runs the old revision until it is exchanged, and then the new one. A query by name alone would
mix the two; a query by name and time does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from daemon.core.model import RevisionId, Stint

STINTS_MAX = 200
"""Stints kept per revision, as many as names: a set of 200 pods, or one of ten that was exchanged again and again."""


def settled(stints: Mapping[RevisionId, Iterable[Stint]]) -> dict[RevisionId, tuple[Stint, ...]]:
    """Each stint once, oldest first, and over at the latest when the next pod of its name began.

    Kubernetes makes no second pod of a name while the first exists, so that moment is certain even if nobody saw the
    first one go: the watch was cut, or we were down.
    """
    lives: dict[tuple[RevisionId, str, datetime], Stint] = {}
    for revision, found in stints.items():
        for stint in found:
            pod = (revision, stint.name, stint.since)
            lives[pod] = _ended(stint, lives.get(pod, stint).until)
    ended: dict[RevisionId, list[Stint]] = {revision: [] for revision in stints}
    next_since: dict[str, datetime] = {}
    for (revision, _, _), stint in sorted(lives.items(), key=lambda each: _order(each[1]), reverse=True):
        ended[revision].append(_ended(stint, next_since.get(stint.name)))
        next_since[stint.name] = stint.since
    return {revision: tuple(reversed(found)) for revision, found in ended.items()}


def newest(stints: tuple[Stint, ...]) -> tuple[Stint, ...]:
    """The STINTS_MAX latest of settled ones: what is compared is the rollout of now."""
    return stints[-STINTS_MAX:]


def _order(stint: Stint) -> tuple[datetime, str, bool, datetime]:
    """By their beginning; of two within one second (creation times are whole ones) the one that is over was first."""
    return stint.since, stint.name, stint.until is None, stint.until or stint.since


def _ended(stint: Stint, at: datetime | None) -> Stint:
    if at is None or (stint.until is not None and stint.until <= at):
        return stint
    return replace(stint, until=at)
