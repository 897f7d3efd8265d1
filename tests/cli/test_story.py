"""How `explain` reads: the whole text of one incident, and the shapes that are rarely seen."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import story as telling
from daemon.cli.terminal import Screen, ago, clock, parsed, safe, span
from daemon.core.measurement import TargetCheck
from daemon.core.model import Revision
from handlers import explain
from tests.core.builders import NOON, a_check, a_policy
from tests.core.story import Story
from tests.handlers.people import Daemon, recovered

GOLDEN = Path(__file__).parent.parent / "golden" / "explain.txt"


def document(story: Story) -> dict[str, Any]:
    """What the daemon would answer about the story's latest incident."""

    async def history() -> list[Any]:
        return [entry async for entry in Daemon(story).history(incident=story.incident.id)]

    found = asyncio.run(history())
    return explain.incident_document(story.incident, found, story.state, story.policy, story.now)


def told(found: dict[str, Any], width: int | None = None) -> str:
    out = io.StringIO()
    telling.tell(found, Screen(out, width=width))
    return out.getvalue()


def test_explain_reads_as_it_always_did() -> None:
    """The text of an error spike that was rolled back and recovered; tests/golden/explain.txt is what people read.

    When it is meant to change, write the new text there and read it once as if it were three in the morning.
    """
    assert told(document(recovered())) == GOLDEN.read_text()


def test_explain_fits_80_columns() -> None:
    """No line is wider than an SSH session, but for commands, which must be pasted whole."""
    lines = told(document(recovered())).splitlines()
    assert max(len(line) for line in lines) <= 80


def test_explain_tells_each_refusal_with_seen_and_needed() -> None:
    """An unverified target: the refusal, that nobody may override it, the rejected candidates, and what to do."""
    story = Story(policy=a_policy())
    story.soaks = lambda action: None
    story.spikes()
    text = " ".join(told(document(story)).split())
    assert "TARGET_NOT_VERIFIED: hands over to a person; nobody may override it" in text
    assert "seen: " in text
    assert "; needed: " in text
    assert "rejected: checkout:v1 (11hash): never verified" in text
    assert f"lastgood close {story.incident.id}" in text
    assert "lastgood approve" not in text


def test_explain_tells_why_a_target_cannot_be_deployed() -> None:
    """Missing objects and the API server's words on the dry run are told."""

    def check(target: Revision) -> TargetCheck:
        return a_check(target, missing=("ConfigMap/settings",), dry_run_error="denied by policy")

    story = Story()
    story.checks = lambda action: check(action.target)
    story.spikes()
    text = " ".join(told(document(story)).split())
    assert "refused by a dry run: denied by policy; missing: ConfigMap/settings" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.6, "1m"), (200, "3m 20s"), (3600, "1h"), (7500, "2h 5m"), (273_600, "3d 4h")]
)
def test_spans_have_two_units(seconds: float, text: str) -> None:
    """Durations are read at a glance."""
    assert span(seconds) == text


def test_moments_need_no_date_today() -> None:
    """The date is told only where it is another day; what is no moment is a dash."""
    assert clock("2026-03-02T11:00:00.000Z", NOON) == "11:00:00Z"
    assert clock("2026-03-01T11:00:00.000Z", NOON) == "2026-03-01 11:00:00Z"
    assert (clock(None, NOON), ago("never", NOON), parsed("")) == ("-", "-", None)
    assert ago("2026-03-02T12:00:30Z", NOON) == "in 30s"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\u2066", "\ud800"])
def test_characters_that_act_are_made_harmless(character: str) -> None:
    """Control, direction, line and half characters never reach a terminal."""
    assert character not in safe(f"a{character}b")


def test_a_terminal_that_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is colour; with NO_COLOR, or on a dumb one, there is none."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown() -> str:
        out = Terminal()
        screen = Screen(out, width=80)
        screen.line("bad", "bold red")
        screen.table(("A",), [("b",)])
        return out.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown()
