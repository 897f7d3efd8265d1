"""`lastgood preflight`: what is shown, the exit codes, the alert's file, and who may ask."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from config.sources import RESERVED
from daemon.cli import preflight
from daemon.cli.exits import Exit
from handlers.preflight.alert_file import BODY_BYTES_MAX
from tests.cli.desk import Desk, one_line
from tests.handlers.people import TOKEN, WEBHOOK_TOKEN, listening
from tests.handlers.preflight_world import POD, PreflightDaemon, World

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

ALERT = {"labels": {"alertname": "HighErrorRate", "namespace": "shop", "pod": POD}}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def desk(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    daemon = PreflightDaemon(world, total_seconds=3.0)
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


async def test_ready_is_zero(desk: Desk) -> None:
    """A line per check and the sum, nothing on stderr; nothing was commanded."""
    typed = await desk.types("preflight", "shop/checkout")
    assert (typed.code, typed.err) == (Exit.OK, "")
    lines = typed.out.splitlines()
    assert lines[0] == "shop/checkout: mode auto"
    assert lines[1].split(maxsplit=1) == ["ok", "daemon ready         ready"]
    assert lines[-1].startswith("ready: 0 failed, 1 warnings, ")
    assert all(len(line) <= 80 for line in lines if "lastgood preflight" not in line)
    assert desk.daemon.taken == []


async def test_something_missing_is_one(desk: Desk, world: World) -> None:
    """The failed line with its remedy and a command that can be pasted."""
    world.story.pauses("shop")
    typed = await desk.types("preflight", "shop/checkout")
    assert typed.code == Exit.REFUSED
    assert "FAILED   pause                shop paused by ann\n" in typed.out
    assert "            lastgood resume shop\n" in typed.out
    assert "NOT READY: 2 failed" in typed.out


async def test_an_unknown_workload_is_one(desk: Desk, world: World) -> None:
    """The daemon's own lines are shown too: it may be the reason."""
    world.ready = "caches are not synced"
    typed = await desk.types("preflight", "shop/nope")
    assert typed.code == Exit.REFUSED
    assert "'shop/nope' is not known" in typed.out
    assert "caches are not synced" in typed.out


async def test_json_is_the_document(desk: Desk) -> None:
    """Stable keys, the same exit code."""
    typed = await desk.types("preflight", "shop/checkout", "--json")
    assert typed.code == Exit.OK
    document = json.loads(typed.out)
    assert document["ok"] is True
    assert set(document) == {"now", "workload", "mode", "ok", "counts", "lines"}
    assert set(document["lines"][0]) == {"part", "check", "level", "says", "remedy", "commands"}


@pytest.mark.parametrize(("labels", "code"), [(ALERT["labels"], Exit.OK), ({"alertname": "X"}, Exit.REFUSED)])
async def test_an_alert_s_file(desk: Desk, tmp_path: Path, labels: dict[str, str], code: int) -> None:
    """Where the alert in the file leads decides with the rest."""
    path = tmp_path / "alert.json"
    path.write_text(json.dumps({"labels": labels}))
    typed = await desk.types("preflight", "shop/checkout", "--alert", str(path))
    assert typed.code == code, typed.out
    assert f"alert {labels['alertname']}" in typed.out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 10**5, "is not JSON"),
        (b'{"alertname": "X"}', "alert.labels"),
        (b'{"labels": {"a": 1}}', "must be a string"),
        (b" " * (preflight.ALERT_BYTES_MAX + 1), "is larger than"),
        (None, "No such file"),
    ],
)
async def test_a_bad_file_is_usage(desk: Desk, tmp_path: Path, content: bytes | None, says: str) -> None:
    """Exit code 2, one line with the field and the remedy."""
    path = tmp_path / "alert.json"
    if content is not None:
        path.write_bytes(content)
    typed = await desk.types("preflight", "shop/checkout", "--alert", str(path))
    assert (typed.code, typed.out) == (Exit.USAGE, "")
    assert says in one_line(typed.err)


async def test_the_alert_may_come_by_standard_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod there is no file: `--alert -` reads what is piped in."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(ALERT).encode())))
    typed = await desk.types("preflight", "shop/checkout", "--alert", "-")
    assert typed.code == Exit.OK
    assert "leads here by pod" in typed.out


async def test_hostile_labels_stay_letters(desk: Desk, tmp_path: Path) -> None:
    """Escape sequences in a label do not reach the terminal."""
    path = tmp_path / "alert.json"
    path.write_text(json.dumps({"labels": {"alertname": "\x1b[2J\u202eX", "namespace": "\x1b]0;x\x07"}}))
    typed = await desk.types("preflight", "shop/checkout", "--alert", str(path))
    assert not {"\x1b", "\x07", "\u202e"} & set(typed.out + typed.err)


async def test_a_strange_answer_is_neither_yes_nor_no(
    desk: Desk, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer without a plain `ok` is exit code 3."""

    async def strange(*_: object) -> dict[str, object]:
        return {"ok": "true"}

    monkeypatch.setattr("daemon.cli.client.order", strange)
    typed = await desk.types("preflight", "shop/checkout")
    assert (typed.code, typed.out) == (Exit.UNREACHABLE, "")


# ------------------------------------------------------------------------------------------------------------ the route


async def posts(desk: Desk, body: object, token: str = TOKEN) -> tuple[int, dict[str, object]]:
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{desk.address}/api/v1/preflight", data=data) as answer,
    ):
        return answer.status, await answer.json()


async def test_only_operators_may_ask(desk: Desk) -> None:
    """A webhook's token may inform, it may not look around."""
    assert (await posts(desk, {"workload": "shop/checkout"}))[0] == 200
    assert (await posts(desk, {"workload": "shop/checkout"}, WEBHOOK_TOKEN))[0] == 401


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "workload"),
        ({"workload": 3}, 400, "workload"),
        ({"workload": "shop/checkout", "alerts": []}, 400, "alerts"),
        ({"workload": "shop/checkout", "alert": 3}, 400, "alert"),
        (b"[]", 400, "body"),
        (b"{", 400, "body"),
        (b" " * (BODY_BYTES_MAX + 1), 413, "larger"),
    ],
)
async def test_bad_requests(desk: Desk, body: object, status: int, says: str) -> None:
    """The field is named, with a remedy."""
    found, answer = await posts(desk, body)
    assert (found, says in str(answer["error"]), bool(answer["remedy"])) == (status, True, True), answer


async def test_a_third_at_the_same_time_waits_for_nobody(desk: Desk, world: World) -> None:
    """Two run; the third is told to come back, and those two end as ever."""
    world.prometheus.hang = lambda query: True
    daemon = desk.daemon
    assert isinstance(daemon, PreflightDaemon)
    asked = {"workload": "shop/checkout"}
    first = [asyncio.create_task(posts(desk, asked)) for _ in range(2)]
    while len(world.prometheus.queries) < 2:
        await asyncio.sleep(0.01)
    status, answer = await posts(desk, asked)
    assert (status, "try again" in str(answer["remedy"])) == (503, True)
    world.prometheus.hang = lambda query: False
    assert [status for status, _ in await asyncio.gather(*first)] == [200, 200]
