"""Every way out of a decision happens: no Reason is only a word, and each has its sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from daemon.core.facts import Judged, Moved
from daemon.core.measurement import Measurement
from daemon.core.model import AlertStatus, DeclaredCause
from daemon.core.reasons import Reason
from tests.core.builders import (
    HOUR,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_location,
    a_measurement,
    a_recovery,
    a_rollout_view,
    a_start_failure,
    an_alert,
    states,
)
from tests.core.guard_cases import CASES, nothing_to_compare_ever, spike
from tests.core.story import Story, failed
from tests.core.test_declared import declared
from tests.core.test_regression import leaking, opened

Play = Callable[[], Story]
ZERO = timedelta(0)


def measuring(new: float | None = 0.3, old: float | None = 0.001, **changes: Any) -> Play:
    """The spike with this measurement, and eleven minutes of it."""

    def play() -> Story:
        story = Story()

        def measured(_: object) -> Measurement:
            return a_measurement(story.now, new=new, old=old, **changes)

        story.measures = measured
        spike(story)
        story.waits(11 * MINUTE)
        return story

    return play


def rolled(then: Callable[[datetime], Measurement] | None, wait: timedelta = 20 * MINUTE) -> Play:
    """Rolled back and running v1; then measured like this at each moment (None: good)."""

    def play() -> Story:
        story = spike()
        story.waits(STEP)
        story.is_back()
        if then is not None:
            story.measures = lambda action: then(story.now)
        story.waits(wait)
        return story

    return play


def after(*acts: Callable[[Story], object]) -> Play:
    """The spike, and then these things one after the other."""

    def play() -> Story:
        story = spike()
        for act in acts:
            act(story)
        return story

    return play


def older() -> Story:
    story = Story()
    story.where["f1"] = a_location(onset=NOON - HOUR)
    return spike(story)


def no_rollout() -> Story:
    story = Story()
    story.proves_v1()
    story.fires()
    return story


def timing_only() -> Story:
    story = Story()
    story.measures = lambda action: a_measurement(story.now, new=None, old=None)
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.now = NOON + 4 * MINUTE
    story.fires()
    story.waits(MINUTE + STEP)
    return story


def failing_patch() -> Story:
    story = Story()
    story.patches = lambda action: failed()
    spike(story)
    story.waits(STEP)
    return story


def merged() -> Story:
    story = Story()
    spike(story)
    other = replace(SHOP, name="front")
    story.where["f2"] = a_location(other, SHOP)
    held = replace(story.incident, blamed=None)
    story.state = replace(story.state, incidents={held.id: held})
    story.fires(an_alert("f2"))
    return story


def regressed() -> Story:
    """A verified revision turns unhealthy hours later; no alert fires."""
    story = leaking()
    opened(story)
    return story


def declared_and_waited() -> Story:
    """Somebody declares, every metric is good, and no old pod is left to compare with."""
    story = declared()
    story.completes()
    story.waits(4 * MINUTE)
    return story


def written_back() -> Story:
    """A controller puts the bad revision back while the rollback is under way."""
    story = spike()
    story.waits(STEP)
    story.sees(a_rollout_view(V2, V1, started_at=story.now, generation=101))
    return story


CRASH: dict[str, Any] = {"new_ready": 0, "start_failure": a_start_failure()}
OTHERS: list[tuple[Reason, Play]] = [
    (Reason.BLAMED_START_FAILURE, measuring(new=None, old=None, **CRASH)),
    (Reason.BLAMED_CONTRAST, spike),
    (Reason.BLAMED_BEFORE_AFTER, nothing_to_compare_ever),
    (Reason.BLAMED_TIMING, timing_only),
    (Reason.NO_CANDIDATE, no_rollout),
    (Reason.SYMPTOM_OLDER, older),
    (Reason.SYMPTOM_GONE, measuring(new=0.0, alerts=states(AlertStatus.RESOLVED))),
    (Reason.NOTHING_BLAMED, measuring(new=0.0)),
    (Reason.NO_DATA, measuring(new=None, old=None, missing=("prometheus: down",))),
    (Reason.DECIDE_DEADLINE, measuring(new=0.0)),
    (Reason.MERGED, merged),
    (Reason.REGRESSION, regressed),
    (Reason.SUPERSEDED, after(lambda s: s.sees(a_rollout_view(V3, V2, started_at=s.now)))),
    (Reason.APPROVED, after(lambda s: s.approves())),
    (Reason.DECLINED, after(lambda s: s.declines())),
    (Reason.COUNTDOWN_OVER, after(lambda s: s.waits(STEP))),
    (Reason.APPROVE_DEADLINE, after(lambda s: setattr(s, "measures", lambda a: None), lambda s: s.waits(HOUR))),
    (Reason.CONVERGED, rolled(None, ZERO)),
    (Reason.CONVERGE_DEADLINE, after(lambda s: s.waits(HOUR))),
    (Reason.ROLLBACK_FAILED, failing_patch),
    (Reason.REVERTED, written_back),
    (Reason.RECOVERED, rolled(None)),
    (Reason.NOT_RECOVERED, rolled(partial(a_recovery, errors=0.3))),
    (Reason.VERIFY_INCONCLUSIVE, rolled(partial(a_recovery, errors=None, missing=("prometheus: down",)))),
    (Reason.ASKED, after(lambda s: s.declines(), lambda s: s.asks())),
    (Reason.DECLARED, declared_and_waited),
    (Reason.DATA_AT_RISK, after(lambda s: s.declares(DeclaredCause.DATA_CORRUPTION))),
    (Reason.CLOSED_BY_PERSON, after(lambda s: s.declines(), lambda s: s.closes())),
]


def reasons_in(story: Story) -> Iterator[Reason]:
    """Every reason that the story's facts hold."""
    for moved in story.of(Moved):
        yield moved.reason
    for judged in story.of(Judged):
        yield judged.verdict.reason
        yield from (refusal.reason for refusal in judged.verdict.refusals)


@pytest.mark.parametrize(("reason", "play"), OTHERS, ids=[reason.value for reason, _ in OTHERS])
def test_the_reason_happens(reason: Reason, play: Play) -> None:
    """A story leads to it, and the journal holds it."""
    assert reason in set(reasons_in(play()))


def test_every_reason_has_a_story() -> None:
    """The guards' cases and these together leave out none; a new Reason needs a story that ends with it."""
    told = {reason for reason, *_ in CASES} | {reason for reason, _ in OTHERS}
    assert told == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_sentence(reason: Reason) -> None:
    """One sentence for people, with a capital and a full stop."""
    assert reason.sentence.endswith(".")
    assert reason.sentence[0].isupper()
