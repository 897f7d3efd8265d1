"""Two daemons on one PostgreSQL journal: each with gates around it and a wire to the database.

What goes through a member's gates tells who did what, and when; what the world shows is the judge. Alertmanager sends to one
address, as to a Kubernetes Service, and a test says behind which member it ends. `two` is the demo's world; another one, around
a real control plane, is in tests/controlplane.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import yaml

from deploy.sandbox.demo import ENDS
from deploy.sandbox.scenarios import APP
from deploy.sandbox.services import SampleServices
from deploy.sandbox.vendors import PagerDutyStandIn
from deploy.sandbox.world import NAMESPACE, WEBHOOK_TOKEN, World, image, until
from tests.e2e.gate import Gate, gate
from tests.e2e.members import Member, member_of, put_away
from tests.e2e.rig import QUIET_SECONDS, furnish, gates_to, servers_of
from tests.postgres import Server
from tests.postgres_wire import wire_to

LOOK_SECONDS = 0.02
"""How often logs are read: how exactly moments are known."""

START_SECONDS = 120.0
"""Until a daemon has started, and leads if nobody else does: the lease and two seconds, on a busy machine many."""

END_SECONDS = 150.0
"""From the last failover to the end of the incident; 10 s on an idle machine."""

CLEAN_ENDS = ("recovered", "escalated")

POLICY: dict[str, Any] = {
    "decide_deadline": "90s",
    "converge_deadline": "120s",
    "verify_deadline": "120s",
    "act_without_control": True,
}
"""The demo's deadlines would end an incident in the middle of a few failovers, and the minutes in which old and new pods served
side by side may pass while nobody leads."""


GIVEN_BACK: dict[str, Any] = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "lastgood", "namespace": NAMESPACE},
    "spec": {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "leaseTransitions": 1,
        "renewTime": "2026-01-31T10:00:00.000000Z",
    },
}
"""As an earlier leader left it: one that nobody ever had is free only after its whole duration."""


class PairWorld(Protocol):
    """What the two must have around them, and what judges them; the demo's World is one."""

    @property
    def services(self) -> SampleServices:
        """What the pods serve."""
        ...

    @property
    def pagerduty(self) -> PagerDutyStandIn:
        """Who is paged."""
        ...

    async def set_image(self, app: str, version: str) -> None:
        """Roll out a version, as a pipeline does."""
        ...

    def settled(self, app: str) -> bool:
        """All pods are of the current template and available."""
        ...

    def version(self, app: str) -> str:
        """The version that the Deployment's template names now."""
        ...

    def rollbacks(self) -> int:
        """How often Lastgood has changed a template."""
        ...


@dataclass(kw_only=True)
class Two:
    """The world with its two daemons."""

    world: PairWorld
    server: Server
    schema: str
    front: Gate
    members: tuple[Member, Member] = field(init=False)
    phases: list[str] = field(default_factory=list)
    """Phases of the app's incidents, as either of the two logged them."""
    verified: bool = False

    def other(self, member: Member) -> Member:
        """The other one."""
        return self.members[1] if member is self.members[0] else self.members[0]

    @property
    def leader(self) -> Member:
        """The one that leads. Raises StopIteration where none does."""
        return next(member for member in self.members if member.leads)

    def send_alerts_to(self, member: Member) -> None:
        """From now on Alertmanager's webhook ends at this one."""
        self.front.upstream = f"http://127.0.0.1:{member.port}"

    async def follow(self) -> None:
        """Read both logs for ever."""
        while True:
            for member in self.members:
                for line in member.read():
                    self._note(line)
            await asyncio.sleep(LOOK_SECONDS)

    def _note(self, line: dict[str, Any]) -> None:
        match line.get("event"):
            case "revision" if line.get("what") == "verified" and str(line.get("revision")).startswith(f"{APP}:v1"):
                self.verified = True
            case "incident_moved" | "incident":
                workload = str(line.get("workload") or line.get("lastgood.workload"))
                if workload.endswith(f"/{APP}"):
                    self.phases.append(str(line.get("phase")))
            case _:
                pass

    async def standby(self, member: Member) -> None:
        """Wait until this one stands by."""
        await until(f"{member.name} stands by", lambda: member.when("standby") is not None, START_SECONDS)

    async def begin(self) -> None:
        """One leads and has proven v1, the other stands by."""
        first, second = self.members
        await first.start()
        await until("the first one leads", lambda: first.leads, START_SECONDS)
        await second.start()
        await self.standby(second)
        await until("v1 is verified", lambda: self.verified, START_SECONDS)

    async def roll_out_bad(self, version: str = "v2") -> None:
        """A version of which 40 % of the requests fail."""
        self.world.services.fault(image=image(APP, version), error_ratio=0.4)
        await self.world.set_image(APP, version)

    async def sql(self, query: str, *bind: object) -> list[Any]:
        """Ask the journal's database, past all wires."""
        import asyncpg

        connection = await asyncpg.connect(self.server.url, server_settings={"search_path": self.schema})
        try:
            return list(await connection.fetch(query, *bind))
        finally:
            await connection.close()

    async def facts(self, kind: str) -> list[str]:
        """The journal's facts of a kind as JSON, oldest first."""
        return [row["body"] for row in await self.sql("SELECT body FROM facts_text WHERE kind = $1 ORDER BY seq", kind)]

    async def until_fact(self, kind: str, text: str = "") -> None:
        """Wait until a fact of this kind, with this text in it, is in the journal."""

        async def is_there() -> bool:
            return any(text in fact for fact in await self.facts(kind))

        await until_so(f"{kind} is journalled", is_there, END_SECONDS)

    @property
    def ended(self) -> bool:
        """The app's incident has ended, or was handed to a person."""
        return any(phase in ENDS for phase in self.phases)

    async def end(self) -> str:
        """How it ended, once it has, with a moment for what would come too much."""
        await until("the incident ends", lambda: self.ended, END_SECONDS)
        await asyncio.sleep(QUIET_SECONDS)
        return next(phase for phase in reversed(self.phases) if phase in ENDS)

    async def wrong(self) -> list[str]:
        """What the world shows that must not be: a second patch, a lost or a doubled page; nothing where all is well."""
        found = []
        if (patches := self.world.rollbacks()) != 1:
            found.append(f"double action: {patches} patches changed something")
        if self.world.version(APP) != "v1":
            found.append(f"{APP} runs {self.world.version(APP)}")
        opened = self.world.pagerduty.opened()
        if not opened:
            found.append("lost page: none was opened")
        found += [f"double page: {key} was opened {count} times" for key, count in opened.items() if count > 1]
        if len(opened) > 1:
            found.append(f"double page: {len(opened)} keys for one incident")
        settled = [fact for fact in await self.facts("action_settled") if '/roll_back"' in fact]
        if len(settled) != 1:
            found.append(f"double action: the journal holds {len(settled)} outcomes of the rollback")
        return found

    async def assert_well(self) -> None:
        """It ends by recovery, or in a person's hands, with one patch and one page."""
        outcome = await self.end()
        assert outcome in CLEAN_ENDS, self.phases
        assert not (wrong := await self.wrong()), wrong

    async def send_alert(self, member: Member, name: str) -> bool:
        """Send an alert that belongs to no workload to one member's webhook; whether it was accepted."""
        alert = {
            "status": "firing",
            "labels": {"alertname": name, "severity": "warning"},
            "annotations": {},
            "startsAt": "2026-01-31T10:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": name.encode().hex()[-16:].rjust(16, "0"),
        }
        body = {
            "version": "4",
            "groupKey": f"{{}}:{{alertname={name!r}}}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "lastgood",
            "groupLabels": {},
            "commonLabels": alert["labels"],
            "commonAnnotations": {},
            "externalURL": "",
            "alerts": [alert],
        }
        headers = {"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
        url = f"http://127.0.0.1:{member.port}/api/v1/alertmanager"
        limit = aiohttp.ClientTimeout(total=10)
        with suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.post(url, json=body, headers=headers) as answer,
            ):
                return answer.status < 300
        return False

    async def noted(self, name: str) -> bool:
        """An alert of this name is a fact of the journal."""
        return any(f'"{name}"' in fact for fact in await self.facts("alert_noted"))


async def until_so(what: str, holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait until `holds()`. Raises TimeoutError."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {seconds:.0f} s") from None


@asynccontextmanager
async def two(folder: Path, server: Server, **lease: str) -> AsyncIterator[Two]:
    """The demo's world with v1 in place, and two daemons that are not started yet. `lease`: settings other than the defaults."""
    async with AsyncExitStack() as stack:
        front = await stack.enter_async_context(gate("http://127.0.0.1:9"))
        port = urlsplit(front.url).port or 0
        world = await stack.enter_async_context(World(folder=folder, kind="stand-in", port=port, setup=furnish))
        world.cluster.create(GIVEN_BACK)
        content = yaml.safe_load(world.write_config(**POLICY).read_text())
        content["lease"] = {"enabled": True, "namespace": NAMESPACE, **lease}
        made = Two(world=world, server=server, schema=server.schema(), front=front)
        yield await stack.enter_async_context(paired(made, folder, content, servers_of(world)))


@asynccontextmanager
async def paired(
    made: Two,
    folder: Path,
    content: dict[str, Any],
    servers: Mapping[str, str],
    trust: Mapping[str, ssl.SSLContext] | None = None,
) -> AsyncIterator[Two]:
    """With its two members, of this configuration, and once v1 serves. `trust`: those of the servers that speak TLS."""
    async with AsyncExitStack() as stack:
        members = []
        for name in ("a", "b"):
            gates = await gates_to(servers, stack, trust)
            wire = await stack.enter_async_context(wire_to(made.server))
            members.append(member_of(name, folder, content, gates, wire, made.schema))
        made.members = (members[0], members[1])
        made.send_alerts_to(made.members[0])
        await until("v1 serves", lambda: made.world.settled(APP), START_SECONDS)
        follower = asyncio.get_running_loop().create_task(made.follow())
        try:
            yield made
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
            for member in members:
                await put_away(member)
