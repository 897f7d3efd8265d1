"""The measuring handlers on a Prometheus that scrapes sample services: the stand-in, and the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from daemon.core.actions import Locate, Located, Measured, Soaked
from daemon.core.contrast import contrast_of
from daemon.core.measurement import Measurement, Sample, SoakMeasurement
from daemon.core.model import ActionId, OnsetSource, Rollout
from deploy.sandbox.monitoring import default_rules, start_monitoring
from deploy.sandbox.monitoring.start import Kind
from deploy.sandbox.services import Load, SampleServices, serve_metrics
from handlers.outbound.locate import LocateRunner
from handlers.outbound.measure import MeasureRunner
from handlers.outbound.soak import SoakRunner
from handlers.pod_groups import of_revision, of_workload
from handlers.prometheus import PrometheusClient
from handlers.sampling import Sampler
from tests import parts
from tests.handlers.intake_fakes import Counted
from tests.handlers.measuring_world import (
    NEW_PODS,
    OLD_PODS,
    SECOND,
    V1,
    V2,
    WEB,
    Cluster,
    alert,
    measure,
    pod,
    policy,
    prove,
)

KINDS = [pytest.param("stand-in", marks=pytest.mark.looptime(False)), pytest.param("real", marks=pytest.mark.real)]
DEADLINE_SECONDS = 25.0
NEIGHBOUR = "web-admin-6d4b75cb6d-bcdfg"
POLICY = policy(sample_interval=SECOND, signal_window=3 * SECOND)

T = TypeVar("T")


class Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """The first answer that is good; fails after the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not good(answer := await ask()):
            await asyncio.sleep(0.1)
    return answer


@asynccontextmanager
async def watched(kind: Kind, folder: Path, services: SampleServices) -> AsyncIterator[PrometheusClient]:
    """A Prometheus that scrapes the services twice a second."""
    if kind == "real":
        parts.require("prometheus")
        parts.require("alertmanager")
    async with (
        serve_metrics(services) as pages,
        start_monitoring(
            sd_url=f"{pages}/sd",
            webhook_url="http://127.0.0.1:9/none",
            webhook_token="token",
            workdir=folder,
            rules=default_rules(window_seconds=3, for_seconds=1),
            scrape_interval=0.5,
            kind=kind,
        ) as monitoring,
        aiohttp.ClientSession() as session,
    ):
        yield PrometheusClient(session, monitoring.prometheus_url, telemetry=Counted())


def a_shop() -> SampleServices:
    """Two old pods and a new one of web, of which the new one fails; and a workload whose name begins alike."""
    services = SampleServices(seed=1)
    services.load("shop", "web", Load(requests_per_second=300))
    services.load("shop", "web-admin", Load(requests_per_second=100))
    for number, name in enumerate((*OLD_PODS, *NEW_PODS, NEIGHBOUR)):
        app = "web-admin" if name == NEIGHBOUR else "web"
        image = "web:v2" if name in NEW_PODS else "web:v1"
        services.pod_ready("shop", name, app=app, image=image, ip=f"10.0.0.{number + 1}")
    services.fault(image="web:v2", error_ratio=0.4)
    return services


def errors(samples: tuple[Sample, ...]) -> list[float]:
    return [value for sample in samples if (value := sample.value("error_ratio")) is not None]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_overlap_convicts(kind: Kind, tmp_path: Path) -> None:
    """New and old pods are told apart at the same moments, also when the old ones are gone and nobody listed them; a
    soak of the new pods is unhealthy; the onset is when the condition became true; yesterday was nothing.
    """
    services, cluster = a_shop(), Cluster()
    cluster.pods[WEB, V2.id] = [pod(NEW_PODS[0], ready_since=Now().now())]
    began = Now().now()
    async with watched(kind, tmp_path, services) as client:
        sampler = Sampler(client, lambda: POLICY)
        runner = MeasureRunner(sampler, cluster, None, Now())

        async def measured() -> Measurement:
            action = measure(since=began, rollout_started_at=began, onset=began, old_pods=())
            result = (await runner.run(action)).result
            assert isinstance(result, Measured)
            return result.measurement

        def convicted(found: Measurement) -> bool:
            rollout = Rollout(workload=WEB, replaced=V1, revision=V2, started_at=began, seen_at=began)
            return contrast_of(found, rollout, POLICY).convicts(POLICY)

        found = await until(measured, convicted)
        assert found.missing == ()
        old, new = ({sample.at for sample in samples} for samples in (found.old, found.new))
        both = {at for at in old if min(new) <= at <= max(new)}
        assert both, "both were seen for a while"
        assert both <= new, "where both were seen, they are compared at the same moments"
        assert max(errors(found.old)) < 0.01
        assert max(errors(found.new)) > 0.3
        assert found.yesterday == ()
        for name in OLD_PODS:
            services.pod_gone("shop", name)
        later = await until(measured, lambda found: len(found.new) >= len(found.old) + 4)
        assert convicted(later), "the minutes in which both served are still compared"
        soaked = (await SoakRunner(sampler, cluster, Now()).run(prove(since=began))).result
        assert isinstance(soaked, Soaked)
        assert soaked.soak.unhealthy_at is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_workload_is_found_by_generated_names(kind: Kind, tmp_path: Path) -> None:
    """All pods of a Deployment, of any revision, and none of one whose name begins alike."""
    async with watched(kind, tmp_path, a_shop()) as client:
        sampler = Sampler(client, lambda: POLICY)

        async def rates() -> list[float]:
            now = Now().now()
            groups = (of_workload(WEB), of_revision(WEB, V1, ()), of_revision(WEB, V2, ()))
            found = [await sampler.samples(group, now - 5 * SECOND, sampler.settled(now), SECOND) for group in groups]
            return [(each[-1].value("traffic") or 0.0) if each else 0.0 for each in found]

        def plausible(found: list[float]) -> bool:
            return all(abs(rate - wanted) < 40 for rate, wanted in zip(found, (300, 200, 100), strict=True))

        await until(rates, plausible)


@pytest.mark.parametrize("kind", KINDS)
async def test_health_is_proven_backwards(kind: Kind, tmp_path: Path) -> None:
    """Old pods that serve well are proven for as long as Prometheus has watched them, not for longer."""
    cluster, began = Cluster(), Now().now()
    cluster.pods[WEB, V1.id] = [pod(name, V1, ready_since=began - timedelta(hours=2)) for name in OLD_PODS]
    cluster.available = began - timedelta(hours=2)
    async with watched(kind, tmp_path, a_shop()) as client:
        runner = SoakRunner(Sampler(client, lambda: POLICY), cluster, Now())

        async def soaked() -> SoakMeasurement:
            result = (await runner.run(prove(revision=V1, since=began - timedelta(minutes=10)))).result
            assert isinstance(result, Soaked)
            return result.soak

        found = await until(soaked, lambda found: found.healthy >= 4 * SECOND)
        assert found.healthy <= Now().now() - began + SECOND
        assert found.inconclusive >= timedelta(minutes=9)
        assert found.unhealthy_at is None


@pytest.mark.parametrize("kind", KINDS)
async def test_the_onset_is_read_from_prometheus(kind: Kind, tmp_path: Path) -> None:
    """An alert that fires has its onset before its start, by the rule's `for`, from ALERTS_FOR_STATE."""
    async with watched(kind, tmp_path, a_shop()) as client:

        async def firing() -> list[tuple[dict[str, str], float]]:
            return await client.query('ALERTS{alertstate="firing"}', Now().now())

        ((labels, _), *_) = await until(firing, bool)
        del labels["__name__"], labels["alertstate"]
        started = Now().now()
        fired = replace(alert(**labels, cluster="added-on-the-way"), starts_at=started)
        runner = LocateRunner(Cluster(), client, Sampler(client, lambda: POLICY), Now())
        result = (await runner.run(Locate(id=ActionId("locate/f"), deadline=started, alert=fired))).result
        assert isinstance(result, Located)
        assert result.location.onset_source is OnsetSource.FOR_STATE
        assert SECOND <= started - result.location.onset < DEADLINE_SECONDS * SECOND
        assert result.location.workloads
