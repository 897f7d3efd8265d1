"""Nobody complains, nothing is heard of the new pods, and those who call them directly fail since: that is a witness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.blame import suspect
from daemon.core.incidents import Phase, Suspicion, Tier
from daemon.core.measurement import Measurement, Peer, Sample
from daemon.core.model import AlertStatus, OnsetSource, Rollout, Workload
from daemon.core.silence import fell_silent_at, worse_since
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_revision,
    a_rollout_view,
    a_sample,
    a_view,
    pods_of,
    samples,
    states,
)
from tests.core.story import Story

FRONT = Workload(namespace="shop", kind="Deployment", name="front")
ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
NOW = NOON + 12 * STEP


def a_caller(
    workload: Workload = FRONT, *, before: float | None = 0.001, now: float | None = 0.3, **slow: float
) -> Peer:
    """Its share of failed requests before the rollout and now, the same from the minute on in which new pods were ready; `slow`
    are latencies of now.
    """
    earlier, later = a_sample(NOON - STEP, errors=before, **dict.fromkeys(slow, 0.1)), a_sample(NOW, errors=now, **slow)
    return Peer(workload=workload, before=earlier, now=later, since=(earlier, later))


def never_heard(at: datetime = NOW, **changes: Any) -> Measurement:
    """Two ready pods of v2 say nothing, the old ones answer and are well, front fails since, and no alert fires."""
    values: dict[str, Any] = {
        "new": (),
        "old": samples(0.001, until=at, count=6),
        "callers": (a_caller(),),
        "alerts": (),
        "new_pods": 2,
        "new_ready": 2,
    }
    return replace(a_measurement(at), **(values | changes))


def suspicion(measurement: Measurement, **more: Any) -> Suspicion:
    """What speaks against v2, of which nobody complains."""
    known: dict[str, Any] = {"old_ran": True, "chain_start": None, "onset": NOON}
    return suspect(ROLLOUT, measurement, onset_source=OnsetSource.RULE, policy=a_policy(), **(known | more))


def named(measurement: Measurement, **more: Any) -> str | None:
    """How the silence is called."""
    found = {term.name for term in suspicion(measurement, **more).terms}
    return next((name for name in ("silence", "unheard") if name in found), None)


# -- whose errors count


@pytest.mark.parametrize(
    ("caller", "told"),
    [
        (a_caller(), True),
        (a_caller(before=0.3), False),
        (a_caller(before=None), False),
        (a_caller(now=None), False),
        (a_caller(now=0.001), False),
        (a_caller(now=0.001, latency_p95=9.0, latency_p99=9.0), False),
        (replace(a_caller(), before=None), False),
        (replace(a_caller(), now=None), False),
    ],
    ids=[
        "fails since", "failed before", "not measured before", "not measured now", "is well", "is slow",
        "nothing of before", "nothing of now",
    ],
)  # fmt: skip
def test_a_caller_bears_witness_that_fails_now_and_did_not(caller: Peer, told: bool) -> None:
    """Whoever may have failed before it, or is only slow, says nothing of the rollout."""
    assert (worse_since((caller,), a_policy()) == (FRONT.short,)) is told
    assert named(never_heard(callers=(caller,))) == ("silence" if told else None)


def test_who_bears_witness_is_named() -> None:
    """By name, three at most; one of several is enough, and it is a contrast."""
    well = a_caller(CART, now=0.001)
    found = suspicion(never_heard(callers=(well, a_caller())))
    term = next(term for term in found.terms if term.name == "silence")
    assert (found.tier, term.value, term.weight) == (Tier.CONTRAST, 6.0, WEIGHTS["silence"])
    assert (
        term.sentence
        == f"Nothing was heard of the new pods in 6 samples, and {FRONT.short}, calling it, got worse since."
    )
    many = [replace(FRONT, name=f"front-{number}") for number in range(5)]
    (term,) = (
        term for term in suspicion(never_heard(callers=tuple(map(a_caller, many)))).terms if term.name == "silence"
    )
    assert [each.short in term.sentence for each in many] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("until", "first", "told"),
    [(0.001, 0.3, True), (0.001, 0.02, False), (0.001, 0.022, True), (0.27, 0.3, True), (0.29, 0.3, False),
     (None, 0.3, False), (0.001, None, False)],
    ids=["from then on", "later", "a little from then on", "a little more", "all the while", "not measured until then",
         "not measured then"],
)  # fmt: skip
def test_it_must_fail_from_the_minute_on_in_which_new_pods_were_ready(
    until: float | None, first: float | None, *, told: bool
) -> None:
    """What hurts it besides, an outage or another rollout, hardly begins in that very minute."""
    since = (a_sample(NOON, errors=until), a_sample(NOON + STEP, errors=first))
    assert (worse_since((replace(a_caller(), since=since),), a_policy()) != ()) is told
    assert worse_since((replace(a_caller(), since=None),), a_policy()) == ()


HEARD = a_sample(NOW - 4 * STEP, errors=0.0, traffic=None)


@pytest.mark.parametrize(
    ("new", "ready", "turns"),
    [
        ((), (), ()),
        ((), (NOON,), (NOON,)),
        ((), (NOON, NOON + STEP, NOON + 2 * STEP), (NOON, NOON + 2 * STEP)),
        ((HEARD, Sample(at=NOW, values=())), (NOON,), (HEARD.at,)),
        ((replace(HEARD, at=NOW - 3 * STEP),), (NOON,), ()),
        ((a_sample(NOW, errors=None, traffic=0.0),), (NOON,), ()),
        ((Sample(at=NOW, values=(("cpu", 0.3),)),), (NOON,), (NOON,)),
    ],
    ids=["none is ready", "never heard", "the first and the last", "fell silent", "heard lately", "nobody asks", "only CPU"],
)  # fmt: skip
def test_callers_are_needed_where_nothing_is_known_of_requests_lately(
    new: tuple[Sample, ...], ready: tuple[datetime, ...], turns: tuple[datetime, ...]
) -> None:
    """And what they would tell began when new pods were ready, or were heard last."""
    assert fell_silent_at(new, ready, a_policy(), NOW) == turns


# -- what else would explain it


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"old": samples(0.001, until=NOW - 4 * STEP, count=6)}, "silence"),
        ({"old": samples(0.001, until=NOW - 5 * STEP, count=6)}, "unheard"),
        ({"old": ()}, None),
        ({"new_ready": 0}, "unheard"),
        ({"old": samples(0.3, until=NOW, count=6)}, None),
        ({"old": samples(0.001, until=NOW, count=6, traffic=0.5)}, "unheard"),
        ({"old": samples(0.001, until=NOW, count=2)}, None),
    ],
    ids=[
        "old pods answered lately", "old pods gone", "no old pods", "none is ready", "old pods bad, too", "little to do",
        "two samples",
    ],
)  # fmt: skip
def test_callers_that_fail_prove_nothing_where_the_new_pods_could_not_be_missed(
    changes: dict[str, Any], name: str | None
) -> None:
    """The old ones answer well, and lately, in the same minutes; the new ones are ready."""
    assert named(never_heard(**changes)) == name


def test_what_hurts_elsewhere_as_well_has_another_cause() -> None:
    """Then it is at most put to a person."""
    assert (named(never_heard()), named(never_heard(), besides=1)) == ("silence", "unheard")


def cold_ones(until: datetime) -> tuple[Sample, ...]:
    """Samples of pods that were heard and are not warm yet."""
    return tuple(Sample(at=each.at, values=()) for each in samples(until=until, count=6))


def test_pods_that_are_not_yet_warm_are_not_silent() -> None:
    """They were heard, only not believed: a sample without values is of such a moment."""
    assert named(never_heard(new=cold_ones(NOW))) is None
    assert named(never_heard(new=cold_ones(NOW)[:3])) == "silence"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, True),
        ({"callers": ()}, False),
        ({"callers": (), "restarts": 1}, True),
        ({"new_ready": 0, "new_pods": 0}, False),
        ({"old": samples(0.001, until=NOW, count=6, traffic=0.5)}, False),
        ({"old": samples(0.3, until=NOW, count=6)}, False),
    ],
    ids=["its caller fails", "nobody fails", "restarted", "gone", "little to do", "old pods bad, too"],
)
def test_pods_that_fell_silent_are_told_by_callers_as_well(changes: dict[str, Any], *, told: bool) -> None:
    """A lost scrape hurts nobody."""
    spoke = samples(0.001, until=NOW - 4 * STEP, count=2)
    assert named(never_heard(**({"new": spoke} | changes))) == ("silence" if told else None)
    assert named(never_heard(**({"new": spoke} | changes)), besides=1) == ("silence" if "restarts" in changes else None)


# -- stories


def watched(
    looks: Callable[[datetime], Measurement] = never_heard, prepare: Callable[[Story], None] = lambda story: None
) -> Story:
    """v2 goes out, nothing is heard of it, front fails since, and nobody complains."""
    story = Story()
    story.proves_v1()
    story.now = NOON - 10 * MINUTE
    prepare(story)
    story.watches = story.measures = lambda action: (
        looks(story.now) if action.workload == SHOP else Measurement(at=story.now)
    )
    story.rolls_out()
    story.waits(6 * MINUTE)
    return story


def test_pods_that_hurt_their_callers_unheard_are_rolled_back_without_an_alert() -> None:
    """The watch opens the incident, and v1 is back."""
    story = watched()
    assert len(story.incidents) == 1
    assert story.incident.alerts == ()
    story.expect(Phase.ROLLING_BACK)
    assert [action.target.id for action in story.rollbacks] == [V1.id]


@pytest.mark.parametrize(
    "looks",
    [
        lambda at: never_heard(at, callers=()),
        lambda at: never_heard(at, callers=(a_caller(before=0.3),)),
        lambda at: never_heard(at, callers=(replace(a_caller(), before=None),)),
        lambda at: never_heard(at, callers=(a_caller(now=0.001, latency_p95=9.0),)),
        lambda at: never_heard(at, old=samples(0.001, until=at - 5 * STEP, count=6)),
        lambda at: never_heard(at, new=cold_ones(at)),
    ],
    ids=["no callers", "failed before", "nothing of before", "only slow", "old pods gone", "only cold"],
)
def test_nothing_is_opened_without_a_witness(looks: Callable[[datetime], Measurement]) -> None:
    """Pods without metrics are no reason to wake anybody."""
    story = watched(looks)
    assert (story.incidents, story.rollbacks) == ((), [])


FRONT_1, FRONT_2 = (
    a_revision(
        number, replica_set=f"front-{number}", uid=f"front-rs-{number}", images=(f"registry.example/front:v{number}",)
    )
    for number in (1, 2)
)


def front_is(story: Story, *, since: timedelta | None = None, for_how_long: timedelta | None = None) -> None:
    """Front serves its first revision; its second goes out `since` before NOON and is complete after `for_how_long`."""
    began = NOON - (since or timedelta(0))
    story.now = began - 2 * HOUR if since else story.now
    plain: dict[str, Any] = {"workload": FRONT, "uid": "uid-front"}
    first = {"history": (FRONT_1,), "started_at": began - 3 * HOUR, "available_since": began - 3 * HOUR}
    story.sees(a_view(FRONT_1, **(plain | first)))
    if since is None:
        return
    story.now = began
    both = {"history": (FRONT_1, FRONT_2), "started_at": began}
    story.sees(a_rollout_view(FRONT_2, FRONT_1, **(plain | both)))
    if for_how_long is not None:
        story.now = began + for_how_long
        story.sees(a_view(FRONT_2, **(plain | both | {"available_since": story.now, "pods": (pods_of(FRONT_2),)})))


@pytest.mark.parametrize(
    ("history", "rolled"),
    [
        ({}, 1),
        ({"since": 10 * MINUTE, "for_how_long": 2 * MINUTE}, 0),
        ({"since": 10 * MINUTE}, 0),
        ({"since": 5 * HOUR, "for_how_long": 2 * MINUTE}, 1),
    ],
    ids=["never", "lately", "still going on", "long ago"],
)
def test_a_caller_that_was_rolled_out_itself_is_no_witness(history: dict[str, Any], rolled: int) -> None:
    """Within the blame window it may fail by its own doing."""
    story = watched(prepare=lambda story: front_is(story, **history))
    assert [action.workload for action in story.rollbacks] == [SHOP] * rolled
    assert len(story.incidents) == rolled


def test_pods_that_a_caller_kept_bear_witness_although_it_is_rolled_out() -> None:
    """They run what they ran before, so what fails since is not their own doing."""
    kept = (replace(a_caller(), kept=True),)
    story = watched(lambda at: never_heard(at, callers=kept), lambda story: front_is(story, since=10 * MINUTE))
    assert [action.workload for action in story.rollbacks] == [SHOP]


@pytest.mark.parametrize(("history", "rolled"), [({}, 1), ({"since": 10 * MINUTE}, 0)], ids=["never", "lately"])
def test_nor_is_it_one_beside_the_alert_of_the_workload_itself(history: dict[str, Any], rolled: int) -> None:
    """The shop's own alert and silence are put to a person; with a caller as a witness they are a contrast."""
    story = Story()
    story.proves_v1()
    front_is(story, **history)
    story.measures = lambda _: never_heard(story.now, alerts=states(AlertStatus.FIRING))
    story.rolls_out()
    story.fires()
    story.waits(6 * MINUTE)
    assert [action.workload for action in story.rollbacks] == [SHOP] * rolled
    assert len(story.incidents) == 1


@pytest.mark.parametrize(("fails", "told"), [(0.12, False), (0.14, True)])
def test_a_caller_must_fail_by_as_much_as_it_should(fails: float, told: bool) -> None:
    """A quarter of what goes to the new pods at least: of half it is 12.5 %. A caller that fails less has another cause."""
    before, now = (Sample(at=NOON, values=(("error_ratio", value),)) for value in (0.0, fails))
    caller = Peer(workload=FRONT, before=before, now=now, since=(before, now))
    assert (worse_since((caller,), a_policy(), 0.125) == (FRONT.short,)) is told
