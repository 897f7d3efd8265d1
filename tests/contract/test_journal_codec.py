"""Everything that may be journalled comes back as it was written, and what cannot be read is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core import facts
from daemon.core.events import AlertSource, AlertsReported
from daemon.core.evolution import _STEPS, replay
from daemon.core.facts import Fact, MeasurementKept, PauseSet
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import IncidentId
from daemon.ports import Journalled
from daemon.runtime import codec
from tests.core.builders import NOON, an_alert
from tests.core.story import Story

FACTS: tuple[type[Any], ...] = get_args(Fact)
EVENTS: tuple[type[Any], ...] = get_args(Journalled)

st.register_type_strategy(float, st.floats(allow_nan=False))
st.register_type_strategy(NOON.__class__, st.datetimes(timezones=st.just(UTC)))


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_facts(kind: type[Any], data: st.DataObject) -> None:
    """Each kind of fact comes back equal, and is written the same a second time."""
    fact = data.draw(st.from_type(kind))
    raw = codec.dump_fact(fact)
    again = codec.load_fact(raw)
    assert (type(again), again) == (kind, fact)
    assert codec.dump_fact(again) == raw


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_events(kind: type[Any], data: st.DataObject) -> None:
    """Each kind of accepted event comes back equal."""
    event = data.draw(st.from_type(kind))
    again = codec.load_event(codec.dump_event(event))
    assert (type(again), again) == (kind, event)


def test_all_facts_are_known() -> None:
    """Every fact that is defined is in the union, has a kind of its own, and a step of `evolve`."""
    defined = {
        value
        for value in vars(facts).values()
        if isinstance(value, type) and value.__module__ == facts.__name__ and hasattr(value, "kind")
    }
    kinds = [fact_kind(kind) for kind in FACTS]
    assert defined == set(FACTS) == set(_STEPS)
    assert len(set(kinds)) == len(kinds)


def fact_kind(kind: type[Any]) -> str:
    return str(kind.__dataclass_fields__["kind"].default)


def test_state() -> None:
    """The state after a whole incident comes back equal, to the byte."""
    story = Story()
    story.spikes()
    raw = codec.dump_state(story.state)
    assert codec.load_state(raw) == story.state
    assert codec.dump_state(codec.load_state(raw)) == raw
    assert list(codec.load_state(raw).owed) == list(story.state.owed)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(value: float) -> None:
    """NaN and the infinities, which a signal may be, can be read again: in a fact, and in a snapshot."""
    measurement = Measurement(at=NOON, new=(Sample(at=NOON, values=(("error_ratio", value),)),))
    fact = MeasurementKept(at=NOON, incident=IncidentId("inc-1"), measurement=measurement)
    again = codec.load_fact(codec.dump_fact(fact))
    assert repr(again.measurement.new[0].values) == repr(measurement.new[0].values)  # type: ignore[union-attr]
    story = Story()
    story.spikes()
    incident = replace(story.incident, measurement=measurement)
    state = replace(story.state, incidents={incident.id: incident})
    assert codec.dump_state(codec.load_state(codec.dump_state(state))) == codec.dump_state(state)


def test_half_a_character() -> None:
    """Half a surrogate pair, which UTF-8 cannot hold, is replaced; the rest of the record stays."""
    alert = replace(an_alert(), labels=(("alertname", "A\ud800B"), ("team", "größe")))
    event = AlertsReported(at=NOON, source=AlertSource.WEBHOOK, alerts=(alert,))
    again = codec.load_event(codec.dump_event(event))
    assert isinstance(again, AlertsReported)
    assert again.alerts[0].labels == (("alertname", "A?B"), ("team", "größe"))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"kind": "teleported", "at": "2026-03-02T12:00:00Z"}', "teleported"),
        (b'{"at": "2026-03-02T12:00:00Z"}', "kind"),
        (b'{"kind": "pause_set", "at": "2026-03-02T12:00:00Z", "scope": 7}', "pause_set.scope"),
        (b'{"kind": "pause_', "Invalid JSON"),
        (b"", "Invalid JSON"),
    ],
)
def test_unreadable(raw: bytes, said: str) -> None:
    """A row of an unknown kind, a damaged one and a truncated one are refused, naming what is wrong."""
    with pytest.raises(codec.UnreadableRecordError, match=said):
        codec.load_fact(raw)


def test_a_later_release_may_add_a_field() -> None:
    """A field that this release does not know is no reason to refuse the row."""
    fact = PauseSet(at=NOON, scope="", until=None, actor="ann")
    raw = codec.dump_fact(fact).replace(b"{", b'{"new_field": 1, ', 1)
    assert codec.load_fact(raw) == fact
    assert replay([codec.load_fact(raw)]).pauses


def without(name: str, value: Any) -> Any:
    """The document as a release wrote it that did not know the field."""
    if isinstance(value, dict):
        return {key: without(name, each) for key, each in value.items() if key != name}
    return [without(name, each) for each in value] if isinstance(value, list) else value


def test_an_earlier_release_knew_a_field_less() -> None:
    """Alerts that were placed before there was a `felt_at` are read, from facts and from a snapshot, as of unknown."""
    story = Story()
    story.spikes()
    rows = [codec.dump_fact(fact) for fact in story.facts]
    older = [json.dumps(without("felt_at", json.loads(row))).encode() for row in rows]
    assert sum(b"felt_at" in row for row in rows) > 0
    assert not any(b"felt_at" in row for row in older)
    assert [codec.load_fact(row) for row in older] == [codec.load_fact(row) for row in rows]
    snapshot = json.dumps(without("felt_at", json.loads(codec.dump_state(story.state)))).encode()
    assert codec.load_state(snapshot) == story.state
    (incident,) = codec.load_state(snapshot).incidents.values()
    assert incident.felt_at == incident.onset
