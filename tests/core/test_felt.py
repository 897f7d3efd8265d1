"""Timing goes by when it was first felt where it hurts, not by when an alert's threshold was crossed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.blame import TIMING_HALF_LIFE, UNREADY_SHARE, suspect
from daemon.core.incidents import Term
from daemon.core.model import LocatedAlert, Neighbour, OnsetSource, Rollout, Workload
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    CART,
    FINGERPRINT,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    a_location,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_view,
    an_alert,
)
from tests.core.story import Story

ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
ONSET = NOON + 8 * MINUTE
FRONT = Workload(namespace="shop", kind="Deployment", name="front")


def timing(felt_at: datetime | None, onset: datetime = ONSET, **changes: Any) -> Term:
    """Of a rollout that began at NOON."""
    source = changes.pop("source", OnsetSource.FOR_STATE)
    measured = a_measurement(onset + MINUTE, new=None, old=None)
    found = suspect(
        replace(ROLLOUT, **changes),
        measured,
        onset,
        source,
        a_policy(),
        old_ran=True,
        chain_start=None,
        felt_at=felt_at,
    )
    (term,) = [term for term in found.terms if term.name == "timing"]
    return term


def decayed(lag: timedelta) -> float:
    return WEIGHTS["timing"] * float(0.5 ** (lag / TIMING_HALF_LIFE))


@pytest.mark.parametrize(
    ("felt_at", "steps", "value", "weight", "says"),
    [
        (None, (), 480.0, decayed(8 * MINUTE), "The anomaly began 480 s after the rollout."),
        (ONSET, (), 480.0, decayed(8 * MINUTE), "The anomaly began 480 s after the rollout."),
        (
            NOON + MINUTE,
            (),
            60.0,
            decayed(MINUTE),
            "It was first felt 60 s after the rollout, 420 s before the alert's onset.",
        ),
        (
            NOON + 3 * MINUTE,
            (NOON + 2 * MINUTE, NOON + 7 * MINUTE),
            60.0,
            decayed(MINUTE),
            "It was first felt 60 s after more of its new pods were ready, 300 s before the alert's onset.",
        ),
        (
            NOON + MINUTE,
            (NOON + 2 * MINUTE,),
            60.0,
            decayed(MINUTE) * UNREADY_SHARE,
            "It was first felt 60 s after the rollout, 420 s before the alert's onset, before any of its new pods was ready.",
        ),
        (NOON - MINUTE, (), 0.0, 0.0, "It was first felt 60 s before the rollout, 540 s before the alert's onset."),
    ],
    ids=[
        "nothing known",
        "at the onset",
        "in its first minute",
        "after its first step",
        "before a pod was ready",
        "before it",
    ],
)
def test_timing_goes_by_when_it_is_felt(
    felt_at: datetime | None, steps: tuple[datetime, ...], value: float, weight: float, says: str
) -> None:
    """The threshold is crossed late in a rollout by stages; what was felt before a rollout began is not its doing."""
    term = timing(felt_at, steps=steps)
    assert (term.value, term.sentence) == (value, says)
    assert term.weight == round(weight, 4)


def test_a_sample_early_is_as_good_as_at_the_moment() -> None:
    """Clocks and samples err by as much: half is left, as at the onset. A second more, and nothing is."""
    early, too_early = timing(NOON - STEP), timing(NOON - STEP - SECOND)
    assert (early.weight, too_early.weight) == (WEIGHTS["timing"] / 2, 0.0)


def test_an_assumed_onset_says_so_all_the_same() -> None:
    """What was felt is counted back from it."""
    term = timing(NOON + MINUTE, source=OnsetSource.ASSUMED)
    assert term.sentence.endswith("420 s before the alert's onset (the onset is assumed).")


@pytest.mark.parametrize(
    ("known", "felt_at"),
    [
        ((None,), ONSET),
        ((None, NOON + 2 * MINUTE, NOON + 5 * MINUTE), NOON + 2 * MINUTE),
        ((ONSET + MINUTE,), ONSET),
    ],
    ids=["nobody knows", "the earliest counts", "later than the onset"],
)
def test_of_an_incident_the_alert_counts_that_felt_it_first(
    known: tuple[datetime | None, ...], felt_at: datetime
) -> None:
    """It is never later than the onset, which another alert may have brought."""
    story = Story()
    story.spikes()
    alerts = tuple(LocatedAlert(alert=an_alert(), location=a_location(felt_at=felt)) for felt in known)
    assert replace(story.incident, onset=ONSET, alerts=alerts).felt_at == felt_at


@pytest.mark.parametrize(("felt_at", "named"), [(NOON + MINUTE, SHOP), (None, CART)], ids=["felt early", "unknown"])
def test_who_rolled_out_when_it_was_felt_is_named_first(felt_at: datetime | None, named: Workload) -> None:
    """The front calls two that look well themselves; the threshold is crossed after the other one's rollout has begun, too."""
    story = Story()
    story.proves_v1()
    story.sees(a_view(workload=FRONT, uid="uid-front", current=replace(V1, uid="rs-front")))
    story.sees(a_view(workload=CART, uid="uid-cart", current=replace(V1, uid="rs-cart")))
    story.rolls_out()
    story.now = ONSET - MINUTE
    story.sees(a_rollout_view(workload=CART, uid="uid-cart", started_at=story.now))
    called = tuple(Neighbour(workload=each, hops=1, called=True) for each in (SHOP, CART))
    story.where[FINGERPRINT] = a_location(FRONT, onset=ONSET, neighbours=called, felt_at=felt_at)
    story.measures = lambda action: a_measurement(story.now, new=0.001)
    story.fires(replace(an_alert(), starts_at=ONSET + MINUTE))
    assert story.incident.suspicions[0].workload == named
