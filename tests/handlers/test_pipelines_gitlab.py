"""A rollback turns the GitLab deployment to failed where GitLab lets us, and always names the incident on the commit."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from daemon.core.actions import OutcomeKind
from daemon.core.notices import Vendor
from deploy.sandbox.vendors import GitLabStandIn
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.outbound.pipelines import GitLabDeployments, PipelineAnswers
from tests.handlers.pipelines import INCIDENT, SHA, SUMMARY, owed, silent
from tests.handlers.telling import HOSTILE_TEXT

pytestmark = pytest.mark.real

ACTION = owed(Vendor.GITLAB)
TOKEN = "glpat-sandbox"


@pytest.fixture
async def gitlab() -> AsyncIterator[GitLabStandIn]:
    async with GitLabStandIn(token=TOKEN) as standin:
        standin.deploy("shop/checkout", 42, SHA, ref="release/1.5", by_job=False)
        yield standin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def answers(session: aiohttp.ClientSession, url: str, token: str = TOKEN, seconds: float = 7.0) -> PipelineAnswers:
    return PipelineAnswers({"ci": GitLabDeployments(session, url, token, seconds=seconds)})


async def fault_of(runner: PipelineAnswers) -> Fault:
    with pytest.raises((Transient, Permanent)) as caught:
        await runner.run(ACTION)
    assert TOKEN not in repr(caught.value)
    return caught.value


async def test_a_deployment_of_the_api_turns_to_failed(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """It is set to failed, and the commit's status names the incident on the branch that was deployed."""
    runner = answers(session, gitlab.api_url + "/")
    assert await runner.probe(ACTION) is None
    outcome = await runner.run(ACTION)
    assert outcome.kind is OutcomeKind.DONE
    assert outcome.message == (
        "GitLab deployment 42 of shop/checkout is set to failed; commit 9f1c2ab09f1c has the failed status lastgood"
    )
    assert gitlab.deployments[0].status == "failed"
    (status,) = gitlab.statuses(SHA)
    assert (status["name"], status["status"], status["ref"]) == ("lastgood", "failed", "release/1.5")
    assert status["description"] == f"Rolled back by Lastgood ({INCIDENT}): {SUMMARY}"


async def test_a_deployment_of_a_job_keeps_its_status(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """GitLab lets nobody change it: the commit status is the answer, and the outcome says which it was."""
    gitlab.deployments[0].by_job = True
    outcome = await answers(session, gitlab.api_url).run(ACTION)
    assert outcome.kind is OutcomeKind.DONE
    assert "was made by a job" in outcome.message
    assert "has the failed status lastgood" in outcome.message
    assert len(gitlab.statuses(SHA)) == 1
    assert ("PUT", "/api/v4/projects/shop/checkout/deployments/42", 403) not in gitlab.log


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"message": {"status": ['cannot transition via "drop"']}}),
        (403, {"message": "403 Forbidden - Deployments created using GitLab CI can not be updated using the API"}),
    ],
)
async def test_a_refused_transition_falls_back(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, status: int, body: dict[str, object]
) -> None:
    """Where GitLab refuses the new status, the commit status is left all the same."""
    gitlab.faults.fail_next(status=status, body=body, method="PUT")
    outcome = await answers(session, gitlab.api_url).run(ACTION)
    assert outcome.kind is OutcomeKind.DONE
    assert f"stays as it is, GitLab answered {status}" in outcome.message
    assert len(gitlab.statuses(SHA)) == 1


async def test_one_that_failed_already(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """A deployment that stands as failed is not set again; the incident is named."""
    gitlab.deployments[0].status = "failed"
    outcome = await answers(session, gitlab.api_url).run(ACTION)
    assert "stands as failed" in outcome.message
    assert [method for method, _, _ in gitlab.log] == ["GET", "POST"]


@pytest.mark.parametrize(("method", "count"), [("GET", 2), ("PUT", 1), ("PUT", 2), ("POST", 1)])
async def test_a_lost_answer_is_not_doubled(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, method: str, count: int
) -> None:
    """Whichever of the three answers gets lost, asking and trying again leaves one commit status.

    The HTTP client repeats a GET or PUT once by itself, and GitLab refuses the second PUT.
    """
    runner = answers(session, gitlab.api_url)
    gitlab.faults.lose_replies(count, method=method)
    with contextlib.suppress(Transient):
        outcome = await runner.run(ACTION)
        assert "is set to failed" in outcome.message
    outcome = await runner.probe(ACTION) or await runner.run(ACTION)
    assert outcome.kind is OutcomeKind.DONE
    assert gitlab.deployments[0].status == "failed"
    assert len(gitlab.statuses(SHA)) == 1
    assert await runner.probe(ACTION) is not None


async def test_another_incidents_status_is_not_ours(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """A commit that was rolled back before gets a second status, naming the second incident."""
    runner = answers(session, gitlab.api_url)
    await runner.run(ACTION)
    again = owed(Vendor.GITLAB, summary="another")
    assert await runner.probe(again) is None
    await runner.run(again)
    assert len(gitlab.statuses(SHA)) == 2
    assert await runner.probe(ACTION) is not None, "the older of the two is found too"


@pytest.mark.parametrize("summary", [HOSTILE_TEXT * 20, "x" * 1_000_000, "", "👩‍👩‍👧‍👦" * 100])
async def test_every_status_is_valid(gitlab: GitLabStandIn, session: aiohttp.ClientSession, summary: str) -> None:
    """Whatever the summary holds, GitLab takes it, it begins with the incident, and it is found again."""
    action, runner = owed(Vendor.GITLAB, summary=summary), answers(session, gitlab.api_url)
    await runner.run(action)
    (status,) = gitlab.statuses(SHA)
    assert status["description"].startswith(f"Rolled back by Lastgood ({INCIDENT}):")
    assert len(status["description"]) <= 255
    assert await runner.probe(action) is not None


@pytest.mark.parametrize(("commit", "known"), [(SHA, True), (None, False), ("main", False), ("../x", False)])
async def test_the_commit_may_be_unknown_to_gitlab(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, commit: str | None, known: bool
) -> None:
    """Where GitLab shows none the pipeline's is taken, if it is a full hash; without one the deployment alone fails."""
    gitlab.deployments[0].sha = ""
    runner, action = answers(session, gitlab.api_url), owed(Vendor.GITLAB, commit=commit)
    outcome = await runner.run(action)
    assert outcome.kind is OutcomeKind.DONE
    assert gitlab.deployments[0].status == "failed"
    assert (len(gitlab.statuses(SHA)) == 1) is known
    assert ("not named" in outcome.message) is not known
    assert (await runner.probe(action) is not None) is known


async def test_nothing_could_be_done(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """A job's deployment whose commit takes no status is a permanent fault that says both."""
    gitlab.deployments[0].by_job, gitlab.deployments[0].sha = True, "0" * 40
    fault = await fault_of(answers(session, gitlab.api_url))
    assert isinstance(fault, Permanent)
    assert "made by a job" in fault.reason
    assert "Commit Not Found" in fault.reason


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "7"}, 7.0),
        (429, {"RateLimit-Reset": "1"}, 0.0),
        (429, {}, 60.0),
        (409, {}, None),
        (503, {"Retry-After": "5"}, 5.0),
        (500, {}, None),
    ],
)
async def test_what_passes_is_transient(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, status: int, headers: dict[str, str], wait: float | None
) -> None:
    """Rate limits, conflicts and server errors are tried again, after the wait that was asked for."""
    gitlab.faults.fail_next(status=status, headers=headers, body={"message": {"error": "try again later"}})
    fault = await fault_of(answers(session, gitlab.api_url))
    assert isinstance(fault, Transient)
    assert fault.retry_after == wait


async def test_what_a_person_must_change_is_named(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """Wrong token, scope that only reads, unknown deployment: permanent, and the scope that is needed is named."""
    for token, read_only, number, kind in (
        ("wrong", False, 42, FaultKind.AUTH),
        (TOKEN, True, 42, FaultKind.AUTH),
        (TOKEN, False, 41, FaultKind.NOT_FOUND),
    ):
        gitlab.read_only, gitlab.deployments[0].number = read_only, number
        fault = await fault_of(answers(session, gitlab.api_url, token))
        assert isinstance(fault, Permanent)
        assert fault.kind is kind
        assert "the scope api" in fault.reason


@pytest.mark.parametrize(
    ("project", "deployment"),
    [
        ("", "42"),
        ("..", "42"),
        ("shop/../user", "42"),
        ("shop//checkout", "42"),
        ("/shop/checkout", "42"),
        ("shop%2Fcheckout", "42"),
        ("shop/checkout?x=", "42"),
        ("a/" * 600 + "a", "42"),
        ("shop/checkout", "42/merge_requests"),
        ("shop/checkout", ""),
    ],
)
async def test_a_senders_text_leads_nowhere_else(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, project: str, deployment: str
) -> None:
    """What is no project and number is refused before anything is sent."""
    runner = answers(session, gitlab.api_url)
    for carried_out in (runner.run, runner.probe):
        with pytest.raises(Permanent):
            await carried_out(owed(Vendor.GITLAB, project=project, deployment=deployment))
    assert gitlab.log == []


@pytest.mark.parametrize("project", ["shop/team.a/check-out_2/x", "1234"])
async def test_projects_go_by_path_or_number(
    gitlab: GitLabStandIn, session: aiohttp.ClientSession, project: str
) -> None:
    """Nested groups and plain numbers are projects."""
    gitlab.deploy(project, 7, SHA, by_job=False)
    await answers(session, gitlab.api_url).run(owed(Vendor.GITLAB, project=project, deployment="7"))
    assert gitlab.deployments[-1].status == "failed"


async def test_outages_are_transient(gitlab: GitLabStandIn, session: aiohttp.ClientSession) -> None:
    """Nobody there, a cut connection, silence: each is tried again."""
    refused = await fault_of(answers(session, "http://127.0.0.1:9"))
    gitlab.faults.down = True
    cut = await fault_of(answers(session, gitlab.api_url))
    async with silent() as url:
        unanswered = await fault_of(answers(session, url, seconds=0.2))
    assert [type(fault) for fault in (refused, cut, unanswered)] == [Transient] * 3
    assert (refused.kind, unanswered.kind) == (FaultKind.NETWORK, FaultKind.TIMEOUT)
