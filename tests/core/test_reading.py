"""How numbers are read: the table of signals, the evidence, the modes, and what undo means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core import blame
from daemon.core.contrast import contrast_of
from daemon.core.incidents import Tier
from daemon.core.measurement import Health
from daemon.core.mode import mode_of
from daemon.core.model import Mode, OnsetSource, Rollout
from daemon.core.policy import ModeRule, SignalKind, SignalRule
from daemon.core.reasons import Reason
from daemon.core.signals import judge
from daemon.core.state import Tracked
from tests.core.builders import HOUR, MINUTE, NOON, SHOP, STEP, V1, V2, a_measurement, a_policy, a_view, samples
from tests.core.guard_cases import onset_assumed, spike

GOOD, BAD, UNSURE, NOTHING = Health.HEALTHY, Health.UNHEALTHY, Health.INCONCLUSIVE, Health.NO_DATA
K = SignalKind

TABLE: list[tuple[SignalKind, float | None, float | None, Health]] = [
    (K.TRAFFIC, 5.0, None, NOTHING),
    (K.ERROR_RATIO, None, None, NOTHING),
    (K.ERROR_RATIO, 0.005, None, GOOD),
    (K.ERROR_RATIO, 0.03, None, UNSURE),
    (K.ERROR_RATIO, 0.051, None, BAD),
    (K.ERROR_RATIO, 0.021, 0.02, GOOD),
    (K.ERROR_RATIO, 0.049, 0.02, UNSURE),
    (K.ERROR_RATIO, 0.06, 0.0, BAD),
    (K.ERROR_RATIO, 0.052, 0.05, BAD),
    (K.LATENCY, 0.3, None, NOTHING),
    (K.LATENCY, 0.109, 0.1, GOOD),
    (K.LATENCY, 0.149, 0.1, UNSURE),
    (K.LATENCY, 0.151, 0.1, BAD),
    (K.LATENCY_P95, 0.3, None, NOTHING),
    (K.LATENCY_P95, 0.109, 0.1, GOOD),
    (K.LATENCY_P95, 0.12, 0.1, UNSURE),
    (K.LATENCY_P95, 0.126, 0.1, BAD),
    (K.LATENCY_P99, 0.114, 0.1, GOOD),
    (K.LATENCY_P99, 0.19, 0.1, UNSURE),
    (K.LATENCY_P99, 0.201, 0.1, BAD),
    (K.CPU, 0.69, None, GOOD),
    (K.CPU, 0.8, 0.9, UNSURE),
    (K.CPU, 0.91, None, BAD),
    (K.MEMORY, 0.86, None, BAD),
    (K.MEMORY, 0.85, None, NOTHING),
    (K.MEMORY, None, None, NOTHING),
    (K.MEMORY, 0.5, 0.5, GOOD),
    (K.MEMORY, 0.7, 0.5, UNSURE),
]


@pytest.mark.parametrize(("kind", "value", "baseline", "health"), TABLE)
def test_the_table_of_signals(kind: SignalKind, value: float | None, baseline: float | None, health: Health) -> None:
    """Each row of the design's table, at both of its limits; the trigger wins where both columns hold."""
    assert judge(SignalRule(name="s", kind=kind, query="q"), value, baseline) is health


def test_thresholds_set_by_the_user_replace_the_absolute_numbers() -> None:
    """Where a user says what is slow, a latency is judged without anything to compare it with."""
    slow = SignalRule(name="p99", kind=K.LATENCY_P99, query="q", healthy_below=0.3, trigger_above=0.5)
    assert [judge(slow, value, None) for value in (0.2, 0.4, 0.6)] == [GOOD, UNSURE, BAD]
    for kind in (K.ERROR_RATIO, K.CPU, K.MEMORY):
        own = SignalRule(name="s", kind=kind, query="q", healthy_below=0.95, trigger_above=0.97)
        assert [judge(own, value, None) for value in (0.94, 0.96, 0.98)] == [GOOD, UNSURE, BAD]


@pytest.mark.parametrize(
    ("rule", "mode"),
    [
        (ModeRule(mode=Mode.AUTO), Mode.AUTO),
        (ModeRule(mode=Mode.AUTO, namespaces=("sh*",), names=("check*",)), Mode.AUTO),
        (ModeRule(mode=Mode.AUTO, namespaces=("other",)), Mode.OBSERVE),
        (ModeRule(mode=Mode.AUTO, names=("other",)), Mode.OBSERVE),
        (ModeRule(mode=Mode.AUTO, labels=(("tier", "web"),)), Mode.AUTO),
        (ModeRule(mode=Mode.AUTO, labels=(("tier", "db"),)), Mode.OBSERVE),
    ],
)
def test_the_first_rule_that_matches_gives_the_mode(rule: ModeRule, mode: Mode) -> None:
    """By namespace, name and labels; what no rule names has the default, observe."""
    view = a_view(labels=(("tier", "web"),))
    assert mode_of(a_policy(default_mode=Mode.OBSERVE, modes=(rule,)), Tracked(view=view)) is mode


@pytest.mark.parametrize("policy", list(Mode))
@pytest.mark.parametrize("annotation", list(Mode))
def test_an_annotation_lowers_and_never_raises(policy: Mode, annotation: Mode) -> None:
    """The more careful of both holds."""
    order = list(Mode)
    found = mode_of(a_policy(default_mode=policy), Tracked(view=a_view(mode=annotation)))
    assert order.index(found) == min(order.index(policy), order.index(annotation))


def a_rollout() -> Rollout:
    """v1 to v2 at NOON."""
    return Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)


def test_before_and_after_needs_a_before_that_was_well() -> None:
    """What was bad before the rollout, or yesterday at this time, is not the rollout's doing."""
    at = NOON + 3 * MINUTE
    base = a_measurement(at, old=None)
    bad = samples(0.3, until=NOON - STEP)
    for measurement, names in (
        (base, ["before_after", "timing"]),
        (replace(base, before=bad), ["timing"]),
        (replace(base, yesterday=bad), ["timing"]),
        (replace(base, yesterday=samples(0.0, until=NOON)), ["before_after", "timing"]),
        (replace(base, before=()), ["timing"]),
        (replace(base, new=samples(0.0, until=at)), ["timing"]),
    ):
        found = blame.suspect(
            a_rollout(), measurement, NOON, OnsetSource.RULE, a_policy(), old_ran=True, chain_start=None
        )
        assert [term.name for term in found.terms] == names


def test_timing_fades_to_nothing() -> None:
    """Half per three minutes; hours after the chain began the moment itself says nothing any more."""
    weights = []
    for lag in (0 * MINUTE, 3 * MINUTE, 5 * HOUR):
        found = blame.suspect(
            a_rollout(),
            a_measurement(NOON, new=None, old=None),
            NOON + lag,
            OnsetSource.ASSUMED,
            a_policy(),
            old_ran=True,
            chain_start=None,
        )
        weights.append((found.score, found.tier))
    assert weights == [(0.5, Tier.TIMING), (0.25, Tier.TIMING), (0.0, Tier.NONE)]


def test_slow_starts_are_not_blamed_for_their_first_minute() -> None:
    """Latency counts from the warm-up on; errors count at once."""
    at = NOON + 4 * STEP
    new = samples(0.0, until=at, count=2, latency_p95=2.0)
    old = samples(0.0, until=at, count=2, latency_p95=0.1)
    cold = replace(a_measurement(at), new=new, old=old)
    warm = replace(
        cold,
        new=(*samples(0.0, until=at - 2 * STEP, count=5), *new),
        old=(*samples(0.0, until=at - 2 * STEP, count=5), *old),
    )
    counts = [contrast_of(m, a_rollout(), a_policy()).convicting for m in (cold, warm)]
    assert counts == [0, 2]


def test_an_undo_needs_both_dates() -> None:
    """Without creation times nobody can say that a rollout went back."""
    story = spike(new=replace(V2, created_at=None))
    assert Reason.ROLLBACK_OF_ROLLBACK not in story.refusals


def test_an_assumed_onset_within_the_chain_does_not_hold() -> None:
    """A successor's symptom began with its chain, so it is not older than what it is about."""
    story = onset_assumed()
    chained = replace(story.incident, chain_started_at=NOON - HOUR)
    story.state = replace(story.state, incidents={chained.id: chained})
    story.waits(STEP)
    assert Reason.ONSET_ASSUMED not in story.refusals


def test_a_contrast_of_a_handful_of_requests_convicts_nobody() -> None:
    """The same error ratios convict under traffic, and are no evidence of contrast without it."""
    at = NOON + 3 * MINUTE
    tiers = [
        blame.suspect(
            a_rollout(),
            a_measurement(at, traffic=traffic),
            NOON,
            OnsetSource.RULE,
            a_policy(),
            old_ran=True,
            chain_start=None,
        ).tier
        for traffic in (20.0, 0.2)
    ]
    assert tiers == [Tier.CONTRAST, Tier.TIMING]
