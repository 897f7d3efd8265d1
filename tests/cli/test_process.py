"""The command as people start it: a process of its own against a daemon's socket."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from daemon.cli.exits import Exit
from deploy.sandbox.process import bare_environment
from tests import repository
from tests.core.story import Story
from tests.handlers.people import Daemon, listening, recovered

pytestmark = pytest.mark.real

SECONDS = 30.0


async def lastgood(*words: str, cwd: Path | None = None, **environ: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m daemon`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "daemon", *words,
        cwd=cwd or repository.ROOT,
        env=bare_environment() | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_explain_from_end_to_end(tmp_path: Path) -> None:
    """The process prints exactly what the golden text says, in a plain C locale too."""
    golden = (repository.ROOT / "tests/golden/explain.txt").read_text()
    async with listening(Daemon(recovered()), tmp_path / "s"):
        code, out, err = await lastgood("--socket", str(tmp_path / "s"), "explain", "shop/checkout", LC_ALL="C.UTF-8")
    assert (code, out, err) == (0, golden, "")


async def test_orders_from_end_to_end(tmp_path: Path) -> None:
    """A pause through the socket is in the daemon's state, under the name of the user who runs the process."""
    daemon = Daemon(Story())
    async with listening(daemon, tmp_path / "s"):
        code, _, err = await lastgood("pause", "--for", "5m", LASTGOOD_SOCKET=str(tmp_path / "s"))
    assert (code, err) == (0, "")
    assert daemon.state.pauses[""].actor.startswith("unix:")


async def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`lastgood … | head -0` ends without a traceback."""
    async with listening(Daemon(recovered()), tmp_path / "s"):
        command = f"'{sys.executable}' -m daemon --socket '{tmp_path / 's'}' explain f1 | head -c 0"
        process = await asyncio.create_subprocess_shell(
            command, cwd=repository.ROOT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(SECONDS):
            _, err = await process.communicate()
    assert err == b""


async def test_the_version_is_told() -> None:
    """`--version` names the program and a version."""
    code, out, _ = await lastgood("--version")
    assert code == 0
    assert out.startswith("lastgood ")


async def test_another_programs_packages_are_refused(tmp_path: Path) -> None:
    """Where `config` is somebody else's package, nothing runs and one line says what to do."""
    for name in ("config", "daemon", "handlers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "daemon" / "__main__.py").write_text((repository.ROOT / "daemon/__main__.py").read_text())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "handlers").rename(tmp_path / "elsewhere" / "handlers")
    code, out, err = await lastgood("status", cwd=tmp_path, PYTHONPATH=str(tmp_path / "elsewhere"))
    assert (code, out, err.count("\n")) == (Exit.BUG, "", 1)
    assert "handlers" in err
    assert "virtual environment" in err
