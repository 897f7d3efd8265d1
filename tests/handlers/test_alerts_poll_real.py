"""A real Alertmanager and a real Prometheus: fingerprints, states, and PromQL made of hostile names."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from daemon.core.model import AlertStatus
from handlers.alert_history import AlertHistory
from handlers.alertmanager_api import AlertmanagerApi, Reading
from handlers.alerts import fingerprint_of
from handlers.faults import Transient
from handlers.prometheus import NO_POD, PrometheusClient, escape_label, pods_regex
from tests.handlers.intake_fakes import Counted
from tests.parts import require

pytestmark = pytest.mark.real

DEADLINE_SECONDS = 30.0

T = TypeVar("T")

HOSTILE = (
    'cart"} or vector(1) or x{a="',
    "back\\slash",
    "new\nline\r\ttab",
    "dots.and|pipes*+?()[]{}^$",
    "ünïcode 💥 \u2028 \x00",
    "\ufffd",
    "$pods",
)


class Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(*command: str, folder: Path) -> AsyncIterator[None]:
    """The program, its output in a file of the folder; ended with the block."""
    with (folder / "output.log").open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.kill()
            await process.wait()


async def until(ask: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
    """The first answer that is good; faults are not, yet. Fails after the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                answer = await ask()
                if good(answer):
                    return answer
            except Transient:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def alertmanager(folder: Path) -> AsyncIterator[str]:
    binary, port = str(require("alertmanager")), free_port()
    (folder / "am.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    url = f"http://127.0.0.1:{port}"
    arguments = ("--config.file=am.yml", "--storage.path=data", f"--web.listen-address=127.0.0.1:{port}")
    async with running(binary, *arguments, "--cluster.listen-address=", folder=folder):
        yield url


@asynccontextmanager
async def prometheus(folder: Path, rules: object = None) -> AsyncIterator[str]:
    binary, port = str(require("prometheus")), free_port()
    config = {"global": {"evaluation_interval": "1s", "external_labels": {}}, "rule_files": ["rules.yml"]}
    (folder / "prom.yml").write_text(json.dumps(config))
    (folder / "rules.yml").write_text(json.dumps(rules or {"groups": []}))
    arguments = ("--config.file=prom.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}")
    async with running(binary, *arguments, folder=folder):
        yield f"http://127.0.0.1:{port}"


async def test_fingerprints_and_states_are_alertmanagers(tmp_path: Path) -> None:
    """Our hash of the labels is Alertmanager's for any labels; a silenced alert is listed, and suppressed."""
    labelled = [*({"alertname": "A", "pod": value} for value in HOSTILE), {"alertname": "quiet", "a_b": "x", "aa": "y"}]
    end = datetime.now(UTC) + timedelta(hours=1)
    silence: dict[str, Any] = {
        "matchers": [{"name": "alertname", "value": "quiet", "isRegex": False, "isEqual": True}],
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": end.isoformat(),
        "createdBy": "test",
        "comment": "test",
    }
    async with alertmanager(tmp_path) as url, aiohttp.ClientSession() as session:
        api = AlertmanagerApi(session, [url], clock=Now(), telemetry=Counted(), settle=timedelta())
        first = await until(api.read, lambda _: True)
        assert first == Reading(alerts=(), complete=True)
        async with session.post(f"{url}/api/v2/silences", json=silence) as answer:
            assert answer.status == 200
        sent = [{"labels": labels, "endsAt": end.isoformat()} for labels in labelled]
        async with session.post(f"{url}/api/v2/alerts", json=sent) as answer:
            assert answer.status == 200, await answer.text()
        states = {AlertStatus.FIRING: len(HOSTILE), AlertStatus.SUPPRESSED: 1}
        got = await until(api.read, lambda r: {s: [a.status for a in r.alerts].count(s) for s in states} == states)
        for alert in got.alerts:
            assert fingerprint_of(dict(alert.labels)) == alert.fingerprint, alert.labels
        unsettled = AlertmanagerApi(session, [url], clock=Now(), telemetry=Counted())
        assert not (await unsettled.read()).complete


async def test_hostile_names_are_only_text_to_promql(tmp_path: Path) -> None:
    """Whatever a name holds, Prometheus reads exactly that name, and its expression matches that name and no other."""
    async with prometheus(tmp_path) as url, aiohttp.ClientSession() as session:
        client = PrometheusClient(session, url, telemetry=Counted())
        await until(lambda: client.query("vector(1)", Now().now()), bool)
        for name in HOSTILE:
            # label_replace expands $ in its replacement, so it is doubled there.
            named = f'label_replace(vector(1), "pod", "{escape_label(name.replace("$", "$$"))}", "", "")'
            ((labels, _),) = await client.query(named, Now().now())
            assert labels == {"pod": name}
            for pods, hit in ((HOSTILE, "yes"), ([n for n in HOSTILE if n != name], None), ([], None)):
                regex = escape_label(pods_regex(list(pods)))
                ((labels, _),) = await client.query(
                    f'label_replace({named}, "hit", "yes", "pod", "{regex}")', Now().now()
                )
                assert labels.get("hit") == hit, (name, pods)
        assert await client.query(f'up{{pod=~"{escape_label(NO_POD)}"}} or absent(x)', Now().now())


async def test_the_history_of_a_real_rule(tmp_path: Path) -> None:
    """A rule that fired and stopped is found in ALERTS, with its `for` in the list of rules."""
    stops = (datetime.now(UTC) + timedelta(seconds=4)).timestamp()
    rule = {"alert": "Brief", "expr": f"vector(time()) < {stops}", "labels": {"pod": HOSTILE[0]}, "for": "1s"}
    rules = {"groups": [{"name": "g", "interval": "1s", "rules": [rule]}]}
    began = datetime.now(UTC)
    async with prometheus(tmp_path, rules) as url, aiohttp.ClientSession() as session:
        client = PrometheusClient(session, url, telemetry=Counted())
        (known,) = await until(client.rules, bool)
        assert (known.name, known.duration) == ("Brief", timedelta(seconds=1))
        firing = 'last_over_time(ALERTS{alertstate="firing"}[1m])'
        await until(lambda: client.query(firing, Now().now()), bool)
        await until(lambda: client.query("vector(1) unless on() ALERTS", Now().now()), bool)
        history = AlertHistory(client=client)
        past = await until(lambda: history.read(began, Now().now()), lambda past: bool(past.resolved))
        assert [alert.label("pod") for alert in past.fired] == [HOSTILE[0]]
        assert past.fired[0].fingerprint == past.resolved[0].fingerprint
        assert began < past.fired[0].starts_at < began + timedelta(seconds=10)
