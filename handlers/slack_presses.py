"""From a press to a command: who may, what they were shown, and what they are told.

A press is decided in this order. Not ready: nothing is done, press again. No such incident, or a presser who is none of
the policy's approvers of its workload: told so, logged and counted; it never reaches the core, because a stranger's press
is no command (a workspace has more members than a journal should name). Every other press is a command: journalled with
its actor, and followed or refused by the core, which takes one after the other. So of two presses at once the first wins,
and what comes too late, or approves something else than what is proposed now, is refused there and kept as such.

Decline and Pause are brakes: they count while anything can still be stopped, whatever the message said; Approve is consent,
and counts only for what was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from daemon.core.events import Approved, Command, Declined, PauseAsked
from daemon.core.facts import CommandRefused
from daemon.core.incidents import Phase
from daemon.core.model import Workload
from daemon.core.policy import Policy
from daemon.ports import Clock, Commands, InboxFullError, JournalUnavailableError, Reader, Telemetry
from handlers import slack_words as words
from handlers.slack_offers import Button
from handlers.slack_payloads import Press, press_of
from handlers.slack_replies import SlackReplies

SOURCE = "slack"

ACK_SECONDS = 2.0
"""How long the sender may be kept waiting for the journal: Slack shows the presser a failure after 3 s."""

COMMAND_SECONDS = 20.0
"""How long a command may take before the presser is told that it is kept and not carried out yet."""

PRESSES_MAX = 64
"""Most presses under way: people press, so more at once is a flood, and the sender hears that it is full."""

log = structlog.get_logger(__name__)


class PressesFullError(Exception):
    """Too many presses are under way; nothing was done."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A press on its way; `kept` is set once it is decided and what is to be journalled is on disk."""

    press: Press
    kept: asyncio.Event = field(default_factory=asyncio.Event)


class SlackPresses:
    """Carries out presses from either road. `run` must run: it decides; `take` hands over and waits a little."""

    def __init__(
        self,
        *,
        reader: Reader,
        commands: Commands,
        policy: Callable[[], Policy],
        clock: Clock,
        telemetry: Telemetry,
        replies: SlackReplies,
    ) -> None:
        self._reader = reader
        self._commands = commands
        self._policy = policy
        self._clock = clock
        self._telemetry = telemetry
        self._replies = replies
        self._queue: asyncio.Queue[_Taken] = asyncio.Queue()
        self._under_way = 0

    async def take(self, payload: object) -> None:
        """Take an interaction payload; returns when it is decided and journalled, after ACK_SECONDS at the latest.

        Raises MalformedError (it is no payload of Slack's) and PressesFullError. What is none of our buttons is ignored.
        """
        press = press_of(payload)
        if press is None:
            self._telemetry.intake(SOURCE, "ignored")
            return
        if self._under_way >= PRESSES_MAX:
            raise PressesFullError(f"{PRESSES_MAX} presses are under way")
        taken = _Taken(press)
        self._under_way += 1
        self._queue.put_nowait(taken)
        with suppress(TimeoutError):
            await asyncio.wait_for(taken.kept.wait(), ACK_SECONDS)

    async def run(self) -> None:
        """Decide presses for ever, each in a task of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await self._queue.get()))

    async def _serve(self, taken: _Taken) -> None:
        """One press to its end. A fault in one must not end the others."""
        press = taken.press
        try:
            text = await self._decided(press)
        except Exception:  # the last net: logged, and told to whoever waits
            log.exception("slack_press_failed", actor=press.actor, incident=press.offer.incident)
            text = words.FAILED
        finally:
            self._under_way -= 1
            taken.kept.set()
        await self._replies.send(press.response_url, text)

    async def _decided(self, press: Press) -> str:
        """Follow the press or not; what its presser is told."""
        if (why := self._reader.ready) is not None:
            return self._not_followed(press, "unavailable", words.not_ready(why))
        incident = self._reader.state.incidents.get(press.offer.incident)
        if incident is None:
            return self._not_followed(press, "unknown", words.unknown(press.offer.incident))
        workload, policy = incident.suspect or incident.symptom, self._policy()
        if press.guest or not policy.may_approve(press.actor, workload):
            return self._not_followed(press, "forbidden", words.forbidden(press.button, workload, policy))
        if press.button is Button.PAUSE and incident.phase.ended:
            # On the message of an ended incident it would be a slip of the finger that nobody notices.
            return self._not_followed(press, "late", words.too_late(incident))
        return await self._followed(press, self._command(press, workload))

    def _not_followed(self, press: Press, result: str, text: str) -> str:
        self._telemetry.intake(SOURCE, result)
        log.warning(
            "slack_press_not_followed",
            result=result,
            button=press.button.value,
            actor=press.actor,
            incident=press.offer.incident,
        )
        return text

    def _command(self, press: Press, workload: Workload) -> Command:
        now, incident = self._clock.now(), press.offer.incident
        match press.button:
            case Button.APPROVE:
                shown = press.offer
                return Approved(
                    at=now, incident=incident, actor=press.actor, target=shown.target, questions=shown.questions
                )
            case Button.DECLINE:
                return Declined(at=now, incident=incident, actor=press.actor)
            case Button.PAUSE:
                return PauseAsked(at=now, scope=workload.short, actor=press.actor)

    async def _followed(self, press: Press, command: Command) -> str:
        """Hand the command over; what came of it."""
        try:
            # Shielded: what the journal already holds must come to its end even when nobody waits any more.
            facts = await asyncio.wait_for(asyncio.shield(self._commands.command(command)), COMMAND_SECONDS)
        except JournalUnavailableError:
            return self._not_followed(press, "unavailable", words.not_ready("its journal cannot write now"))
        except InboxFullError:
            return self._not_followed(press, "full", words.not_ready("its inbox is full"))
        except TimeoutError:
            log.warning("slack_press_slow", actor=press.actor, incident=press.offer.incident)
            return words.KEPT
        refused = any(isinstance(fact, CommandRefused) for fact in facts)
        self._telemetry.intake(SOURCE, "late" if refused else "accepted")
        log.info("slack_press", button=press.button.value, actor=press.actor, incident=press.offer.incident)
        return self._told(press, refused=refused)

    def _told(self, press: Press, *, refused: bool) -> str:
        incident = self._reader.state.incidents.get(press.offer.incident)
        if incident is None:
            return words.unknown(press.offer.incident)
        if not refused:
            return words.done(press.button, incident)
        if incident.phase is Phase.PROPOSED and incident.approved_by is None:
            return words.changed(incident)
        return words.too_late(incident)
