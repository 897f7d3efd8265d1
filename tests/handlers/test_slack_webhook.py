"""The incoming webhook: each message whole, error words classified, the address kept secret."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web

from daemon.core.actions import Announced
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.slack import SlackWebhook
from tests.handlers.slack_world import check
from tests.handlers.telling import ESCALATED, HOSTILE, announce, serving

pytestmark = pytest.mark.real
SECRET = "/services/T000/B000/s3cr3t"


class Hook:
    """Answers in turn; a text is a 200."""

    def __init__(self, *answers: tuple[int, str, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        assert check(self.bodies[-1]) is None
        status, text, headers = self.answers.pop(0) if self.answers else (200, "ok", {})
        return web.Response(status=status, text=text, headers=headers)


async def test_each_message_tells_everything() -> None:
    """Without a thread, a later message carries the whole state, and the outcome knows no place."""
    hook = Hook()
    async with serving(hook.handle) as url, aiohttp.ClientSession() as session:
        webhook = SlackWebhook(session, url + SECRET)
        for brief in (ESCALATED, HOSTILE):
            outcome = await webhook.run(announce(2, brief))
            assert outcome.result == Announced(channel=None, thread=None)
        assert await webhook.probe(announce(2)) is None
    assert ESCALATED.changed.split()[0] in hook.bodies[0]["text"]
    assert all("blocks" in body and "metadata" not in body for body in hook.bodies)


async def test_a_refused_layout_is_told_as_text() -> None:
    """Should Slack refuse our blocks, the same is said as plain text."""
    hook = Hook((400, "invalid_blocks", {}))
    async with serving(hook.handle) as url, aiohttp.ClientSession() as session:
        await SlackWebhook(session, url + SECRET).run(announce(1, ESCALATED))
    assert ["blocks" in body for body in hook.bodies] == [True, False]


@pytest.mark.parametrize(
    ("answer", "fault", "kind"),
    [
        ((410, "channel_is_archived", {}), Permanent, FaultKind.GONE),
        ((404, "no_service", {}), Permanent, FaultKind.GONE),
        ((403, "invalid_token", {}), Permanent, FaultKind.AUTH),
        ((403, "action_prohibited", {}), Permanent, FaultKind.AUTH),
        ((404, "channel_not_found", {}), Permanent, FaultKind.NOT_FOUND),
        ((404, "<html>a proxy's page</html>", {}), Permanent, FaultKind.NOT_FOUND),
        ((200, "<html>a captive portal</html>", {}), Permanent, FaultKind.INVALID),
        ((204, "", {}), Permanent, FaultKind.SERVER),
        ((500, "rollup_error", {}), Transient, FaultKind.SERVER),
        ((503, "", {}), Transient, FaultKind.SERVER),
        ((429, "", {"Retry-After": "3"}), Transient, FaultKind.RATE_LIMITED),
    ],
)
async def test_answers(answer: tuple[int, str, dict[str, str]], fault: type[Exception], kind: FaultKind) -> None:
    """Each documented answer becomes the right fault, and none tells the webhook's address."""
    hook = Hook(answer)
    async with serving(hook.handle) as url, aiohttp.ClientSession() as session:
        with pytest.raises((Permanent, Transient)) as caught:
            await SlackWebhook(session, url + SECRET).run(announce(1))
    assert isinstance(caught.value, fault)
    assert caught.value.kind is kind
    assert "s3cr3t" not in repr(caught.value)
    assert len(hook.bodies) == 1
