"""An incident that the watch opened: it hurts as long as the new pods are worse than the old ones, for nothing else says so."""

from __future__ import annotations

from dataclasses import replace

from daemon.core.actions import RollBack
from daemon.core.incidents import Phase
from daemon.core.measurement import Health, Measurement
from daemon.core.model import AlertStatus, LocatedAlert
from daemon.core.recovery import symptom
from tests.core.builders import MINUTE, V1, a_location, a_measurement, an_alert, samples, states
from tests.core.story import Story


def rolling() -> Story:
    """v2 goes out at NOON, slower than v1."""
    story = Story()
    story.proves_v1()
    story.watches = story.measures = lambda _: slower(story)
    story.rolls_out()
    return story


def slower(story: Story, new: float = 0.3, old: float | None = 0.1) -> Measurement:
    """No request fails; the new pods take three times as long as the old ones."""
    beside = () if old is None else samples(0.0, until=story.now, count=8, latency_p95=old)
    served = samples(0.0, until=story.now, count=8, latency_p95=new)
    return replace(a_measurement(story.now, alerts=()), new=served, old=beside, before=())


def test_what_an_incident_without_an_alert_is_about_is_a_symptom() -> None:
    """A latency that nobody set a limit to is bad beside the old pods only: as long as it is, nothing is gone."""
    story = rolling()
    story.waits(2 * MINUTE)
    assert [action.target.id for action in story.rollbacks] == [V1.id]
    assert len(story.incidents) == 1


def test_worse_than_the_old_pods_counts_without_an_alert_and_before_a_decision_only() -> None:
    """With an alert, that one says whether it hurts; after the rollback there is nothing to be worse than."""
    story = rolling()
    story.withheld.add(RollBack)
    story.waits(2 * MINUTE)
    opened = replace(story.incident, phase=Phase.OPEN)
    alerted = replace(opened, alerts=(LocatedAlert(alert=an_alert(), location=a_location()),))
    resolved = replace(slower(story), alerts=states(AlertStatus.RESOLVED))
    assert symptom(opened, slower(story), story.policy) is Health.UNHEALTHY
    assert symptom(opened, slower(story, new=0.1), story.policy) is Health.HEALTHY
    assert symptom(opened, slower(story, old=None), story.policy) is Health.HEALTHY
    assert symptom(replace(opened, phase=Phase.PROPOSED), slower(story), story.policy) is Health.UNHEALTHY
    assert symptom(replace(opened, phase=Phase.VERIFYING), slower(story), story.policy) is Health.HEALTHY
    assert symptom(alerted, resolved, story.policy) is Health.HEALTHY
