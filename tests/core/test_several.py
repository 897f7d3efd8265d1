"""More than one: alerts of one anomaly, and the incidents that follow each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daemon.core.actions import Locate
from daemon.core.events import AlertSource, AlertsReported
from daemon.core.incidents import Phase
from daemon.core.model import AlertStatus, OnsetSource, Rung, Severity, Workload
from daemon.core.reasons import Reason
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
    a_rollout_view,
    a_start_failure,
    a_view,
    an_alert,
    pods_of,
)
from tests.core.story import Story, failed


def ended(story: Story, phase: Phase) -> Story:
    """The one incident ended in this phase."""
    story.expect(phase)
    return story


def escalated() -> Story:
    """v2 is blamed and handed over: nothing is verified."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    return ended(story, Phase.ESCALATED)


# -- alerts of one anomaly


def test_a_second_alert_of_the_workload_joins_and_the_louder_severity_counts() -> None:
    """One anomaly is one incident, as loud as its loudest alert."""
    story = Story()
    story.measures = lambda action: a_measurement(story.now, traffic=0.1)
    story.proves_v1()
    story.rolls_out()
    story.fires(an_alert(labels=(("alertname", "A"), ("severity", "warning"))))
    before = story.incident.severity
    story.fires(an_alert("f2"))
    assert len(story.incidents) == 1
    assert (before, story.incident.severity) == (Severity.HIGH, Severity.CRITICAL)
    assert [located.alert.fingerprint for located in story.incident.alerts] == ["f1", "f2"]


def test_an_alert_told_twice_is_one() -> None:
    """High availability delivers everything twice: the second time changes nothing at all."""
    story = Story()
    story.spikes()
    before = story.state
    story.fires()
    assert story.state == before


def test_an_older_turn_of_an_alert_delivered_late_is_nothing() -> None:
    """An alert that began before the one we know is history."""
    story = Story()
    story.spikes()
    before = story.state
    story.plays(AlertsReported(at=story.now, source=AlertSource.WEBHOOK, alerts=(an_alert(starts_at=NOON - HOUR),)))
    assert story.state == before


def test_a_resolved_alert_that_nobody_knows_is_nothing() -> None:
    """The end of something we never heard of needs no note."""
    story = Story()
    story.resolves()
    assert story.facts == []


def test_an_alert_that_fires_again_after_it_resolved_is_located_again() -> None:
    """A new turn of the alert is a new question."""
    story = Story()
    story.spikes()
    story.resolves()
    again = an_alert(starts_at=story.now + 5 * SECOND)
    story.fires(again)
    assert len([action for action in story.done if isinstance(action, Locate)]) == 2
    assert story.incident.alerts[0].alert.starts_at == again.starts_at


def test_an_alert_that_began_anew_while_it_was_located_waits_for_its_own_place() -> None:
    """The place of the old turn says nothing of the new one."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.withheld = {Locate}
    story.fires()
    story.resolves()
    story.fires(an_alert(starts_at=story.now + STEP))
    story.withheld = set()
    story.answers()
    assert len(story.incidents) == 1
    assert story.incident.alerts[0].alert.starts_at == story.now


def test_a_silenced_alert_opens_nothing() -> None:
    """Suppressed from the start, or silenced while it is located: no incident; once the silence ends, one."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.withheld = {Locate}
    story.fires()
    silenced = an_alert(status=AlertStatus.SUPPRESSED)
    story.plays(AlertsReported(at=story.now, source=AlertSource.POLL, alerts=(silenced,), complete=True))
    story.withheld = set()
    story.answers()
    assert story.incidents == ()
    story.fires()
    story.expect(Phase.PROPOSED)


def test_a_complete_list_tells_what_is_gone() -> None:
    """An alert that a complete list does not name any more is resolved; a partial one says nothing."""
    story = Story()
    story.spikes()
    for complete, gone in ((False, False), (True, True)):
        story.plays(AlertsReported(at=story.now, source=AlertSource.POLL, alerts=(), complete=complete))
        assert (story.state.alerts["f1"].gone_since is not None) is gone
        assert (story.incident.alerts[0].gone_since is not None) is gone


def test_an_alert_that_maps_to_nothing_is_noted_with_what_was_tried() -> None:
    """No workload, no incident; `explain` can name the labels tried, also when locating failed."""
    story = Story()
    story.where["f1"] = replace(a_location(rung=Rung.NONE, tried=("pod", "app")), workloads=())
    story.fires()
    assert story.incidents == ()
    location = story.state.alerts["f1"].location
    assert location is not None
    assert location.tried == ("pod", "app")


def test_locating_that_fails_is_told_as_such() -> None:
    """A source that stays down leaves the alert unplaced, with the reason."""
    story = Story()
    story._answers[Locate] = lambda action: failed("prometheus: refused")
    story.fires()
    location = story.state.alerts["f1"].location
    assert location is not None
    assert location.tried == ("could not be located: prometheus: refused",)
    assert location.onset == NOON + MINUTE - story.policy.assumed_for


def test_an_alert_older_than_the_rollout_is_its_own_incident() -> None:
    """A long-firing alert of the same workload neither ages the anomaly nor keeps it from being over."""
    for older_first in (True, False):
        story = Story()
        story.where["f2"] = a_location(onset=NOON - HOUR)
        story.proves_v1()
        story.rolls_out()
        older, younger = an_alert("f2", starts_at=NOON - HOUR), an_alert()
        story.fires(*((older, younger) if older_first else (younger, older)))
        assert sorted((i.phase, i.reason) for i in story.incidents) == [
            (Phase.DISMISSED, Reason.SYMPTOM_OLDER),
            (Phase.PROPOSED, Reason.BLAMED_CONTRAST),
        ]


def test_place_and_onset_follow_from_all_alerts_whichever_came_first() -> None:
    """A known onset counts before an assumed one, the earliest before later ones, the most exact rung before others."""
    places = {
        "f1": a_location(onset=NOON + 50 * SECOND, rung=Rung.LABEL),
        "f2": a_location(onset=NOON + 20 * SECOND, rung=Rung.POD),
        "f3": a_location(onset=NOON - 10 * SECOND, onset_source=OnsetSource.ASSUMED),
    }
    for order in (("f1", "f2", "f3"), ("f3", "f2", "f1"), ("f2", "f3", "f1")):
        story = Story()
        story.where = places
        story.proves_v1()
        story.rolls_out()
        story.measures = lambda action, story=story: a_measurement(story.now, traffic=0.1)  # type: ignore[misc]
        story.fires(*(an_alert(name) for name in order))
        incident = story.incident
        assert (incident.onset, incident.onset_source) == (NOON + 20 * SECOND, OnsetSource.FOR_STATE)
        assert incident.rung is Rung.POD


def test_a_namespace_alert_hurts_the_namespace_and_accuses_its_youngest_rollout() -> None:
    """All rollouts of the namespace are candidates; it may only be proposed."""
    story = Story()
    story.where["f1"] = a_location(SHOP, CART, rung=Rung.NAMESPACE)
    story.sees(a_view(workload=CART, uid="uid-2"))
    story.spikes()
    assert story.incident.symptom == Workload(namespace="shop", kind="Namespace", name="shop")
    assert story.incident.suspect == SHOP
    story.expect(Phase.PROPOSED)
    assert story.incident.shown == (Reason.MAPPED_BY_NAMESPACE,)


# -- incidents that follow each other


def test_a_symptom_that_outlives_the_newer_rollout_opens_a_linked_successor() -> None:
    """A fix that did not help is judged itself: it is not younger than the symptom, because it inherits the chain."""
    story = Story()
    story.spikes()
    story.rolls_out(V3, V2)
    story.expect(Phase.SUPERSEDED)
    story.completes(V3)
    story.waits(2 * MINUTE - SECOND)
    story.expect(Phase.SUPERSEDED)
    story.waits(SECOND)
    first, second = story.incidents[0], story.incidents[1]
    assert second.predecessor == first.id
    assert second.chain_started_at == NOON
    assert second.phase is Phase.PROPOSED
    assert Reason.TARGET_SKIPS in second.shown


def test_no_successor_when_the_symptom_is_gone() -> None:
    """A fix that helped is left alone."""
    story = Story()
    story.spikes()
    story.rolls_out(V3, V2)
    story.completes(V3)
    story.waits(MINUTE)
    story.resolves()
    story.waits(10 * MINUTE)
    assert len(story.incidents) == 1


def test_a_successor_judges_beside_an_escalated_incident() -> None:
    """The escalated one stays a person's; the newer rollout has its own."""
    story = escalated()
    story.rolls_out(V3, V2)
    story.completes(V3)
    story.waits(3 * MINUTE)
    assert story.incidents[0].phase is Phase.ESCALATED
    assert len(story.incidents) == 2
    assert story.incident.predecessor == story.incidents[0].id


def test_an_alert_of_a_newer_rollout_does_not_vanish_in_an_escalated_incident() -> None:
    """An alert that began after the newer rollout asks for a judgement of that rollout."""
    story = escalated()
    story.resolves()
    story.now += 5 * MINUTE
    story.rolls_out(V3, V2)
    later = story.now + MINUTE
    story.where["f2"] = a_location(onset=later - STEP)
    story.fires(an_alert("f2", starts_at=later))
    assert len(story.incidents) == 2
    assert story.incident.blamed == V3


def test_a_stuck_rollout_is_opened_beside_an_escalated_incident_of_an_earlier_one() -> None:
    """An incident that waits for a person must not hide the next rollout whose pods crash."""
    story = escalated()
    failing: dict[str, Any] = {"start_failure": a_start_failure(), "pods": (pods_of(V2), pods_of(V3, 1, ready=0))}
    story.now += 5 * MINUTE
    story.sees(a_rollout_view(V3, V2, started_at=story.now, stuck=True, **failing))
    assert len(story.incidents) == 2


def test_a_stuck_first_rollout_is_nothing_to_go_back_from() -> None:
    """A workload that never ran anything else has no rollout to blame."""
    story = Story()
    story.sees(a_view(V1, stuck=True, start_failure=a_start_failure(), converged=False, available_since=None))
    assert story.incidents == ()


def test_a_successor_of_a_forgotten_incident_is_not_opened() -> None:
    """When the earlier incident has left the memory, there is nothing to follow."""
    story = Story()
    story.spikes()
    story.rolls_out(V3, V2)
    story.completes(V3)
    story.state = replace(story.state, incidents={})
    story.waits(5 * MINUTE)
    assert story.incidents == ()


def test_the_first_sight_of_a_rollout_takes_the_next_lower_number_as_replaced() -> None:
    """A daemon that starts in the middle of a rollout still knows what was replaced."""
    story = Story(now=NOON)
    story.sees(a_rollout_view(V3, V2))
    rollout = story.state.workloads[SHOP.key].rollout
    assert rollout is not None
    assert rollout.replaced == V2


def test_a_retelling_of_the_same_view_is_nothing() -> None:
    """Level-triggered: the same look of the world twice changes nothing."""
    story = Story()
    story.sees(a_view())
    count = len(story.facts)
    story.sees(a_view())
    assert len(story.facts) == count


def test_pod_names_of_a_rollout_are_kept_for_reading_the_overlap_back() -> None:
    """Names of pods that left stay with the rollout until it is complete, and no longer than that do new ones come."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.sees(a_rollout_view(pods=(pods_of(V2, 3),)))
    story.completes(pods=(pods_of(V2, 5),))
    rollout = story.state.workloads[SHOP.key].rollout
    assert rollout is not None
    assert len(rollout.names_of(V1.id)) == 2
    assert rollout.completed_at == NOON
    story.sees(a_view(V2, started_at=NOON, history=(V1, V2), pods=(pods_of(V2, 9),)))
    after = story.state.workloads[SHOP.key].rollout
    assert after is not None
    assert after.names_of(V2.id) == rollout.names_of(V2.id)
