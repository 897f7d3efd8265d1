"""The Slack stand-in answers, limits and refuses as Slack's documentation says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from deploy.sandbox.vendors import SlackStandIn

pytestmark = pytest.mark.looptime(False)
CHANNEL = "C0INCIDENT"


@pytest.fixture
async def slack() -> AsyncIterator[SlackStandIn]:
    async with SlackStandIn() as standin:
        yield standin


async def call(slack: SlackStandIn, method: str, token: str | None = None, **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {token or slack.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{slack.url}/api/{method}", json=body) as reply,
    ):
        assert reply.status == 200
        return await reply.json()


async def post(slack: SlackStandIn, text: str = "hello", **more: Any) -> Any:
    return await call(slack, "chat.postMessage", channel=CHANNEL, text=text, **more)


async def test_thread_and_update(slack: SlackStandIn) -> None:
    """Replies go under their parent, an update changes it in place and keeps its ts and metadata."""
    metadata = {"event_type": "lastgood_action", "event_payload": {"action": "a1"}}
    parent = await post(slack, metadata=metadata)
    assert (parent["ok"], parent["channel"]) == (True, CHANNEL)
    reply = await post(slack, "more", thread_ts=parent["ts"])
    assert reply["message"]["thread_ts"] == parent["ts"] != reply["ts"]
    updated = await call(slack, "chat.update", channel=CHANNEL, ts=parent["ts"], text="done")
    assert (updated["ok"], updated["ts"]) == (True, parent["ts"])
    assert [message.versions for message in slack.parents()] == [["hello", "done"]]
    assert slack.parents()[0].metadata == metadata
    assert [message.text for message in slack.replies(parent["ts"])] == ["more"]


async def test_history_and_replies(slack: SlackStandIn) -> None:
    """History is newest first, without replies, with metadata only when asked for; replies begin with the parent."""
    metadata = {"event_type": "x", "event_payload": {"id": 1}}
    first = await post(slack, "first", metadata=metadata)
    second = await post(slack, "second")
    await post(slack, "reply", thread_ts=first["ts"])
    history = await call(slack, "conversations.history", channel=CHANNEL)
    assert [each["text"] for each in history["messages"]] == ["second", "first"]
    assert "metadata" not in history["messages"][1]
    after = await call(slack, "conversations.history", channel=CHANNEL, oldest=first["ts"])
    assert [each["ts"] for each in after["messages"]] == [second["ts"]]
    page = await call(slack, "conversations.history", channel=CHANNEL, limit=1, include_all_metadata=True)
    assert page["has_more"]
    rest = await call(
        slack,
        "conversations.history",
        channel=CHANNEL,
        limit=1,
        include_all_metadata=True,
        cursor=page["response_metadata"]["next_cursor"],
    )
    assert (rest["messages"][0]["metadata"], rest["has_more"]) == (metadata, False)
    replies = await call(slack, "conversations.replies", channel=CHANNEL, ts=first["ts"])
    assert [each["text"] for each in replies["messages"]] == ["first", "reply"]


async def test_get_and_form_arguments(slack: SlackStandIn) -> None:
    """Arguments may come in the URL, or as a form with JSON in its fields."""
    headers = {"Authorization": f"Bearer {slack.token}"}
    blocks = json.dumps([{"type": "divider"}])
    async with aiohttp.ClientSession(headers=headers) as session:
        form = {"channel": "#incidents", "text": "x", "blocks": blocks}
        async with session.post(f"{slack.url}/api/chat.postMessage", data=form) as reply:
            assert (await reply.json())["ok"]
        params = {"channel": CHANNEL, "limit": "5"}
        async with session.get(f"{slack.url}/api/conversations.history", params=params) as reply:
            assert (await reply.json())["messages"][0]["blocks"] == [{"type": "divider"}]


async def test_errors_come_with_200(slack: SlackStandIn) -> None:
    """Refusals are HTTP 200 with ok false and Slack's code."""
    assert (await call(slack, "auth.test"))["user"]
    assert (await call(slack, "auth.test", token="wrong"))["error"] == "invalid_auth"
    async with aiohttp.ClientSession() as session, session.post(f"{slack.url}/api/auth.test") as reply:
        assert (reply.status, (await reply.json())["error"]) == (200, "not_authed")
    assert (await call(slack, "chat.delete"))["error"] == "unknown_method"
    assert (await call(slack, "chat.postMessage", channel="C404", text="x"))["error"] == "channel_not_found"
    assert (await post(slack, ""))["error"] == "no_text"
    assert (await post(slack, "x" * 40_001))["error"] == "msg_too_long"
    assert (await post(slack, thread_ts="1.1"))["error"] == "thread_not_found"
    assert (await post(slack, metadata={"event_type": "x"}))["error"] == "invalid_metadata_schema"
    assert (await call(slack, "chat.update", channel=CHANNEL, ts="1.1", text="x"))["error"] == "message_not_found"
    slack.archived.add(CHANNEL)
    assert (await post(slack))["error"] == "is_archived"
    assert slack.messages == []
    assert len(slack.calls) == 11


def text(kind: str, length: int) -> dict[str, str]:
    return {"type": kind, "text": "x" * length}


def button(**changes: Any) -> dict[str, Any]:
    return {"type": "button", "text": text("plain_text", 5), **changes}


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "divider"}] * 51,
        [{"type": "header", "text": text("plain_text", 151)}],
        [{"type": "header", "text": text("mrkdwn", 5)}],
        [{"type": "section", "text": text("mrkdwn", 3001)}],
        [{"type": "section", "text": text("mrkdwn", 0)}],
        [{"type": "section"}],
        [{"type": "section", "fields": [text("mrkdwn", 5)] * 11}],
        [{"type": "section", "fields": [text("mrkdwn", 2001)]}],
        [{"type": "context", "elements": [text("mrkdwn", 5)] * 11}],
        [{"type": "context", "elements": []}],
        [{"type": "actions", "elements": [button()] * 26}],
        [{"type": "actions", "elements": [button(text=text("plain_text", 76))]}],
        [{"type": "actions", "elements": [button(value="x" * 2001)]}],
        [{"type": "actions", "elements": [button(action_id="a"), button(action_id="a")]}],
        [{"type": "actions", "elements": [button(confirm={"title": text("plain_text", 101)})]}],
        [{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "a"}],
        [{"type": "divider", "block_id": "x" * 256}],
        [{"type": "markdown", "text": "x" * 12_001}],
        [{"type": "poem"}],
        ["text"],
    ],
)
async def test_bad_blocks_are_refused(slack: SlackStandIn, blocks: list[Any]) -> None:
    """Blocks beyond Block Kit's limits get invalid_blocks with a pointer to the fault, and nothing is posted."""
    answer = await post(slack, blocks=blocks)
    assert answer["error"] == "invalid_blocks"
    assert "json-pointer:/blocks" in answer["response_metadata"]["messages"][0]
    assert slack.messages == []


async def test_block_limits_are_inclusive(slack: SlackStandIn) -> None:
    """Blocks at the limits pass; many legal blocks are too long together."""
    section = {"type": "section", "text": text("mrkdwn", 3000)}
    header = {"type": "header", "text": text("plain_text", 150)}
    assert (await post(slack, blocks=[header, section, {"type": "actions", "elements": [button()] * 25}]))["ok"]
    assert (await post(slack, blocks=[section] * 5))["error"] == "msg_blocks_too_long"


async def test_rate_limit_per_channel() -> None:
    """After a short burst a channel takes one message per second; the 429 says how long to wait, others go on."""
    now = 0.0
    channels = {"C1": "one", "C2": "two"}
    async with SlackStandIn(rate_limit=True, channels=channels, clock=lambda: now) as slack:
        headers = {"Authorization": f"Bearer {slack.token}"}

        async def status(channel: str) -> tuple[int, str | None]:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{slack.url}/api/chat.postMessage", json={"channel": channel, "text": "x"}) as reply,
            ):
                return reply.status, reply.headers.get("Retry-After")

        assert [await status("C1") for _ in range(5)] == [(200, None)] * 4 + [(429, "1")]
        assert await status("C2") == (200, None)
        now = 1.0
        assert [await status("C1") for _ in range(2)] == [(200, None), (429, "1")]
        slack.rate_limit = False
        assert await status("C1") == (200, None)


async def test_incoming_webhook(slack: SlackStandIn) -> None:
    """The webhook answers in text, posts to its own channel, and its messages cannot be updated."""

    async def send(url: str, **kwargs: Any) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.post(url, **kwargs) as reply:
            return reply.status, await reply.text()

    assert await send(slack.webhook_url, json={"text": "hi"}) == (200, "ok")
    assert await send(slack.webhook_url, data={"payload": '{"text": "form"}'}) == (200, "ok")
    assert await send(slack.webhook_url, json={}) == (400, "no_text")
    assert await send(slack.webhook_url, data="text") == (400, "invalid_payload")
    assert await send(slack.webhook_url, json={"blocks": [{"type": "poem"}]}) == (400, "invalid_blocks")
    assert await send(slack.webhook_url + "x", json={"text": "hi"}) == (404, "no_service")
    assert [message.text for message in slack.messages] == ["hi", "form"]
    ts = slack.messages[0].ts
    assert (await call(slack, "chat.update", channel=CHANNEL, ts=ts, text="x"))["error"] == "cant_update_message"


async def test_lost_reply_is_a_posted_message(slack: SlackStandIn) -> None:
    """A reply that is lost leaves the message behind, findable by its metadata."""
    slack.faults.lose_replies()
    metadata = {"event_type": "lastgood_action", "event_payload": {"action": "a7"}}
    with pytest.raises(aiohttp.ClientError):
        await post(slack, metadata=metadata)
    history = await call(slack, "conversations.history", channel=CHANNEL, include_all_metadata=True)
    assert [each["metadata"] for each in history["messages"]] == [metadata]
