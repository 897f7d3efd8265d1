"""What may have happened is asked after before it is done again, and a rollback beyond its deadline too."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.actions import Outcome, OutcomeKind, PageKind
from daemon.runtime.dispatch import ASK_ON_FOR
from tests.handlers.telling import page
from tests.runtime.dispatch_bench import DONE, Bench
from tests.runtime.lives import RefusalError, TroubleError


async def test_lost_answer(bench: Bench) -> None:
    """A write whose answer was lost is asked after before it is done again; settled by the answer where it happened."""
    bench.runs = [TroubleError("broken pipe"), DONE]
    bench.probes = [Outcome(kind=OutcomeKind.DONE, message="found on the object")]
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert bench.names == ["run", "probe"]
    assert bench.outcome.message == "found on the object"


async def test_lost_answer_that_did_not_happen(bench: Bench) -> None:
    """Where it did not happen it is done, and asked after again when that answer is lost too."""
    bench.runs = [TroubleError(), TroubleError(), DONE]
    bench.dispatcher.start(bench.roll_back())
    await bench.ends()
    assert bench.names == ["run", "probe", "run", "probe", "run"]
    assert bench.outcome.kind is OutcomeKind.DONE


async def test_a_question_is_not_asked_after(bench: Bench) -> None:
    """A measurement changes nothing, so a lost answer is simply asked for again."""
    bench.runs = [TroubleError(), DONE]
    bench.dispatcher.start(bench.soak())
    await bench.ends()
    assert bench.names == ["run", "run"]


async def test_lost_answer_at_the_deadline(bench: Bench) -> None:
    """A write whose answer is lost as its time runs out is asked after once more, or nobody would know that it happened."""
    bench.runs = [1000.0]
    bench.probes = [DONE]
    bench.dispatcher.start(bench.roll_back(seconds=30))
    await bench.ends()
    assert bench.names == ["run", "probe"]
    assert bench.outcome.kind is OutcomeKind.DONE


async def test_an_answer_lost_beyond_the_deadline(bench: Bench) -> None:
    """An API server that is gone beyond the deadline is asked until it is back: a rollback that happened counts as one."""
    bench.runs = [1000.0]
    bench.probes = [*[TroubleError("no route to host")] * 30, DONE]
    bench.dispatcher.start(bench.roll_back(seconds=30))
    await bench.ends()
    assert bench.names == ["run", *["probe"] * 31]
    assert bench.outcome.kind is OutcomeKind.DONE
    assert bench.finished[0].at - bench.began > timedelta(minutes=20)


async def test_what_did_not_happen_is_not_done_late(bench: Bench) -> None:
    """Found beyond the deadline not to have happened, it is given up: nobody expects a rollback any more."""
    bench.runs = [1000.0]
    bench.probes = [TroubleError("no route to host"), None]
    bench.dispatcher.start(bench.roll_back(seconds=30))
    await bench.ends()
    assert bench.names == ["run", "probe", "probe"]
    assert (bench.outcome.kind, bench.outcome.message) == (OutcomeKind.FAILED, "given up: no route to host")


async def test_nobody_knows(bench: Bench) -> None:
    """When that gets no answer for a day, asked once a minute, the outcome says that it is unknown, not that it failed."""
    bench.runs = [1000.0]
    bench.probes = [TroubleError("no route to host")]
    bench.dispatcher.start(bench.roll_back(seconds=30))
    await bench.ends()
    assert bench.outcome.kind is OutcomeKind.UNKNOWN
    assert bench.finished[0].at - bench.began == pytest.approx(ASK_ON_FOR, abs=timedelta(minutes=2))
    assert bench.names.count("run") == 1
    assert len(bench.names) == pytest.approx(ASK_ON_FOR / timedelta(minutes=1), rel=0.02)


async def test_a_page_is_not_held_up_by_a_question(bench: Bench) -> None:
    """Only a rollback is asked after beyond its deadline: of a page that may be lost, people hear at once."""
    bench.runs = [1000.0]
    bench.probes = [TroubleError("no route to host")]
    bench.dispatcher.start(replace(page(PageKind.TRIGGER), deadline=bench.clock.now() + timedelta(seconds=15)))
    await bench.ends()
    assert bench.names == ["run", "probe"]
    assert bench.outcome.kind is OutcomeKind.UNKNOWN


async def test_who_may_not_ask_does_not_know(bench: Bench) -> None:
    """A refusal of the question (a role that is gone for a while) is no word about the rollback: asked again, and found done."""
    bench.probes = [RefusalError("403: no right to get"), RefusalError("403: no right to get"), DONE]
    bench.dispatcher.start(bench.roll_back(), uncertain=True)
    await bench.ends()
    assert bench.names == ["probe", "probe", "probe"]
    assert bench.outcome.kind is OutcomeKind.DONE


async def test_who_may_never_ask_says_so(bench: Bench) -> None:
    """Refused for a day, the outcome is unknown, with the refusal's words."""
    bench.probes = [RefusalError("403: no right to get")]
    bench.dispatcher.start(bench.roll_back(seconds=30), uncertain=True)
    await bench.ends()
    assert "run" not in bench.names
    assert (bench.outcome.kind, bench.outcome.message) == (OutcomeKind.UNKNOWN, "given up: 403: no right to get")


@pytest.mark.parametrize(("seconds", "calls"), [(600, ["probe", "run"]), (-5, ["probe"])])
async def test_uncertain_from_the_start(bench: Bench, seconds: float, calls: list[str]) -> None:
    """After a restart the world is asked first; what did not happen is done, unless it is too late."""
    bench.dispatcher.start(bench.roll_back(seconds=seconds), uncertain=True)
    await bench.ends()
    assert bench.names == calls
