"""Answers to pressers: only to Slack, again where it may pass, never more often than Slack takes."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from handlers.slack_replies import ATTEMPTS, TEXT_MAX, SlackReplies
from tests.handlers.slack_room import ANNA, room
from tests.handlers.telling import serving

SLACK = "https://slack.com/api"


class Hooks:
    """Answers with these statuses in turn, then 200; keeps what was sent."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[dict[str, object]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://hooks.slack.com/actions/T1/2/3", True),
        ("https://hooks.slack.com:443/actions/T1/2/3", True),
        ("https://slack.com/api/x", True),
        ("http://hooks.slack.com/actions/T1", False),
        ("https://hooks.slack.com.evil.example/actions", False),
        ("https://hooks.slack.com@evil.example/actions", False),
        ("https://user:pass@hooks.slack.com/actions", False),
        ("https://evil.example/https://hooks.slack.com/", False),
        ("https://evil.example\\@hooks.slack.com/", False),
        ("https://hooks.slack.com\\.evil.example/", False),
        ("https://hooks.slack.com:8443/actions", False),
        ("https://hooks.slack.com:x/actions", False),
        ("https://hooks.slack.com/a b", False),
        ("https://hooks.slack.com/a\nHost: evil.example", False),
        ("https://hooks.slaćk.com/actions", False),
        ("https://[hooks.slack.com/", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("file:///etc/passwd", False),
        ("hooks.slack.com/actions", False),
        ("", False),
    ],
)
async def test_only_slack_is_called(url: str, trusted: bool) -> None:
    """An address that is not Slack's own is never called, however it is dressed."""
    async with aiohttp.ClientSession() as session:
        assert SlackReplies(session, SLACK).leads_to_slack(url) is trusted


async def test_a_configured_base_is_trusted_and_its_hooks() -> None:
    """Stand-ins and Slack for governments answer below their own address."""
    async with aiohttp.ClientSession() as session:
        local = SlackReplies(session, "http://127.0.0.1:8080/api")
        assert local.leads_to_slack("http://127.0.0.1:8080/actions/1")
        assert not local.leads_to_slack("http://127.0.0.1:8081/actions/1")
        assert not local.leads_to_slack("http://localhost:8080/actions/1")
        assert SlackReplies(session, "https://slack-gov.com/api").leads_to_slack(
            "https://hooks.slack-gov.com/actions/1"
        )


@pytest.mark.real
@pytest.mark.parametrize(
    ("statuses", "sent", "calls"),
    [((), True, 1), ((500,), True, 2), ((500,) * 9, False, ATTEMPTS), ((404,), False, 1), ((302,), False, 1)],
)
async def test_what_may_pass_is_tried_again(statuses: tuple[int, ...], sent: bool, calls: int) -> None:
    """A server's fault is tried thrice, a refusal and a redirect end it: nobody is left waiting, nothing is raised."""
    hooks = Hooks(*statuses)
    async with serving(hooks.handle) as url, aiohttp.ClientSession() as session:
        assert await SlackReplies(session, url).send(f"{url}/actions/1", "hello") is sent
    assert len(hooks.bodies) == calls
    assert hooks.bodies[0] == {"response_type": "ephemeral", "replace_original": False, "text": "hello"}


@pytest.mark.real
async def test_a_text_of_any_kind_can_be_sent() -> None:
    """Half characters and megabytes do not make an answer fail."""
    hooks = Hooks()
    async with serving(hooks.handle) as url, aiohttp.ClientSession() as session:
        assert await SlackReplies(session, url).send(f"{url}/1", "\ud83d" + "x" * 1_000_000)
    assert len(str(hooks.bodies[0]["text"])) <= TEXT_MAX


@pytest.mark.real
async def test_a_press_cannot_make_us_call_anybody() -> None:
    """A response_url that leads elsewhere is not called, and the press counts all the same."""
    trap = Hooks()
    async with serving(trap.handle) as elsewhere, room() as here:
        found = here.slack.button("Approve")
        assert found is not None
        message, action = found
        payload = here.slack.interactions.payload(action, message.shown(metadata=False), channel="C1", user=ANNA)
        payload["response_url"] = f"{elsewhere}/actions/1"
        assert not (await here.slack.interactions.deliver(payload)).failed
        assert len(here.taken) == 1
        del payload["response_url"]
        assert not (await here.slack.interactions.deliver({**payload, "trigger_id": "2", "response_url": ""})).failed
    assert trap.bodies == []
