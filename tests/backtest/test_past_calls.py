"""Calls between services in a recording from a real Prometheus, and what a replay makes of them or of declared ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Alert, AlertStatus, Neighbour, Workload
from daemon.core.policy import Policy
from handlers.backtest import history
from handlers.backtest.intervals import Sampling
from handlers.backtest.past_calls import Calls
from handlers.backtest.past_rollouts import Past, key_of
from handlers.backtest.reading import Reader
from handlers.backtest.recording import EdgeSeen, PodSeen, Recording, RolloutSeen, SampleSeen
from handlers.backtest.world import World
from handlers.call_metrics import METRICS, End
from handlers.faults import FaultKind, Permanent
from handlers.prometheus import Matrix
from tests.backtest import past_world as world
from tests.backtest.filled_prometheus import client_of, filled_with
from tests.backtest.openmetrics import text_of
from tests.backtest.past_world import MINUTE, START, STEP

HOUR = timedelta(hours=1)
POLICY = Policy(cluster="test")
PLANTED = (("web", "api", timedelta(0)), ("api", "cart", 3 * HOUR + 20 * MINUTE), ("web", "nobody", timedelta(0)))
"""Caller, callee and since when; of the last the callee is no workload."""
SPACES = {"cart": "pay"}
BEGIN = START + 20 * MINUTE
"""Of the recording: not on a full hour, at which it is looked again."""


def series(*calls: tuple[str, str, timedelta], until: datetime = world.END) -> Iterator[str]:
    """Istio's counter of each call, scraped every minute."""
    for caller, callee, after in calls:
        labels = {
            "source_workload": caller,
            "source_workload_namespace": SPACES.get(caller, "shop"),
            "destination_workload": callee,
            "destination_workload_namespace": SPACES.get(callee, "shop"),
            "reporter": "source",
        }
        quoted = ",".join(f'{name}="{value}"' for name, value in labels.items())
        at, value = START - 10 * MINUTE + after, 0
        while at <= until:
            yield f"istio_requests_total{{{quoted}}} {value} {at.timestamp():.0f}\n"
            at, value = at + MINUTE, value + 100


def recorded(url: str) -> Recording:
    async def ask() -> Recording:
        async with client_of(url) as client:
            return await history.from_prometheus(client, BEGIN, world.END, step=STEP, policy=POLICY)

    return asyncio.run(ask())


@pytest.mark.real
@pytest.mark.timeout(180)
def test_a_recording_has_the_calls_from_when_they_were_seen(tmp_path: Path) -> None:
    """What is there at the start is known from then on, a new call at the next hour, never before it was made."""
    text = [*series(*PLANTED), *text_of(world.planted(), STEP)]
    with filled_with(text, tmp_path) as url:
        found = recorded(url)
    assert [(edge.caller, edge.callee, edge.at) for edge in found.evidence if isinstance(edge, EdgeSeen)] == [
        (world.WEB, world.API, BEGIN),
        (world.API, world.CART, START + 4 * HOUR),
    ]
    asked = [each for each in found.evidence if isinstance(each, SampleSeen) and each.peer is not None]
    rolled = {each.workload for each in found.evidence if isinstance(each, RolloutSeen)}
    assert {(each.workload, each.peer) for each in asked} == {
        ends for ends in ((world.WEB, world.API), (world.API, world.CART)) if ends[0] in rolled
    }
    assert {(each.signal, each.direction, each.pod) for each in asked} == {("traffic_rate", "outbound", None)}
    assert asked[-1].value == pytest.approx(100 / 60)


async def test_what_cannot_be_read_of_calls_is_told_once() -> None:
    """The recording goes without, and says what that costs."""
    api = _named(world.API)
    meant = {End(name=name): (workload,) for name, workload in (("web", _named(world.WEB)), ("api", api))}
    calls = Calls((), [(METRICS[0], meant)])
    reader: Any = Refusing()
    web = key_of(world.WEB)
    for _ in range(2):
        assert await calls.samples(reader, web, START, START + HOUR, STEP, MINUTE) == []
    assert await calls.samples(reader, key_of(world.CART), START, START + HOUR, STEP, MINUTE) == []
    past = Past(rollouts=[RolloutSeen(at=START, workload=world.WEB, revision="r", replaces="q", phase="started")])
    signals: Any = SimpleNamespace(unseen=[])
    (said,) = history._missing(past, signals, calls)
    assert said.endswith("who asks more may be missed: prometheus answered 422: too much")


REFUSED = Permanent("prometheus answered 422: too much", FaultKind.CLIENT, status=422)


class Refusing:
    """A Prometheus that does not want to tell of calls."""

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        raise REFUSED

    async def matrix(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        raise REFUSED


async def test_without_calls_there_is_a_recording_all_the_same() -> None:
    """The graph is optional: what it costs is told, and nothing else is lost."""
    told: list[str] = []
    client: Any = Refusing()
    span = (world.START, world.END)
    calls = await history._calls(client, Reader(client), Past(), span, told.append)
    assert calls.edges == []
    (said,) = told
    assert said.startswith("who calls whom could not be read")


def test_declared_calls_count_in_a_replay() -> None:
    """policy.calls is the graph where the recording has none; an alert's place comes with its callee."""
    web, api = _named(world.WEB), _named(world.API)
    for calls, near in (((), ()), (((web, api),), (Neighbour(workload=api, hops=1, called=True),))):
        lived = World(Sampling(step=STEP, phase=timedelta(0)), replace(POLICY, calls=calls))
        lived.feed(PodSeen(at=START, pod="web-1", workload=world.WEB, revision="r1", ready=True))
        alert = Alert(
            fingerprint="f",
            status=AlertStatus.FIRING,
            labels=(("deployment", "web"), ("namespace", "shop")),
            annotations=(),
            starts_at=START + HOUR,
        )
        outcome = lived.answer(Locate(id=ActionId("l"), deadline=START + HOUR, alert=alert), START + HOUR)
        assert isinstance(outcome.result, Located)
        assert outcome.result.location.workloads == (web,)
        assert outcome.result.location.neighbours == near


def _named(key: str) -> Workload:
    namespace, kind, name = key.split("/")
    return Workload(namespace=namespace, kind=kind, name=name)
