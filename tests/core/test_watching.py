"""A rollout under way is looked at on a schedule: a regression that no alert tells opens an incident by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Measure, Measured, MeasurePurpose
from daemon.core.events import ActionFinished
from daemon.core.facts import IncidentOpened, WatchDue
from daemon.core.incidents import Phase
from daemon.core.measurement import Measurement
from daemon.core.model import StartFailureKind
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    a_rollout_view,
    a_start_failure,
    a_view,
    samples,
)
from tests.core.story import Story, done, failed

Watched = Callable[[Story], Measurement]


def contrast(story: Story) -> Measurement:
    """v2 errs, v1 does not, nobody complains."""
    return a_measurement(story.now, alerts=())


def fine(story: Story) -> Measurement:
    """Both do well."""
    return a_measurement(story.now, new=0.001, alerts=())


def failing(kind: StartFailureKind) -> Watched:
    """The pods of v2 do not start, v1 serves on."""
    failure = a_start_failure(kind=kind, message="not ready")
    return lambda story: a_measurement(story.now, new=None, new_ready=0, start_failure=failure, alerts=())


def rolling(watched: Watched = fine, **policy: Any) -> Story:
    """v2 goes out at NOON, and both the watch and an incident see this."""
    story = Story(a_policy(**policy))
    story.proves_v1()
    story.watches = story.measures = lambda _: watched(story)
    story.rolls_out()
    return story


def looks(story: Story) -> list[Measure]:
    """The measurements that the watch has asked for."""
    return [each for each in story.done if isinstance(each, Measure) and each.purpose is MeasurePurpose.WATCH]


# -- the schedule


def test_a_rollout_is_looked_at_with_every_sample_until_its_window_ends() -> None:
    """From the first sample after it began until half an hour after it was complete, and no longer."""
    story = rolling()
    story.waits(2 * MINUTE)
    story.completes()
    story.waits(3 * HOUR)
    moments = [int(look.id.rsplit("T", 1)[1][:6]) for look in looks(story)]
    assert moments[:3] == [120030, 120100, 120130]
    assert moments[-1] == 123200, "30 minutes after it was complete"
    assert len(moments) == 64
    assert story.state.workloads[SHOP.key].watch_due is None
    assert story.incidents == ()


def test_a_rollout_that_is_never_complete_is_watched_on() -> None:
    """A canary may stand for hours: while old pods serve, its contrast can be seen."""
    story = rolling()
    story.waits(HOUR)
    assert len(looks(story)) == 120


def test_a_look_asks_for_both_revisions_and_nothing_else() -> None:
    """No incident, no alerts, no peers: what is compared are v2 and v1 since NOON."""
    story = rolling()
    story.waits(STEP)
    (look,) = looks(story)
    assert (look.new, look.old, look.since, look.onset) == (V2, V1, NOON, NOON)
    assert (look.incident, look.alerts, look.peers) == ("", (), ())
    assert (look.new_pods, look.old_pods) == (("checkout-22hash-0",), ("checkout-11hash-0", "checkout-11hash-1"))
    assert look.deadline - story.now == 30 * SECOND


def test_what_replaced_nothing_is_not_watched() -> None:
    """The first revision of a workload has nothing to be compared with, or to go back to."""
    story = Story()
    story.starts()
    story.sees(a_view(workload=CART, uid="uid-cart", started_at=story.now, converged=False, available_since=None))
    story.waits(HOUR)
    assert looks(story) == []
    assert story.of(WatchDue) == []


def test_our_own_rollback_is_watched_by_its_incident() -> None:
    """The watch of v2 ends when we put v1 back."""
    story = rolling(contrast)
    story.waits(2 * MINUTE)
    assert len(story.rollbacks) == 1
    seen = len(looks(story))
    story.is_back()
    assert story.state.workloads[SHOP.key].watch_due is None
    story.waits(HOUR)
    assert len(looks(story)) == seen


def test_a_watch_that_never_was_is_not_ended() -> None:
    """A rollback of ours that is seen first of all leaves no fact about a schedule."""
    story = Story()
    story.proves_v1()
    story.rolls_out(action_id="inc-0/roll_back")
    assert story.of(WatchDue) == []


def test_the_next_rollout_takes_the_watch_over() -> None:
    """From then on v3 is looked at, against v2."""
    story = rolling()
    story.waits(MINUTE)
    story.rolls_out(V3, V2)
    story.waits(MINUTE)
    assert [(look.new, look.old) for look in looks(story)] == [(V2, V1)] * 2 + [(V3, V2)] * 2


def test_what_is_scheduled_already_is_not_journalled_again() -> None:
    """One fact per look."""
    story = rolling()
    story.waits(5 * STEP)
    dues = [fact.due for fact in story.of(WatchDue)]
    assert dues == [NOON + STEP * index for index in range(1, 7)]


def test_a_replay_knows_when_the_next_look_is_due() -> None:
    """The facts alone lead to the same schedule."""
    story = rolling()
    story.waits(5 * STEP)
    assert story.replayed().workloads[SHOP.key].watch_due == NOON + 6 * STEP


# -- what opens an incident


@pytest.mark.parametrize(
    "watched",
    [contrast, failing(StartFailureKind.CRASH), failing(StartFailureKind.OOM)],
    ids=["contrast", "crash", "out of memory"],
)
def test_a_regression_that_no_alert_tells_is_rolled_back(watched: Watched) -> None:
    """It opens an incident about the rollout, from its beginning on, and v1 is put back."""
    story = rolling(watched)
    story.waits(2 * MINUTE)
    assert len(story.incidents) == 1
    incident = story.incident
    assert (incident.symptom, incident.suspect, incident.onset, incident.alerts) == (SHOP, SHOP, NOON, ())
    assert [action.target.id for action in story.rollbacks] == [V1.id]


@pytest.mark.parametrize(
    "watched",
    [
        fine,
        lambda story: a_measurement(story.now, new=0.3, old=0.3, alerts=()),
        lambda story: a_measurement(story.now, new=0.3, old=None, old_ready=0, alerts=()),
        lambda story: a_measurement(story.now, traffic=0.1, alerts=()),
        lambda story: a_measurement(story.now, new=None, old=None, missing=("prometheus: gone",), alerts=()),
    ],
    ids=["fine", "bad alike", "only worse than before", "a handful of requests", "no data"],
)
def test_less_than_a_contrast_needs_somebody_who_complains(watched: Watched) -> None:
    """Timing and before-and-after are no evidence without an alert."""
    story = rolling(watched)
    story.waits(10 * MINUTE)
    assert story.incidents == ()


def test_pods_that_fell_silent_and_restart_need_no_alert() -> None:
    """Silence beside restarts is told by the pods themselves."""

    def silent(story: Story) -> Measurement:
        new = samples(0.001, until=story.now - 4 * STEP)
        old = samples(0.001, until=story.now, count=9)
        return replace(a_measurement(story.now, alerts=()), new=new, old=old, restarts=1)

    story = rolling(silent)
    story.waits(STEP)
    assert [incident.suspect for incident in story.incidents] == [SHOP]


def test_a_score_under_the_threshold_opens_nothing() -> None:
    """Who asks for more before anybody is blamed gets it here, too."""
    story = rolling(contrast, blame_threshold=1.5)
    story.waits(10 * MINUTE)
    assert story.incidents == ()


def test_pods_that_are_slow_to_start_are_given_until_the_progress_deadline() -> None:
    """Not ready, and nobody complains: nothing happens until the rollout itself has given up."""
    story = rolling(failing(StartFailureKind.NEVER_READY))
    story.waits(9 * MINUTE)
    assert len(story.incidents) == 0
    story.sees(a_rollout_view(started_at=NOON, stuck=True))
    story.waits(STEP)
    assert [fact.incident.suspect for fact in story.of(IncidentOpened)] == [SHOP]


def test_what_was_never_seen_to_serve_is_no_better_than_what_cannot_start() -> None:
    """v2 cannot start, and whether v1 ever could nobody knows: nothing is opened."""
    story = rolling(lambda story: replace(failing(StartFailureKind.CRASH)(story), old=(), old_ready=0))
    tracked = story.state.workloads[SHOP.key]
    unseen = replace(tracked, ledger={key: replace(entry, serving_since=None) for key, entry in tracked.ledger.items()})
    story.state = replace(story.state, workloads={SHOP.key: unseen})
    story.waits(10 * MINUTE)
    assert story.incidents == ()


# -- nobody is told the same twice


def test_an_incident_at_work_looks_for_itself() -> None:
    """While one investigates the rollout, the watch asks for nothing; it goes on when that one is dismissed."""
    story = rolling()
    story.waits(STEP)
    story.watches = lambda _: contrast(story)
    story.withheld.add(Measure)
    story.fires()
    story.withheld.clear()
    story.measures = lambda _: a_measurement(story.now, new=None, old=None, missing=("prometheus: gone",))
    before = len(looks(story))
    story.waits(5 * MINUTE)
    story.expect(Phase.OPEN)
    assert len(looks(story)) == before
    assert story.state.workloads[SHOP.key].watch_due is not None, "the schedule goes on"


def test_who_was_blamed_and_handed_over_is_not_opened_again() -> None:
    """v2 is blamed, nothing is verified, a person is paged: the watch sees the same for an hour and adds nothing."""
    story = Story()
    story.soaks = lambda action: None
    story.proves_v1()
    story.watches = story.measures = lambda _: contrast(story)
    story.rolls_out()
    story.waits(HOUR)
    assert [incident.phase for incident in story.incidents] == [Phase.ESCALATED]
    assert len(story.triggers) == 1


def test_an_incident_of_the_rollout_before_says_nothing_of_this_one() -> None:
    """v2 was blamed and handed over; v3 errs as well and is opened by itself."""
    story = Story()
    story.soaks = lambda action: None
    story.proves_v1()
    story.watches = story.measures = lambda _: contrast(story)
    story.rolls_out()
    story.waits(5 * MINUTE)
    story.rolls_out(V3, V2)
    story.waits(5 * MINUTE)
    assert [incident.opened_at >= NOON + 5 * MINUTE for incident in story.incidents] == [False, True]


def test_a_revision_that_was_rolled_back_and_is_back_is_watched_again() -> None:
    """What was said of its rollout before is not said of this one."""
    story = rolling(contrast)
    story.waits(2 * MINUTE)
    story.is_back()
    story.waits(5 * MINUTE)
    story.expect(Phase.RECOVERED)
    story.measures = story.watches
    story.rolls_out()
    story.waits(2 * MINUTE)
    assert [incident.onset for incident in story.incidents] == [NOON, NOON + 7 * MINUTE]


def test_an_incident_elsewhere_is_not_about_it() -> None:
    """While the cart is investigated the shop's rollout is looked at."""
    story = rolling()
    cart = a_view(workload=CART, uid="uid-cart", current=replace(V1, uid="rs-cart"))
    story.sees(cart)
    newer = a_revision(2, uid="rs-cart-2")
    story.sees(a_rollout_view(newer, V1, workload=CART, uid="uid-cart", started_at=story.now))
    story.where["f1"] = a_location(CART)
    story.measures = lambda _: a_measurement(story.now, new=None, old=None, missing=("prometheus: gone",))
    story.fires()
    story.waits(2 * MINUTE)
    assert (story.incident.suspect, story.incident.phase) == (CART, Phase.OPEN)
    assert len([look for look in looks(story) if look.workload == SHOP]) == 5


# -- an answer that comes late


def late(story: Story) -> Measure:
    """A look is asked for, and not answered yet."""
    story.withheld.add(Measure)
    story.waits(STEP)
    (look,) = [action for action in story.state.owed.values() if isinstance(action, Measure)]
    return look


def answered(story: Story, look: Measure) -> None:
    """It is now: a contrast."""
    outcome = done(Measured(measurement=contrast(story)))
    story.happens(ActionFinished(at=story.now, action_id=look.id, outcome=outcome))


def test_an_answer_in_time_opens_the_incident() -> None:
    """The counterpart of those that come too late."""
    story = rolling(contrast)
    answered(story, late(story))
    assert len(story.incidents) == 1


def test_an_answer_about_the_rollout_before_is_nobodys() -> None:
    """v3 goes out while v2 is measured."""
    story = rolling(contrast)
    look = late(story)
    story.rolls_out(V3, V2)
    answered(story, look)
    assert story.incidents == ()


def test_an_answer_about_a_workload_that_is_gone_is_nobodys() -> None:
    """It was deleted while it was measured."""
    story = rolling(contrast)
    look = late(story)
    story.state = replace(story.state, workloads={})
    answered(story, look)
    assert story.incidents == ()


def test_an_answer_beside_an_incident_adds_none() -> None:
    """An alert was faster than the measurement."""
    story = rolling(contrast)
    look = late(story)
    story.fires()
    assert len(story.incidents) == 1
    answered(story, look)
    assert len(story.incidents) == 1


def test_a_look_that_fails_shows_nothing() -> None:
    """Prometheus did not answer: the next look asks again."""
    story = rolling(contrast)
    look = late(story)
    story.happens(ActionFinished(at=story.now, action_id=look.id, outcome=failed()))
    assert story.incidents == ()
    assert story.state.workloads[SHOP.key].watch_due == NOON + 2 * STEP
