"""What a workload calls fails, and it fails with that: no common cause where its rollout came just before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.incidents import Phase
from daemon.core.measurement import Peer
from daemon.core.reasons import Reason
from tests.core.builders import CART, FINGERPRINT, HOUR, MINUTE, NOON, SHOP, STEP, a_measurement, a_sample
from tests.core.story import Story
from tests.core.test_neighbours import calling, hurts_at


def failing_alike(*, was: float, fails: float, felt: timedelta = MINUTE) -> Story:
    """It hurts at the shop, old and new pods alike, so long after its rollout; the cart that it calls did well, and fails."""
    story = calling()
    story.where[FINGERPRINT] = replace(hurts_at(SHOP), onset=NOON + felt)
    cart = Peer(workload=CART, before=a_sample(NOON - HOUR, errors=was), now=a_sample(NOON, errors=fails))
    alike = replace(a_measurement(story.now, new=0.3, old=0.3), below=(cart,))
    story.measures = lambda _: replace(alike, at=story.now)
    story.now = max(story.now, NOON + felt)
    story.fires()
    story.completes()
    story.waits(story.policy.signal_window + 4 * STEP)
    return story


def test_who_fails_with_what_it_calls_is_proposed() -> None:
    """The shop's rollout came a minute before both began to fail: it may have broken the cart."""
    story = failing_alike(was=0.0, fails=0.3)
    assert Reason.COMMON_CAUSE not in story.refusals
    story.expect(Phase.PROPOSED)
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.BLAMED_TIMING
    assert not story.rollbacks


@pytest.mark.parametrize(
    ("was", "fails", "felt"),
    [(0.0, 0.0, MINUTE), (0.3, 0.3, MINUTE), (0.0, 0.3, 8 * MINUTE)],
    ids=["it is well", "it failed before", "the rollout was long before"],
)
def test_else_it_is_a_common_cause(was: float, fails: float, felt: timedelta) -> None:
    """A person has it at once, not at the deadline: an outage beside a rollout is likelier than that."""
    failing_alike(was=was, fails=fails, felt=felt).expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
