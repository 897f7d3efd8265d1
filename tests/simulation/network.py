"""The network between the daemon and everybody else: every request takes a while, and in a fault's window anything may happen.

What a request does is done by the world: it arrives also when its sender has been killed meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.loop import run_as

STATUSES = {"409": 409, "410": 410, "422": 422, "429": 429, "500": 500, "503": 503}

KINDS: dict[str, tuple[str, ...]] = {
    "api": ("delay", "drop", "lost", "duplicate", "hang", "late", "stale", "cut", "403", *STATUSES),
    "prometheus": ("delay", "drop", "hang", "stale", "nothing", "429", "500"),
    "pagerduty": ("delay", "drop", "lost", "duplicate", "hang", "late", "429", "500", "503"),
    "slack": ("delay", "drop", "lost", "hang", "429", "500"),
    "webhook": ("delay", "drop", "lost", "duplicate", "reorder"),
    "disk": ("full", "slow"),
}
"""Which faults each neighbour knows."""

ALL_FAULTS = frozenset(f"{target}/{kind}" for target, kinds in KINDS.items() for kind in kinds) | {
    "process/freeze", "process/kill", "process/stop", "process/write", "process/effect", "lease/lost", "clock/jump",
    "clock/drift", "policy/change",
}  # fmt: skip


class LostError(Exception):
    """No answer: the connection broke."""


class HungError(Exception):
    """No answer within the client's patience."""


class StatusError(Exception):
    """An answer with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Window:
    """Between two moments, so many of the requests to a target meet this fault."""

    target: str
    kind: str
    begins: float
    ends: float
    chance: float


@dataclass(slots=True)
class Network:
    """Draws what becomes of each request. `met` counts the faults that happened."""

    rng: random.Random
    windows: list[Window] = field(default_factory=list)
    met: dict[str, int] = field(default_factory=dict)

    def fault(self, target: str, *among: str) -> str | None:
        """What goes wrong with a request that is sent now, None where nothing does."""
        now = asyncio.get_running_loop().time()
        for window in self.windows:
            open_now = window.target == target and window.begins <= now < window.ends
            if open_now and (not among or window.kind in among) and self.rng.random() < window.chance:
                self.count(f"{target}/{window.kind}")
                return window.kind
        return None

    def count(self, fault: str) -> None:
        """A fault happened."""
        self.met[fault] = self.met.get(fault, 0) + 1

    async def send(
        self, target: str, effect: Callable[[], Any], *, patience: float, stale: Callable[[], Any] | None = None
    ) -> Any:
        """The answer to a request. Raises what `effect` raises, LostError, HungError and StatusError."""
        kind = self.fault(target)
        there, back = self.rng.uniform(0.002, 0.08), self.rng.uniform(0.002, 0.08)
        if kind in STATUSES:
            await asyncio.sleep(there + back)
            raise StatusError(STATUSES[kind])
        if kind == "403":
            await asyncio.sleep(there + back)
            raise StatusError(403)
        if kind == "drop":
            await asyncio.sleep(self.rng.uniform(0.0, 3.0))
            raise LostError
        if kind == "stale" and stale is not None:
            effect = stale
        if kind == "delay":
            there += self.rng.uniform(0.5, min(20.0, patience * 0.8))
        if kind == "hang" and self.rng.random() < 0.5:
            await asyncio.sleep(patience)
            raise HungError
        if kind == "late":
            self.arrives(patience * self.rng.uniform(0.5, 1.5), effect)
            await asyncio.sleep(patience)
            raise HungError
        if kind == "duplicate":
            self.arrives(there + self.rng.uniform(0.0, 5.0), effect)
        answer = self.arrives(there, effect)
        return await self._answered(answer, kind, back, patience)

    async def _answered(self, answer: asyncio.Future[Any], kind: str | None, back: float, patience: float) -> Any:
        if kind == "lost":
            await asyncio.wait([answer])
            raise LostError
        if kind == "hang":
            await asyncio.sleep(patience)
            raise HungError
        result = await answer
        await asyncio.sleep(back)
        return result

    def arrives(self, after: float, effect: Callable[[], Any]) -> asyncio.Future[Any]:
        """The request arrives: done by the world, whatever becomes of its sender."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def happen() -> None:
            try:
                result, error = effect(), None
            except Exception as raised:  # noqa: BLE001 - it is the answer
                result, error = None, raised
            if answer.done():
                return  # its sender has given up
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)
                answer.exception()  # nobody may be waiting any more

        run_as(0, lambda: loop.call_later(after, happen))
        return answer
