"""The call graph: who is near to where it hurts is a candidate, and no unrelated witness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Measure
from daemon.core.blame import CALLER_SHARE, suspect
from daemon.core.incidents import Incident, Phase, Suspicion, Tier
from daemon.core.measurement import Measurement, Peer
from daemon.core.model import Location, Neighbour, OnsetSource, Rollout, Rung, StartFailureKind, Workload
from daemon.core.reasons import Consequence, Reason
from daemon.core.weights import WEIGHTS
from tests.core.builders import (
    CART,
    FINGERPRINT,
    HOUR,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    a_location,
    a_measurement,
    a_policy,
    a_sample,
    a_start_failure,
    a_view,
    an_alert,
    samples,
)
from tests.core.story import Story

FRONT = Workload(namespace="shop", kind="Deployment", name="front")
MAIL = Workload(namespace="post", kind="Deployment", name="mail")
CALLED = Neighbour(workload=SHOP, hops=1, called=True)
ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
NOW = NOON + 12 * STEP
GATHERED = 3 * STEP
"""Two samples after the alert timing alone is blame; the look at the third one is the first that may say so."""


def suspicion(measurement: Measurement | None = None, **more: Any) -> Suspicion:
    """What speaks against v2 of the shop."""
    known: dict[str, Any] = {"old_ran": True, "chain_start": None}
    measured = measurement or a_measurement(NOW, new=None, old=None)
    return suspect(ROLLOUT, measured, NOON + STEP, OnsetSource.RULE, a_policy(), **(known | more))


def weight(found: Suspicion, name: str) -> float | None:
    """The weight of a term, None where it is not among them."""
    return next((term.weight for term in found.terms if term.name == name), None)


# -- terms


@pytest.mark.parametrize(
    ("hops", "called", "share"),
    [(1, True, 1.0), (2, True, 0.5), (3, True, 0.25), (1, False, 0.6), (2, False, 0.3)],
)
def test_who_is_near_is_suspected_the_more_the_nearer(hops: int, called: bool, share: float) -> None:
    """Halved with each call in between, and less for callers: answers go wrong more often than questions."""
    found = suspicion(neighbour=Neighbour(workload=SHOP, hops=hops, called=called))
    assert weight(found, "graph") == pytest.approx(WEIGHTS["graph"] * share)
    (sentence,) = [term.sentence for term in found.terms if term.name == "graph"]
    assert sentence == f"It {'is called from' if called else 'calls'} where it hurts, {hops} call(s) away."
    assert found.tier is Tier.TIMING, "a call is no evidence: the graph adds to the score, not to the tier"


def test_where_it_hurts_itself_there_is_no_call() -> None:
    """No neighbour, no term."""
    assert weight(suspicion(), "graph") is None


@pytest.mark.parametrize(("others", "expected"), [(0, None), (1, 1), (3, 3), (4, 3)])
def test_what_explains_more_places_is_likelier(others: int, expected: int | None) -> None:
    """A little for each further place that hurts and that it may have broken, at most three of them."""
    told = None if expected is None else pytest.approx(expected * WEIGHTS["explains"])
    assert weight(suspicion(explains=others), "explains") == told


def test_good_signals_acquit_nobody_of_what_they_do_to_others() -> None:
    """What a callee breaks for its callers never shows in its own numbers."""
    fine = a_measurement(NOW, new=0.001)
    assert weight(suspicion(fine), "exculpation") == WEIGHTS["exculpation"]
    assert weight(suspicion(fine, neighbour=CALLED), "exculpation") is None


# -- candidates


def hurts_at(workload: Workload, *neighbours: Neighbour, kin: tuple[Workload, ...] = ()) -> Location:
    """An alert on a workload near to others."""
    return replace(a_location(workload), neighbours=neighbours, kin=kin)


def calling(*neighbours: Neighbour, kin: tuple[Workload, ...] = (), **policy: Any) -> Story:
    """The shop's v2 goes out at NOON; the alert will be on the front, which calls it and had no rollout."""
    story = Story(a_policy(**policy))
    story.proves_v1()
    story.sees(a_view(workload=FRONT, uid="uid-front", current=replace(V1, uid="rs-front")))
    story.rolls_out()
    story.where[FINGERPRINT] = hurts_at(FRONT, *neighbours, kin=kin)
    return story


def test_the_rollout_of_a_callee_is_a_candidate() -> None:
    """It hurts at the front, nothing was rolled out there; the shop that it calls is measured and blamed for it."""
    story = calling(CALLED)
    story.fires()
    story.waits(MINUTE)
    assert (story.incident.symptom, story.incident.suspect) == (FRONT, SHOP)
    assert [(action.workload, action.target.id) for action in story.rollbacks] == [(SHOP, V1.id)]
    (leader,) = story.incident.suspicions
    assert weight(leader, "graph") == WEIGHTS["graph"]


def test_without_a_graph_what_came_long_before_is_no_candidate() -> None:
    """What is not known to be near is looked at only where it came right before."""
    story = calling()
    story.where[FINGERPRINT] = replace(hurts_at(FRONT), onset=NOON + 3 * MINUTE)
    story.waits(3 * MINUTE)
    story.fires()
    story.expect(Phase.DISMISSED, Reason.NO_CANDIDATE)


def test_where_it_hurts_itself_is_no_neighbour_of_it() -> None:
    """A shop that calls itself, or is in scope by another alert, is judged as the place that hurts."""
    story = calling()
    story.where[FINGERPRINT] = hurts_at(SHOP, CALLED)
    story.fires()
    (leader,) = story.incident.suspicions
    assert weight(leader, "graph") is None


def test_whatever_it_may_have_broken_and_hurts_too_speaks_against_it() -> None:
    """Two places hurt that call the shop, and one that it calls: each incident counts the other two, less for what it calls."""
    story = calling(CALLED)
    fine_at_home(story, new=(), old=())
    story.sees(a_view(workload=CART, uid="uid-cart", current=replace(V1, uid="rs-cart")))
    story.sees(a_view(workload=MAIL, uid="uid-mail", current=replace(V1, uid="rs-mail")))
    story.where["f2"] = hurts_at(CART, CALLED)
    story.where["f3"] = hurts_at(MAIL, replace(CALLED, called=False))
    story.fires(an_alert(), an_alert("f2"), an_alert("f3"))
    story.waits(MINUTE)
    told = {incident.symptom.name: explained(incident) for incident in story.incidents}
    both = 2 * WEIGHTS["explains"]
    assert told == {"front": both, "cart": both, "mail": pytest.approx(both * CALLER_SHARE)}


def test_a_place_that_joined_by_a_merge_still_speaks_for_the_callee() -> None:
    """Two places hurt that call the shop. They become one incident, and its case must not become weaker by that."""
    story = calling(CALLED)
    fine_at_home(story)
    story.sees(a_view(workload=CART, uid="uid-cart", current=replace(V1, uid="rs-cart")))
    story.where["f2"] = hurts_at(CART, CALLED)
    story.fires(an_alert())
    story.fires(an_alert("f2"))
    story.waits(5 * STEP)
    kept, merged = story.incidents
    assert merged.merged_into == kept.id
    assert kept.phase is Phase.PROPOSED
    assert explained(kept) == WEIGHTS["explains"]


def test_an_alert_that_is_gone_speaks_for_nobody() -> None:
    """The cart called the shop and hurt; it does not any more."""
    story = calling(CALLED)
    fine_at_home(story)
    story.where["f2"] = hurts_at(CART, CALLED)
    story.fires(an_alert(), an_alert("f2"))
    story.waits(STEP)
    assert explained(story.incidents[0]) == WEIGHTS["explains"]
    story.resolves(an_alert("f2"))
    story.waits(STEP)
    assert explained(story.incidents[0]) is None


def test_an_alert_that_names_a_namespace_only_is_no_place() -> None:
    """Whoever stands first there is not known to hurt."""
    for rung, expected in ((Rung.CONTROLLER, WEIGHTS["explains"]), (Rung.NAMESPACE, None)):
        story = calling(CALLED)
        fine_at_home(story)
        story.where["f2"] = replace(hurts_at(CART, CALLED), rung=rung)
        story.fires(an_alert(), an_alert("f2"))
        story.waits(STEP)
        assert explained(story.incidents[0]) == expected, rung


def test_a_second_alert_on_the_same_place_is_no_second_place() -> None:
    """Two alerts on the cart, and one on the front, which is where it hurts: that is one place besides."""
    story = calling(CALLED)
    fine_at_home(story)
    for name, place in (("f2", CART), ("f3", CART), ("f4", FRONT), ("f5", SHOP)):
        story.where[name] = hurts_at(place, CALLED)
    story.fires(*map(an_alert, (FINGERPRINT, "f2", "f3", "f4", "f5")))
    story.waits(STEP)
    assert explained(story.incidents[0]) == WEIGHTS["explains"]


def explained(incident: Incident) -> float | None:
    """What further places that hurt add to the suspicion against the shop."""
    return weight(incident.suspicions[0], "explains")


# -- several alerts


def test_an_incident_is_near_to_what_any_of_its_alerts_is_near_to() -> None:
    """The nearest way counts, whichever alert came first; so do the kin of all."""
    far = (Neighbour(workload=MAIL, hops=1, called=True), replace(CALLED, hops=2))
    story = calling(*far, kin=(FRONT, MAIL))
    story.where["f2"] = hurts_at(FRONT, CALLED, replace(far[0], called=False), kin=(FRONT, CART))
    fine_at_home(story, new=(), old=())
    story.fires(an_alert())
    assert weight(story.incident.suspicions[0], "graph") == WEIGHTS["graph"] / 2
    story.fires(an_alert("f2"))
    story.waits(STEP)
    assert story.incident.neighbours == (far[0], CALLED)
    assert story.incident.kin == (FRONT, MAIL, CART)
    assert weight(story.incident.suspicions[0], "graph") == WEIGHTS["graph"]


# -- when enough was seen


def fine_at_home(story: Story, **changes: Any) -> None:
    """The shop's own pods are fine, old and new."""
    story.measures = lambda _: replace(a_measurement(story.now, new=0.001), **changes)


def test_once_a_callee_was_compared_nothing_more_is_to_come() -> None:
    """Its own signals are fine and stay so: after five of them timing is proposed, while the rollout goes on."""
    story = calling(CALLED)
    fine_at_home(story)
    story.fires()
    story.expect(Phase.OPEN)  # timing alone is no blame in the first minute
    story.waits(GATHERED)
    story.expect(Phase.PROPOSED)
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.BLAMED_TIMING


def test_a_callee_that_was_hardly_compared_is_waited_for() -> None:
    """Four pairs of five: the comparison may still convict it."""
    story = calling(CALLED)
    few = samples(0.001, until=NOW, count=4)
    fine_at_home(story, new=few, old=few)
    story.fires()
    story.waits(GATHERED)
    story.expect(Phase.OPEN)
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.NOTHING_BLAMED


def test_one_bad_pair_of_a_callee_is_waited_for() -> None:
    """A second one would convict it."""
    story = calling(CALLED)
    turned = (*samples(0.001, until=NOW - STEP, count=4), *samples(0.3, until=NOW, count=1))
    fine_at_home(story, new=turned, old=samples(0.001, until=NOW))
    story.fires()
    story.waits(GATHERED)
    story.expect(Phase.OPEN)


def test_a_callee_that_is_worse_than_before_is_waited_for() -> None:
    """Old and new pods are bad alike: more than timing speaks against it, and the rollout is not complete yet."""
    story = calling(CALLED)
    story.measures = lambda _: a_measurement(story.now, new=0.3, old=0.3)
    story.fires()
    story.waits(GATHERED)
    story.expect(Phase.OPEN)
    (leader,) = story.incident.suspicions
    assert (leader.tier, leader.score >= story.policy.blame_threshold) == (Tier.BEFORE_AFTER, True)
    story.completes()
    story.waits(story.policy.signal_window + 3 * STEP)
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)


def test_where_it_hurts_the_comparison_goes_on_while_the_rollout_does() -> None:
    """Neither good nor bad at the place itself may still become either; of a callee it says all that it ever will."""
    for place, phase in ((FRONT, Phase.PROPOSED), (SHOP, Phase.OPEN)):
        story = calling()
        story.measures = lambda _, story=story: a_measurement(story.now, new=0.03, old=0.01)  # type: ignore[misc]
        story.where[FINGERPRINT] = hurts_at(place, CALLED)
        story.fires()
        story.waits(GATHERED)
        story.expect(phase)


# -- kin


def witnesses(story: Story) -> set[str]:
    """Who is measured beside the suspect."""
    measure = next(action for action in story.done if isinstance(action, Measure) and action.incident)
    return {peer.name for peer in measure.peers}


def test_kin_are_no_witnesses() -> None:
    """Who hangs together with it by calls fails with it, whatever the cause; who does not is asked."""
    story = calling(CALLED, kin=(CART,))
    for workload in (CART, MAIL):
        story.sees(
            a_view(workload=workload, uid=f"uid-{workload.name}", current=replace(V1, uid=f"rs-{workload.name}"))
        )
    story.fires()
    assert witnesses(story) == {"mail"}


# -- a common cause of pods that cannot start


def crashing(failing: int, of: int) -> Story:
    """v2 cannot start, and some of the unrelated workloads fail as well."""
    story = Story()

    def measured(_: Measure) -> Measurement:
        now = [0.4 if index < failing else 0.0 for index in range(of)]
        peers = tuple(
            Peer(
                workload=replace(CART, name=f"peer-{index}"),
                before=a_sample(story.now - HOUR),
                now=a_sample(story.now, errors=errors),
            )
            for index, errors in enumerate(now)
        )
        return a_measurement(story.now, new=None, old=None, new_ready=0, start_failure=a_start_failure(), peers=peers)

    story.measures = measured
    story.spikes()
    story.waits(MINUTE)
    return story


@pytest.mark.parametrize(
    ("kind", "neighbour", "told"),
    [
        (StartFailureKind.NEVER_READY, None, True),
        (StartFailureKind.NEVER_READY, CALLED, False),
        (StartFailureKind.CRASH, CALLED, True),
    ],
)
def test_who_is_not_ready_yet_hurts_nobody_else(
    kind: StartFailureKind, neighbour: Neighbour | None, told: bool
) -> None:
    """It is sent nothing, and may only be slow; what crashes is another matter."""
    measured = a_measurement(NOW, new=None, old=None, new_ready=0, start_failure=replace(a_start_failure(), kind=kind))
    assert (weight(suspicion(measured, neighbour=neighbour), "start_failure") is not None) is told


@pytest.mark.parametrize(("failing", "of"), [(0, 0), (1, 2), (3, 6)])
def test_who_waits_for_pods_that_cannot_start_is_no_common_cause(failing: int, of: int) -> None:
    """Up to half of the others fail with it."""
    story = crashing(failing, of)
    assert Reason.COMMON_CAUSE not in story.refusals
    assert len(story.rollbacks) == 1


@pytest.mark.parametrize(("failing", "of"), [(1, 1), (4, 6)])
def test_an_outage_that_keeps_pods_from_starting_is_wider(failing: int, of: int) -> None:
    """Most of the others fail too: a person is paged, nothing is rolled back."""
    story = crashing(failing, of)
    story.expect_refused(Reason.COMMON_CAUSE, Consequence.ESCALATE)
    assert story.rollbacks == []
