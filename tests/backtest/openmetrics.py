"""A recording as the series that Prometheus would have scraped meanwhile, for `promtool tsdb create-blocks-from openmetrics`.

Written from what kube-state-metrics, cAdvisor and HTTP servers export, and not from what the product asks for, so that a mistake
cannot be on both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from handlers.backtest.recording import AlertSeen, PodSeen, Recording, RolloutSeen, SampleSeen

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Of a common HTTP server's histogram, seconds."""

GONE = "NaN"
"""What stands in for the stale marker that a scrape leaves, which the text format cannot hold."""

Points = dict[float, str]


@dataclass
class _Series:
    points: dict[str, Points] = field(default_factory=lambda: defaultdict(dict))

    def put(self, name: str, labels: Mapping[str, str], at: datetime, value: float | str) -> None:
        quoted = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        self.points[f"{name}{{{quoted}}}"][at.timestamp()] = value if isinstance(value, str) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def text_of(recording: Recording, step: timedelta) -> Iterator[str]:
    """The text, series by series; scrapes lie on multiples of `step`."""
    series = _Series()
    moments = _moments(recording, step)
    _pods(recording, moments, series)
    _sets(recording, moments, series)
    _samples(recording, step, series)
    _alerts(recording, moments, step, series)
    families: dict[str, list[str]] = defaultdict(list)
    for name in sorted(series.points):
        families[name.partition("{")[0]].append(name)
    for names in families.values():
        for name in names:
            for at, value in sorted(series.points[name].items()):
                yield f"{name} {value} {at:.3f}\n"
    yield "# EOF\n"


def _moments(recording: Recording, step: timedelta) -> list[datetime]:
    first, last = recording.evidence[0].at, recording.evidence[-1].at
    return [first + step * number for number in range(int((last - first) / step) + 1)]


def _named(workload: str) -> tuple[str, str, str]:
    namespace, kind, name = workload.split("/")
    return namespace, kind, name


def _pods(recording: Recording, moments: list[datetime], series: _Series) -> None:
    """Per pod its owner, readiness, restarts and waiting reason; per ReplicaSet its replicas, owner and creation."""
    changes: dict[str, list[PodSeen]] = defaultdict(list)
    made: dict[tuple[str, str], datetime] = {}
    for record in recording.evidence:
        if isinstance(record, PodSeen):
            changes[record.workload].append(record)
            made.setdefault((record.workload, record.revision), record.at)
        elif isinstance(record, RolloutSeen) and record.phase == "started":
            made.setdefault((record.workload, record.revision), record.at)
    for workload, told in changes.items():
        living = _Living(workload, series)
        position = 0
        for at in moments:
            while position < len(told) and told[position].at <= at:
                living.change(told[position], at)
                position += 1
            for record in living.alive.values():
                living.scrape(record, at)
            if "/Deployment/" in workload:
                _replica_sets(series, workload, living.alive, at, made)


@dataclass
class _Living:
    """The pods of a workload that are there now."""

    workload: str
    series: _Series
    alive: dict[str, PodSeen] = field(default_factory=dict)
    born: dict[str, datetime] = field(default_factory=dict)

    def change(self, record: PodSeen, at: datetime) -> None:
        namespace, _, _ = _named(self.workload)
        known = self.alive.get(record.pod)
        if known is not None and known.reason and known.reason != record.reason:
            self.series.put(WAITING, _container(namespace, known.pod, reason=known.reason), at, 0)
        if record.deleted:
            if self.alive.pop(record.pod, None) is not None:
                self.scrape(record, at, gone=True)
            return
        if known is None or known.revision != record.revision:
            self.born[record.pod] = record.at
        self.alive[record.pod] = record

    def scrape(self, record: PodSeen, at: datetime, *, gone: bool = False) -> None:
        namespace, kind, name = _named(self.workload)
        _pod(self.series, namespace, kind, name, record, at, self.born[record.pod], gone=gone)


WAITING = "kube_pod_container_status_waiting_reason"


def _container(namespace: str, pod: str, **more: str) -> dict[str, str]:
    return {"namespace": namespace, "pod": pod, "uid": f"uid-{pod}", "container": "app", **more}


def _pod(
    series: _Series,
    namespace: str,
    kind: str,
    name: str,
    record: PodSeen,
    at: datetime,
    born: datetime,
    *,
    gone: bool = False,
) -> None:
    place = {"namespace": namespace, "pod": record.pod, "uid": f"uid-{record.pod}-{born.timestamp():.0f}"}
    owner = name if kind == "StatefulSet" else f"{name}-{record.revision}"
    owned = {
        "owner_kind": "StatefulSet" if kind == "StatefulSet" else "ReplicaSet",
        "owner_name": owner,
        "owner_is_controller": "true",
    }

    def put(metric: str, labels: Mapping[str, str], value: float) -> None:
        series.put(metric, labels, at, GONE if gone else value)

    put("kube_pod_owner", {**place, **owned}, 1)
    put("kube_pod_created", place, born.timestamp())
    for condition, holds in (("true", record.ready), ("false", not record.ready), ("unknown", False)):
        put("kube_pod_status_ready", {**place, "condition": condition}, float(holds))
    put("kube_pod_container_status_restarts_total", _container(namespace, record.pod), record.restarts)
    for resource in ("cpu", "memory"):
        limit = _container(namespace, record.pod, resource=resource, unit="x", node="n1")
        put("kube_pod_container_resource_limits", limit, 2.0)
    if record.reason:
        put(WAITING, _container(namespace, record.pod, reason=record.reason), 1)


def _replica_sets(
    series: _Series,
    workload: str,
    alive: Mapping[str, PodSeen],
    at: datetime,
    made: Mapping[tuple[str, str], datetime],
) -> None:
    namespace, kind, name = _named(workload)
    for (whose, revision), since in made.items():
        if whose != workload or since > at:
            continue
        place = {"namespace": namespace, "replicaset": f"{name}-{revision}"}
        pods = [pod for pod in alive.values() if pod.revision == revision]
        owner = {"owner_kind": kind, "owner_name": name, "owner_is_controller": "true"}
        series.put("kube_replicaset_owner", {**place, **owner}, at, 1)
        series.put("kube_replicaset_created", place, at, int(since.timestamp()))
        series.put("kube_replicaset_spec_replicas", place, at, len(pods))
        series.put("kube_replicaset_status_ready_replicas", place, at, sum(pod.ready for pod in pods))


def _sets(recording: Recording, moments: list[datetime], series: _Series) -> None:
    """What a StatefulSet says of its revisions."""
    told: dict[str, list[RolloutSeen]] = defaultdict(list)
    for record in recording.evidence:
        if isinstance(record, RolloutSeen) and "/StatefulSet/" in record.workload:
            told[record.workload].append(record)
    for workload, rollouts in told.items():
        namespace, _, name = _named(workload)
        current = update = rollouts[0].replaces or ""
        position = 0
        for at in moments:
            while position < len(rollouts) and rollouts[position].at <= at:
                record = rollouts[position]
                position += 1
                before = (current, update)
                update = record.revision
                current = record.revision if record.phase == "completed" else current
                for metric, old, new in zip(("current", "update"), before, (current, update), strict=True):
                    if old != new:
                        series.put(_revision(metric), _set(namespace, name, old), at, GONE)
            for metric, revision in (("current", current), ("update", update)):
                series.put(_revision(metric), _set(namespace, name, revision), at, 1)


def _revision(which: str) -> str:
    return f"kube_statefulset_status_{which}_revision"


def _set(namespace: str, name: str, revision: str) -> dict[str, str]:
    return {"namespace": namespace, "statefulset": name, "revision": f"{name}-{revision}"}


def _samples(recording: Recording, step: timedelta, series: _Series) -> None:
    """Counters of requests, a histogram of their durations, how often cAdvisor saw it throttled, and its memory (limit 2)."""
    counted: dict[tuple[str, str, str], float] = defaultdict(float)
    by_moment: dict[tuple[datetime, str, str], dict[str, SampleSeen]] = defaultdict(dict)
    for record in recording.evidence:
        if isinstance(record, SampleSeen) and record.pod is not None and record.value is not None:
            by_moment[record.at, record.workload, record.pod][record.signal] = record
    for (at, workload, pod), values in sorted(by_moment.items(), key=lambda item: item[0][0]):
        namespace = _named(workload)[0]
        place = {"namespace": namespace, "pod": pod, "job": "web"}

        def count(metric: str, by: float, **more: str) -> None:
            key = (metric, pod, repr(more))  # noqa: B023 - called at once
            counted[key] += by
            series.put(metric, {**place, **more}, at, counted[key])  # noqa: B023

        requests = next((each.weight for each in values.values() if each.weight is not None), 0.0) or 0.0
        failed = requests * (values["error_ratio"].value or 0.0) if "error_ratio" in values else 0.0
        count("http_requests_total", requests - failed, code="200")
        count("http_requests_total", failed, code="500")
        if (latency := values.get("latency_seconds")) is not None and latency.value is not None:
            for bound in BUCKETS:
                count("http_request_duration_seconds_bucket", requests * (latency.value <= bound), le=f"{bound:g}")
            count("http_request_duration_seconds_bucket", requests, le="+Inf")
        container = _container(namespace, pod)
        if (cpu := values.get("cpu_ratio")) is not None:
            periods = 10 * step.total_seconds()
            for which, by in (("", periods), ("throttled_", periods * (cpu.value or 0.0))):
                counted["cpu", pod, which] += by
                total = counted["cpu", pod, which]
                series.put(f"container_cpu_cfs_{which}periods_total", container, at, total)
        if (memory := values.get("memory_ratio")) is not None:
            series.put("container_memory_working_set_bytes", container, at, 2.0 * (memory.value or 0.0))


def _alerts(recording: Recording, moments: list[datetime], step: timedelta, series: _Series) -> None:
    """ALERTS while it fires, and since when its condition holds: two steps before."""
    firing: dict[tuple[tuple[str, str], ...], AlertSeen] = {}
    told = [record for record in recording.evidence if isinstance(record, AlertSeen)]
    position = 0
    for at in moments:
        while position < len(told) and told[position].at <= at:
            record = told[position]
            position += 1
            key = tuple(sorted(record.labels.items()))
            if record.status == "firing":
                firing[key] = record
            elif key in firing:
                began = firing.pop(key)
                _alert(series, began, at, step, gone=True)
        for record in firing.values():
            _alert(series, record, at, step)


def _alert(series: _Series, record: AlertSeen, at: datetime, step: timedelta, *, gone: bool = False) -> None:
    since = (record.starts_at - 2 * step).timestamp()
    series.put("ALERTS", {**record.labels, "alertstate": "firing"}, at, GONE if gone else 1)
    series.put("ALERTS_FOR_STATE", record.labels, at, GONE if gone else since)
