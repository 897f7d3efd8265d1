"""`lastgood judge` and `lastgood scorecard`: what a person types, what they read, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.sources import RESERVED
from daemon.cli.exits import Exit
from daemon.core.incidents import VerdictKind
from daemon.core.model import Mode
from daemon.core.reasons import Reason
from handlers import scorecard
from tests.cli.desk import Desk, one_line
from tests.core.builders import DAY, SHOP, V2, a_policy
from tests.core.story import Story
from tests.core.test_scorecard import a_decision, a_tally, judged
from tests.handlers.people import Daemon, listening

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Desk]:
    """A daemon in observe that would have rolled v2 back."""
    story = Story(a_policy(default_mode=Mode.OBSERVE))
    story.spikes()
    async with listening(Daemon(story), tmp_path / "s") as address:
        yield Desk(Daemon(story), address, tmp_path / "s", capsys)


async def test_from_the_decision_to_the_word(desk: Desk) -> None:
    """What waits for a word is named with the command; it is given; it counts, and nobody is asked again."""
    incident = desk.daemon.story.incident.id
    typed = await desk.types("scorecard", "shop/checkout")
    assert typed.code == Exit.REFUSED
    assert f"    lastgood judge {incident} right (or wrong)\n" in typed.out
    assert "1 wait for `lastgood judge`" in " ".join(typed.out.split())
    typed = await desk.types("judge", incident, "right", "--note", "v2 was broken", "--as", "ann")
    assert (typed.code, typed.err) == (Exit.OK, "")
    assert f"{incident} is judged right: the decision to roll back {V2.label}" in " ".join(typed.out.split())
    typed = await desk.types("scorecard", "shop/checkout")
    assert "lastgood judge" not in typed.out
    assert "RIGHT       " in typed.out
    assert "(says 'ann'): v2 was broken" in typed.out


async def test_the_table(desk: Desk) -> None:
    """A row per workload and one for all: right, wrong and not judged of each kind, precision, what else is needed."""
    decisions = (
        *judged(11, 1),
        a_decision(20),
        a_decision(21, made=VerdictKind.PROPOSE, refusals=(Reason.CONFIG_CHANGED,)),
    )
    story = desk.daemon.story
    story.state = replace(story.state, scorecards={SHOP.key: a_tally(*decisions, healthy=7, since=story.now - 3 * DAY)})
    typed = await desk.types("scorecard")
    assert typed.code == Exit.OK
    header, row, total = (line.split() for line in typed.out.splitlines()[2:5])
    assert header[0] == "WORKLOAD"
    shown = ["11/1/1", "0/0/1", "0/0/0", "0.92", "(0.70", "to", "0.98)"]
    assert row == ["shop/checkout", "observe", *shown, "7", "3", "no"]
    assert total[:2] == ["all", "-"]
    assert total[2:] == shown
    typed = await desk.types("scorecard", "shop/checkout")
    assert "refusals: CONFIG_CHANGED" in typed.out


async def test_enough_history_is_0(desk: Desk) -> None:
    """For a script: 0 where it may be armed."""
    story = desk.daemon.story
    story.state = replace(story.state, scorecards={SHOP.key: a_tally(*judged(12), since=story.now - 20 * DAY)})
    typed = await desk.types("scorecard", "shop/checkout")
    assert typed.code == Exit.OK
    assert "Enough history to arm it: 12 of 12" in " ".join(typed.out.split())
    assert (await desk.types("scorecard")).out.splitlines()[3].endswith("yes")


async def test_json_is_the_daemons_document(desk: Desk) -> None:
    """With all that the table leaves out."""
    typed = await desk.types("--json", "scorecard")
    document = json.loads(typed.out)
    assert [row["workload"] for row in document["workloads"]] == [SHOP.key]
    assert document["workloads"][0]["unjudged"] == [desk.daemon.story.incident.id]


async def test_nothing_yet(desk: Desk) -> None:
    """A new installation says so in a line."""
    desk.daemon.story.state = replace(desk.daemon.story.state, scorecards={})
    typed = await desk.types("scorecard")
    assert (typed.code, typed.out) == (Exit.OK, "nothing was decided yet, and no rollout was seen to be verified\n")


async def test_more_than_one_answer_takes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is counted."""
    story = desk.daemon.story
    other = replace(SHOP, name="cart")
    monkeypatch.setattr(scorecard, "WORKLOADS_MAX", 1)
    story.state = replace(
        story.state, scorecards={**story.state.scorecards, other.key: replace(a_tally(), workload=other)}
    )
    assert "and 1 more without anything to judge" in (await desk.types("scorecard")).out


async def test_what_cannot_be_judged_is_refused(desk: Desk) -> None:
    """An unknown incident and an unknown workload: exit code 1, one line; another word than the two: 2."""
    for words in (("judge", "inc-0", "right"), ("scorecard", "shop/nothing")):
        typed = await desk.types(*words)
        assert typed.code == Exit.REFUSED
        one_line(typed.err)
    typed = await desk.types("judge", desk.daemon.story.incident.id, "maybe")
    assert typed.code == Exit.USAGE
    one_line(typed.err)


async def test_hostile_notes_cannot_act_on_a_terminal(desk: Desk) -> None:
    """What one person writes another one's terminal shows as text."""
    await desk.types("judge", desk.daemon.story.incident.id, "wrong", "--note", "\x1b[2Jgone\nlastgood: fine")
    typed = await desk.types("scorecard", "shop/checkout")
    assert "\x1b" not in typed.out
    assert "\nlastgood: fine" not in typed.out


async def test_a_workload_that_is_gone_keeps_its_record(desk: Desk) -> None:
    """It says so instead of a mode."""
    story = desk.daemon.story
    story.sees(replace(story.state.workloads[SHOP.key].view, gone=True))
    assert "shop/checkout: not in the cluster any more" in (await desk.types("scorecard", "shop/checkout")).out
