"""Sample services of the sandbox: pods that serve a steady load, and whose metrics can be made bad on purpose.

The load of a service is fixed (requests per second, shared evenly over its ready pods), as real load is: fewer pods
do not mean fewer requests. Whether a request fails and how long it takes is drawn from a seeded generator in ticks of
fixed length, so the same calls at the same times give the same counters. Counters of a pod begin at 0 when it is
first heard of, and a code's series exists only after its first request, as with every client library: a service
without errors has **no** `code="500"` series.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TICK_SECONDS = 0.1
"""Length of one step of the load model; well under any scrape interval used here."""

CATCH_UP_SECONDS_MAX = 600.0
"""Load older than this is dropped rather than made up for: a laptop that slept must not spin for minutes."""

REQUESTS_PER_SECOND_MAX = 5000.0
"""Per service; each request costs two random numbers (about 2 us) at scrape time."""

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram (the client libraries' defaults); `+Inf` is implied."""

LATENCY_SIGMA = 0.35
"""Spread of the log-normal latency: p95 is 1.8 times the median, p99 is 2.3 times."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What makes requests fail or slow; every field that is set must match the pod (`apps` empty = any service)."""

    image: str | None = None
    namespace: str | None = None
    apps: frozenset[str] = frozenset()
    error_ratio: float = 0.0
    latency_factor: float = 1.0

    def hits(self, pod: Pod) -> bool:
        """Whether requests to `pod` suffer from this fault."""
        return (
            self.image in (None, pod.image)
            and self.namespace in (None, pod.namespace)
            and (not self.apps or pod.app in self.apps)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """The traffic of one service: requests per second of real time, its own error ratio, median latency in seconds."""

    requests_per_second: float = 50.0
    error_ratio: float = 0.0
    latency_seconds: float = 0.05
    method: str = "GET"


@dataclass(kw_only=True, slots=True, eq=False)
class Pod:
    """One pod and its counters; `buckets[i]` counts requests of `BUCKETS_SECONDS[i]` alone (summed up when shown)."""

    namespace: str
    name: str
    app: str
    image: str
    ip: str
    ready: bool = True
    codes: dict[tuple[str, str], int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    seconds_sum: float = 0.0

    def observe(self, *, code: str, method: str, seconds: float) -> None:
        """Count one finished request."""
        self.codes[code, method] = self.codes.get((code, method), 0) + 1
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        self.seconds_sum += seconds

    def reset(self) -> None:
        """Forget all counters, as a restarted process does."""
        self.codes.clear()
        self.buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self.seconds_sum = 0.0


@dataclass(slots=True, eq=False)
class _Service:
    load: Load
    chance: random.Random
    owed: float = 0.0
    turn: int = 0


class SampleServices:
    """All services of one world. Not thread-safe; call it from one event loop.

    `clock` gives seconds and may start anywhere; `speed` > 1 makes that many times more requests per real second.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        load: Load | None = None,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < speed <= 100:
            raise ValueError(f"speed: must be in (0, 100], got {speed}")
        self._seed = seed
        self._default_load = load or Load()
        self._speed = speed
        self._clock = clock
        self._done = clock()
        self._pods: dict[tuple[str, str], Pod] = {}
        self._services: dict[tuple[str, str], _Service] = {}
        self._faults: list[Fault] = []
        self.unserved: dict[tuple[str, str], int] = {}
        """Requests that found no ready pod, by (namespace, app); invisible in any pod's metrics, as in life."""

    # What the world tells us ------------------------------------------------------------------------------------------

    def load(self, namespace: str, app: str, load: Load) -> None:
        """Set the traffic of one service from now on."""
        if not 0 <= load.requests_per_second <= REQUESTS_PER_SECOND_MAX:
            raise ValueError(f"requests_per_second: must be in [0, {REQUESTS_PER_SECOND_MAX}], got {load}")
        self.advance()
        self._service(namespace, app).load = load

    def pod_ready(self, namespace: str, pod: str, *, app: str, image: str, ip: str = "10.0.0.1") -> None:
        """The pod serves from now on; a pod not heard of before begins with counters at 0."""
        self.advance()
        known = self._pods.get((namespace, pod))
        if known is None:
            self._pods[namespace, pod] = Pod(namespace=namespace, name=pod, app=app, image=image, ip=ip)
        else:
            known.ready, known.image, known.ip = True, image, ip
        self._service(namespace, app)

    def pod_unready(self, namespace: str, pod: str) -> None:
        """The pod is there and scraped, but gets no requests. An unknown pod is ignored."""
        self.advance()
        if (known := self._pods.get((namespace, pod))) is not None:
            known.ready = False

    def pod_restarted(self, namespace: str, pod: str) -> None:
        """The pod's process began anew: its counters drop to 0. An unknown pod is ignored."""
        self.advance()
        if (known := self._pods.get((namespace, pod))) is not None:
            known.reset()

    def pod_gone(self, namespace: str, pod: str) -> None:
        """The pod is gone: it serves nothing and leaves the list of targets. An unknown pod is ignored."""
        self.advance()
        self._pods.pop((namespace, pod), None)

    def pods(self) -> list[Pod]:
        """All pods there are, in the order they came."""
        return list(self._pods.values())

    # Faults -----------------------------------------------------------------------------------------------------------

    def fault(
        self,
        *,
        image: str | None = None,
        namespace: str | None = None,
        app: str | None = None,
        error_ratio: float = 0.0,
        latency_factor: float = 1.0,
    ) -> Fault:
        """Make pods of an image and/or of a service bad until `clear`; faults that hit the same pod add up."""
        apps = frozenset({app} if app else ())
        return self._add(
            Fault(image=image, namespace=namespace, apps=apps, error_ratio=error_ratio, latency_factor=latency_factor)
        )

    def outage(
        self, apps: Iterable[str], *, error_ratio: float, latency_factor: float = 1.0, namespace: str | None = None
    ) -> Fault:
        """A shared dependency is down: the services that need it fail, whatever their revision, until `clear`."""
        names = frozenset(apps)
        if not names:
            raise ValueError("apps: name at least one service that depends on what is down")
        return self._add(Fault(namespace=namespace, apps=names, error_ratio=error_ratio, latency_factor=latency_factor))

    def clear(self, fault: Fault | None = None) -> None:
        """End one fault, or all. A fault that has ended already is ignored."""
        self.advance()
        self._faults = [] if fault is None else [other for other in self._faults if other is not fault]

    def _add(self, fault: Fault) -> Fault:
        if not 0 <= fault.error_ratio <= 1:
            raise ValueError(f"error_ratio: must be in [0, 1], got {fault.error_ratio}")
        if not 0 < fault.latency_factor <= 1000:
            raise ValueError(f"latency_factor: must be in (0, 1000], got {fault.latency_factor}")
        self.advance()
        self._faults.append(fault)
        return fault

    # The load model ---------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Serve all requests of the whole ticks since the last call."""
        now = self._clock()
        self._done = max(self._done, now - CATCH_UP_SECONDS_MAX)
        ticks = math.floor((now - self._done) / TICK_SECONDS + 1e-9)
        for _ in range(ticks):
            self._tick()
        self._done += ticks * TICK_SECONDS

    def _tick(self) -> None:
        serving: dict[tuple[str, str], list[Pod]] = {}
        for pod in self._pods.values():
            if pod.ready:
                serving.setdefault((pod.namespace, pod.app), []).append(pod)
        for key, service in self._services.items():
            service.owed += service.load.requests_per_second * TICK_SECONDS * self._speed
            count, service.owed = int(service.owed), service.owed % 1.0
            pods = serving.get(key)
            if not pods:
                self.unserved[key] = self.unserved.get(key, 0) + count
                continue
            for _ in range(count):
                service.turn += 1
                self._serve(service, pods[service.turn % len(pods)])

    def _serve(self, service: _Service, pod: Pod) -> None:
        good, factor = 1.0 - service.load.error_ratio, 1.0
        for fault in self._faults:
            if fault.hits(pod):
                good *= 1.0 - fault.error_ratio
                factor *= fault.latency_factor
        failed = service.chance.random() >= good
        seconds = service.load.latency_seconds * factor * math.exp(LATENCY_SIGMA * service.chance.gauss(0.0, 1.0))
        pod.observe(code="500" if failed else "200", method=service.load.method, seconds=seconds)

    def _service(self, namespace: str, app: str) -> _Service:
        key = (namespace, app)
        if key not in self._services:
            chance = random.Random(f"{self._seed}/{namespace}/{app}")
            self._services[key] = _Service(self._default_load, chance)
        return self._services[key]

    # What scrapers read -----------------------------------------------------------------------------------------------

    def metrics(self, namespace: str, pod: str) -> str | None:
        """The pod's counters in the Prometheus text format 0.0.4; None where there is no such pod."""
        self.advance()
        known = self._pods.get((namespace, pod))
        return None if known is None else _render([known])

    def all_metrics(self) -> str:
        """The counters of all pods in one page, as a federating gateway would show them."""
        self.advance()
        return _render(self._pods.values())

    def targets(self, address: str) -> list[dict[str, Any]]:
        """One target group per pod, as Prometheus' `http_sd_configs` wants it; `address` is this server's host:port."""
        return [
            {
                "targets": [address],
                "labels": {
                    "__metrics_path__": f"/metrics/{pod.namespace}/{pod.name}",
                    "instance": f"{pod.ip}:8080",
                    "namespace": pod.namespace,
                    "pod": pod.name,
                    "app": pod.app,
                },
            }
            for pod in self._pods.values()
        ]


def escape(value: str) -> str:
    """A label value as the text format wants it (Prometheus, "Exposition formats")."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _render(pods: Iterable[Pod]) -> str:
    """The families one after the other: the text format wants all lines of a family together."""
    listed = list(pods)
    lines = ["# HELP http_requests_total Requests served.", "# TYPE http_requests_total counter"]
    for pod in listed:
        for (code, method), count in sorted(pod.codes.items()):
            lines.append(f'http_requests_total{{{_labels(pod)},code="{code}",method="{method}"}} {count}')
    name = "http_request_duration_seconds"
    lines += [f"# HELP {name} Time to serve a request.", f"# TYPE {name} histogram"]
    for pod in listed:
        total, labels = 0, _labels(pod)
        for bound, count in zip((*BUCKETS_SECONDS, math.inf), pod.buckets, strict=True):
            total += count
            le = "+Inf" if math.isinf(bound) else f"{bound:g}"
            lines.append(f'{name}_bucket{{{labels},le="{le}"}} {total}')
        lines += [f"{name}_sum{{{labels}}} {pod.seconds_sum!r}", f"{name}_count{{{labels}}} {total}"]
    return "\n".join(lines) + "\n"


def _labels(pod: Pod) -> str:
    named = {"namespace": pod.namespace, "pod": pod.name, "app": pod.app}
    return ",".join(f'{name}="{escape(value)}"' for name, value in named.items())


@asynccontextmanager
async def serve_metrics(
    services: SampleServices, *, kube_state: Callable[[], str] | None = None, port: int = 0
) -> AsyncIterator[str]:
    """Serve the world's metrics on loopback while the block runs; yields the base URL, without a slash at the end.

    `GET /sd` lists the targets (http_sd_configs), one per pod, `GET /metrics/{namespace}/{pod}` is one pod (404 when it
    is gone), `GET /kube-state` the text that `kube_state` returns (a target of its own when given). `GET /sd/one-page`
    lists one target for all pods, `GET /metrics`: a real Prometheus takes up to 5 s to see a new target (its discovery
    is throttled, and no flag changes that), but sees a new pod on a known page with its next scrape.
    """

    def text(body: str) -> web.Response:
        return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def sd(request: web.Request) -> web.Response:
        one_page: list[dict[str, Any]] = [{"targets": [request.host], "labels": {"__metrics_path__": "/metrics"}}]
        groups = one_page if request.path.endswith("/one-page") else services.targets(request.host)
        if kube_state is not None:
            labels = {"__metrics_path__": "/kube-state", "job": "kube-state-metrics"}
            groups.append({"targets": [request.host], "labels": labels})
        return web.json_response(groups)

    async def one(request: web.Request) -> web.Response:
        body = services.metrics(request.match_info["namespace"], request.match_info["pod"])
        return web.Response(status=404, text="no such pod\n") if body is None else text(body)

    async def everything(_: web.Request) -> web.Response:
        return text(services.all_metrics())

    async def state(_: web.Request) -> web.Response:
        return web.Response(status=404) if kube_state is None else text(kube_state())

    app = web.Application()
    app.router.add_get("/sd", sd)
    app.router.add_get("/sd/one-page", sd)
    app.router.add_get("/metrics", everything)
    app.router.add_get("/metrics/{namespace}/{pod}", one)
    app.router.add_get("/kube-state", state)
    async with serve_loopback(app, port=port) as url:
        yield url


@asynccontextmanager
async def serve_loopback(app: web.Application, *, port: int = 0) -> AsyncIterator[str]:
    """Run an application on 127.0.0.1 while the block runs (port 0 = a free one); yields `http://127.0.0.1:PORT`."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
