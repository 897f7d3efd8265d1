"""The table "bad input, and what it gets" over HTTP, against the real daemon process."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.world import WEBHOOK_TOKEN, until
from tests.e2e.rig import Rig, rig

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

BODY_LIMIT = 4 * 1024 * 1024
WEBHOOK = "/api/v1/alertmanager"
GOOD = {"Authorization": f"Bearer {WEBHOOK_TOKEN}", "Content-Type": "application/json"}


def alert(**labels: str) -> dict[str, Any]:
    """A firing alert with these labels."""
    return {
        "status": "firing",
        "labels": {"alertname": "Odd", "severity": "critical", **labels},
        "annotations": {},
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{abs(hash(tuple(labels.items()))):016x}"[:16],
    }


def payload(*alerts: dict[str, Any], **more: Any) -> bytes:
    """A webhook body, version 4."""
    return json.dumps({"version": "4", "status": "firing", "alerts": list(alerts), **more}).encode()


class Door:
    """The daemon's HTTP side."""

    def __init__(self, rig: Rig, session: aiohttp.ClientSession) -> None:
        self.rig = rig
        self._session = session
        self._url = f"http://127.0.0.1:{rig.world.port}"

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer."""
        sent = GOOD if headers is None else headers
        async with self._session.post(self._url + WEBHOOK, data=io.BytesIO(body), headers=sent) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of the answer."""
        async with self._session.get(self._url + path) as answer:
            return answer.status, await answer.text()

    async def metric(self, name: str) -> float:
        """The value of one line of /metrics, labels included; 0 where there is none."""
        _, text = await self.get("/metrics")
        return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)

    async def intake(self, result: str) -> float:
        """How many webhooks had this result."""
        return await self.metric(f'lastgood_intake_total{{result="{result}",source="alertmanager"}}')

    def journalled(self) -> int:
        """Accepted events from the webhook."""
        return int(self.rig.sql("SELECT count(*) FROM intake WHERE CAST(body AS TEXT) LIKE '%webhook%'")[0][0])


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[Door]:
    """A running daemon."""
    async with rig(folder) as made, aiohttp.ClientSession() as session:
        made.write_config(server={"body_limit": BODY_LIMIT})
        await made.start()
        yield Door(made, session)


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Door]:
    async with door(tmp_path) as made:
        yield made


async def test_nonsense_is_named_and_not_journalled(daemon: Door) -> None:
    """Not JSON, wrong shape, another version: 400, one line that names the field; counted; nothing is journalled."""
    no_start = {key: value for key, value in alert().items() if key != "startsAt"}
    cases = {
        b"{nonsense": "body",
        b'"\xff"': "body",
        b"[" * 100_000: "body",
        b"[]": "body",
        b'{"version": "3", "alerts": []}': "version",
        b'{"version": 4, "alerts": []}': "version",
        b'{"version": "4"}': "alerts",
        b'{"version": "4", "alerts": {}}': "alerts",
        payload("nonsense"): "alerts[0]",  # type: ignore[arg-type]
        payload(alert(), no_start): "alerts[1].startsAt",
        payload({**alert(), "status": "odd"}): "alerts[0].status",
        payload({**alert(), "labels": {"a": 1}}): "alerts[0].labels",
    }
    for body, field in cases.items():
        status, text = await daemon.post(body)
        assert (status, text.count("\n")) == (400, 1), (body[:80], text)
        assert text.startswith(field), (body[:80], text)
    assert await daemon.intake("malformed") == len(cases)
    assert daemon.journalled() == 0


async def test_strangers_are_turned_away(daemon: Door) -> None:
    """No or wrong credentials: 401, counted; nothing is journalled."""
    body = payload(alert(namespace="shop"))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}, {"Authorization": "\xe9"}):
        status, text = await daemon.post(body, {"Content-Type": "application/json", **headers})
        assert (status, text.count("\n")) == (401, 1)
    assert await daemon.intake("unauthorized") == 4
    assert daemon.journalled() == 0


async def test_webhook_credentials_cannot_command(daemon: Door) -> None:
    """A sender's token opens no operator's door."""
    url = f"http://127.0.0.1:{daemon.rig.world.port}/api/v1/pause"
    async with aiohttp.ClientSession() as session, session.post(url, json={}, headers=GOOD) as answer:
        assert answer.status in {401, 403}
    assert not daemon.rig.facts("pause_set")


async def test_too_large_is_refused_before_it_is_read(daemon: Door) -> None:
    """413 by the length that is announced, while most of the body is not even sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.rig.world.port)
    head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WEBHOOK_TOKEN}\r\n"
    writer.write(f"{head}Content-Length: {BODY_LIMIT + 1}\r\n\r\n{{".encode())
    async with asyncio.timeout(10):
        assert b" 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert await daemon.intake("too_large") == 1


async def test_what_maps_to_nothing_is_counted_and_explained(daemon: Door) -> None:
    """200; counted; the journal names the labels that were tried."""
    odd = alert(namespace="nowhere", service="nobody")
    assert (await daemon.post(payload(odd)))[0] == 200
    await daemon.rig.until_fact("alert_placed")
    (placed,) = daemon.rig.facts("alert_placed")
    assert placed["location"]["workloads"] == []
    assert {"service=nobody", "namespace=nowhere"} <= set(placed["location"]["tried"])
    assert await daemon.metric("lastgood_alerts_unmapped_total") == 1


async def test_journal_that_cannot_write(daemon: Door) -> None:
    """503 and nothing acknowledged while another holds the journal's file; not ready; well again by itself."""
    path = daemon.rig.folder / "state" / "journal.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        status, text = await daemon.post(payload(alert(namespace="held")))
        assert (status, text.count("\n")) == (503, 1)
        assert (await daemon.get("/-/ready"))[0] == 503
        assert (await daemon.get("/-/healthy"))[0] == 200
        assert await daemon.intake("unavailable") == 1
        other.execute("ROLLBACK")
    async with asyncio.timeout(15):
        while (await daemon.get("/-/ready"))[0] != 200:
            await asyncio.sleep(0.1)
    assert daemon.journalled() == 0
    assert (await daemon.post(payload(alert(namespace="held"))))[0] == 200
    assert daemon.journalled() == 1


HOSTILE = {
    "promql": '"} or vector(1) or up{a="',
    "slack": "<!channel> <@U1> <https://evil.example|ok> *bold* & `code`",
    "newlines": "a\n\n```\nb\r\x00\x1b[31m\u202e",
    "long": "x" * 2**20,
}


async def test_hostile_labels_neither_run_nor_break_a_message(tmp_path: Path) -> None:
    """PromQL, Slack mark-up, control characters and 1 MiB in an alert's labels: taken, escaped, and people are told."""
    async with door(tmp_path) as daemon:
        made = daemon.rig
        await until("v1 is verified", lambda: "web:v1" in made.show.verified, 30.0)
        await made.roll_out_bad()
        for name, text in HOSTILE.items():
            labels = {"alertname": f"Odd {text}"[:5000], "namespace": "shop", "app": "web", "team": text}
            sent = {**alert(**labels), "annotations": {"summary": text, "description": text}}
            status, answer = await daemon.post(payload(sent))
            assert status in {200, 400}, answer
            assert status == 200 or name == "long"
        made.assert_recovered_once(await made.end())
        for message in made.world.slack.messages:
            shown = json.dumps([message.text, message.blocks])
            assert "<!channel>" not in shown
            assert "<@U1>" not in shown
            assert "<https://evil" not in shown
            assert "\\u001b" not in shown
            assert "\\u202e" not in shown
        refused = [call for call in made.world.slack.calls if not call.answer.get("ok")]
        assert not refused
        assert {entry.status for entry in made.world.pagerduty.log} == {202}
        queries = [seen.body.decode() for seen in made.gates["prometheus"].seen]
        assert not any("or+vector" in query and "%5C%22" not in query for query in queries)
