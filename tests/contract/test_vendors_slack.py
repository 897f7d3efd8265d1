"""The Slack stand-in answers, limits and refuses as Slack's documentation says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from deploy.sandbox.services import serve_loopback
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


BUTTON = {
    "type": "button",
    "action_id": "go",
    "text": {"type": "plain_text", "text": "Go"},
    "value": "v",
}


def with_button(**changes: Any) -> list[dict[str, Any]]:
    """Blocks with one button, changed so."""
    return [{"type": "actions", "block_id": "b1", "elements": [{**BUTTON, **changes}]}]


@pytest.mark.parametrize(
    "changes",
    [
        {"text": {"type": "mrkdwn", "text": "Go"}},
        {"text": {"type": "plain_text", "text": "x" * 76}},
        {"value": "x" * 2001},
        {"action_id": "x" * 256},
        {"style": "warning"},
        {"confirm": "sure?"},
        {"confirm": {"title": {"type": "plain_text", "text": "x" * 101}}},
        {"confirm": {name: {"type": "plain_text", "text": "x" * 31} for name in ("title", "text", "confirm", "deny")}},
    ],
    ids=str,
)
async def test_limits_of_buttons(slack: SlackStandIn, changes: dict[str, Any]) -> None:
    """Block Kit's limits of buttons and their dialogs are checked."""
    answer = await post(slack, blocks=with_button(**changes))
    assert answer["error"] == "invalid_blocks"


async def test_a_press_is_signed_as_slack_signs(slack: SlackStandIn) -> None:
    """The SDK's own verifier takes the request; it holds the payload as documented, and the button's value."""
    posted = await post(slack, blocks=with_button())
    caught: list[tuple[bytes, dict[str, str]]] = []

    async def receive(request: web.Request) -> web.Response:
        caught.append((await request.read(), dict(request.headers)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/press", receive)
    async with serve_loopback(app) as url:
        slack.interactions.request_url = f"{url}/press"
        pressed = await slack.press("Go", user="U0ANNA")
    assert pressed.status == 200
    ((body, headers),) = caught
    assert SignatureVerifier(slack.interactions.signing_secret).is_valid_request(body, headers)
    payload = json.loads(parse_qs(body.decode())["payload"][0])
    assert (payload["type"], payload["user"]["id"], payload["message"]["ts"]) == (
        "block_actions",
        "U0ANNA",
        posted["ts"],
    )
    assert [(each["action_id"], each["value"]) for each in payload["actions"]] == [("go", "v")]
    assert payload["response_url"] == pressed.response_url


async def test_a_response_url_takes_five_answers(slack: SlackStandIn) -> None:
    """The sixth is refused, and so is one without a text; each answer is kept with whom it was for."""
    await post(slack, blocks=with_button())
    found = slack.button("Go")
    assert found is not None
    payload = slack.interactions.payload(found[1], {"ts": "1"}, channel=CHANNEL, user="U0ANNA")
    async with aiohttp.ClientSession() as session:
        answers = []
        for text in ("", "1", "2", "3", "4", "5", "6"):
            async with session.post(payload["response_url"], json={"text": text}) as reply:
                answers.append(reply.status)
    assert answers == [400, 200, 200, 200, 200, 200, 404]
    assert [(each.user, each.text) for each in slack.interactions.answers] == [("U0ANNA", str(n)) for n in range(1, 6)]


async def test_socket_mode_serves_the_sdk(slack: SlackStandIn) -> None:
    """Slack's own client connects with a ticket that is good once, hears the press and acknowledges it."""
    heard: list[dict[str, Any]] = []

    async def listener(client: Any, request: SocketModeRequest) -> None:
        heard.append(request.payload)
        await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    web_client = AsyncWebClient(base_url=f"{slack.url}/api/")
    client = SocketModeClient(slack.interactions.app_token, web_client=web_client)
    client.socket_mode_request_listeners.append(listener)
    await post(slack, blocks=with_button())
    try:
        await client.connect()  # type: ignore[no-untyped-call]
        async with asyncio.timeout(5):
            while not slack.interactions.connections:
                await asyncio.sleep(0.01)
        assert (await slack.press("Go")).status == 200
        async with (
            aiohttp.ClientSession() as session,
            session.get(str(client.wss_uri).replace("ws", "http", 1)) as again,
        ):
            assert again.status == 408, "a ticket is good for one connection"
    finally:
        await client.close()  # type: ignore[no-untyped-call]
    assert [payload["actions"][0]["value"] for payload in heard] == ["v"]


async def test_socket_mode_wants_the_app_s_token(slack: SlackStandIn) -> None:
    """A bot token opens no connection."""
    answer = await call(slack, "apps.connections.open")
    assert answer == {"ok": False, "error": "invalid_auth"}
