"""`lastgood journal`: what is copied is the same, to the byte, and nothing is ever overwritten or taken from a daemon."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import stat
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from config import load
from daemon.cli import direct
from daemon.cli.commands import main
from daemon.core.events import AlertSource, AlertsReported
from daemon.core.evolution import replay
from daemon.core.facts import Fact
from daemon.ports import Journal
from daemon.runtime import codec, journal_copy, journal_store
from daemon.runtime.journal import SqliteJournal
from daemon.runtime.journal_file import SCHEMA_VERSION
from daemon.runtime.journal_postgres import PostgresJournal
from daemon.runtime.journal_store import SqliteStore
from daemon.state_folder import StartError, only_one
from tests.contract.test_journal import a_story, paused
from tests.core.builders import NOON, an_alert
from tests.postgres import Server

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Place:
    """A journal and the configuration that names it."""

    config: Path
    open: Callable[[], Awaitable[Journal]]
    url: str | None = None


def configured(folder: Path, name: str, schema: str, url: str | None = None) -> Path:
    config = folder / f"{name}.yaml"
    place = "" if url is None else f"  url: {url}\n"
    config.write_text(f"cluster: test\nstate_dir: {folder / name}\njournal:\n  schema_name: {schema}\n{place}")
    return config


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The commands send the log where the test's output is caught, and that ends with the test."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def places(tmp_path: Path, postgres: Server) -> dict[str, Place]:
    """A journal of each kind, and an empty one of each."""
    found = dict[str, Place]()
    for name in ("sqlite", "other-sqlite"):
        path = tmp_path / name / "journal.sqlite"
        found[name] = Place(configured(tmp_path, name, postgres.schema()), partial(opened, path))
    for name in ("postgres", "other-postgres"):
        schema = postgres.schema()

        async def open_(schema: str = schema) -> Journal:
            return await PostgresJournal.open(postgres.url, cluster="test", schema=schema)

        found[name] = Place(configured(tmp_path, name, schema, postgres.url), open_, postgres.url)
    return found


async def opened(path: Path) -> Journal:
    return SqliteJournal(path)


def in_it(place: Place, work: Callable[[Journal], Awaitable[Any]]) -> Any:
    """What comes of some work on the journal, which is closed again."""

    async def do() -> Any:
        journal = await place.open()
        try:
            return await work(journal)
        finally:
            await journal.close()

    return asyncio.run(do())


def fill(place: Place) -> None:
    """An incident, a part of it in a snapshot; accepted events of which some are consumed."""
    story = a_story()
    half = len(story.facts) // 2
    report = AlertsReported(at=NOON, source=AlertSource.WEBHOOK, alerts=(an_alert(),), complete=True)

    async def work(journal: Journal) -> None:
        numbers = await journal.accept([report, paused(1), paused(2)], NOON)
        await journal.commit(story.facts[:half], numbers[0], NOON)
        await journal.compact(replay(story.facts[:half]), numbers[0], NOON)
        await journal.commit(story.facts[half:], numbers[1], NOON)

    in_it(place, work)


def everything(place: Place) -> tuple[Any, ...]:
    """All that a journal says to the daemon."""

    async def work(journal: Journal) -> tuple[Any, ...]:
        loaded = await journal.load()
        facts: list[tuple[Any, Fact]] = [each async for each in journal.history(limit=100_000)]
        unread = await journal.unread(0, 1000)
        return codec.dump_state(loaded.state), loaded.cursor, loaded.written_at, loaded.facts, facts, unread

    return in_it(place, work)  # type: ignore[no-any-return]


def goes_on(place: Place) -> None:
    """A daemon can go on with it: numbers that were given are not given again, and new facts are folded."""
    fact = a_story().facts[0]

    async def work(journal: Journal) -> None:
        before = await journal.load()
        (seq,) = await journal.accept([paused(9)], NOON)
        assert seq == 4
        await journal.commit([fact], seq, NOON)
        assert (await journal.load()).facts == before.facts + 1

    in_it(place, work)


def lastgood(config: Path, *arguments: str) -> int:
    return main(["--config", str(config), "journal", *arguments])


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
@pytest.mark.parametrize("into", ["other-sqlite", "other-postgres"])
def test_backup_and_restore(
    places: dict[str, Place], tmp_path: Path, name: str, into: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup of either kind of journal, restored into either kind, says the same to the byte, and can be gone on with."""
    fill(places[name])
    file = tmp_path / "backup"
    assert lastgood(places[name].config, "backup", str(file)) == 0
    said = capsys.readouterr().out
    assert f"backed up to {file}" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("backup")] == ["backup"]
    before = file.read_bytes()
    assert lastgood(places[into].config, "restore", str(file)) == 0
    restored = capsys.readouterr().out
    assert said.splitlines()[-2:] == restored.splitlines()[-2:]
    assert file.read_bytes() == before
    assert everything(places[into]) == everything(places[name])
    goes_on(places[into])


def test_moving_there_and_back(
    places: dict[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From SQLite to PostgreSQL and back nothing changes, the old one stays as it was, and the next step is told."""
    monkeypatch.setattr("daemon.cli.journal.SHOWN_EVERY", 1)
    monkeypatch.setattr(journal_store, "ROWS", 7)
    fill(places["sqlite"])
    before = everything(places["sqlite"])
    url = places["postgres"].url
    assert lastgood(places["sqlite"].config, "move", "--to", str(url)) == 0
    told = capsys.readouterr()
    assert "rows copied" in told.err
    assert told.out.splitlines()[-1] == "next: set journal.url, and start"
    schema = places["sqlite"].config.read_text().split("schema_name: ")[1].strip()
    assert everything(places["sqlite"]) == before
    moved = tmp_path / "moved.yaml"
    moved.write_text(
        f"cluster: test\nstate_dir: {tmp_path / 'moved'}\njournal: {{url: '{url}', schema_name: {schema}}}\n"
    )
    assert lastgood(moved, "move", "--to", "sqlite") == 0
    assert "next: take journal.url out" in capsys.readouterr().out
    back = Place(moved, lambda: opened(tmp_path / "moved" / "journal.sqlite"))
    assert everything(back) == before
    goes_on(back)


def test_url_in_a_file(places: dict[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The URL can be in a file, so that nobody sees its password in the list of processes; --json tells the numbers."""
    fill(places["sqlite"])
    secret = tmp_path / "url"
    secret.write_text(f"{places['postgres'].url}\n")
    capsys.readouterr()
    assert main(["--json", "--config", str(places["sqlite"].config), "journal", "move", "--to-file", str(secret)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"from", "to", "facts", "events", "cursor", "state_sha256"}
    assert (told["events"], told["cursor"]) == (2, 2)


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_backup_while_it_is_written(places: dict[str, Place], tmp_path: Path, name: str) -> None:
    """A backup that is made while the daemon writes is whole: the facts and the cursor of one moment."""
    place = places[name]
    story = a_story()

    async def write_and_back_up(journal: Journal) -> None:
        ended = asyncio.Event()

        async def write() -> int:
            number = 0
            while not ended.is_set():
                number += 1
                await journal.accept([paused(number)], NOON)
                await journal.commit(story.facts[:1], number, NOON)
            return number

        writing = asyncio.get_running_loop().create_task(write())
        for number in range(3):
            assert await asyncio.to_thread(lastgood, place.config, "backup", str(tmp_path / f"backup-{number}")) == 0
        ended.set()
        assert await writing > 3

    in_it(place, write_and_back_up)
    for number in range(3):
        copied = Place(place.config, partial(opened, tmp_path / f"backup-{number}"))
        loaded = in_it(copied, lambda journal: journal.load())
        assert loaded.facts == loaded.cursor


# --------------------------------------------------------------------------------------------------------- refusals


def refused(capsys: pytest.CaptureFixture[str], code: int, expected: int, said: str) -> None:
    err = capsys.readouterr().err
    assert code == expected, err
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
def test_never_into_a_full_one(
    places: dict[str, Place], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A journal that holds anything is not restored into, and stays as it is."""
    fill(places["other-sqlite"])
    assert lastgood(places["other-sqlite"].config, "backup", str(tmp_path / "backup")) == 0
    in_it(places[name], lambda journal: journal.accept([paused(7)], NOON))
    before = everything(places[name])
    capsys.readouterr()
    code = lastgood(places[name].config, "restore", str(tmp_path / "backup"))
    refused(capsys, code, 1, "is not empty; nothing was changed")
    assert everything(places[name]) == before


def test_never_over_a_file(places: dict[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there already is not written over."""
    fill(places["sqlite"])
    (tmp_path / "backup").write_text("dear")
    refused(capsys, lastgood(places["sqlite"].config, "backup", str(tmp_path / "backup")), 1, "is there already")
    assert (tmp_path / "backup").read_text() == "dear"


def test_not_beside_a_daemon(places: dict[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a daemon holds the state folder, or is connected to the database, nothing is restored or moved."""
    fill(places["sqlite"])
    fill(places["postgres"])
    assert lastgood(places["sqlite"].config, "backup", str(tmp_path / "backup")) == 0
    capsys.readouterr()
    with only_one(tmp_path / "other-sqlite"):
        code = lastgood(places["other-sqlite"].config, "restore", str(tmp_path / "backup"))
        refused(capsys, code, 1, "another lastgood runs")

    async def beside(journal: Journal) -> None:
        await journal.load()
        code = await asyncio.to_thread(lastgood, places["other-postgres"].config, "restore", str(tmp_path / "backup"))
        refused(capsys, code, 1, "a daemon is connected to postgresql://")

    in_it(places["other-postgres"], beside)

    async def away(journal: Journal) -> None:
        await journal.load()
        code = await asyncio.to_thread(lastgood, places["postgres"].config, "move", "--to", "sqlite")
        refused(capsys, code, 1, "a daemon is connected to postgresql://")

    in_it(places["postgres"], away)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("restore", "FOLDER/none"), 1, "there is no such file"),
        (("restore", "FOLDER/text"), 1, "not a database"),
        (("restore", "FOLDER/foreign"), 1, "it is no journal"),
        (("restore", "FOLDER/newer"), 1, "this release knows 2; use the newer release"),
        (("backup", "FOLDER/none/backup"), 1, "No such file or directory"),
        (("move", "--to", "sqlite"), 2, "the journal is there already"),
        (("move", "--to", "mysql://u:hush-hush@h/d"), 2, "--to is no URL of PostgreSQL"),
        (("move", "--to", "postgresql://u:hush-hush@h"), 2, "--to names no database"),
        (("move", "--to-file", "FOLDER/none"), 2, "--to-file: No such file"),
        (("move", "--to", "postgresql://u:hush-hush@127.0.0.1:1/d"), 3, "cannot be reached"),
    ],
)
def test_refused_in_one_line(
    places: dict[str, Place],
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be done is told in one line with what to do, and never with a password."""
    fill(places["sqlite"])
    (tmp_path / "text").write_text("no database" * 1000)
    for name, version in (("foreign", 0), ("newer", SCHEMA_VERSION + 1)):
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute("CREATE TABLE x (y)")
            connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
    typed = [each.replace("FOLDER", str(tmp_path)) for each in arguments]
    found = lastgood(places["sqlite"].config, *typed)
    err = capsys.readouterr().err
    assert (found, said in err) == (code, True), err
    assert err.count("\n") == 1
    assert "hush" not in err


def test_a_damaged_backup(places: dict[str, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup whose row cannot be read is refused by the row's number, and nothing of it is kept."""
    fill(places["sqlite"])
    assert lastgood(places["sqlite"].config, "backup", str(tmp_path / "backup")) == 0
    with sqlite3.connect(tmp_path / "backup") as connection:
        ((last,),) = connection.execute("SELECT max(seq) FROM facts").fetchall()
        connection.execute("UPDATE facts SET body = 'x' WHERE seq = ?", (last,))
    connection.close()
    capsys.readouterr()
    code = lastgood(places["other-postgres"].config, "restore", str(tmp_path / "backup"))
    refused(capsys, code, 1, f"facts row {last} cannot be read")
    assert in_it(places["other-postgres"], lambda journal: journal.unread(0, 10)) == []


def test_a_copy_that_differs(places: dict[str, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that lacks a row, or has another content, is found out: the check does not trust the copying."""
    fill(places["sqlite"])
    source = SqliteStore(tmp_path / "sqlite" / "journal.sqlite")

    async def differs(statement: str) -> str:
        target = SqliteStore(tmp_path / f"copy-{abs(hash(statement))}")
        async with source.reading() as reading:
            await journal_copy.copy(reading, target, lambda done: None)
            original = await journal_copy.content(reading, "the original")
        await journal_copy.verified(original, target)
        with sqlite3.connect(target.path) as connection:
            connection.execute(statement)
        connection.close()
        with pytest.raises(journal_copy.DiffersError) as caught:
            await journal_copy.verified(original, target)
        return str(caught.value).rpartition("its ")[2]

    assert asyncio.run(differs("DELETE FROM intake WHERE seq = 3")) == "intake differs"
    assert asyncio.run(differs("UPDATE facts SET at = at + 1, crc = NULL WHERE seq = 40")) == "rows differs"
    assert asyncio.run(differs("UPDATE cursor SET intake_seq = 1, crc = NULL")) == "heading differs"


def test_direct_rollback_asks_the_database(places: dict[str, Place]) -> None:
    """`rollback --direct` reads the shared journal, and does not act beside a daemon that is connected to it."""
    in_it(places["postgres"], lambda journal: journal.commit(a_story().facts, 0, NOON))
    settings = load(places["postgres"].config, {})
    assert codec.dump_state(asyncio.run(direct._journalled(settings))) == everything(places["postgres"])[0]

    async def beside(journal: Journal) -> None:
        await journal.load()
        with pytest.raises(StartError, match="a daemon is connected to postgresql://"):
            await direct._journalled(settings)

    in_it(places["postgres"], beside)
