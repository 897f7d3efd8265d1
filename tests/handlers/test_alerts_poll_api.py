"""Reading Alertmanager's API over several peers, and what Prometheus' history of alerts becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from daemon.core.model import AlertStatus
from handlers.alert_history import BEFORE, LOOK_BACK_MAX, PART, STEP, AlertHistory, step_for
from handlers.alertmanager_api import AlertmanagerApi
from handlers.alerts import fingerprint_of
from handlers.faults import Permanent, Transient
from handlers.prometheus import Matrix, PrometheusClient, Vector
from tests.handlers.intake_fakes import T0, Counted, Hands

FIRING, SUPPRESSED, RESOLVED = AlertStatus.FIRING, AlertStatus.SUPPRESSED, AlertStatus.RESOLVED


def listed(fingerprint: str, state: str = "active", **changes: Any) -> dict[str, Any]:
    entry = {
        "labels": {"alertname": "A"},
        "annotations": {},
        "startsAt": "2026-11-20T11:00:00.123456789Z",
        "endsAt": "2026-11-20T12:04:00Z",
        "updatedAt": "2026-11-20T12:00:00Z",
        "fingerprint": fingerprint,
        "receivers": [{"name": "lastgood"}],
        "status": {"state": state, "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
    }
    return {**entry, **changes}


class Peer:
    """One Alertmanager that lists what it is told."""

    def __init__(self, *entries: Any, up_since: str = "2026-11-20T10:00:00.000Z") -> None:
        self.entries: Any = list(entries)
        self.up_since: str | None = up_since
        self.status = 200
        self.queries: list[list[tuple[str, str]]] = []

    async def alerts(self, request: web.Request) -> web.Response:
        self.queries.append(list(request.query.items()))
        return web.json_response(self.entries, status=self.status)

    async def state(self, _request: web.Request) -> web.Response:
        return web.json_response({"uptime": self.up_since}, status=404 if self.up_since is None else 200)


@asynccontextmanager
async def reading(*peers: Peer, counted: Counted | None = None, **options: Any) -> AsyncIterator[AlertmanagerApi]:
    async with AsyncExitStack() as stack:
        urls = []
        for peer in peers:
            app = web.Application()
            app.add_routes([web.get("/am/api/v2/alerts", peer.alerts), web.get("/am/api/v2/status", peer.state)])
            urls.append(str((await stack.enter_async_context(TestServer(app))).make_url("/am/")))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield AlertmanagerApi(session, urls, clock=Hands(), telemetry=counted or Counted(), **options)


pytestmark = pytest.mark.looptime(False)  # real sockets: virtual time would run past them


async def test_all_states_are_asked_for() -> None:
    """Silenced, inhibited and unprocessed ones too, without a filter: a missing alert would be taken for gone."""
    peer, counted = Peer(), Counted()
    async with reading(peer, counted=counted) as api:
        got = await api.read()
    states = [(state, "true") for state in ("active", "silenced", "inhibited", "unprocessed")]
    assert peer.queries == [states]
    assert (got.alerts, got.complete, counted.contacts) == ((), True, [("alertmanager", True)])


async def test_states() -> None:
    """Active fires; silenced, inhibited, muted by time and not yet processed count as neither firing nor gone."""
    muted = {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": ["weekend"]}
    peer = Peer(listed("a"), listed("b", "suppressed"), listed("c", "unprocessed"), listed("d", status=muted))
    async with reading(peer) as api:
        got = await api.read()
    assert [(a.fingerprint, a.status) for a in got.alerts] == [
        ("a", FIRING),
        ("b", SUPPRESSED),
        ("c", SUPPRESSED),
        ("d", SUPPRESSED),
    ]


async def test_peers_are_united() -> None:
    """Active on any peer fires; suppressed only what is so wherever it is seen."""
    one = Peer(listed("a", "suppressed"), listed("b", "suppressed"), listed("c"))
    two = Peer(listed("a"), listed("b", "suppressed"), listed("d"))
    async with reading(one, two) as api:
        got = await api.read()
    assert {a.fingerprint: a.status for a in got.alerts} == {"a": FIRING, "b": SUPPRESSED, "c": FIRING, "d": FIRING}


async def test_one_peer_is_enough() -> None:
    """Every peer has all alerts: as long as one answers, the reading is complete. None at all is a fault."""
    dead, alive, counted = Peer(), Peer(listed("a")), Counted()
    dead.status = 503
    async with reading(dead, alive, counted=counted) as api:
        got = await api.read()
        assert (len(got.alerts), got.complete) == (1, True)
        alive.status = 500
        with pytest.raises(Transient):
            await api.read()
    assert counted.contacts == [("alertmanager", True), ("alertmanager", False)]


async def test_a_restarted_alertmanager_does_not_know_what_is_gone() -> None:
    """It starts with none until Prometheus sends them again: what it lists fires, what it does not list may too."""
    fresh = Peer(listed("a"), up_since="2026-11-20T11:59:00.000Z")
    async with reading(fresh) as api:
        got = await api.read()
    assert (len(got.alerts), got.complete) == (1, False)
    async with reading(fresh, Peer()) as api:
        assert (await api.read()).complete
    async with reading(fresh, settle=timedelta(seconds=30)) as api:
        assert (await api.read()).complete


async def test_a_server_without_a_status_is_settled() -> None:
    """Compatible servers need not have that endpoint."""
    peer = Peer()
    peer.up_since = None
    async with reading(peer) as api:
        assert (await api.read()).complete


async def test_an_entry_that_cannot_be_read_makes_it_incomplete() -> None:
    """The others count, but nothing may be concluded from what is missing."""
    async with reading(Peer(listed("a"), listed("b", labels={"n": 1}), {"status": "?"}, None)) as api:
        got = await api.read()
    assert ([a.fingerprint for a in got.alerts], got.complete) == (["a"], False)


@pytest.mark.parametrize("entries", [{"alerts": []}, "text", None])
async def test_what_is_no_list_is_a_fault(entries: object) -> None:
    """Not "no alerts"."""
    peer = Peer()
    peer.entries = entries
    async with reading(peer) as api:
        with pytest.raises(Transient):
            await api.read()


async def test_wrong_credentials_are_permanent() -> None:
    """A 401 is told as what it is."""
    peer = Peer()
    peer.status = 401
    async with reading(peer) as api:
        with pytest.raises(Permanent):
            await api.read()


class Series:
    """A Prometheus that has these spells of firing, in minutes before T0, sampled at each step."""

    def __init__(self, *spells: tuple[dict[str, str], float, float]) -> None:
        self.spells = spells
        self.ranges: list[tuple[datetime, datetime]] = []

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        assert promql == 'ALERTS{alertstate="firing"}'
        self.ranges.append((start, end))
        moments = [start + number * step for number in range(int((end - start) / step) + 1)]
        extra = {"__name__": "ALERTS", "alertstate": "firing"}
        series: dict[tuple[tuple[str, str], ...], list[tuple[datetime, float]]] = {}
        for labels, first, last in self.spells:
            within = [(at, 1.0) for at in moments if minutes(first) <= at <= minutes(last)]
            series.setdefault(tuple(labels.items()), []).extend(within)
        return [({**extra, **dict(labels)}, samples) for labels, samples in series.items() if samples]

    async def query(self, promql: str, at: datetime) -> Vector:
        assert (promql, at) == ('ALERTS{alertstate="firing"}', T0)
        extra = {"__name__": "ALERTS", "alertstate": "firing"}
        return [
            ({**extra, **labels}, 1.0) for labels, first, last in self.spells if minutes(first) <= at <= minutes(last)
        ]

    def history(self, **options: Any) -> AlertHistory:
        return AlertHistory(client=cast("PrometheusClient", self), **options)


def minutes(before: float) -> datetime:
    return T0 - timedelta(minutes=before)


A, B, C = ({"alertname": name} for name in "ABC")


async def test_what_fired_and_stopped_while_we_were_down() -> None:
    """It is told with its start and that it is over, with Alertmanager's fingerprint and without Prometheus' labels."""
    past = await Series((A, 50, 40)).history().read(minutes(60), T0)
    (fired,), (resolved,) = past.fired, past.resolved
    assert (fired.status, resolved.status) == (FIRING, RESOLVED)
    assert fired.starts_at == resolved.starts_at == minutes(50)
    assert fired.labels == (("alertname", "A"),)
    assert fired.fingerprint == resolved.fingerprint == fingerprint_of(A)


async def test_what_still_fires_is_left_to_the_api() -> None:
    """Only it knows what is silenced; the history tells of what is over."""
    past = await Series((A, 50, 0)).history().read(minutes(60), T0)
    assert (past.fired, past.resolved) == ((), ())


async def test_what_ended_in_the_last_moment_is_over() -> None:
    """Its last sample is as fresh as that of an alert that goes on; Prometheus is asked which of them fires now."""
    past = await Series((A, 50, 0), (B, 50, 0.25)).history().read(minutes(60), T0)
    assert [alert.name for alert in past.resolved] == ["B"]


async def test_a_short_absence_is_read_finely() -> None:
    """An alert of four seconds within a restart of twelve is found; after hours the distance is that of most rules."""
    past = await Series((A, 10 / 60, 6 / 60)).history().read(T0 - timedelta(seconds=12), T0)
    assert [alert.name for alert in past.fired] == ["A"]
    assert [step_for(timedelta(hours=hours)) for hours in (0, 0.5, 1, 24)] == [
        timedelta(seconds=seconds) for seconds in (1, 8, 15, 15)
    ]


async def test_what_began_before_we_went_down() -> None:
    """Known start just before: told whole. Unknown start: only that it is over. Over before we went down: nothing."""
    past = await Series((A, 65, 40), (B, 200, 40), (C, 68, 62)).history().read(minutes(60), T0)
    assert [(a.name, a.starts_at) for a in past.fired] == [("A", minutes(65))]
    assert {a.name for a in past.resolved} == {"A", "B"}


async def test_two_firings_are_two() -> None:
    """Each with its own start: which rollout came before it is what counts."""
    past = await Series((A, 50, 45), (A, 30, 20)).history().read(minutes(60), T0)
    assert [a.starts_at for a in past.fired] == [minutes(50), minutes(30)]


async def test_a_long_absence_is_read_in_parts_and_joined() -> None:
    """No query is longer than a part, nothing is older than the limit, and a spell over a border is one."""
    series = Series((A, 700, 100))
    past = await series.history().read(T0 - timedelta(days=30), T0)
    assert series.ranges[0][0] == T0 - LOOK_BACK_MAX
    assert all(end - start <= PART for start, end in series.ranges)
    assert len(series.ranges) == LOOK_BACK_MAX / PART
    assert [a.starts_at for a in past.fired] == [minutes(700)]
    short = Series()
    await short.history().read(minutes(60), T0)
    assert short.ranges == [(minutes(60) - BEFORE, T0)]
    assert STEP < BEFORE


async def test_external_labels_belong_to_the_fingerprint() -> None:
    """Prometheus adds them on the way to Alertmanager, and relabelling drops the replica's; without that the alert
    would be another one.
    """
    series = Series(({"alertname": "A", "replica": "1"}, 50, 40))
    past = await series.history(external={"cluster": "prod"}, dropped=frozenset({"replica"})).read(minutes(60), T0)
    assert past.fired[0].fingerprint == fingerprint_of({"alertname": "A", "cluster": "prod"})
