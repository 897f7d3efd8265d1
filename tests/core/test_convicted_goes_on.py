"""What convicts is not dismissed for the newest sample looks well; restarts that are over are (verdicts.is_convicted)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.actions import Measure
from daemon.core.facts import Judged
from daemon.core.incidents import Phase, VerdictKind
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import AlertStatus, Mode
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from tests.core.builders import MINUTE, STEP, V1, V2, a_measurement, a_policy, a_sample, samples, states
from tests.core.story import Story


def one_good(until: datetime, errors: float = 0.3) -> tuple[Sample, ...]:
    """Four bad samples of the new pods, and a good one after them."""
    return (*samples(errors, until=until - STEP, count=4), a_sample(until))


def begun(policy: Policy | None = None) -> Story:
    """An alert fires, and there is nothing to go by yet: the incident is open."""
    story = Story(policy)
    story.measures = lambda _: a_measurement(story.now, new=0.0)
    story.spikes()
    story.expect(Phase.OPEN)
    return story


def resolving(story: Story, lasts: timedelta = STEP, **changes: Any) -> None:
    """The alert is gone, and the newest sample of the new pods is well."""

    def measured(_: Measure) -> Measurement:
        given = {name: each(story.now) if callable(each) else each for name, each in changes.items()}
        return replace(a_measurement(story.now, new=0.0, alerts=states(AlertStatus.RESOLVED)), **given)

    story.measures = measured
    story.waits(lasts)


ALONE: dict[str, Any] = {"old": (), "old_ready": 0, "new_ready": 3, "new_pods": 3}
"""Nothing is left of the old pods."""

CONTRAST: dict[str, Any] = {"new": one_good}
SILENCE: dict[str, Any] = {
    "new": lambda now: samples(0.0, until=now - 3 * STEP, count=4), "new_pods": 2, "restarts": 1,
}  # fmt: skip
WORSE = {**ALONE, "new": one_good}


def terms(story: Story) -> set[str]:
    """What spoke against the leader in the latest verdict."""
    return {term.name for term in story.of(Judged)[-1].suspicions[0].terms if term.weight > 0}


@pytest.mark.parametrize(
    ("changes", "against"),
    [
        (CONTRAST, {"contrast", "timing"}),
        (SILENCE, {"silence", "timing"}),
        ({**WORSE, "restarts": 3}, {"restarts", "before_after", "timing"}),
    ],
    ids=["contrast", "silence", "restarts, and worse than before"],
)
def test_what_convicts_goes_on_over_a_good_sample(changes: dict[str, Any], against: set[str]) -> None:
    """The alert is gone and the newest sample good: the incident goes on to its rollback all the same."""
    story = begun()
    if "old" in changes:
        story.completes()
    resolving(story, **changes)
    assert terms(story) == against
    story.expect(Phase.PROPOSED, Reason.BLAMED_CONTRAST)
    story.waits(MINUTE)
    assert [each.target for each in story.rollbacks] == [V1]


@pytest.mark.parametrize("old", [{}, ALONE], ids=["beside the old pods", "alone"])
def test_pods_that_restarted_at_their_start_and_are_well_are_left_alone(old: dict[str, Any]) -> None:
    """Three restarts while a database came up would convict; now all is well, so nobody is rolled back, nor asked."""
    story = begun()
    if old:
        story.completes()
    resolving(story, **{**old, "restarts": 3})
    assert "restarts" in terms(story)
    assert story.of(Judged)[-1].verdict.kind is VerdictKind.ROLL_BACK, "but for the good sample it would act"
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)
    story.waits(10 * MINUTE)
    assert (story.rollbacks, story.told) == ([], [])


def test_a_leak_is_rolled_back_though_its_pods_are_well_after_each_kill() -> None:
    """No alert, no old pods any more: the third kill opens the incident, and the pod that is back does not end it."""
    story = Story()
    story.watches = story.measures = lambda _: a_measurement(story.now, new=0.0, alerts=())
    story.proves_v1()
    story.rolls_out()
    story.waits(10 * MINUTE)
    story.completes()
    killed = story.now

    def measured(_: Measure) -> Measurement:
        new = samples(0.0, until=story.now, count=30)
        seen = a_measurement(story.now, new=0.0, alerts=())
        return replace(seen, **{**ALONE, "new": new, "restarts": 3, "restarted_at": killed})

    story.watches = story.measures = measured
    story.waits(MINUTE)
    assert [each.target for each in story.rollbacks] == [V1]


def test_restarts_of_pods_that_are_not_well_convict() -> None:
    """The same restarts while the alert still fires."""
    story = begun()
    story.measures = lambda _: replace(a_measurement(story.now, new=0.0), restarts=3, **ALONE)
    story.completes()
    story.waits(2 * MINUTE)
    assert [each.target for each in story.rollbacks] == [V1]


def test_having_been_worse_than_before_alone_is_over_with_a_good_sample() -> None:
    """It proves nothing against the revision: the alert and the signals say that it is over."""
    story = begun()
    story.completes()
    resolving(story, **WORSE)
    assert terms(story) == {"before_after", "timing"}
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)


def test_a_contrast_that_blames_nobody_is_over_with_a_good_sample() -> None:
    """A restart changed nothing that could be rolled back: no blame, so nothing keeps the incident open."""
    restarted = replace(V2, content=V1.content, digests=V1.digests)
    story = Story()
    story.measures = lambda _: a_measurement(story.now, new=0.0)
    story.proves_v1()
    story.rolls_out(restarted)
    story.fires()
    resolving(story, **CONTRAST)
    assert "contrast" in terms(story)
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)


def test_a_conviction_ends_when_the_samples_do_not_carry_it_any_more() -> None:
    """While a person is asked the new pods recover for good: the proposal is withdrawn."""
    story = begun(replace(a_policy(), default_mode=Mode.APPROVE))
    resolving(story, **CONTRAST)
    story.expect(Phase.PROPOSED)
    resolving(story)
    story.expect(Phase.DISMISSED, Reason.SYMPTOM_GONE)
    assert story.rollbacks == []
