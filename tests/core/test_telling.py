"""Who is told what: pages and announcements by severity, mode and phase, and what the message says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Announce, Page, PageKind
from daemon.core.briefs import TEXT_MAX, cut
from daemon.core.incidents import Phase
from daemon.core.measurement import Peer
from daemon.core.model import Mode, Rung
from daemon.core.policy import Paging
from daemon.core.reasons import Reason
from tests.core.builders import (
    CART,
    HOUR,
    MINUTE,
    NOON,
    SECOND,
    STEP,
    V1,
    V2,
    a_location,
    a_measurement,
    a_policy,
    a_revision,
    a_sample,
    a_start_failure,
    an_alert,
    pods_of,
)
from tests.core.guard_cases import bad_neighbours, spike
from tests.core.story import Story, failed


def instead(**policy: Any) -> Story:
    """Lastgood pages instead of the team's existing paging."""
    return Story(a_policy(paging=Paging.INSTEAD, **policy))


def test_instead_of_others_an_unrelated_alert_pages_until_it_is_gone() -> None:
    """`paging: instead`: no rollout is in question, so the page stays open until the alert resolves, in observe too."""
    story = instead(default_mode=Mode.OBSERVE)
    story.proves_v1()
    story.fires()
    story.expect(Phase.DISMISSED, Reason.NO_CANDIDATE)
    assert [(page.page, page.urgent) for page in story.pages] == [(PageKind.TRIGGER, True)]
    story.now += 5 * MINUTE
    story.fires(an_alert("f2", starts_at=story.now))
    story.resolves()
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.TRIGGER, PageKind.RESOLVE]
    assert story.pages[0].key == story.pages[2].key


def test_instead_of_others_an_unmapped_critical_alert_pages() -> None:
    """`paging: instead` means every critical alert: also one whose labels name no workload; others still do not."""
    for severity, pages in (("critical", 1), ("warning", 0)):
        story = instead()
        story.proves_v1()
        alert = an_alert(labels=(("alertname", "DiskFull"), ("severity", severity)))
        story.where[alert.fingerprint] = a_location(workloads=(), rung=Rung.NONE)
        story.fires(alert)
        assert len(story.triggers) == pages
        assert [page.brief.workload for page in story.triggers] == ["-/Alert/DiskFull"] * pages
        story.resolves(alert)
        assert [page.page for page in story.pages][1:] == [PageKind.RESOLVE] * pages


def test_instead_of_others_a_page_ends_with_its_incident() -> None:
    """`paging: instead`: an incident that is dismissed because the symptom is gone resolves its page."""
    story = instead()
    story.spikes()
    assert [page.page for page in story.pages][:1] == [PageKind.TRIGGER]
    story.declines()
    story.closes()
    assert story.pages[-1].page is PageKind.RESOLVE


@pytest.mark.parametrize(
    ("severity", "pages", "announcements"), [("critical", True, True), ("warning", False, True), ("info", False, False)]
)
def test_the_route_of_the_severity_decides(severity: str, pages: bool, announcements: bool) -> None:
    """Critical pages and announces, high announces, the rest only shows in the metrics."""
    story = Story()
    story.soaks = lambda action: None
    story.proves_v1()
    story.rolls_out()
    story.fires(an_alert(labels=(("alertname", "A"), ("severity", severity))))
    story.expect(Phase.ESCALATED)
    assert bool(story.pages) is pages
    assert bool(story.announcements) is announcements


def test_a_page_that_cannot_be_delivered_is_announced() -> None:
    """Where the pager is dead, the chat says so."""
    story = Story()
    story._answers[Page] = lambda action: failed("invalid routing key")
    story.soaks = lambda action: None
    story.spikes()
    assert story.announcements[-1].brief.update == "The page could not be delivered: invalid routing key"


def test_pages_of_one_key_go_out_one_by_one_in_their_order() -> None:
    """A resolve never overtakes its trigger, a reply never its thread."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    story.withheld = {Page, Announce}
    story.spikes()
    story.declines()
    owed = [action.kind for action in story.state.owed.values()]
    assert owed == ["announce", "page", "announce", "page"]
    assert [action.kind for action in story.state.due] == ["announce", "page"]
    story.withheld = set()
    story.answers()
    assert [page.page for page in story.pages] == [PageKind.TRIGGER, PageKind.UPDATE]
    assert story.announcements[0].thread is None
    assert story.announcements[1].thread == "1.1"


def test_the_message_answers_what_the_person_on_call_asks() -> None:
    """What changed, since when, how wide, what was done, why, and the command to paste."""
    story = Story(a_policy(default_mode=Mode.APPROVE))
    bad = Peer(workload=CART, before=a_sample(NOON - MINUTE), now=a_sample(NOON + MINUTE))
    story.measures = lambda action: a_measurement(story.now, peers=(bad,))
    cause = a_revision(2, change_cause="helm upgrade\x07")
    story.spikes(new=cause)
    brief = story.pages[0].brief
    assert brief.headline == "shop/checkout: rollback proposed (CheckoutErrors)"
    assert brief.changed == (
        "registry.example/checkout:v1 → registry.example/checkout:v2 at 12:00:00Z by kubectl: helm upgrade "
    )
    assert brief.since == NOON + STEP
    assert brief.wide == "1 of 1 new pods ready; 50% of the traffic on them; no other workload seen failing with it"
    assert brief.done == "proposes to roll back to checkout:v1 (11hash); waits for approval"
    assert "error_ratio of the new pods 0.3 against 0.001 of the old ones" in brief.evidence[0]
    assert len(brief.refusals) == 1
    assert brief.refusals[0].startswith("MODE_APPROVE: This workload is in mode approve: a person must confirm.")
    assert brief.refusals[0].endswith(" Seen: mode approve; needed: mode auto, or a person's approval.")
    assert brief.commands[0] == f"lastgood approve {story.incident.id}"


def test_each_phase_says_what_was_done() -> None:
    """The sentence about what was done follows the incident from the countdown to recovery."""
    story = Story()
    story.spikes()
    assert "will roll back to checkout:v1 (11hash) at 12:01:30Z unless somebody declines" in _last(story)
    story.waits(30 * SECOND)
    assert _last(story) == "rolling back to checkout:v1 (11hash)"
    story.is_back()
    assert _last(story).startswith("runs checkout:v1 (11hash) again")
    story.waits(3 * MINUTE)
    assert _last(story) == "rolled back to checkout:v1 (11hash). The symptom is gone and stayed away."
    assert "lastgood release shop/checkout" in story.announcements[-1].brief.commands
    assert story.announcements[-1].brief.final


def test_a_failed_verification_says_that_it_was_rolled_back() -> None:
    """Handed over after the patch: nobody must believe that nothing was changed."""
    story = Story()
    story.spikes()
    story.waits(30 * SECOND)
    story.waits(10 * MINUTE)
    assert _last(story).startswith("rolled back to checkout:v1 (11hash), but: ")
    assert story.announcements[-1].brief.refusals == ()
    assert not any("undo" in command for command in story.announcements[-1].brief.commands)


def _last(story: Story) -> str:
    return story.announcements[-1].brief.done


def test_a_crash_loop_is_paged_calmly_and_only_once_it_is_rolled_back() -> None:
    """Without a countdown there is nothing to confirm: the first page is that of the rollback, at low urgency."""
    story = Story()
    story.measures = lambda action: a_measurement(
        story.now, new=None, old=None, new_ready=0, start_failure=a_start_failure()
    )
    spike(story, start_failure=a_start_failure(), pods=(pods_of(V1), pods_of(V2, 1, ready=0)))
    assert [(page.page, page.urgent) for page in story.pages] == [(PageKind.TRIGGER, False)]
    assert "will roll back to checkout:v1" in story.announcements[0].brief.done


def test_text_from_outside_is_cut_and_cleaned() -> None:
    """A megabyte of label or a control character never breaks a message."""
    assert len(cut("x" * 1_000_000)) == TEXT_MAX
    assert cut("a\nb\x00c") == "a b c"


def test_neighbours_that_fail_too_are_named() -> None:
    """How wide it is includes the other workloads that a refusal speaks of."""
    story = bad_neighbours()
    story.completes()
    story.waits(5 * MINUTE)
    assert "also failing: shop/cart" in story.pages[0].brief.wide


def test_nothing_in_question_is_said_as_such() -> None:
    """With `paging: instead` a page about no rollout says so and names no undo."""
    story = instead()
    story.proves_v1()
    story.where["f1"] = a_location(onset=NOON - HOUR)
    story.fires()
    assert story.pages[0].brief.changed == "no rollout in question"
    assert story.pages[0].brief.wide == "not measured yet"
    assert story.pages[0].brief.done == "nothing yet: measuring"


def test_an_unnamed_alert_and_revision_are_told_by_their_hashes() -> None:
    """Without alertname and images the fingerprint and the template's hash name them."""
    bare = an_alert(labels=())
    assert bare.name == "f1"
    assert replace(V2, images=()).label == "22hash"
