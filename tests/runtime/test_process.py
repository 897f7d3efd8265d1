"""The daemon as a real process: one per state folder, gentle ends, reloads, and a start without an API server."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.world import free_port, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

SECONDS = 30.0
TOKEN = "a-webhook-token"


@dataclass(kw_only=True)
class House:
    """A folder, a configuration, and a daemon in it; nothing answers at its API server's address."""

    folder: Path
    port: int = field(default_factory=free_port)
    content: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.content = {
            "cluster": "test",
            "state_dir": str(self.folder / "state"),
            "server": {"listen": f"127.0.0.1:{self.port}", "webhook_tokens": {"am": TOKEN}},
            "kubernetes": {"url": f"http://127.0.0.1:{free_port()}"},
            "prometheus": {"url": f"http://127.0.0.1:{free_port()}"},
            "log": {"format": "json"},
        }
        self.write()
        self.daemon = DaemonProcess(config=self.folder / "lastgood.yaml", log_path=self.folder / "log")

    def write(self, **sections: Any) -> None:
        self.content = {**self.content, **sections}
        (self.folder / "lastgood.yaml").write_text(yaml.safe_dump(self.content))

    def logged(self, event: str) -> list[dict[str, Any]]:
        self.lines += self.daemon.new_lines()
        return [line for line in self.lines if line.get("event") == event]

    async def listens(self, times: int = 1) -> None:
        await until("it listens", lambda: len(self.logged("listening")) >= times, SECONDS)

    async def ends(self) -> int:
        await until("it ends", lambda: not self.daemon.running, SECONDS)
        assert self.daemon._process is not None
        return int(self.daemon._process.returncode or 0)

    def signal(self, number: signal.Signals) -> None:
        assert self.daemon._process is not None
        self.daemon._process.send_signal(number)

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def post(self, body: dict[str, Any]) -> int:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{self.port}/api/v1/alertmanager"
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return answer.status

    async def metric(self, line: str) -> bool:
        return line in (await self.get("/metrics"))[1].splitlines()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(folder=tmp_path)
    yield house
    await house.daemon.kill()


def a_webhook() -> dict[str, Any]:
    alert = {
        "status": "firing",
        "labels": {"alertname": "Errors", "namespace": "shop"},
        "annotations": {},
        "startsAt": "2026-03-02T12:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "00000000000000aa",
    }
    return {"version": "4", "status": "firing", "groupKey": "{}", "truncatedAlerts": 0, "alerts": [alert]}


async def test_without_an_api_server(house: House) -> None:
    """Not ready by its reason, but alive; a webhook is accepted, held, and still there for the next life; SIGTERM ends
    it with 0 at once.
    """
    await house.daemon.start()
    await house.listens()
    assert (await house.get("/-/healthy"))[0] == 200
    status, why = await house.get("/-/ready")
    assert status == 503
    assert "caches are not synced" in why
    assert await house.post(a_webhook()) == 200
    assert await house.metric('lastgood_intake_total{result="accepted",source="alertmanager"} 1.0')
    assert await house.daemon.stop() == 0
    await house.daemon.start()
    await house.listens(2)
    assert (await house.get("/-/ready"))[0] == 503
    assert await house.daemon.stop() == 0
    assert rows(house.folder / "state" / "journal.sqlite") == 1


def rows(path: Path) -> int:
    import sqlite3

    with sqlite3.connect(path) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM intake, cursor WHERE seq > intake_seq").fetchall()
    connection.close()
    return int(count)


async def test_one_per_state_folder(house: House) -> None:
    """A second daemon on the same folder ends at once with one line; the first goes on, and its number stays in the lock."""
    await house.daemon.start()
    await house.listens()
    second = DaemonProcess(config=house.daemon.config, log_path=house.folder / "second")
    await second.start()
    await until("the second ends", lambda: not second.running, SECONDS)
    (line,) = [each for each in second.new_lines() if each.get("event") == "cannot_start"]
    assert "another lastgood runs on state_dir" in line["error"]
    assert house.daemon._process is not None
    assert (house.folder / "state" / "lock").read_text().strip() == str(house.daemon._process.pid)
    assert house.daemon.running
    assert (await house.get("/-/healthy"))[0] == 200


async def test_reload(house: House) -> None:
    """A bad file changes nothing and is told in a metric; a good one takes over policy and log level, not the cluster."""
    await house.daemon.start()
    await house.listens()
    house.daemon.config.write_text("cluster: test\npolicy: {soak: soon}\n")
    house.signal(signal.SIGHUP)
    await until("it refuses", lambda: bool(house.logged("configuration_refused")), SECONDS)
    assert "policy.soak" in house.logged("configuration_refused")[0]["error"]
    assert await house.metric("lastgood_config_last_reload_successful 0.0")
    house.write(cluster="renamed", log={"format": "json", "level": "warning"})
    house.signal(signal.SIGHUP)
    await until("it says what needs a restart", lambda: bool(house.logged("configuration_needs_restart")), SECONDS)
    assert house.logged("configuration_needs_restart")[0]["sections"] == ["cluster"]
    async with asyncio.timeout(SECONDS):
        while not await house.metric("lastgood_config_last_reload_successful 1.0"):
            await asyncio.sleep(0.1)
    assert not house.logged("configuration_reloaded"), "the level is now warning"
    assert await house.daemon.stop() == 0
    assert not house.logged("stopping")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"prometheus": {}}, "prometheus.url is not set"),
        ({"server": {"listen": "127.0.0.1:TAKEN"}}, "127.0.0.1"),
        ({"state_dir": "/dev/null/state"}, "/dev/null/state"),
        ({"kubernetes": {"kubeconfig": "/nonexistent/config"}}, "/nonexistent/config"),
    ],
)
async def test_cannot_start(house: House, sections: dict[str, Any], said: str) -> None:
    """What keeps it from starting is one line that names it, and exit code 1."""

    async def nothing(request: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(nothing))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    taken = str(runner.addresses[0][1])
    house.write(**json.loads(json.dumps(sections).replace("TAKEN", taken)))
    await house.daemon.start()
    assert await house.ends() == 1
    assert said in house.logged("cannot_start")[0]["error"]
    assert not any("Traceback" in str(line) for line in house.lines)
    await runner.cleanup()


async def test_damaged_journal(house: House) -> None:
    """A journal that is none is named with the remedy, and never reset."""
    journal = house.folder / "state" / "journal.sqlite"
    spoil(journal)
    await house.daemon.start()
    assert await house.ends() == 1
    assert "restore it from a backup" in house.logged("cannot_start")[0]["error"]
    assert rows_of_nothing(journal)


def spoil(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)


def rows_of_nothing(path: Path) -> bool:
    return path.read_bytes() == b"no database" * 1000
