"""`lastgood gate`: 0 is open, 1 is closed, and nothing else is ever 0 or 1."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from config.sources import RESERVED
from daemon.cli import commands
from daemon.cli.exits import Exit
from deploy.sandbox.process import bare_environment
from tests import repository
from tests.cli.desk import Desk, exit_code, one_line
from tests.handlers.people import WEBHOOK_TOKEN, Daemon, listening, recovered

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

SECONDS = 30.0


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    """A daemon that rolled v2 back to v1."""
    daemon = Daemon(recovered())
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


async def test_open_is_zero(desk: Desk) -> None:
    """One line on stdout, nothing on stderr."""
    typed = await desk.types("gate", "shop/checkout", "--image", "sha256:1")
    assert (typed.code, typed.out, typed.err) == (Exit.OK, "open: shop/checkout\n", "")


async def test_closed_is_one_with_a_reason_per_line(desk: Desk) -> None:
    """Every reason on a line of its own, however long."""
    desk.daemon.story.pauses("shop")
    typed = await desk.types("gate", "shop/checkout", "--image", "sha256:2")
    incident = desk.daemon.story.incident.id
    assert (typed.code, typed.err) == (Exit.REFUSED, "")
    first, second = typed.out.splitlines()
    assert first.startswith(f"closed: checkout:v2 (22hash) is quarantined by {incident}: it was rolled back; ")
    assert second == "closed: shop paused by ann"


async def test_a_note_does_not_close(desk: Desk) -> None:
    """A first deployment is open and told."""
    typed = await desk.types("gate", "shop/new", "--image", "v1")
    assert typed.code == Exit.OK
    assert typed.out.endswith("note: shop/new is not known here: first deployment?\n")


@pytest.mark.parametrize(("image", "code"), [("v1", Exit.OK), ("v2", Exit.REFUSED)])
async def test_json_has_the_same_exit_codes(desk: Desk, image: str, code: Exit) -> None:
    """`--json` prints the document; the code says the same."""
    typed = await desk.types("gate", "--json", "shop/checkout", "--image", image)
    assert typed.code == code
    assert json.loads(typed.out)["open"] is (code == Exit.OK)


@pytest.mark.parametrize(
    "words",
    [
        ("shop",),
        ("shop/../status",),
        ("shop/checkout?image=v1",),
        ("a/b/c/d",),
        ("shop/",),
        ("",),
        ("Shop/checkout",),
        ("shop/checkout", "--image", ""),
        ("shop/checkout", "--image", "a b"),
        ("shop/checkout", "--digest", "x"),
        (),
    ],
)
async def test_a_wrong_question_is_usage(desk: Desk, words: tuple[str, ...]) -> None:
    """Exit code 2, one line; above all an empty variable of a pipeline opens and closes nothing."""
    typed = await desk.types("gate", *words)
    assert (typed.code, typed.out) == (Exit.USAGE, "")
    one_line(typed.err)


async def test_who_may_not_ask_is_told_so(desk: Desk, tmp_path: Path) -> None:
    """A wrong token is exit code 4; a webhook sender's token is good enough."""
    (tmp_path / "token").write_text("forged")
    where = ("--server", desk.address, "--token-file", str(tmp_path / "token"))
    assert (await desk.types_exactly(*where, "gate", "shop/checkout")).code == Exit.UNAUTHORISED
    (tmp_path / "token").write_text(WEBHOOK_TOKEN)
    assert (await desk.types_exactly(*where, "gate", "shop/checkout")).code == Exit.OK


async def test_a_daemon_that_cannot_say_is_unreachable(desk: Desk) -> None:
    """Not ready is exit code 3: neither open nor closed."""
    desk.daemon.ready = "caches are not synced"
    typed = await desk.types("gate", "shop/checkout")
    assert (typed.code, typed.out) == (Exit.UNREACHABLE, "")
    assert "caches are not synced" in one_line(typed.err)


@asynccontextmanager
async def answering(socket: Path, status: int, body: str) -> AsyncIterator[None]:
    """Something on the socket that always answers so."""

    async def strange(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", strange)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "{}"),
        (200, '{"open": null, "reasons": [], "notes": []}'),
        (200, '{"open": "true", "reasons": [], "notes": []}'),
        (200, '{"open": 1, "reasons": [], "notes": []}'),
        (404, '{"error": "no such thing", "remedy": "r"}'),
        (404, "Not Found"),
        (409, '{"error": "ambiguous", "remedy": "r"}'),
        (500, "internal error"),
        (503, '{"error": "disk full", "remedy": "free it"}'),
        (302, ""),
    ],
)
@pytest.mark.parametrize("json_too", [(), ("--json",)])
async def test_what_is_no_answer_is_neither_open_nor_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, body: str, json_too: tuple[str, ...]
) -> None:
    """Whatever answers in the daemon's place, an older daemon too: exit code 3, never 0 or 1."""
    async with answering(tmp_path / "s", status, body):
        words = ["--socket", str(tmp_path / "s"), "gate", "shop/checkout", *json_too]
        assert await asyncio.to_thread(exit_code, lambda: commands.main(words)) == Exit.UNREACHABLE
    out, err = capsys.readouterr()
    assert out == ""
    one_line(err)


async def in_a_shell(script: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a pipeline's step; `lastgood` is this repository's."""
    function = f"lastgood() {{ '{sys.executable}' -m daemon \"$@\"; }}\n"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", function + script,
        cwd=repository.ROOT,
        env=bare_environment() | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.real
async def test_a_pipeline_needs_an_address_and_a_token_only(tmp_path: Path) -> None:
    """LASTGOOD_URL and LASTGOOD_TOKEN_FILE, beside variables of the pipeline's own that begin alike: 0, and 1 when closed."""
    (tmp_path / "token").write_text(WEBHOOK_TOKEN)
    async with listening(Daemon(recovered()), tmp_path / "s") as address:
        environ = {
            "LASTGOOD_URL": address,
            "LASTGOOD_TOKEN_FILE": str(tmp_path / "token"),
            "LASTGOOD_IMAGE": "lastgood:1.0",
            "HOME": "/nonexistent",
        }
        code, out, err = await in_a_shell("lastgood gate shop/checkout --image sha256:1", **environ)
        assert (code, out, err) == (0, "open: shop/checkout\n", "")
        code, out, err = await in_a_shell("lastgood gate shop/checkout --image sha256:2", **environ)
        assert (code, out.count("closed: "), err) == (1, 1, "")


@pytest.mark.real
@pytest.mark.parametrize(("image", "code"), [("v1", Exit.OK), ("v2", Exit.REFUSED)])
async def test_closed_stays_closed_when_nobody_reads_why(tmp_path: Path, image: str, code: Exit) -> None:
    """The reader of the output is gone before it is written: the code is the answer's, and there is no traceback."""
    read, write = os.pipe()
    os.close(read)
    try:
        async with listening(Daemon(recovered()), tmp_path / "s"):
            words = ("--socket", str(tmp_path / "s"), "gate", "shop/checkout", "--image", image)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "daemon", *words,
                cwd=repository.ROOT,
                env=bare_environment(),
                stdout=write,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            async with asyncio.timeout(SECONDS):
                _, err = await process.communicate()
    finally:
        os.close(write)
    assert (process.returncode, err) == (code, b"")


@pytest.mark.real
@pytest.mark.parametrize(
    ("policy", "when_closed", "when_unreachable"),
    [("", 1, 3), (" || test $? -ne 1", 1, 0), (" || true", 0, 0)],
)
async def test_a_pipeline_chooses_what_stops_it(
    tmp_path: Path, policy: str, when_closed: int, when_unreachable: int
) -> None:
    """The three lines of `gate --help`: both stop it, only "closed" does, nothing does."""
    (tmp_path / "token").write_text(WEBHOOK_TOKEN)
    step = f"lastgood gate shop/checkout --image sha256:2{policy}"
    async with listening(Daemon(recovered()), tmp_path / "s") as address:
        environ = {"LASTGOOD_URL": address, "LASTGOOD_TOKEN_FILE": str(tmp_path / "token")}
        assert (await in_a_shell(step, **environ))[0] == when_closed
    assert (await in_a_shell(step, **environ))[0] == when_unreachable


def test_the_help_shows_the_three_choices(capsys: pytest.CaptureFixture[str]) -> None:
    """What is tested above is what is printed."""
    assert exit_code(lambda: commands.main(["gate", "--help"])) == Exit.OK
    shown = capsys.readouterr().out
    for policy in ("  ", " || test $? -ne 1", " || true"):
        assert f"\n  lastgood gate shop/web{policy}" in shown
