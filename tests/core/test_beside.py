"""Where nobody knows who calls whom: what was rolled out in the same namespace right before it began to hurt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.incidents import Phase
from daemon.core.model import Neighbour, Workload
from daemon.core.reasons import Reason
from daemon.core.surroundings import RIGHT_BEFORE, surroundings
from tests.core.builders import CART, FINGERPRINT, MINUTE, NOON, SHOP, STEP, V1, a_policy, a_view, an_alert
from tests.core.story import Story
from tests.core.test_neighbours import CALLED, FRONT, calling, fine_at_home, hurts_at, suspicion, weight

ELSEWHERE = Workload(namespace="billing", kind="Deployment", name="ledger")
BESIDE = Neighbour(workload=SHOP, hops=0, called=False)


def near(story: Story) -> dict[Workload, Neighbour]:
    """What is near to the place of the first incident."""
    return dict(surroundings(story.incidents[0], story.state, a_policy()).here.near)


def hurting_after(lag: timedelta, place: Workload = FRONT, *neighbours: Neighbour) -> Story:
    """The shop's v2 goes out at NOON, and it hurts elsewhere so much later."""
    story = calling()
    story.sees(a_view(workload=ELSEWHERE, uid="uid-ledger", current=replace(V1, uid="rs-ledger")))
    story.where[FINGERPRINT] = replace(hurts_at(place, *neighbours), onset=NOON + lag)
    fine_at_home(story)
    story.now = max(story.now, NOON + lag)
    story.fires()
    return story


@pytest.mark.parametrize(
    ("lag", "named"),
    [
        (-STEP, True),
        (-STEP - timedelta(seconds=1), False),
        (RIGHT_BEFORE, True),
        (RIGHT_BEFORE + timedelta(seconds=1), False),
    ],
)
def test_only_what_came_right_before_is_beside_it(lag: timedelta, named: bool) -> None:
    """Of a namespace somebody rolls out all the time: a minute, and a sample for clocks that differ."""
    assert near(hurting_after(lag)) == ({SHOP: BESIDE} if named else {})


def test_another_namespace_is_not_beside_it() -> None:
    """Teams share clusters, not causes."""
    assert near(hurting_after(STEP, ELSEWHERE)) == {}


def test_where_calls_are_known_nothing_is_beside_it() -> None:
    """Who is not near in a graph that is known has nothing to do with it."""
    assert near(hurting_after(STEP, FRONT, Neighbour(workload=CART, hops=1, called=True))).keys() == {CART}


def test_what_is_beside_it_is_proposed_and_said_to_be_no_more_than_that() -> None:
    """Its own signals are fine: the time alone names it, so a person decides."""
    story = hurting_after(STEP)
    story.waits(3 * MINUTE)
    story.expect(Phase.PROPOSED, Reason.BLAMED_TIMING)
    (leader,) = story.incident.suspicions
    (said,) = [term.sentence for term in leader.terms if term.name == "graph"]
    assert (leader.workload, weight(leader, "graph")) == (SHOP, 0.0)
    assert said == "It is of the same namespace; who calls whom is not known there."
    assert story.rollbacks == []


def test_a_rollout_that_hurts_by_itself_has_nothing_beside_it() -> None:
    """Without an alert the incident is about one rollout: another one's timing neither measures nor outweighs it."""
    story = hurting_after(STEP)
    silent = replace(story.incidents[0], alerts=())
    assert surroundings(silent, story.state, a_policy()).here.near == {}


def test_a_rollout_that_hurts_where_others_hurt_may_have_broken_what_it_calls() -> None:
    """Its old and new pods fail alike, and so does another place: who calls whom is not known, so it may be its doing."""
    found = surroundings(_both_hurt().incidents[0], _both_hurt().state, a_policy())
    assert found.inherits(SHOP)
    assert found.explains(SHOP) == 1


def _both_hurt() -> Story:
    story = calling()
    story.where["front"] = hurts_at(FRONT)
    story.where["shop"] = hurts_at(SHOP)
    fine_at_home(story)
    story.fires(an_alert("shop"), an_alert("front"))
    return story


def test_who_is_called_may_be_rolled_back_by_its_own_signals() -> None:
    """A contrast of its own convicts who is beside it like any other."""
    story = calling()
    story.fires()
    story.waits(MINUTE)
    assert [action.workload for action in story.rollbacks] == [SHOP]
    assert suspicion(neighbour=CALLED).score > suspicion(neighbour=BESIDE).score > 0


def test_what_hurts_itself_is_its_own_incident() -> None:
    """The front's alert is about nothing of its own while the shop's alert fires: one outage is not one incident per workload."""
    story = calling()
    story.where["front"] = hurts_at(FRONT)
    story.where["shop"] = hurts_at(SHOP)
    fine_at_home(story)
    story.fires(an_alert("front"))
    (first,) = story.incidents
    assert near(story) == {SHOP: BESIDE}
    story.fires(an_alert("shop"))
    assert near(story) == {}
    story.waits(3 * MINUTE)
    ended = next(each for each in story.incidents if each.id == first.id)
    assert (ended.phase, ended.reason) == (Phase.DISMISSED, Reason.NO_CANDIDATE)
