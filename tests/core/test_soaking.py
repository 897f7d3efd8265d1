"""How a revision becomes verified, stays so, and loses it; quarantine and release."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from daemon.core import soak
from daemon.core.actions import ProveSoak
from daemon.core.evolution import LEDGER_KEPT_MAX, evolve
from daemon.core.facts import LedgerWritten
from daemon.core.incidents import Phase
from daemon.core.ledger import LedgerEntry, ProofKind, choose_target, next_check
from daemon.core.measurement import Sample, SoakMeasurement
from daemon.core.model import IncidentId, Revision
from tests.core.builders import (
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
    a_policy,
    a_revision,
    a_sample,
    a_soak,
    a_view,
    pods_of,
    samples,
)
from tests.core.story import Story

ZERO = timedelta(0)


def fresh(soaks: float = 1.0) -> Story:
    """v1 has just become the only serving revision; `soaks` is the share of each span that is proven healthy."""
    story = Story(now=NOON)
    story.soaks = lambda action: a_soak(action.since, story.now, (story.now - action.since) * soaks)
    story.starts()
    story.sees(a_view(started_at=NOON, available_since=NOON))
    return story


def entry(story: Story, revision: Revision = V1) -> LedgerEntry:
    """The ledger's entry of v1 (or another revision)."""
    found = story.state.workloads[SHOP.key].entry(revision.id)
    assert found is not None
    return found


def whats(story: Story) -> list[str]:
    """What the ledger's facts say, in order."""
    return [fact.what for fact in story.of(LedgerWritten)]


def test_a_revision_is_verified_after_the_soak_and_not_before() -> None:
    """It accumulates 15 minutes of proven health as the only serving revision."""
    story = fresh()
    story.waits(14 * MINUTE)
    assert not story.verified(V1)
    story.waits(2 * MINUTE)
    assert story.verified(V1)
    proof = entry(story).proof
    assert proof is not None
    assert (proof.kind, proof.backwards) == (ProofKind.TRAFFIC, False)
    assert proof.soaked >= 15 * MINUTE


def test_inconclusive_time_pauses_the_clock() -> None:
    """Half of the time proven takes twice as long."""
    story = fresh(soaks=0.5)
    story.waits(28 * MINUTE)
    assert not story.verified(V1)
    story.waits(5 * MINUTE)
    assert story.verified(V1)


def test_an_unhealthy_moment_resets_the_clock() -> None:
    """What was earned before it is lost."""
    story = fresh()
    story.waits(12 * MINUTE)
    earned = entry(story).soaked
    story.soaks = lambda action: a_soak(action.since, story.now, ZERO, unhealthy_at=story.now, because="errors")
    story.waits(2 * MINUTE)
    assert earned > 10 * MINUTE
    assert entry(story).soaked == ZERO
    assert "errors" in entry(story).why_not(story.policy)
    story.soaks = lambda action: a_soak(action.since, story.now)
    story.waits(14 * MINUTE)
    assert not story.verified(V1)
    story.waits(3 * MINUTE)
    assert story.verified(V1)


def test_too_little_traffic_proves_health_only_after_a_day() -> None:
    """The weaker proof is labelled so, and traffic makes it the full one later."""
    story = fresh()
    story.soaks = lambda action: a_soak(action.since, story.now, ZERO, quiet=story.now - action.since)
    story.waits(23 * HOUR)
    assert not story.verified(V1)
    story.waits(2 * HOUR)
    proof = entry(story).proof
    assert proof is not None
    assert proof.kind is ProofKind.HEALTH_ONLY
    story.soaks = lambda action: a_soak(action.since, story.now)
    story.waits(20 * MINUTE)
    proof = entry(story).proof
    assert proof is not None
    assert proof.kind is ProofKind.TRAFFIC


def test_the_past_is_read_back_at_the_first_start() -> None:
    """A new installation is useful in its first minute: the proof says that it lies before our time."""
    story = Story()
    story.proves_v1()
    proof = entry(story).proof
    assert proof is not None
    assert proof.backwards
    assert story.verified(V1)


def _unread(story: Story, missing: tuple[str, ...] | None, action: ProveSoak) -> SoakMeasurement | None:
    return None if missing is None else a_soak(action.since, story.now, missing=missing)


def test_what_cannot_be_measured_is_asked_again_and_proves_nothing() -> None:
    """A failed look and one with missing sources leave the clocks as they are."""
    story = fresh()
    for missing in (None, ("prometheus: down",)):
        story.soaks = partial(_unread, story, missing)
        story.waits(30 * MINUTE)
        assert entry(story).soaked == ZERO
    story.soaks = lambda action: a_soak(action.since, story.now)
    story.waits(16 * MINUTE)
    assert story.verified(V1)


def _regressed(story: Story, action: ProveSoak) -> SoakMeasurement:
    return a_soak(action.since, story.now, ZERO, unhealthy_at=story.now, because="error_ratio 0.4")


def test_a_regression_within_a_day_withdraws_the_mark() -> None:
    """A fresh mark is watched for 24 hours; afterwards an unhealthy moment withdraws nothing."""
    for wait, kept in ((20 * HOUR, False), (27 * HOUR, True)):
        story = fresh()
        story.waits(16 * MINUTE)
        story.waits(wait)
        story.soaks = partial(_regressed, story)
        story.waits(3 * HOUR if not kept else 25 * HOUR)
        assert story.verified(V1) is kept
        if not kept:
            assert "withdrawn" in whats(story)
            assert "its mark was withdrawn: error_ratio 0.4" in entry(story).why_not(story.policy)


def test_only_the_only_serving_revision_soaks() -> None:
    """During a rollout nobody's clock runs, and time in which another revision served is not counted later."""
    story = fresh()
    story.waits(5 * MINUTE)
    earned = entry(story).soaked
    story.rolls_out()
    story.waits(HOUR)
    counted = entry(story).soaked
    assert counted == 5 * MINUTE
    assert earned <= counted
    assert story.state.workloads[SHOP.key].entry(V2.id) is None
    story.sees(a_view(V1, started_at=story.now, available_since=story.now, generation=3))
    story.waits(9 * MINUTE)
    assert not story.verified(V1)
    story.waits(2 * MINUTE)
    assert story.verified(V1)


def test_a_rollout_counts_what_the_replaced_revision_earned_up_to_it() -> None:
    """The last span is measured up to the start of the rollout, even if the regular look was not due yet."""
    story = fresh()
    story.waits(20 * SECOND)
    story.now = NOON + 20 * MINUTE
    story.rolls_out()
    last = [action for action in story.done if isinstance(action, ProveSoak)][-1]
    assert last.until == NOON + 20 * MINUTE
    assert story.verified(V1)


def test_pods_that_are_not_available_stop_the_looking() -> None:
    """When the current revision does not serve alone any more, its next look waits until it does again."""
    story = fresh()
    story.sees(a_view(started_at=NOON, available_since=None, pods=(pods_of(V1, ready=0),)))
    story.waits(10 * MINUTE)
    asked = len([action for action in story.done if isinstance(action, ProveSoak)])
    story.waits(HOUR)
    assert len([action for action in story.done if isinstance(action, ProveSoak)]) == asked
    story.sees(a_view(started_at=NOON, available_since=story.now))
    story.waits(20 * MINUTE)
    assert story.verified(V1)


def test_a_look_that_is_still_out_is_not_asked_for_twice() -> None:
    """One question per revision at a time."""
    story = fresh()
    story.withheld = {ProveSoak}
    story.waits(HOUR)
    assert len([action for action in story.state.owed.values() if isinstance(action, ProveSoak)]) == 1
    story.sees(a_view(started_at=NOON, available_since=NOON, labels=(("a", "b"),)))
    story.rolls_out()
    assert len([action for action in story.state.owed.values() if isinstance(action, ProveSoak)]) == 1


def test_blame_suspends_the_soak() -> None:
    """Time under blame does not count for the blamed revision, neither during the incident nor after it."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.completes()
    story.checks = lambda action: None
    story.now = NOON + 2 * MINUTE
    story.where["f1"] = a_location(onset=NOON + MINUTE)
    story.measures = lambda action: a_measurement(story.now, new_ready=3)
    story.fires()
    story.waits(9 * MINUTE)
    story.expect(Phase.OPEN)
    assert story.incident.blamed == V2
    assert entry(story, V2).soaked <= 2 * MINUTE
    assert not story.verified(V2)
    assert any("under blame" in fact.because for fact in story.of(LedgerWritten))


def test_a_release_gives_back_what_the_revision_had() -> None:
    """Quarantine keeps the proof aside; the release of one revision, or of all, gives it back."""
    for named in (True, False):
        story = fresh()
        story.waits(16 * MINUTE)
        held = replace(entry(story), quarantined_by=None)
        quarantined = replace(held, quarantined_by=IncidentId("inc-1"))
        fact = LedgerWritten(at=story.now, workload=SHOP.key, entry=quarantined, what="quarantined")
        story.state = evolve(story.state, fact)
        assert not story.verified(V1)
        assert quarantined.why_not(story.policy) == "quarantined by inc-1"
        story.waits(HOUR)
        assert not story.verified(V1)
        story.releases(V1 if named else None)
        assert story.verified(V1)


def test_after_recovery_the_target_is_watched_on() -> None:
    """A recovered workload's target is looked at again, a soak later."""
    story = Story()
    story.spikes()
    story.waits(STEP)
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    count = len([action for action in story.done if isinstance(action, ProveSoak)])
    story.waits(16 * MINUTE)
    assert len([action for action in story.done if isinstance(action, ProveSoak)]) > count


@pytest.mark.parametrize(("age", "after"), [(HOUR, 15 * MINUTE), (3 * HOUR, 2 * HOUR), (30 * HOUR, 24 * HOUR)])
def test_a_verified_revision_is_watched_ever_more_rarely(age: timedelta, after: timedelta) -> None:
    """Per soak up to 2 h, two-hourly up to 24 h, then daily."""
    story = fresh()
    story.waits(16 * MINUTE)
    found = entry(story)
    assert found.proof is not None
    now = found.proof.verified_at + age
    assert next_check(found, story.policy, now) == now + after


def test_the_target_is_the_replaced_revision_else_the_newest_verified_one_further_back() -> None:
    """What is skipped on the way is named, and why; the blamed one is never a candidate."""
    story = fresh()
    story.waits(16 * MINUTE)
    proven = entry(story)
    policy = a_policy()
    ledger: dict[str, LedgerEntry] = {V1.id: proven, V2.id: LedgerEntry(revision=V2)}
    choice = choose_target(ledger, (V1, V2, V3), V3, V2, policy)
    assert (choice.target, choice.skipped) == (proven, (V2,))
    assert choice.rejected == ("checkout:v2 (22hash): never verified: 0s of 15m00s healthy soak",)
    first = choose_target(ledger, (V1, V2), V2, V1, policy)
    assert (first.target, first.skipped) == (proven, ())
    nothing = choose_target({}, (V1, V2), V2, None, policy)
    assert nothing.target is None
    assert nothing.rejected == ("checkout:v1 (11hash): never seen serving, so nothing is proven",)


# -- from samples to a soak measurement


def spanned(found: tuple[Sample, ...], proven_from: datetime | None = NOON, **span: Any) -> SoakMeasurement:
    """Ten minutes from NOON, looked at in steps of 30 s."""
    values: dict[str, Any] = {
        "since": NOON,
        "until": NOON + 10 * MINUTE,
        "step": STEP,
        "proven_from": proven_from,
        **span,
    }
    return soak.measured(found, soak.Span(**values), None, a_policy())


def good(count: int = 20, **changes: float) -> tuple[Sample, ...]:
    return samples(changes.pop("errors", 0.001), until=NOON + 10 * MINUTE, count=count, **changes)


def test_healthy_samples_under_traffic_count() -> None:
    """Ten good minutes are ten minutes, and give a baseline."""
    found = spanned(good())
    assert (found.healthy, found.quiet, found.inconclusive) == (10 * MINUTE, ZERO, ZERO)
    assert dict(found.baseline) == {"error_ratio": 0.001, "traffic": 20.0}


def test_quiet_healthy_samples_count_as_quiet() -> None:
    """Healthy with less than one request a second is health only."""
    assert spanned(good(traffic=0.5)).quiet == 10 * MINUTE


def test_samples_between_good_and_bad_pause() -> None:
    """2 % errors are neither: inconclusive, with the numbers that say why."""
    found = spanned(good(errors=0.02))
    assert (found.healthy, found.inconclusive) == (ZERO, 10 * MINUTE)
    assert "error_ratio 0.02" in found.because


def test_an_unhealthy_sample_under_traffic_resets() -> None:
    """Only what came after the last bad sample counts; one failed request of two is no half of anything."""
    bad = a_sample(NOON + 5 * MINUTE, errors=0.5)
    mixed = tuple(bad if sample.at == bad.at else sample for sample in good())
    found = spanned(mixed)
    assert (found.healthy, found.unhealthy_at) == (5 * MINUTE, bad.at)
    quiet = tuple(a_sample(s.at, errors=0.5, traffic=0.1) if s.at == bad.at else s for s in good())
    assert spanned(quiet).unhealthy_at is None


def test_a_gap_in_the_samples_is_not_counted() -> None:
    """A sample speaks for one step before it, never for the hole in which nothing was read."""
    found = spanned(good()[-2:])
    assert (found.healthy, found.inconclusive) == (MINUTE, 9 * MINUTE)


def test_without_signals_the_span_is_quiet() -> None:
    """Pods that ran without trouble, and nothing else to go by."""
    found = spanned((), proven_from=NOON + MINUTE)
    assert (found.quiet, found.inconclusive, found.because) == (9 * MINUTE, MINUTE, "no signals to judge")


def test_time_before_enough_pods_were_ready_is_not_proven() -> None:
    """A restart or too few pods pause the clock up to that moment; none ready proves nothing."""
    assert spanned(good(), proven_from=NOON + 4 * MINUTE).healthy == 6 * MINUTE
    for moment in (None, NOON + 10 * MINUTE):
        found = spanned(good(), proven_from=moment)
        assert (found.healthy, found.because) == (ZERO, "not enough pods are available")


def test_a_crash_loop_resets() -> None:
    """Pods that crash or run out of memory are unhealthy whatever the signals say; only what came after it counts."""
    found = spanned(good(), broken_at=NOON + MINUTE, broken_by="p-1 crash-loops")
    assert found.unhealthy_at == NOON + MINUTE
    assert found.healthy <= 9 * MINUTE
    assert found.because == "p-1 crash-loops"


def test_an_old_ledger_keeps_what_can_still_be_a_target() -> None:
    """Beyond its limit the ledger forgets revisions that Kubernetes has forgotten too."""
    story = fresh()
    for number in range(100, 100 + LEDGER_KEPT_MAX + 5):
        written = LedgerEntry(revision=a_revision(number))
        fact = LedgerWritten(at=story.now, workload=SHOP.key, entry=written, what="counted")
        story.state = evolve(story.state, fact)
    ledger = story.state.workloads[SHOP.key].ledger
    assert len(ledger) == LEDGER_KEPT_MAX
    assert V1.id in ledger
