"""Who asks others more than before its rollout: suspected of what hurts there, and never more than proposed for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.core.actions import Measure
from daemon.core.fan_out import BEFORE_MIN, GROWN
from daemon.core.incidents import Phase, Suspicion, Tier
from daemon.core.measurement import FanOut
from daemon.core.measuring import CANDIDATES_MAX
from daemon.core.model import Neighbour
from daemon.core.reasons import Reason
from daemon.core.weights import WEIGHTS
from tests.core.builders import CART, FINGERPRINT, NOON, SECOND, SHOP, STEP, a_measurement, a_rollout_view, a_view
from tests.core.story import Story
from tests.core.test_neighbours import FRONT, GATHERED, MAIL, NOW, calling, fine_at_home, hurts_at, suspicion, weight

CALLS = Neighbour(workload=SHOP, hops=1, called=False)
USUAL = (1.0, 1.1, 0.9, 1.0)


def asking(*now: float, before: tuple[float, ...] = USUAL, **changes: object) -> FanOut:
    """The shop asks the cart so often per request."""
    return replace(FanOut(workload=SHOP, callee=CART, before=before, now=now), **changes)  # type: ignore[arg-type]


def suspected(*fan_outs: FanOut) -> Suspicion:
    """What speaks against the shop."""
    return suspicion(replace(a_measurement(NOW, new=None, old=None), fan_outs=fan_outs))


def test_who_asks_more_than_before_is_suspected() -> None:
    """By the most of all that it asks more, in words that name it; never more than proposed."""
    found = suspected(asking(1.5, 1.5), asking(4.0, 3.8, 4.2, callee=MAIL), asking(9.0, workload=FRONT))
    (term,) = [each for each in found.terms if each.name == "fan_out"]
    assert (term.value, term.threshold, term.weight) == (4.0, GROWN, WEIGHTS["fan_out"])
    assert term.sentence == "It asks mail 4.0 times as often per request as before the rollout."
    assert found.tier is Tier.TIMING


@pytest.mark.parametrize(
    "fan_out",
    [
        asking(1.0, 1.1),
        asking(1.3, 1.3),
        asking(4.0, 1.0, 1.0),
        asking(4.0, before=USUAL[: BEFORE_MIN - 1]),
        asking(),
        asking(4.0, before=(0.0, 0.0, 0.0, 0.0)),
        asking(4.0, before=(0.5, 0.5, 0.5, 3.9)),
        asking(4.0, workload=CART),
    ],
    ids=["as before", "hardly more", "once", "too little before", "not now", "nobody before", "varies", "another"],
)
def test_what_may_be_chance_says_nothing(fan_out: FanOut) -> None:
    """Beyond the most of any sample before it, for most of the latest ones."""
    assert weight(suspected(fan_out), "fan_out") is None


def two_rollouts(*fan_outs: FanOut) -> Story:
    """It hurts at the front. Both call it: the shop, rolled out at NOON, and the cart, half a minute later."""
    story = Story()
    story.starts()
    for workload in (CART, FRONT, SHOP):
        story.sees(a_view(workload=workload, uid=f"uid-{workload.name}"))
    story.waits(timedelta(0))
    story.rolls_out(uid=f"uid-{SHOP.name}")
    story.where[FINGERPRINT] = hurts_at(FRONT, CALLS, replace(CALLS, workload=CART))
    fine_at_home(story, fan_outs=fan_outs)
    story.sees(a_rollout_view(workload=CART, uid="uid-cart", started_at=NOON + SECOND * 30))
    story.fires()
    story.waits(GATHERED)
    story.expect(Phase.PROPOSED)
    return story


def test_of_two_rollouts_the_one_that_asks_more_is_proposed() -> None:
    """The other one came nearer to the onset, and is proposed where nobody asks more; all candidates are looked at."""
    assert two_rollouts().incident.suspect == CART
    story = two_rollouts(asking(4.0, callee=FRONT))
    assert story.incident.suspect == SHOP
    measures = [each for each in story.done if isinstance(each, Measure) and each.incident]
    assert {measure.candidates for measure in measures} == {((SHOP, NOON), (CART, NOON + SECOND * 30))}


def test_so_many_candidates_are_looked_at() -> None:
    """Those where it hurts first, then the nearest."""
    many = [replace(CART, name=f"cart-{index:02}") for index in range(CANDIDATES_MAX + 1)]
    story = calling(*(replace(CALLS, workload=each) for each in many))
    for each in many:
        story.sees(a_rollout_view(workload=each, uid=f"uid-{each.name}"))
    story.fires()
    measure = next(each for each in story.done if isinstance(each, Measure) and each.incident)
    assert [workload for workload, _ in measure.candidates] == many[:CANDIDATES_MAX]


# -- when its own signals are waited for


def test_low_traffic_of_its_own_holds_nobody_that_hurts_elsewhere() -> None:
    """Five requests a minute are too few to compare its pods, and enough to write rubbish."""
    story = calling(CALLS)
    story.measures = lambda _: a_measurement(story.now, new=0.001, old=0.001, traffic=0.08)
    story.fires()
    story.completes()
    story.waits(story.policy.signal_window + 4 * STEP)
    assert Reason.LOW_TRAFFIC not in story.refusals
    story.expect(Phase.PROPOSED)


def test_who_cannot_be_compared_is_waited_for_no_longer_than_who_can() -> None:
    """A rollout in stages goes on for an hour, and nothing counts its pods: after five samples it is proposed."""
    story = calling(CALLS)
    fine_at_home(story, new=(), old=())
    story.fires()
    story.waits((story.policy.persistence_of - 1) * STEP)
    story.expect(Phase.OPEN)
    story.waits(2 * STEP)
    story.expect(Phase.PROPOSED)


def test_who_breaks_what_it_asks_breaks_itself() -> None:
    """It hurts at the shop: old and new pods fail alike, for the cart cannot bear so many calls. That is no common cause."""
    story = calling()
    story.where[FINGERPRINT] = hurts_at(SHOP)
    alike = a_measurement(story.now, new=0.3, old=0.3)
    story.measures = lambda _: replace(alike, at=story.now, fan_outs=(asking(4.0),))
    story.fires()
    story.completes()
    story.waits(story.policy.signal_window + 4 * STEP)
    assert Reason.COMMON_CAUSE not in story.refusals
    story.expect(Phase.PROPOSED)
    story = calling()
    story.where[FINGERPRINT] = hurts_at(SHOP)
    story.measures = lambda _: replace(alike, at=story.now)
    story.fires()
    story.completes()
    story.waits(story.policy.signal_window + 4 * STEP)
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
