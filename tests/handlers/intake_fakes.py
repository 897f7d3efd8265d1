"""Small stand-ins for the ports that inbound handlers use, and builders for what Alertmanager sends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.ports import Journalled

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Kept:
    """An intake that keeps everything, or raises `fault` and keeps nothing."""

    def __init__(self) -> None:
        self.events: list[Journalled] = []
        self.fault: Exception | None = None

    async def accept(self, event: Journalled) -> None:
        if self.fault is not None:
            raise self.fault
        self.events.append(event)


class Counted:
    """A telemetry that remembers what it was told."""

    def __init__(self) -> None:
        self.intakes: list[tuple[str, str]] = []
        self.contacts: list[tuple[str, bool]] = []

    def intake(self, source: str, result: str) -> None:
        self.intakes.append((source, result))

    def contact(self, part: str, ok: bool) -> None:
        self.contacts.append((part, ok))


class Hands:
    """A clock that stands until somebody moves it."""

    def __init__(self, at: datetime = T0) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def move(self, by: timedelta) -> None:
        self.at += by


def wire_alert(**changes: Any) -> dict[str, Any]:
    alert: dict[str, Any] = {
        "status": "firing",
        "labels": {"alertname": "HighErrors", "namespace": "shop", "pod": "cart-1"},
        "annotations": {"summary": "too many errors"},
        "startsAt": "2026-11-20T11:59:58.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph?g0.expr=up",
        "fingerprint": "8f0e2ad6bd6c5d23",
    }
    return {**alert, **changes}


def webhook(*alerts: Any, **changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "receiver": "lastgood",
        "status": "firing",
        "alerts": list(alerts),
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "version": "4",
        "groupKey": '{}:{alertname="HighErrors"}',
        "truncatedAlerts": 0,
    }
    return {**payload, **changes}
