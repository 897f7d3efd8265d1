"""What a revision is convicted of is not over because its latest sample looks well: it is out of line with the old pods."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.incidents import Phase, Suspicion, Term, Tier, Verdict, VerdictKind
from daemon.core.measurement import Measurement, Sample
from daemon.core.model import AlertStatus
from daemon.core.reasons import Reason
from daemon.core.verdicts import Judgement, is_convicted
from tests.core.builders import (
    DAY,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    a_measurement,
    a_policy,
    a_sample,
    samples,
    states,
)
from tests.core.story import Story


def judged(*names: str, blames: bool = True, weight: float = 0.8, suspected: bool = True) -> Judgement:
    """A judgement whose leader has these terms."""
    terms = tuple(Term(name=name, value=1.0, threshold=1.0, weight=weight, sentence="It is so.") for name in names)
    leader = Suspicion(workload=SHOP, revision=V2, replaced=V1, score=weight, tier=Tier.CONTRAST, terms=terms)
    verdict = Verdict(kind=VerdictKind.PROPOSE, reason=Reason.BLAMED_CONTRAST, blames=blames)
    return Judgement(verdict=verdict, suspicions=(leader,) if suspected else ())


@pytest.mark.parametrize(
    ("names", "convicted"),
    [
        (("contrast", "timing"), True),
        (("silence", "timing"), True),
        (("restarts", "before_after"), True),
        (("restarts", "timing"), False),
        (("before_after", "timing"), False),
        (("start_failure", "timing"), False),
        (("unheard", "timing"), False),
        (("timing", "graph", "explains"), False),
    ],
)
def test_only_what_is_seen_beside_the_old_pods_goes_on(names: tuple[str, ...], convicted: bool) -> None:
    """Restarts are counted since the rollout began: of those nobody knows when, it must have got worse as well."""
    assert is_convicted(judged(*names), a_measurement(NOON), a_policy()) is convicted


def test_who_is_not_blamed_is_not_convicted() -> None:
    """Not with a verdict that blames nobody, not without a suspect, not by what speaks for it."""
    seen, policy = a_measurement(NOON), a_policy()
    assert not is_convicted(judged("contrast", blames=False), seen, policy)
    assert not is_convicted(judged("contrast", suspected=False), seen, policy)
    assert not is_convicted(judged("contrast", weight=-0.8), seen, policy)


@pytest.mark.parametrize(
    ("answered", "restarted", "convicted"),
    [
        (10 * MINUTE, SECOND, True),
        (10 * MINUTE, 3 * STEP, True),
        (10 * MINUTE, 3 * STEP + SECOND, False),
        (3 * MINUTE, timedelta(0), True),
        (3 * MINUTE, SECOND, False),
        (None, SECOND, False),
        (10 * MINUTE, None, False),
    ],
    ids=["just now", "three samples ago", "longer ago", "after the start", "within it", "never heard", "none known"],
)
def test_restarts_that_go_on_convict_however_well_the_pods_are_in_between(
    answered: timedelta | None, restarted: timedelta | None, convicted: bool
) -> None:
    """Killed for its memory a pod is well again at once: the newest restart is what counts, once the pods have answered."""
    new = () if answered is None else (a_sample(NOON - answered), *samples(0.0, until=NOON))
    at = None if restarted is None else NOON - restarted
    seen = replace(a_measurement(NOON), new=(Sample(at=NOON - DAY, values=(("cpu", 0.1),)), *new), restarted_at=at)
    assert is_convicted(judged("restarts", "timing"), seen, a_policy()) is convicted
    assert not is_convicted(judged("before_after", "timing"), seen, a_policy())


@pytest.mark.parametrize(
    ("bad", "phase", "reason"),
    [(3, Phase.PROPOSED, Reason.BLAMED_CONTRAST), (1, Phase.DISMISSED, Reason.SYMPTOM_GONE)],
)
def test_one_good_sample_and_a_resolved_alert_dismiss_no_conviction(bad: int, phase: Phase, reason: Reason) -> None:
    """Three bad samples, a good one, and the alert is gone: it stays. One bad sample convicts nobody: that is over."""
    story = Story()

    def measured(_: object) -> Measurement:
        new = (*samples(0.3, until=story.now - STEP, count=bad), *samples(0.001, until=story.now, count=1))
        return replace(a_measurement(story.now, alerts=states(AlertStatus.RESOLVED)), new=new)

    story.measures = measured
    story.spikes()
    story.expect(phase, reason)
