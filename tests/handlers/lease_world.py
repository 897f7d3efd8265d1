"""A Lease on an API server with weather: answers that come late, get lost before or after the write, or never come."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from handlers.faults import FaultKind, Permanent, Transient
from handlers.kube_json import Obj
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeadershipLostError, LeaseElector
from tests.fakes import START

NAME = "lastgood"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/ops/leases/{NAME}"

Weather = Callable[[str], Awaitable[None]]
"""Called with `before` and `after` each write or reading is done; sleeps, or raises what the caller gets to see."""


async def fair(moment: str) -> None:
    """Every request is answered at once."""
    await asyncio.sleep(0.01)


class Shelf:
    """The one Lease, with the API's rules: uid and version are compared, a write that changes nothing makes no version."""

    def __init__(self) -> None:
        self.lease: Obj | None = None
        self.writes: list[Obj] = []
        self._count = 0

    @property
    def spec(self) -> Obj:
        assert self.lease is not None
        return dict(self.lease["spec"])

    def put(self, body: Obj) -> Obj:
        named, held = body["metadata"], self.lease
        if held is None:
            raise Permanent("no such uid", FaultKind.CONFLICT, status=409)
        if (named["uid"], named["resourceVersion"]) != (held["metadata"]["uid"], held["metadata"]["resourceVersion"]):
            raise Permanent("it was modified", FaultKind.CONFLICT, status=409)
        if body != held:
            return self._store({**body, "metadata": dict(named)})
        return copy.deepcopy(held)

    def create(self, body: Obj) -> Obj:
        if self.lease is not None:
            raise Permanent("it exists", FaultKind.CONFLICT, status=409, code="AlreadyExists")
        return self._store({**body, "metadata": {**body["metadata"], "uid": f"uid-{self._count}"}})

    def edit(self, **spec: Any) -> None:
        """Somebody with kubectl."""
        assert self.lease is not None
        self._store({**self.lease, "spec": {**self.lease["spec"], **spec}})

    def label(self, name: str) -> None:
        assert self.lease is not None
        self._store({**self.lease, "metadata": {**self.lease["metadata"], "labels": {name: "x"}}})

    def _store(self, lease: Obj) -> Obj:
        self._count += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self._count)
        self.writes.append(copy.deepcopy(self.lease))
        return copy.deepcopy(self.lease)


@dataclass(kw_only=True)
class Api:
    """One daemon's way to the shelf."""

    shelf: Shelf
    weather: Weather = fair
    asked: list[str] = field(default_factory=list)

    async def get(self, path: str) -> Obj:
        return await self._through("get", self._found)

    async def create(self, path: str, body: Obj) -> Obj:
        return await self._through("create", lambda: self.shelf.create(body))

    async def put(self, path: str, body: Obj) -> Obj:
        return await self._through("put", lambda: self.shelf.put(body))

    def _found(self) -> Obj:
        if self.shelf.lease is None:
            raise Permanent("not found", FaultKind.NOT_FOUND, status=404)
        return copy.deepcopy(self.shelf.lease)

    async def _through(self, what: str, do: Callable[[], Obj]) -> Obj:
        self.asked.append(what)
        await self.weather("before")
        answer = do()
        await self.weather("after")
        return answer


async def hangs(moment: str) -> None:
    """The API server takes the connection and never answers."""
    await asyncio.Event().wait()


def loses(chance: random.Random, *, delay: float, dropped: float) -> Weather:
    """Late by up to `delay` s each way, and lost with that chance, half of them after the write was done."""

    async def weather(moment: str) -> None:
        await asyncio.sleep(chance.random() ** 3 * delay)
        if chance.random() < dropped / 2:
            raise Transient(None, "connection reset", FaultKind.NETWORK)

    return weather


class Watch:
    """A machine's clocks: `wall` may be wrong, `stalled` seconds went by while the loop stood still."""

    def __init__(self) -> None:
        self.wall = timedelta(0)
        self.stalled = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time()) + self.wall

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.stalled


class Contender:
    """An elector in its process: `begin` it, `kill` it, let it `end` as SIGTERM does."""

    def __init__(
        self,
        shelf: Shelf,
        identity: str,
        *,
        times: LeaseTimes | None = None,
        weather: Weather = fair,
        seed: int = 0,
        floor: int = 0,
    ) -> None:
        self.api = Api(shelf=shelf, weather=weather)
        self.watch = Watch()
        self.floor = floor
        self.holders: list[str] = []
        self.faults: list[str] = []
        self.lost: str | None = None
        self.elector = LeaseElector(
            self.api,
            namespace="ops",
            name=NAME,
            identity=identity,
            clock=self.watch,
            times=times or LeaseTimes(),
            random=random.Random(seed).random,
            monotonic=self.watch.monotonic,
            token_floor=self._token_floor,
            on_change=self.holders.append,
            on_fault=self.faults.append,
        )
        self.task: asyncio.Task[None] | None = None

    async def _token_floor(self) -> int:
        return self.floor

    def begin(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.elector.run()
        except LeadershipLostError as error:
            self.lost = str(error)

    async def kill(self) -> None:
        """Without a word, as kill -9."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def end(self) -> None:
        await self.kill()
        await self.elector.release()

    async def until_elected(self) -> float:
        """The loop's time at which it leads."""
        await self.elector.elected.wait()
        assert self.elector.leads
        return asyncio.get_running_loop().time()
