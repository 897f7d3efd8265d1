"""The watch after the soak: a verified revision that turns unhealthy loses its mark, and a rollback is proposed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from daemon.core.actions import Measure, ProveSoak
from daemon.core.incidents import Incident, Phase
from daemon.core.measurement import Measurement, Peer, SoakMeasurement
from daemon.core.model import Severity, Workload
from daemon.core.reasons import Consequence, Reason
from tests.core.builders import (
    FINGERPRINT,
    HOUR,
    MINUTE,
    V1,
    V2,
    a_location,
    a_measurement,
    a_sample,
    a_soak,
    an_alert,
)
from tests.core.story import Story

ZERO = timedelta(0)
NEIGHBOUR = Workload(namespace="shop", kind="Deployment", name="cart")


def leaking(*, hours: int = 3) -> Story:
    """v2 replaced v1, was verified, and after some hours its pods err; no alert fires and no pod of v1 is left."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.waits(20 * MINUTE)
    assert story.verified(V2), "v2 soaked like any other revision"
    story.waits(hours * HOUR)

    def bad(action: ProveSoak) -> SoakMeasurement:
        return a_soak(action.since, story.now, ZERO, unhealthy_at=story.now, because="error_ratio 0.4")

    def measured(_: object) -> Measurement:
        return a_measurement(story.now, new=0.4, old=None, new_ready=3, new_pods=3, old_ready=0, alerts=())

    story.soaks, story.measures = bad, measured
    return story


def opened(story: Story) -> Incident:
    """The incident that the watch opened, once it has looked."""
    story.waits(3 * HOUR)
    return story.incident


def test_a_regression_is_proposed_whatever_the_age_of_the_rollout() -> None:
    """v2 loses its mark; v1 is proposed, for a person to confirm, although the rollout is hours past TOO_OLD."""
    story = leaking()
    story.policy = replace(story.policy, approve_deadline=10 * HOUR)
    incident = opened(story)
    assert incident.regression
    assert not story.verified(V2)
    story.expect(Phase.PROPOSED)
    story.expect_refused(Reason.REGRESSION, Consequence.PROPOSE)
    assert Reason.TOO_OLD not in story.refusals
    assert incident.countdown_until is None, "nothing but a person's word may start it"
    assert incident.target is not None
    assert incident.target.id == V1.id
    assert incident.severity is Severity.CRITICAL, "no alert counts as critical"
    assert [page.urgent for page in story.triggers] == [True], "a person must confirm"
    story.approves()
    assert [action.target.id for action in story.rollbacks] == [V1.id]


def test_a_common_cause_is_no_regression() -> None:
    """When unrelated workloads fail too, an outage made fresh revisions look bad: nobody is paged without an alert."""
    story = leaking()
    alone = story.measures

    def shared(action: object) -> Measurement:
        found = alone(action)  # type: ignore[arg-type]
        assert found is not None
        peer = Peer(workload=NEIGHBOUR, before=a_sample(story.now), now=a_sample(story.now, errors=0.4))
        return replace(found, peers=(peer,))

    story.measures = shared
    incident = opened(story)
    assert (incident.phase, incident.reason) == (Phase.DISMISSED, Reason.COMMON_CAUSE)
    assert story.told == []


def test_a_regression_that_cannot_be_judged_is_dropped_at_the_deadline() -> None:
    """While the sources are silent it holds; at the deadline nobody is paged for what no alert says."""
    story = leaking()
    story.measures = lambda _: a_measurement(story.now, new=None, old=None, missing=("prometheus: gone",), alerts=())
    incident = opened(story)
    assert (incident.phase, incident.reason) == (Phase.DISMISSED, Reason.DECIDE_DEADLINE)
    assert story.told == []


def test_a_blip_is_dismissed_quietly() -> None:
    """A regression that is over when it is measured is nobody's business; only the mark has to be earned again."""
    story = leaking()
    story.measures = lambda _: a_measurement(
        story.now, new=0.001, old=None, new_ready=3, new_pods=3, old_ready=0, alerts=()
    )
    incident = opened(story)
    assert (incident.phase, incident.reason) == (Phase.DISMISSED, Reason.SYMPTOM_GONE)
    assert story.told == []


def test_the_watch_opens_nothing_beside_an_open_incident() -> None:
    """Where an alert already leads an investigation of the workload, a withdrawn mark adds none."""
    story = leaking(hours=0)
    story.withheld.add(Measure)
    story.where[FINGERPRINT] = a_location(onset=story.now)
    story.fires(an_alert(starts_at=story.now))
    story.expect(Phase.OPEN)
    story.waits(HOUR)
    assert not story.verified(V2), "the mark is withdrawn all the same"
    assert [incident.regression for incident in story.incidents] == [False]
