"""The dispatcher on virtual time: every action ends in one outcome, tried as often as may be and never twice at once."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args, get_type_hints

import pytest

from daemon.core.actions import Action, Locate, OutcomeKind
from daemon.core.model import ActionId
from daemon.core.notices import Vendor
from daemon.runtime.dispatch import AT_ONCE_MAX, ATTEMPT_SECONDS
from tests.core.builders import an_alert
from tests.handlers.pipelines import owed
from tests.runtime.dispatch_bench import DONE, Bench
from tests.runtime.lives import RefusalError, TroubleError


async def test_done(bench: Bench) -> None:
    """One attempt, one outcome, with how long it took."""
    bench.runs = [3.0]
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert (bench.outcome.kind, bench.outcome.attempts, bench.outcome.took) == (
        OutcomeKind.DONE,
        1,
        timedelta(seconds=3),
    )
    assert bench.attempts == [("roll_back", "done")]


async def test_vetoed_before_the_patch(bench: Bench) -> None:
    """What is forbidden in the moment before it is carried out is refused, and its runner is not called."""
    bench.forbidden = "everything paused by ann"
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert (bench.outcome.kind, bench.outcome.message) == (OutcomeKind.REFUSED, "everything paused by ann")
    assert bench.names == []


async def test_a_veto_does_not_hide_what_happened(bench: Bench) -> None:
    """After a restart it is asked first whether the patch is there: a pause since then cannot undo it."""
    bench.forbidden, bench.probes = "everything paused by ann", [DONE]
    bench.dispatcher.start(bench.roll_back(), uncertain=True)
    await bench.ends()
    assert bench.outcome.kind is OutcomeKind.DONE
    assert bench.names == ["probe"]


async def test_back_off(bench: Bench) -> None:
    """Trouble is tried again after waits that double up to a minute; the outcome counts the attempts."""
    bench.runs = [*[TroubleError()] * 10, DONE]
    bench.dispatcher.start(bench.soak())
    await bench.ends()
    moments = [moment for _, moment in bench.calls]
    waits = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60], abs=0.01)
    assert bench.outcome.attempts == 11


async def test_retry_after(bench: Bench) -> None:
    """A wait that the peer asks for counts where it is longer, also for the first attempt."""
    bench.runs = [TroubleError(retry_after=90.0), TroubleError(retry_after=0.1), DONE]
    bench.dispatcher.start(bench.soak())
    await bench.ends()
    assert [moment for _, moment in bench.calls] == pytest.approx([0, 90, 91], abs=0.01)


async def test_deadline(bench: Bench) -> None:
    """Tried until the deadline and not beyond it, however long a wait was asked for; it says what the trouble was."""
    bench.runs = [TroubleError("no route to host", retry_after=300.0)]
    bench.dispatcher.start(bench.soak(seconds=40))
    await bench.ends()
    assert bench.outcome.kind is OutcomeKind.FAILED
    assert "no route to host" in bench.outcome.message
    assert bench.finished[0].at - bench.began == pytest.approx(timedelta(seconds=40), abs=timedelta(seconds=0.1))
    assert bench.names == ["run"]


async def test_already_late(bench: Bench) -> None:
    """An action whose deadline has passed before it could start is not carried out."""
    bench.dispatcher.start(bench.roll_back(seconds=-1))
    await bench.ends()
    assert bench.outcome.kind is OutcomeKind.FAILED
    assert bench.calls == []


async def test_permanent(bench: Bench) -> None:
    """What will never work fails at once, with the reason."""
    bench.runs = [RefusalError("403: no right to patch")]
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert (bench.outcome.kind, bench.outcome.message) == (OutcomeKind.FAILED, "403: no right to patch")
    assert bench.names == ["run"]


async def test_bug(bench: Bench) -> None:
    """A bug in a runner ends as FAILED and is counted; it leaves nothing owed for ever."""
    bench.runs = [ZeroDivisionError("division by zero")]
    bench.dispatcher.start(bench.soak())
    await bench.ends()
    assert bench.outcome.kind is OutcomeKind.FAILED
    assert "ZeroDivisionError" in bench.outcome.message
    assert ("prove_soak", "bug") in bench.attempts


@pytest.mark.parametrize("kind", list(ATTEMPT_SECONDS))
async def test_attempts_are_limited(bench: Bench, kind: str) -> None:
    """An attempt that hangs is cut off after its kind's time."""
    bench.runs = [10_000.0, DONE]
    action: Any = {"roll_back": bench.roll_back, "prove_soak": bench.soak}.get(kind, lambda: Named(bench, kind))()
    bench.dispatcher.start(action)
    await bench.ends()
    assert bench.calls[1][1] == pytest.approx(ATTEMPT_SECONDS[kind] + 0.5, abs=0.01)
    assert (kind, "timeout") in bench.attempts


class Named:
    """An action of which only id, kind and deadline count."""

    def __init__(self, bench: Bench, kind: str) -> None:
        self.id, self.kind, self.deadline = f"x/{kind}", kind, bench.clock.now() + timedelta(hours=1)


def test_every_kind_has_a_limit() -> None:
    """No kind of action is without a limit of its attempts."""
    assert set(ATTEMPT_SECONDS) == {get_args(get_type_hints(each)["kind"])[0] for each in get_args(Action)}


async def test_never_twice_at_once(bench: Bench) -> None:
    """An action that is under way is not started again; after its end it may be."""
    bench.runs = [5.0]
    for _ in range(3):
        bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert bench.names == ["run"]
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert bench.names == ["run", "run"]


async def test_bounded(bench: Bench) -> None:
    """A storm of measurements is carried out so many at a time, all of it; a rollback does not wait behind them."""
    bench.runs = [10.0]
    for number in range(3 * AT_ONCE_MAX):
        bench.dispatcher.start(bench.soak(f"soak/{number}"))
    await asyncio.sleep(1)
    assert bench.at_once == AT_ONCE_MAX
    bench.dispatcher.start(bench.roll_back())
    await asyncio.sleep(0.1)
    assert bench.at_once == AT_ONCE_MAX + 1
    await bench.ends()
    assert len(bench.finished) == 3 * AT_ONCE_MAX + 1
    assert bench.most_at_once == AT_ONCE_MAX + 1


async def test_marks_hold_up_nobody(bench: Bench) -> None:
    """Answers to pipelines whose vendor hangs take no slot of a rollback or a page, and are bounded themselves."""
    bench.runs = [10.0]
    answer = owed(Vendor.GITHUB)
    for number in range(2 * AT_ONCE_MAX):
        bench.dispatcher.start(
            replace(answer, id=ActionId(f"answer/{number}"), deadline=bench.clock.now() + timedelta(hours=1))
        )
    await asyncio.sleep(1)
    assert bench.at_once == AT_ONCE_MAX
    bench.dispatcher.start(bench.roll_back())
    await asyncio.sleep(0.1)
    assert bench.at_once == AT_ONCE_MAX + 1
    await bench.ends()


async def test_a_storm_of_alerts_holds_up_no_measurement(bench: Bench) -> None:
    """Alerts that are being located take no slot of what an incident measures, and are bounded themselves."""
    bench.runs = [10.0]
    for number in range(3 * AT_ONCE_MAX):
        alert, deadline = an_alert(f"{number:016x}"), bench.clock.now() + timedelta(hours=1)
        bench.dispatcher.start(Locate(id=ActionId(f"locate/{number}"), deadline=deadline, alert=alert))
    await asyncio.sleep(1)
    assert bench.at_once == AT_ONCE_MAX
    bench.dispatcher.start(bench.soak("soak/1"))
    await asyncio.sleep(0.1)
    assert bench.at_once == AT_ONCE_MAX + 1
    await bench.ends()


async def test_late_in_the_queue(bench: Bench) -> None:
    """What waited for its turn beyond its deadline is not carried out."""
    bench.runs = [30.0]
    for number in range(AT_ONCE_MAX):
        bench.dispatcher.start(bench.soak(f"soak/{number}"))
    await asyncio.sleep(0)
    bench.dispatcher.start(bench.soak("late", seconds=10))
    await bench.ends()
    assert len(bench.calls) == AT_ONCE_MAX
    (late,) = [finished for finished in bench.finished if finished.action_id == "late"]
    assert late.outcome.kind is OutcomeKind.FAILED


async def test_closed(bench: Bench) -> None:
    """Once closed nothing is begun, nothing is tried again, and what is under way may end; the rest stays owed."""
    bench.runs = [5.0, TroubleError(retry_after=200.0)]
    bench.dispatcher.start(bench.roll_back("a"))
    bench.dispatcher.start(bench.roll_back("b"))
    await asyncio.sleep(1)
    bench.dispatcher.close()
    bench.dispatcher.start(bench.roll_back("c"))
    began = bench.clock.now()
    assert await bench.supervisor.drain(20) == 0
    assert bench.clock.now() - began == pytest.approx(timedelta(seconds=4), abs=timedelta(seconds=0.1))
    assert [finished.action_id for finished in bench.finished] == ["a"]
    assert bench.names == ["run", "run"]


async def test_cancelled(bench: Bench) -> None:
    """An action that is cut off by the end of the process has no outcome: it stays owed, and is asked after next time."""
    bench.runs = [500.0]
    bench.dispatcher.start(bench.roll_back())
    assert await bench.supervisor.drain(1) == 1
    await bench.supervisor.stop()
    assert bench.finished == []
