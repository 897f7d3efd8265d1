"""Nothing outlives a control plane: not its end, not its failure, not the death of whoever runs it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.plane import APISERVER, PARTS, ControlPlane
from tests.controlplane.processes import PORTS, Family, Server, StartError, free_ports, wait_until
from tests.controlplane.workloads import until
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

RUN = [sys.executable, "-m", "tests.controlplane.run"]


def _processes(folder: Path) -> list[str]:
    """Command lines that name the folder: all parts of a control plane do."""
    return [line for line in _command_lines() if str(folder) in line and "tests.controlplane.run" not in line]


def _command_lines() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile


def test_nothing_is_left_at_the_end_and_the_command_decides_how_it_ends(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    """All parts run while the command does; afterwards none does, and the command's exit code is ours."""
    seen = tmp_path / "seen"
    command = ["sh", "-c", f"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' > {seen}; test -f $KUBECONFIG && exit 7"]
    done = subprocess.run(
        [*RUN, "--minor", control_plane.minor, "--folder", tmp_path, *command], cwd=ROOT, check=False, timeout=200
    )
    assert done.returncode == 7
    assert all(f"{part}.json" in seen.read_text() or part in seen.read_text() for part in PARTS)
    assert _processes(tmp_path) == []


def test_nothing_is_left_when_the_runner_is_killed(control_plane: ControlPlane, tmp_path: Path) -> None:
    """SIGKILL gives no chance to tidy up; the watchdog does it."""
    runner = subprocess.Popen([*RUN, "--minor", control_plane.minor, "--folder", tmp_path, "sleep", "600"], cwd=ROOT)
    try:
        until(lambda: _processes(tmp_path), lambda found: len(found) >= len(PARTS))
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    until(lambda: _processes(tmp_path), lambda found: not found)


async def test_a_coroutine_may_have_one_of_its_own(control_plane: ControlPlane) -> None:
    """Start, restart and end do not hold up the loop; its own folder goes with it."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with ControlPlane(control_plane.binaries, nodes=1) as plane:
        await asyncio.to_thread(plane.restart, APISERVER)
        assert plane.ask("GET", "/readyz")[0] == 200
    ticking.cancel()
    assert ticks > 100
    assert _processes(plane.folder) == []
    assert not plane.folder.exists()


def test_a_part_that_does_not_start_says_why_and_leaves_nothing(control_plane: ControlPlane, tmp_path: Path) -> None:
    """The error holds the end of the part's log; what had started before it is gone."""
    plane = ControlPlane(control_plane.binaries, folder=tmp_path, apiserver_flags=["--no-such-flag"])
    with pytest.raises(StartError, match=r"(?s)kube-apiserver is ready: died.*unknown flag: --no-such-flag"), plane:
        pass
    assert _processes(tmp_path) == []
    assert not plane.running(APISERVER)


def test_a_part_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """A signal goes to the whole group."""
    family, where = Family(), tmp_path / "marker"
    command = ["sh", "-c", f"sh -c 'sleep 600; : {where}' & sleep 600; : {where}"]
    family.start(Server(name="two", command=command, log=tmp_path / "log", folder=tmp_path))
    until(lambda: _processes(where), lambda found: len(found) == 2)
    family.close()
    until(lambda: _processes(where), lambda found: not found)


def test_who_waits_hears_of_a_death_at_once(tmp_path: Path) -> None:
    """A server that has died is not waited for."""
    family = Family()
    server = Server(name="short", command=["sh", "-c", "echo no disk; exit 1"], log=tmp_path / "log", folder=tmp_path)
    family.start(server)
    try:
        with pytest.raises(StartError, match=r"(?s)it is up: died.*no disk"):
            wait_until("it is up", lambda: False, seconds=60, server=server)
    finally:
        family.close()


def test_ports_are_not_those_that_clients_get() -> None:
    """The system takes outgoing ports from 32768 on: a client whose server is down must not be able to meet itself."""
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert all(port in PORTS and port < 32_768 for port in ports)
