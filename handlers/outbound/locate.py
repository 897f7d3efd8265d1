"""Carries out Locate: from an alert to the workloads it belongs to, the onset of its anomaly, and since when it is felt there.

The ladder is `handlers.ladder`; here is when it began. Labels come from outside: they are only ever compared with names in
the cache, or put into a query escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from daemon.core.actions import Locate, Located, Outcome, OutcomeKind
from daemon.core.model import Alert, Location, OnsetSource, Rung
from daemon.ports import Clock
from handlers.cache import ClusterCache
from handlers.call_graph import CallGraph
from handlers.faults import Fault
from handlers.ladder import Place, place
from handlers.look_back import LookBack
from handlers.prometheus import AlertingRule, Labels, PrometheusClient, escape_label
from handlers.sampling import Sampler

NAME = "__name__"

_log = structlog.get_logger(__name__)


class LocateRunner:
    """ports.Runner of Locate. `prometheus` is None where none is configured: then every onset is assumed.

    `calls` gives the call graph of now; None where nobody tells who calls whom, and then nobody is near.
    """

    def __init__(
        self,
        cache: ClusterCache,
        prometheus: PrometheusClient | None,
        sampler: Sampler,
        clock: Clock,
        calls: Callable[[], CallGraph | None] = lambda: None,
    ) -> None:
        self._cache = cache
        self._prometheus = prometheus
        self._sampler = sampler
        self._look_back = LookBack(sampler)
        self._clock = clock
        self._calls = calls

    async def probe(self, action: Locate) -> Outcome | None:
        """Looking changes nothing: after a crash it is simply done again."""
        return None

    async def run(self, action: Locate) -> Outcome:
        """Where the alert belongs, and since when."""
        found = place(action.alert, self._cache, self._sampler.policy.mappings)
        onset, source = await self._onset(action.alert)
        graph = self._calls() if found.workloads else None
        location = Location(
            workloads=found.workloads,
            rung=found.rung,
            tried=found.tried,
            onset=onset,
            onset_source=source,
            neighbours=graph.near(found.workloads) if graph is not None else (),
            kin=graph.kin(found.workloads) if graph is not None else (),
            felt_at=await self._felt_at(found, onset),
        )
        return Outcome(kind=OutcomeKind.DONE, result=Located(location=location))

    async def _felt_at(self, found: Place, onset: datetime) -> datetime | None:
        """Of where it hurts; whole namespaces are no place."""
        if self._prometheus is None or found.rung is Rung.NAMESPACE or not found.workloads:
            return None
        return await self._look_back.felt_at(found.workloads[0], onset)

    async def _onset(self, alert: Alert) -> tuple[datetime, OnsetSource]:
        """`ALERTS_FOR_STATE`; else `startsAt` minus the rule's `for`; else minus `assumed_for` (DESIGN, "Blame").

        An unreadable Prometheus must not lose the alert: an assumed onset holds rather than decides.
        """
        if self._prometheus is not None:
            try:
                if (began := await self._for_state(self._prometheus, alert)) is not None:
                    return began, OnsetSource.FOR_STATE
            except Fault as fault:
                _log.warning("onset_unreadable", source="ALERTS_FOR_STATE", reason=fault.reason)
            try:
                if (duration := _duration(await self._prometheus.rules(), alert)) is not None:
                    return alert.starts_at - duration, OnsetSource.RULE
            except Fault as fault:
                _log.warning("onset_unreadable", source="rules", reason=fault.reason)
        return alert.starts_at - self._sampler.policy.assumed_for, OnsetSource.ASSUMED

    async def _for_state(self, prometheus: PrometheusClient, alert: Alert) -> datetime | None:
        """The value is the moment the condition became true, in Unix seconds.

        Asked now, and at the start for an alert that is over or began anew. A value after the start is of a later turn.
        """
        query = f'ALERTS_FOR_STATE{{alertname="{escape_label(alert.name)}"}}'
        for at in (self._clock.now(), alert.starts_at):
            found = _of_alert(await prometheus.query(query, at), alert)
            began = [moment for value in found if (moment := _moment(value)) is not None and moment <= alert.starts_at]
            if began:
                return max(began)
        return None


def _of_alert(vector: Sequence[tuple[Labels, float]], alert: Alert) -> list[float]:
    """The values of the alert's own series.

    An alert may hold labels that its series has not (external labels), so the series' labels must be among the alert's;
    of several the ones that share the most, for the same name may stand for a pod's alert and for a namespace's.
    """
    labels = set(alert.labels)
    named = [({pair for pair in series.items() if pair[0] != NAME}, value) for series, value in vector]
    mine = [(len(series), value) for series, value in named if series <= labels]
    most = max((count for count, _ in mine), default=0)
    return [value for count, value in mine if count == most]


def _moment(value: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _duration(rules: Sequence[AlertingRule], alert: Alert) -> timedelta | None:
    """The `for` of the alert's rule, None where there is none of that name.

    Several rules may share a name, with other labels for other severities; labels written as templates tell nothing. Of
    those that fit the longest counts: an onset too early can only spare a rollout.
    """
    named = [rule for rule in rules if rule.name == alert.name]
    labels = set(alert.labels)
    fitting = [rule for rule in named if {pair for pair in rule.labels if "{{" not in pair[1]} <= labels]
    return max((rule.duration for rule in fitting or named), default=None)
