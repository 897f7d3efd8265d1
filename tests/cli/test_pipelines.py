"""What pipelines and people told: how `history` and `explain` show it, and `declare`."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.sources import RESERVED
from daemon.cli import history as telling
from daemon.cli import story as explaining
from daemon.cli.exits import Exit
from daemon.cli.terminal import Screen
from daemon.core.events import Noticed
from daemon.core.model import DeclaredCause
from daemon.core.notices import Notice, NoticeStatus
from handlers import explain, history
from tests.cli.desk import Desk, one_line
from tests.core.builders import MINUTE, NOON, SECOND, SHOP, STEP, V1, V2, a_view
from tests.core.story import Story
from tests.handlers.people import Daemon, listening

# Real sockets: virtual time would run past them.
pytestmark = pytest.mark.looptime(False)

GOLDEN = Path(__file__).parent.parent / "golden" / "history.txt"

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\nPAUSED: nothing\u202e\ud800"


def a_notice(**changes: Any) -> Notice:
    values: dict[str, Any] = {
        "source": "github",
        "id": "1",
        "status": NoticeStatus.SUCCEEDED,
        "at": NOON + STEP,
        "workload": SHOP,
        "digests": ("sha256:2",),
        "version": "2.0",
        "commit": "4f1c2d9",
        "author": "Ann",
        "environment": "production",
        "description": "a new cart",
        "change_url": "https://git.example/shop/checkout/pull/7",
        "pipeline_url": "https://ci.example/" + "jobs/" * 20,
        "irreversible": True,
    }
    return Notice(**(values | changes))


def deployed(*notices: Notice) -> Story:
    """v1 was proven, v2 is out, pipelines told of it."""
    story = Story()
    story.proves_v1()
    story.rolls_out()
    for notice in notices:
        story.plays(Noticed(at=story.now, notice=notice))
    return story


def undone() -> Story:
    """v2 was rolled back by us, rolled out again, and undone by hand."""
    story = deployed(a_notice(irreversible=False, pipeline_url="https://ci.example/jobs/1"))
    story.fires()
    story.waits(30 * SECOND)
    story.waits(20 * SECOND)
    story.is_back()
    story.waits(3 * MINUTE)
    story.resolves()
    story.rolls_out(V2, V1)
    story.waits(MINUTE)
    story.rolls_out(V1, V2, changed_by="kubectl-rollout")
    return story


def history_of(story: Story, width: int = 80) -> str:
    out = io.StringIO()
    tracked = story.state.workloads[SHOP.key]
    telling.tell(history.history(tracked, story.state, story.policy, story.now), Screen(out, width=width))
    return out.getvalue()


def explained(story: Story) -> str:
    out = io.StringIO()
    document = explain.without_incident(story.state, story.policy, story.now, SHOP.short)
    assert document is not None
    explaining.tell(document, Screen(out, width=80))
    return out.getvalue()


def test_history_reads_as_it_always_did() -> None:
    """Rolled back by us, rolled out again, undone by hand; tests/golden/history.txt is what people read."""
    assert history_of(undone()) == GOLDEN.read_text()


def test_history_tells_what_was_never_seen_and_what_is_paused() -> None:
    """A revision without a rollout says so; a pause stands at the top."""
    story = Story()
    story.pauses("shop")
    story.sees(a_view(V2))
    text = history_of(story)
    assert text.splitlines()[:2] == ["shop/checkout: mode auto", "PAUSED: shop paused by ann"]
    assert "its rollout was not seen; made 2026-02-20 13:00:00Z" in text
    assert "never seen serving, so nothing is proven" in text


def test_a_pipelines_word_is_told_whole() -> None:
    """Commit, author, environment, digest, URLs on lines of their own, uncut, and that it cannot be undone."""
    for text in (history_of(deployed(a_notice())), explained(deployed(a_notice()))):
        lines = [line.strip() for line in text.splitlines()]
        assert "commit 4f1c2d9 by Ann to production; pipeline: succeeded, says github" in " ".join(lines)
        assert "change: https://git.example/shop/checkout/pull/7" in lines
        assert "job: https://ci.example/" + "jobs/" * 20 in lines
        assert "digest: sha256:2" in lines
        assert {"version: 2.0", "said: a new cart"} <= set(lines)
        assert "declared irreversible: a rollback does not undo its migration" in " ".join(lines)


def test_of_several_notices_the_newest_word_counts() -> None:
    """What a later one leaves out stays; who told is named once each."""
    second = a_notice(id="2", at=NOON + MINUTE, status=NoticeStatus.FAILED, source="gitlab", author=None, commit="999")
    text = " ".join(history_of(deployed(a_notice(), second, a_notice(id="3", source="gitlab"))).split())
    assert "commit 4f1c2d9 by Ann to production; pipeline: succeeded, says github, gitlab" in text
    text = " ".join(history_of(deployed(a_notice(), second)).split())
    assert "commit 999 by Ann to production; pipeline: failed, says github, gitlab" in text


def test_a_notice_without_words_is_one_line() -> None:
    """Only a source and a status: no empty words around them."""
    bare = Notice(source="ci", id="1", status=NoticeStatus.STARTED, at=NOON, workload=SHOP)
    assert "\n    pipeline: started, says ci\n" in history_of(deployed(bare))


def test_a_pipelines_text_cannot_act_on_a_terminal() -> None:
    """Escape sequences and line breaks in what a pipeline sends reach nobody's terminal."""
    fields = ("version", "commit", "author", "environment", "description", "change_url", "pipeline_url")
    hostile = a_notice(source="ci", **dict.fromkeys(fields, HOSTILE))
    for text in (history_of(deployed(hostile)), explained(deployed(hostile))):
        assert not set(text) & set("\x1b\x07\r\u202e\ud800")
        assert "\nPAUSED" not in text


def test_explain_tells_a_declaration_and_its_promise() -> None:
    """Who said what, since when, in which words, and that data is never risked without a person."""
    story = deployed()
    story.declares(DeclaredCause.DATA_CORRUPTION, note="totals are wrong")
    out = io.StringIO()
    facts = [(fact.at, fact) for fact in story.facts]
    document = explain.incident_document(story.incident, facts, story.state, story.policy, story.now)
    explaining.tell(document, Screen(out, width=80))
    text = " ".join(out.getvalue().split())
    assert 'declared data is being corrupted, says ann at 12:00:00Z: "totals are wrong"; nothing is rolled back' in text
    assert "12:00:00Z opened for a declaration of ann: data is being corrupted: totals are wrong" in text


@pytest.fixture
async def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A daemon that has seen a rollout, and no alert."""
    for name in RESERVED:
        monkeypatch.delenv(name, raising=False)
    daemon = Daemon(deployed(a_notice(irreversible=False)))
    daemon.story.waits(2 * MINUTE)
    async with listening(daemon, tmp_path / "s") as address:
        yield Desk(daemon, address, tmp_path / "s", capsys)


async def test_declare_tells_the_incident_and_what_follows(desk: Desk) -> None:
    """Exit code 0; the incident, the promise about data, and as whom it is recorded. Hyphens will do."""
    reason = ("--reason", "data-corruption", "--since", "1m", "--note", "totals are wrong", "--as", "ann")
    typed = await desk.types("declare", "shop/checkout", *reason)
    incident = desk.daemon.story.incident
    assert (typed.code, typed.err) == (Exit.OK, "")
    text = " ".join(typed.out.split())
    assert f"{incident.id} is open: it looks into the latest rollout of shop/checkout" in text
    assert "nothing is rolled back without a person's approval" in text
    assert "(says 'ann')" in text
    assert incident.declared is not None
    assert (incident.declared.cause, incident.declared.note) == (DeclaredCause.DATA_CORRUPTION, "totals are wrong")


@pytest.mark.parametrize(
    "words",
    [
        ("shop/checkout",),
        ("shop/checkout", "--reason", "gut-feeling"),
        ("shop/checkout", "--reason", "pipeline_failed"),
        ("shop/checkout", "--reason", "vulnerability", "--since", "10"),
        ("--reason", "vulnerability"),
    ],
)
async def test_a_wrong_declaration_is_usage(desk: Desk, words: tuple[str, ...]) -> None:
    """Exit code 2 and one line; nothing is declared."""
    typed = await desk.types("declare", *words)
    assert (typed.code, typed.out) == (Exit.USAGE, "")
    one_line(typed.err)
    assert not desk.daemon.story.incidents


async def test_history_through_the_daemon(desk: Desk) -> None:
    """The same text as above; a workload that is not known is refused."""
    typed = await desk.types("history", "shop/checkout")
    assert (typed.code, typed.out, typed.err) == (Exit.OK, history_of(desk.daemon.story), "")
    typed = await desk.types("history", "shop/cart")
    assert typed.code == Exit.REFUSED
    one_line(typed.err)
