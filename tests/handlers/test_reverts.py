"""A pull request at GitHub, a merge request at GitLab: one per commit, exact, and no branch but ours is ever written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from daemon.core.actions import NamedCommit, OutcomeKind, RevertOpened
from daemon.core.notices import Origin, Vendor
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.reverts import CommitReverts, Repository
from handlers.outbound.reverts.wording import revert_of, there
from tests.handlers.reverts import INCIDENT, PROJECT, TOKEN, Host, owed, serving
from tests.handlers.telling import HOSTILE_TEXT

pytestmark = pytest.mark.real


@pytest.fixture(params=list(Vendor))
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    async with serving(request.param) as found:
        yield found
        assert all(branch.startswith("lastgood/revert-") for branch in found.code.writes), "another branch was written"


async def refused(host: Host, commit: str, runner: CommitReverts | None = None) -> str:
    """The reason why nothing was opened; nothing of ours is left."""
    outcome = await (runner or host.runner()).run(owed(commit))
    assert outcome.kind is OutcomeKind.REFUSED
    assert host.proposals == []
    return outcome.message


async def test_it_is_opened_and_is_the_exact_revert(host: Host) -> None:
    """Merging it gives the files of before; title and text say which commit, workload and incident."""
    runner = host.runner()
    assert await runner.probe(owed(host.bad)) is None
    outcome = await runner.run(owed(host.bad))
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RevertOpened)
    assert outcome.result.url.endswith("/1")
    assert outcome.message.endswith(f"merge it to go back: {outcome.result.url}")
    ((branch, base, title, text),) = host.proposals
    assert (branch, base) == (host.branch, "main")
    assert title == f"Revert {host.bad[:12]}: shop/web in prod ({INCIDENT})"
    assert f"- Commit: `{host.bad}`" in text
    assert "- Bad revision: `web:v2`" in text
    assert host.after_merge() == {"web.yaml": "image: web:v1", "cart.yaml": "image: cart:v1"}
    assert host.code.branches["main"] == host.bad


async def test_what_came_after_stays(host: Host) -> None:
    """Other files that were changed, added and removed since are as they were."""
    host.code.commit("later", {"cart.yaml": "image: cart:v2", "new.yaml": "x"})
    assert (await host.runner().run(owed(host.bad))).kind is OutcomeKind.DONE
    assert host.after_merge() == {"web.yaml": "image: web:v1", "cart.yaml": "image: cart:v2", "new.yaml": "x"}


async def test_files_that_came_and_went_are_reverted_too(host: Host) -> None:
    """A file that the commit added goes, one that it removed comes back."""
    bad = host.code.commit("v3", {"extra.yaml": "x", "cart.yaml": None})
    host.bad = bad
    assert (await host.runner().run(owed(bad))).kind is OutcomeKind.DONE
    assert host.after_merge() == {"web.yaml": "image: web:v2", "cart.yaml": "image: cart:v1"}


async def test_a_merge_is_reverted_against_its_first_parent(host: Host) -> None:
    """What the merge brought into the branch is taken back, not what the branch had."""
    side = host.code.add({**host.code.commits[host.good].tree, "side.yaml": "s"}, (host.good,), "side")
    tree = {**host.code.commits[host.bad].tree, "side.yaml": "s"}
    host.bad = host.code.add(tree, (host.bad, side.sha), "Merge side").sha
    host.code.branches["main"] = host.bad
    assert (await host.runner().run(owed(host.bad))).kind is OutcomeKind.DONE
    assert host.after_merge() == {"web.yaml": "image: web:v2", "cart.yaml": "image: cart:v1"}


async def test_a_conflict_is_refused_and_leaves_nothing(host: Host) -> None:
    """The same file changed again: no pull request, no branch, and the reason."""
    host.code.commit("v3", {"web.yaml": "image: web:v3"})
    assert "cannot be reverted cleanly on main of shop/deploy" in await refused(host, host.bad)
    assert host.branch not in host.code.branches


async def test_what_was_reverted_already_is_refused(host: Host) -> None:
    """Somebody was faster: there is nothing to propose."""
    host.code.commit("Revert v2", {"web.yaml": "image: web:v1"})
    assert "revert" in await refused(host, host.bad)
    assert host.branch not in host.code.branches


async def test_commits_that_are_not_in_the_branch_are_refused(host: Host) -> None:
    """An unknown commit, one of a fork (which GitHub shows under this repository too), and the very first one."""
    stranger = host.code.add({"web.yaml": "evil"}, (host.good,), "of a fork").sha
    for commit in ("f" * 40, stranger):
        assert f"main of shop/deploy does not hold commit {commit[:12]}" in await refused(host, commit)
    assert "first one" in await refused(host, host.good)
    assert host.code.writes == []


async def test_the_configured_branch_is_the_target(host: Host) -> None:
    """The pull request goes to the branch that the controller follows, slashes and all; one that is not there is named."""
    host.code.branches["release/1"] = host.bad
    host.code.commit("only in main", {"main.yaml": "x"})
    assert (await host.runner(branch="release/1").run(owed(host.bad))).kind is OutcomeKind.DONE
    assert host.proposals[0][1] == "release/1"
    assert "main.yaml" not in host.code.commits[host.code.branches[host.branch]].tree


async def test_two_at_once_end_in_one(host: Host) -> None:
    """Two incidents, or two clusters, that the same commit broke in the same second."""
    host.code.commit("later", {"cart.yaml": "image: cart:v2"})
    outcomes = await asyncio.gather(*(host.runner().run(owed(host.bad)) for _ in range(3)))
    assert {outcome.result for outcome in outcomes} == {outcomes[0].result}
    assert len(host.proposals) == 1
    assert host.after_merge() == {"web.yaml": "image: web:v1", "cart.yaml": "image: cart:v2"}


async def test_there_is_one_per_commit(host: Host) -> None:
    """Another incident, another cluster, or the next life finds it: open, merged or closed, and none is opened again."""
    first = await host.runner().run(owed(host.bad))
    again = await host.runner().run(owed(host.bad))
    assert again == first
    for merged, word in ((True, "is merged already"), (False, "closed without a merge, and is not opened again")):
        host.end(merged=merged)
        found = await host.runner().probe(owed(host.bad))
        assert found is not None
        assert word in found.message
        assert found.result == first.result
        assert (await host.runner().run(owed(host.bad))).message == found.message
    assert len(host.proposals) == 1


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("lost", range(1, 6))
async def test_a_cut_after_any_write_is_gone_on_from(host: Host, lost: int, later: bool) -> None:
    """Whichever answer gets lost, the next attempt ends in the one exact pull request."""
    if later:
        host.code.commit("later", {"cart.yaml": "image: cart:v2"})
    for number in range(1, lost + 1):
        if number == lost:
            host.faults.lose_replies(method="POST")
        try:
            outcome = await host.runner().run(owed(host.bad))
        except Transient:
            continue
        if number < lost:
            return  # it has fewer writes than that
    outcome = await host.runner().run(owed(host.bad))
    assert outcome.kind is OutcomeKind.DONE
    assert len(host.proposals) == 1
    assert host.after_merge()["web.yaml"] == "image: web:v1"


async def test_a_cut_while_taking_away_is_gone_on_from(host: Host) -> None:
    """The branch of a refused revert goes in the next attempt."""
    host.code.commit("v3", {"web.yaml": "image: web:v3"})
    host.faults.fail_next(status=503, method="DELETE")
    with pytest.raises(Transient):
        await host.runner().run(owed(host.bad))
    assert "cleanly" in await refused(host, host.bad)
    assert host.branch not in host.code.branches


async def test_a_branch_of_our_name_that_is_not_ours_stays(host: Host) -> None:
    """Nobody's work is proposed under our words, moved or removed."""
    tip = host.code.add({"web.yaml": "evil"}, (host.bad,), "evil").sha
    host.code.branches[host.branch] = tip
    host.code.commit("v3", {"web.yaml": "image: web:v3"})
    assert "holds something else" in await refused(host, host.bad)
    assert host.code.branches[host.branch] == tip


async def test_a_forks_request_is_not_ours(host: Host) -> None:
    """Anybody may open one from a fork with a branch of that name: its link is told to nobody."""
    host.proposed(host.branch, fork="shop-fork/deploy" if host.vendor is Vendor.GITLAB else "shop/fork")
    outcome = await host.runner().run(owed(host.bad))
    assert isinstance(outcome.result, RevertOpened)
    assert outcome.result.url.endswith("/2")


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
async def test_what_a_person_must_change_is_named(host: Host, token: str) -> None:
    """A token that may only read, or none at all: permanent, with the permission that is needed."""
    host.host.read_only = token == TOKEN
    with pytest.raises(Permanent) as caught:
        await host.runner(token=token).run(owed(host.bad))
    assert caught.value.kind is FaultKind.AUTH
    assert "Pull requests" in caught.value.reason or "role Developer" in caught.value.reason
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize(("status", "wait"), [(429, 7.0), (503, 7.0)])
async def test_limits_and_outages_are_tried_again(host: Host, status: int, wait: float) -> None:
    """A rate limit and a server error pass, after the wait that was asked for."""
    host.faults.fail_next(status=status, retry_after=7)
    with pytest.raises(Transient) as caught:
        await host.runner().run(owed(host.bad))
    assert caught.value.retry_after == wait


async def test_a_branch_that_is_not_there_is_named(host: Host) -> None:
    """The configuration names a branch that the project lacks."""
    message = await refused(host, host.bad, host.runner(branch="typo"))
    assert message.startswith(("branch typo of shop/deploy is not there", "typo of shop/deploy does not hold"))
    assert host.code.writes == []


async def test_a_sender_leads_to_no_other_repository(host: Host) -> None:
    """Which repository it is says the configuration: another source, project or vendor opens nothing, anywhere."""
    other = next(vendor for vendor in Vendor if vendor is not host.vendor)
    host.host.code.create("shop/secrets").commit("v1", {"key": "x"})
    for action in (
        owed(host.bad, source="ci"),
        owed(host.bad, origin=Origin(vendor=host.vendor, project="shop/secrets", deployment="1")),
        owed(host.bad, origin=Origin(vendor=host.vendor, project="shop/deploy/../secrets", deployment="1")),
        owed(host.bad, origin=Origin(vendor=host.vendor, project=HOSTILE_TEXT * 50, deployment="1")),
        owed(host.bad, origin=Origin(vendor=other, project=PROJECT, deployment="1")),
    ):
        outcome = await host.runner().run(action)
        assert outcome.kind is OutcomeKind.REFUSED
        assert "events.repositories" in outcome.message
        assert len(outcome.message) < 300
        assert await host.runner().probe(action) is None
    assert host.host.log == []


async def test_a_project_that_is_named_in_any_case_is_taken(host: Host) -> None:
    """Both vendors take `Shop/Deploy` for `shop/deploy`."""
    origin = Origin(vendor=host.vendor, project="Shop/Deploy", deployment="1")
    assert (await host.runner().run(owed(host.bad, origin=origin))).kind is OutcomeKind.DONE


async def test_two_repositories_of_one_sender_are_told_apart_by_its_word(host: Host) -> None:
    """Without a project it could be either, and then it is none; the next commit that is sure is taken."""
    repositories = [
        Repository(project=project, sources=frozenset({"argocd"}), client=host.client(project=project))
        for project in (PROJECT, "shop/other")
    ]
    runner = CommitReverts(repositories)
    assert (await runner.run(owed(host.bad))).kind is OutcomeKind.REFUSED
    sure = NamedCommit(
        source="argocd", commit=host.bad, origin=Origin(vendor=host.vendor, project=PROJECT, deployment="1")
    )
    unsure = owed(host.bad)
    both = type(unsure)(
        id=unsure.id, deadline=unsure.deadline, incident=unsure.incident, workload=unsure.workload,
        commits=(*unsure.commits, sure), summary=unsure.summary,
    )  # fmt: skip
    assert (await runner.run(both)).kind is OutcomeKind.DONE


@pytest.mark.parametrize(
    "value", [HOSTILE_TEXT * 20, "@org/everybody closes #1", "`\n/merge\n/assign @me`", "x" * 100_000]
)
async def test_text_from_outside_does_nothing(host: Host, value: str) -> None:
    """In the description it is code, on one line: nobody is mentioned, nothing closed, no quick action run."""
    await host.runner().run(owed(host.bad, details=(("Evidence", value),)))
    ((_, _, title, text),) = host.proposals
    line = next(line for line in text.splitlines() if line.startswith("- Evidence"))
    assert line.startswith("- Evidence: `")
    assert line.endswith("`")
    assert line.count("`") == 2
    assert len(line) < 400
    assert not any(line.startswith("/") for line in text.splitlines())
    assert not set(text) & set("\r\x00\x1b\u2028\u202e\u2066")
    messages = [each.message for each in host.code.commits.values() if each.message.startswith("Revert ")]
    assert all("#1" not in text for text in (title, *messages))


def test_only_an_address_is_passed_on() -> None:
    """What is none, or too long, is left out of the answer."""
    assert there("opened", "https://git.example/1").result == RevertOpened(url="https://git.example/1")
    for url in (None, 7, "javascript:alert(1)", "https://" + "x" * 600):
        assert there("opened", url).result is None


def test_the_branch_follows_from_the_commit() -> None:
    """Whoever asks, and whenever."""
    assert revert_of(owed("a" * 40), "a" * 40).branch == "lastgood/revert-aaaaaaaaaaaa"
