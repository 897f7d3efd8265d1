"""Answers to pipelines as the dispatcher carries them out: an outage passes, and no answer stands twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from daemon.core.actions import OutcomeKind
from daemon.core.events import ActionFinished
from daemon.core.notices import OWN_WORDS, Vendor
from daemon.runtime.clock import SystemClock
from daemon.runtime.dispatch import Dispatcher, Faults
from daemon.runtime.supervise import Supervisor
from deploy.sandbox.vendors import GitHubStandIn, GitLabStandIn
from deploy.sandbox.vendors.faults import Faults as VendorFaults
from handlers.faults import Permanent, Transient
from handlers.outbound.pipelines import GitHubDeployments, GitLabDeployments, PipelineAnswers, PipelineClient
from tests.handlers.pipelines import SHA, owed

pytestmark = pytest.mark.real

DRAIN_SECONDS = 20.0
"""How long a test waits for the outcome; it takes one."""


class Desk:
    """Both stand-ins, and a dispatcher whose waits are half as long."""

    def __init__(self, session: aiohttp.ClientSession, github: GitHubStandIn, gitlab: GitLabStandIn) -> None:
        self.github, self.gitlab = github, gitlab
        self.finished: list[ActionFinished] = []
        self.attempts: list[tuple[str, str]] = []
        self._supervisor = Supervisor()
        self._clock = SystemClock()
        self._clients: dict[Vendor, PipelineClient] = {
            Vendor.GITHUB: GitHubDeployments(session, github.url, github.token),
            Vendor.GITLAB: GitLabDeployments(session, gitlab.api_url, gitlab.token),
        }

    async def carry_out(self, vendor: Vendor, *, uncertain: bool = False) -> None:
        """One life of the daemon, until the action is settled."""
        runner = PipelineAnswers({"ci": self._clients[vendor]})
        dispatcher = Dispatcher(
            {"answer_pipeline": runner}, self._clock, self._supervisor, Faults(transient=Transient, permanent=Permanent),
            finish=self.finished.append, attempted=lambda kind, result: self.attempts.append((kind, result)),
            draw=lambda: 0.0,
        )  # fmt: skip
        action = replace(owed(vendor), deadline=self._clock.now() + timedelta(minutes=1))
        dispatcher.start(action, uncertain=uncertain)
        assert await self._supervisor.drain(DRAIN_SECONDS) == 0
        await self._supervisor.stop()

    def told(self, vendor: Vendor) -> list[str]:
        """The descriptions of the failures at one vendor."""
        if vendor is Vendor.GITHUB:
            statuses = self.github.deployments[0].statuses
            return [each["description"] for each in statuses if each["state"] == "failure"]
        return [each["description"] for each in self.gitlab.statuses(SHA)]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with aiohttp.ClientSession() as session, GitHubStandIn() as github, GitLabStandIn() as gitlab:
        github.deploy("shop/checkout", 42)
        gitlab.deploy("shop/checkout", 42, SHA)
        yield Desk(session, github, gitlab)


def lose_the_answer(faults: VendorFaults) -> None:
    faults.lose_replies(method="POST")


def be_overloaded(faults: VendorFaults) -> None:
    faults.fail_next(status=429, retry_after=0)
    faults.fail_next(2, status=503)


@pytest.mark.parametrize("vendor", Vendor)
@pytest.mark.parametrize("trouble", [lose_the_answer, be_overloaded])
async def test_trouble_passes(desk: Desk, vendor: Vendor, trouble: Callable[[VendorFaults], None]) -> None:
    """A lost answer, a rate limit and server errors end in one answer that its own echo is known by."""
    trouble((desk.github if vendor is Vendor.GITHUB else desk.gitlab).faults)
    await desk.carry_out(vendor)
    (finished,) = desk.finished
    assert finished.outcome.kind is OutcomeKind.DONE
    (told,) = desk.told(vendor)
    assert told.startswith(OWN_WORDS)
    assert finished.outcome.attempts > 1


@pytest.mark.parametrize("vendor", Vendor)
async def test_a_restart_asks_first(desk: Desk, vendor: Vendor) -> None:
    """What was answered before a crash is found in the next life and not said again; what was not is said then."""
    for _ in range(3):
        await desk.carry_out(vendor, uncertain=True)
    assert [each.outcome.kind for each in desk.finished] == [OutcomeKind.DONE] * 3
    assert len(desk.told(vendor)) == 1


async def test_what_stays_wrong_fails_once(desk: Desk) -> None:
    """A token without the permission is not tried again and again; the outcome names the remedy."""
    desk.github.read_only = True
    await desk.carry_out(Vendor.GITHUB)
    (finished,) = desk.finished
    assert finished.outcome.kind is OutcomeKind.FAILED
    assert "Deployments: write" in finished.outcome.message
    assert [result for _, result in desk.attempts] == ["auth", "failed"]
