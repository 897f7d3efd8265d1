"""What a revision is convicted of is not over because its latest sample looks well: it is out of line with the old pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.incidents import Phase, Suspicion, Term, Tier, Verdict, VerdictKind
from daemon.core.measurement import Measurement
from daemon.core.model import AlertStatus
from daemon.core.reasons import Reason
from daemon.core.verdicts import Judgement, is_convicted
from tests.core.builders import SHOP, STEP, V1, V2, a_measurement, samples, states
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
    """Restarts are counted since the rollout began: they go on only where it got worse as well."""
    assert is_convicted(judged(*names)) is convicted


def test_who_is_not_blamed_is_not_convicted() -> None:
    """Not with a verdict that blames nobody, not without a suspect, not by what speaks for it."""
    assert not is_convicted(judged("contrast", blames=False))
    assert not is_convicted(judged("contrast", suspected=False))
    assert not is_convicted(judged("contrast", weight=-0.8))


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
