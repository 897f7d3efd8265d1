"""What a real Alertmanager sent: every captured payload is understood, and its fingerprints are our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.core.model import AlertStatus
from handlers.alerts import alert_of, fingerprint_of
from handlers.inbound.alertmanager import alerts_of

GOLDEN = Path(__file__).parents[1] / "golden" / "alertmanager"
WEBHOOKS = sorted(path for path in GOLDEN.glob("*.json") if path.name != "api_alerts.json")


def test_there_are_captures() -> None:
    """An empty folder would prove nothing."""
    assert len(WEBHOOKS) >= 4


@pytest.mark.parametrize("path", WEBHOOKS, ids=lambda path: path.stem)
def test_a_captured_webhook_is_understood(path: Path) -> None:
    """Alerts, statuses and the number left out are those of the capture; the fingerprint is the hash of the labels."""
    sent = json.loads(path.read_bytes())
    alerts, truncated = alerts_of(path.read_bytes())
    assert [(alert.fingerprint, alert.status.value, dict(alert.labels)) for alert in alerts] == [
        (alert["fingerprint"], alert["status"], alert["labels"]) for alert in sent["alerts"]
    ]
    assert all(fingerprint_of(dict(alert.labels)) == alert.fingerprint for alert in alerts)
    assert truncated == sent["truncatedAlerts"]


def test_a_group_that_fires_has_resolved_alerts() -> None:
    """Level-triggered: the group still fires, and says which of its alerts is over."""
    alerts, _ = alerts_of((GOLDEN / "one_of_group_resolved.json").read_bytes())
    assert {alert.status for alert in alerts} == {AlertStatus.FIRING, AlertStatus.RESOLVED}


def test_a_repeated_alert_is_the_same_value() -> None:
    """After Alertmanager's restart the body differs and the alert does not: fingerprint, status and start are equal."""
    first, again = (alerts_of((GOLDEN / f"resent_{name}.json").read_bytes())[0] for name in ("first", "after_restart"))
    assert [(a.fingerprint, a.status, a.starts_at) for a in first] == [
        (a.fingerprint, a.status, a.starts_at) for a in again
    ]


def test_the_api_lists_the_same_alerts() -> None:
    """Webhook and API write labels and fingerprint alike."""
    entries = json.loads((GOLDEN / "api_alerts.json").read_bytes())
    for index, entry in enumerate(entries):
        alert = alert_of(entry, f"alerts[{index}]", AlertStatus.FIRING)
        assert fingerprint_of(dict(alert.labels)) == alert.fingerprint
