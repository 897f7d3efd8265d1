"""Keys that want work, each at most once, worked off one after another: the shape of every Kubernetes controller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from deploy.sandbox.kube.errors import ApiError

RETRY_SECONDS = 0.05
"""Pause before a key is tried again after the API refused a write."""

_log = logging.getLogger(__name__)

Key = tuple[str, str, str]
"""Kind, namespace, name."""


class WorkQueue:
    """Calls ``work(key)`` for each key added, in the order of arrival; keys that wait already are not doubled."""

    def __init__(self, work: Callable[[Key], None]) -> None:
        self._work = work
        self._waiting: dict[Key, None] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._any = asyncio.Event()

    def add(self, key: Key) -> None:
        """Asks for work on ``key`` soon."""
        self._waiting[key] = None
        self._any.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Asks for work on ``key`` in ``seconds``, unless an earlier timer for it runs."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and not timer.cancelled() and loop.time() < timer.when() <= due:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                await self._any.wait()
                while self._waiting:
                    key = next(iter(self._waiting))
                    del self._waiting[key]
                    self._try(key)
                    await asyncio.sleep(0)
                self._any.clear()
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def _try(self, key: Key) -> None:
        try:
            self._work(key)
        except ApiError as error:
            # A real controller retries refused writes with back-off; the sandbox is small enough for a fixed pause.
            _log.debug("work on %s refused: %s", key, error)
            self.add_after(key, RETRY_SECONDS)
        except Exception:  # noqa: BLE001 -- one object that breaks the controller must not stop the others
            _log.exception("work on %s failed", key)
            self.add_after(key, 20 * RETRY_SECONDS)
