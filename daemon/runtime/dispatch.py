"""Carries out actions through their runners: timeout, retry with back-off until the deadline, and always one Outcome.

An action that may have happened already (after a restart, or after a write whose answer was lost) is probed before it is run
(DESIGN: on start, ask before acting). A rollback is asked after beyond its deadline, but not begun. The outcome goes back to the
engine as an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import structlog

from daemon.core.actions import (
    Action,
    Announce,
    AnswerPipeline,
    EndSuspension,
    Locate,
    NoteChange,
    Outcome,
    OutcomeKind,
    Page,
    RevertCommit,
    RollBack,
)
from daemon.core.events import ActionFinished
from daemon.ports import Clock, Leadership, Runner
from daemon.runtime.leading import Alone, while_leading
from daemon.runtime.supervise import Supervisor

log = structlog.get_logger()

ATTEMPT_SECONDS: Mapping[str, float] = {
    "locate": 40.0,  # three queries of 10 s each for the onset, 8 s for since when it is felt
    "measure": 30.0,  # a few queries of 10 s each; an older answer would not say how it is now
    "prove_soak": 60.0,  # range queries over up to a day
    "check_target": 60.0,  # reads what the target refers to, then a dry run: each may take the API's 30 s
    "roll_back": 60.0,  # dry run and patch; a patch is not to be cut off while the API server is slow
    "end_suspension": 30.0,  # one reading and one patch, likewise
    "page": 20.0,  # one POST of at most 15 s
    "announce": 60.0,  # its turn in the channel, the look whether it was posted before, the post
    "answer_pipeline": 30.0,  # up to four requests of at most 7 s each: look, write, look again, write
    "revert_commit": 90.0,  # a dozen requests of at most 7 s each: look, commit, branch, merge, pull request
    "note_change": 20.0,  # one POST of at most 15 s, as a page
}
"""Limit of one attempt by kind, in seconds: what its requests may take. A half-open connection is dead after that."""

BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 60.0
"""Waits between attempts double from the first to the maximum; a vendor's Retry-After counts where it is longer."""

ASK_ON_FOR = timedelta(hours=24)
"""How long after its deadline a rollback whose answer was lost is asked after. Quarantine, cooling down and blast radius need to
know of it, and nobody waits for the answer: a person has the incident from the deadline on. An API server that is gone for
longer comes back as another cluster, mostly.
"""

AT_ONCE_MAX = 64
"""Actions carried out at the same time, so that a storm does not become one on Prometheus or the API server. Locating alerts,
looking, acting and leaving marks for later readers are counted apart: a storm of alerts must not hold up the measurements
of an incident, nor a hundred measurements that hang, or a pipeline's vendor that is down, a rollback or a page.
"""


LANES = ("locate", "look", "act", "mark")
"""What is counted apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The exception types by which runners tell "try again" from "never will" (`handlers.faults`, put in by the app)."""

    transient: type[Exception]
    permanent: type[Exception]


class _UnansweredError(Exception):
    """Who was asked what became of an action refused to say: that is no word about the action."""

    def __init__(self, fault: Exception) -> None:
        super().__init__(str(fault))
        self.kind = getattr(fault, "kind", None)


@dataclass(slots=True)
class _Try:
    """Where one action stands between its attempts."""

    uncertain: bool
    attempt: int = 0
    asked_late: bool = False
    wait: float = BACKOFF_FIRST_SECONDS
    last_error: str = "its deadline passed"
    settled: Outcome | None = field(default=None)


class Dispatcher:
    """Runs due actions, each once at a time. `finish` takes the outcome event; `attempted(kind, result)` feeds the metrics.

    `veto` says what forbids an action in the moment before it is carried out, None where nothing does. Who does not lead any
    more, by `leadership`, begins nothing, and what is under way is cut: it stays owed, and the next leader asks after it.
    """

    def __init__(
        self,
        runners: Mapping[str, Runner[Any]],
        clock: Clock,
        supervisor: Supervisor,
        faults: Faults,
        *,
        finish: Callable[[ActionFinished], None],
        attempted: Callable[[str, str], None],
        veto: Callable[[Action], str | None] = lambda action: None,
        leadership: Leadership | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._runners = runners
        self._clock = clock
        self._supervisor = supervisor
        self._faults = faults
        self._finish = finish
        self._attempted = attempted
        self._veto = veto
        self._leadership = leadership or Alone()
        self._draw = draw
        self._under_way: set[str] = set()
        self._slots = {lane: asyncio.Semaphore(AT_ONCE_MAX) for lane in LANES}
        self._closed = asyncio.Event()

    def start(self, action: Action, *, uncertain: bool = False) -> None:
        """Carry out the action in the background unless it is under way; `uncertain`: it may have happened already."""
        if action.id not in self._under_way and not self._closed.is_set():
            self._under_way.add(action.id)
            self._supervisor.passing(action.id, self._carry_out(action, _Try(uncertain=uncertain)))

    def close(self) -> None:
        """Begin nothing more, no further attempt either: what is owed is on disk, and asked after in the next life."""
        self._closed.set()

    @property
    def _ends(self) -> bool:
        return self._closed.is_set() or not self._leadership.leads

    async def _carry_out(self, action: Action, state: _Try) -> None:
        began = self._clock.now()
        try:
            while state.settled is None:
                if self._ends:
                    return
                state.attempt += 1
                await self._once(action, state)
        finally:
            self._under_way.discard(action.id)
        outcome = replace(state.settled, took=self._clock.now() - began, attempts=state.attempt)
        self._attempted(action.kind, outcome.kind)
        self._finish(ActionFinished(at=self._clock.now(), action_id=action.id, outcome=outcome))

    async def _once(self, action: Action, state: _Try) -> None:
        try:
            async with self._slots[_lane(action)]:
                if self._too_late(action, state) or self._ends:
                    return
                async with while_leading(self._leadership), asyncio.timeout(ATTEMPT_SECONDS[action.kind]):
                    await self._ask_or_run(action, state)
        except self._faults.permanent as fault:
            self._attempted(action.kind, _label(fault))
            state.settled = Outcome(kind=OutcomeKind.FAILED, message=str(fault))
        except (self._faults.transient, _UnansweredError, TimeoutError) as fault:
            await self._again(action, state, fault)
        except Exception as error:  # a bug in a runner must not leave the action owed for ever without a word
            log.exception("runner_failed", action=action.id)
            self._attempted(action.kind, "bug")
            state.settled = Outcome(kind=OutcomeKind.FAILED, message=f"{type(error).__name__}: {error}")

    def _too_late(self, action: Action, state: _Try) -> bool:
        """Give up in the end; but what may have happened is asked after once more, or nobody would ever know."""
        if self._left(action, state) > timedelta(0):
            return False
        if state.uncertain and not state.asked_late:
            state.asked_late = True
            return False
        kind = OutcomeKind.UNKNOWN if state.uncertain else OutcomeKind.FAILED
        state.settled = Outcome(kind=kind, message=f"given up: {state.last_error}")
        return True

    def _left(self, action: Action, state: _Try) -> timedelta:
        """How long it is tried for yet, by doing or, where it may have happened, by asking."""
        asked_on = ASK_ON_FOR if state.uncertain and isinstance(action, RollBack) else timedelta(0)
        return action.deadline + asked_on - self._clock.now()

    async def _ask_or_run(self, action: Action, state: _Try) -> None:
        runner = self._runners[action.kind]
        if state.uncertain:
            try:
                state.settled = await runner.probe(action)
            except self._faults.permanent as fault:
                raise _UnansweredError(fault) from None
            state.uncertain = False  # it certainly did not happen, or it is settled
            return
        forbidden = self._veto(action)
        if forbidden is not None:
            state.settled = Outcome(kind=OutcomeKind.REFUSED, message=forbidden)
            return
        # from here until an answer is there nobody knows whether a write arrived
        state.uncertain = _acts(action)
        state.settled = await runner.run(action)

    async def _again(self, action: Action, state: _Try, fault: Exception) -> None:
        self._attempted(action.kind, _label(fault))
        state.last_error = str(fault) or "no answer in time"
        log.info("action_retried", action=action.id, attempt=state.attempt, error=state.last_error)
        asked = getattr(fault, "retry_after", None) or 0.0
        left = self._left(action, state) / timedelta(seconds=1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(max(asked, state.wait * (0.5 + self._draw())), left))):
                await self._closed.wait()
        state.wait = min(state.wait * 2, BACKOFF_MAX_SECONDS)


def _acts(action: Action) -> bool:
    """It changes something outside, so a lost answer leaves open whether it happened."""
    return isinstance(action, RollBack | EndSuspension | Announce | Page | AnswerPipeline | RevertCommit | NoteChange)


def _lane(action: Action) -> str:
    """Which of LANES it is counted in."""
    if isinstance(action, Locate):
        return "locate"
    if isinstance(action, AnswerPipeline | RevertCommit | NoteChange):
        return "mark"
    return "act" if _acts(action) else "look"


def _label(fault: Exception) -> str:
    kind = getattr(fault, "kind", None)
    return str(getattr(kind, "value", "timeout"))
