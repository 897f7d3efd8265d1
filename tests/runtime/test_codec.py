"""The quick roads of the codec lead where the careful ones do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.actions import Action, Measure
from daemon.core.events import AlertSource, AlertsReported
from daemon.core.facts import ActionOwed, Fact, MeasurementKept, RolloutRecorded
from daemon.core.model import Alert, AlertStatus, IncidentId, Stint
from daemon.core.table import Table
from daemon.runtime import codec
from tests.core.builders import NOON, SHOP, a_measurement
from tests.core.story import Story
from tests.core.test_scorecard import a_tally, judged
from tests.core.test_suspending import suspended

PAIRS = st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=4).map(tuple)
MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2199, 1, 1)).map(  # noqa: DTZ001  given a zone below
    lambda moment: moment.replace(tzinfo=UTC)
)
ALERTS = st.builds(
    Alert, fingerprint=st.text(max_size=8), status=st.sampled_from(AlertStatus), labels=PAIRS, annotations=PAIRS,
    starts_at=MOMENTS, generator_url=st.text(max_size=20),
)  # fmt: skip
REPORTS = st.builds(
    AlertsReported, at=MOMENTS, source=st.sampled_from(AlertSource), alerts=st.lists(ALERTS, max_size=3).map(tuple),
    complete=st.booleans(),
)  # fmt: skip


@given(REPORTS)
def test_alerts_are_written_alike(report: AlertsReported) -> None:
    """Both writers give the same bytes, so every release can read what another one wrote; and both readers the same value."""
    raw = codec.dump_event(report)
    assert raw == codec._dump(codec._events(), report)
    assert codec.load_event(raw) == report == codec._load(codec._events(), raw, "event")


def every_fact() -> list[Fact]:
    """The facts of an incident from the first sight of a workload to the open proposal and its page."""
    story = Story()
    story.spikes()
    story.waits(timedelta(minutes=2))
    return story.facts


@pytest.mark.parametrize("fact", every_fact(), ids=lambda fact: str(fact.kind))
def test_facts_come_back(fact: Fact) -> None:
    """What is read by the kind that it names is what was written."""
    assert codec.load_fact(codec.dump_fact(fact)) == fact


def test_an_unknown_kind_is_named() -> None:
    """An owed action of a newer release is refused by its name, not taken for another one."""
    owed = next(fact for fact in every_fact() if isinstance(fact, ActionOwed))
    raw = codec.dump_fact(owed).replace(f'"{owed.action.kind}"'.encode(), b'"teleport"')
    with pytest.raises(codec.UnreadableRecordError, match="teleport"):
        codec.load_fact(raw)
    assert isinstance(owed.action, Action)
    assert owed.at >= NOON - timedelta(days=1)


def measured(*stints: Stint) -> ActionOwed:
    """A measurement that is owed, of pods whose names are given again where there are `stints`."""
    owed = next(fact for fact in every_fact() if isinstance(fact, ActionOwed) and isinstance(fact.action, Measure))
    assert isinstance(owed.action, Measure)
    return replace(owed, action=replace(owed.action, new_stints=stints, old_stints=stints))


def rolled_out(*stints: Stint) -> RolloutRecorded:
    """A rollout of such pods."""
    fact = next(fact for fact in every_fact() if isinstance(fact, RolloutRecorded))
    return replace(fact, rollout=replace(fact.rollout, pods=(replace(fact.rollout.pods[0], stints=stints),)))


STINT = Stint(name="db-2", since=NOON, until=NOON + timedelta(minutes=1))


@pytest.mark.parametrize("fact", [measured(STINT), rolled_out(STINT, replace(STINT, until=None))], ids=lambda f: f.kind)
def test_stints_come_back(fact: Fact) -> None:
    """When pods ran a revision is journalled with the rollout, and with the measurement that is owed."""
    assert codec.load_fact(codec.dump_fact(fact)) == fact


@pytest.mark.parametrize("fact", [measured(), rolled_out()], ids=lambda f: f.kind)
def test_nothing_is_written_of_stints_that_are_none(fact: Fact) -> None:
    """A Deployment's facts are the bytes that they were before there were stints, and so what older releases wrote is
    read: without them, as an empty tuple.
    """
    raw = codec.dump_fact(fact)
    assert b"stints" not in raw
    assert codec.load_fact(raw) == fact


def test_a_suspension_comes_back() -> None:
    """It is in the snapshot with its end, and in the facts until it is over; a snapshot of an older release has none."""
    story = suspended()
    written = codec.dump_state(story.state)
    assert codec.load_state(written) == story.state
    older = json.loads(written)
    del older["suspensions"]
    assert codec.load_state(json.dumps(older).encode()) == replace(story.state, suspensions={})
    story.waits(story.policy.suspend_for)
    assert [codec.load_fact(codec.dump_fact(fact)) for fact in story.facts] == story.facts


def test_numbers_that_are_none_are_written_by_name() -> None:
    """An infinite value in a fact comes back: what is left out must not change how the rest is written."""
    odd = a_measurement(NOON, new=float("inf"))
    fact = MeasurementKept(at=NOON, incident=IncidentId("inc-1"), measurement=odd)
    assert b"Infinity" in codec.dump_fact(fact)
    assert codec.load_fact(codec.dump_fact(fact)) == fact


def test_tallies_come_back_from_a_snapshot() -> None:
    """Also what is only counted any more; a snapshot of an older release has none, and is read."""
    story = Story()
    story.spikes()
    tally = a_tally(*judged(40, 30), healthy=9)
    assert tally.earlier
    state = replace(story.state, scorecards=Table({SHOP.key: tally}))
    raw = codec.dump_state(state)
    assert codec.load_state(raw) == state
    assert codec.load_state(raw).scorecards[SHOP.key].counts == tally.counts
    older = {key: value for key, value in json.loads(raw).items() if key != "scorecards"}
    assert dict(codec.load_state(json.dumps(older).encode()).scorecards) == {}
