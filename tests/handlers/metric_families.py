"""Ten minutes of what services of each kind export, with the same truth in all: 10 requests/s, one of ten fails.

Of the requests 90 % take at most 50 ms, 98 % at most 100 ms, all at most 500 ms; so within the buckets a p95 of 81.25 ms and a
p99 of 300 ms. Every family has a namespace of its own, and beside what counts stand series that must not be counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from tests.handlers.remote_write import Native, Series

STEP, STEPS = 15, 40
RATE, SHARE = 10.0, 0.1
P95, P99 = 0.08125, 0.3
POD = "web-7f9c9c9c9c-vwxzz"
BUCKETS = ((0.05, 0.9), (0.1, 0.98), (0.5, 1.0))

Labels = Mapping[str, str]


def moments(now: datetime) -> list[int]:
    """The scrapes, in milliseconds, the last one just before `now`."""
    first = now - timedelta(seconds=STEP * STEPS)
    return [int((first + timedelta(seconds=STEP * place)).timestamp() * 1000) for place in range(STEPS + 1)]


def counter(now: datetime, name: str, labels: Labels, rate: float, *, restart_at: int = -1) -> Series:
    """A counter that grows by `rate` per second; it begins anew at scrape `restart_at`, as after a restart."""
    samples, value = [], 1000.0
    for place, at in enumerate(moments(now)):
        value = 0.0 if place == restart_at else value
        samples.append((at, value))
        value += rate * STEP
    return Series(labels={"__name__": name, **labels}, samples=samples)


def gauge(now: datetime, name: str, labels: Labels, value: float) -> Series:
    return Series(labels={"__name__": name, **labels}, samples=[(at, value) for at in moments(now)])


def histogram(now: datetime, name: str, labels: Labels, *, per_second: int = 1, rate: float = RATE) -> Iterator[Series]:
    """Classic: buckets and a count."""
    for limit, share in BUCKETS:
        le = f"{limit * per_second:g}"
        yield counter(now, f"{name}_bucket", {**labels, "le": le}, rate * share)
    yield counter(now, f"{name}_bucket", {**labels, "le": "+Inf"}, rate)
    yield counter(now, f"{name}_count", labels, rate)


def native_histogram(now: datetime, name: str, labels: Labels, *, rate: float = RATE) -> Series:
    """Native: nine of ten around 40 ms, one around 280 ms."""
    fast, slow = -37, -14  # 2^(-37/8) = 0.0405, 2^(-14/8) = 0.297
    samples: list[tuple[int, float | Native]] = []
    for place, at in enumerate(moments(now)):
        count = int(rate * STEP * place)
        samples.append((at, Native(total=count * 0.07, buckets={fast: count * 9 // 10, slow: count - count * 9 // 10})))
    return Series(labels={"__name__": name, **labels}, samples=samples)


def of(namespace: str, pods: tuple[str, str] = ("namespace", "pod"), **more: str) -> dict[str, str]:
    return {pods[0]: namespace, pods[1]: POD, **more}


def split(now: datetime, name: str, labels: Labels, label: str, good: str, bad: str) -> Iterator[Series]:
    yield counter(now, name, {**labels, label: good}, RATE * (1 - SHARE))
    yield counter(now, name, {**labels, label: bad}, RATE * SHARE, restart_at=20)


def istio(now: datetime) -> Iterator[Series]:
    """Half of the failures are gRPC's, with status 200; what the pod calls itself is not counted."""
    served, total = of("istio", reporter="destination"), "istio_requests_total"
    yield counter(now, total, {**served, "response_code": "200", "grpc_response_status": "0"}, RATE * (1 - SHARE))
    yield counter(now, total, {**served, "response_code": "503"}, RATE * SHARE / 2)
    yield counter(now, total, {**served, "response_code": "200", "grpc_response_status": "14"}, RATE * SHARE / 2)
    yield counter(now, total, {**of("istio", reporter="source"), "response_code": "503"}, 100.0)
    yield from histogram(now, "istio_request_duration_milliseconds", served, per_second=1000)


def linkerd(now: datetime) -> Iterator[Series]:
    """The proxy counts the kubelet's probes and outbound requests as well."""
    yield from split(now, "response_total", of("linkerd", direction="inbound"), "classification", "success", "failure")
    probe = of("linkerd", direction="inbound", route_name="probe", classification="success")
    yield counter(now, "response_total", probe, 50.0)
    yield counter(now, "response_total", of("linkerd", direction="outbound", classification="failure"), 100.0)
    yield from histogram(now, "response_latency_ms", of("linkerd", direction="inbound"), per_second=1000)


def by_duration(now: datetime, name: str, labels: Labels, label: str, *, per_second: int = 1) -> Iterator[Series]:
    """A family that counts requests by its histogram alone."""
    for value, share in (("200", 1 - SHARE), ("500", SHARE)):
        yield from histogram(now, name, {**labels, label: value}, per_second=per_second, rate=RATE * share)


def prometheus(now: datetime, namespace: str, label: str, good: str, bad: str) -> Iterator[Series]:
    yield from split(now, "http_requests_total", of(namespace), label, good, bad)
    yield from histogram(now, "http_request_duration_seconds", of(namespace))


def native(now: datetime, namespace: str, name: str, label: str) -> Iterator[Series]:
    for value, share in (("200", 1 - SHARE), ("500", SHARE)):
        yield native_histogram(now, name, {**of(namespace), label: value}, rate=RATE * share)


def containers(now: datetime) -> Iterator[Series]:
    """One container throttled in 40 % of its periods and at 60 % of its memory; the pod's own cgroup and a proxy beside it."""
    for namespace, limit_pods in (
        ("limits", ("namespace", "pod")),
        ("exported", ("exported_namespace", "exported_pod")),
    ):
        for container, throttled, used in (("app", 4.0, 600e6), ("istio-proxy", 10.0, 1000e6), ("", 9.0, 1700e6)):
            labels = of(namespace, container=container)
            yield counter(now, "container_cpu_cfs_periods_total", labels, 10.0)
            yield counter(now, "container_cpu_cfs_throttled_periods_total", labels, throttled)
            yield gauge(now, "container_memory_working_set_bytes", {**labels, "id": "/a"}, used)
        key = "container" if limit_pods[0] == "namespace" else "exported_container"
        limits = {**of(namespace, limit_pods), key: "app"}
        if limit_pods[0] != "namespace":
            limits |= {"namespace": "monitoring", "pod": "kube-state-metrics-0", "container": "main"}
        yield gauge(now, "kube_pod_container_resource_limits", {**limits, "resource": "memory"}, 1000e6)
        yield gauge(now, "kube_pod_container_resource_limits", {**limits, "resource": "cpu"}, 2.0)
    bare = of("spec", container="app")
    yield gauge(now, "container_memory_working_set_bytes", bare, 600e6)
    yield gauge(now, "container_spec_memory_limit_bytes", bare, 1000e6)
    for namespace, container in (("endless", "app"), ("spec", "cache")):  # 0 is no limit
        yield gauge(now, "container_spec_memory_limit_bytes", of(namespace, container=container), 0.0)
        yield gauge(now, "container_memory_working_set_bytes", of(namespace, container=container), 600e6)


def everything(now: datetime) -> Iterator[Series]:
    """All of them, and services that lack what others have."""
    yield from istio(now)
    yield from linkerd(now)
    yield from by_duration(now, "http_server_request_duration_seconds", of("otel"), "http_response_status_code")
    collected = of("collected", ("k8s_namespace_name", "k8s_pod_name"))
    yield from by_duration(now, "http_server_request_duration_seconds", collected, "http_response_status_code")
    yield from by_duration(now, "http_server_duration_milliseconds", of("older"), "http_status_code", per_second=1000)
    yield from prometheus(now, "code", "code", "200", "500")
    yield from prometheus(now, "status", "status", "2xx", "5xx")
    yield from prometheus(now, "status-code", "status_code", "200", "503")
    yield from by_duration(now, "http_request_duration_seconds", of("express"), "status_code")
    yield from by_duration(now, "http_server_requests_seconds", of("spring"), "status")
    yield from split(now, "grpc_server_handled_total", of("grpc"), "grpc_code", "OK", "Internal")
    yield from histogram(now, "grpc_server_handling_seconds", of("grpc"))
    controller = of("ingress", ("controller_namespace", "controller_pod"), service="web", status="200")
    yield counter(now, "nginx_ingress_controller_requests", controller, RATE * (1 - SHARE))
    yield counter(now, "nginx_ingress_controller_requests", {**controller, "status": "502"}, RATE * SHARE)
    yield from histogram(now, "nginx_ingress_controller_request_duration_seconds", controller)
    yield from native(now, "native", "http_server_request_duration_seconds", "http_response_status_code")
    yield native_histogram(now, "http_request_duration_seconds", of("native-client"))
    yield from containers(now)
    # A counter whose outcome nobody tells; one that has never seen a failure; a summary under a histogram's plain name.
    yield counter(now, "http_requests_total", of("untold"), RATE)
    yield counter(now, "http_requests_total", of("spotless", code="200"), RATE)
    yield gauge(now, "grpc_server_handling_seconds", of("summary", quantile="0.99"), 0.2)
