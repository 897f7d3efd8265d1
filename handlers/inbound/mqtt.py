"""Deployment events over MQTT: received, journalled, and only then acknowledged.

A message that the journal did not take stays unacknowledged: the broker hands it over again after a crash, and the core drops
what it already knew (MQTT gives "at least once", source and id make it once). One message at a time, so that acknowledgements
and the journal keep the order. What cannot be understood is counted, logged without its content, and acknowledged: it would be no
better the next time. A broker can lose messages too, so this only informs; the cluster's own view stays the truth.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import structlog

from daemon.core.events import Noticed
from daemon.core.notices import NAME_WINDOW, Notice
from daemon.ports import Clock, InboxFullError, Intake, JournalUnavailableError, Telemetry
from handlers.alerts import MalformedError
from handlers.faults import Fault, Permanent
from handlers.mqtt_link import Delivery
from handlers.notice_input import AHEAD_MAX

SOURCE = "mqtt"
"""In the metrics: of intake attempts, and of contacts with the broker."""

TOPIC_CHARS_MAX = 200
"""Longest topic in a log line."""

NEWS_AGE_MAX = NAME_WINDOW
"""How old a notice may be that opens an incident. A session keeps messages for a day, and a retained one is kept for ever."""

_log = structlog.get_logger(__name__)

Parse = Callable[[str | None, Mapping[str, str], bytes], Sequence[Notice]]
"""Content type, attributes, body to notices, none where it is of no interest. Raises MalformedError."""


class Link(Protocol):
    """A connection, as `handlers.mqtt_link` makes it."""

    @property
    def resumed(self) -> bool:
        """The broker still had our session."""
        ...

    async def receive(self) -> Delivery:
        """The next message. Raises a Fault when the connection ends."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """The broker may forget it."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Link]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How long is waited, each time spread over its upper half by chance, so that many clients do not return at once.

    first, longest: between attempts to connect, doubling. refused: the least after a refusal, which only people can repair and
    which counts as an attack at some brokers. steady: a connection that lasted this long ends the doubling. journal: the longest
    between two attempts to have a message journalled. quiet: at most one log line about bad messages in this time.
    """

    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=1)
    refused: timedelta = timedelta(seconds=30)
    steady: timedelta = timedelta(minutes=1)
    journal: timedelta = timedelta(seconds=5)
    quiet: timedelta = timedelta(seconds=10)

    def before_attempt(self, failures: int, fault: Fault) -> float:
        """Seconds before the next connection, after this many failures in a row; not yet spread."""
        seconds = _doubled(self.first, self.longest, failures)
        return max(seconds, self.refused.total_seconds()) if isinstance(fault, Permanent) else seconds

    def before_journal(self, failures: int) -> float:
        """Seconds before the next attempt to have a message journalled; not yet spread."""
        return _doubled(self.first / 10, self.journal, failures)


def _doubled(first: timedelta, longest: timedelta, failures: int) -> float:
    return min(first.total_seconds() * 2.0 ** min(failures - 1, 30), longest.total_seconds())


class MqttInbound:
    """Takes deployment events from a broker. `body_bytes_max` is the largest payload; `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        *,
        connect: Connect,
        parse: Parse,
        intake: Intake,
        clock: Clock,
        telemetry: Telemetry,
        body_bytes_max: int,
        pauses: Pauses | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connect = connect
        self._parse = parse
        self._intake = intake
        self._clock = clock
        self._telemetry = telemetry
        self._body_bytes_max = body_bytes_max
        self._pauses = pauses or Pauses()
        self._jitter = jitter
        self._failures = 0
        self._told: str | None = None
        self._refusals = 0
        self._quiet_until = 0.0
        self._warned_of_qos = False

    async def run(self) -> None:
        """Connect and take what comes, until cancelled; every end of a connection is followed by another one."""
        while True:
            fault = await self._one_connection()
            self._telemetry.contact(SOURCE, ok=False)
            self._failures += 1
            seconds = self._spread(self._pauses.before_attempt(self._failures, fault))
            self._tell(fault, seconds)
            await asyncio.sleep(seconds)

    async def _one_connection(self) -> Fault:
        """Take messages until the connection ends; why it did."""
        loop = asyncio.get_running_loop()
        connected_at: float | None = None
        try:
            async with self._connect() as link:
                connected_at = loop.time()
                self._telemetry.contact(SOURCE, ok=True)
                self._told = None
                # Not resumed: the first time ever, or away for longer than session_expiry, or the broker lost its memory.
                _log.info("mqtt_connected", session="resumed" if link.resumed else "new")
                while True:
                    await self._take(link, await link.receive())
        except Fault as fault:
            # A broker that accepts us and drops us at once is no better than one that is down.
            if connected_at is not None and loop.time() - connected_at >= self._pauses.steady.total_seconds():
                self._failures = 0
            return fault

    def _tell(self, fault: Fault, seconds: float) -> None:
        """Once per change; while the reason stays the same, the metrics show that it lasts."""
        if fault.reason == self._told:
            _log.debug("mqtt_unreachable", reason=fault.reason, failures=self._failures, again_in=round(seconds, 1))
            return
        self._told = fault.reason
        tell = _log.error if isinstance(fault, Permanent) else _log.warning
        tell("mqtt_unreachable", reason=fault.reason, failures=self._failures, again_in=round(seconds, 1))

    async def _take(self, link: Link, delivery: Delivery) -> None:
        """Have one message journalled, or refuse it; then, and only then, acknowledge it."""
        try:
            notices = self._read(delivery)
        except MalformedError as problem:
            self._refuse(delivery, problem.field, problem.problem)
        else:
            await self._keep(delivery, notices)
        link.acknowledge(delivery)

    def _read(self, delivery: Delivery) -> Sequence[Notice]:
        if not delivery.wanted:
            raise MalformedError(
                "topic", "is not configured; the session still holds a subscription of a former configuration"
            )
        if not delivery.body:
            return ()  # how a retained message is deleted
        if len(delivery.body) > self._body_bytes_max:
            raise _TooLargeError(len(delivery.body), self._body_bytes_max)
        try:
            notices = self._parse(delivery.content_type, delivery.attributes, delivery.body)
            return [self._timely(notice, delivery) for notice in notices]
        except MalformedError:
            raise
        except Exception as exc:
            # A bug of ours. Ending on it would have the broker hand over the same message after each restart.
            _log.exception("mqtt_message_not_understood", topic=delivery.topic[:TOPIC_CHARS_MAX])
            raise MalformedError("body", f"cannot be read ({type(exc).__name__})") from exc

    def _timely(self, notice: Notice, delivery: Delivery) -> Notice:
        """The notice, which may no longer open an incident when it is old news: kept for us by the broker, or late.

        It still informs: its own time decides to which rollout it belongs. Raises MalformedError for one from the future.
        """
        now = self._clock.now()
        if notice.at > now + AHEAD_MAX:
            raise MalformedError("time", "is more than 5 minutes ahead: is the sender's clock wrong?")
        late = notice.at < now - NEWS_AGE_MAX
        return replace(notice, may_cause=notice.may_cause and not late and not delivery.retained)

    async def _keep(self, delivery: Delivery, notices: Sequence[Notice]) -> None:
        for notice in notices:
            try:
                await self._accept(notice)
            except Exception as exc:  # noqa: BLE001 - as in _read: it must not come back for ever
                _log.exception("mqtt_message_not_kept", topic=delivery.topic[:TOPIC_CHARS_MAX])
                self._refuse(delivery, "body", f"cannot be kept ({type(exc).__name__})")
                return
        self._telemetry.intake(SOURCE, "accepted" if notices else "ignored")
        if delivery.qos == 0 and not self._warned_of_qos:
            self._warned_of_qos = True
            _log.warning(
                "mqtt_qos_0", topic=delivery.topic[:TOPIC_CHARS_MAX], remedy="publish with QoS 1: 0 may be lost"
            )

    async def _accept(self, notice: Notice) -> None:
        """Until it is on disk. Meanwhile nothing is acknowledged, so the broker stops at the receive maximum."""
        failures = 0
        while True:
            try:
                await self._intake.accept(Noticed(at=self._clock.now(), notice=notice))
            except JournalUnavailableError:
                result = "unavailable"
            except InboxFullError:
                result = "full"
            else:
                if failures:
                    _log.info("mqtt_resumed", waited_for=failures)
                return
            failures += 1
            self._telemetry.intake(SOURCE, result)
            if failures == 1:
                _log.warning(
                    "mqtt_waits", result=result, remedy="the journal cannot take events; see its own log lines"
                )
            await asyncio.sleep(self._spread(self._pauses.before_journal(failures)))

    def _refuse(self, delivery: Delivery, field: str, problem: str) -> None:
        result = "too_large" if field == _TooLargeError.FIELD else "malformed"
        self._telemetry.intake(SOURCE, result)
        self._refusals += 1
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            return
        # Never the payload: it may hold anything, secrets too.
        _log.warning(
            "mqtt_refused",
            topic=delivery.topic[:TOPIC_CHARS_MAX],
            result=result,
            reason=f"{field}: {problem}",
            retained=delivery.retained,
            refused_since_last_line=self._refusals,
        )
        self._refusals = 0
        self._quiet_until = now + self._pauses.quiet.total_seconds()

    def _spread(self, seconds: float) -> float:
        return seconds * (0.5 + self._jitter() / 2)


class _TooLargeError(MalformedError):
    """The payload is over the limit, but was small enough for the broker to send it."""

    FIELD = "body size"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(self.FIELD, f"is {size} bytes, at most {limit} are taken: raise mqtt.body_limit or send less")
