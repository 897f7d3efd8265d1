"""deploy/docs/backtest.md tells what the command does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daemon.cli.arguments import parser
from daemon.cli.exits import Exit
from daemon.core.incidents import VerdictKind
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from handlers.backtest.page import VERDICTS_MAX
from handlers.backtest.recording import Record, recording
from handlers.backtest.replay import replay
from handlers.backtest.score import replayed, summary
from tests import documents, repository
from tests.backtest.replay_cases import MINUTE, Shop, told

PAGE = documents.read("deploy/docs/backtest.md")
NAMES = ("workload", "caller", "callee", "culprit", "pod")


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def test_the_commands_can_be_typed() -> None:
    """The parser takes each."""
    lines = documents.commands(PAGE)
    assert len(lines) >= 8
    for line in lines:
        program, *words = shlex.split(line.partition(" | ")[0])
        assert (program, parser().parse_args(words).command) == ("lastgood", words[0])


def test_the_line_is_one_of_today() -> None:
    """The example has the keys of a verdict in their order, with its terms; the table tells each of them."""
    (block,) = documents.blocks(PAGE, "json")
    shown = json.loads(block.body)
    (real,) = [each.document() for each in told(Shop()) if each.verdict is VerdictKind.ROLL_BACK]
    assert list(shown) == list(real) == [row[0].strip("`") for row in documents.table(PAGE, "key")]
    assert [list(each) for each in shown["evidence"]] == [list(each) for each in real["evidence"]]
    same = ("at", "recording", "verdict", "workload", "margin", "reason", "would_refuse")
    assert {key: shown[key] for key in same} == {key: real[key] for key in same}
    assert [each["term"] for each in shown["evidence"]] == [each["term"] for each in real["evidence"]]


def test_every_verdict_is_told() -> None:
    """In the order of the issue, and no other."""
    assert {row[0].strip("`") for row in documents.table(PAGE, "verdict")} == {kind.value for kind in VerdictKind}


def test_what_is_scored_is_told() -> None:
    """Each key of the table is in a summary."""
    document = summary([replayed(Shop().recording(), told(Shop()))]).document()
    keys = [row[0].strip("`") for row in documents.table(section("The score"), "key")]
    assert set(keys) <= set(document)
    assert {"precision", "recall", "f1", "top_1", "false_rollbacks_per_1000"} <= set(keys)


def test_three_of_three_are_not_yet_sure() -> None:
    """As the page says: recall 1.0, with an interval that begins below 0.5."""
    shops = [replayed(Shop(minutes=60 + n).recording(), told(Shop(minutes=60 + n))) for n in range(3)]
    document = summary(shops).document()
    assert document["recall"] == 1.0
    assert document["intervals"]["recall"][0] < 0.5


def test_the_numbers_are_those_of_the_code() -> None:
    """Threshold, plots, exit codes, and names of guards."""
    assert f"({Policy(cluster='x').blame_threshold})" in PAGE
    assert f"At most {VERDICTS_MAX} verdicts" in PAGE
    codes = [int(row[0]) for row in documents.table(PAGE, "exit code")]
    assert codes == [Exit.OK, Exit.REFUSED, Exit.USAGE, Exit.UNREACHABLE, Exit.UNAUTHORISED, Exit.CONFIGURATION]
    assert {name for name in re.findall(r"`([A-Z_]{5,})`", PAGE) if name != "ALERTS_FOR_STATE"} <= set(
        Reason.__members__
    )


@pytest.mark.parametrize("page", ["deploy/docs/backtest.md", "deploy/docs/arm-a-workload.md"])
def test_its_links_lead_somewhere(page: str) -> None:
    """To a file beside it; and the way to arm a workload begins here."""
    text = documents.read(page)
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    assert targets
    for target in targets:
        assert (repository.ROOT / Path(page).parent / target).exists(), target
    assert page.endswith("backtest.md") or "backtest.md" in targets


def renamed(records: list[Record], number: int) -> Iterator[Record]:
    """The same shop again under other names, some minutes later each time."""
    for each in records:
        names = {field: f"{name}{number}" for field in NAMES if isinstance(name := getattr(each, field, None), str)}
        yield msgspec.structs.replace(each, at=each.at + number * 7 * MINUTE, **names)


def test_rollbacks_that_were_not_made_limit_no_verdict() -> None:
    """As the page says: five rollbacks in one namespace within an hour, of which the last two tell of the limit."""
    records = [each for number in range(5) for each in renamed(Shop(alert_after=None).records(), number)]
    found = list(replay(recording("five", sorted(records, key=lambda each: each.at))))
    assert len({each.workload for each in found if each.verdict is VerdictKind.ROLL_BACK}) == 5
    assert Policy(cluster="x").rollbacks_per_namespace_hour < 5
    acted = [each for each in found if each.verdict is VerdictKind.ROLL_BACK]
    limited = [Reason.BLAST_RADIUS in {refusal.reason for refusal in each.would_refuse} for each in acted]
    assert limited == [False, False, False, True, True]
