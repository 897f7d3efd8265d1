"""What Slack asks of a message: Block Kit limits, text, metadata. Errors are in Slack's own words.

Source: Slack documentation, "Reference: blocks", "Reference: block elements", "chat.postMessage", "Message metadata".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

BLOCKS_MAX = 50
TEXT_LENGTH_MAX = 40_000
SECTION_LENGTH_MAX = 3000
BLOCKS_LENGTH_MAX = 13_200
"""Characters in all blocks together: not documented, but more is answered with `msg_blocks_too_long`."""
MARKDOWN_LENGTH_MAX = 12_000
RICH_HOLDERS = ("rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote")
RICH_ELEMENTS_MAX = 1000
"""Not documented; a bound so that a mistake is seen."""
METADATA_BYTES_MAX = 16_384
"""Not published; a payload of some kilobytes is fine, and more is the wrong place for it."""


class SlackError(ValueError):
    """A message Slack refuses; the text is its error code, `details` what `response_metadata.messages` would hold."""

    def __init__(self, code: str, *details: str) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


def parsed(value: Any, code: str) -> Any:
    """Fields of a form hold JSON as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise SlackError(code) from error


def check_message(message: Mapping[str, Any]) -> None:
    """Raise SlackError unless text, blocks, attachments and metadata may be posted."""
    text, blocks = message.get("text") or "", parsed(message.get("blocks") or [], "invalid_blocks_format")
    attachments = parsed(message.get("attachments") or [], "invalid_attachments")
    if not isinstance(text, str):
        raise SlackError("invalid_arguments", "[ERROR] text must be a string")
    if not text and not blocks and not attachments:
        raise SlackError("no_text")
    if len(text) > TEXT_LENGTH_MAX:
        raise SlackError("msg_too_long")
    if not isinstance(attachments, list) or len(attachments) > 100:
        raise SlackError("too_many_attachments")
    check_blocks(blocks)
    if (metadata := message.get("metadata")) is not None:
        check_metadata(parsed(metadata, "invalid_metadata_format"))


def check_metadata(metadata: Any) -> None:
    """`{event_type, event_payload}`: a name and an object."""
    if not isinstance(metadata, dict) or set(metadata) - {"event_type", "event_payload", "entities"}:
        raise SlackError("invalid_metadata_schema")
    kind, payload = metadata.get("event_type"), metadata.get("event_payload")
    if (
        not isinstance(kind, str)
        or not re.fullmatch(r"[A-Za-z0-9_.:/ -]{1,255}", kind)
        or not isinstance(payload, dict)
    ):
        raise SlackError("invalid_metadata_schema")
    if len(json.dumps(metadata).encode()) > METADATA_BYTES_MAX:
        raise SlackError("metadata_too_large")


def check_blocks(blocks: Any) -> None:
    """Raise SlackError(`invalid_blocks`, …) with one detail per fault."""
    if not isinstance(blocks, list):
        raise SlackError("invalid_blocks_format")
    if len(blocks) > BLOCKS_MAX:
        raise SlackError("invalid_blocks", f"[ERROR] no more than {BLOCKS_MAX} items allowed [json-pointer:/blocks]")
    checker = _Checker()
    for number, block in enumerate(blocks):
        checker.block(block, f"/blocks/{number}")
    if checker.errors:
        raise SlackError("invalid_blocks", *checker.errors)
    if checker.length > BLOCKS_LENGTH_MAX:
        raise SlackError("msg_blocks_too_long")


class _Checker:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.length = 0
        self._block_ids: set[str] = set()
        self._action_ids: set[str] = set()
        self._markdown_length = 0

    def _fail(self, why: str, at: str) -> None:
        self.errors.append(f"[ERROR] {why} [json-pointer:{at}]")

    def block(self, block: Any, at: str) -> None:
        kinds = {
            "header": self._header,
            "section": self._section,
            "context": self._context,
            "actions": self._actions,
            "markdown": self._markdown,
            "image": self._image,
            "divider": lambda *_: None,
            "rich_text": self._rich_text,
        }
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in kinds:
            self._fail(f"unsupported type: {kind}", f"{at}/type")
            return
        if (block_id := block.get("block_id")) is not None:
            self._name(block_id, self._block_ids, f"{at}/block_id")
        kinds[kind](block, at)

    def _name(self, name: Any, taken: set[str], at: str) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            self._fail("must be a string of 1 to 255 characters", at)
        elif name in taken:
            self._fail("already exists in this message", at)
        else:
            taken.add(name)

    def _text(self, text: Any, limit: int, at: str, kinds: Sequence[str] = ("plain_text", "mrkdwn")) -> None:
        if not isinstance(text, dict) or text.get("type") not in kinds:
            self._fail(f"must be a text object of type {' or '.join(kinds)}", at)
            return
        self._length(text.get("text"), limit, f"{at}/text")
        if "emoji" in text and text["type"] != "plain_text":
            self._fail("emoji is only allowed for plain_text", at)

    def _length(self, text: Any, limit: int, at: str) -> None:
        if not isinstance(text, str) or not text:
            self._fail("must be more than 0 characters", at)
        elif len(text) > limit:
            self._fail(f"must be less than {limit + 1} characters", at)
        else:
            self.length += len(text)

    def _header(self, block: Mapping[str, Any], at: str) -> None:
        self._text(block.get("text"), 150, f"{at}/text", ("plain_text",))

    def _section(self, block: Mapping[str, Any], at: str) -> None:
        fields = block.get("fields")
        if "text" not in block and not fields:
            self._fail("missing required field: text or fields", at)
        if "text" in block:
            self._text(block["text"], SECTION_LENGTH_MAX, f"{at}/text")
        if fields is not None:
            for number, each in enumerate(self._items(fields, 10, f"{at}/fields")):
                self._text(each, 2000, f"{at}/fields/{number}")
        if "accessory" in block:
            self._element(block["accessory"], f"{at}/accessory")

    def _items(self, items: Any, limit: int, at: str) -> list[Any]:
        if not isinstance(items, list) or not items:
            self._fail("must be a list of at least one item", at)
            return []
        if len(items) > limit:
            self._fail(f"no more than {limit} items allowed", at)
        return items

    def _context(self, block: Mapping[str, Any], at: str) -> None:
        for number, each in enumerate(self._items(block.get("elements"), 10, f"{at}/elements")):
            if isinstance(each, dict) and each.get("type") == "image":
                self._image(each, f"{at}/elements/{number}")
            else:
                self._text(each, SECTION_LENGTH_MAX, f"{at}/elements/{number}")

    def _actions(self, block: Mapping[str, Any], at: str) -> None:
        for number, each in enumerate(self._items(block.get("elements"), 25, f"{at}/elements")):
            self._element(each, f"{at}/elements/{number}")

    def _element(self, element: Any, at: str) -> None:
        kind = element.get("type") if isinstance(element, dict) else None
        if kind == "image":
            self._image(element, at)
            return
        if kind != "button":
            self._fail(f"unsupported element in the sandbox: {kind}", f"{at}/type")
            return
        self._text(element.get("text"), 75, f"{at}/text", ("plain_text",))
        for name, limit in (("value", 2000), ("url", 3000)):
            if name in element:
                self._length(element[name], limit, f"{at}/{name}")
        if "action_id" in element:
            self._name(element["action_id"], self._action_ids, f"{at}/action_id")
        if element.get("style", "primary") not in ("primary", "danger"):
            self._fail("style must be primary or danger", f"{at}/style")
        if "confirm" in element:
            self._confirm(element["confirm"], f"{at}/confirm")

    def _confirm(self, confirm: Any, at: str) -> None:
        if not isinstance(confirm, dict) or set(confirm) - {"title", "text", "confirm", "deny", "style"}:
            self._fail("must be a confirmation dialog object", at)
            return
        for name, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
            self._text(confirm.get(name), limit, f"{at}/{name}", ("plain_text",))
        if confirm.get("style", "primary") not in ("primary", "danger"):
            self._fail("style must be primary or danger", f"{at}/style")

    def _rich_text(self, block: Mapping[str, Any], at: str) -> None:
        for number, each in enumerate(self._items(block.get("elements"), RICH_ELEMENTS_MAX, f"{at}/elements")):
            self._rich(each, f"{at}/elements/{number}")

    def _rich(self, element: Any, at: str) -> None:
        kind = element.get("type") if isinstance(element, dict) else None
        if kind in RICH_HOLDERS:
            self._rich_text(element, at)
        elif kind == "text":
            self._length(element.get("text"), TEXT_LENGTH_MAX, f"{at}/text")
        elif kind == "link":
            self._length(element.get("url"), 3000, f"{at}/url")
            if "text" in element:
                self._length(element["text"], TEXT_LENGTH_MAX, f"{at}/text")
        else:
            self._fail(f"unsupported rich text element in the sandbox: {kind}", f"{at}/type")

    def _markdown(self, block: Mapping[str, Any], at: str) -> None:
        self._length(block.get("text"), MARKDOWN_LENGTH_MAX, f"{at}/text")
        self._markdown_length += len(str(block.get("text")))
        if self._markdown_length > MARKDOWN_LENGTH_MAX:
            self._fail(f"all markdown blocks together: no more than {MARKDOWN_LENGTH_MAX} characters", at)

    def _image(self, block: Mapping[str, Any], at: str) -> None:
        self._length(block.get("image_url"), 3000, f"{at}/image_url")
        self._length(block.get("alt_text"), 2000, f"{at}/alt_text")
