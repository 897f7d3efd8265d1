"""`make failovers ARGS="--count 50"`: force failovers in the middle of rollbacks, and count what was done twice or got lost.

Each incident is played in a world of its own, by two real daemons on one PostgreSQL journal, and its leader is ended up to
four times: at moments, in ways (kill -9, SIGTERM, SIGSTOP and later SIGCONT) and with late arrivals drawn from the seed. Around
each failover an alert is sent to the leader and to the standby; what was accepted must be in the journal. Exit code 0 when
nothing was done twice, nothing got lost, and every incident came to its end; 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.members import Member
from tests.e2e.moments import ENDS, MOMENTS, Failover, Held, fail_over
from tests.e2e.two import CLEAN_ENDS, Two, two
from tests.postgres import Server, running

LEASE_SECONDS = 8
"""About half of the default's 15, so that fifty take a quarter of an hour."""

DEFAULT_SECONDS = 15

PER_INCIDENT = 4
"""Failovers of one incident: more than one moment of the same rollback."""

LAST = "verifying"
"""The moment that comes in every rollback."""

INCIDENT_SECONDS = 600.0
"""For one incident with its failovers; a minute or two on an idle machine."""


@dataclass(kw_only=True)
class Played:
    """One incident: its failovers, how it ended, and everything that was wrong."""

    failovers: list[Failover] = field(default_factory=list)
    outcome: str = "nothing"
    wrong: list[str] = field(default_factory=list)
    unforced: int = 0
    """Leaders that ended by themselves."""
    accepted: list[str] = field(default_factory=list)
    """Names of the alerts that were answered with 2xx."""


def shortened(seconds: int) -> dict[str, str]:
    """The settings of a lease of this duration, in the default's proportions."""
    return {
        "duration": f"{seconds}s",
        "renew_deadline": f"{seconds * 700}ms",
        "retry": f"{seconds * 130}ms",
    }


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def drawn(draw: random.Random, count: int) -> list[Failover]:
    """The failovers of one incident, in the order in which their moments come."""
    names = sorted(draw.choices(list(MOMENTS), k=4 * count), key=lambda name: MOMENTS[name].rank)
    fitting: list[str] = []
    for name in names:
        before = MOMENTS[fitting[-1]] if fitting else None
        if before is None or MOMENTS[name].rank > before.rank or (MOMENTS[name].again and name == fitting[-1]):
            fitting.append(name)
    chosen = sorted(draw.sample(range(len(fitting)), min(count, len(fitting))))
    ends = [draw.choice(ENDS) for _ in chosen]
    return [
        Failover(moment=fitting[number], end=end, late=end != "sigterm" and draw.random() < 0.5)
        for number, end in zip(chosen, ends, strict=True)
    ]


async def play(folder: Path, server: Server, lease: dict[str, str], plan: Sequence[Failover], played: Played) -> None:
    """One incident with these failovers."""
    async with two(folder, server, **lease) as both:
        await both.begin()
        leader = both.members[0]
        armed = _arm(both, leader, plan[0].moment)
        await both.roll_out_bad()
        for number, failover in enumerate(plan):
            failover.moment, held = await _moment(both, armed, failover.moment, played)
            following = plan[number + 1].moment if number + 1 < len(plan) else None
            armed = await _one(both, held, failover, following, played)
        played.outcome = await both.end()
        if played.outcome not in CLEAN_ENDS:
            played.wrong.append(f"the incident ended as {played.outcome}")
        played.wrong += await both.wrong()
        for name in played.accepted:
            if not await both.noted(name):
                played.wrong.append(f"lost alert: {name} was accepted and is not in the journal")


def _arm(both: Two, member: Member, moment: str) -> dict[str, Held]:
    """This moment, and where it does not come (a patch that arrived late is not sent again) the last one."""
    return {name: MOMENTS[name].arm(both, member) for name in dict.fromkeys((moment, LAST))}


async def _moment(both: Two, armed: dict[str, Held], name: str, played: Played) -> tuple[str, Held]:
    """The moment that came. A leader that gave up meanwhile (on a busy machine it cannot renew its lease) is started again."""
    while True:
        leader = armed[name].member
        if (found := await _caught(armed, leader)) is not None:
            await both.standby(both.other(leader))
            if leader.daemon.running:
                return found, armed[found]
        played.unforced += 1
        say(f"    {leader.name} ended by itself: {leader.ended_because()}")
        armed = _arm(both, both.other(leader), name)
        await leader.start()


async def _caught(armed: dict[str, Held], leader: Member) -> str | None:
    """The name of the moment that came; None where the leader ended by itself."""
    loop = asyncio.get_running_loop()
    waiting: dict[asyncio.Task[object], str | None] = {
        loop.create_task(held.caught()): name for name, held in armed.items()
    }
    waiting[loop.create_task(leader.daemon.ended())] = None
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        first = min(done, key=lambda task: waiting[task] in (LAST, None))
        first.result()
        return waiting[first]
    finally:
        for task in waiting:
            task.cancel()


async def _one(both: Two, held: Held, failover: Failover, following: str | None, played: Played) -> dict[str, Held]:
    """One failover; the next moment is armed on the next leader before it leads."""
    old, new = held.member, both.other(held.member)
    after = _arm(both, new, following) if following is not None else {}
    mark = f"{len(played.accepted)}-{len(played.failovers)}"
    sent = asyncio.gather(*(_alert(both, each, f"Extra{each.name}{mark}", played) for each in (old, new)))
    await asyncio.sleep(0)
    await fail_over(both, held, failover)
    await sent
    played.failovers.append(failover)
    played.wrong += failover.wrong
    say(f"    {failover.name}: led after {failover.led_after:.1f} s, acted after {failover.acted_after:.1f} s")
    if after:
        await old.start()
    return after


async def _alert(both: Two, member: Member, name: str, played: Played) -> None:
    if await both.send_alert(member, name):
        played.accepted.append(name)


async def run(count: int, seed: int, lease: dict[str, str]) -> list[Played]:
    """Play incidents until so many failovers were forced."""
    draw, done = random.Random(seed), list[Played]()
    with running() as server:
        left = count
        while left > 0:
            plan, played = drawn(draw, min(PER_INCIDENT, left)), Played()
            say(f"incident {len(done) + 1}, {left} failovers to go")
            with tempfile.TemporaryDirectory(prefix="lastgood-failovers-", ignore_cleanup_errors=True) as folder:
                try:
                    async with asyncio.timeout(INCIDENT_SECONDS):
                        await play(Path(folder), server, lease, plan, played)
                except (TimeoutError, AssertionError, OSError) as error:
                    traceback.print_exc()
                    played.wrong.append(f"no end: {error}")
                    _show_logs(Path(folder))
            done.append(played)
            left -= len(plan)
            say(f"    {played.outcome}{''.join(f'; {each}' for each in played.wrong)}")
    return done


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        say(f"---- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]))


def table(done: Sequence[Played]) -> str:
    """What came of all of them."""
    rows = ["| ended by | failovers | acted after, median | 90 % within | longest |", "|---|---|---|---|---|"]
    every = [each for played in done for each in played.failovers]
    for end in ("all", *ENDS):
        seconds = sorted(each.acted_after for each in every if end in ("all", each.end))
        if seconds:
            tenth = seconds[min(len(seconds) - 1, int(0.9 * len(seconds)))]
            middle = statistics.median(seconds)
            rows.append(f"| {end} | {len(seconds)} | {middle:.1f} s | {tenth:.1f} s | {seconds[-1]:.1f} s |")
    return "\n".join(rows)


def last_line(done: Sequence[Played]) -> str:
    """The count of what must not be."""
    wrong = [each for played in done for each in played.wrong]
    kinds = {name: sum(each.startswith(f"{name}:") for each in wrong) for name in KINDS}
    counted = " ".join(f"{name.replace(' ', '_')}s={number}" for name, number in kinds.items())
    alerts = sum(len(played.accepted) for played in done)
    forced, unforced = sum(len(played.failovers) for played in done), sum(played.unforced for played in done)
    return (
        f"failovers: forced={forced} unforced={unforced} incidents={len(done)} alerts_accepted={alerts} {counted} "
        f"other_faults={len(wrong) - sum(kinds.values())}"
    )


KINDS = ("double action", "double page", "lost alert", "lost page")


def main(arguments: Sequence[str] | None = None) -> int:
    """Force failovers; 0 when nothing was done twice or got lost."""
    parser = argparse.ArgumentParser(prog="make failovers ARGS=…", description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="failovers to force (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="what moments and ends are drawn from (default: 1)")
    parser.add_argument(
        "--lease", type=int, default=LEASE_SECONDS, help="its duration in seconds (default: 8; Lastgood's: 15)"
    )
    chosen = parser.parse_args(arguments)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # gates write to those who were killed
    lease = {} if chosen.lease == DEFAULT_SECONDS else shortened(chosen.lease)
    try:
        done = asyncio.run(run(chosen.count, chosen.seed, lease))
    except pytest.skip.Exception as missing:
        sys.stderr.write(f"failovers: {missing}\n")
        return 2
    say(table(done))
    say(last_line(done))
    return 1 if any(played.wrong for played in done) else 0


if __name__ == "__main__":
    raise SystemExit(main())
