"""Slack's side as documented, for the tests: posts, threads, updates, history with metadata, limits of Block Kit."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.handlers.telling import strings

CHANNEL = "C0ROLLOUTS"
TOKEN = "xoxb-test-token"
HEADER_MAX, BLOCKS_MAX, MESSAGE_MAX = 150, 50, 13_000
CONFIRM = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
_ELEMENTS = {"rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote"}


class Slack:
    """One channel. `fail` holds answers to give instead of an honest one, by method; `lose` drops that many answers
    of a method after it did its work.
    """

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail: dict[str, list[web.Response]] = {}
        self.lose: dict[str, int] = {}
        self.page = 100

    @property
    def parents(self) -> list[dict[str, Any]]:
        return [post for post in self.posts if "thread_ts" not in post]

    def replies(self, ts: str) -> list[dict[str, Any]]:
        return [post for post in self.posts if post.get("thread_ts") == ts]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method = request.path.removeprefix("/")
        fields = dict(await request.post()) if method.startswith("conversations.") else await request.json()
        self.calls.append((method, fields))
        if self.fail.get(method):
            return self.fail[method].pop(0)
        answer = self._answer(request, method, fields)
        if self.lose.get(method):
            self.lose[method] -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(answer)

    def _answer(self, request: web.Request, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error("invalid_auth")
        if fields.get("channel") != CHANNEL:
            return error("channel_not_found")
        if method in ("chat.postMessage", "chat.update") and (wrong := check(fields)):
            return error(wrong)
        match method:
            case "chat.postMessage":
                post = {**fields, "ts": f"{1772366400 + len(self.posts)}.000100"}
                self.posts.append(post)
                return {"ok": True, "channel": CHANNEL, "ts": post["ts"], "message": post}
            case "chat.update":
                return self._update(fields)
            case "conversations.replies":
                found = [post for post in self.posts if fields["ts"] in (post["ts"], post.get("thread_ts"))]
                return self._listed(fields, found) if found else error("thread_not_found")
            case "conversations.history":
                return self._listed(fields, self.parents[::-1])
        return error("unknown_method")

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        for post in self.posts:
            if post["ts"] == fields["ts"]:
                post.pop("blocks", None)
                post.update(fields)
                return {"ok": True, "channel": CHANNEL, "ts": post["ts"]}
        return error("message_not_found")

    def _listed(self, fields: dict[str, Any], posts: list[dict[str, Any]]) -> dict[str, Any]:
        posts = [post for post in posts if float(post["ts"]) >= float(fields["oldest"])]
        start = int(fields.get("cursor") or 0)
        end = start + min(self.page, int(fields["limit"]))
        shown = [{**post} for post in posts[start:end]]
        if fields.get("include_all_metadata") != "true":
            for post in shown:
                post.pop("metadata", None)
        cursor = str(end) if end < len(posts) else ""
        return {"ok": True, "messages": shown, "response_metadata": {"next_cursor": cursor}}


def error(code: str) -> dict[str, Any]:
    return {"ok": False, "error": code}


def says(code: str) -> web.Response:
    return web.json_response(error(code))


def check(fields: dict[str, Any]) -> str | None:
    """The word with which Slack refuses the message, None where it is fine."""
    if not fields.get("text"):
        return "no_text"
    blocks = fields.get("blocks", [])
    if len(blocks) > BLOCKS_MAX or any(not _legal(block) for block in blocks):
        return "invalid_blocks"
    if sum(len(text) for text in strings(blocks)) > MESSAGE_MAX:
        return "msg_blocks_too_long"
    metadata = fields.get("metadata", {"event_type": "x", "event_payload": {}})
    flat = all(isinstance(value, str) for value in metadata["event_payload"].values())
    if not flat or not metadata["event_type"].replace("_", "").isalnum() or len(json.dumps(metadata)) > 8000:
        return "invalid_metadata_format"
    return None


def _legal(block: dict[str, Any]) -> bool:
    if block["type"] == "header":
        text = block["text"]
        return text["type"] == "plain_text" and 0 < len(text["text"]) <= HEADER_MAX
    if block["type"] == "section":
        return block["text"]["type"] == "mrkdwn" and 0 < len(block["text"]["text"]) <= 3000
    if block["type"] == "actions":
        return 0 < len(block["elements"]) <= 25 and all(_legal_button(each) for each in block["elements"])
    return block["type"] == "rich_text" and bool(block["elements"]) and all(_legal_part(e) for e in block["elements"])


def _legal_button(button: dict[str, Any]) -> bool:
    confirm = button.get("confirm", {})
    texts = [(button["text"], 75), *((confirm[k], n) for k, n in CONFIRM.items() if confirm)]
    short = all(text["type"] == "plain_text" and 0 < len(text["text"]) <= most for text, most in texts)
    return short and 0 < len(button["value"]) <= 2000 and 0 < len(button["action_id"]) <= 255


def _legal_part(part: dict[str, Any]) -> bool:
    if part["type"] == "text":
        return bool(part["text"])
    if part["type"] == "link":
        return bool(part["text"]) and 0 < len(part["url"]) <= 3000
    if part["type"] == "rich_text_list" and any(e["type"] != "rich_text_section" for e in part["elements"]):
        return False
    return part["type"] in _ELEMENTS and bool(part["elements"]) and all(_legal_part(e) for e in part["elements"])
