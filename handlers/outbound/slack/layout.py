"""A Brief as a Slack message.

Every word that comes from outside stands in a `rich_text` element: Slack takes those literally, so there is no mark-up
to escape, no way to mention a channel and no backtick that ends a code block. (In `mrkdwn` a command with three
backticks cannot be shown exactly.) Only the header and the fallback `text` know mark-up; there `&`, `<` and `>` are
escaped, without which no mention, link or date can be written. The countdown is the one line of `mrkdwn`: it holds
nothing but our own words and a date token, which Slack shows in the reader's own time zone.

While a person can decide, the parent has buttons (where presses can reach us); once it is decided they are gone with the
next update. What a button carries is in `handlers.slack_offers`.

Limits: protocols.md §5.2. A message of 13.2k characters was refused although each block was legal, hence MESSAGE_MAX.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from daemon.core.brief import Brief
from handlers.plain import ELLIPSIS, cut, exact, one_line, utf16_units
from handlers.slack_offers import Button, value_of

Block = dict[str, Any]

MESSAGE_MAX = 12_000
"""Most characters in all blocks of a message: below what Slack was seen to refuse. The parts below add up to less."""

HEADER_MAX = 150
"""Vendor's limit of a header, in characters."""

TEXT_MAX = 3_000
"""Fallback text, in characters. Slack cuts at 40,000; it is read in a notification, or where blocks were refused."""

ANSWER_MAX = 600
"""One answer (changed, wide, done, latest), in characters: a quarter of a screen, and more than the core writes."""

LINE_MAX = 270
"""One refusal or piece of evidence, in characters: each is a sentence."""

REFUSALS_MAX = 8
"""Most refusals: there are twenty kinds, and the page holds all of them."""

EVIDENCE_MAX = 6
"""Most pieces of evidence; `lastgood explain` shows all."""

COMMANDS_MAX = 4
"""Most commands."""

COMMAND_MAX = 400
"""One command, in characters. A longer one is not shown at all: half a command must not be run."""

LINKS_MAX = 3
"""Most links: the change, its pipeline, and one more."""

LINK_MAX = 400
"""One address, in characters. A longer one is left out: half an address leads elsewhere."""

LINK_TEXT_MAX = 60
"""What is shown of a link, in characters."""

CONFIRM_TITLE_MAX = 100
CONFIRM_TEXT_MAX = 300
"""Vendor's limits of the dialog before a press counts, in characters."""

NAME_MAX = 100
"""A name in the footer, in characters."""


def message(brief: Brief, *, buttons: bool = False) -> tuple[str, list[Block]]:
    """Fallback text and blocks that tell everything about the incident as it stands now.

    `buttons`: presses can reach us, so what a person can decide gets buttons.
    """
    blocks = [_header(brief), {"type": "rich_text", "elements": list(_answers(brief))}]
    if brief.countdown_until is not None:
        blocks.append(_countdown(brief.countdown_until))
    if buttons and brief.asks and (elements := list(_buttons(brief))):
        blocks.append({"type": "actions", "block_id": "lastgood_decision", "elements": elements})
    commands = list(_do_now(brief))
    if commands:
        blocks.append({"type": "rich_text", "elements": commands})
    blocks.append({"type": "rich_text", "elements": [_section(_text(_footer(brief), italic=True))]})
    return fallback(brief), blocks


def reply(brief: Brief, *, buttons: bool = False) -> tuple[str, list[Block]]:
    """Fallback text and blocks that tell only what is new, and where to decide.

    A reply has no buttons of its own: it is never brought up to date, and they would stay when it is decided.
    """
    news = one_line(brief.update or brief.headline, ANSWER_MAX, utf16_units) or "No news."
    if buttons and brief.asks:
        news += " Decide with the buttons of the message above."
    return _escaped(news, TEXT_MAX), [{"type": "rich_text", "elements": [_section(_text(news))]}]


def fallback(brief: Brief) -> str:
    """The message as text for notifications and for clients without blocks, in the same order."""
    answers = [one_line(brief.headline, ANSWER_MAX) or "Incident"]
    answers += [f"{label}: {text}" for label, text in _labelled(brief)]
    if brief.countdown_until is not None:
        answers.append(f"Runs by itself at {_moment(brief.countdown_until)} unless somebody declines")
    answers += [f"Refused: {line}" for line in _lines(brief.refusals, REFUSALS_MAX)]
    answers += [f"{text}: {url}" for text, url in _links(brief)]
    answers += [f"Do now: {command}" for command in _commands(brief)]
    return _escaped("\n".join(answers), TEXT_MAX)


def _header(brief: Brief) -> Block:
    headline = one_line(brief.headline, HEADER_MAX, utf16_units) or "Incident"
    return {"type": "header", "text": {**_plain(headline, HEADER_MAX), "emoji": False}}


def _answers(brief: Brief) -> Iterator[Block]:
    for label, text in _labelled(brief):
        yield _section(_text(f"{label}: ", bold=True), _text(text))
    for label, lines, most in (
        ("Refused because", brief.refusals, REFUSALS_MAX),
        ("Evidence", brief.evidence, EVIDENCE_MAX),
    ):
        if lines:
            yield _section(_text(label, bold=True))
            yield _list(_lines(lines, most))
    if links := list(_links(brief)):
        yield _section(_text("Links: ", bold=True), *_linked(links))


def _labelled(brief: Brief) -> Iterator[tuple[str, str]]:
    """The answers that are one text each, those that are known."""
    since = _moment(brief.since) if brief.since is not None else "unknown"
    for label, text in (
        ("Changed", brief.changed),
        ("Since", since),
        ("How wide", brief.wide),
        ("Done", brief.done),
        ("Latest", brief.update),
    ):
        if line := one_line(text, ANSWER_MAX, utf16_units):
            yield label, line


def _do_now(brief: Brief) -> Iterator[Block]:
    """Each command in a block of its own, so that a click selects it."""
    if brief.commands:
        yield _section(_text("Do now", bold=True))
    for command in _commands(brief):
        yield {"type": "rich_text_preformatted", "elements": [_text(command)]}


def _countdown(until: datetime) -> Block:
    """The moment in the reader's own time; clients that cannot show it so show it in UTC."""
    token = f"<!date^{int(until.timestamp())}^{{time_secs}}|{_moment(until)}>"
    return {
        "type": "section",
        "text": {"type": "mrkdwn", "text": f"*Runs by itself at {token}* unless somebody declines"},
    }


def _buttons(brief: Brief) -> Iterator[Block]:
    for button, text, style in (
        (Button.APPROVE, "Approve", "primary"),
        (Button.DECLINE, "Decline", "danger"),
        (Button.PAUSE, "Pause this workload", None),
    ):
        value = value_of(brief, button)
        if value is None:
            return
        element: Block = {
            "type": "button",
            "action_id": button.value,
            "text": {"type": "plain_text", "text": text, "emoji": False},
            "value": value,
        }
        if style is not None:
            element["style"] = style
        if button is Button.APPROVE:
            element["confirm"] = _confirm(brief)
        yield element


def _confirm(brief: Brief) -> Block:
    """The dialog before an approval: in a pocket nothing is rolled back, and the target is read once more."""
    place = one_line(brief.workload, NAME_MAX, utf16_units)
    what = one_line(brief.done, CONFIRM_TEXT_MAX, utf16_units) or "This cannot be taken back by a press."
    return {
        "title": _plain(f"Roll back {place}?", CONFIRM_TITLE_MAX),
        "text": _plain(what, CONFIRM_TEXT_MAX),
        "confirm": _plain("Roll back", 30),
        "deny": _plain("Not now", 30),
        "style": "danger",
    }


def _links(brief: Brief) -> Iterator[tuple[str, str]]:
    """Text and address of each link that can be shown whole."""
    for text, url in brief.links[:LINKS_MAX]:
        address = exact(url, LINK_MAX, utf16_units) or ""
        if address.startswith(("https://", "http://")) and not any(character.isspace() for character in address):
            yield one_line(text, LINK_TEXT_MAX, utf16_units) or "link", address


def _linked(links: list[tuple[str, str]]) -> Iterator[Block]:
    for number, (text, url) in enumerate(links):
        if number:
            yield _text(" · ")
        yield {"type": "link", "url": url, "text": text}


def _commands(brief: Brief) -> Iterator[str]:
    instead = f"# not shown, too long or not printable: see the page of incident {one_line(brief.incident, NAME_MAX)}"
    for command in brief.commands[:COMMANDS_MAX]:
        yield exact(command, COMMAND_MAX, utf16_units) or instead


def _lines(lines: tuple[str, ...], most: int) -> Iterator[str]:
    for line in lines[:most]:
        yield one_line(line, LINE_MAX, utf16_units) or ELLIPSIS
    if len(lines) > most:
        yield f"and {len(lines) - most} more"


def _footer(brief: Brief) -> str:
    parts = (f"incident {brief.incident}" if brief.incident else "", brief.phase, brief.workload)
    return " · ".join(one_line(part, NAME_MAX, utf16_units) for part in parts if part)


def _list(lines: Iterable[str]) -> Block:
    return {"type": "rich_text_list", "style": "bullet", "elements": [_section(_text(line)) for line in lines]}


def _section(*texts: Block) -> Block:
    return {"type": "rich_text_section", "elements": list(texts)}


def _text(text: str, **style: bool) -> Block:
    return {"type": "text", "text": text, "style": style} if style else {"type": "text", "text": text}


def _plain(text: str, limit: int) -> Block:
    return {"type": "plain_text", "text": _escaped(text, limit)}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _escaped(text: str, limit: int) -> str:
    """Escaped as Slack asks for, at most `limit` long after it, and never cut within an escape."""

    def size(part: str) -> int:
        return utf16_units(part) + 4 * part.count("&") + 3 * (part.count("<") + part.count(">"))

    return cut(text, limit, size).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
