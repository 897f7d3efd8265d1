"""Which alerts fired, from Prometheus' own `ALERTS` series; and around which workloads' they are of interest.

Alertmanager's `startsAt` is when the alert began to fire: the first sample that shows it. When its condition became true is
what `ALERTS_FOR_STATE` holds; that is kept as the annotation ONSET, for it is not what Alertmanager would have sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from handlers.alert_history import Spell, joined, spells_of
from handlers.backtest.past_rollouts import Key, moment
from handlers.backtest.reading import Reader, Steps, spans
from handlers.backtest.recording import AlertSeen
from handlers.ladder_labels import CALLEE_NAMESPACES, CALLER_NAMESPACES, EXPORTED, NAMESPACE_LABELS, host_of
from handlers.prometheus import Matrix

FIRING = 'ALERTS{alertstate="firing"}'
SINCE = f"ALERTS_FOR_STATE and ignoring (alertstate) {FIRING}"

ONSET = "lastgood_onset"
"""The annotation with the moment (RFC 3339) from which on the alert's condition held."""

PART = timedelta(hours=12)
"""Of one query: 720 samples a series at 60 s."""

GAP = 5
"""Samples without the alert after which it had ended: Prometheus shows a series for 5 minutes where it was restarted."""

AROUND = timedelta(minutes=15)

PEERS_MAX = 6
"""Workloads of the same namespace that are read around an alert, to see whether they fail alike; as in a measurement."""

UNNAMED_MAX = 20
"""Workloads that are read for an alert that names only their namespace."""

SPELLS_MAX = 100_000
"""Alerts of one history. An answer with more is one of broken rules, and no memory holds it."""

_NAMESPACES = (
    *NAMESPACE_LABELS,
    *(EXPORTED + label for label in NAMESPACE_LABELS),
    *CALLEE_NAMESPACES,
    *CALLER_NAMESPACES,
)
"""Labels of an alert that tell a namespace: its own, and those of both ends of a mesh's call."""

Labels = tuple[tuple[str, str], ...]


class TooManyAlertsError(Exception):
    """There are more alerts than a recording may hold."""


async def read(
    reader: Reader, start: datetime, end: datetime, step: timedelta, steps: Steps
) -> list[tuple[Spell, datetime | None]]:
    """Each unbroken time in which an alert fired, and since when its condition held. Raises Transient or Permanent."""
    parts = list(spans(start, end, PART))
    steps.begin(2 * len(parts))
    found: list[Spell] = []
    onsets: dict[Labels, list[tuple[datetime, float]]] = defaultdict(list)
    for first, last in parts:
        found = joined(found, spells_of(await reader.matrix(FIRING, first, last, step), GAP * step), GAP * step)
        if len(found) > SPELLS_MAX:
            raise TooManyAlertsError(f"more than {SPELLS_MAX} alerts fired up to {last:%Y-%m-%d %H:%M}Z")
        steps.one()
        _note_onsets(await reader.matrix(SINCE, first, last, step), onsets)
        steps.one()
    return [(spell, _onset(spell, onsets)) for spell in found]


def _note_onsets(matrix: Matrix, onsets: dict[Labels, list[tuple[datetime, float]]]) -> None:
    """Only where the value changes: one of a day-long alert is enough."""
    for labels, samples in matrix:
        own = tuple(sorted((name, value) for name, value in labels.items() if name != "__name__"))
        known = onsets[own]
        for at, value in samples:
            if not known or known[-1][1] != value:
                known.append((at, value))


def _onset(spell: Spell, onsets: Mapping[Labels, Sequence[tuple[datetime, float]]]) -> datetime | None:
    """What ALERTS_FOR_STATE said as the spell began."""
    known = [value for at, value in onsets.get(spell.labels, ()) if at <= spell.first]
    found = moment(known[-1]) if known else None
    return found if found is not None and found <= spell.first else None


def records(spell: Spell, onset: datetime | None, end: datetime, step: timedelta) -> list[AlertSeen]:
    """The alert as Alertmanager would have sent it: firing, and resolved unless it fires to the end."""
    labels = dict(spell.labels)
    annotations = {} if onset is None else {ONSET: f"{onset.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    common = {"labels": labels, "annotations": annotations, "starts_at": spell.first}
    told = [AlertSeen(at=spell.first, status="firing", **common)]  # type: ignore[arg-type]
    if spell.last + step <= end:
        told.append(AlertSeen(at=spell.last + step, status="resolved", **common))  # type: ignore[arg-type]
    return told


def concerned(spell: Spell, workloads: Sequence[Key], *, covered: bool) -> Sequence[Key]:
    """The workloads to be read around an alert: those that its labels name, else those of its namespace.

    `covered`: a rollout was recent, so that there is something to blame; then some peers are read, too. An alert of no
    namespace concerns the only workload of a name that it holds, or none in particular.
    """
    labels = dict(spell.labels)
    hosts = [host_of(value) for value in labels.values()]
    names = [name for name, _ in hosts]
    spaces = {labels[label] for label in _NAMESPACES if label in labels} | {space for _, space in hosts if space}
    if not spaces:
        meant = [key for key in workloads if key[2] in names]
        spaces = {key[0] for key in meant} if len(meant) == 1 else set()
    near = [key for key in workloads if key[0] in spaces]
    named = [key for key in near if _names(names, key[2])]
    if not covered:
        return named
    others = [key for key in near if key not in named]
    return [*named, *others[: PEERS_MAX if named else UNNAMED_MAX]]


def _names(values: Iterable[str], name: str) -> bool:
    """Whether a label holds the workload's name, or that of a pod or a ReplicaSet that it made."""
    return any(value == name or value.startswith(f"{name}-") for value in values)
