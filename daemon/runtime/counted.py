"""Counts what comes in otherwise than by a webhook (whose handler counts more: who was refused, and why)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from daemon.core.events import AlertsReported, Command
from daemon.core.facts import Fact
from daemon.ports import Commands, InboxFullError, Intake, Journalled, JournalUnavailableError, Telemetry

Answer = TypeVar("Answer")


class CountedIntake:
    """ports.Intake and ports.Commands in front of the engine; results as in `Telemetry.intake`."""

    def __init__(self, intake: Intake, commands: Commands, telemetry: Telemetry) -> None:
        self._intake = intake
        self._commands = commands
        self._telemetry = telemetry

    async def accept(self, event: Journalled) -> None:
        """As Intake.accept; counted under the alert's source."""
        source = event.source.value if isinstance(event, AlertsReported) else "operators"
        await self._counted(source, self._intake.accept(event))

    async def command(self, event: Command) -> Sequence[Fact]:
        """As Commands.command; counted under `operators`."""
        return await self._counted("operators", self._commands.command(event))

    async def _counted(self, source: str, accepting: Awaitable[Answer]) -> Answer:
        try:
            answer = await accepting
        except JournalUnavailableError:
            self._telemetry.intake(source, "unavailable")
            raise
        except InboxFullError:
            self._telemetry.intake(source, "full")
            raise
        self._telemetry.intake(source, "accepted")
        return answer
