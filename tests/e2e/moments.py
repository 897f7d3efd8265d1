"""Exact moments of a rollback at which its leader can be ended, and the ways to end it.

A moment is brought about, not slept for: a gate holds the request that marks it, or the wire to the database the commit. What
is held can get lost with its sender, or arrive late, when another leads.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from deploy.sandbox.world import until
from tests.e2e.gate import Hold, Seen, Wanted, asks
from tests.e2e.members import Member, is_patch, now
from tests.e2e.two import Two

DRY_RUN = asks("PATCH", r"/deployments/.*dryRun=All")
TRIGGER = asks("POST", "/v2/enqueue", '"trigger"')
QUERY: Wanted = lambda seen: "/api/v1/query" in seen.path  # noqa: E731
OUTCOME = (b"action_settled", b"/roll_back")
"""What a commit of the rollback's outcome holds."""

LEAD_SECONDS = 120.0
"""Until the standby leads, with whatever lease; the test says how long it may have been."""

CATCH_SECONDS = 120.0
"""Until a moment comes; ten on an idle machine."""

End = Literal["kill", "sigterm", "sigstop"]
ENDS: tuple[End, ...] = ("kill", "sigterm", "sigstop")


@dataclass(kw_only=True)
class Held:
    """A moment that was armed on one member; `caught` returns when it has come."""

    member: Member
    holds: list[Hold]
    wire: Literal["", "before", "after"] = ""

    async def caught(self) -> None:
        """Wait for it. Raises TimeoutError."""
        await asyncio.gather(*(hold.caught(CATCH_SECONDS) for hold in self.holds))
        if not self.wire:
            return
        self.member.wire.holds_only, self.member.wire.holds_requests = OUTCOME, True
        for hold in self.holds:
            await hold.go_on()
        await self.member.wire.until_held()
        if self.wire == "after":
            self.member.wire.loses_answers = True
            await self.member.wire.deliver()

    def lose(self) -> None:
        """What is held never arrives."""
        for each in self.member.gates.values():
            each.forget()
        self.member.wire.drop()

    async def arrive(self) -> None:
        """What is held arrives, late."""
        for hold in self.holds:
            await hold.go_on()
        await self.member.wire.deliver()


def _before(gate: str, wanted: Wanted) -> Callable[[Two, Member], Held]:
    return lambda _, member: Held(member=member, holds=[member.gates[gate].hold(wanted)])


def _after(gate: str, wanted: Wanted) -> Callable[[Two, Member], Held]:
    return lambda _, member: Held(member=member, holds=[member.gates[gate].hold(wanted, after=True)])


def _page(*, after: bool) -> Callable[[Two, Member], Held]:
    """The patch is held as well, or the rollback would be over meanwhile."""

    def arm(_: Two, member: Member) -> Held:
        page = member.gates["pagerduty"].hold(TRIGGER, after=after)
        return Held(member=member, holds=[page, member.gates["kubernetes"].hold(is_patch)])

    return arm


def _outcome(wire: Literal["before", "after"]) -> Callable[[Two, Member], Held]:
    def arm(_: Two, member: Member) -> Held:
        return Held(member=member, holds=[member.gates["kubernetes"].hold(is_patch, after=True)], wire=wire)

    return arm


def _verifying(two: Two, member: Member) -> Held:
    def wanted(seen: Seen) -> bool:
        return QUERY(seen) and "verifying" in two.phases

    return Held(member=member, holds=[member.gates["prometheus"].hold(wanted)])


@dataclass(frozen=True, kw_only=True)
class Moment:
    """`rank` orders the moments of one incident; `again`: it comes again to the next leader."""

    rank: int
    arm: Callable[[Two, Member], Held]
    again: bool = False


MOMENTS: dict[str, Moment] = {
    "dry-run-answer-lost": Moment(rank=0, arm=_after("kubernetes", DRY_RUN)),
    "page-not-arrived": Moment(rank=1, arm=_page(after=False), again=True),
    "page-answer-lost": Moment(rank=2, arm=_page(after=True)),
    "patch-not-arrived": Moment(rank=3, arm=_before("kubernetes", is_patch), again=True),
    "patch-answer-lost": Moment(rank=4, arm=_after("kubernetes", is_patch)),
    "outcome-not-journalled": Moment(rank=4, arm=_outcome("before")),
    "outcome-journalled-unheard": Moment(rank=4, arm=_outcome("after")),
    "verifying": Moment(rank=5, arm=_verifying, again=True),
}
"""In the order of one rollback. Of rank 4 an incident has one: whoever leads after it patches no more."""


@dataclass(kw_only=True)
class Failover:
    """One forced failover, and what came of it."""

    moment: str
    end: End
    late: bool
    led_after: float = 0.0
    """Seconds from the signal to the log's "leading" of the other one."""
    acted_after: float = 0.0
    """Seconds from the signal to its first request that only a leader sends."""
    wrong: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What was done, in a few words."""
        return f"{self.end} at {self.moment}{', arrives late' if self.late else ''}"


async def begun(both: Two) -> None:
    """The first one leads, and only the other one is told of alerts: what is acted on is what a standby accepted."""
    await both.begin()
    leader, standby = both.members
    leader.gates["alertmanager"].shut()
    both.send_alerts_to(standby)


async def failed_over(
    both: Two, moment: str, end: End, *, late: bool, arrives: Callable[[], bool] = lambda: True
) -> Failover:
    """One leads, is ended at this moment of a rollback, and the other goes on. `late`, `arrives`: see `fail_over`."""
    await begun(both)
    held = MOMENTS[moment].arm(both, both.members[0])
    await both.roll_out_bad()
    await held.caught()
    done = Failover(moment=moment, end=end, late=late)
    await fail_over(both, held, done, arrives)
    assert not done.wrong, done.wrong
    print(f"{done.name}: led after {done.led_after:.2f} s, acted after {done.acted_after:.2f} s")  # noqa: T201
    return done


async def fail_over(two: Two, held: Held, failover: Failover, arrives: Callable[[], bool] = lambda: True) -> None:
    """End the leader, see the other one act, let what was held get lost or arrive late, and see the old one gone.

    `arrives`: what must be so before what is late arrives.
    """
    old = held.member
    new = two.other(old)
    two.send_alerts_to(new)
    ended = now()
    old.daemon.signal({"kill": signal.SIGKILL, "sigterm": signal.SIGTERM, "sigstop": signal.SIGSTOP}[failover.end])
    if failover.end == "kill":
        await old.daemon.ended()
    if not failover.late:
        held.lose()
    await until("the standby leads", lambda: new.leads, LEAD_SECONDS, step=0.01)
    await until("the standby acts", lambda: new.acted(ended) is not None, LEAD_SECONDS, step=0.01)
    failover.led_after = (new.when("leading") or 0.0) - ended
    failover.acted_after = (new.acted(ended) or 0.0) - ended
    if failover.late:
        await until("what is late may arrive", arrives, LEAD_SECONDS, step=0.02)
        await held.arrive()
    await _see_off(old, failover)


async def _see_off(old: Member, failover: Failover) -> None:
    woken = now()
    if failover.end == "sigstop":
        old.daemon.signal(signal.SIGCONT)
    code = await asyncio.wait_for(old.daemon.ended(), LEAD_SECONDS)
    if code != {"kill": -signal.SIGKILL, "sigterm": 0, "sigstop": 1}[failover.end]:
        failover.wrong.append(f"the old leader ended with {code}")
    if failover.end == "sigstop" and any(is_patch(seen) for _, seen in old.seen(woken)):
        failover.wrong.append("double action: the old leader patched")
