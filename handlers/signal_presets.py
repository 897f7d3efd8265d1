"""The signals that common metrics can give: families of metrics, and the PromQL that each is read with.

Names and labels are those of the families' own documentation: OpenTelemetry's semantic conventions for HTTP servers (1.23, and
the names before), the conventions of Prometheus' client libraries, Micrometer, go-grpc-prometheus, Istio's standard metrics,
Linkerd's proxy metrics, ingress-nginx, kube-state-metrics and cAdvisor. Which of them exist, handlers.signal_search asks.

ingress-nginx names no pod of what it routes to, so it cannot tell two revisions of a service apart: its metrics are read for
the controller's own pods, which are a workload with rollouts, too. Restarts are not read from kube-state-metrics: the watch
of the pods knows them sooner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from daemon.core.policy import SignalKind
from handlers.signal_sources import Alternative


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLabels:
    """The two labels that say which pod a series is of."""

    namespace: str = "namespace"
    pod: str = "pod"

    def __str__(self) -> str:
        return f"{self.namespace}, {self.pod}"

    @property
    def present(self) -> str:
        """Matchers of series that have both."""
        return f'{self.namespace}!="",{self.pod}!=""'

    def select(self, *more: str) -> str:
        """Matchers of the pods in question."""
        return ",".join((f'{self.namespace}="$namespace",{self.pod}=~"$pods"', *more))


OWN = PodLabels()
EXPORTED = PodLabels(namespace="exported_namespace", pod="exported_pod")
COLLECTED = PodLabels(namespace="k8s_namespace_name", pod="k8s_pod_name")
EARLIER = PodLabels(namespace="kubernetes_namespace", pod="kubernetes_pod_name")
CONTROLLER = PodLabels(namespace="controller_namespace", pod="controller_pod")

USUAL = (OWN, COLLECTED, EARLIER)
"""Labels of the target; resource attributes that an OpenTelemetry collector passed on; targets in Prometheus' early examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The label that tells failed requests, and its values (RE2)."""

    label: str
    values: str = "5.."

    @property
    def select(self) -> str:
        """The matcher of failed requests."""
        return f'{self.label}=~"{self.values}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What one family of servers or proxies says of requests.

    `total` counts them; `duration` is the histogram's name without suffix, counted in `per_second` of a second. `failed` are
    labels of which a service has one; `failed_too` tells further failures that those call a success. `only` are matchers of
    the requests that a pod serves, where the family counts those that it makes as well.
    """

    name: str
    total: str
    duration: str
    failed: tuple[Failed, ...]
    failed_too: Failed | None = None
    per_second: int = 1
    only: tuple[str, ...] = ()
    pods: tuple[PodLabels, ...] = USUAL

    @property
    def counted_by_duration(self) -> bool:
        """Whether the histogram's own count is the counter: then a native histogram holds it, too."""
        return self.total == f"{self.duration}_count"


GRPC_CODES = "Unknown|DeadlineExceeded|Unimplemented|Internal|Unavailable|DataLoss"
GRPC_NUMBERS = "2|4|12|13|14|15"
"""The server's faults among gRPC's codes, as OpenTelemetry's conventions for gRPC spans have them; both spellings."""

FAMILIES = (
    # Proxies first: they also count what a process that hangs or dies can no longer count itself, and all services alike.
    Requests(
        name="istio",
        total="istio_requests_total",
        duration="istio_request_duration_milliseconds",
        failed=(Failed(label="response_code"),),
        failed_too=Failed(label="grpc_response_status", values=GRPC_NUMBERS),
        per_second=1000,
        only=('reporter="destination"',),
    ),
    Requests(
        name="linkerd",
        total="response_total",
        duration="response_latency_ms",
        failed=(Failed(label="classification", values="failure"),),
        per_second=1000,
        only=('direction="inbound"', 'route_name!="probe"'),
    ),
    Requests(
        name="opentelemetry",
        total="http_server_request_duration_seconds_count",
        duration="http_server_request_duration_seconds",
        failed=(Failed(label="http_response_status_code"),),
    ),
    Requests(
        name="opentelemetry before 1.23",
        total="http_server_duration_milliseconds_count",
        duration="http_server_duration_milliseconds",
        failed=(Failed(label="http_status_code"),),
        per_second=1000,
    ),
    Requests(
        name="prometheus",
        total="http_requests_total",
        duration="http_request_duration_seconds",
        failed=(Failed(label="code"), Failed(label="status"), Failed(label="status_code")),
    ),
    Requests(
        name="prometheus by duration",
        total="http_request_duration_seconds_count",
        duration="http_request_duration_seconds",
        failed=(Failed(label="code"), Failed(label="status"), Failed(label="status_code")),
    ),
    Requests(
        name="micrometer",
        total="http_server_requests_seconds_count",
        duration="http_server_requests_seconds",
        failed=(Failed(label="status"),),
    ),
    Requests(
        name="grpc",
        total="grpc_server_handled_total",
        duration="grpc_server_handling_seconds",
        failed=(Failed(label="grpc_code", values=GRPC_CODES),),
    ),
    Requests(
        name="ingress-nginx",
        total="nginx_ingress_controller_requests",
        duration="nginx_ingress_controller_request_duration_seconds",
        failed=(Failed(label="status"),),
        pods=(CONTROLLER,),
    ),
)
"""The best first."""

THROTTLED, PERIODS = "container_cpu_cfs_throttled_periods_total", "container_cpu_cfs_periods_total"
WORKING_SET, SPEC_LIMIT = "container_memory_working_set_bytes", "container_spec_memory_limit_bytes"
LIMITS, MEMORY = "kube_pod_container_resource_limits", 'resource="memory"'

PAUSE = ('container!=""', 'container!~"POD|istio-proxy|istio-init|linkerd-proxy|linkerd-init"')
"""The application's containers: not the pod's own cgroup, which holds them once more, and not a proxy with a limit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What there is: (metric, pod labels) that have series, the labels that tell failures, and which are native histograms."""

    metrics: frozenset[tuple[str, PodLabels]] = frozenset()
    labelled: frozenset[tuple[str, PodLabels, str]] = frozenset()
    native: frozenset[tuple[str, PodLabels]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One family with one pair of pod labels, from a counter and classic buckets or from a native histogram."""

    family: Requests
    pods: PodLabels
    native: bool

    @property
    def source(self) -> str:
        name = f"{self.family.name}, native histogram" if self.native else self.family.name
        return name if self.pods in (OWN, CONTROLLER) else f"{name}, by {self.pods.pod}"

    def requests(self, *more: str) -> str:
        """Requests per second of those that match."""
        metric = self.family.duration if self.native else self.family.total
        rate = f"sum(rate({metric}{{{self.pods.select(*self.family.only, *more)}}}[$window]))"
        return f"histogram_count({rate})" if self.native else rate

    def error_ratio(self, failed: Failed) -> str:
        """Of the requests whose outcome is told. A counter that lacks the label says nothing, and that is not "no errors";
        one that has it and never counted a failure has no series for them, and that is 0.
        """
        told = f'{failed.label}!=""'
        total, none = self.requests(told), f"{self.requests(told)} * 0"
        bad = f"{self.requests(failed.select)} or {none}"
        if (too := self.family.failed_too) is not None:
            rest = self.requests(f'{failed.label}!~"{failed.values}"', too.select)
            bad = f"({bad}) + ({rest} or {none})"
        return f"({bad}) / ({total} > 0)"

    def latency(self, quantile: str) -> str:
        """In seconds."""
        select = self.pods.select(*self.family.only)
        rate = f"sum by (le) (rate({self.family.duration}_bucket{{{select}}}[$window]))"
        if self.native:
            rate = f"sum(rate({self.family.duration}{{{select}}}[$window]))"
        value = f"histogram_quantile({quantile}, {rate})"
        return value if self.family.per_second == 1 else f"{value} / {self.family.per_second}"


def ways(existing: Existing) -> Mapping[SignalKind, tuple[Alternative, ...]]:
    """How each kind of signal can be measured here, the best first; a kind that nothing measures is absent."""
    found: dict[SignalKind, list[Alternative]] = {}
    for kind, way in (*_of_requests(existing), *_of_containers(existing)):
        known = found.setdefault(kind, [])
        if way.query not in [each.query for each in known]:
            known.append(way)
    return {kind: tuple(each) for kind, each in found.items()}


def _of_requests(existing: Existing) -> Iterator[tuple[SignalKind, Alternative]]:
    for family in FAMILIES:
        for pods in family.pods:
            if (family.duration, pods) in existing.native:
                # Finer than any bucket; where both are scraped they count the same requests.
                yield from _of_reading(_Reading(family=family, pods=pods, native=True), existing)
            yield from _of_reading(_Reading(family=family, pods=pods, native=False), existing)


def _of_reading(reading: _Reading, existing: Existing) -> Iterator[tuple[SignalKind, Alternative]]:
    family, pods = reading.family, reading.pods
    counts = reading.native and family.counted_by_duration
    if counts or (not reading.native and (family.total, pods) in existing.metrics):
        metric = family.duration if reading.native else family.total
        labels = [each for each in family.failed if (metric, pods, each.label) in existing.labelled]
        yield SignalKind.TRAFFIC, Alternative(source=reading.source, query=reading.requests())
        if labels:
            # Services differ in the label; each has one of them, and the others give no series for it.
            ratio = " or ".join(reading.error_ratio(each) for each in labels)
            yield SignalKind.ERROR_RATIO, Alternative(source=reading.source, query=ratio)
    if reading.native or (f"{family.duration}_bucket", pods) in existing.metrics:
        for kind, quantile in ((SignalKind.LATENCY_P95, "0.95"), (SignalKind.LATENCY_P99, "0.99")):
            yield kind, Alternative(source=reading.source, query=reading.latency(quantile))


def _of_containers(existing: Existing) -> Iterator[tuple[SignalKind, Alternative]]:
    """Of the container that is worst off: a mean would hide one starved pod among ten that idle."""
    select = OWN.select(*PAUSE)
    if {(THROTTLED, OWN), (PERIODS, OWN)} <= existing.metrics:
        throttled, periods = (
            f"sum by (pod, container) (rate({each}{{{select}}}[$window]))" for each in (THROTTLED, PERIODS)
        )
        yield SignalKind.CPU, Alternative(source="cadvisor", query=f"max({throttled} / ({periods} > 0))")
    if (WORKING_SET, OWN) not in existing.metrics:
        return
    # A container that was restarted has two series for five minutes.
    used = f"max by (pod, container) ({WORKING_SET}{{{select}}})"
    for pods in (OWN, EXPORTED):
        if (LIMITS, pods) in existing.metrics:
            way = f"max({used} / on (pod, container) {_limits(pods)})"
            source = "cadvisor and kube-state-metrics"
            named = source if pods == OWN else f"{source}, by {pods.pod}"
            yield SignalKind.MEMORY, Alternative(source=named, query=way)
    if (SPEC_LIMIT, OWN) in existing.metrics:
        limit = f"(max by (pod, container) ({SPEC_LIMIT}{{{select}}}) > 0)"  # 0 is none
        yield SignalKind.MEMORY, Alternative(source="cadvisor", query=f"max({used} / {limit})")


def _limits(pods: PodLabels) -> str:
    """Memory limits in bytes by pod and container, under whatever names kube-state-metrics' labels have arrived."""
    series = f"{LIMITS}{{{pods.select(MEMORY)}}}"
    if pods == OWN:
        return f"max by (pod, container) ({series})"
    limit = f"max by ({pods.pod}, exported_container) ({series})"
    named = f'label_replace({limit}, "pod", "$1", "{pods.pod}", "(.*)")'
    return f'max by (pod, container) (label_replace({named}, "container", "$1", "exported_container", "(.*)"))'
