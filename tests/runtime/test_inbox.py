"""What waits to be decided: how much may, who goes first, and what a crash in between costs nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from daemon.core.actions import Locate, Located, Outcome, OutcomeKind
from daemon.core.events import ActionFinished, Started, WorkloadSeen
from daemon.core.facts import AlertNoted, PauseSet
from daemon.core.model import ActionId, Workload
from daemon.ports import InboxFullError, Journalled
from daemon.runtime import engine as engine_module
from daemon.runtime import inbox as inbox_module
from daemon.runtime.engine import BATCH_MAX, LOCATING_MAX
from daemon.runtime.inbox import COMMANDS_MAX, Inbox, size_of
from tests.core.builders import NOON, V1, a_location, a_view
from tests.runtime.desk import Desk


def filled(desk: Desk, *, outcomes: int = 0, commands: int = 0, views: int = 0, told: int = 0) -> Inbox:
    """An inbox in which so much waits, what was told first."""
    inbox = Inbox(events_max=1000, bytes_max=10**9)
    events: list[Journalled] = [
        *(desk.told(str(each)) for each in range(told)),
        *(desk.paused(str(each)) for each in range(commands)),
    ]
    for seq, event in enumerate(events, start=1):
        inbox.arrive(seq, event, inbox.reserve(event))
    for each in range(views):
        workload = Workload(namespace="shop", kind="Deployment", name=f"d{each}")
        inbox.put(WorkloadSeen(at=NOON, view=a_view(V1, workload=workload)))
    for _ in range(outcomes):
        inbox.put(Started(at=NOON, down_since=None))
    return inbox


async def test_who_goes_first(desk: Desk) -> None:
    """Outcomes, then commands, then views, then what was told, whatever came first."""
    inbox = filled(desk, outcomes=2, commands=2, views=2, told=2)
    kinds = [taken.event.kind for taken in inbox.take(64)]
    assert kinds == ["started"] * 2 + ["pause_asked"] * 2 + ["workload_seen"] * 2 + ["alerts_reported"] * 2
    assert not inbox.wake.is_set()


async def test_nobody_starves(desk: Desk) -> None:
    """However much of what goes first waits, each batch holds some of what comes after it."""
    inbox = filled(desk, outcomes=500, commands=100, views=500, told=100)
    kinds = [taken.event.kind for taken in inbox.take(BATCH_MAX)]
    assert len(kinds) == BATCH_MAX
    assert set(kinds) == {"started", "pause_asked", "alerts_reported"}
    while "started" in (kinds := [taken.event.kind for taken in inbox.take(BATCH_MAX)]):
        assert "alerts_reported" in kinds or not inbox.events
    inbox = filled(desk, views=500, told=100)
    assert {taken.event.kind for taken in inbox.take(BATCH_MAX)} == {"workload_seen", "alerts_reported"}


async def test_consumed_up_to(desk: Desk) -> None:
    """While an older alert waits, what was taken before it does not count as consumed up to there."""
    inbox = filled(desk, told=3, commands=1)
    assert [taken.seq for taken in inbox.take(1 + inbox_module.ROOM, intake=False)] == [4]
    assert inbox.consumed() == 0
    assert [taken.seq for taken in inbox.take(2)] == [1, 2]
    assert inbox.consumed() == 2
    (last,) = inbox.take(64)
    assert inbox.consumed() == 4
    inbox.put_back([last])
    assert inbox.consumed() == 2
    assert inbox.wake.is_set()


async def test_texts_are_bounded() -> None:
    """What waits is bounded by its size, too: few large webhooks are as much as many small ones; one alone always goes."""
    desk = Desk(inbox_max=1000, inbox_bytes_max=20_000)
    await desk.engine.recover()
    await desk.engine.accept(desk.told("a", text="x" * 15_000))
    with pytest.raises(InboxFullError, match="bytes are waiting"):
        await desk.engine.accept(desk.told("b", text="x" * 15_000))
    await desk.engine.accept(desk.told("c", text="x" * 1000))
    assert len(desk.journal.disk.intake) == 2
    desk.supervisor.eternal("engine", desk.engine.run())
    await desk.engine.rested()
    await desk.engine.accept(desk.told("d", text="x" * 1_000_000))
    await desk.engine.rested()
    assert set(desk.engine.state.alerts) == {"a", "c", "d"}
    await desk.supervisor.stop()
    assert (desk.engine.inbox.events, desk.engine.inbox.bytes) == (0, 0)


async def test_refused_writes_give_their_room_back(desk: Desk) -> None:
    """What the journal could not keep holds no room, of whichever kind."""
    await desk.start()
    desk.journal.refuses = "disk full"
    for _ in range(2 * COMMANDS_MAX):
        for event in (desk.told("a"), desk.paused("a")):
            with pytest.raises(Exception, match="disk full"):
                await desk.engine.accept(event)
    desk.journal.refuses = None
    await desk.engine.accept(desk.told("a"))
    await desk.engine.command(desk.paused("a"))


async def test_a_command_does_not_wait_behind_a_flood() -> None:
    """With an inbox full of webhooks a person's command is accepted, decided in the next batch, and answered."""
    desk = Desk(inbox_max=1000)
    await desk.engine.recover()
    for number in range(1000):
        await desk.engine.accept(desk.told(str(number)))
    with pytest.raises(InboxFullError):
        await desk.engine.accept(desk.told("more"))
    asked = desk.begin(desk.engine.command(desk.paused("shop")))
    await asyncio.sleep(0.01)
    desk.supervisor.eternal("engine", desk.engine.run())
    assert [fact.scope for fact in await asked if isinstance(fact, PauseSet)] == ["shop"]
    assert len(desk.of(AlertNoted)) <= BATCH_MAX
    await desk.supervisor.stop()


async def test_our_own_reading_finds_room() -> None:
    """What Alertmanager's API was asked for gets into a full inbox: a flood must not keep a recovery from being seen."""
    desk = Desk(inbox_max=1)
    await desk.engine.recover()
    await desk.engine.accept(desk.told("a"))
    await desk.engine.accept(replace(desk.told("a"), complete=True))
    with pytest.raises(InboxFullError):
        await desk.engine.accept(desk.told("b"))


async def test_commands_have_a_limit_of_their_own(desk: Desk) -> None:
    """Commands without end are refused, too, and webhooks are accepted as before."""
    await desk.engine.recover()
    asked = [desk.begin(desk.engine.command(desk.paused(str(number)))) for number in range(COMMANDS_MAX + 1)]
    with pytest.raises(InboxFullError, match="commands are waiting"):
        await asyncio.wait_for(asked[-1], 5)
    await desk.engine.accept(desk.told("a"))


@pytest.mark.parametrize("decided", [True, False])
async def test_a_crash_after_a_command_that_went_first(decided: bool) -> None:
    """Older alerts that still waited are decided in the next life; the command, once decided, is not decided again."""
    desk = Desk(inbox_max=1000)
    await desk.engine.recover()
    for number in range(3):
        await desk.engine.accept(desk.told(str(number)))
    asked = desk.begin(desk.engine.command(desk.paused("shop")))
    await asyncio.sleep(0.01)
    if decided:
        desk.engine._locating = LOCATING_MAX  # nothing that was told is taken
        desk.supervisor.eternal("engine", desk.engine.run())
        await asked
        assert not desk.of(AlertNoted)
    await desk.supervisor.stop()
    later = Desk(desk.journal.disk, inbox_max=1000)
    await later.start()
    assert set(later.engine.state.alerts) == {"0", "1", "2"}
    assert len(later.of(PauseSet)) == (0 if decided else 1)
    assert set(later.engine.state.pauses) == {"shop"}
    await later.supervisor.stop()


async def test_a_long_batch_ends_early(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where deciding takes long, what was told goes back but for one, and is decided in order by the next batches."""
    monkeypatch.setattr(engine_module, "BATCH_SECONDS", -1.0)
    await desk.engine.recover()
    for number in range(5):
        await desk.engine.accept(desk.told(str(number)))
    desk.supervisor.eternal("engine", desk.engine.run())
    await desk.engine.rested()
    assert [fact.alert.fingerprint for fact in desk.of(AlertNoted)] == list("01234")
    assert desk.batches == [3, 2, 2, 2, 2], "the start, and one webhook for each transaction: noted, and to be located"


async def test_intake_waits_for_what_it_led_to() -> None:
    """With LOCATING_MAX alerts being located nothing more that was told is decided; with one located, it goes on."""
    desk = Desk(inbox_max=10_000)
    await desk.start()
    names = [f"{number:05x}" for number in range(LOCATING_MAX + 2 * BATCH_MAX)]
    for name in names:
        await desk.engine.accept(desk.told(name))
    await asyncio.sleep(60)
    held = len(names) - len(desk.engine.state.alerts)
    assert 0 < held <= 2 * BATCH_MAX
    await desk.engine.command(desk.paused("shop"))
    while held and desk.dispatched:
        action, _ = desk.dispatched.pop(0)
        if isinstance(action, Locate):
            finish(desk, action.id)
            await asyncio.sleep(0.1)
            held = len(names) - len(desk.engine.state.alerts)
    assert not held
    await desk.supervisor.stop()


def finish(desk: Desk, action: ActionId) -> None:
    """The alert belongs to nothing."""
    outcome = Outcome(kind=OutcomeKind.DONE, result=Located(location=replace(a_location(), workloads=())))
    desk.engine.put(ActionFinished(at=desk.clock.now(), action_id=action, outcome=outcome))


async def test_more_alerts_than_the_state_may_know(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many alerts firing a new one is refused; what is known, and a reading of all that exist, is accepted."""
    monkeypatch.setattr(inbox_module, "ALERTS_KNOWN_MAX", 3)
    await desk.start()
    await desk.engine.accept(desk.told("a", "b", "c"))
    await desk.engine.rested()
    with pytest.raises(InboxFullError, match="3 alerts fire already"):
        await desk.engine.accept(desk.told("a", "d"))
    await desk.engine.accept(desk.told("a", "b"))
    await desk.engine.accept(replace(desk.told("a", "e"), complete=True))
    await desk.engine.rested()
    assert set(desk.engine.state.alerts) == {"a", "b", "c", "e"}


async def test_an_event_weighs_its_texts(desk: Desk) -> None:
    """Labels and annotations count, and every alert a little more."""
    small, large = size_of(desk.told("a")), size_of(desk.told("a", text="x" * 1000))
    assert large == small + 1000
    assert size_of(desk.told("a", "b")) == 2 * small
