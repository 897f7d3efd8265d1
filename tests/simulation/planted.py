"""Planted bugs: each takes one safeguard out, so that it can be seen that its absence is noticed, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from daemon.core import guards
from daemon.core.actions import Announce, Checked, CheckTarget, Outcome, OutcomeKind, Page, RollBack, RolledBack
from daemon.core.decide import Conclusion
from daemon.core.draft import Draft
from daemon.core.events import AlertsReported, Event
from daemon.core.facts import ActionOwed, Fact, Moved
from daemon.core.incidents import Phase
from daemon.core.measurement import TargetCheck
from daemon.core.model import ActionId
from daemon.core.policy import Policy
from daemon.core.state import State
from daemon.ports import Journalled
from daemon.runtime.engine import Engine
from handlers import workload_objects
from tests.simulation.clocks import true_now
from tests.simulation.controllers import template_of
from tests.simulation.disk import Disk, SimJournal
from tests.simulation.kubernetes import ACTION

Obj = dict[str, Any]
UID, TEMPLATE, GENERATION = "/metadata/uid", "/spec/template", "/metadata/generation"


@contextmanager
def without_guard(*names: str) -> Iterator[None]:
    """Guards of the core are not asked."""
    kept = guards.GUARDS
    guards.GUARDS = tuple(guard for guard in kept if guard.__name__ not in names)
    try:
        yield
    finally:
        guards.GUARDS = kept


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """A function of a module is another one."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)


class Unsynced(SimJournal):
    """No fsync."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        disk.survives()
        self._connection.execute("PRAGMA synchronous = OFF")


class Promising(SimJournal):
    """Says that alerts are on the disk, and writes them not."""

    async def accept(self, events: Sequence[Journalled], at: datetime) -> Sequence[int]:
        return [10**6 + number for number, _ in enumerate(events)]


class Careless(SimJournal):
    """Writes all facts but those of the ledger."""

    async def commit(self, facts: Sequence[Fact], cursor: int, at: datetime, ahead: Sequence[int] = ()) -> None:
        await super().commit([fact for fact in facts if fact.kind != "ledger_written"], cursor, at, ahead)
        self._disk.on_durable([fact for fact in facts if fact.kind == "ledger_written"], ())


class Eager(Engine):
    """Acts before the intent is on the disk."""

    async def _commit(self, facts: Sequence[Fact], cursor: int, now: datetime, ahead: Sequence[int] = ()) -> None:
        for fact in facts:
            if isinstance(fact, ActionOwed) and fact.action.id not in self._dispatched:
                self._dispatched[fact.action.id] = fact.action
                self._dispatch(fact.action, False)
        await super()._commit(facts, cursor, now, ahead)


class Altered(Engine):
    """What is decided is altered: `alter` adds to a draft after each event."""

    alter: Callable[[Draft, Sequence[Fact], State], None] = lambda draft, facts, before: None

    def _conclude(self, state: State, event: Event, now: datetime, policy: Policy) -> Conclusion | Exception:
        concluded = super()._conclude(state, event, now, policy)
        if isinstance(concluded, Exception):
            return concluded
        draft = Draft(state=concluded.state, now=now, policy=policy)
        type(self).alter(draft, concluded.facts, state)
        return Conclusion((*concluded.facts, *draft.facts), draft.state)


def altered(alter: Callable[[Draft, Sequence[Fact], State], None]) -> type[Engine]:
    """An engine whose decisions are altered like that."""
    return type("AlteredHere", (Altered,), {"alter": staticmethod(alter)})


def tries_again(draft: Draft, facts: Sequence[Fact], before: State) -> None:
    """A rollback that did not help is tried a second time."""
    for fact in facts:
        if isinstance(fact, Moved) and fact.phase is Phase.ESCALATED:
            incident = draft.state.incidents[fact.incident]
            tracked = draft.state.workloads.get(incident.suspect.key) if incident.suspect else None
            if incident.roll_back is None or tracked is None or incident.blamed is None or incident.target is None:
                continue
            again = RollBack(
                id=ActionId(f"{incident.id}/again"), deadline=draft.now + draft.policy.converge_deadline, incident=incident.id,
                workload=tracked.view.workload, uid=tracked.view.uid, blamed=incident.target, target=incident.blamed, why="again",
            )  # fmt: skip
            draft.owe(again)


class Trusting:
    """The API without some of the preconditions of a patch."""

    def __init__(self, api: Any, *left_out: str) -> None:
        self._api = api
        self._left_out = left_out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    async def patch_json(self, path: str, ops: Sequence[Obj], **options: Any) -> Obj:
        kept = [op for op in ops if op["op"] != "test" or op["path"] not in self._left_out]
        patched: Obj = await self._api.patch_json(path, kept, **options)
        return patched


def unguarded(*left_out: str) -> Callable[[str, Any], Any]:
    """Rollbacks whose patch lacks these `test` operations."""

    def runner(kind: str, real: Any) -> Any:
        if kind == "roll_back":
            real._api = Trusting(real._api, *left_out)
        return real

    return runner


def blind(kind: str, real: Any) -> Any:
    """A rollback that is written whatever is there, again and again."""
    if kind == "roll_back":
        real._api = Trusting(real._api, TEMPLATE, GENERATION, UID)
        real._settled = lambda action, fresh: None
    return real


class Instead:
    """A runner with another `run`, that asks nobody what happened."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self._run = run

    async def run(self, action: Any) -> Outcome:
        outcome: Outcome = await self._run(action)
        return outcome

    async def probe(self, action: Any) -> Outcome | None:
        return None


def own_keys(kind: str, real: Any) -> Any:
    """Every page has a key of its own."""
    if kind != "page":
        return real

    async def run(action: Page) -> Outcome:
        outcome: Outcome = await real.run(replace(action, key=f"{action.key}/{action.id}"))
        return outcome

    return Instead(run)


def mute(kind: str, real: Any) -> Any:
    """Says that it has paged."""

    async def run(action: Page) -> Outcome:
        return Outcome(kind=OutcomeKind.DONE)

    return Instead(run) if kind == "page" else real


def parrot(kind: str, real: Any) -> Any:
    """Posts without looking whether it has been posted."""

    async def run(action: Announce) -> Outcome:
        outcome: Outcome = await real.run(action)
        return outcome

    return Instead(run) if kind == "announce" else real


def amnesiac(kind: str, real: Any) -> Any:
    """A rollback whose answer is lost is given up, and nobody looks."""

    async def run(action: RollBack) -> Outcome:
        await real.run(action)
        return Outcome(kind=OutcomeKind.FAILED, message="no answer")

    return Instead(run) if kind == "roll_back" else real


def from_memory(kind: str, real: Any) -> Any:
    """A rollback that knows the target's template by heart and asks nobody whether it is still in the history."""

    async def check(action: CheckTarget) -> Outcome:
        result = Checked(check=TargetCheck(revision=action.target.id, exists=True))
        return Outcome(kind=OutcomeKind.DONE, result=result)

    async def run(action: RollBack) -> Outcome:
        workload = action.workload
        template = template_of(workload.namespace, workload.name, action.target.images[0].rpartition(":")[2])
        ops = [
            {"op": "replace", "path": TEMPLATE, "value": template},
            {"op": "add", "path": workload_objects.annotation_path(ACTION), "value": action.id},
        ]
        patched = await real._api.patch_json(workload_objects.path_of(workload), ops)
        done = RolledBack(generation=patched["metadata"]["generation"], patched_at=true_now())
        return Outcome(kind=OutcomeKind.DONE, result=done)

    return {"check_target": Instead(check), "roll_back": Instead(run)}.get(kind, real)


def breaking(kind: str, real: Any) -> Any:
    """A runner that raises what it must not."""

    async def run(action: Any) -> Outcome:
        raise ValueError("an answer that nobody thought of")

    return Instead(run) if kind == "locate" else real


class Deaf(Engine):
    """Takes alerts and makes nothing of them."""

    def _conclude(self, state: State, event: Event, now: datetime, policy: Policy) -> Conclusion | Exception:
        return (
            Conclusion((), state) if isinstance(event, AlertsReported) else super()._conclude(state, event, now, policy)
        )


class Timeless(Engine):
    """Knows no deadlines of incidents."""

    def _conclude(self, state: State, event: Event, now: datetime, policy: Policy) -> Conclusion | Exception:
        concluded = super()._conclude(state, event, now, policy)
        if isinstance(concluded, Exception):
            return concluded
        for name, incident in concluded.state.incidents.items():
            if incident.deadline is not None:
                later = concluded.state.with_incident(name, deadline=incident.deadline + timedelta(days=1))
                concluded = Conclusion(concluded.facts, later)
        return concluded
