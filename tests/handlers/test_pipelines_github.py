"""A rollback turns the GitHub deployment to failure, once, and what goes wrong becomes the right kind of fault."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from daemon.core.actions import OutcomeKind
from daemon.core.notices import Vendor
from deploy.sandbox.vendors import GitHubStandIn
from handlers.faults import Fault, FaultKind, Permanent, Transient
from handlers.outbound.pipelines import GitHubDeployments, PipelineAnswers
from handlers.outbound.pipelines.description import description
from tests.handlers.pipelines import INCIDENT, SUMMARY, owed, silent
from tests.handlers.telling import HOSTILE_TEXT, serving

pytestmark = pytest.mark.real

ACTION = owed(Vendor.GITHUB)
TOKEN = "github_pat_sandbox"


@pytest.fixture
async def github() -> AsyncIterator[GitHubStandIn]:
    async with GitHubStandIn(token=TOKEN) as standin:
        standin.deploy("shop/checkout", 42)
        yield standin


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def answers(session: aiohttp.ClientSession, url: str, token: str = TOKEN, seconds: float = 7.0) -> PipelineAnswers:
    return PipelineAnswers({"ci": GitHubDeployments(session, url, token, seconds=seconds)})


async def fault_of(runner: PipelineAnswers) -> Fault:
    with pytest.raises((Transient, Permanent)) as caught:
        await runner.run(ACTION)
    assert TOKEN not in repr(caught.value)
    return caught.value


async def test_the_deployment_turns_to_failure(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """Its newest status is failure and names the incident; environment and log stay, nothing else is touched."""
    earlier, deployed = github.deployments[0], github.deploy("shop/checkout", 43)
    earlier.statuses.append({**earlier.statuses[0], "state": "success"})
    action = owed(Vendor.GITHUB, deployment="43")
    runner = answers(session, github.url + "/")
    assert await runner.probe(action) is None
    outcome = await runner.run(action)
    assert outcome.kind is OutcomeKind.DONE
    assert "GitHub deployment 43 of shop/checkout" in outcome.message
    assert deployed.state == "failure"
    assert deployed.statuses[-1]["description"] == f"Rolled back by Lastgood ({INCIDENT}): {SUMMARY}"
    assert deployed.statuses[-1]["environment"] == "production"
    assert earlier.state == "success", "what was rolled back to is not made inactive"


@pytest.mark.parametrize("summary", [HOSTILE_TEXT * 20, "x" * 1_000_000, "", "👩‍👩‍👧‍👦" * 100])
async def test_every_status_is_valid(github: GitHubStandIn, session: aiohttp.ClientSession, summary: str) -> None:
    """Whatever the summary holds, GitHub takes it, it begins with the incident, and it is found again."""
    action, runner = owed(Vendor.GITHUB, summary=summary), answers(session, github.url)
    await runner.run(action)
    description = github.deployments[0].statuses[-1]["description"]
    assert description.startswith(f"Rolled back by Lastgood ({INCIDENT}):")
    assert len(description) <= 140
    assert not set(description) & set("\n\r\x00\x1b\u2028\u202e\u2066")
    assert await runner.probe(action) is not None


def test_the_incident_is_named_once() -> None:
    """A summary that names it already is the line; where a long one would lose it, it is put first."""
    words = f"Rolled back by Lastgood (prod, {INCIDENT})"
    assert description(owed(Vendor.GITHUB, summary=words), 140) == words
    buried = owed(Vendor.GITHUB, summary=f"Rolled back by Lastgood: {'x' * 200} {INCIDENT}")
    assert description(buried, 140).startswith(f"Rolled back by Lastgood ({INCIDENT}): Rolled back")


async def test_a_lost_answer_is_not_doubled(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """A status whose answer got lost is found by the probe, behind a hundred later ones too."""
    runner = answers(session, github.url)
    github.faults.lose_replies()
    with pytest.raises(Transient):
        await runner.run(ACTION)
    deployment = github.deployments[0]
    deployment.statuses.extend([{**deployment.statuses[0], "state": "success"}] * 150)
    found = await runner.probe(ACTION)
    assert found is not None
    assert found.kind is OutcomeKind.DONE


async def test_anothers_failure_is_not_ours(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """A failure that the pipeline itself, or another incident, put there does not count as our answer."""
    statuses = github.deployments[0].statuses
    statuses.append({**statuses[0], "state": "failure", "description": "deploy job failed"})
    statuses.append(
        {**statuses[0], "state": "success", "description": f"Rolled back by Lastgood ({INCIDENT}): {SUMMARY}"}
    )
    assert await answers(session, github.url).probe(ACTION) is None


@pytest.mark.parametrize(
    ("status", "headers", "message", "wait"),
    [
        (429, {"Retry-After": "7"}, "slow down", 7.0),
        (429, {}, "slow down", 60.0),
        (403, {"Retry-After": "9"}, "abuse", 9.0),
        (403, {}, "You have exceeded a secondary rate limit", 60.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 50}, "API rate limit exceeded", 300.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "API rate limit exceeded", 0.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, "API rate limit exceeded", 60.0),
        (503, {"Retry-After": "5"}, "", 5.0),
        (502, {}, "", None),
    ],
)
async def test_what_passes_is_transient(
    github: GitHubStandIn,
    session: aiohttp.ClientSession,
    status: int,
    headers: dict[str, str],
    message: str,
    wait: float | None,
) -> None:
    """Both of GitHub's rate limits and server errors are tried again, after the wait that was asked for."""
    github.faults.fail_next(status=status, headers=headers, body={"message": message})
    fault = await fault_of(answers(session, github.url))
    assert isinstance(fault, Transient)
    assert fault.retry_after == wait
    assert github.deployments[0].state == "success"


async def test_the_reset_is_read_by_githubs_clock(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """A spent hourly limit is waited out until it is reset, counted from the answer's own date."""
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 120)}
    github.faults.fail_next(status=403, headers=headers)
    fault = await fault_of(answers(session, github.url))
    assert isinstance(fault, Transient)
    assert fault.retry_after == pytest.approx(120, abs=5)


async def test_what_a_person_must_change_is_named(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """Wrong token, lacking permission and unknown deployment are permanent and name the permission that is needed."""
    for token, read_only, number, kind in (
        ("wrong", False, 42, FaultKind.AUTH),
        (TOKEN, True, 42, FaultKind.AUTH),
        (TOKEN, False, 41, FaultKind.NOT_FOUND),
    ):
        github.read_only, github.deployments[0].number = read_only, number
        fault = await fault_of(answers(session, github.url, token))
        assert isinstance(fault, Permanent)
        assert fault.kind is kind
        assert "Deployments: write" in fault.reason


async def test_our_token_is_never_told(session: aiohttp.ClientSession, github: GitHubStandIn) -> None:
    """Not even where GitHub echoes it."""
    github.faults.fail_next(status=422, body={"message": f"what is {TOKEN}?", "errors": [{"value": TOKEN}]})
    fault = await fault_of(answers(session, github.url))
    assert "[token]" in fault.reason


@pytest.mark.parametrize(
    ("project", "deployment"),
    [
        ("shop", "42"),
        ("shop/checkout/../../user", "42"),
        ("shop/..", "42"),
        ("../checkout", "42"),
        ("shop/check out", "42"),
        ("shop/checkout?x=", "42"),
        ("shop/checkout#", "42"),
        ("shop%2f/checkout", "42"),
        ("shop/checkout", "../../keys"),
        ("shop/checkout", "٤٢"),
        ("shop/checkout", ""),
        ("shop/checkout\n", "42"),
    ],
)
async def test_a_senders_text_leads_nowhere_else(
    github: GitHubStandIn, session: aiohttp.ClientSession, project: str, deployment: str
) -> None:
    """What is no repository and number is refused before anything is sent."""
    runner = answers(session, github.url)
    for carried_out in (runner.run, runner.probe):
        with pytest.raises(Permanent):
            await carried_out(owed(Vendor.GITHUB, project=project, deployment=deployment))
    assert github.log == []


async def test_outages_are_transient(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """Nobody there, a cut connection, silence: each is tried again."""
    refused = await fault_of(answers(session, "http://127.0.0.1:9"))
    github.faults.down = True
    cut = await fault_of(answers(session, github.url))
    async with silent() as url:
        unanswered = await fault_of(answers(session, url, seconds=0.2))
    assert [type(fault) for fault in (refused, cut, unanswered)] == [Transient] * 3
    assert (refused.kind, unanswered.kind) == (FaultKind.NETWORK, FaultKind.TIMEOUT)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (201, b"<html>", Transient),
        (200, b"", Transient),
        (200, b"[" * 100_000, Transient),
        (200, b"[" + b" " * 3_000_000 + b"]", Transient),
        (302, b"", Permanent),
        (404, b"<html>", Permanent),
        (404, b'{"message": 7, "errors": {"a": [1]}}', Permanent),
    ],
)
async def test_strange_answers(session: aiohttp.ClientSession, status: int, body: bytes, kind: type[Fault]) -> None:
    """A proxy's page, an endless answer, a redirect: a fault of bounded length, and the token goes nowhere else."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": "http://127.0.0.1:9/"})

    async with serving(answer) as url:
        fault = await fault_of(answers(session, url))
        assert type(fault) is kind
        assert len(fault.reason) <= 300


@pytest.mark.parametrize("listed", ["{}", "[7, null, {}]", "[]"])
async def test_a_strange_list_holds_nothing_of_ours(session: aiohttp.ClientSession, listed: str) -> None:
    """Statuses in an unknown form are not ours."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=listed, content_type="application/json")

    async with serving(answer) as url:
        assert await answers(session, url).probe(ACTION) is None


async def test_a_source_that_cannot_answer_says_so(github: GitHubStandIn, session: aiohttp.ClientSession) -> None:
    """Without a token, or set up for another vendor, the action settles as refused and nothing is sent."""
    client = GitHubDeployments(session, github.url, TOKEN)
    for runner, action, word in (
        (PipelineAnswers({}), ACTION, "not configured"),
        (PipelineAnswers({"other": client}), ACTION, "not configured"),
        (PipelineAnswers({"ci": client}), owed(Vendor.GITLAB), "configured for github"),
    ):
        outcome = await runner.run(action)
        assert outcome.kind is OutcomeKind.REFUSED
        assert word in outcome.message
        assert await runner.probe(action) is None
    assert github.log == []
