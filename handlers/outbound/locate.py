"""Carries out Locate: DESIGN's ladder from an alert's labels to workloads, and the onset of its anomaly.

First hit wins: explicit, pod, controller, Service, label, namespace. Labels come from outside: they are only ever compared
with names in the cache, never put into a query unescaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from daemon.core.actions import Locate, Located, Outcome, OutcomeKind
from daemon.core.model import Alert, Location, OnsetSource, Rung, Workload
from daemon.ports import Clock
from handlers.cache import ClusterCache
from handlers.faults import Fault
from handlers.prometheus import PrometheusClient, escape_label
from handlers.sampling import Sampler

EXPLICIT_LABEL = "lastgood_workload"
POD_LABELS = ("pod", "pod_name", "kubernetes_pod_name")
CONTROLLER_LABELS = (("deployment", "Deployment"), ("kubernetes_deployment_name", "Deployment"))
SERVICE_LABELS = ("service", "kubernetes_service_name")
NAME_LABELS = (("app", "app"), ("app_kubernetes_io_name", "app.kubernetes.io/name"), ("job", "job"))
"""Alert labels that name an application, and the object label each stands for."""

WORKLOADS_MAX = 50
"""Workloads one alert may be mapped to; a namespace with more is no place to search for one culprit."""


class LocateRunner:
    """ports.Runner of Locate. `prometheus` is None where none is configured: then every onset is assumed."""

    def __init__(
        self, cache: ClusterCache, prometheus: PrometheusClient | None, sampler: Sampler, clock: Clock
    ) -> None:
        self._cache = cache
        self._prometheus = prometheus
        self._sampler = sampler
        self._clock = clock

    async def probe(self, action: Locate) -> Outcome | None:
        """Looking changes nothing: after a crash it is simply done again."""
        return None

    async def run(self, action: Locate) -> Outcome:
        """Where the alert belongs, and since when."""
        workloads, rung, tried = self._place(action.alert)
        onset, source = await self._onset(action.alert)
        location = Location(workloads=workloads, rung=rung, tried=tried, onset=onset, onset_source=source)
        return Outcome(kind=OutcomeKind.DONE, result=Located(location=location))

    def _place(self, alert: Alert) -> tuple[tuple[Workload, ...], Rung, tuple[str, ...]]:
        tried: list[str] = []
        for rung, label, found in self._rungs(alert):
            tried.append(label)
            if found:
                unique = tuple(dict.fromkeys(found))[:WORKLOADS_MAX]
                return tuple(sorted(unique, key=lambda workload: workload.key)), rung, tuple(tried)
        return (), Rung.NONE, tuple(tried)

    def _rungs(self, alert: Alert) -> Iterator[tuple[Rung, str, Sequence[Workload]]]:
        """Each rung that the alert's labels allow, with what it finds; lower ones are not even looked up after a hit."""
        cache, namespace = self._cache, alert.label("namespace")
        yield from self._explicit(alert)
        if namespace is None:
            for name, label in NAME_LABELS:
                if value := alert.label(name):
                    yield Rung.LABEL, f"{name}={value}", cache.workloads_by_label(None, label, value)
            return
        for name in POD_LABELS:
            if value := alert.label(name):
                yield Rung.POD, f"{name}={value}", _one(cache.workload_of_pod(namespace, value))
        for name, kind in CONTROLLER_LABELS:
            if value := alert.label(name):
                yield Rung.CONTROLLER, f"{name}={value}", _one(cache.workload(namespace, kind, value))
        for name in SERVICE_LABELS:
            if value := alert.label(name):
                yield Rung.SERVICE, f"{name}={value}", cache.workloads_of_service(namespace, value)
        for name, label in NAME_LABELS:
            if value := alert.label(name):
                yield Rung.LABEL, f"{name}={value}", self._by_name(namespace, label, value)
        yield Rung.NAMESPACE, f"namespace={namespace}", cache.workloads_in(namespace)

    def _by_name(self, namespace: str, label: str, value: str) -> Sequence[Workload]:
        labelled = self._cache.workloads_by_label(namespace, label, value)
        return labelled or _one(self._cache.workload(namespace, "Deployment", value))

    def _explicit(self, alert: Alert) -> Iterator[tuple[Rung, str, Sequence[Workload]]]:
        labels = set(alert.labels)
        for mapping in self._sampler.policy.mappings:
            if set(mapping.labels) <= labels:
                named = mapping.workload
                found = self._cache.workload(named.namespace, named.kind, named.name)
                yield Rung.EXPLICIT, f"policy mapping to {named.key}", _one(found)
        if value := alert.label(EXPLICIT_LABEL):
            yield Rung.EXPLICIT, f"{EXPLICIT_LABEL}={value}", _one(self._named(value))

    def _named(self, value: str) -> Workload | None:
        parts = value.split("/")
        if len(parts) == 2:
            return self._cache.workload(parts[0], "Deployment", parts[1])
        return self._cache.workload(*parts) if len(parts) == 3 else None

    async def _onset(self, alert: Alert) -> tuple[datetime, OnsetSource]:
        """`ALERTS_FOR_STATE`; else `startsAt` minus the rule's `for`; else minus `assumed_for` (DESIGN, "Blame")."""
        if self._prometheus is not None:
            try:
                if (began := await self._for_state(self._prometheus, alert)) is not None:
                    return began, OnsetSource.FOR_STATE
                rules = [rule for rule in await self._prometheus.rules() if rule.name == alert.name]
                if rules:
                    return alert.starts_at - max(rule.duration for rule in rules), OnsetSource.RULE
            except Fault:
                pass  # an unreadable Prometheus must not lose the alert: the assumed onset holds rather than decides
        return alert.starts_at - self._sampler.policy.assumed_for, OnsetSource.ASSUMED

    async def _for_state(self, prometheus: PrometheusClient, alert: Alert) -> datetime | None:
        """The value is the moment the condition became true, in Unix seconds.

        The alert may hold labels that its series has not (external labels), so the series' labels must be among the
        alert's, not equal to them. Asked now, and at the start for an alert that is over.
        """
        query = f'ALERTS_FOR_STATE{{alertname="{escape_label(alert.name)}"}}'
        labels = set(alert.labels)
        for at in (self._clock.now(), alert.starts_at):
            vector = await prometheus.query(query, at)
            mine = [value for series, value in vector if set(series.items()) - {_metric(series)} <= labels]
            if mine:
                began = datetime.fromtimestamp(max(mine), UTC)
                return began if began <= alert.starts_at else None
        return None


def _metric(series: dict[str, str]) -> tuple[str, str]:
    return "__name__", series.get("__name__", "")


def _one(workload: Workload | None) -> tuple[Workload, ...]:
    return () if workload is None else (workload,)
