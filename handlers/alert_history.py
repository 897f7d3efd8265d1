"""What fired and stopped while nobody listened: Prometheus' own `ALERTS` series over the time we were down.

Alertmanager never delivers an alert that began and ended during our absence, and its API lists only what is still
there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import structlog

from daemon.core.model import Alert, AlertStatus
from handlers.alerts import fingerprint_of
from handlers.prometheus import Labels, Matrix, PrometheusClient

QUERY = 'ALERTS{alertstate="firing"}'

LOOK_BACK_MAX = timedelta(hours=24)
"""What is older is beyond every blame window; Prometheus would read for long."""

BEFORE = timedelta(minutes=10)
"""So far before the last sign of life the reading begins: what began just before may not have reached us, and what
began even earlier is told apart from what began in between."""

STEP = timedelta(seconds=15)
"""Distance of the samples after a long absence. A shorter firing may be missed; rules are seldom evaluated more often."""

STEP_MIN = timedelta(seconds=1)
"""Distance of the samples after a short absence: a restart of seconds must not overlook an alert of seconds."""

SAMPLES_WANTED = 240
"""Samples of the absence itself: up to an hour the distance grows with it, from there on it is STEP."""

PART = timedelta(hours=2)
"""Length of one query: 480 samples per series, 12 KB, so that 2,000 firing alerts stay within one answer."""

SPELLS_MAX = 1_000
"""Most spells that are reported, the latest: more alerts than that in a day are no help in finding one rollout."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """One unbroken time in which an alert fired, by its first and last sample; both are exact to one step."""

    labels: tuple[tuple[str, str], ...]
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The alerts of spells that ended: `fired` where we also know when they began, `resolved` for all of them."""

    fired: tuple[Alert, ...]
    resolved: tuple[Alert, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHistory:
    """Reads the history from one Prometheus.

    `external` are Prometheus' `external_labels`, which it adds on the way to Alertmanager, and `dropped` the labels
    that its `alert_relabel_configs` drops (a replica label): without them the fingerprint would be another one.
    """

    client: PrometheusClient
    external: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    async def read(self, down_since: datetime, until: datetime) -> Past:
        """The alerts that fired between the two moments (the last LOOK_BACK_MAX of them) and fire no more.

        What still fires at `until` is left to Alertmanager's API, which also knows what is silenced. Raises
        Transient or Permanent.
        """
        start, step = max(down_since - BEFORE, until - LOOK_BACK_MAX), step_for(until - down_since)
        spells: list[Spell] = []
        for from_, to in _parts(start, until):
            matrix = await self.client.query_range(QUERY, from_, to, step)
            spells = joined(spells, spells_of(matrix, 2 * step), 2 * step)
        firing = {_without_state(labels) for labels, _ in await self.client.query(QUERY, until)}
        late = until - 2 * step  # a spell this close to the end may be one that goes on
        over = [spell for spell in spells if spell.last < late or spell.labels not in firing]
        ended = [spell for spell in over if spell.last >= down_since - step]
        if len(ended) > SPELLS_MAX:
            _log.warning("alert_history_cut", found=len(ended), reported=SPELLS_MAX)
        kept = sorted(ended, key=lambda spell: spell.last)[-SPELLS_MAX:]
        # A spell that already ran at the first sample began we do not know when.
        began = [spell for spell in kept if spell.first > start + 2 * step]
        return Past(
            fired=tuple(self._alert(spell, AlertStatus.FIRING) for spell in began),
            resolved=tuple(self._alert(spell, AlertStatus.RESOLVED) for spell in kept),
        )

    def _alert(self, spell: Spell, status: AlertStatus) -> Alert:
        labels = {**self.external, **dict(spell.labels)}
        sent = {name: value for name, value in labels.items() if name not in self.dropped and value}
        return Alert(
            fingerprint=fingerprint_of(sent), status=status, labels=tuple(sorted(sent.items())), starts_at=spell.first
        )


def step_for(absence: timedelta) -> timedelta:
    """The distance of the samples, in whole seconds, for an absence of this length."""
    wanted = timedelta(seconds=math.ceil(absence / SAMPLES_WANTED / STEP_MIN))
    return min(max(wanted, STEP_MIN), STEP)


def _parts(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        # The next part begins where this one ends: a sample that both have does no harm.
        yield start, min(start + PART, end)
        start += PART


def spells_of(matrix: Matrix, gap: timedelta) -> list[Spell]:
    """The spells in the samples: more than `gap` without a sample ends one."""
    found: list[Spell] = []
    for labels, samples in matrix:
        name = _without_state(labels)
        moments = [at for at, _ in samples]
        breaks = [i for i in range(1, len(moments)) if moments[i] - moments[i - 1] > gap]
        bounds = [0, *breaks, len(moments)]
        found.extend(Spell(labels=name, first=moments[a], last=moments[b - 1]) for a, b in pairwise(bounds))
    return found


def _without_state(labels: Labels) -> tuple[tuple[str, str], ...]:
    """The alert's own labels: `alertstate` and the name of the series are Prometheus' additions."""
    return tuple(sorted((k, v) for k, v in labels.items() if k not in ("alertstate", "__name__")))


def joined(earlier: Sequence[Spell], later: Sequence[Spell], gap: timedelta) -> list[Spell]:
    """Both lists, with the spells that run over the border between them made one."""
    open_ = {spell.labels: spell for spell in sorted(earlier, key=lambda spell: spell.last)}
    result = set(earlier)
    for spell in sorted(later, key=lambda spell: spell.first):
        before = open_.get(spell.labels)
        whole = spell
        if before is not None and spell.first - before.last <= gap:
            result.discard(before)
            whole = Spell(labels=spell.labels, first=before.first, last=spell.last)
        open_[spell.labels] = whole
        result.add(whole)
    return sorted(result, key=lambda spell: (spell.first, spell.labels))
