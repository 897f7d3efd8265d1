"""Tasks that must not end: one that does is a fault that takes the daemon down, so that Kubernetes restarts it whole.

A half-alive daemon that answers health checks but no longer decides is the failure nobody notices (style.md: kopf's guard).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


class TaskEndedError(Exception):
    """A task that should run for ever has ended; the message names it."""


class Supervisor:
    """Owns every long-running task. `until` raises as soon as one ends; `stop` cancels them in reverse order of start."""

    def __init__(self) -> None:
        self._eternal: list[asyncio.Task[Any]] = []
        self._passing: set[asyncio.Task[Any]] = set()

    def eternal(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Start a task that must run until `stop`."""
        self._eternal.append(asyncio.get_running_loop().create_task(work, name=name))

    def passing(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that may end (an action); a reference is kept so that it is not collected while it runs."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._passing.add(task)
        task.add_done_callback(self._passed)
        return task

    def _passed(self, task: asyncio.Task[Any]) -> None:
        self._passing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), exc_info=error)

    async def until(self, asked: asyncio.Event) -> None:
        """Return when `asked` is set; raise TaskEndedError when an eternal task ends first, its own error as the cause."""
        asking = asyncio.get_running_loop().create_task(asked.wait(), name="stop")
        try:
            await asyncio.wait({asking, *self._eternal}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asking.cancel()
        for ended in self._eternal:
            if ended.done():
                error = None if ended.cancelled() else ended.exception()
                raise TaskEndedError(f"{ended.get_name()} ended: {error or 'without an error'}") from error

    async def drain(self, seconds: float) -> int:
        """Give passing tasks (actions under way) this long to end; how many did not."""
        if not self._passing:
            return 0
        _, pending = await asyncio.wait(set(self._passing), timeout=seconds)
        return len(pending)

    async def stop(self) -> None:
        """Cancel everything, newest first, and wait until it has ended."""
        for task in [*self._passing, *reversed(self._eternal)]:
            task.cancel()
        ended = await asyncio.gather(*self._passing, *self._eternal, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                log.warning("task_ended_badly", error=str(error))
