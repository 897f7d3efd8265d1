"""The alerts as Alertmanager's API v2 lists them, over all peers of a cluster: what fires, what is suppressed.

Webhooks alone lose alerts (one that fires and resolves while we are down is never sent). Shared by the poll, which
reports what it reads, and by the measuring of one incident's alerts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiohttp
import structlog

from daemon.core.model import Alert, AlertStatus
from daemon.ports import Clock, Telemetry
from handlers.alerts import MalformedError, alert_of, moment, object_of, parse_json
from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults, from_status

PEER = "alertmanager"

ANSWER_BYTES_MAX = 32 * 2**20
"""Largest answer that is read: about 30,000 alerts; a filter in the settings makes it smaller."""

SETTLE = timedelta(minutes=2)
"""How long a restarted Alertmanager may not know everything that fires: Prometheus sends again after
`--rules.alert.resend-delay` (1 m) at the next evaluation (1 m at most, usually)."""

_ALL_STATES = [(state, "true") for state in ("active", "silenced", "inhibited", "unprocessed")]
"""Every alert, whatever its state and receiver: one that is not listed is taken for gone."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The alerts as seen at one moment. Only with `complete` does a missing alert mean that it is gone."""

    alerts: tuple[Alert, ...]
    complete: bool


class AlertmanagerApi:
    """Reads all peers of one Alertmanager cluster (each of them has all alerts)."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Sequence[str],
        *,
        clock: Clock,
        telemetry: Telemetry,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=10),
        settle: timedelta = SETTLE,
    ) -> None:
        """`urls` up to and without `/api/v2`, with any route prefix. Raises ValueError without any url."""
        if not urls:
            raise ValueError("at least one address of an Alertmanager is needed")
        self._session = session
        self._urls = tuple(url.rstrip("/") + "/api/v2" for url in urls)
        self._clock = clock
        self._telemetry = telemetry
        self._headers = dict(headers or {})
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._settle = settle

    async def read(self) -> Reading:
        """What the peers say together: active on any of them fires, suppressed is what is so wherever it is seen.

        Complete when a peer answered whole that has been up long enough to know. Raises Transient or Permanent when no
        peer answered at all: that says nothing about any alert.
        """
        answers = await asyncio.gather(*(self._peer(url) for url in self._urls), return_exceptions=True)
        readings = [answer for answer in answers if isinstance(answer, Reading)]
        faults = [answer for answer in answers if isinstance(answer, BaseException)]
        for fault in faults:
            if not isinstance(fault, Fault):
                raise fault
            _log.warning("alertmanager_unreadable", reason=fault.reason, peers=len(self._urls))
        self._telemetry.contact(PEER, ok=bool(readings))
        if not readings:
            raise faults[0]
        return Reading(alerts=merged(readings), complete=any(reading.complete for reading in readings))

    async def _peer(self, url: str) -> Reading:
        # In this order: a restart between the two calls shows in the second.
        entries = await self._get(f"{url}/alerts", _ALL_STATES)
        settled = await self._settled(url)
        if not isinstance(entries, list):
            raise Transient(None, f"{PEER} answered something that is not its format", FaultKind.SERVER)
        alerts = [alert for index, entry in enumerate(entries) if (alert := _alert(entry, index)) is not None]
        return Reading(alerts=tuple(alerts), complete=settled and len(alerts) == len(entries))

    async def _settled(self, url: str) -> bool:
        """False while the peer may not know all alerts yet: it starts with none and is told within minutes."""
        try:
            status = await self._get(f"{url}/status", [])
        except Permanent as fault:
            if fault.kind is FaultKind.NOT_FOUND:
                return True  # compatible servers without a status have no memory to lose either
            raise
        try:
            since = moment(object_of(status, "status").get("uptime"), "status.uptime")
        except MalformedError as exc:
            raise Transient(None, f"{PEER}: {exc}", FaultKind.SERVER) from None
        return self._clock.now() - since >= self._settle

    async def _get(self, url: str, params: list[tuple[str, str]]) -> object:
        with client_faults(PEER):
            async with self._session.get(
                url, params=params, headers=self._headers, timeout=self._timeout, allow_redirects=False
            ) as answer:
                body = await _read(answer)
                if not 200 <= answer.status <= 299:
                    raise from_status(answer.status, answer.headers, peer=PEER, message=body.decode(errors="replace"))
        try:
            return parse_json(body, "answer")
        except MalformedError as exc:
            raise Transient(None, f"{PEER}: {exc}", FaultKind.SERVER) from None


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise Permanent(
                f"{PEER} lists more than {ANSWER_BYTES_MAX} bytes of alerts: set a filter", FaultKind.CLIENT
            )
    return bytes(body)


def _alert(entry: object, index: int) -> Alert | None:
    """One entry; None where it cannot be understood, and then the reading is not complete."""
    path = f"alerts[{index}]"
    try:
        status = object_of(object_of(entry, path).get("status"), f"{path}.status")
        return alert_of(entry, path, _status_of(status))
    except MalformedError as exc:
        _log.warning("alert_unreadable", reason=str(exc))
        return None


def _status_of(status: Mapping[str, object]) -> AlertStatus:
    """`active` fires. `suppressed`, muted by a time interval, and `unprocessed` (not yet known whether it is silenced)
    count as neither firing nor gone.
    """
    if status.get("state") == "active" and not status.get("mutedBy"):
        return AlertStatus.FIRING
    return AlertStatus.SUPPRESSED


def merged(readings: Iterable[Reading]) -> tuple[Alert, ...]:
    """The union, sorted by fingerprint: where peers disagree on an alert, firing wins, then the later start."""
    best: dict[str, Alert] = {}
    for reading in readings:
        for alert in reading.alerts:
            known = best.get(alert.fingerprint)
            if known is None or _rank(alert) > _rank(known):
                best[alert.fingerprint] = alert
    return tuple(alert for _, alert in sorted(best.items()))


def _rank(alert: Alert) -> tuple[bool, datetime]:
    return alert.status is AlertStatus.FIRING, alert.starts_at
