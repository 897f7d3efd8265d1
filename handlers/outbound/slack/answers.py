"""What Slack's answers mean: the Web API says HTTP 200 with `"ok": false`, an incoming webhook a word with a 4xx.

Only what Slack itself calls passing is Transient. Everything else names something that a person must change first, and
so does a word that is not in the table: repeating it would hold up the incident's later announcements until the
deadline.
"""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from handlers.faults import Fault, FaultKind, Permanent, Transient, from_status, retry_after_seconds

PEER = "Slack"

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""Most that is read of an answer: a page of 50 messages with blocks of ours has about 2 MB."""

CODE_CHARS_MAX = 80
"""Longest error word that is passed on; real ones stay below 50."""

_PASSING: dict[str, FaultKind] = {
    "ratelimited": FaultKind.RATE_LIMITED,
    "rate_limited": FaultKind.RATE_LIMITED,
    "message_limit_exceeded": FaultKind.RATE_LIMITED,  # the whole workspace posts too much
    "internal_error": FaultKind.SERVER,  # "some aspect may have succeeded": the announcer looks before it repeats
    "fatal_error": FaultKind.SERVER,
    "service_unavailable": FaultKind.SERVER,
    "request_timeout": FaultKind.TIMEOUT,
    "team_added_to_org": FaultKind.SERVER,  # the workspace is being moved
    "org_login_required": FaultKind.SERVER,  # likewise
    "external_channel_migrating": FaultKind.SERVER,
    "rollup_error": FaultKind.SERVER,  # incoming webhook, Slack's own failure
}

_LASTING: dict[str, tuple[FaultKind, str]] = {
    "not_authed": (FaultKind.AUTH, "no token was sent: set the bot token"),
    "invalid_auth": (FaultKind.AUTH, "the token is not valid: set a valid bot token (xoxb-…)"),
    "token_expired": (FaultKind.AUTH, "the token has expired: set a new one"),
    "token_revoked": (FaultKind.AUTH, "the token was revoked: install the app again and set the new token"),
    "account_inactive": (FaultKind.AUTH, "the bot's account is deactivated: install the app again"),
    "missing_scope": (FaultKind.AUTH, "the app lacks a scope: it needs chat:write and channels:history"),
    "not_allowed_token_type": (FaultKind.AUTH, "the wrong kind of token: use a bot token (xoxb-…)"),
    "no_permission": (FaultKind.AUTH, "the app may not post: grant chat:write"),
    "access_denied": (FaultKind.AUTH, "access was denied: ask the workspace's administrator"),
    "accesslimited": (FaultKind.AUTH, "this network is not on the workspace's allow-list"),
    "ekm_access_denied": (FaultKind.AUTH, "administrators have suspended posting"),
    "restricted_action": (FaultKind.AUTH, "the workspace's settings forbid posting there"),
    "channel_not_found": (FaultKind.NOT_FOUND, "no such channel, or it is private: set its ID and invite the app"),
    "not_in_channel": (FaultKind.NOT_FOUND, "the app is not in the channel: invite it, or grant chat:write.public"),
    "is_archived": (FaultKind.GONE, "the channel is archived: set another one"),
    "message_not_found": (FaultKind.NOT_FOUND, "the message was deleted"),
    "thread_not_found": (FaultKind.NOT_FOUND, "the thread was deleted"),
    "cant_update_message": (FaultKind.AUTH, "the message belongs to somebody else"),
    "edit_window_closed": (FaultKind.GONE, "the workspace's settings forbid editing it now"),
    # Words of the incoming webhook.
    "invalid_token": (FaultKind.AUTH, "the webhook address is not valid any more: create a new one"),
    "action_prohibited": (FaultKind.AUTH, "administrators have restricted the webhook"),
    "posting_to_general_channel_denied": (FaultKind.AUTH, "the webhook may not post to the general channel"),
    "channel_is_archived": (FaultKind.GONE, "the channel is archived: create a webhook for another one"),
    "no_service": (FaultKind.GONE, "the webhook was removed or disabled: create a new one"),
    "no_service_id": (FaultKind.GONE, "the webhook address is incomplete"),
    "no_team": (FaultKind.GONE, "the webhook's workspace does not exist"),
    "team_disabled": (FaultKind.GONE, "the workspace is disabled"),
}

LAYOUT_REFUSED = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "invalid_payload"}
)
"""Words for "the content is wrong": the same told as plain text may still pass."""


async def read_answer(response: aiohttp.ClientResponse) -> bytes:
    """The body, at most ANSWER_BYTES_MAX; a longer one is a Transient fault."""
    answer = bytearray()
    async for piece in response.content.iter_any():
        answer += piece
        if len(answer) > ANSWER_BYTES_MAX:
            raise Transient(None, f"{PEER} sent an answer of more than {ANSWER_BYTES_MAX} bytes", FaultKind.SERVER)
    return bytes(answer)


def api_result(response: aiohttp.ClientResponse, answer: bytes) -> dict[str, Any]:
    """The answer of a Web API method that said `"ok": true`. Raises the fault that any other answer stands for."""
    if response.status != 200:
        raise from_status(response.status, response.headers, peer=PEER) if response.status > 299 else _odd(response)
    try:
        result = json.loads(answer)
    except (ValueError, RecursionError):
        raise _odd(response) from None
    if not isinstance(result, dict):
        raise _odd(response)
    if result.get("ok") is not True:
        raise from_code(str(result.get("error", "")), response)
    return result


def from_code(code: str, response: aiohttp.ClientResponse) -> Fault:
    """The fault that an error word stands for; raise what it returns."""
    code = code.strip()[:CODE_CHARS_MAX]
    if (kind := _PASSING.get(code)) is not None:
        wait = retry_after_seconds(response.headers)
        return Transient(wait, f"{PEER} answered {code}", kind, status=response.status, code=code)
    kind, remedy = _LASTING.get(code, (FaultKind.INVALID, "not accepted"))
    return Permanent(f"{PEER} answered {code or 'no reason'}: {remedy}", kind, status=response.status, code=code)


def _odd(response: aiohttp.ClientResponse) -> Transient:
    reason = f"{PEER} answered {response.status} without a result in JSON: is a proxy in between?"
    return Transient(None, reason, FaultKind.SERVER, status=response.status)
