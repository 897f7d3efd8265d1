"""Looking back in a real Prometheus that promtool has filled: since when it was felt, below the alert's threshold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Location, OnsetSource, Workload
from handlers.outbound.locate import LocateRunner
from handlers.prometheus import PrometheusClient
from handlers.sampling import Sampler, floor
from tests.backtest.filled_prometheus import client_of, filled_with
from tests.handlers.measuring_world import MINUTE, NOW, SECOND, STEP, Cluster, Hands, alert, policy

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ONSET = floor(NOW - 7 * MINUTE, STEP)
STAGE = ONSET - 6 * MINUTE
BEFORE = timedelta(minutes=75)
SCRAPES = 15 * SECOND
REQUESTS = 150.0
"""Of one pod between two scrapes."""

POD = "6d4b75cb6d-bcdfg"
NEW_POD = "7f9c9c9c9c-vwxzz"

Line = tuple[str, float, datetime]


def share(service: str, pod: str, at: datetime) -> float:
    """How much of what a pod was asked up to a scrape failed."""
    if service == "web-admin":
        return 0.5
    if service == "mail" or pod == POD:
        return 0.001
    if at > ONSET - (STEP if service == "cart" else timedelta(0)):
        return 0.8
    return 0.1 if service == "web" and at > STAGE else 0.001


def counted(service: str, pod: str) -> Iterator[Line]:
    """Requests of a pod by their code."""
    labels = f'namespace="shop",pod="{service}-{pod}"'
    good, bad, at = 0.0, 0.0, ONSET - BEFORE
    while at <= NOW:
        failed = REQUESTS * share(service, pod, at)
        good, bad = good + REQUESTS - failed, bad + failed
        yield f'http_requests_total{{{labels},code="200"}}', good, at
        yield f'http_requests_total{{{labels},code="500"}}', bad, at
        at += SCRAPES


def history() -> Iterator[str]:
    """Three services of two pods; of web one pod is bad from a stage on, of cart from the onset on, and mail is well.

    An alert tells of each that its threshold was crossed at the onset. A fourth, whose name begins alike, always fails.
    """
    lines = [
        line
        for service in ("web", "cart", "mail", "web-admin")
        for pod in (POD, NEW_POD)
        for line in counted(service, pod)
    ]
    for service in ("web", "cart", "mail"):
        labels = f'alertname="HighErrors",namespace="shop",deployment="{service}"'
        moments = (ONSET + SCRAPES * number for number in range(1, 30))
        lines += [(f"ALERTS_FOR_STATE{{{labels}}}", ONSET.timestamp(), at) for at in moments if at <= NOW]
    for series, value, at in sorted(lines):
        yield f"{series} {value!r} {at.timestamp():.3f}\n"
    yield "# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled_with(history(), tmp_path_factory.mktemp("prometheus")) as url:
        yield url


async def located(client: PrometheusClient, service: str) -> Location:
    """An alert of it that fires since two minutes after the onset."""
    cluster = Cluster()
    cluster.workloads["shop", service] = Workload(namespace="shop", kind="Deployment", name=service)
    runner = LocateRunner(cluster, client, Sampler(client, policy), Hands())
    fired = alert(namespace="shop", deployment=service)
    outcome = await runner.run(Locate(id=ActionId("locate/f1"), deadline=NOW + MINUTE, alert=fired))
    assert isinstance(outcome.result, Located)
    return outcome.result.location


@pytest.mark.parametrize(
    ("service", "felt_at"),
    [("web", STAGE + STEP), ("cart", ONSET), ("mail", None)],
    ids=["in a stage before", "at the onset", "not at all"],
)
async def test_since_when_it_is_felt(prometheus: str, service: str, felt_at: datetime | None) -> None:
    """The first sample of the stage that broke it a little, six minutes before the threshold; no earlier, and no neighbour's."""
    async with client_of(prometheus) as client:
        found = await located(client, service)
    assert (found.onset, found.onset_source) == (ONSET, OnsetSource.FOR_STATE)
    assert found.felt_at == felt_at
