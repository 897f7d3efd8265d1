"""Retries, silences and the API of Alertmanager, held alike against the real one and the stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.monitoring.capture import TOKEN, alert, lone_alertmanager
from deploy.sandbox.monitoring.rules import Routing
from deploy.sandbox.monitoring.start import Kind
from tests import parts

KINDS = [pytest.param("stand-in", marks=pytest.mark.looptime(False)), pytest.param("real", marks=pytest.mark.real)]
NOW = 1.0e9
"""Any start in the past; the alerts end four minutes from now."""


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params.get("kind") == "real":
        parts.require("alertmanager")


@pytest.mark.parametrize("kind", KINDS)
async def test_server_error_is_retried_at_once(kind: Kind, tmp_path: Path) -> None:
    """A 503 is tried again within the flush, before the next group_interval, with the same body and credentials."""
    async with lone_alertmanager(kind, tmp_path, Routing(group_interval_seconds=30)) as lone:
        lone.hook.answers = [503]
        await lone.post(alert("web", began=NOW))
        assert await lone.hook.wait(2) == lone.hook.bodies[0]
        assert lone.hook.times[1] - lone.hook.times[0] < 5
        assert [each["Authorization"] for each in lone.hook.headers] == [f"Bearer {TOKEN}"] * 2
        assert lone.hook.headers[0]["User-Agent"].startswith("Alertmanager/")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [400, 429])
async def test_client_error_waits_for_the_next_flush(kind: Kind, status: int, tmp_path: Path) -> None:
    """A 4xx, 429 too, is not retried within the flush but comes again with the next group_interval."""
    async with lone_alertmanager(kind, tmp_path, Routing(group_interval_seconds=1.2)) as lone:
        lone.hook.answers = [status]
        await lone.post(alert("web", began=NOW))
        await lone.hook.wait(2)
        assert lone.hook.times[1] - lone.hook.times[0] > 0.9  # a retry comes after 0.25 to 0.75 s


@pytest.mark.parametrize("kind", KINDS)
async def test_only_changes_are_sent(kind: Kind, tmp_path: Path) -> None:
    """An alert that is only repeated sends nothing; a new one in its group sends the whole group."""
    async with lone_alertmanager(kind, tmp_path, Routing(group_interval_seconds=0.3)) as lone:
        await lone.post(alert("web", began=NOW))
        await lone.hook.wait(1)
        for _ in range(3):
            await lone.post(alert("web", began=NOW, ratio="0.5"))
        await lone.post(alert("api", began=NOW))
        second = json.loads(await lone.hook.wait(2))
        assert [each["labels"]["app"] for each in second["alerts"]] == ["api", "web"]


@pytest.mark.parametrize("kind", KINDS)
async def test_silenced_alert_is_not_sent_but_listed(kind: Kind, tmp_path: Path) -> None:
    """A silenced alert sends no webhook, and the API lists it as suppressed or leaves it out, as asked."""
    async with lone_alertmanager(kind, tmp_path, Routing(group_interval_seconds=0.3)) as lone:
        silence = await lone.silence("app", "web")
        await lone.post(alert("web", began=NOW), alert("api", began=NOW))
        body = json.loads(await lone.hook.wait(1))
        assert [each["labels"]["app"] for each in body["alerts"]] == ["api"]

        async def apps(*query: tuple[str, str]) -> dict[str, str]:
            status, answer = await lone.get("/api/v2/alerts", query)
            assert status == 200
            return {each["labels"]["app"]: each["status"]["state"] for each in json.loads(answer)}

        assert await apps() == {"web": "suppressed", "api": "active"}
        assert await apps(("silenced", "false")) == {"api": "active"}
        assert await apps(("active", "false")) == {"web": "suppressed"}
        assert await apps(("filter", 'app=~"w.*"'), ("filter", "severity=critical")) == {"web": "suppressed"}
        assert await apps(("receiver", "other")) == {}
        silences: list[Any] = json.loads((await lone.get("/api/v2/silences"))[1])
        assert [(each["id"], each["status"]["state"]) for each in silences] == [(silence, "active")]


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_filter_is_refused(kind: Kind, tmp_path: Path) -> None:
    """A filter that cannot be read gets 400 with a JSON string."""
    async with lone_alertmanager(kind, tmp_path, Routing()) as lone:
        status, answer = await lone.get("/api/v2/alerts", [("filter", "no matcher")])
        assert status == 400
        assert isinstance(json.loads(answer), str)


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_left_behind(kind: Kind, tmp_path: Path) -> None:
    """A fault inside the block ends the server, even one that is busy retrying."""
    url = ""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
        async with lone_alertmanager(kind, tmp_path, Routing()) as lone:
            url = lone.url
            lone.hook.answers = [503] * 100
            await lone.post(alert("web", began=NOW))
            await lone.hook.wait(2)
            raise ZeroDivisionError
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
