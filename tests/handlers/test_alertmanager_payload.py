"""The webhook payload: what becomes of a good one, and that every bad one is refused by the name of its field."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.model import Alert, AlertStatus
from handlers.alerts import (
    ANNOTATION_CHARS_MAX,
    LABEL_CHARS_MAX,
    PROBLEM_CHARS_MAX,
    URL_CHARS_MAX,
    MalformedError,
    fingerprint_of,
)
from handlers.inbound.alertmanager import ALERTS_MAX, alerts_of
from tests.handlers.intake_fakes import webhook, wire_alert

GOLDEN = Path(__file__).parents[1] / "golden" / "webhooks"

FAULTS = {
    "alert_is_null": "alerts[1]",
    "alerts_is_an_object": "alerts",
    "alerts_missing": "alerts",
    "annotation_is_null": 'alerts[0].annotations["summary"]',
    "annotations_is_a_string": "alerts[0].annotations",
    "array_at_the_top": "body",
    "empty": "body",
    "fingerprint_is_a_number": "alerts[0].fingerprint",
    "fingerprint_missing": "alerts[3].fingerprint",
    "fingerprint_with_markup": "alerts[0].fingerprint",
    "generator_url_is_an_object": "alerts[0].generatorURL",
    "half_sent": "body",
    "label_is_a_number": 'alerts[1].labels["replicas"]',
    "label_is_half_a_surrogate_pair": 'alerts[0].labels["a"]',
    "label_name_with_newline": 'alerts[0].labels["a\\r\\nb"]',
    "labels_is_an_array": "alerts[0].labels",
    "labels_missing": "alerts[0].labels",
    "labels_too_many": "alerts[0].labels",
    "nested_too_deeply": "body",
    "not_a_number": "body",
    "not_json": "body",
    "not_utf8": "body",
    "number_too_long": "body",
    "starts_at_is_text": "alerts[0].startsAt",
    "starts_at_is_unix_time": "alerts[0].startsAt",
    "starts_at_is_zero": "alerts[0].startsAt",
    "starts_at_missing": "alerts[0].startsAt",
    "starts_at_overflows": "alerts[0].startsAt",
    "starts_at_without_zone": "alerts[0].startsAt",
    "status_is_an_array": "alerts[0].status",
    "status_missing": "alerts[0].status",
    "status_unknown": "alerts[0].status",
    "truncated_alerts_is_a_boolean": "truncatedAlerts",
    "truncated_alerts_is_negative": "truncatedAlerts",
    "utf16": "body",
    "version_3": "version",
    "version_hostile": "version",
    "version_is_a_number": "version",
    "version_missing": "version",
}


def body(payload: Any) -> bytes:
    return json.dumps(payload).encode()


def test_every_golden_fault_is_tried() -> None:
    """A payload that nobody reads proves nothing."""
    assert {path.stem for path in GOLDEN.iterdir()} == set(FAULTS)


@pytest.mark.parametrize(("name", "field"), FAULTS.items())
def test_a_fault_is_named(name: str, field: str) -> None:
    """The refusal says which field, in one short line without control characters."""
    with pytest.raises(MalformedError) as raised:
        alerts_of((GOLDEN / f"{name}.json").read_bytes())
    assert raised.value.field == field
    text = str(raised.value)
    assert text.isprintable()
    assert len(text) < PROBLEM_CHARS_MAX + 120
    assert "!channel>\r" not in text


def test_a_firing_alert() -> None:
    """Nanoseconds are cut, the zero `endsAt` is not looked at, labels and annotations are sorted pairs."""
    alerts, truncated = alerts_of(body(webhook(wire_alert(labels={"b": "2", "alertname": "A"}))))
    assert truncated == 0
    (alert,) = alerts
    assert alert.status is AlertStatus.FIRING
    assert alert.starts_at == datetime(2026, 11, 20, 11, 59, 58, 123456, tzinfo=UTC)
    assert alert.labels == (("alertname", "A"), ("b", "2"))
    assert alert.annotations == (("summary", "too many errors"),)
    assert alert.fingerprint == "8f0e2ad6bd6c5d23"
    assert alert.generator_url == "http://prometheus/graph?g0.expr=up"


def test_each_alert_has_its_own_status() -> None:
    """A group fires while one of its alerts is over: the group's status is not read."""
    over = wire_alert(status="resolved", fingerprint="b", endsAt="2026-11-20T12:00:00Z")
    alerts, _ = alerts_of(body(webhook(wire_alert(), over, status="firing")))
    assert [alert.status for alert in alerts] == [AlertStatus.FIRING, AlertStatus.RESOLVED]


def test_time_zones_become_utc() -> None:
    """Whatever zone the sender writes, one moment is one moment."""
    (alert,), _ = alerts_of(body(webhook(wire_alert(startsAt="2026-11-20T04:00:00-08:00"))))
    assert alert.starts_at == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert alert.starts_at.tzinfo is UTC


def test_unknown_fields_are_ignored() -> None:
    """Alertmanager added fields in 0.32 and 0.34 and will add more."""
    payload = webhook(wire_alert(newField={"a": [1]}), notification_reason="new alerts added", routeLabels={}, x=None)
    assert len(alerts_of(body(payload))[0]) == 1


def test_what_decides_nothing_may_be_missing() -> None:
    """Annotations, generatorURL and truncatedAlerts are optional; null is missing."""
    bare = {key: wire_alert()[key] for key in ("status", "labels", "startsAt", "fingerprint")}
    payload = {
        "version": "4",
        "alerts": [bare, {**bare, "fingerprint": "b", "annotations": None, "generatorURL": None}],
    }
    alerts, truncated = alerts_of(body(payload))
    assert [(alert.annotations, alert.generator_url) for alert in alerts] == [((), ""), ((), "")]
    assert truncated == 0


def test_an_alert_listed_twice_is_one() -> None:
    """The same fingerprint, start and status once; a new start is another firing."""
    again = wire_alert(startsAt="2026-11-20T12:00:00Z")
    alerts, _ = alerts_of(body(webhook(wire_alert(), wire_alert(), again)))
    assert len(alerts) == 2


def test_truncated_alerts_are_told() -> None:
    """The number of alerts left out is handed on."""
    assert alerts_of(body(webhook(wire_alert(), truncatedAlerts=7)))[1] == 7


def test_a_huge_label_is_cut_and_the_alert_kept() -> None:
    """A 1 MiB label neither hides the alert nor names another object; the mark says how much is gone."""
    pod = "a" * 2**20
    alert_ = wire_alert(labels={"pod": pod}, annotations={"d": pod}, generatorURL="http://" + pod)
    (alert,), _ = alerts_of(body(webhook(alert_)))
    label = alert.label("pod")
    assert label is not None
    assert label.startswith("a" * LABEL_CHARS_MAX + "…")
    assert label.endswith(f"[{2**20 - LABEL_CHARS_MAX} more characters cut]")
    assert len(alert.annotations[0][1]) < ANNOTATION_CHARS_MAX + 60
    assert alert.generator_url == ""
    assert len(pod) > URL_CHARS_MAX


def test_hostile_labels_arrive_unchanged() -> None:
    """Escaping is for those who write PromQL or Slack text; the intake keeps what was said."""
    hostile = '"} or vector(1) # <!channel> \n\x00 ‮ 💥'
    (alert,), _ = alerts_of(body(webhook(wire_alert(labels={"pod": hostile}))))
    assert alert.label("pod") == hostile


def test_too_many_alerts() -> None:
    """More than the limit is refused, with the remedy."""
    with pytest.raises(MalformedError, match=r"alerts: has 10001 entries, at most 10000 are taken: set max_alerts"):
        alerts_of(body(webhook(*([wire_alert()] * (ALERTS_MAX + 1)))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELD = st.sampled_from([*wire_alert(), "annotations"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_understood_or_refused(raw: bytes) -> None:
    """Nothing but MalformedError ever comes out, and it names a field in one printable line."""
    understood_or_refused(raw)


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(FIELD, JSON, max_size=3), st.dictionaries(st.sampled_from(["alerts", "version"]), JSON, max_size=1)
)
def test_a_damaged_payload_is_understood_or_refused(alert: dict[str, Any], payload: dict[str, Any]) -> None:
    """The same for payloads that are nearly right."""
    understood_or_refused(body(webhook(wire_alert(**alert), **payload)))


def understood_or_refused(raw: bytes) -> None:
    refusal: MalformedError | None = None
    alerts: tuple[Alert, ...] = ()
    try:
        alerts, _ = alerts_of(raw)
    except MalformedError as exc:
        refusal = exc
    if refusal is not None:
        assert refusal.field
        assert str(refusal).isprintable()
    for alert in alerts:
        # What is accepted must be writable: the journal and every message are UTF-8; and its time must be usable.
        assert "".join("".join(pair) for pair in (*alert.labels, *alert.annotations)).encode() is not None
        assert (alert.starts_at - timedelta(days=1)).tzinfo is UTC


def test_the_fingerprint_of_no_labels_is_the_hash_of_nothing() -> None:
    """FNV-1a's offset basis, as Alertmanager gives it to an empty label set."""
    assert fingerprint_of({}) == "cbf29ce484222325"
