"""The engine alone, on virtual time: what it holds back, what it answers, and what it survives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from daemon.core.actions import Outcome, OutcomeKind
from daemon.core.events import (
    ActionFinished,
    AlertSource,
    AlertsReported,
    Approved,
    Command,
    PauseAsked,
    ResumeAsked,
    WorkloadSeen,
)
from daemon.core.facts import AlertNoted, CommandRefused, PauseSet, WorkloadRecorded
from daemon.core.model import Alert, AlertStatus, IncidentId, Mode, Workload
from daemon.core.policy import Policy
from daemon.ports import InboxFullError, JournalUnavailableError
from daemon.runtime import codec
from daemon.runtime import engine as engine_module
from daemon.runtime.engine import BATCH_MAX
from tests.core.builders import V1, V2, a_policy, a_view, an_alert
from tests.fakes import Disk, MemoryJournal
from tests.runtime.desk import Desk


async def test_a_command_gets_its_own_facts(desk: Desk) -> None:
    """Each of several commands at once is answered with the facts that it led to, and only once they are on disk."""
    await desk.start()
    commands: list[Command] = [
        desk.paused("a"),
        desk.paused("b"),
        Approved(at=desk.clock.now(), incident=IncidentId("x"), actor="bob"),
    ]
    one, two, three = await asyncio.gather(*(desk.engine.command(command) for command in commands))
    assert [fact.scope for fact in (*one, *two) if isinstance(fact, PauseSet)] == ["a", "b"]
    assert [type(fact) for fact in three] == [CommandRefused]
    on_disk = [fact async for _, fact in desk.journal.history()]
    assert all(fact in on_disk for fact in (*one, *two, *three))


async def test_unwritable_journal_holds_everything(desk: Desk) -> None:
    """While the journal refuses: nothing is accepted, nothing becomes true, nothing is dispatched; then all of it, once."""
    await desk.start()
    desk.journal.refuses = "disk full"
    with pytest.raises(JournalUnavailableError, match="disk full"):
        await desk.engine.accept(desk.paused())
    assert "disk full" in str(desk.engine.ready)
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
    await asyncio.sleep(60)
    assert not desk.engine.state.workloads
    assert not desk.of(WorkloadRecorded)
    assert not desk.dispatched
    desk.journal.refuses = None
    await asyncio.sleep(2)
    assert desk.engine.ready is None
    assert len(desk.of(WorkloadRecorded)) == 1
    assert not desk.engine.state.pauses


async def test_ready_again_by_itself(desk: Desk) -> None:
    """After a refused webhook nobody sends any more (not ready); the engine tries by itself until it is ready."""
    await desk.start()
    desk.journal.refuses = "locked"
    with pytest.raises(JournalUnavailableError):
        await desk.engine.accept(desk.paused())
    await asyncio.sleep(10)
    assert desk.engine.ready is not None
    desk.journal.refuses = None
    await asyncio.sleep(2)
    assert desk.engine.ready is None


async def test_refused_batch_is_written_once(desk: Desk) -> None:
    """A batch that was refused many times is in the journal once, with its cursor."""
    await desk.start()
    await desk.engine.accept(desk.paused("a"))
    desk.journal.refuses = "disk full"
    await asyncio.sleep(5)
    desk.journal.refuses = None
    await asyncio.sleep(2)
    assert [fact.scope async for _, fact in desk.journal.history() if isinstance(fact, PauseSet)] == ["a"]
    assert desk.journal.disk.cursor == 1


async def test_inbox_full() -> None:
    """At the limit nothing more is accepted, writes under way included; what was accepted is not lost."""
    desk = Desk(inbox_max=3)
    await desk.engine.recover()
    desk.journal.slow = 1.0
    asked = [desk.begin(desk.engine.accept(desk.told(str(number)))) for number in range(5)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [InboxFullError] * 2
    with pytest.raises(InboxFullError):
        await desk.engine.accept(desk.told("more"))
    assert len(desk.journal.disk.intake) == 3
    desk.journal.slow = 0.0
    desk.supervisor.eternal("engine", desk.engine.run())
    await desk.engine.rested()
    assert set(desk.engine.state.alerts) == {"0", "1", "2"}
    await desk.engine.accept(desk.told("again"))
    await desk.supervisor.stop()


@pytest.mark.parametrize("cancelled", range(4))
async def test_cancelled_acceptance(desk: Desk, cancelled: int) -> None:
    """A sender that hangs up in the middle of the write costs nobody anything: each event on disk is consumed once."""
    await desk.start()
    desk.journal.slow = 1.0
    senders = [desk.begin(desk.engine.accept(desk.paused(str(number)))) for number in range(4)]
    await asyncio.sleep(0.5)
    senders[cancelled].cancel()
    results = await asyncio.gather(*senders, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 1
    desk.journal.slow = 0.0
    await asyncio.sleep(10)
    kept = [codec.load_event(body) for body in desk.journal.disk.intake.values()]
    assert [fact.scope for fact in desk.of(PauseSet)] == [
        event.scope for event in kept if isinstance(event, PauseAsked)
    ]
    assert len(kept) == 4
    assert desk.journal.disk.cursor == 4


async def test_cancelled_just_before_the_crash() -> None:
    """An event whose sender hung up is not passed by: the next life finds the cursor below it or its facts on disk."""
    disk = Disk()
    desk = Desk(disk)
    await desk.start()
    desk.journal.slow = 1.0
    sender = desk.begin(desk.engine.accept(desk.paused("a")))
    await asyncio.sleep(0.5)
    sender.cancel()
    desk.journal.slow = 0.0
    await desk.engine.accept(desk.paused("b"))
    await desk.supervisor.stop()
    later = Desk(disk)
    await later.start()
    assert set(later.engine.state.pauses) == {"a", "b"}
    await later.supervisor.stop()


async def test_views_are_coalesced(desk: Desk) -> None:
    """Of the views of one workload that wait, the newest is decided; of others none is lost."""
    await desk.engine.recover()
    other = replace(a_view(V1), workload=Workload(namespace="shop", kind="Deployment", name="cart"))
    for view in (a_view(V1), other, a_view(V1, desired=5), a_view(V1, desired=7)):
        desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=view))
    desk.supervisor.eternal("engine", desk.engine.run())
    await desk.engine.rested()
    assert sorted((fact.view.workload.name, fact.view.desired) for fact in desk.of(WorkloadRecorded)) == [
        ("cart", 3),
        ("checkout", 7),
    ]


async def test_batches_are_bounded() -> None:
    """A storm is consumed in transactions of bounded size, all of it, in order."""
    desk = Desk(inbox_max=10_000)
    await desk.engine.recover()
    count = 2 * BATCH_MAX + 10
    for number in range(count):
        await desk.engine.accept(desk.told(str(number)))
    desk.supervisor.eternal("engine", desk.engine.run())
    await desk.engine.rested()
    assert [fact.alert.fingerprint for fact in desk.of(AlertNoted)] == [str(number) for number in range(count)]
    assert max(desk.batches) <= 2 * BATCH_MAX  # each is noted and to be located
    assert desk.journal.disk.writes.count("commit") == 3
    await desk.supervisor.stop()


async def test_deadlines_fire(desk: Desk) -> None:
    """A pause of a minute ends after a minute, not before, with nothing else going on; so it does after a restart."""
    await desk.start()
    for scope, lasts in (("a", 60), ("b", 120)):
        command = replace(desk.paused(scope), lasts=timedelta(seconds=lasts))
        await desk.engine.command(command)
    await asyncio.sleep(59)
    assert set(desk.engine.state.pauses) == {"a", "b"}
    await asyncio.sleep(1.5)
    assert set(desk.engine.state.pauses) == {"b"}
    await desk.supervisor.stop()
    later = Desk(desk.journal.disk)
    later.clock = desk.clock
    later.engine._clock = desk.clock
    await later.start()
    await asyncio.sleep(58)
    assert set(later.engine.state.pauses) == {"b"}
    await asyncio.sleep(2)
    assert not later.engine.state.pauses
    await later.supervisor.stop()


async def test_a_deadline_without_consequence_is_no_busy_loop(desk: Desk) -> None:
    """A bug that leaves a deadline due costs one try a second, and other events do not wait for it."""
    await desk.start()
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
    await desk.engine.rested()
    (soak,) = desk.engine.state.due
    not_now = Outcome(kind=OutcomeKind.FAILED, message="no answer")
    desk.engine.put(ActionFinished(at=desk.clock.now(), action_id=soak.id, outcome=not_now))
    await desk.engine.rested()
    deadline = desk.engine.state.next_deadline()
    assert deadline is not None
    good, desk.policy = desk.policy, cast("Policy", object())  # every use of it is an error
    await asyncio.sleep((deadline - desk.clock.now()).total_seconds() + 10)
    assert 8 <= len(desk.stumbles) <= 12
    assert set(desk.stumbles) == {"deadline_passed"}
    began = desk.clock.now()
    assert await desk.engine.command(desk.paused("b"))
    assert desk.clock.now() - began < timedelta(seconds=0.1)
    desk.policy = good
    await asyncio.sleep(2)
    assert len(desk.engine.state.due) == 1


async def test_an_event_that_cannot_be_judged(desk: Desk) -> None:
    """A bug in `decide` costs that event: it is counted, its asker is told, the others and later ones are decided."""
    await desk.start()
    bad = replace(desk.paused("bad"), lasts=timedelta.max)  # no such date: decide raises
    commands: list[Command] = [desk.paused("a"), bad, desk.paused("b")]
    one, two, three = await asyncio.gather(*map(desk.engine.command, commands), return_exceptions=True)
    assert isinstance(two, OverflowError)
    assert one
    assert three
    assert desk.stumbles == ["pause_asked"]
    assert set(desk.engine.state.pauses) == {"a", "b"}
    assert desk.journal.disk.cursor == 3


async def test_telling_does_not_stop_deciding(desk: Desk) -> None:
    """A bug in logs or metrics is no reason to stop: what was decided is dispatched and answered."""

    def broken(facts: Any, state: Any) -> None:
        raise ValueError("a label too many")

    desk.engine._told = broken
    await desk.start()
    assert await desk.engine.command(desk.paused("a"))


async def test_a_policy_change_does_not_alter_a_replay(desk: Desk) -> None:
    """The next life under another policy holds the same state to the byte: a replay never decides again."""
    await desk.start()
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
    await desk.engine.rested()
    before = codec.dump_state(desk.engine.state)
    later = Desk(desk.journal.disk)
    later.policy = a_policy(default_mode=Mode.OBSERVE, soak=timedelta(days=9))
    await later.engine.recover()
    assert codec.dump_state(later.engine.state) == before


async def test_owed_actions_are_asked_after_first(desk: Desk) -> None:
    """After a restart what was due is dispatched as uncertain, once, and only by `resume`."""
    await desk.start()
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
    await desk.engine.rested()
    owed = [action.id for action, uncertain in desk.dispatched if not uncertain]
    assert owed
    await desk.supervisor.stop()
    later = Desk(desk.journal.disk)
    await later.engine.recover()
    assert later.dispatched == []
    later.engine.resume()
    later.supervisor.eternal("engine", later.engine.run())
    await later.engine.rested()
    assert [(action.id, uncertain) for action, uncertain in later.dispatched] == [(name, True) for name in owed]
    await later.supervisor.stop()


async def test_snapshots_are_taken(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many facts, those of earlier lives counted, a snapshot is taken, so that no start has to fold for long."""
    monkeypatch.setattr(engine_module, "COMPACT_AFTER_FACTS", 10)
    disk = Disk()
    for _ in range(4):
        life = Desk(disk)
        await life.start()
        for scope in ("a", "b"):
            await life.engine.command(life.paused(scope))
        await life.supervisor.stop()
    assert disk.writes.count("compact") == 1
    assert (await MemoryJournal(disk).load()).state.pauses.keys() == {"a", "b"}


async def test_a_refused_snapshot_is_no_fault(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that cannot be written now is tried again after the next facts."""
    await desk.start()
    desk.journal.refuses = "disk full"
    await desk.engine.compact()
    desk.journal.refuses = None
    await desk.engine.command(desk.paused("a"))
    assert desk.engine.state.pauses


async def test_ready(desk: Desk) -> None:
    """Not ready while the journal is read, then while something else is missing, each by its reason."""
    assert desk.engine.ready == "the journal is being read"
    await desk.engine.recover()
    assert desk.engine.ready == "caches are not synced"
    desk.engine.waits_for(None)
    assert desk.engine.ready is None


async def test_held_until_decided() -> None:
    """Commands are accepted before anything is decided, and answered when deciding begins."""
    desk = Desk()
    await desk.engine.recover()
    asked = desk.begin(desk.engine.command(ResumeAsked(at=desk.clock.now(), scope="x", actor="ann")))
    await asyncio.sleep(30)
    assert not asked.done()
    assert len(desk.journal.disk.intake) == 1
    desk.supervisor.eternal("engine", desk.engine.run())
    assert [type(fact) for fact in await asked] == [CommandRefused]
    await desk.supervisor.stop()


async def test_a_newer_view_waits_its_turn(desk: Desk) -> None:
    """A view that comes while its forerunner is being written is decided after it, not instead of it."""
    await desk.start()
    desk.journal.slow = 1.0
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))
    await asyncio.sleep(0.5)
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V2)))
    await desk.engine.rested()
    assert [fact.view.current.id for fact in desk.of(WorkloadRecorded)] == [V1.id, V2.id]


async def test_owed_anew_under_the_same_id(desk: Desk) -> None:
    """An action that is settled and owed anew in one batch (an alert that resolves and fires again) is carried out anew."""
    await desk.start()
    firing, gone = an_alert(), replace(an_alert(), status=AlertStatus.RESOLVED)

    async def reported(*alerts: Alert) -> None:
        for alert in alerts:
            now = desk.clock.now()
            await desk.engine.accept(AlertsReported(at=now, source=AlertSource.WEBHOOK, alerts=(alert,)))

    await reported(firing)
    await desk.engine.rested()
    ((locate, _),) = desk.dispatched
    nowhere = Outcome(kind=OutcomeKind.FAILED, message="no answer")
    desk.journal.slow = 1.0
    desk.engine.put(WorkloadSeen(at=desk.clock.now(), view=a_view(V1)))  # being written while the rest gathers
    await asyncio.sleep(0.1)
    desk.engine.put(ActionFinished(at=desk.clock.now(), action_id=locate.id, outcome=nowhere))
    desk.journal.slow = 0.0
    await reported(gone, firing)
    await desk.engine.rested()
    assert [action.id for action, _ in desk.dispatched if action.kind == "locate"] == [locate.id, locate.id]
