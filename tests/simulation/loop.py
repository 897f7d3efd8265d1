"""An event loop for a world: virtual time, callbacks that are ready run in an order drawn from the seed, no threads, no I/O.

Everything that one process started carries its number in its context. When the process is killed, nothing of it runs again, no
`finally` either: as with SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from typing import Any

PROCESS: contextvars.ContextVar[int] = contextvars.ContextVar("PROCESS", default=0)
"""The number of the process that runs now; 0 is the world."""


ENDED_IN_ROUNDS = 50
"""How often tasks that are told to end may go on."""


class DeadlockError(RuntimeError):
    """Nothing is ready and no timer is set: the world stands still."""


_Loop: Any = asyncio.AbstractEventLoop
"""What nothing here asks for (sockets, signals, processes) is not implemented, and raises."""


class SimLoop(_Loop):  # type: ignore[misc]  # its base is abstract in name only
    """Runs callbacks one by one. `after_step` is called after each; `on_error` hears what nobody catches."""

    def __init__(self, seed: str) -> None:
        self.steps = 0
        self.after_step: Callable[[], None] = lambda: None
        self.on_error: Callable[[str], None] = lambda text: None
        self._rng = random.Random(f"order/{seed}")
        self._ready: list[tuple[int, asyncio.Handle]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._time = 0.0
        self._number = 0
        self._stopped = False
        self._running = False
        self._closed = False
        self._killed: set[int] = set()
        self._graveyard: list[Any] = []
        self._dropped: list[asyncio.Handle] = []
        self._frozen: dict[int, list[tuple[int, asyncio.Handle]]] = {}
        self._hash = hashlib.blake2b(digest_size=16)

    # -- time and order

    def time(self) -> float:
        return self._time

    def digest(self) -> str:
        """A hash of every step so far: equal for equal runs."""
        return self._hash.hexdigest()

    def note(self, text: str) -> None:
        """Something that happened becomes part of the digest."""
        self._hash.update(text.encode())

    def call_soon(self, callback: Any, *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._number += 1
            self._ready.append((self._number, handle))
        return handle

    def call_soon_threadsafe(
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._time + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._closed:
            self._number += 1
            heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: a cancelled timer is skipped when its time comes."""

    def kill(self, process: int) -> None:
        """Nothing of this process runs any more. What is left of it is kept until `close`, so that no collector runs it."""
        self._killed.add(process)
        self._graveyard.extend(asyncio.all_tasks(self))
        self._graveyard.extend(handle for _, handle in self._ready)
        self._graveyard.extend(handle for _, _, handle in self._timers)

    def freeze(self, process: int) -> None:
        """SIGSTOP: what it would do waits until `thaw`, and time goes on."""
        self._frozen.setdefault(process, [])

    def thaw(self, process: int) -> None:
        """SIGCONT: all that has become ready meanwhile is ready now."""
        self._ready.extend(self._frozen.pop(process, []))

    def _step(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready:
            if not timers:
                raise DeadlockError(f"nothing is to come at {self._time:.3f} s")
            self._time = max(self._time, timers[0][0])
        while timers and timers[0][0] <= self._time:
            _, number, timer = heapq.heappop(timers)
            if not timer.cancelled():
                ready.append((number, timer))
        index = int(self._rng.random() * len(ready)) if len(ready) > 1 else 0
        if index != len(ready) - 1:
            ready[index], ready[-1] = ready[-1], ready[index]
        number, handle = ready.pop()
        if handle.cancelled():
            return
        if self._killed or self._frozen:
            process = _process_of(handle)
            if process in self._killed:
                self._dropped.append(handle)
                return
            if process in self._frozen:
                self._frozen[process].append((number, handle))
                return
        self.steps += 1
        self._hash.update(b"%d:%a;" % (number, self._time))
        handle._run()
        self.after_step()

    # -- running

    def run_until_complete(self, future: Any) -> Any:
        events._set_running_loop(self)
        self._running = True
        try:
            done = self.create_task(future)
            done.add_done_callback(lambda _: self.stop())
            self._stopped = False
            while not self._stopped:
                self._step()
            return done.result() if done.done() else None
        finally:
            self._running = False
            events._set_running_loop(None)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """End every task, those of the killed as well: it has no effect any more, and nothing is left to the collector."""
        events._set_running_loop(self)
        self._killed.clear()
        for process in list(self._frozen):
            self.thaw(process)
        ready = [*self._dropped, *(handle for _, handle in self._ready)]
        for _ in range(ENDED_IN_ROUNDS):
            self._ready.clear()
            for handle in ready:
                if not handle.cancelled():
                    handle._run()
            if not self._ready:
                for task in asyncio.all_tasks(self):
                    task.cancel()
            ready = [handle for _, handle in self._ready]
            if not ready:
                break
        events._set_running_loop(None)
        self._closed = True
        self._timers.clear()
        self._dropped.clear()
        self._graveyard.clear()

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    # -- futures and tasks

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[Any]:
        self._number += 1
        return asyncio.Task(coro, loop=self, name=name or f"task {self._number}", context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(run)
        return future

    # -- what asyncio asks besides

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        message, error = str(context.get("message")), context.get("exception")
        if self._running and "was destroyed" not in message:
            self.on_error(f"{message}: {error!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    async def shutdown_asyncgens(self) -> None:
        pass


def _process_of(handle: asyncio.Handle) -> int:
    context: contextvars.Context = handle._context  # type: ignore[attr-defined]
    return context.get(PROCESS, 0)


def run_as(process: int, begin: Callable[[], Any]) -> Any:
    """Call `begin` as that process: all that it starts belongs to it."""

    def call() -> Any:
        PROCESS.set(process)
        return begin()

    return contextvars.copy_context().run(call)
