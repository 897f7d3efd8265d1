"""The Slack announcer: one thread per incident, nothing twice, each error word classified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from daemon.core.actions import Announced, OutcomeKind
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.slack import SlackAnnouncer
from tests.handlers.slack_world import CHANNEL, TOKEN, Slack, says
from tests.handlers.telling import ESCALATED, HOSTILE, RECOVERED, ROLLING_BACK, announce, serving

pytestmark = pytest.mark.real


@asynccontextmanager
async def announcing(slack: Slack, channel: str = CHANNEL) -> AsyncIterator[SlackAnnouncer]:
    async with serving(slack.handle) as url, aiohttp.ClientSession() as session:
        yield SlackAnnouncer(session, url, TOKEN, channel, message_seconds=0.0)


async def started(slack: Slack, announcer: SlackAnnouncer) -> str:
    await announcer.run(announce(1))
    return str(slack.parents[-1]["ts"])


async def test_an_incident_is_one_thread() -> None:
    """The first announcement is a parent; later ones bring it up to date and reply with what is new."""
    slack = Slack()
    async with announcing(slack) as announcer:
        first = await announcer.run(announce(1, ROLLING_BACK))
        assert first.kind is OutcomeKind.DONE
        assert isinstance(first.result, Announced)
        thread = first.result.thread
        second = await announcer.run(announce(2, RECOVERED, channel=CHANNEL, thread=thread))
    assert second.result == first.result
    (parent,) = slack.parents
    assert "rolled back and recovered" in parent["text"]
    assert parent["metadata"]["event_payload"]["action"].endswith("/announce/1")
    (reply,) = slack.replies(parent["ts"])
    assert reply["text"] == RECOVERED.update.replace("<", "&lt;")
    assert reply["metadata"]["event_payload"]["action"].endswith("/announce/2")


async def test_a_hostile_brief_is_posted_whole() -> None:
    """Megabytes, mark-up and broken characters neither fail nor fall back to plain text."""
    slack = Slack()
    async with announcing(slack) as announcer:
        await announcer.run(announce(1, HOSTILE))
        thread = slack.parents[0]["ts"]
        await announcer.run(announce(2, HOSTILE, channel=CHANNEL, thread=thread))
    assert [method for method, _ in slack.calls] == ["chat.postMessage", "chat.update", "chat.postMessage"]
    assert all(call["blocks"] for _, call in slack.calls)


async def test_a_parent_posted_before_a_crash_is_found() -> None:
    """After a crash between the post and the journal, a new process finds the parent among others and posts none."""
    slack = Slack()
    slack.page = 3
    async with announcing(slack) as announcer:
        before = await announcer.run(announce(1))
        for number in range(2, 12):
            await announcer.run(announce(number))
    async with announcing(slack) as announcer:
        found = await announcer.probe(announce(1))
        assert await announcer.probe(announce(99)) is None
    assert found is not None
    assert found.result == before.result


async def test_a_reply_posted_before_a_crash_is_found() -> None:
    """The same for a reply, and one that was not posted is told apart from one that was."""
    slack = Slack()
    async with announcing(slack) as announcer:
        thread = await started(slack, announcer)
        done = await announcer.run(announce(2, RECOVERED, channel=CHANNEL, thread=thread))
        found = await announcer.probe(announce(2, RECOVERED, channel=CHANNEL, thread=thread))
        assert found is not None
        assert found.result == done.result
        assert await announcer.probe(announce(3, RECOVERED, channel=CHANNEL, thread=thread)) is None


async def test_a_lost_answer_is_not_posted_twice() -> None:
    """When the connection breaks after Slack took the message, the next attempt finds it instead of repeating it."""
    slack = Slack()
    slack.lose["chat.postMessage"] = 1
    async with announcing(slack) as announcer:
        with pytest.raises(Transient):
            await announcer.run(announce(1))
        assert (await announcer.run(announce(1))).kind is OutcomeKind.DONE
    assert len(slack.posts) == 1


async def test_a_deleted_parent_is_posted_anew() -> None:
    """A thread that was deleted gets a successor, which a crash does not double either."""
    slack = Slack()
    async with announcing(slack) as announcer:
        gone = await started(slack, announcer)
        slack.posts.clear()
        slack.posts.append({"ts": "1772366399.000100", "text": "somebody else"})
        action = announce(2, ESCALATED, channel=CHANNEL, thread=gone)
        outcome = await announcer.run(action)
        assert isinstance(outcome.result, Announced)
        assert outcome.result.thread == slack.parents[-1]["ts"] != gone
        found = await announcer.probe(action)
    assert found is not None
    assert found.result == outcome.result


async def test_a_refused_layout_is_told_as_text() -> None:
    """Should Slack refuse our blocks, the same is said as plain text."""
    slack = Slack()
    slack.fail["chat.postMessage"] = [says("invalid_blocks")]
    async with announcing(slack) as announcer:
        await announcer.run(announce(1, ESCALATED))
    (post,) = slack.posts
    assert "blocks" not in post
    assert "needs 15 minutes" in post["text"]
    assert "kubectl -n shop rollout undo" in post["text"]


@pytest.mark.parametrize("channel", ["C0ELSEWHERE", "#rollouts"])
async def test_where_nobody_can_look_it_is_posted(channel: str) -> None:
    """A probe that can never look says "run it": a message told twice is better than one not told."""
    slack = Slack()
    async with announcing(slack, channel) as announcer:
        assert await announcer.probe(announce(1)) is None


async def test_a_probe_that_cannot_look_now_is_transient() -> None:
    """While Slack is down nothing is known, so nothing may be posted."""
    slack = Slack()
    slack.fail["conversations.history"] = [web.Response(status=503, headers={"Retry-After": "4"})]
    async with announcing(slack) as announcer:
        with pytest.raises(Transient) as caught:
            await announcer.probe(announce(1))
    assert caught.value.retry_after == 4.0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ratelimited", FaultKind.RATE_LIMITED),
        ("internal_error", FaultKind.SERVER),
        ("fatal_error", FaultKind.SERVER),
        ("service_unavailable", FaultKind.SERVER),
        ("request_timeout", FaultKind.TIMEOUT),
    ],
)
async def test_words_that_pass(code: str, kind: FaultKind) -> None:
    """What Slack itself calls passing is tried again."""
    slack = Slack()
    slack.fail["chat.postMessage"] = [says(code)]
    async with announcing(slack) as announcer:
        with pytest.raises(Transient) as caught:
            await announcer.run(announce(1))
    assert (caught.value.kind, caught.value.code) == (kind, code)


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        ("channel_not_found", FaultKind.NOT_FOUND, "invite the app"),
        ("not_in_channel", FaultKind.NOT_FOUND, "invite"),
        ("is_archived", FaultKind.GONE, "another"),
        ("invalid_auth", FaultKind.AUTH, "bot token"),
        ("missing_scope", FaultKind.AUTH, "chat:write"),
        ("brand_new_word", FaultKind.INVALID, "brand_new_word"),
        ("", FaultKind.INVALID, "no reason"),
    ],
)
async def test_words_that_stay(code: str, kind: FaultKind, remedy: str) -> None:
    """Everything else is permanent and says what a person must change; the token is never told."""
    slack = Slack()
    slack.fail["chat.postMessage"] = [says(code)]
    async with announcing(slack) as announcer:
        with pytest.raises(Permanent) as caught:
            await announcer.run(announce(1))
    assert caught.value.kind is kind
    assert remedy in caught.value.reason
    assert TOKEN not in repr(caught.value)


async def test_a_rate_limit_counts_for_the_channel() -> None:
    """After a 429 the wait is handed on, and nobody else writes to the channel before it is over."""
    slack = Slack()
    slack.fail["chat.postMessage"] = [web.Response(status=429, headers={"Retry-After": "30"})]
    async with announcing(slack) as announcer:
        for number in (1, 2):
            with pytest.raises(Transient) as caught:
                await announcer.run(announce(number))
            assert caught.value.retry_after == pytest.approx(30.0, abs=5.0)
    assert len(slack.calls) == 1


@pytest.mark.parametrize("body", ["<html>proxy</html>", "[]", "", "null"])
async def test_a_proxys_page_is_transient(body: str) -> None:
    """A 200 that is not Slack's is no success."""
    slack = Slack()
    slack.fail["chat.postMessage"] = [web.Response(text=body)]
    async with announcing(slack) as announcer:
        with pytest.raises(Transient):
            await announcer.run(announce(1))
