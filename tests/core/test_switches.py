"""Blue/green: a Service's switch is its rollout, and no change is counted for the Service and its Deployment at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Measure, NoteChange, ProveSoak, RolledBack
from daemon.core.incidents import Phase
from daemon.core.measurement import Measurement, SoakMeasurement
from daemon.core.model import Revision, Workload, WorkloadView
from daemon.core.reasons import Consequence, Reason
from daemon.core.switches import counts_elsewhere
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    a_soak,
    a_view,
    pods_of,
)
from tests.core.story import Story, done

FRONT = Workload(namespace="shop", kind="Service", name="checkout")
BLUE, GREEN = (
    replace(a_revision(number), number=None, colour=colour) for number, colour in ((1, "blue"), (2, "green"))
)
DEPLOYED = a_revision(2)
"""What green's own Deployment calls the same ReplicaSet."""


def served(current: Revision = BLUE, **changes: Any) -> WorkloadView:
    """The Service, with both colours' pods; one gets all traffic."""
    values: dict[str, Any] = {
        "workload": FRONT,
        "uid": "uid-front",
        "generation": 0,
        "history": (BLUE, GREEN),
        "pods": (pods_of(BLUE, ready=3 * (current == BLUE)), pods_of(GREEN, ready=3 * (current == GREEN))),
    }
    return a_view(current, **(values | changes))


def switched(policy: Any = None, **measured: Any) -> Story:
    """Blue is proven; green was deployed idle at 11:50 and is switched to at NOON, where errors begin."""
    story = Story(policy)
    story.sees(served())
    story.sees(a_view(a_revision(1)))
    story.waits(20 * MINUTE)
    assert story.verified(BLUE, FRONT)
    story.now = NOON - 10 * MINUTE
    story.sees(a_view(DEPLOYED, started_at=story.now, available_since=story.now))
    story.now = NOON
    story.sees(served(GREEN, started_at=NOON))
    story.measures = lambda _: a_measurement(story.now, old=None, new_ready=3, new_pods=3, **measured)
    story.where = dict.fromkeys(story.where, a_location(SHOP, FRONT)) | {"f1": a_location(SHOP, FRONT)}
    return story


def test_the_switch_is_the_candidate_and_not_the_deploy_of_the_idle_colour() -> None:
    """Before and after propose switching back to blue; nothing is ambiguous, though green was deployed minutes ago."""
    story = switched()
    story.fires()
    story.waits(5 * MINUTE)
    story.expect(Phase.PROPOSED)
    assert story.incident.suspect == FRONT
    story.expect_refused(Reason.NO_CONTRAST, Consequence.PROPOSE)
    assert Reason.AMBIGUOUS not in story.refusals
    story.approves()
    (action,) = story.rollbacks
    assert (action.workload, action.blamed.id, action.target.id) == (FRONT, GREEN.id, BLUE.id)
    assert action.target.label == "blue: checkout:v1 (11hash)"


def test_it_acts_without_a_control_where_the_policy_says_so() -> None:
    """All traffic moves at once, so there is hardly ever a contrast: `act_without_control` is the team's answer."""
    story = switched(a_policy(act_without_control=True))
    story.fires()
    story.waits(5 * MINUTE)
    assert [action.workload for action in story.rollbacks] == [FRONT]


def test_the_switch_back_ends_as_any_rollback() -> None:
    """A Service has no generation: it has arrived when the view shows blue, under our action."""
    story = switched(a_policy(act_without_control=True))
    story.patches = lambda _: done(RolledBack(generation=0, patched_at=story.now))
    story.fires()
    story.waits(5 * MINUTE)
    story.expect(Phase.ROLLING_BACK)
    story.sees(served(BLUE, started_at=story.now, action_id=story.rollbacks[0].id))
    story.expect(Phase.VERIFYING)


def test_a_deploy_of_the_selected_colour_is_the_deployments_own_rollout() -> None:
    """The Service shows another revision, but did not switch: the Deployment is blamed, the Service no candidate."""
    story = Story()
    story.sees(served(GREEN, started_at=NOON - HOUR))
    story.proves_v1()
    anew = replace(GREEN, id=a_revision(3).id, uid="rs-3", content="content-3")
    story.now = NOON
    story.rolls_out()
    story.sees(served(anew, history=(BLUE, anew), started_at=NOON, pods=(pods_of(anew),)))
    story.where = {"f1": a_location(SHOP, FRONT)}
    story.fires()
    story.waits(MINUTE)
    assert story.incident.suspect == SHOP
    assert [suspicion.workload for suspicion in story.incident.suspicions] == [SHOP]


def test_a_deploy_in_place_is_marked_once_on_the_timeline_and_told_once() -> None:
    """The Deployment's change event and news stand for both."""
    story = Story(a_policy(change_events=True, pipeline_managers=("ci",)))
    story.withheld.add(NoteChange)
    story.sees(served(GREEN, started_at=NOON - HOUR))
    anew = replace(GREEN, id=a_revision(3).id, uid="rs-3", content="content-3")
    story.sees(served(anew, history=(BLUE, anew), started_at=NOON))
    assert story.state.owed == {}
    assert story.announcements == []
    story.sees(served(BLUE, started_at=NOON + MINUTE))
    assert [type(action).__name__ for action in story.state.owed.values()] == ["NoteChange"]
    assert [action.brief.headline for action in story.announcements] == ["shop/checkout: changed past the pipeline"]


@pytest.mark.parametrize(
    ("change", "elsewhere"),
    [
        pytest.param({}, True, id="switched-to-it"),
        pytest.param({"started_at": NOON - HOUR - SECOND}, False, id="deployed-after-the-switch"),
        pytest.param({"revision": BLUE}, False, id="another-colour"),
        pytest.param({"revision": replace(GREEN, colour=None)}, False, id="no-switch"),
        pytest.param({"replaced": replace(BLUE, colour="green")}, False, id="in-place"),
        pytest.param({"workload": SHOP}, False, id="itself"),
    ],
)
def test_where_a_change_counts(change: dict[str, Any], elsewhere: bool) -> None:
    """An idle colour's deploy counts for the Service that was switched to it later, and for nothing else."""
    story = switched()
    deploy, switch = (story.state.workloads[each.key].rollout for each in (SHOP, FRONT))
    assert deploy is not None
    assert switch is not None
    deploy = replace(deploy, started_at=NOON - HOUR)
    assert counts_elsewhere(deploy, (deploy, replace(switch, **change))) is elsewhere
    unknown = replace(deploy, revision=replace(deploy.revision, uid=None))
    assert not counts_elsewhere(unknown, (switch, replace(switch, revision=replace(GREEN, uid=None))))


def test_a_regression_of_both_is_one_incident() -> None:
    """Service and Deployment soak on the same pods and lose their marks together: the one that brought them leads."""
    story = switched()
    story.measures = lambda _: a_measurement(story.now, old=None, new_ready=3, new_pods=3)
    story.waits(HOUR)
    assert story.verified(GREEN, FRONT)
    assert story.verified(DEPLOYED)

    def bad(action: ProveSoak) -> SoakMeasurement:
        return a_soak(action.since, story.now, 0 * SECOND, unhealthy_at=story.now, because="error_ratio 0.4")

    story.soaks = bad
    story.waits(3 * HOUR)
    assert not story.verified(GREEN, FRONT)
    assert not story.verified(DEPLOYED)
    assert [(one.symptom, one.regression) for one in story.incidents] == [(FRONT, True)]


def test_the_same_pods_are_no_second_witness() -> None:
    """Peers of the Service are neither its Deployment nor other Services, whose Deployments are peers already."""
    story = switched()
    story.sees(a_view(workload=CART, uid="uid-cart", current=replace(a_revision(7), uid="rs-7")))
    other = replace(a_revision(8), uid="rs-8", colour="blue")
    story.sees(
        served(other, workload=replace(FRONT, name="cart"), uid="uid-other", pods=(pods_of(other),), history=(other,))
    )
    asked: list[Measure] = []

    def measured(action: Measure) -> Measurement:
        asked.append(action)
        return a_measurement(story.now, old=None)

    story.measures = measured
    story.where = {"f1": a_location(FRONT)}
    story.fires()
    assert asked[-1].workload == FRONT
    assert asked[-1].peers == (CART,)
