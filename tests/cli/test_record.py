"""`lastgood record`: which time it reads, from where, what it writes, and how it fails."""

from __future__ import annotations

import argparse
import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from config.sources import RESERVED
from daemon.cli import past, record
from daemon.cli.exits import CliError, Exit
from daemon.core.model import Mode
from handlers.backtest.recording import RolloutSeen, TruthSeen, load, recording
from tests.backtest import past_world as world
from tests.backtest.filled_prometheus import filled_with
from tests.backtest.openmetrics import text_of
from tests.cli.desk import Desk, one_line
from tests.core.builders import a_policy
from tests.core.story import Story
from tests.handlers.people import Daemon, listening

pytestmark = pytest.mark.looptime(False)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
THEN = ("--from", f"{world.START:%Y-%m-%dT%H:%M:%SZ}", "--to", f"{world.END:%Y-%m-%dT%H:%M:%SZ}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    daemon = Daemon(Story(a_policy(default_mode=Mode.OBSERVE)))
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled_with(text_of(world.planted(), world.STEP), tmp_path_factory.mktemp("prometheus")) as url:
        yield url


def typed(**given: str | None) -> argparse.Namespace:
    return argparse.Namespace(**{"since": None, "until": None, "step": None, **given})


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({}, NOW - DAY, NOW),
        ({"since": "30d"}, NOW - 30 * DAY, NOW),
        ({"since": "2d", "until": "1d12h"}, NOW - 2 * DAY, NOW - 1.5 * DAY),
        ({"since": "2026-03-02"}, datetime(2026, 3, 2, tzinfo=UTC), NOW),
        ({"since": "2026-03-02T12:00:00+02:00"}, datetime(2026, 3, 2, 10, tzinfo=UTC), NOW),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago(given: dict[str, str], start: datetime, end: datetime) -> None:
    """Dates, moments with an offset, and durations; without any it is the last day, every minute."""
    found = past.span_of(typed(**given), NOW)
    assert (found.start, found.end, found.step) == (start, end, timedelta(seconds=60))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"since": "2026-13-40"}, "--from is no moment"),
        ({"since": "yesterday"}, "--from is no duration"),
        ({"since": "1d", "until": "2d"}, "--from is not before --to"),
        ({"until": "2027-01-01"}, "--to lies in the future"),
        ({"step": "60"}, "--step has no unit"),
        ({"since": "99y365d"}, "--from is"),
    ],
)
def test_a_bad_time_is_named(given: dict[str, str], says: str) -> None:
    """The option is named with how it is written."""
    with pytest.raises(CliError, match=says) as raised:
        past.span_of(typed(**given), NOW - timedelta(days=365 * 2026) if says == "--from is" else NOW)
    assert raised.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("prometheus:9090", "no address"),
        ("ftp://prometheus", "no address"),
        ("https://ann:secret@prometheus", "holds credentials"),
    ],
)
def test_a_bad_address_is_named_and_a_password_is_not_repeated(url: str, says: str) -> None:
    """Passwords on a command line are seen by everybody; they belong into the configuration."""
    with pytest.raises(CliError, match=says) as raised:
        past.source_of(argparse.Namespace(config=None, prometheus=url))
    assert "secret@" not in str(raised.value)


def test_the_configurations_headers_go_to_its_own_prometheus_only(tmp_path: Path) -> None:
    """An address that is typed gets none of the secrets that are configured for another one."""
    path = tmp_path / "lastgood.yaml"
    section = {"url": "http://127.0.0.1:1", "headers": {"X-Scope-OrgID": "shop"}, "params": {"dedup": "true"}}
    path.write_text(yaml.safe_dump({"cluster": "test", "prometheus": section}))
    configured = past.source_of(argparse.Namespace(config=path, prometheus=None))
    assert (configured.url, configured.headers) == ("http://127.0.0.1:1", {"X-Scope-OrgID": "shop"})
    assert configured.params == {"dedup": "true"}
    other = past.source_of(argparse.Namespace(config=path, prometheus="http://127.0.0.1:2"))
    assert (other.url, other.headers, other.params) == ("http://127.0.0.1:2", {}, {})


async def test_no_prometheus_is_a_usage_error(desk: Desk, tmp_path: Path) -> None:
    """One line that says where to name it."""
    found = await desk.types("record", str(tmp_path / "out.jsonl"))
    assert found.code == Exit.USAGE
    assert "--prometheus" in one_line(found.err)


async def test_a_prometheus_that_is_not_there_is_unreachable(desk: Desk, tmp_path: Path) -> None:
    """One line, exit code 3, and no file."""
    found = await desk.types("record", "--prometheus", "http://127.0.0.1:1", str(tmp_path / "out.jsonl"))
    assert found.code == Exit.UNREACHABLE
    assert "Prometheus" in one_line(found.err)
    assert not (tmp_path / "out.jsonl").exists()


async def test_a_log_is_told_how_far_it_is() -> None:
    """Without a terminal a line every tenth, with what is left; on a terminal one line that is written over."""
    out = io.StringIO()
    bar = past.Bar(out)
    for done in range(1001):
        bar.show(done, 1000)
        await asyncio.sleep(0)
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("lastgood: 10 % read, ")
    assert lines[-1] == "lastgood: 100 % read"


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log"])
def test_a_replay_says_how_far_it_is_once_it_takes_long(terminal: bool) -> None:
    """Nothing in the first seconds; then a bar that is written over on a terminal, and a line every tenth without one."""

    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out, seconds = Out(), 0.0
    bar = past.Bar(out, lambda: seconds, doing="replaying", done="replayed", quiet=2.0)
    for done in range(101):
        seconds = done / 10
        bar.show(done, 100)
        if seconds < 2.0:
            assert out.getvalue() == ""
    found = out.getvalue()
    if terminal:
        assert found.startswith("\r\x1b[Kreplaying [#####")
        assert "50%, 5s left" in found
        assert "\n" not in found
    else:
        assert found.splitlines()[0] == "lastgood: 20 % replayed, 8s left"
        assert found.splitlines()[-1] == "lastgood: 100 % replayed"


def test_a_file_is_written_whole_and_in_time_order(tmp_path: Path) -> None:
    """Truths come between the evidence, and what was written is read as the same recording."""
    seen = [
        RolloutSeen(at=NOW + minute * DAY, workload="a/Deployment/b", revision="2", replaces="1", phase="started")
        for minute in (0, 2)
    ]
    truths = [TruthSeen(at=NOW + DAY, culprit="a/Deployment/b")]
    path = tmp_path / "out.jsonl"
    assert (
        record.write(path, recording("x", seen), truths) == "2 rollouts, 0 alert records, 0 samples, 0 calls, 1 truths"
    )
    found = load(path)
    assert (found.sorted_lines, list(found.evidence), list(found.truths)) == (0, seen, truths)
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The file and the reason, and nothing is left behind."""
    with pytest.raises(CliError, match="No such file") as raised:
        record.write(tmp_path / "none" / "out.jsonl", recording("x", []), [])
    assert raised.value.code == Exit.USAGE


@pytest.mark.real
async def test_it_writes_a_recording(desk: Desk, prometheus: str, tmp_path: Path) -> None:
    """From a real Prometheus, with the daemon asked: the file holds the planted rollouts, and stderr says how far it was."""
    path = tmp_path / "out.jsonl"
    found = await desk.types("record", "--prometheus", prometheus, *THEN, str(path))
    assert (found.code, found.out) == (Exit.OK, "")
    begun = [each for each in load(path).evidence if isinstance(each, RolloutSeen) and each.phase == "started"]
    assert len(begun) == 5
    assert "100 % read" in found.err
    assert "without the daemon" not in found.err
    assert found.err.splitlines()[-1].startswith(f"lastgood: {path}: 5 rollouts, 2 alert records, ")


@pytest.mark.real
async def test_without_a_daemon_it_says_so(desk: Desk, prometheus: str) -> None:
    """To standard output, from Prometheus alone; a daemon that was named must be there."""
    found = await desk.types_exactly("record", "--prometheus", prometheus, *THEN, "-")
    assert found.code == Exit.OK
    assert "without the daemon, from Prometheus alone" in found.err
    assert found.out.startswith('{"kind":')
    found = await desk.types_exactly("record", "--socket", "/nowhere", "--prometheus", prometheus, *THEN, "-")
    assert (found.code, found.out) == (Exit.UNREACHABLE, "")


@pytest.mark.real
async def test_nothing_there_is_one(desk: Desk, prometheus: str) -> None:
    """A time that Prometheus does not reach back to is a plain no, with what is needed."""
    span = ("--from", "2024-01-01", "--to", "2024-01-02")
    found = await desk.types("record", "--prometheus", prometheus, *span, "-")
    assert found.code == Exit.REFUSED
    assert "scrape kube-state-metrics" in found.err
