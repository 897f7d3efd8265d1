"""The seven scenarios of the demo, told to the core alone: how each ends, what is rolled back, and who is paged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from daemon.core.actions import PageKind
from daemon.core.incidents import Phase
from daemon.core.measurement import Peer
from daemon.core.model import Mode
from daemon.core.reasons import Reason
from tests.core.builders import (
    CART,
    MINUTE,
    NOON,
    SECOND,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_measurement,
    a_policy,
    a_rollout_view,
    a_sample,
    a_start_failure,
    a_view,
    an_alert,
    pods_of,
    samples,
)
from tests.core.story import Story

KEY = f"test/{SHOP.key}/{V2.id}"


def test_error_spike_ends_recovered_with_one_page() -> None:
    """A bad rollout is rolled back after the countdown, watched until the symptom stayed away, and paged once."""
    story = Story()
    story.spikes()
    story.expect(Phase.PROPOSED)
    assert story.incident.countdown_until == story.now + 30 * SECOND
    assert not story.pages
    story.waits(29 * SECOND)
    assert not story.rollbacks
    story.waits(SECOND)
    assert [(act.target, act.blamed, act.uid) for act in story.rollbacks] == [(V1, V2, "uid-1")]
    story.expect(Phase.ROLLING_BACK)
    assert [(page.page, page.urgent, page.key) for page in story.pages] == [(PageKind.TRIGGER, False, KEY)]
    story.waits(20 * SECOND)
    story.is_back()
    story.expect(Phase.VERIFYING)
    story.waits(MINUTE)
    story.expect(Phase.VERIFYING)
    story.waits(90 * SECOND)
    story.expect(Phase.RECOVERED, Reason.RECOVERED)
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.UPDATE, PageKind.RESOLVE]
    assert {page.key for page in story.pages} == {KEY}
    assert story.replayed() == story.state


def test_alert_after_completion_is_convicted_by_the_overlap() -> None:
    """When no old pod is left, the minutes in which both served still convict, read back from history."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    story.now = NOON + 2 * MINUTE
    story.completes()
    overlap = NOON + 90 * SECOND
    story.measures = lambda action: replace(
        a_measurement(story.now, new_ready=3, new_pods=3, old_ready=0),
        new=samples(0.3, until=story.now, count=6 + (story.now - NOON) // STEP),
        old=samples(0.001, until=overlap, count=3),
    )
    story.now = NOON + 3 * MINUTE
    story.fires(an_alert(starts_at=story.now))
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.BLAMED_CONTRAST
    story.waits(31 * SECOND)
    assert len(story.rollbacks) == 1
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    assert len(story.triggers) == 1


def test_crashloop_is_rolled_back_without_countdown() -> None:
    """Pods that cannot start while the old ones ran need neither traffic nor a countdown."""
    story = Story()
    story.proves_v1()
    story.rolls_out(start_failure=a_start_failure(), pods=(pods_of(V1, 3), pods_of(V2, 1, ready=0)))
    story.measures = lambda action: a_measurement(
        story.now, new=None, old=None, new_ready=0, start_failure=a_start_failure()
    )
    story.fires()
    assert len(story.rollbacks) == 1
    assert story.incident.verdict is not None
    assert story.incident.verdict.reason is Reason.BLAMED_START_FAILURE
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)
    assert len(story.triggers) == 1


def test_stuck_rollout_without_an_alert_is_a_critical_incident() -> None:
    """A rollout that gave up because its pods crash is an anomaly of its own, paged as critical, and opened once."""
    story = Story()
    story.proves_v1()
    failing: dict[str, Any] = {"start_failure": a_start_failure(), "pods": (pods_of(V1, 3), pods_of(V2, 1, ready=0))}
    story.measures = lambda action: a_measurement(
        story.now, new=None, old=None, new_ready=0, alerts=(), start_failure=a_start_failure()
    )
    story.rolls_out(**failing)
    assert not story.incidents
    story.now += 10 * MINUTE
    story.sees(a_rollout_view(stuck=True, **failing))
    assert len(story.rollbacks) == 1
    assert len(story.triggers) == 1
    story.sees(a_rollout_view(stuck=True, labels=(("seen", "again"),), **failing))
    assert len(story.incidents) == 1
    story.is_back()
    story.waits(3 * MINUTE)
    story.expect(Phase.RECOVERED)


def test_innocent_rollout_is_not_blamed() -> None:
    """Where the old pods and a neighbour fail alike, a person is called once, and no revision is named as the cause."""
    story = Story()
    story.sees(a_view(workload=CART, started_at=NOON - 100 * MINUTE, uid="uid-2"))
    story.proves_v1()
    story.rolls_out()
    neighbour = Peer(
        workload=CART, before=a_sample(NOON - MINUTE, errors=0.001), now=a_sample(NOON + MINUTE, errors=0.4)
    )
    story.measures = lambda action: a_measurement(story.now, new=0.4, old=0.4, peers=(neighbour,))
    story.fires()
    story.waits(2 * MINUTE)
    story.completes()
    story.waits(4 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.COMMON_CAUSE)
    assert not story.rollbacks
    assert story.incident.blamed is None
    assert [(page.key, page.urgent) for page in story.pages] == [(f"test/{story.incident.id}", True)]
    assert any("shop/cart" in line or "old 0.4" in line for line in story.pages[0].brief.refusals)


def test_without_a_verified_target_the_page_lists_the_candidates() -> None:
    """A bad rollout over a revision that was never healthy is handed over, with the reason for each candidate."""
    story = Story()
    story.soaks = lambda action: None
    story.spikes()
    story.expect(Phase.ESCALATED, Reason.TARGET_NOT_VERIFIED)
    assert not story.rollbacks
    assert len(story.pages) == 1
    assert story.pages[0].key == KEY
    brief = story.pages[0].brief
    assert any("checkout:v1" in line and "never verified" in line for line in brief.refusals)
    assert "kubectl -n shop rollout undo deployment/checkout --to-revision=1" in brief.commands


def test_superseded_in_the_countdown_pages_nobody() -> None:
    """A fix that goes out during the countdown wins: nothing is rolled back, nobody is woken."""
    story = Story()
    story.spikes()
    story.expect(Phase.PROPOSED)
    story.now += 10 * SECOND
    story.rolls_out(V3, V2)
    story.measures = lambda action: a_measurement(story.now, new=0.0)
    story.resolves()
    story.waits(10 * MINUTE)
    story.expect(Phase.SUPERSEDED)
    assert not story.rollbacks
    assert not story.pages
    assert len(story.incidents) == 1


def test_observe_only_announces() -> None:
    """In observe mode the same spike ends with a person, announced and never paged, and nothing is touched."""
    story = Story(a_policy(default_mode=Mode.OBSERVE))
    story.spikes()
    story.expect(Phase.ESCALATED, Reason.MODE_OBSERVE)
    story.waits(10 * MINUTE)
    assert not story.rollbacks
    assert not story.pages
    assert len(story.announcements) == 1
    assert story.announcements[0].brief.phase == "escalated"
