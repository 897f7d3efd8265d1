"""Who does the work while only the old pods are heard: what they answer, what is asked, what goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.blame import suspect
from daemon.core.division import BY_CHANCE, MOMENTS, Division, division
from daemon.core.incidents import Term, Tier
from daemon.core.measurement import Measurement, Peer
from daemon.core.model import AlertStatus, OnsetSource, Rollout, Workload
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    CART,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_sample,
    pods_of,
    samples,
    states,
)

FRONT = Workload(namespace="shop", kind="Deployment", name="front")
NOW = NOON + 10 * STEP
READY = NOON + STEP
ROLLOUT = Rollout(
    workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON, pods=(pods_of(V1, 4),), steps=(READY,)
)
USUAL = 200.0


def a_peer(workload: Workload, now: float | None, before: float | None = USUAL) -> Peer:
    """What goes between it and the shop per second, before the rollout and now."""
    return Peer(workload=workload, before=a_sample(NOON - STEP, traffic=before), now=a_sample(NOW, traffic=now))


def unheard(rate: float, *, asked: float | None = USUAL, goes_on: float | None = None, **changes: Any) -> Measurement:
    """Half of four pods are new, ready for nine samples and never heard. The old ones answer `rate` per second of 200 before."""
    values: dict[str, Any] = {
        "new": (),
        "old": samples(0.001, until=NOW, count=6, traffic=rate),
        "before": samples(0.001, until=NOON - STEP, count=6, traffic=USUAL),
        "callers": () if asked is None else (a_peer(FRONT, asked),),
        "callees": () if goes_on is None else (a_peer(CART, goes_on),),
        "new_pods": 2,
        "new_ready": 2,
        "old_ready": 2,
        "ready_since": (READY, READY),
    }
    return replace(a_measurement(NOW), **(values | changes))


def divided(measurement: Measurement, served_before: int = 4) -> Division:
    """The division, which there is."""
    found = division(measurement, a_policy(), served_before)
    assert found is not None
    return found


# -- the balance


@pytest.mark.parametrize(
    ("old", "asked", "all_of_it"),
    [(200.0, 200.0, True), (170.0, 200.0, True), (160.0, 200.0, False), (100.0, 200.0, False), (100.0, 100.0, True),
     (200.0, 400.0, False), (200.0, None, False)],
    ids=["all", "nearly all", "not quite", "their part", "all of less", "half of more", "nobody knows what is asked"],
)  # fmt: skip
def test_old_pods_that_do_all_that_is_asked(old: float, asked: float | None, *, all_of_it: bool) -> None:
    """By what callers ask, for demand comes and goes."""
    assert divided(unheard(old, asked=asked)).old_do_all is all_of_it


def test_nobody_misses_new_pods_beside_as_many_old_ones_as_ever() -> None:
    """A preview that is asked nothing takes nothing away from anybody."""
    found = divided(unheard(200.0, goes_on=200.0, old_ready=4))
    assert (found.fewer, found.old_do_all, found.new_do_none) == (False, False, False)


@pytest.mark.parametrize(
    ("goes_on", "work", "none"),
    [(200.0, True, False), (170.0, True, False), (150.0, False, False), (130.0, False, True), (100.0, False, True),
     (None, False, False)],
    ids=["all goes on", "most", "between", "hardly more", "that of the old ones", "nobody knows"],
)  # fmt: skip
def test_pods_that_work_are_heard_by_those_they_call(goes_on: float | None, *, work: bool, none: bool) -> None:
    """The old ones answer half of 200; what reaches cart was 200 per second, and is 200 still where the new ones work."""
    found = divided(unheard(100.0, goes_on=goes_on))
    assert (found.new_work, found.new_do_none) == (work, none)


@pytest.mark.parametrize(
    ("old", "asked", "goes_on", "lost"),
    [(100.0, None, 100.0, True), (100.0, 200.0, 100.0, True), (100.0, None, 200.0, False), (180.0, None, 180.0, False),
     (40.0, 80.0, 40.0, True), (30.0, 160.0, 30.0, False)],
    ids=["a front", "a callee", "they work", "they are asked nothing", "in the evening", "old ones starve as well"],
)  # fmt: skip
def test_requests_are_lost_that_new_pods_take_and_do_not_pass_on(
    old: float, asked: float | None, goes_on: float, *, lost: bool
) -> None:
    """What is taken is told by the old ones, who are left with their part."""
    assert divided(unheard(old, asked=asked, goes_on=goes_on)).lost is lost


def test_a_small_part_is_not_told_by_the_old_ones_alone() -> None:
    """A fifth less may be the evening."""
    few = divided(unheard(160.0, asked=None, goes_on=160.0, old_ready=4, new_ready=1, ready_since=(READY,)), 5)
    assert (few.part, few.new_do_none, few.lost) == (0.2, True, False)


# -- where nothing can be told


@pytest.mark.parametrize(
    "changes",
    [
        {"before": ()},
        {"before": samples(0.001, until=NOON - STEP, traffic=None)},
        {"old": samples(0.001, until=NOW, count=MOMENTS - 1, traffic=100.0)},
        {"old": samples(0.001, until=NOW, count=6, traffic=None)},
        {"ready_since": ()},
        {"old_ready": 0},
        {"ready_since": (READY, NOW - STEP)},
        {"before": samples(0.001, until=NOON - STEP, count=6, traffic=2.0)},
    ],
    ids=[
        "no time before", "no traffic before", "two moments", "no traffic", "none is ready", "no old pods", "ready just now",
        "few requests",
    ],
)  # fmt: skip
def test_without_pods_or_requests_there_is_no_division(changes: dict[str, Any]) -> None:
    """Then or now: nothing is guessed."""
    assert division(unheard(100.0, **changes), a_policy(), 4) is None


def test_how_many_served_before_must_be_known() -> None:
    """By the samples of that time, or by the pods that the rollout was seen to replace."""
    assert division(unheard(100.0), a_policy(), 0) is None
    counted = tuple(replace(each, pods=4) for each in samples(0.001, until=NOON - STEP, traffic=USUAL))
    assert divided(unheard(100.0, before=counted), 0).fewer


def test_pods_of_each_moment_are_those_of_then() -> None:
    """Where samples tell how many answered: one new pod beside three old ones, two minutes before there were two."""
    old = tuple(replace(each, pods=3) for each in samples(0.001, until=NOW, count=6, traffic=150.0))
    assert divided(unheard(150.0, old=old, ready_since=(READY, NOW))).part == 0.25


@pytest.mark.parametrize("peer", [a_peer(CART, None), a_peer(CART, 5.0, None), replace(a_peer(CART, 1.0), now=None)])
def test_who_says_nothing_counts_for_nothing(peer: Peer) -> None:
    """Neither then nor now."""
    assert divided(unheard(100.0, callees=(peer,))).goes_on == ()
    assert divided(unheard(100.0, callers=(peer,))).asked is None


def test_a_callee_that_is_asked_little_tells_nothing() -> None:
    """Chance alone would make it hear more or less."""
    assert divided(unheard(100.0, callees=(a_peer(CART, 1.0, 2.0),))).goes_on == ()
    assert BY_CHANCE == 4.0


# -- what it is worth


def silence_of(measurement: Measurement, **more: Any) -> tuple[Term | None, Tier]:
    """The term of pods that were never heard, and the tier that is reached."""
    known: dict[str, Any] = {"old_ran": True, "chain_start": None, "onset": READY}
    found = suspect(ROLLOUT, measurement, onset_source=OnsetSource.RULE, policy=a_policy(), **(known | more))
    return next((term for term in found.terms if term.name in {"silence", "unheard"}), None), found.tier


def test_old_pods_that_carry_all_and_an_alert_are_as_good_as_a_contrast() -> None:
    """Even where they break down under it: few do the work of all."""
    overloaded = samples(0.4, until=NOW, count=6, traffic=200.0)
    term, tier = silence_of(unheard(200.0, old=overloaded))
    assert term is not None
    assert (term.name, term.weight, tier) == ("silence", WEIGHTS["silence"], Tier.CONTRAST)
    assert term.sentence == "Nothing was heard of the new pods in 6 samples, and fewer old ones do the work of all."


@pytest.mark.parametrize(
    ("measurement", "more", "name"),
    [
        (unheard(200.0), {}, "silence"),
        (unheard(200.0, alerts=states(AlertStatus.RESOLVED)), {}, None),
        (unheard(100.0), {}, "unheard"),
        (unheard(200.0), {"besides": 1}, "unheard"),
        (unheard(200.0, old_ready=4), {}, "unheard"),
        (unheard(100.0, goes_on=100.0), {}, "silence"),
        (unheard(100.0, goes_on=200.0), {}, None),
    ],
    ids=[
        "alert", "no alert", "they take their part", "it hurts elsewhere, too", "as many old ones as ever", "nothing goes on",
        "they work",
    ],
)  # fmt: skip
def test_what_is_told_of_pods_that_were_never_heard(
    measurement: Measurement, more: dict[str, Any], name: str | None
) -> None:
    """Idle ones may be acted upon, such as take their part are proposed at most, and who works is acquitted."""
    term, _ = silence_of(measurement, **more)
    assert (term.name if term else None) == name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True),
        ({"callees": (a_peer(CART, 200.0),)}, False),
        ({"ready_since": (READY - 6 * MINUTE,) * 2}, False),
        ({"old": samples(0.4, until=NOW, count=6, traffic=100.0)}, False),
    ],
    ids=["lost", "passed on", "long ago", "old ones fail"],
)
def test_lost_requests_need_no_alert(changes: dict[str, Any], *, told: bool) -> None:
    """The new pods take half of the requests, and nobody hears of these again, since the minute they were ready."""
    quiet = unheard(100.0, asked=None, goes_on=100.0, alerts=())
    term, tier = silence_of(replace(quiet, **changes))
    assert (term is not None) is told
    if term is not None:
        assert (term.name, tier) == ("silence", Tier.CONTRAST)
        assert "none of their work reaches those they call" in term.sentence
