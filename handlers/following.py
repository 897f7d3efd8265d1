"""Handing a person's command over, and telling what it led to: the same for every route that takes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from daemon.core.events import Command
from daemon.core.facts import CommandRefused
from daemon.core.policy import Policy
from daemon.ports import Commands, InboxFullError, JournalUnavailableError, Reader, StandbyError
from handlers import consequences
from handlers.answers import Refused
from handlers.overview import Document

ANSWER_SECONDS = 10.0
"""How long a command waits for its consequence before it is answered with "kept, not carried out yet"."""


class Following:
    """Waits at most `seconds` for what a command leads to."""

    def __init__(
        self, reader: Reader, commands: Commands, policy: Callable[[], Policy], seconds: float = ANSWER_SECONDS
    ) -> None:
        self._reader = reader
        self._commands = commands
        self._policy = policy
        self._answer_seconds = seconds

    async def follow(self, name: str, command: Command) -> Document:
        """Hand the command over and tell what it led to."""
        before = self._reader.state
        try:
            # Shielded: what the journal already holds must come to its end even when nobody waits any more.
            facts = await asyncio.wait_for(asyncio.shield(self._commands.command(command)), self._answer_seconds)
        except JournalUnavailableError as error:
            why = f"the journal cannot write now ({error}): nothing was done"
            raise Refused(503, why, "free the disk of the state folder, then try again") from None
        except InboxFullError:
            raise Refused(503, "the inbox is full: nothing was done", "try again in a few seconds") from None
        except StandbyError as error:
            raise Refused(503, f"{error}: nothing was done", "ask that one, or try again when somebody leads") from None
        except TimeoutError:
            why = self._reader.ready or "the daemon is busy"
            return {"command": name, "actor": command.actor, "done": False, "why": why, "changed": []}
        for fact in facts:
            if isinstance(fact, CommandRefused):
                missing = consequences.missing(command, before)
                raise Refused(404 if missing else 409, fact.why, consequences.remedy(name, missing=missing))
        return {
            "command": name,
            "actor": command.actor,
            "done": True,
            "why": None,
            "changed": [sentence for fact in facts if (sentence := consequences.changed(fact))],
            **consequences.after(command, facts, self._reader.state, self._policy()),
        }
