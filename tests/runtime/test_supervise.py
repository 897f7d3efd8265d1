"""The supervisor: a task that should not end takes the daemon down by name; what may end is waited for, and stopped."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from daemon.runtime.supervise import Supervisor, TaskEndedError


async def forever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    await asyncio.sleep(1)
    raise ValueError("no such thing")


async def ends() -> None:
    await asyncio.sleep(1)


async def test_asked_to_stop() -> None:
    """Asked to stop, `until` returns; `stop` ends everything, the newest first."""
    supervisor, asked = Supervisor(), asyncio.Event()
    ended: list[str] = []

    async def task(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    for name in ("first", "second"):
        supervisor.eternal(name, task(name))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(5, asked.set)
    await supervisor.until(asked)
    await supervisor.stop()
    assert ended == ["second", "first"]


async def test_an_eternal_task_fails() -> None:
    """One that fails is named, and its error is the cause."""
    supervisor = Supervisor()
    supervisor.eternal("good", forever())
    supervisor.eternal("engine", fails())
    with pytest.raises(TaskEndedError, match="engine ended: no such thing") as caught:
        await supervisor.until(asyncio.Event())
    assert isinstance(caught.value.__cause__, ValueError)
    await supervisor.stop()


async def test_an_eternal_task_ends() -> None:
    """One that ends without an error is a fault just the same."""
    supervisor = Supervisor()
    supervisor.eternal("poll", ends())
    with pytest.raises(TaskEndedError, match="poll ended: without an error"):
        await supervisor.until(asyncio.Event())


async def test_a_fault_does_not_wait_for_the_drain() -> None:
    """Nothing of the supervisor's own is left behind that a drain would wait for."""
    supervisor = Supervisor()
    supervisor.eternal("engine", fails())
    with pytest.raises(TaskEndedError):
        await supervisor.until(asyncio.Event())
    began = asyncio.get_running_loop().time()
    assert await supervisor.drain(20) == 0
    assert asyncio.get_running_loop().time() - began < 1


async def test_drain() -> None:
    """Passing tasks get so long to end; how many did not is told, and `stop` ends them."""
    supervisor = Supervisor()
    short, long = supervisor.passing("short", ends()), supervisor.passing("long", forever())
    assert await supervisor.drain(5) == 1
    assert short.done()
    assert not long.done()
    await supervisor.stop()
    assert long.cancelled()


async def test_a_passing_task_fails() -> None:
    """A bug in a passing task is logged by the task's name, and harms nothing else."""
    supervisor = Supervisor()
    with capture_logs() as logs:
        supervisor.passing("inc-1/page/1", fails())
        await supervisor.drain(5)
        await asyncio.sleep(0)
    assert [(line["event"], line["task"]) for line in logs] == [("task_failed", "inc-1/page/1")]
