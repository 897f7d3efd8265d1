"""What the elector relies on: how an API server compares, makes, refuses and forgets a Lease; and the elector itself on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import pytest

from daemon.runtime.clock import SystemClock, monotonic
from handlers import lease_record
from handlers.faults import from_status
from handlers.kube_json import Obj
from handlers.lease_record import LeaseTimes
from handlers.outbound.lease import LeadershipLostError, LeaseElector
from tests.contract.cluster_client import ClusterClient

pytestmark = pytest.mark.real

NAME = "lastgood"
SHORT = LeaseTimes(
    duration=timedelta(seconds=3), renew_deadline=timedelta(seconds=2), retry=timedelta(milliseconds=400)
)


@dataclass(kw_only=True)
class Api:
    """LeaseApi over the plainest client there is."""

    client: ClusterClient

    async def get(self, path: str) -> Obj:
        return await self._ask("GET", path)

    async def create(self, path: str, body: Obj) -> Obj:
        return await self._ask("POST", path, body)

    async def put(self, path: str, body: Obj) -> Obj:
        return await self._ask("PUT", path, body)

    async def _ask(self, method: str, path: str, body: Obj | None = None) -> Obj:
        status, answer = await self.client.ask(method, path, body)
        if status >= 300:
            raise from_status(status, {}, peer="Kubernetes", code=answer.get("reason", ""))
        return answer


def elector(client: ClusterClient, identity: str) -> LeaseElector:
    async def no_floor() -> int:
        return 0

    return LeaseElector(
        Api(client=client),
        namespace=client.namespace,
        name=NAME,
        identity=identity,
        clock=SystemClock(),
        times=SHORT,
        random=random.Random(identity).random,
        monotonic=monotonic,
        token_floor=no_floor,
    )


async def taken(client: ClusterClient, holder: str = "one") -> Obj:
    """A Lease in somebody's hands."""
    made = await client.make("leases", lease_record.blank(NAME, LeaseTimes()))
    now = SystemClock().now()
    mine = lease_record.taken(made, holder=holder, token=1, now=now, times=LeaseTimes())
    status, answer = await client.ask("PUT", client.path("leases", NAME), mine)
    assert status == 200, answer
    return answer


async def test_nobody_s_lease_is_a_lease(client: ClusterClient) -> None:
    """One without a holder and without times is made as it is; it has a uid and a version."""
    made = await client.make("leases", lease_record.blank(NAME, LeaseTimes()))
    record = lease_record.read(made)
    assert (record.holder, record.transitions, record.is_released, record.problems) == ("", 0, False, ())
    assert record.uid
    assert record.version


async def test_what_we_write_is_kept_to_the_digit(client: ClusterClient) -> None:
    """Times have six digits on the way back, numbers are the same, and what is read is what was written."""
    record = lease_record.read(await taken(client))
    assert (record.holder, record.transitions, record.duration) == ("one", 1, timedelta(seconds=15))
    assert record.problems == ()
    assert record.renewed.endswith("Z")
    assert len(record.renewed) == len("2026-01-31T10:00:00.000000Z")


async def test_each_renewal_makes_a_version(client: ClusterClient) -> None:
    """Also when the clock stands: the time written is always later, so others see a sign of life."""
    now, lease = SystemClock().now(), await taken(client)
    versions = {lease["metadata"]["resourceVersion"]}
    for _ in range(3):
        body = lease_record.renewed(lease, token=1, now=now, times=LeaseTimes())
        status, lease = await client.ask("PUT", client.path("leases", NAME), body)
        assert status == 200, lease
        versions.add(lease["metadata"]["resourceVersion"])
    assert len(versions) == 4


async def test_giving_back_is_a_valid_lease(client: ClusterClient) -> None:
    """No holder and a duration of one second, which the next one reads as given back."""
    back = lease_record.released(await taken(client), now=SystemClock().now())
    status, answer = await client.ask("PUT", client.path("leases", NAME), back)
    assert status == 200, answer
    assert lease_record.read(answer).is_released


async def test_a_deleted_lease_is_not_made_anew_by_a_renewal(client: ClusterClient) -> None:
    """A PUT makes a Lease that is not there, but not one that names a uid: a leader cannot bring its own back to life."""
    lease = await taken(client)
    path = client.path("leases", NAME)
    assert (await client.ask("DELETE", path))[0] == 200
    body = lease_record.renewed(lease, token=1, now=SystemClock().now(), times=LeaseTimes())
    assert (await client.ask("PUT", path, body))[0] == 409
    assert (await client.ask("GET", path))[0] == 404


async def test_a_lease_of_the_same_name_is_another(client: ClusterClient) -> None:
    """Deleted and made anew: a write that names the old uid is a conflict, whatever version it names."""
    lease = await taken(client)
    path = client.path("leases", NAME)
    await client.ask("DELETE", path)
    new = await client.make("leases", lease_record.blank(NAME, LeaseTimes()))
    body = lease_record.renewed(lease, token=1, now=SystemClock().now(), times=LeaseTimes())
    assert (await client.ask("PUT", path, body))[0] == 409
    body["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"]
    assert (await client.ask("PUT", path, body))[0] == 409


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


async def ends(task: asyncio.Task[object]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def contend(client: ClusterClient, then: Callable[..., Awaitable[None]]) -> None:
    """Two electors on this API server; `then` gets whoever leads, the other, and their tasks."""
    loop = asyncio.get_running_loop()
    one, two = elector(client, "one"), elector(client, "two")
    tasks = {each: loop.create_task(each.run()) for each in (one, two)}
    try:
        await until(lambda: one.leads or two.leads)
        leader, standby = (one, two) if one.leads else (two, one)
        await then(leader, standby, tasks)
    finally:
        for each in tasks.values():
            if not each.done():
                await ends(each)


async def test_one_of_two_leads_and_hands_over(client: ClusterClient) -> None:
    """The elector on this API server: one leads and stays; given back, the other leads at once, with the next token."""

    async def then(
        leader: LeaseElector, standby: LeaseElector, tasks: dict[LeaseElector, asyncio.Task[object]]
    ) -> None:
        for _ in range(40):
            await asyncio.sleep(0.1)
            assert leader.leads
            assert not standby.leads
        await ends(tasks[leader])
        await leader.release()
        assert not leader.leads
        await until(lambda: standby.leads, 2.5)
        assert (leader.token, standby.token) == (1, 2)

    await contend(client, then)


async def test_a_deleted_lease_costs_the_leader_its_place(client: ClusterClient) -> None:
    """Deleted under it: the leader ends, and the other leads, once the last one's time is over."""

    async def then(
        leader: LeaseElector, standby: LeaseElector, tasks: dict[LeaseElector, asyncio.Task[object]]
    ) -> None:
        status, _ = await client.ask("DELETE", client.path("leases", NAME))
        assert status == 200
        async with asyncio.timeout(10):
            with pytest.raises(LeadershipLostError):
                await tasks[leader]
        assert not leader.leads
        await until(lambda: standby.leads)

    await contend(client, then)
