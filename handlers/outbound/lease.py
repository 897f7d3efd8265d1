"""Which of several daemons decides and acts: the one that holds a Lease, and only for as long as nobody can take it.

kubernetes-asyncio's elector leads on after a lost connection, for ever with an API server that hangs, and never gives back
what it held; so this one is ours. What keeps two from acting at the same time: the holder stops `renew_deadline` after it *sent*
its last good renewal, the others begin `duration` after they *saw* it, and each counts by its own monotonic clock. `leads` is
worked out in the moment of asking: a loop that stood still, or a process that was stopped, knows better before any timer runs.
Every write names the uid and the version that it changes. A Lease that was lost is lost for the life of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from daemon.ports import Clock, JournalUnavailableError
from handlers import lease_record
from handlers.faults import Fault, FaultKind, Permanent
from handlers.kube import resource_path
from handlers.kube_json import Obj
from handlers.lease_record import LeaseRecord, LeaseTimes

ATTEMPT_PART = 0.5
"""The part of the time for renewing that one attempt may use (client-go's): one that hangs leaves time for a second, over
another connection."""

RELEASE_TRIES = 3
"""Our own last renewal, or somebody's label, may come between reading the Lease and giving it back."""


class LeadershipLostError(Exception):
    """We led, and do so no longer; the message says why. Nothing may be done any more: end the process."""


class LeaseApi(Protocol):
    """What an elector needs of a client; handlers.kube.KubeClient is one. Its own time limits should be short."""

    async def get(self, path: str) -> Obj:
        """One object, as a quorum has it."""
        ...

    async def create(self, path: str, body: Obj) -> Obj:
        """Create in a collection."""
        ...

    async def put(self, path: str, body: Obj) -> Obj:
        """Replace the object of that uid and version."""
        ...


class LeaseElector:
    """ports.Leadership on one Lease. `run` it as a supervised task; wait for `elected`; `release` it when `run` has ended.

    `identity` must be another in each life of each process (`lease_record.identity_of`). `token_floor` says the highest token
    that was ever used, so that a Lease somebody deleted does not make it go back. `on_change` hears who holds it now (empty:
    nobody), `on_fault` one line for each attempt that failed. `random` gives [0, 1), `monotonic` seconds that go on while the
    process, or the machine, stands still.
    """

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        times: LeaseTimes,
        random: Callable[[], float],
        monotonic: Callable[[], float],
        token_floor: Callable[[], Awaitable[int]],
        on_change: Callable[[str], None] = lambda holder: None,
        on_fault: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._api = api
        self._name = name
        self._collection = resource_path(lease_record.API_VERSION, lease_record.PLURAL, namespace=namespace)
        self._path = resource_path(lease_record.API_VERSION, lease_record.PLURAL, namespace=namespace, name=name)
        self._identity = identity
        self._clock = clock
        self._times = times
        self._random = random
        self._monotonic = monotonic
        self._token_floor = token_floor
        self._on_change = on_change
        self._on_fault = on_fault
        self._lease: Obj | None = None
        self._record: LeaseRecord | None = None
        self._seen_since = 0.0
        self._until: float | None = None
        self._token = 0
        self._claimed = False
        self._over: str | None = None
        self.elected = asyncio.Event()
        """Set when we lead for the first time; that this is still so must be asked."""

    @property
    def leads(self) -> bool:
        """Nobody else can have the Lease in this moment."""
        return self.remaining > 0

    @property
    def remaining(self) -> float:
        """Seconds for which that certainly stays so; counted from before the last good renewal was sent."""
        if self._until is None or self._over is not None:
            return 0.0
        return max(0.0, self._until - self._monotonic())

    @property
    def token(self) -> int:
        """The number of times that the Lease has changed hands when we got it; 0 before."""
        return self._token

    @property
    def holder(self) -> str:
        """Who had it when we looked last; empty where nobody had."""
        return self._record.holder if self._record is not None else ""

    async def run(self) -> NoReturn:
        """Get the Lease, and keep it. Raises LeadershipLostError as soon as it is lost; nothing that an API does else."""
        while True:
            began = self._monotonic()
            await self._turn()
            # From when it was sent: with a slow API server the time for renewing goes into answers, not into pauses.
            wait = began + self._pause() - self._monotonic()
            await asyncio.sleep(max(0.0, wait if self._until is None else min(wait, self.remaining)))

    async def _turn(self) -> None:
        limit = ATTEMPT_PART * self._times.renew_deadline.total_seconds()
        if leading := self._until is not None:
            self._check()
        try:
            async with asyncio.timeout(min(limit, self.remaining) if leading else limit):
                await (self._renew() if leading else self._look())
        except Fault as fault:
            self._on_fault(fault.reason)
        except JournalUnavailableError as error:
            self._on_fault(str(error))
        except TimeoutError:
            self._on_fault(f"the API server did not answer about lease {self._name} in time")
        if leading:
            self._check()

    def _check(self) -> None:
        if not self.leads:
            raise self._lost(f"it could not be renewed within {self._times.renew_deadline.total_seconds():g} s")

    def _pause(self) -> float:
        spread = 0.8 + 0.4 * self._random()  # so that several which started together do not stay together
        if self._until is not None:
            return spread * self._times.retry.total_seconds()
        wait = spread * min(self._times.look, self._times.retry).total_seconds()
        if self._record is None or (left := self._until_free(self._record)) <= 0:
            return wait
        return min(left, wait)

    # ------------------------------------------------------------------------------------------------ those who wait

    async def _look(self) -> None:
        try:
            lease = await self._read() or await self._made()
            record = self._observe(lease)
            if record.holder == self._identity:  # we took it, and the answer was lost
                await self._write(self._renewed(lease, record.transitions))
            elif self._until_free(record) <= 0:
                token = 1 + max(record.transitions, await self._token_floor())
                self._claimed = True
                await self._write(self._taken(lease, token))
        except Permanent as fault:
            if not _was_changed(fault):  # another was faster: look again
                raise

    async def _made(self) -> Obj:
        try:
            return await self._api.create(self._collection, lease_record.blank(self._name, self._times))
        except Permanent as fault:
            if fault.kind is not FaultKind.NOT_FOUND:
                raise
            # Not that somebody was faster: it will be so tomorrow, too.
            said = (
                f"lease {self._name} cannot be made: {fault.reason}; correct lease.namespace, or create that namespace"
            )
            raise Permanent(said, FaultKind.INVALID, status=fault.status) from None

    def _until_free(self, record: LeaseRecord) -> float:
        return lease_record.seconds_until_free(record, self._monotonic() - self._seen_since, self._times)

    # --------------------------------------------------------------------------------------------- the one who leads

    async def _renew(self) -> None:
        assert self._lease is not None, "who leads has read it"
        try:
            await self._write(self._renewed(self._lease, self._token))
            return
        except Permanent as fault:
            if not _was_changed(fault):
                raise
        before, lease = self._record, await self._read()
        if lease is None:
            raise self._lost("somebody deleted it")
        record = self._observe(lease)
        if before is None or (record.uid, record.holder) != (before.uid, self._identity):
            raise self._lost(f"{record.holder or 'nobody'} has it now")
        # Somebody put a label on it, or an answer of ours was lost.
        await self._write(self._renewed(lease, self._token))

    async def release(self) -> None:
        """Stop leading at once, and give the Lease back if it is still ours. Call it when nothing acts any more, and `run`
        has ended. What fails here is told and costs the next leader only time.
        """
        self._over = self._over or "it was given back"
        if not self._claimed:
            return
        try:
            async with asyncio.timeout(self._times.retry.total_seconds()):
                for _ in range(RELEASE_TRIES):
                    if await self._gave_back():
                        return
        except Fault as fault:
            self._on_fault(fault.reason)
        except TimeoutError:
            self._on_fault(f"the API server did not answer about lease {self._name} in time")

    async def _gave_back(self) -> bool:
        """Whether it is no longer ours."""
        lease = await self._read()
        if lease is None or self._observe(lease).holder != self._identity:
            return True
        try:
            self._observe(await self._api.put(self._path, lease_record.released(lease, now=self._clock.now())))
        except Permanent as fault:
            if not _was_changed(fault):
                raise
            return False
        return True

    # ---------------------------------------------------------------------------------------------------------- both

    async def _read(self) -> Obj | None:
        try:
            return await self._api.get(self._path)
        except Permanent as fault:
            if fault.kind is FaultKind.NOT_FOUND:
                return None
            raise

    async def _write(self, lease: Obj) -> None:
        """Put our own sign of life; from before it was sent the time counts for which we lead."""
        sent = self._monotonic()
        answer = await self._api.put(self._path, lease)
        if self._until is not None and not self.leads:
            return  # too late: it was over already, and what it stood for has been given up
        record = self._observe(answer)
        self._token = record.transitions
        self._until = sent + self._times.renew_deadline.total_seconds()
        if self.leads:
            self.elected.set()

    def _observe(self, lease: Obj) -> LeaseRecord:
        """Remember what it says, and since when it says so."""
        record, before = lease_record.read(lease), self._record
        if before is None or record.sign_of_life != before.sign_of_life:
            self._seen_since = self._monotonic()
        if before is None or record.problems != before.problems:
            for problem in record.problems:
                self._on_fault(f"lease {self._name}: {problem}")
        self._lease, self._record = lease, record
        if before is None or record.holder != before.holder:
            self._on_change(record.holder)
        return record

    def _taken(self, lease: Obj, token: int) -> Obj:
        return lease_record.taken(lease, holder=self._identity, token=token, now=self._clock.now(), times=self._times)

    def _renewed(self, lease: Obj, token: int) -> Obj:
        return lease_record.renewed(lease, token=token, now=self._clock.now(), times=self._times)

    def _lost(self, why: str) -> LeadershipLostError:
        self._over = f"lease {self._name} is lost: {why}"
        return LeadershipLostError(self._over)


def _was_changed(fault: Permanent) -> bool:
    """Somebody wrote or deleted it since we read it (a PUT that names the uid of a Lease which is gone is a conflict, too)."""
    return fault.kind in (FaultKind.CONFLICT, FaultKind.NOT_FOUND)
