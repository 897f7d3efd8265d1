"""Pipelines inform: a notice finds its rollout in either order, shows everywhere, and causes only where it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.events import Noticed
from daemon.core.evolution import evolve
from daemon.core.facts import NoticeAttached, NoticeTaken
from daemon.core.incidents import Phase
from daemon.core.model import RevisionId
from daemon.core.notice_evolution import NOTICES_KEPT_MAX, PAST_MAX, WAITING_MAX
from daemon.core.notices import NOTICES_PER_ROLLOUT_MAX, Notice, NoticeStatus, Origin, Vendor
from daemon.core.policy import ApproverRule
from daemon.core.reasons import Reason
from tests.core.builders import (
    CART,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    SHOP,
    STEP,
    V1,
    V2,
    V3,
    a_policy,
    a_revision,
    a_rollout_view,
    a_view,
    pods_of,
)
from tests.core.story import Story

GITHUB = Origin(vendor=Vendor.GITHUB, project="acme/shop", deployment="42")


def a_notice(name: str = "1", **changes: Any) -> Notice:
    """The CI says that it rolled out the shop's v2 at NOON."""
    values: dict[str, Any] = {
        "source": "ci",
        "id": name,
        "status": NoticeStatus.SUCCEEDED,
        "at": NOON,
        "workload": SHOP,
        "commit": "0123456789abcdef",
        "author": "ann",
        "environment": "production",
        "change_url": "https://git.example/c/1",
        "pipeline_url": "https://ci.example/p/1",
    }
    return Notice(**(values | changes))


def hears(story: Story, notice: Notice) -> None:
    story.plays(Noticed(at=story.now, notice=notice))


def attached(story: Story) -> list[str]:
    return [notice.id for notice in story.state.workloads[SHOP.key].notices]


def rolled_out(**changes: Any) -> Story:
    story = Story()
    story.proves_v1()
    story.rolls_out(**changes)
    return story


@pytest.mark.parametrize("first", ["notice", "rollout"])
def test_a_notice_finds_its_rollout_in_either_order(first: str) -> None:
    """Whether the pipeline or the cluster tells first, the notice stands at the rollout, and waits no longer."""
    story = Story()
    story.proves_v1()
    story.now = NOON
    if first == "notice":
        hears(story, a_notice())
        assert list(story.state.waiting) == ["ci/1"]
    story.rolls_out()
    if first == "rollout":
        hears(story, a_notice())
    assert attached(story) == ["1"]
    assert not story.state.waiting
    assert story.replayed() == story.state


def test_the_same_notice_twice_is_one() -> None:
    """A redelivery changes nothing, whenever it comes."""
    story = rolled_out()
    hears(story, a_notice())
    assert story.plays(Noticed(at=story.now, notice=a_notice(commit="other"))) == ()
    assert len(story.of(NoticeTaken)) == 1


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"at": NOON - 14 * MINUTE}, True),
        ({"at": NOON - 16 * MINUTE}, False),
        ({"workload": CART}, False),
        ({"digests": ("sha256:9",)}, False),  # another build of the same name
        ({"digests": ("sha256:2",), "at": NOON - 20 * HOUR}, True),
        ({"digests": ("sha256:2",), "at": NOON - 25 * HOUR}, False),
        ({"digests": ("sha256:2",), "workload": None}, True),
        ({"workload": None}, False),  # neither name nor artefact
        ({"workload": None, "digests": ("sha256:9",)}, False),
        ({"images": ("registry.example/checkout:v2",)}, True),
        ({"images": ("checkout:v2",)}, True),
        ({"images": ("registry.example/checkout:v9",)}, False),
        ({"images": ("registry.example/checkout@sha256:2",), "digests": ("sha256:2",)}, True),
    ],
)
def test_digest_then_name_and_time(changes: dict[str, Any], fits: bool) -> None:
    """An artefact's digest joins within a day; else the name and a quarter of an hour, unless the artefacts differ."""
    story = rolled_out()
    hears(story, a_notice(**changes))
    assert (attached(story) == ["1"]) is fits


def test_a_late_notice_counts_from_the_end_of_the_rollout() -> None:
    """A pipeline that waits for convergence tells after it."""
    story = rolled_out()
    story.now = NOON + 12 * MINUTE
    story.completes()
    hears(story, a_notice("late", at=NOON + 26 * MINUTE))
    hears(story, a_notice("too late", at=NOON + 28 * MINUTE))
    assert attached(story) == ["late"]


def test_digests_that_become_known_later_join_too() -> None:
    """The pods tell their digests only when they run; a notice by digest alone waits for that."""
    story = rolled_out(new=replace(V2, digests=()))
    hears(story, a_notice(workload=None, digests=("sha256:2",)))
    assert attached(story) == []
    story.sees(a_rollout_view(V2, V1))
    assert attached(story) == ["1"]
    assert list(story.state.waiting) == ["ci/1"], "another workload may run the same artefact"


def test_a_pinned_digest_joins_before_any_pod_runs() -> None:
    """A template that pins its image by digest says so itself."""
    story = rolled_out(new=replace(V2, digests=(), images=("registry.example/checkout@sha256:abc",)))
    hears(story, a_notice(workload=None, digests=("sha256:abc",)))
    assert attached(story) == ["1"]


def test_what_pipelines_said_shows_where_people_look() -> None:
    """Commit, author, environment and both links stand in the page and in the announcement."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    hears(story, a_notice())
    story.fires()
    story.waits(STEP)
    for told in (story.pages[-1].brief, story.announcements[-1].brief):
        assert "(commit 0123456789ab by ann to production)" in told.changed
        assert told.links == (("Change", "https://git.example/c/1"), ("Pipeline", "https://ci.example/p/1"))
    story.is_back()
    assert "commit 0123456789ab" in story.announcements[-1].brief.changed, (
        "also when the rollback is the latest rollout"
    )


def test_before_anything_is_blamed_the_latest_rollouts_notices_show() -> None:
    """An investigation that has not decided yet names the change all the same."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    hears(story, a_notice())
    story.measures = lambda action: None
    story.fires()
    story.waits(11 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.DECIDE_DEADLINE)
    assert "commit 0123456789ab" in story.pages[-1].brief.changed


def test_a_notice_that_comes_during_the_incident_joins_it() -> None:
    """What a slow pipeline tells of the blamed rollout stands in the next message."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.spikes()
    hears(story, a_notice())
    assert [notice.id for notice in story.incident.notices] == ["1"]


def test_an_irreversible_notice_stops_a_countdown() -> None:
    """A migration that the pipeline declares while the countdown runs forbids the rollback."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.spikes()
    story.expect(Phase.PROPOSED)
    hears(story, a_notice(irreversible=True))
    story.waits(6 * MINUTE)
    story.expect(Phase.ESCALATED, Reason.IRREVERSIBLE)
    assert story.rollbacks == []


def test_informing_causes_nothing() -> None:
    """A failure told by a sender that may only inform opens no incident."""
    story = rolled_out()
    hears(story, a_notice(status=NoticeStatus.FAILED))
    assert story.incidents == ()


@pytest.mark.parametrize("first", ["notice", "rollout"])
def test_a_failure_of_a_sender_that_may_cause_opens_an_incident(first: str) -> None:
    """Also when it arrives before its rollout; without contrast it asks a person, and never acts."""
    story = Story()
    story.proves_v1()
    story.now = NOON
    failed = a_notice(status=NoticeStatus.FAILED, may_cause=True, description="smoke test failed")
    story.measures = lambda action: None
    if first == "notice":
        hears(story, failed)
    story.rolls_out()
    if first == "rollout":
        hears(story, failed)
    (incident,) = story.incidents
    assert incident.declared is not None
    assert (incident.declared.actor, incident.declared.note) == ("source:ci", "smoke test failed")


@pytest.mark.parametrize(
    ("at", "heard"),
    [
        pytest.param(NOON - 10 * MINUTE, NOON - 10 * MINUTE, id="an earlier attempt, which changed nothing here"),
        pytest.param(NOON - 20 * HOUR, NOON - 20 * HOUR, id="the same artefact failed elsewhere yesterday"),
        pytest.param(NOON + MINUTE, NOON + 20 * HOUR, id="delivered again a day later"),
    ],
)
def test_an_old_failure_informs_and_causes_nothing(at: datetime, heard: datetime) -> None:
    """A failure before the rollout is not its own, and one long ago is no news, from a sender that may cause, too."""
    story = Story()
    story.proves_v1()
    story.now = heard
    failed = a_notice(status=NoticeStatus.FAILED, may_cause=True, at=at, digests=tuple(V2.digests))
    if heard < NOON:
        hears(story, failed)
    story.now = NOON
    story.rolls_out()
    if heard > NOON:
        story.now = heard
        hears(story, failed)
    assert attached(story) == ["1"]
    assert story.incidents == ()


def test_what_starts_after_a_rollout_waits_for_the_next() -> None:
    """Two rollouts within minutes: the second one's pipeline says "started" before it, and that is not said of the first."""
    story = rolled_out()
    story.now = NOON + 5 * MINUTE
    hears(story, a_notice("next", status=NoticeStatus.STARTED, at=story.now, commit="c3", origin=GITHUB))
    assert attached(story) == []
    story.now += MINUTE
    story.rolls_out(V3, V2)
    assert attached(story) == ["next"]


@pytest.mark.parametrize("told", [{"origin": GITHUB}, {"commit": "c3"}])
def test_a_deployment_that_fails_before_its_rollout(told: dict[str, Any]) -> None:
    """The rollout that ended minutes ago is not blamed for it, and the one that comes after all hears of both."""
    story = rolled_out()
    story.completes()
    story.now = NOON + 5 * MINUTE
    hears(story, a_notice("began", status=NoticeStatus.STARTED, at=story.now, **told))
    story.now += 4 * MINUTE
    hears(story, a_notice("failed", status=NoticeStatus.FAILED, may_cause=True, at=story.now, **told))
    assert attached(story) == []
    story.now += 5 * MINUTE
    story.rolls_out(V3, V2)
    assert attached(story) == ["began", "failed"]
    assert story.incidents == ()


def test_two_failures_of_one_rollout_are_one_incident() -> None:
    """A second sender's failure marks the incident that is open."""
    story = rolled_out()
    hears(story, a_notice("1", status=NoticeStatus.FAILED, may_cause=True))
    hears(story, a_notice("2", status=NoticeStatus.FAILED, may_cause=True))
    assert len(story.incidents) == 1


def test_a_failure_without_a_rollout_causes_nothing() -> None:
    """A deployment that never reached this cluster is not ours."""
    story = Story()
    hears(story, a_notice(status=NoticeStatus.FAILED, may_cause=True))
    hears(story, a_notice("2", status=NoticeStatus.FAILED, may_cause=True, workload=None, digests=("sha256:2",)))
    assert story.incidents == ()


def test_what_is_remembered_is_bounded() -> None:
    """Identities, waiting notices and notices per rollout have limits, and the oldest give way."""
    story = rolled_out()
    for number in range(NOTICES_PER_ROLLOUT_MAX + 2):
        hears(story, a_notice(f"own {number}"))
    assert attached(story) == [f"own {number}" for number in range(2, NOTICES_PER_ROLLOUT_MAX + 2)]
    for number in range(NOTICES_KEPT_MAX):
        hears(story, a_notice(f"other {number}", workload=CART))
    assert len(story.state.waiting) == WAITING_MAX
    assert len(story.state.notices) == NOTICES_KEPT_MAX
    assert "ci/own 0" not in story.state.notices


def test_a_flood_pushes_out_its_own() -> None:
    """What one source has said stays, at its rollout and while it waits, however much another says."""
    story = rolled_out()
    hears(story, a_notice("quiet", source="hub", origin=GITHUB))
    hears(story, a_notice("waits", source="hub", workload=CART))
    for number in range(NOTICES_PER_ROLLOUT_MAX + 2):
        hears(story, a_notice(f"loud {number}", source="mqtt"))
    for number in range(WAITING_MAX + 2):
        hears(story, a_notice(f"louder {number}", source="mqtt", workload=CART))
    assert attached(story)[0] == "quiet"
    assert len(attached(story)) == NOTICES_PER_ROLLOUT_MAX
    assert "hub/waits" in story.state.waiting
    assert len(story.state.waiting) == WAITING_MAX
    assert story.replayed() == story.state


def test_the_rollouts_before_are_remembered() -> None:
    """History keeps who rolled out what, with its notices; the oldest give way."""
    story = rolled_out()
    hears(story, a_notice())
    story.now += HOUR
    story.rolls_out(V3, V2)
    tracked = story.state.workloads[SHOP.key]
    assert tracked.notices == ()
    assert [(past.revision.id, [n.id for n in past.notices]) for past in tracked.past] == [(V1.id, []), (V2.id, ["1"])]
    for number in range(4, 4 + PAST_MAX):
        story.now += HOUR
        story.rolls_out(a_revision(number), a_revision(number - 1))
    assert len(story.state.workloads[SHOP.key].past) == PAST_MAX


def test_a_fact_about_a_rollout_that_is_gone_changes_nothing() -> None:
    """Replaying a notice of a workload or revision that is not there leaves the state as it is."""
    story = rolled_out()
    for workload, revision in ((CART.key, V2.id), (SHOP.key, RevisionId("other"))):
        fact = NoticeAttached(at=story.now, notice=a_notice(), workload=workload, revision=revision)
        assert evolve(story.state, fact) == story.state


def test_a_window_of_a_day() -> None:
    """The digest window is a day: a build is announced hours before it goes out."""
    story = rolled_out()
    hears(story, a_notice(at=NOON - DAY + timedelta(seconds=1), digests=("sha256:2",)))
    assert attached(story) == ["1"]


def test_others_are_left_alone() -> None:
    """A notice for another workload waits on; one for ours does not touch another's incident; nothing attaches twice."""
    story = Story(a_policy(countdown=5 * MINUTE))
    story.spikes()
    story.sees(a_view(V1, workload=CART))
    hears(story, a_notice("cart", workload=CART, at=NOON))
    hears(story, a_notice("both", workload=None, digests=("sha256:1", "sha256:2")))
    story.sees(a_rollout_view(V2, V1, desired=4, pods=(pods_of(V2, 4),)))
    assert [notice.id for notice in story.incident.notices] == ["both"]
    assert attached(story) == ["both"]
    assert {"ci/cart", "ci/both"} <= set(story.state.waiting)


def test_who_may_approve_from_the_chat() -> None:
    """Only whom a rule names, and only where it says; without rules nobody."""
    everywhere = ApproverRule(actors=("slack:U1",))
    somewhere = ApproverRule(actors=("slack:U2",), namespaces=("shop*",), names=("checkout",))
    policy = a_policy(approvers=(everywhere, somewhere))
    assert policy.may_approve("slack:U1", CART)
    assert policy.may_approve("slack:U2", SHOP)
    assert not policy.may_approve("slack:U2", CART)
    assert not policy.may_approve("slack:U2", replace(SHOP, namespace="bank"))
    assert not policy.may_approve("slack:U3", SHOP)
    assert not a_policy().may_approve("slack:U1", SHOP)
