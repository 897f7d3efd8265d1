"""Finds out which of the known metrics this Prometheus has, and puts them in the place of the default signals.

A signal whose query the user has written stays as it is. What was found is kept while the daemon lives: a metric that pauses must
not change what a workload is measured by, and one that is gone for good only gives no series.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS, SignalKind, SignalRule
from daemon.ports import Clock
from handlers import signal_presets as presets
from handlers.faults import Fault, Permanent
from handlers.prometheus import Vector, render
from handlers.signal_presets import Existing, PodLabels
from handlers.signal_sources import SOURCES_MAX, Alternative, united

LOOK_BACK = timedelta(hours=1)
"""A metric exists that had a sample in this time: a service that is restarted is not gone."""

SEARCH_EVERY = timedelta(minutes=10)
"""Between two searches: some 15 requests, answered from Prometheus' index."""

SEARCH_AGAIN = timedelta(seconds=30)
"""After one that failed: until the first has succeeded, only the defaults are asked for."""

Ways = Mapping[SignalKind, tuple[Alternative, ...]]

_log = structlog.get_logger(__name__)


class Metrics(Protocol):
    """What is asked of Prometheus; handlers.prometheus.PrometheusClient is one. Raises Transient and Permanent."""

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        """The label's values among the selected series."""
        ...

    async def query(self, promql: str, at: datetime) -> Vector:
        """The instant vector at that moment."""
        ...


async def search(prometheus: Metrics, now: datetime) -> Existing:
    """Which metrics of the presets have series with a pod's name. Raises Transient and Permanent."""
    metrics: set[tuple[str, PodLabels]] = set()
    labelled: set[tuple[str, PodLabels, str]] = set()
    native: set[tuple[str, PodLabels]] = set()
    for pods, wanted in _wanted().items():
        found = await _names(prometheus, wanted, pods.present, now)
        metrics |= {(name, pods) for name in found}
        for label in sorted({label for name in found for label in _labels(name, pods)}):
            with_it = await _names(prometheus, found, f'{pods.present},{label}!=""', now)
            labelled |= {(name, pods, label) for name in with_it}
        native |= {(name, pods) for name in _durations(found) if await _is_native(prometheus, name, pods, now)}
    return Existing(metrics=frozenset(metrics), labelled=frozenset(labelled), native=frozenset(native))


def together(one: Existing, other: Existing) -> Existing:
    """What either has."""
    return Existing(
        metrics=one.metrics | other.metrics,
        labelled=one.labelled | other.labelled,
        native=one.native | other.native,
    )


async def understood(prometheus: Metrics, ways: Ways, now: datetime) -> Ways:
    """The ways whose query this server answers, each tried once for no pod at all: one that it refuses must not take the
    place of a default that it knows. Raises Transient.
    """
    good: dict[SignalKind, tuple[Alternative, ...]] = {}
    for kind, each in ways.items():
        try:
            await prometheus.query(render(united(each[:SOURCES_MAX]), namespace="", pods=(), window=LOOK_BACK), now)
        except Permanent as fault:
            _log.warning("signal_query_refused", signal=kind.value, reason=fault.reason)
            continue
        good[kind] = each
    return good


def laid_over(signals: Sequence[SignalRule], ways: Ways) -> tuple[SignalRule, ...]:
    """The signals, those with a default's query measured by what was found; where nothing was, and thresholds, as they were."""
    defaults = {rule.query for rule in (*DEFAULT_SIGNALS, *SATURATION_SIGNALS)}
    return tuple(
        replace(rule, query=united(ways[rule.kind][:SOURCES_MAX]))
        if rule.query in defaults and rule.kind in ways
        else rule
        for rule in signals
    )


class SignalSearch:
    """Searches at the start and now and then; tells `found` whenever there is more than before."""

    def __init__(self, prometheus: Metrics, clock: Clock, found: Callable[[Ways], None]) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._found = found
        self._known = Existing()
        self._failing = False

    async def run(self) -> None:
        """Search until cancelled."""
        while True:
            pause = SEARCH_EVERY if await self.once() else SEARCH_AGAIN
            await asyncio.sleep(pause.total_seconds())

    async def once(self) -> bool:
        """One search; False where Prometheus could not be asked, and then nothing is concluded."""
        try:
            now = self._clock.now()
            existing = together(self._known, await search(self._prometheus, now))
            if existing != self._known:
                self._take(existing, await understood(self._prometheus, presets.ways(existing), now))
        except Fault as fault:
            if not self._failing:
                _log.warning("signals_not_searched", reason=fault.reason)
            self._failing = True
            return False
        self._failing = False
        return True

    def _take(self, existing: Existing, ways: Ways) -> None:
        self._known = existing
        _tell(ways)
        self._found(ways)


def _tell(ways: Ways) -> None:
    """By what each kind is measured from now on, and what is one source too many."""
    sources = {kind.value: [way.source for way in each] for kind, each in ways.items()}
    _log.info("signals_found", **{kind: each[:SOURCES_MAX] for kind, each in sources.items()})
    left = {kind: each[SOURCES_MAX:] for kind, each in sources.items() if len(each) > SOURCES_MAX}
    if left:
        _log.warning("signals_left_out", at_most=SOURCES_MAX, remedy="write the query into policy.signals", **left)


def _wanted() -> Mapping[PodLabels, set[str]]:
    """The metrics to look for, by the labels that name their pods."""
    wanted: dict[PodLabels, set[str]] = {}
    for family in presets.FAMILIES:
        for pods in family.pods:
            wanted.setdefault(pods, set()).update((family.total, family.duration, f"{family.duration}_bucket"))
    wanted[presets.OWN] |= {presets.THROTTLED, presets.PERIODS, presets.WORKING_SET, presets.SPEC_LIMIT, presets.LIMITS}
    wanted.setdefault(presets.EXPORTED, set()).add(presets.LIMITS)
    return wanted


def _labels(name: str, pods: PodLabels) -> Iterator[str]:
    """The labels that may tell failures among the series of this metric."""
    for family in presets.FAMILIES:
        if pods in family.pods and name in (family.total, family.duration):
            yield from (failed.label for failed in family.failed)


def _durations(names: frozenset[str]) -> list[str]:
    return sorted({family.duration for family in presets.FAMILIES} & names)


async def _names(
    prometheus: Metrics, wanted: set[str] | frozenset[str], matchers: str, now: datetime
) -> frozenset[str]:
    selector = f'{{__name__=~"{"|".join(sorted(wanted))}",{matchers}}}'
    return await prometheus.label_values("__name__", selector, now - LOOK_BACK, now) & wanted


async def _is_native(prometheus: Metrics, name: str, pods: PodLabels, now: datetime) -> bool:
    """A summary has series under its plain name as well. A server that knows no native histograms refuses the function."""
    try:
        return bool(await prometheus.query(f"count(histogram_count({name}{{{pods.present}}}))", now))
    except Permanent:
        return False
