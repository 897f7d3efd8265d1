"""The only module that asks what time it is."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """ports.Clock on the machine's wall clock."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC)
