"""The alerts as Alertmanager's API and Prometheus' history tell them: at start, on a schedule, and when asked.

The schedule is what makes a lost or truncated webhook harmless. A server that cannot be reached says nothing: neither
that an alert fires nor that it is gone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from daemon.core.events import AlertSource, AlertsReported
from daemon.core.model import Alert, AlertStatus
from daemon.ports import Clock, InboxFullError, Intake, JournalUnavailableError
from handlers.alert_history import AlertHistory
from handlers.alertmanager_api import AlertmanagerApi, Reading
from handlers.faults import Fault

_log = structlog.get_logger(__name__)

_Key = tuple[bool, frozenset[tuple[str, AlertStatus, datetime]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTimes:
    """How often the alerts are read.

    interval: between two readings. back_off_max: longest pause while nothing can be reached. quiet_max: so long a
    reading that equals the last one is not journalled again; it ends what a lost webhook may have left in the state.
    history_tries: how often the history is asked for before it is given up (it is no help once it is old news).
    """

    interval: timedelta = timedelta(seconds=15)
    back_off_max: timedelta = timedelta(minutes=1)
    quiet_max: timedelta = timedelta(minutes=5)
    history_tries: int = 20


class AlertsPoll:
    """Reports readings of the API as events. `api` or `history` is None where that server is not configured."""

    def __init__(
        self,
        *,
        api: AlertmanagerApi | None,
        history: AlertHistory | None,
        intake: Intake,
        clock: Clock,
        times: PollTimes,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` gives numbers in [0, 1): the pauses after failures are spread by it."""
        self._api = api
        self._history = history
        self._intake = intake
        self._clock = clock
        self._times = times
        self._jitter = jitter
        self._asked = asyncio.Event()
        self._accepted: _Key | None = None
        self._accepted_at: datetime | None = None
        self._failures = 0
        self._history_failures = 0
        self._missed_since: datetime | None = None

    def poke(self) -> None:
        """Read at once instead of at the next turn (a payload was truncated)."""
        self._asked.set()

    def was_away(self, since: datetime) -> None:
        """Look in the history, too, at the next reading: what fired and ended since then was told to nobody."""
        if self._history is not None:
            self._missed(since)
            self._history_failures = 0
            self.poke()

    def _missed(self, since: datetime) -> None:
        self._missed_since = min(self._missed_since or since, since)

    def forget(self) -> None:
        """Report the next reading even if it equals the last: others have changed what is known (a webhook came)."""
        self._accepted = None

    async def run(self, down_since: datetime | None) -> None:
        """Read until cancelled. `down_since` is the last sign of life before this start; None at the very first one."""
        if down_since is not None:
            self.was_away(down_since)
        while True:
            self._asked.clear()
            missed_since, self._missed_since = self._missed_since, None
            reachable = await self.read_once()
            # After a reading: what still fires is known by then, so that the history ends where the API begins.
            if missed_since is not None and not (reachable and await self._catch_up(missed_since)):
                self._missed(missed_since)
            await self._pause()

    async def read_once(self) -> bool:
        """One reading, reported if it is news. False when nothing could be read or kept; nothing is concluded then."""
        if self._api is None:
            return True
        try:
            await self._report(await self._api.read())
        except (Fault, JournalUnavailableError, InboxFullError) as exc:
            self._failures += 1
            _log.warning("alerts_poll_failed", failures=self._failures, reason=str(exc) or type(exc).__name__)
            return False
        self._failures = 0
        return True

    async def _report(self, reading: Reading) -> None:
        now = self._clock.now()
        key = _key(reading)
        fresh = self._accepted_at is not None and now - self._accepted_at < self._times.quiet_max
        if fresh and key == self._accepted:
            return
        # Noted before the wait: a webhook that comes during it shall be able to make us forget it again.
        self._accepted, self._accepted_at = key, now
        try:
            await self._accept(AlertSource.POLL, reading.alerts, complete=reading.complete)
        except BaseException:
            self._accepted = None
            raise

    async def _catch_up(self, down_since: datetime) -> bool:
        """Report what fired and stopped while we were down; True when that is done (or given up)."""
        if self._history is None:
            return True
        try:
            past = await self._history.read(down_since, self._clock.now())
            # Two events: first all that fired, then that it is over.
            for alerts in (past.fired, past.resolved):
                if alerts:
                    await self._accept(AlertSource.HISTORY, alerts)
        except (Fault, JournalUnavailableError, InboxFullError) as exc:
            self._history_failures += 1
            _log.warning("alert_history_failed", failures=self._history_failures, reason=str(exc) or type(exc).__name__)
            return self._history_failures >= self._times.history_tries
        _log.info("alert_history_read", since=down_since.isoformat(), ended=len(past.resolved))
        self.forget()
        return True

    async def _accept(self, source: AlertSource, alerts: tuple[Alert, ...], *, complete: bool = False) -> None:
        await self._intake.accept(AlertsReported(at=self._clock.now(), source=source, alerts=alerts, complete=complete))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._pause_seconds()):
                await self._asked.wait()
        except TimeoutError:
            pass

    def _pause_seconds(self) -> float:
        interval = self._times.interval.total_seconds()
        if not self._failures:
            return interval
        # Doubling, with an end, and spread so that several daemons do not return all at once.
        longest = max(self._times.back_off_max.total_seconds(), interval)
        pause = min(interval * 2.0 ** min(self._failures, 16), longest)
        return pause * (0.5 + self._jitter() / 2)


def _key(reading: Reading) -> _Key:
    """What makes a reading news. Texts do not: an annotation with a number in it changes at every evaluation."""
    return reading.complete, frozenset((a.fingerprint, a.status, a.starts_at) for a in reading.alerts)
