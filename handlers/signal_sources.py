"""One signal from several metrics: a query that answers one series per source, and which source is taken.

The services of one cluster do not agree on how their metrics are called. A signal whose query is `united` asks for all of them at
once; each answer says in a label where it is from. New and old pods are only ever compared by the same source: a mesh's p95
against an application's own p95 would convict nobody but the measuring.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

SOURCE_LABEL = "lastgood_source"
"""The label of a series that names its source; a query that is not united has none."""

SOURCES_MAX = 6
"""Most sources of one signal: each writes the pods' names into the query several times more."""

_PART = re.compile(rf'(?:^| or )label_replace\((.*?), "{SOURCE_LABEL}", "([^"]*)", "", ""\)', re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way to measure a signal: PromQL for one number, and the name of the metrics' family for people."""

    source: str
    query: str


def united(alternatives: Sequence[Alternative]) -> str:
    """One query for all, the best first, each answer labelled. Raises ValueError for none or more than SOURCES_MAX."""
    if not 1 <= len(alternatives) <= SOURCES_MAX:
        raise ValueError(f"{len(alternatives)} sources of one signal, must be 1 to {SOURCES_MAX}")
    # An empty source label always matches the empty expression: that is how PromQL sets a label.
    parts = (f'label_replace({each.query}, "{SOURCE_LABEL}", "{each.source}", "", "")' for each in alternatives)
    return " or ".join(parts)


def alternatives_of(query: str) -> tuple[Alternative, ...]:
    """What `united` was made of, in its order; the query alone, its source unnamed, where it is not united."""
    found = tuple(Alternative(source=source, query=inner) for inner, source in _PART.findall(query))
    return found or (Alternative(source="", query=query),)


def by_source(series: Iterable[tuple[Mapping[str, str], T]]) -> dict[str, T] | None:
    """The series of one answer by their source; None where two are of the same one, so that none is the one meant."""
    found: dict[str, T] = {}
    for labels, value in series:
        source = labels.get(SOURCE_LABEL, "")
        if source in found:
            return None
        found[source] = value
    return found


def chosen(query: str, groups: Sequence[Mapping[str, T]]) -> str | None:
    """The source that all groups are read by: the one that answers for most of them, of equals the first in the query.

    None where nothing answered. A group that only another source knows has no data then: better none than a false contrast.
    """
    order = [each.source for each in alternatives_of(query)]
    answers = {source: sum(source in group for group in groups) for group in groups for source in group}
    return min(
        answers,
        key=lambda source: (-answers[source], order.index(source) if source in order else len(order)),
        default=None,
    )
