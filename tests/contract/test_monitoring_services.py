"""The sample services are a fair picture of services: steady load, per-revision faults, counters that only grow."""

from __future__ import annotations

from collections import Counter
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.monitoring import Rule, default_rules, kube_state_metrics
from deploy.sandbox.monitoring.exposition import BadExpositionError, parse_exposition
from deploy.sandbox.monitoring.labels import get
from deploy.sandbox.services import REQUESTS_PER_SECOND_MAX, Load, SampleServices, serve_metrics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counts(services: SampleServices, label: str = "pod") -> Counter[tuple[str, str]]:
    """Requests by (label, code)."""
    found: Counter[tuple[str, str]] = Counter()
    for labels, value in parse_exposition(services.all_metrics()):
        if get(labels, "__name__") == "http_requests_total":
            found[get(labels, label), get(labels, "code")] += int(value)
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def services(clock: Clock) -> SampleServices:
    world = SampleServices(seed=5, load=Load(requests_per_second=100), clock=clock)
    world.pod_ready("shop", "web-1", app="web", image="web:1")
    world.pod_ready("shop", "web-2", app="web", image="web:2")
    world.pod_ready("shop", "api-1", app="api", image="api:1")
    return world


def test_load_is_shared_by_ready_pods(services: SampleServices, clock: Clock) -> None:
    """A service's load is constant and shared evenly; a pod that is not ready gets none, the others take its share."""
    clock.now += 10
    assert counts(services) == {("web-1", "200"): 500, ("web-2", "200"): 500, ("api-1", "200"): 1000}
    services.pod_unready("shop", "web-2")
    clock.now += 10
    assert counts(services)["web-1", "200"] == 1500
    services.pod_gone("shop", "web-1")
    assert services.metrics("shop", "web-1") is None
    clock.now += 1
    services.advance()
    assert services.unserved == {("shop", "web"): 100}


def test_same_seed_same_counters(clock: Clock) -> None:
    """Two worlds with one seed are equal to the last digit, another seed is not."""

    def run(seed: int) -> str:
        clock.now = 100.0
        world = SampleServices(seed=seed, clock=clock)
        world.pod_ready("shop", "web-1", app="web", image="web:1")
        world.fault(image="web:1", error_ratio=0.2)
        for _ in range(7):
            clock.now += 1.3
            world.advance()
        return world.all_metrics()

    assert run(1) == run(1) != run(2)


def test_fault_hits_its_image_only(services: SampleServices, clock: Clock) -> None:
    """A fault of an image spares the other revision, and ends when it is cleared; without errors there is no series."""
    fault = services.fault(image="web:2", error_ratio=0.4)
    clock.now += 20
    seen = counts(services)
    assert ("web-1", "500") not in seen
    assert 0.3 < seen["web-2", "500"] / 1000 < 0.5
    services.clear(fault)
    clock.now += 20
    assert counts(services)["web-2", "500"] == seen["web-2", "500"]


def test_outage_hits_every_revision_of_the_services_that_depend(services: SampleServices, clock: Clock) -> None:
    """When what they share is down, services fail whatever their revision."""
    services.pod_ready("shop", "mail-1", app="mail", image="mail:1")
    services.outage(["web", "api"], error_ratio=1.0)
    clock.now += 5
    codes = counts(services, "app")
    assert (codes["web", "500"], codes["api", "500"], codes["mail", "200"]) == (500, 500, 500)
    assert codes["web", "200"] == 0


def test_latency_factor_moves_the_histogram(services: SampleServices, clock: Clock) -> None:
    """A slow image shows in its pod's sum and buckets; buckets grow with `le` and end at the count."""
    services.fault(image="web:2", latency_factor=10)
    clock.now += 20
    page = parse_exposition(services.all_metrics())
    sums = {get(labels, "pod"): value for labels, value in page if get(labels, "__name__").endswith("_sum")}
    assert sums["web-2"] > 8 * sums["web-1"]
    buckets = [v for labels, v in page if get(labels, "le") and get(labels, "pod") == "web-2"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 1000


def test_restart_begins_at_zero(services: SampleServices, clock: Clock) -> None:
    """A restarted pod's counters begin anew."""
    clock.now += 1
    services.pod_restarted("shop", "web-1")
    assert ("web-1", "200") not in counts(services)


def test_a_long_sleep_is_not_made_up_for(services: SampleServices, clock: Clock) -> None:
    """After a day of sleep at most ten minutes of load are served."""
    services.load("shop", "api", Load(requests_per_second=1))
    services.load("shop", "web", Load(requests_per_second=1))
    clock.now += 86_400
    assert sum(counts(services).values()) <= 2 * 600


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_impossible_faults_are_refused(services: SampleServices, ratio: float) -> None:
    """A ratio outside [0, 1], a factor of 0, too much load: refused with the field's name."""
    with pytest.raises(ValueError, match="error_ratio"):
        services.fault(error_ratio=ratio)
    with pytest.raises(ValueError, match="latency_factor"):
        services.fault(latency_factor=0)
    with pytest.raises(ValueError, match="apps"):
        services.outage([], error_ratio=0.5)
    with pytest.raises(ValueError, match="requests_per_second"):
        services.load("shop", "web", Load(requests_per_second=REQUESTS_PER_SECOND_MAX + 1))


@pytest.mark.looptime(False)
async def test_targets_and_pages(services: SampleServices) -> None:
    """Each pod is a target of its own while it is there; gone pods are 404; one page holds all."""
    async with (
        serve_metrics(services, kube_state=lambda: kube_state_metrics([])) as url,
        aiohttp.ClientSession() as session,
    ):

        async def get_json(path: str) -> list[dict[str, dict[str, str]]]:
            async with session.get(url + path) as reply:
                assert reply.content_type == "application/json"
                return list(await reply.json())

        async def status(path: str) -> int:
            async with session.get(url + path) as reply:
                return reply.status

        groups = await get_json("/sd")
        assert [each["labels"].get("pod") for each in groups] == ["web-1", "web-2", "api-1", None]
        assert groups[0]["labels"]["__metrics_path__"] == "/metrics/shop/web-1"
        services.pod_gone("shop", "web-1")
        assert len(await get_json("/sd")) == 3
        assert len(await get_json("/sd/one-page")) == 2
        assert [await status(path) for path in ("/metrics/shop/web-1", "/metrics/shop/web-2", "/metrics")] == [
            404,
            200,
            200,
        ]


def test_kube_state_reads_raw_objects() -> None:
    """Restarts, the reason a container waits, and unavailable replicas come from the objects as the API gives them."""
    waiting = {"name": "main", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    running = {"name": "side", "restartCount": 0, "state": {"running": {}}}
    named = {"namespace": "shop", "name": "web-1", "uid": "u"}
    pods: list[dict[str, Any]] = [
        {"metadata": named, "status": {"containerStatuses": [waiting, running]}},
        {"metadata": named, "status": {}},
    ]
    deployment = {"metadata": {"namespace": "shop", "name": "web"}, "status": {"unavailableReplicas": 2}}
    page = {
        (get(labels, "__name__"), get(labels, "container"), get(labels, "reason")): value
        for labels, value in parse_exposition(kube_state_metrics(pods, [deployment]))
    }
    assert page == {
        ("kube_pod_container_status_restarts_total", "main", ""): 3,
        ("kube_pod_container_status_restarts_total", "side", ""): 0,
        ("kube_pod_container_status_waiting_reason", "main", "CrashLoopBackOff"): 1,
        ("kube_deployment_status_replicas_unavailable", "", ""): 2,
    }


def test_hostile_names_survive_the_text_format() -> None:
    """Quotes, backslashes, newlines and braces in a label come back as they were; garbage is refused by line."""
    hostile = 'a"b\\c\n},{x="y"'
    world = SampleServices(clock=Clock())
    world.pod_ready("shop", hostile, app="web", image="web:1")
    world._pods["shop", hostile].observe(code="200", method="GET", seconds=0.1)
    assert {get(labels, "pod") for labels, _ in parse_exposition(world.all_metrics())} == {hostile}
    for text in ("up{a=b} 1", "up one", "up", 'up{a="b} 1'):
        with pytest.raises(BadExpositionError, match="line 2"):
            parse_exposition("up 1\n" + text)


def test_rules_refuse_templates_the_stand_in_cannot_fill() -> None:
    """A rule may name labels and the value; any other template would differ between real and stand-in."""
    with pytest.raises(ValueError, match=r"rule X, summary: use only"):
        Rule(alert="X", expr="up", annotations={"summary": "{{ $value | humanize }}"})
    rule = default_rules()[0]
    assert rule.expanded(rule.labels, {"app": "web"}, 0.5) == {"severity": "critical", "deployment": "web"}
