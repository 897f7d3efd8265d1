"""Each invariant goes red when its safeguard is taken out, and stays quiet with it in: one must not hide the lack of another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core import ledger, telling, written_back
from daemon.core.model import Mode
from tests.simulation import planted
from tests.simulation.invariants import PROMISES
from tests.simulation.item import Item
from tests.simulation.network import Window
from tests.simulation.plan import Plan
from tests.simulation.run import play
from tests.simulation.world import Switches

SECOND = timedelta(seconds=1)
BAD = Item("deploy", ("checkout", "2.bad"), at=80.0)
CRASH = Item("deploy", ("checkout", "2.crash"), at=80.0)
LOWERED = Item("annotation", ("lastgood.dev/mode", "observe"), on=("phase/rolling_back", 1))
TOUCHED = Item("annotation", ("team.example/on-call", "shop"), on=("phase/rolling_back", 1))
SLOWED = Item("trouble", ("api", "delay", 60.0), on=("phase/rolling_back", 1))
SLOW_DISK = Window("disk", "slow", 0.0, 2000.0, 1.0)

POLICY: dict[str, Any] = {
    "default_mode": Mode.AUTO, "soak": 180 * SECOND, "sample_interval": 30 * SECOND, "blame_window": 600 * SECOND,
    "decide_deadline": 600 * SECOND, "approve_deadline": 300 * SECOND, "converge_deadline": 600 * SECOND,
    "verify_deadline": 300 * SECOND, "hold": 60 * SECOND, "countdown": 30 * SECOND,
}  # fmt: skip


def plan(*items: Item, windows: tuple[Window, ...] = (), leak: float = 240.0, replicas: int = 1, **policy: Any) -> Plan:
    """A world in which only this happens; the policy acts by itself."""
    values = tuple(sorted((POLICY | policy).items()))
    return Plan(
        seed=7, policy=values, start_seconds=80.0, leak_seconds=leak, items=items, windows=windows, replicas=replicas
    )


def no_guards(*names: str) -> Callable[[], AbstractContextManager[None]]:
    return lambda: planted.without_guard(*names)


def no_quarantine() -> AbstractContextManager[None]:
    return planted.replaced(ledger.LedgerEntry, "verified", property(lambda self: self.proof is not None))


def no_proof() -> AbstractContextManager[None]:
    return planted.replaced(ledger.LedgerEntry, "verified", property(lambda self: self.quarantined_by is None))


def by_incident() -> AbstractContextManager[None]:
    return planted.replaced(telling, "page_key", lambda draft, incident: f"{draft.policy.cluster}/{incident.id}")


def pages_observe() -> AbstractContextManager[None]:
    return planted.replaced(telling, "observed", lambda draft, incident: False)


def told_again() -> AbstractContextManager[None]:
    return planted.replaced(written_back, "_is_told", lambda draft, incident, view: False)


def dies_at_the_patch(*more: Item) -> tuple[Item, ...]:
    return (BAD, Item("kill", (5.0, ()), on=("rollback", 1)), *more)


@dataclass(frozen=True)
class Bug:
    promise: str
    plan: Plan
    switches: Switches = field(default_factory=Switches)
    patch: Callable[[], AbstractContextManager[None]] = nullcontext


def nothing_forbids(action: Any, state: Any, policy: Any, now: Any) -> None:
    """Nobody looks whether it is paused, or observed."""


OFF = Switches(veto=nothing_forbids, last_look=nothing_forbids)
APPROVALS = [Item("approve", (), on=("phase/proposed", number), after=10.0) for number in (1, 2, 3)]
UNDONE = [
    Item("deploy", ("checkout", "2.good"), at=80.0),
    Item("ask", ("checkout", True), at=500.0),
    *APPROVALS,
    Item("deploy", ("checkout", "2.good"), on=("phase/recovered", 1), after=30.0),
    Item("deploy", ("checkout", "3.crash"), on=("phase/recovered", 1), after=330.0),
]
WRITTEN_BACK = [BAD, Item("again", (), on=("phase/recovered", 1), after=20.0)]
OVERTAKEN = [
    Item("freeze", (25.0,), on=("phase/rolling_back", 1)),
    Item("annotation", ("lastgood.dev/mode", "observe"), on=("phase/rolling_back", 1), after=1.0),
]
HELD_UP = Item("trouble", ("api", "503", 20.0), on=("phase/rolling_back", 1))
APPROVED_LATE = Item("approve", (), on=("phase/proposed", 1), after=250.0)

BUGS = [
    Bug("once_per_action", plan(*dies_at_the_patch(Item("deploy", ("checkout", "3.good"), on=("rollback", 1), after=1.0))),
        Switches(runner=planted.blind)),
    Bug("one_rollback", plan(BAD, Item("outage", (900,), on=("phase/verifying", 1))),
        Switches(engine=planted.altered(planted.tries_again))),
    Bug("target_verified", plan(Item("deploy", ("checkout", "2.good"), at=80.0), Item("deploy", ("checkout", "3.bad"), at=400.0),
        soak=900 * SECOND), patch=no_proof),
    Bug("target_not_quarantined", plan(*UNDONE, soak=60 * SECOND), patch=no_quarantine),
    Bug("target_exists", plan(BAD, APPROVED_LATE, Item("history-gone", (), at=330.0), default_mode=Mode.APPROVE),
        Switches(runner=planted.from_memory)),
    Bug("newer_rollout_wins", plan(BAD, Item("deploy", ("checkout", "3.good"), on=("patch", 1))),
        Switches(runner=planted.unguarded(planted.TEMPLATE, planted.GENERATION))),
    Bug("same_object", plan(BAD, Item("recreate", ("2.bad",), on=("patch", 1))),
        Switches(runner=planted.unguarded(planted.UID, planted.GENERATION))),
    Bug("not_paused", plan(BAD, HELD_UP, Item("pause", ("", None), on=("phase/rolling_back", 1))), OFF),
    Bug(
        "not_paused",
        plan(CRASH, TOUCHED, SLOWED, Item("pause", ("", None), on=("phase/rolling_back", 1))),
        Switches(last_look=nothing_forbids),
    ),
    Bug("not_observed", plan(BAD, HELD_UP, LOWERED), OFF),
    Bug("not_lost", plan(BAD, *OVERTAKEN, replicas=2), Switches(leadership=lambda elector: None)),
    Bug("intent_first", plan(CRASH), Switches(journal=planted.Unsynced)),
    Bug("intent_first", plan(CRASH, windows=(SLOW_DISK,)), Switches(engine=planted.Eager)),
    Bug("budget", plan(BAD, Item("deploy", ("cart", "2.bad"), at=700.0), rollbacks_per_namespace_hour=1),
        patch=no_guards("blast_radius")),
    Bug("cooling_down", plan(BAD, Item("deploy", ("checkout", "3.bad"), on=("phase/recovered", 1), after=20.0)),
        patch=no_guards("cooling_down")),
    Bug("innocent", plan(Item("deploy", ("checkout", "2.good"), at=80.0), Item("outage", (900,), at=300.0)),
        patch=no_guards("common_cause", "no_contrast")),
    Bug("alert_kept", plan(BAD), Switches(journal=planted.Promising)),
    Bug("alert_noted", plan(BAD), Switches(engine=planted.Deaf)),
    Bug("page_known", plan(BAD, windows=(SLOW_DISK,)), Switches(engine=planted.Eager)),
    Bug("page_key", plan(BAD), patch=by_incident),
    Bug("one_successor", plan(*WRITTEN_BACK), patch=told_again),
    Bug("one_open_page", plan(BAD), Switches(runner=planted.own_keys)),
    Bug("never_pages_observe", plan(BAD, default_mode=Mode.OBSERVE), patch=pages_observe),
    Bug("page_sent", plan(BAD), Switches(runner=planted.mute)),
    Bug("post_known", plan(BAD, windows=(SLOW_DISK,)), Switches(engine=planted.Eager)),
    Bug("post_once", plan(BAD, windows=(Window("slack", "lost", 0.0, 900.0, 0.7),)), Switches(runner=planted.parrot)),
    Bug("replay", plan(BAD, Item("kill", (5.0, ()), at=300.0)), Switches(journal=planted.Careless)),
    Bug("outcome_kept", plan(BAD), Switches(runner=planted.amnesiac)),
    Bug("ends", plan(BAD, default_mode=Mode.APPROVE), Switches(engine=planted.Timeless)),
    Bug("no_stumble", plan(BAD), Switches(runner=planted.breaking)),
]  # fmt: skip
NAMES = [f"{bug.promise}-{number}" for number, bug in enumerate(BUGS)]


@pytest.mark.parametrize("bug", BUGS, ids=NAMES)
def test_the_lack_of_a_safeguard_shows(bug: Bug) -> None:
    """Without it, this promise is broken in this world."""
    with bug.patch():
        result = play(bug.plan, replace(bug.switches, only=bug.promise))
    assert {broken.name for broken in result.broken} == {bug.promise}, "\n".join(result.trace)


@pytest.mark.parametrize("bug", BUGS, ids=NAMES)
def test_with_the_safeguard_all_is_well(bug: Bug) -> None:
    """The same world breaks nothing as long as nothing is taken out."""
    result = play(bug.plan)
    assert not result.broken, "\n".join(result.trace)


def test_every_promise_can_be_broken() -> None:
    """No invariant is only a name: for each there is a bug that it notices."""
    assert {bug.promise for bug in BUGS} == set(PROMISES)


def test_a_plan_is_a_value() -> None:
    """Shrinking leaves things out of it and plays it again: the same plan gives the same digest."""
    one = plan(BAD)
    assert play(one).digest == play(replace(one, items=tuple(one.items))).digest
