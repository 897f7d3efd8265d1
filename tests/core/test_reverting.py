"""Where a controller owns what is blamed, a pull request that reverts is owed: once, and only where a rollback would be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.actions import NamedCommit, Outcome, OutcomeKind, RevertCommit
from daemon.core.events import Noticed
from daemon.core.incidents import Phase
from daemon.core.model import Mode, Owner, OwnerKind
from daemon.core.notices import Notice, NoticeStatus
from daemon.core.policy import GitOps, GitOpsRule
from daemon.core.protection import veto
from daemon.core.reasons import Reason
from tests.core.builders import MINUTE, NOON, SECOND, SHOP, STEP, V2, V3, a_check, a_policy
from tests.core.story import Story
from tests.core.test_notices import GITHUB, a_notice

ARGO = Owner(kind=OwnerKind.ARGO_CD, name="shop")
BAD = "4f2a9c1d" * 5
OTHER = "0badc0de" * 5
BRANCH = "https://git.example/pull/4f2a9c1d4f2a"


def a_story(do: GitOps = GitOps.GIT_REVERT, **policy: Any) -> Story:
    return Story(a_policy(gitops=(GitOpsRule(do=do),), **policy))


def synced(name: str = "1", **changes: Any) -> Notice:
    """Argo CD tells of the commit that it applied, a few seconds after the rollout began."""
    values: dict[str, Any] = {
        "source": "argocd",
        "workload": None,
        "owner": ARGO,
        "commit": BAD,
        "at": NOON + 5 * SECOND,
        "change_url": None,
        "pipeline_url": None,
    }
    return a_notice(name, **(values | changes))


def goes_bad(story: Story, *notices: Notice) -> None:
    """The shop of an Argo CD Application rolls out v2, its senders tell, and the alert fires."""
    story.proves_v1(owner=ARGO)
    story.rolls_out(owner=ARGO)
    story.now = NOON + 10 * SECOND
    for notice in notices:
        story.plays(Noticed(at=story.now, notice=notice))
    story.fires()
    story.waits(2 * STEP)


def owed(story: Story) -> list[RevertCommit]:
    """The pull requests that were asked for, settled or not."""
    return [*(each for each in story.done if isinstance(each, RevertCommit)),
            *(each for each in story.state.owed.values() if isinstance(each, RevertCommit))]  # fmt: skip


def test_the_pull_request_is_opened_once_and_told() -> None:
    """It is escalated as before, the pull request is owed with it, and its link is on the page and in the chat."""
    story = a_story()
    goes_bad(story, synced())
    story.expect(Phase.ESCALATED, Reason.OWNED_BY_GITOPS)
    (action,) = owed(story)
    assert action.commits == (NamedCommit(source="argocd", commit=BAD),)
    assert action.workload == SHOP
    assert action.summary == f"shop/checkout in test ({story.incident.id})"
    details = dict(action.details)
    assert (details["Bad revision"], details["Last verified"]) == ("checkout:v2 (22hash)", "checkout:v1 (11hash)")
    first, last = story.pages[0].brief, story.pages[-1].brief
    assert f"A pull request that reverts commit {BAD[:12]} is being opened." in first.update
    assert first.links == ()
    assert last.links == (("Revert", BRANCH),)
    assert last.done.endswith(f"A pull request that reverts the commit: {BRANCH}")
    assert last.update == f"pull request: {BRANCH}"
    assert f"git revert --no-edit {BAD}" in last.commands
    assert story.announcements[-1].brief.links == last.links
    assert len(story.triggers) == 1
    assert story.rollbacks == []
    story.waits(30 * MINUTE)
    assert len(owed(story)) == 1
    assert story.incident.revert_url == BRANCH
    assert story.replayed() == story.state


def test_mode_approve_asks_nobody_before() -> None:
    """A pull request is a proposal itself: a person merges it."""
    story = a_story(default_mode=Mode.APPROVE)
    goes_bad(story, synced())
    assert len(owed(story)) == 1


@pytest.mark.parametrize(
    "policy",
    [
        {"do": GitOps.REFUSE},
        {"do": GitOps.FLUX_SUSPEND},
        {"default_mode": Mode.OBSERVE},
        {"own_workload": SHOP.short},
    ],
)
def test_what_the_policy_does_not_want(policy: dict[str, Any]) -> None:
    """Other rules, mode observe and our own workload: no pull request, and not a word of one."""
    story = a_story(**policy)
    goes_bad(story, synced())
    story.expect(Phase.ESCALATED)
    assert owed(story) == []
    assert not any("pull request" in told.brief.update for told in story.told)


def test_not_while_paused() -> None:
    """A pause holds for it as for a rollback: when it would be owed, and in the moment before it is sent."""
    story = a_story()
    story.withheld.add(RevertCommit)
    story.pauses(SHOP.namespace)
    goes_bad(story, synced())
    story.expect(Phase.ESCALATED, Reason.PAUSED)
    assert owed(story) == []
    late = a_story()
    late.withheld.add(RevertCommit)
    goes_bad(late, synced())
    (action,) = owed(late)
    assert veto(action, late.state, late.policy, late.now) is None
    late.pauses(SHOP.namespace)
    assert veto(action, late.state, late.policy, late.now) == "shop paused by ann"


def test_what_else_is_refused_is_said() -> None:
    """A rollout that is declared irreversible is not reverted either, and the page says so."""
    story = a_story()
    goes_bad(story, synced(irreversible=True))
    story.expect(Phase.ESCALATED, Reason.OWNED_BY_GITOPS)
    assert owed(story) == []
    assert "No pull request: The rollout is declared irreversible." in story.pages[0].brief.update


def test_what_is_only_about_our_patch_does_not_count() -> None:
    """Lastgood need not be allowed to patch what it does not patch."""
    story = a_story()
    story.checks = lambda action: a_check(action.target, may_patch=False)
    goes_bad(story, synced())
    assert len(owed(story)) == 1
    unchecked = a_story()
    unchecked.checks = lambda action: None
    goes_bad(unchecked, synced())
    assert Reason.TARGET_UNCHECKED in unchecked.refusals
    assert len(owed(unchecked)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"commit": None},
        {"commit": BAD[:12]},
        {"commit": "main"},
        {"commit": f"{BAD}\n"},
        {"commit": BAD.upper()},
        {"commit": f"--upload-pack=x{BAD}"},
        {"status": NoticeStatus.ROLLED_BACK},
    ],
)
def test_without_one_full_commit(changes: dict[str, Any]) -> None:
    """A short hash, a branch, what is no hash, and the commit that a sender itself went back to revert nothing."""
    story = a_story()
    goes_bad(story, synced(**changes))
    assert owed(story) == []
    assert "No pull request: no deployment event names the one full commit" in story.pages[0].brief.update


def test_several_commits_of_one_sender_are_none() -> None:
    """Two deployments of one project in one rollout: nobody knows which commit is bad."""
    story = a_story()
    several = [
        a_notice(str(i), source="ci", origin=GITHUB, commit=commit) for i, commit in enumerate((BAD, OTHER, BAD))
    ]
    goes_bad(story, *several)
    assert owed(story) == []


def test_the_controllers_word_comes_first() -> None:
    """The owner applied the commit that it names; then the newest of the others. The same commit twice is one."""
    elsewhere = replace(GITHUB, project="acme/config")
    story = a_story()
    goes_bad(
        story,
        synced(),
        a_notice("2", source="ci", origin=GITHUB, commit=OTHER),
        a_notice("3", source="ci", origin=elsewhere, commit=BAD),
        a_notice("4", source="ci", origin=elsewhere, commit=BAD),
    )
    (action,) = owed(story)
    assert action.commits == (
        NamedCommit(source="argocd", commit=BAD),
        NamedCommit(source="ci", commit=BAD, origin=elsewhere),
        NamedCommit(source="ci", commit=OTHER, origin=GITHUB),
    )


def test_the_commit_may_be_told_after_the_escalation() -> None:
    """A controller tells once it has applied everything: then the pull request follows, once."""
    story = a_story()
    goes_bad(story)
    story.expect(Phase.ESCALATED, Reason.OWNED_BY_GITOPS)
    assert owed(story) == []
    for name in ("1", "2"):
        story.plays(Noticed(at=story.now, notice=synced(name)))
    assert len(owed(story)) == 1
    assert story.pages[-1].brief.links == (("Revert", BRANCH),)


def test_what_is_no_longer_there_is_not_reverted() -> None:
    """The policy wants it now, but the workload has gone on: a notice of the next rollout does not bring the old commit up."""
    story = a_story(GitOps.REFUSE)
    goes_bad(story, synced())
    story.policy = a_story().policy
    story.rolls_out(V3, V2, owner=ARGO)
    story.plays(Noticed(at=story.now, notice=synced("2", commit=OTHER, at=story.now)))
    assert owed(story) == []


def test_a_late_notice_begins_nothing_while_paused() -> None:
    """Before the escalation or after it, a pause is a pause."""
    story = a_story()
    goes_bad(story)
    story.pauses()
    story.plays(Noticed(at=story.now, notice=synced()))
    assert owed(story) == []


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        (OutcomeKind.FAILED, "No pull request: GitHub answered 403"),
        (OutcomeKind.REFUSED, "No pull request: GitHub answered 403"),
        (OutcomeKind.UNKNOWN, "Whether a pull request was opened is not known: GitHub answered 403"),
    ],
)
def test_a_failure_is_told_with_the_command(kind: OutcomeKind, begins: str) -> None:
    """Whoever was paged hears that there is none, and how to do it by hand; it is not tried again by us."""
    story = a_story()
    story.reverts = lambda action: Outcome(kind=kind, message="GitHub answered 403")
    goes_bad(story, synced())
    assert story.pages[-1].brief.update == begins
    assert f"git revert --no-edit {BAD}" in story.pages[-1].brief.commands
    assert story.incident.revert_url is None
    story.waits(10 * MINUTE)
    assert len(owed(story)) == 1


def test_an_incident_that_is_forgotten_is_told_nothing() -> None:
    """An outcome may come after the incident has left the memory."""
    story = a_story()
    story.withheld.add(RevertCommit)
    goes_bad(story, synced())
    story.state = replace(story.state, incidents={})
    told = len(story.told)
    story.withheld.clear()
    story.answers()
    assert len(story.told) == told
    assert story.now - NOON < timedelta(minutes=5)
