"""Reads the alerts that somebody hands in: as Alertmanager's API or webhook writes them, or labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from daemon.core.model import Alert, AlertStatus
from handlers.alerts import MalformedError, alert_of, distinct, fingerprint_of, kind_of, object_of

ALERTS_MAX = 20
"""Alerts that are looked at in one request: each asks Prometheus three times."""

BODY_BYTES_MAX = 2**20
"""Largest request: a webhook payload of 1,000 alerts has about that."""


def alerts_in(raw: object, now: datetime) -> tuple[Alert, ...]:
    """The alerts in one alert, a list of them, or a whole webhook payload (version 4). Raises MalformedError.

    Labels are all that is needed: without `startsAt` the alert is taken as firing since now.
    """
    if isinstance(raw, list):
        return _all(raw, "alert", now)
    entry = object_of(raw, "alert")
    if "alerts" in entry:
        listed = entry["alerts"]
        if not isinstance(listed, list):
            raise MalformedError("alert.alerts", f"must be an array, is {kind_of(listed)}")
        return _all(listed, "alert.alerts", now)
    if "labels" not in entry:
        raise MalformedError(
            "alert.labels", 'is missing; the least is {"labels": {"alertname": "…", "namespace": "…"}}'
        )
    return (_one(entry, "alert", now),)


def _all(listed: Sequence[object], path: str, now: datetime) -> tuple[Alert, ...]:
    if not 0 < len(listed) <= ALERTS_MAX:
        raise MalformedError(path, f"holds {len(listed)} alerts, needs 1 to {ALERTS_MAX}")
    return distinct(_one(object_of(each, f"{path}[{at}]"), f"{path}[{at}]", now) for at, each in enumerate(listed))


def _one(entry: Mapping[str, object], path: str, now: datetime) -> Alert:
    given = {name: entry.get(name) for name in ("labels", "annotations", "startsAt", "generatorURL")}
    if given["startsAt"] is None:
        given["startsAt"] = now.isoformat()
    alert = alert_of({**given, "fingerprint": "preflight"}, path, AlertStatus.FIRING)
    return replace(alert, fingerprint=fingerprint_of(dict(alert.labels)))
