"""The disk of the daemon's state in trouble in the middle of an incident: real processes, and a real small file system.

While it cannot write, nothing is acknowledged, nothing is done without its intent on disk, and the daemon says why it is not
ready. When the disk is well it goes on by itself, to one rollback and one page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.world import WEBHOOK_TOKEN, until
from tests.e2e.disks import SmallDisk, small_disk
from tests.e2e.rig import Rig, rig
from tests.runtime.test_process import House, a_webhook

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]

COUNTDOWN = "6s"
"""Long enough to break the disk while it runs."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """How the disk breaks and is mended; `said` is in the reason of not being ready."""

    breaks: Callable[[SmallDisk, int], None]
    mends: Callable[[Rig, SmallDisk], Awaitable[None]]
    said: tuple[str, ...]


async def freed(made: Rig, disk: SmallDisk) -> None:
    """Nobody touches the daemon."""
    disk.free(made.daemon.pid)


async def repaired(made: Rig, disk: SmallDisk) -> None:
    """The file system is checked and mounted anew, which needs the daemon's end."""
    assert await made.daemon.stop() == 0
    disk.repair()
    await made.start()


FULL = Trouble(breaks=SmallDisk.fill, mends=freed, said=("disk is full", "disk I/O error"))
READ_ONLY = Trouble(breaks=SmallDisk.go_read_only, mends=repaired, said=("disk I/O error", "readonly"))
TROUBLES = {"full": FULL, "read-only": READ_ONLY}


@asynccontextmanager
async def rig_on_a_small_disk(folder: Path, **policy: Any) -> AsyncIterator[tuple[Rig, SmallDisk]]:
    with small_disk(folder / "state") as disk:
        async with rig(folder) as made:
            made.write_config(policy={**made.config["policy"], "countdown": COUNTDOWN, **policy})
            await made.verified_start()
            yield made, disk


async def asked(made: Rig, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{made.world.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def sent(made: Rig) -> int:
    """The status that a webhook gets."""
    url = f"http://127.0.0.1:{made.world.port}/api/v1/alertmanager"
    headers = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=a_webhook(), headers=headers) as answer:
        return answer.status


async def until_not_ready(made: Rig, said: tuple[str, ...]) -> None:
    """Wait until the reason of not being ready holds one of these."""
    async with asyncio.timeout(20):
        while True:
            status, why = await asked(made, "/-/ready")
            if status == 503 and any(each in why for each in said):
                return
            await asyncio.sleep(0.1)


async def until_ready(made: Rig) -> None:
    async with asyncio.timeout(20):
        while (await asked(made, "/-/ready"))[0] != 200:
            await asyncio.sleep(0.1)


def refused_writes(made: Rig) -> int:
    return sum(line.get("event") == "journal_unwritable" for line in made.show.lines)


@pytest.mark.parametrize("name", TROUBLES)
async def test_in_the_countdown(name: str, tmp_path: Path) -> None:
    """The countdown runs out while nothing can be written: no rollback, no page, 503; afterwards one of each."""
    trouble = TROUBLES[name]
    async with rig_on_a_small_disk(tmp_path) as (made, disk):
        await made.roll_out_bad()
        await made.until_phase("proposed")
        patches = made.world.rollbacks()
        trouble.breaks(disk, made.daemon.pid)
        await until_not_ready(made, trouble.said)
        assert await sent(made) == 503
        assert (await asked(made, "/-/healthy"))[0] == 200
        # One a second: longer than the countdown. A daemon that acted first and wrote later would have acted.
        await until("it tried again and again", lambda: refused_writes(made) >= 8, 30.0)
        assert (patches, made.world.rollbacks(), made.world.pagerduty.incidents) == (0, 0, [])
        await trouble.mends(made, disk)
        await until_ready(made)
        assert await sent(made) == 200
        made.assert_recovered_once(await made.end())


async def test_full_after_the_patch(tmp_path: Path) -> None:
    """Full when the patch was sent: its outcome waits for the disk, and is not taken for a reason to patch again."""
    async with rig_on_a_small_disk(tmp_path) as (made, disk):
        await made.roll_out_bad()
        await made.until_phase("rolling_back")
        disk.fill(made.daemon.pid)
        await until("the patch arrives", lambda: made.world.rollbacks() == 1, 30.0)
        await until("it tried again and again", lambda: refused_writes(made) >= 3, 30.0)
        disk.free(made.daemon.pid)
        made.assert_recovered_once(await made.end())


async def test_killed_on_a_full_disk(tmp_path: Path) -> None:
    """Killed while it is full, and started before there is room: not ready, and well by itself; still one rollback."""
    async with rig_on_a_small_disk(tmp_path) as (made, disk):
        await made.roll_out_bad()
        await made.until_phase("proposed")
        disk.fill(made.daemon.pid)
        await until_not_ready(made, FULL.said)
        await made.daemon.kill()
        await made.start(ready=False)
        if not disk.real:
            disk.fill(made.daemon.pid)
        await until("it listens again", lambda: _listening(made) >= 2, 30.0)
        await until_not_ready(made, FULL.said)
        assert made.world.rollbacks() == 0
        disk.free(made.daemon.pid)
        await until_ready(made)
        made.assert_recovered_once(await made.end())


def _listening(made: Rig) -> int:
    return sum(line.get("event") == "listening" for line in made.show.lines)


async def test_read_only_at_the_start(tmp_path: Path) -> None:
    """One line that names the folder and the remedy, exit code 1; what is there stays as it is."""
    with small_disk(tmp_path / "state") as disk:
        house = House(folder=tmp_path)
        await house.daemon.start()
        await house.listens()
        assert await house.daemon.stop() == 0
        if disk.real:
            disk.go_read_only(0)
        else:
            for each in (*disk.folder.iterdir(), disk.folder):
                each.chmod(0o500)
        before = {each.name: each.read_bytes() for each in disk.folder.iterdir() if each.is_file()}
        await house.daemon.start()
        assert await house.ends() == 1
        (line,) = house.logged("cannot_start")
        assert str(disk.folder) in line["error"]
        assert "create it or name another" in line["error"]
        assert {each.name: each.read_bytes() for each in disk.folder.iterdir() if each.is_file()} == before


async def test_a_disk_that_hangs(tmp_path: Path) -> None:
    """Writes neither succeed nor fail: not ready by its reason, 503 at once; thawed, it goes on to one rollback."""
    async with rig_on_a_small_disk(tmp_path, decide_deadline="60s") as (made, disk):
        if not disk.real:
            return  # a limit refuses, it does not hang; tests/runtime/test_stalls.py holds the same on virtual time
        await made.roll_out_bad()
        await made.until_phase("proposed")
        disk.freeze()
        try:
            await until_not_ready(made, ("its disk hangs",))
            assert await sent(made) == 503
            assert (await asked(made, "/-/healthy"))[0] == 200
            assert made.world.rollbacks() == 0
        finally:
            disk.thaw()
        await until_ready(made)
        made.assert_recovered_once(await made.end())


SLOW_DISK = '''
"""A disk whose fsync takes 2 s, as far as SQLite's caller can tell: its transactions end so much later."""
import sqlite3, time

class Slow(sqlite3.Connection):
    def execute(self, sql, *bind):
        done = super().execute(sql, *bind)
        if sql == "COMMIT" or sql.startswith("INSERT INTO intake"):
            time.sleep(2.0)
        return done

fast = sqlite3.connect
sqlite3.connect = lambda *names, **options: fast(*names, **{**options, "factory": Slow})
'''


async def test_a_slow_disk(tmp_path: Path) -> None:
    """Two seconds for each write: ready at every look, webhooks are answered with 200, and the incident ends as it should."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK)
    async with rig(tmp_path) as made:
        slow = {
            "decide_deadline": "90s",
            "approve_deadline": "90s",
            "converge_deadline": "90s",
            "verify_deadline": "90s",
        }
        made.write_config(policy={**made.config["policy"], **slow})
        made.daemon.environment["PYTHONPATH"] = str(tmp_path)
        await made.verified_start()
        told = set[tuple[int, str]]()
        watcher = asyncio.get_running_loop().create_task(_watched(made, told))
        await made.roll_out_bad()
        assert await sent(made) == 200
        ended = await made.end(120.0)
        watcher.cancel()
        assert told == {(200, "ready\n")}
        made.assert_recovered_once(ended)
        metrics = (await asked(made, "/metrics"))[1]
        assert 'lastgood_journal_commit_seconds_bucket{le="1.0"} 0.0' in metrics


async def _watched(made: Rig, told: set[tuple[int, str]]) -> None:
    while True:
        told.add(await asked(made, "/-/ready"))
        await asyncio.sleep(0.2)
