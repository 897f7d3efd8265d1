"""The command line against a daemon's socket, in this process: tables, exit codes, one-line errors."""

from __future__ import annotations

import asyncio
import json
import re
import socket as sockets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from config.sources import RESERVED
from daemon.cli import commands
from daemon.cli.exits import MEANINGS, Exit
from daemon.core.model import Mode
from tests.cli.desk import Desk, exit_code, one_line
from tests.core.builders import MINUTE, a_policy, an_alert
from tests.core.story import Story
from tests.handlers.people import TOKEN, Daemon, listening, recovered

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    """A daemon in mode approve with a proposal that waits for a person."""
    story = Story(policy=a_policy(default_mode=Mode.APPROVE))
    story.spikes()
    daemon = Daemon(story)
    async with listening(daemon, tmp_path / "lastgood.sock") as address:
        yield Desk(daemon, address, tmp_path / "lastgood.sock", capsys)


async def test_status_is_readable_and_answers_for_scripts(desk: Desk) -> None:
    """A ready daemon gives 0; one that is not gives 1 and says why."""
    typed = await desk.types("status")
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert typed.out.startswith("ready\n")
    assert re.search(r"inc-\S+ +proposed .* shop/checkout +waits for approval\n", typed.out)
    desk.daemon.ready = "caches are not synced"
    typed = await desk.types("status")
    assert typed.code == Exit.REFUSED
    assert "NOT READY: caches are not synced" in typed.out


async def test_json_is_the_daemons_document(desk: Desk) -> None:
    """`--json` prints the document, before or after the command, in ASCII."""
    for words in (("--json", "incidents"), ("incidents", "--json")):
        typed = await desk.types(*words)
        assert typed.out.isascii()
        assert [row["phase"] for row in json.loads(typed.out)["incidents"]] == ["proposed"]


async def test_approve_says_what_it_led_to_and_as_whom(desk: Desk) -> None:
    """The answer tells the change and the actor; a second approval is refused with the reason and exit code 1."""
    incident = desk.daemon.story.incident.id
    typed = await desk.types("approve", incident, "--as", "ann")
    assert typed.code == Exit.OK
    assert f"approval of {incident} recorded" in typed.out
    assert "(says 'ann')" in typed.out
    typed = await desk.types("approve", incident)
    assert typed.code == Exit.REFUSED
    assert "is rolling_back, not proposed" in one_line(typed.err)


async def test_every_order_reaches_the_daemon(desk: Desk) -> None:
    """decline, close, pause and resume go through; a pause that covers nothing yet says so."""
    incident = desk.daemon.story.incident.id
    for words in (
        ("decline", incident),
        ("close", incident, "--note", "by hand"),
        ("pause", "shop/checkout", "--for", "30m"),
        ("resume", "shop/checkout"),
        ("pause",),
        ("resume",),
    ):
        assert (await desk.types(*words)).code == Exit.OK, words
    assert [event.kind for event in desk.daemon.taken] == [
        "declined", "closed", "pause_asked", "resume_asked", "pause_asked", "resume_asked",
    ]  # fmt: skip
    assert "no workload is known there" in (await desk.types("pause", "elsewhere")).out


async def test_verified_shows_the_proof(desk: Desk) -> None:
    """The ledger names each revision with its proof; a workload that is not known is a refusal."""
    typed = await desk.types("verified", "shop/checkout")
    assert typed.code == Exit.OK
    assert "VERIFIED    checkout:v1 (11hash)" in typed.out
    assert "healthy under traffic as the only serving revision" in typed.out
    typed = await desk.types("verified", "shop/cart")
    assert typed.code == Exit.REFUSED
    one_line(typed.err)


async def test_release_lifts_a_quarantine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`release` by the beginning of a hash, over `--server` with a token file."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    async with listening(Daemon(recovered()), tmp_path / "s") as address:
        desk = Desk(Daemon(recovered()), address, tmp_path / "s", capsys)
        remote = ("--server", address, "--token-file", str(token))
        typed = await desk.types_exactly(*remote, "release", "shop/checkout", "--revision", "22")
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert "released from quarantine\nrecorded as token:ann\n" in typed.out


@pytest.mark.parametrize("secret", ["forged", "a-token-of-alertmanager"])
async def test_a_wrong_token_is_unauthorised(desk: Desk, tmp_path: Path, secret: str) -> None:
    """Exit code 4, one line, and the token is not repeated."""
    (tmp_path / "token").write_text(secret)
    typed = await desk.types_exactly("--server", desk.address, "--token-file", str(tmp_path / "token"), "status")
    assert typed.code == Exit.UNAUTHORISED
    assert secret not in one_line(typed.err)


async def test_the_environment_names_the_daemon_and_options_win(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LASTGOOD_URL with LASTGOOD_TOKEN_FILE, LASTGOOD_SOCKET, and `--socket` over both."""
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("LASTGOOD_URL", desk.address)
    monkeypatch.setenv("LASTGOOD_TOKEN_FILE", str(tmp_path / "token"))
    assert (await desk.types_exactly("incidents")).code == Exit.OK
    monkeypatch.setenv("LASTGOOD_SOCKET", str(tmp_path / "nothing"))
    assert (await desk.types_exactly("incidents")).code == Exit.UNREACHABLE
    assert (await desk.types("incidents")).code == Exit.OK


async def test_the_configuration_names_the_socket(desk: Desk, tmp_path: Path) -> None:
    """`--config` leads to the socket in its state folder; a bad file is exit code 5, naming the field."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"cluster: test\nstate_dir: {tmp_path}\n")
    bad.write_text("cluster: test\nstatus_dir: x\n")
    assert (await desk.types_exactly("--config", str(good), "status")).code == Exit.OK
    typed = await desk.types_exactly("status", "--config", str(bad))
    assert typed.code == Exit.CONFIGURATION
    assert "status_dir" in one_line(typed.err)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("statu",),
        ("approve",),
        ("status", "--verbose"),
        ("incidents", "--limit", "many"),
        ("--socket", "a", "--server", "b", "status"),
        ("--server", "https://127.0.0.1:1", "status"),
        ("--server", "ftp://127.0.0.1", "status"),
        ("--server", "https://u:p@127.0.0.1", "status"),
        ("--server", "https://127.0.0.1:1", "--token-file", "/nonexistent", "status"),
        ("approve", "\x1b[2J\nlastgood: done", "x"),
    ],
)
async def test_what_is_written_wrongly_is_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line that says where to read on, nothing on stdout, and no escape sequence repeated."""
    code = await asyncio.to_thread(exit_code, lambda: commands.main(words))
    out, err = capsys.readouterr()
    assert (code, out) == (Exit.USAGE, "")
    assert "\x1b" not in one_line(err)


async def test_values_that_the_daemon_refuses_are_usage_too(desk: Desk) -> None:
    """A duration without a unit is named with its remedy."""
    typed = await desk.types("pause", "--for", "30")
    assert typed.code == Exit.USAGE
    assert "has no unit" in one_line(typed.err)


async def test_no_daemon_is_unreachable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No socket, a socket that nobody listens on, a refused connection: exit code 3 with a remedy each."""
    dead = tmp_path / "dead.sock"
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(dead))
    with sockets.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    (tmp_path / "token").write_text(TOKEN)
    remote = ("--server", f"http://127.0.0.1:{port}", "--token-file", str(tmp_path / "token"))
    for where in (("--socket", str(tmp_path / "none")), ("--socket", str(dead)), remote):
        code = await asyncio.to_thread(commands.main, [*where, "status"])
        assert code == Exit.UNREACHABLE
        one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, "<html>", Exit.UNREACHABLE),
        (200, "[]", Exit.UNREACHABLE),
        (200, "{}", Exit.UNREACHABLE),
        (200, '{"ready": true, "now": 7}', Exit.UNREACHABLE),
        (302, "", Exit.UNREACHABLE),
        (403, "no", Exit.UNAUTHORISED),
        (404, "Not Found", Exit.UNREACHABLE),
        (500, "internal error", Exit.UNREACHABLE),
        (503, '{"error": "disk full", "remedy": "free it"}', Exit.UNREACHABLE),
        (409, '{"error": "\\u001b[2Jno\\nlastgood: done", "remedy": "r"}', Exit.REFUSED),
    ],
)
async def test_a_strange_answer_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, body: str, code: Exit
) -> None:
    """Whatever answers in the daemon's place: one harmless line and an exit code, never a traceback."""

    async def strange(_request: web.Request) -> web.Response:
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, text=body, headers=headers)

    async def elsewhere(_request: web.Request) -> web.Response:
        return web.json_response({"error": "a redirect was followed", "remedy": "r"}, status=409)

    app = web.Application()
    app.router.add_get("/api/v1/status", strange)
    app.router.add_get("/elsewhere", elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    try:
        assert await asyncio.to_thread(commands.main, ["--socket", str(tmp_path / "s"), "status"]) == code
    finally:
        await runner.cleanup()
    assert "\x1b" not in one_line(capsys.readouterr().err)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\nlastgood: all is well\u202e\ud800"


async def test_hostile_values_cannot_act_on_a_terminal(desk: Desk) -> None:
    """Escape sequences, control and direction characters of labels reach no command's output."""
    story = desk.daemon.story
    labels = (("alertname", HOSTILE), ("deployment", "checkout"))
    story.fires(an_alert("f7", starts_at=story.now, labels=labels))
    for words in (("status",), ("incidents",), ("explain", story.incident.id), ("explain", "f7")):
        typed = await desk.types(*words)
        assert typed.code == Exit.OK
        assert not set(typed.out) & set("\x1b\x07\x9b\r\u202e"), words
        assert "\nlastgood: all is well" not in typed.out


async def test_no_colour_in_a_pipe(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off a terminal there is no escape sequence, and no blanks at the ends of lines."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    story = desk.daemon.story
    for words in (("status",), ("explain", story.incident.id), ("verified", "shop/checkout")):
        typed = await desk.types(*words)
        assert "\x1b" not in typed.out
        assert not [line for line in typed.out.splitlines() if line != line.rstrip()]


async def test_explain_tells_labels_tried_for_an_unmapped_alert(desk: Desk) -> None:
    """An alert that belongs nowhere is told with what was tried and what to do."""
    from dataclasses import replace

    from daemon.core.model import Rung
    from tests.core.builders import a_location

    story = desk.daemon.story
    story.where["f9"] = replace(a_location(), workloads=(), rung=Rung.NONE, tried=("pod=gone", "app=nobody"))
    story.fires(an_alert("f9", starts_at=story.now + MINUTE))
    typed = await desk.types("explain", "f9")
    assert "pod=gone, app=nobody" in typed.out
    assert "lastgood_workload=namespace/name" in typed.out


@pytest.mark.parametrize("word", ["--help", "status", "pause"])
def test_help_documents_the_exit_codes(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every help page ends with what the exit codes mean, and every code is told."""
    assert exit_code(lambda: commands.main([word] if word == "--help" else [word, "--help"])) == Exit.OK
    assert MEANINGS in capsys.readouterr().out
    assert all(re.search(rf"^  {code.value} ", MEANINGS, re.MULTILINE) for code in Exit)


def test_check_config_tells_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good file is 0; a bad one is 5 with one line per problem; JSON says the same."""
    file = tmp_path / "c.yaml"
    file.write_text("cluster: test\n")
    assert commands.main(["check-config", str(file)]) == Exit.OK
    assert "good (fingerprint " in capsys.readouterr().out
    file.write_text("cluster: test\nlog:\n  levle: info\npolicy:\n  soak: 15\n")
    assert commands.main(["check-config", str(file)]) == Exit.CONFIGURATION
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)
    assert "log.levle" in err
    assert commands.main(["check-config", "--json", str(file)]) == Exit.CONFIGURATION
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2


def test_the_command_lines_own_variables_are_no_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command line's variables set, a configuration is as good as without; other unknown ones are refused."""
    file = tmp_path / "c.yaml"
    file.write_text("cluster: test\n")
    for name in RESERVED:
        monkeypatch.setenv(name, "https://lastgood.example.net")
    assert commands.main(["check-config", str(file)]) == Exit.OK
    monkeypatch.setenv("LASTGOOD_SEVRER", "x")
    assert commands.main(["check-config", str(file)]) == Exit.CONFIGURATION
    assert "LASTGOOD_SEVRER" in capsys.readouterr().err


def test_a_bad_configuration_stops_run_with_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`run` tells a bad or missing file on stderr, one line per problem, and exits with 5."""
    assert commands.main(["run", "--config", str(tmp_path / "none.yaml")]) == Exit.CONFIGURATION
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
