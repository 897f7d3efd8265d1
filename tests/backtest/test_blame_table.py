"""The tables and the picture of `make bench-blame`, from cases made by hand."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from daemon.core.incidents import VerdictKind
from handlers.backtest.confidence import f1, share
from handlers.backtest.recording import AlertSeen
from handlers.backtest.score import Begun, Culprit, Replayed
from handlers.backtest.verdicts import Told
from tests.backtest.score_cases import CART, SHIP, minute, told
from tests.bench import blame_chart, blame_report, blame_table
from tests.bench.blame_run import LASTGOOD, NAMES, Job, Played, play, run
from tests.bench.recordings import cases

BASELINE = "fixed"


def replay_of(*said: Told, culprit: str | None = CART, shows_itself: bool | None = True) -> Replayed:
    rollouts = (Begun(workload=CART, started_at=minute(0)), Begun(workload=SHIP, started_at=minute(1)))
    began = {each.workload: each.started_at for each in rollouts}
    return Replayed(
        recording="case",
        rollouts=rollouts,
        told=said,
        interval=timedelta(minutes=1),
        culprits=() if culprit is None else (Culprit(workload=culprit, rollout_at=began.get(culprit)),),
        shows_itself=shows_itself,
    )


def played(ours: Replayed, theirs: Replayed | None = None, *, recipe: str = "errors", number: int = 0) -> Played:
    return Played(
        name=f"case-{number}",
        seed=number,
        recipe=recipe,
        kind="fault",
        confounders=("node",),
        culprit=CART,
        fault_at=minute(2),
        overlap=5,
        methods={BASELINE: theirs or replay_of(), LASTGOOD: ours},
    )


RIGHT, WRONG = told(4, CART), told(5, SHIP)


def test_the_bar_is_met_line_by_line() -> None:
    """All right, and the baseline never: every line that can be told is met, the others say that they were not measured."""
    cases = [played(replay_of(RIGHT)) for _ in range(20)]
    asked = blame_report.demands(blame_report.scores(cases))
    assert [each.met for each in asked] == [True, True, True, None, None, True, True, True, None]
    assert blame_report.demands_table(asked).count("not measured") == 3


def test_each_line_of_the_bar_can_fail() -> None:
    """A false rollback breaks precision and the rate; a late one the delay; a baseline as good as ours the lead."""
    wrong = blame_report.demands(blame_report.scores([played(replay_of(RIGHT, WRONG))]))
    assert [each.name for each in wrong if each.met is False] == [
        "precision",
        "false rollbacks per 1000 healthy rollouts",
        "F1 ahead of every baseline, interval and all",
    ]
    late = blame_report.demands(blame_report.scores([played(replay_of(told(30, CART)))]))
    assert [each.met for each in late if each.name.startswith("samples")] == [False, False]
    equal = blame_report.demands(blame_report.scores([played(replay_of(RIGHT), replay_of(RIGHT)) for _ in range(50)]))
    assert [each.met for each in equal if each.name.startswith("F1")] == [False]
    hidden = replay_of(WRONG, culprit="shop/Deployment/unseen", shows_itself=None)
    semantic = replay_of(told(4, SHIP, VerdictKind.PROPOSE), shows_itself=False)
    placebo = replay_of(WRONG, culprit=None, shows_itself=None)
    rest = blame_report.demands(blame_report.scores([played(each) for each in (hidden, semantic, placebo)]))
    failing = {each.name.split(",")[0] for each in rest if each.met is False}
    assert {
        "acted although the culprit was hidden",
        "false rollbacks per 1000 placebo rollouts",
        "semantic faults that an alert tells of: the last proposal names the culprit",
    } <= failing


def test_the_tables_have_a_row_per_method_and_per_recipe() -> None:
    """Markdown whose columns line up."""
    cases = [played(replay_of(RIGHT), recipe="slow"), played(replay_of(), recipe="errors", number=1)]
    methods = blame_report.methods_table(blame_report.scores(cases)).splitlines()
    assert [line.split("|")[1].strip() for line in methods[2:]] == [BASELINE, LASTGOOD]
    assert len({len(line) for line in methods}) == 1
    recipes = blame_report.recipes_table(cases).splitlines()
    assert [cell.strip() for cell in recipes[2].split("|")[1:5]] == ["errors", "1", "0 of 1", "0 of 1"]
    assert "node" in blame_report.confounders_table(cases)


def test_what_went_wrong_is_listed_with_what_was_said() -> None:
    """A right case is not listed; a missed one, a false rollback and a semantic fault without a proposal are."""
    cases = [
        played(replay_of(RIGHT), number=1),
        played(replay_of(told(4, SHIP, VerdictKind.HOLD)), number=2),
        played(replay_of(RIGHT, WRONG), number=3),
        played(replay_of(shows_itself=False), number=4),
    ]
    listed = "\n".join(blame_report.wrong(cases))
    assert "case-1 " not in listed
    assert listed.count("MISSED") == 1
    assert listed.count(f"FALSE rollback of {SHIP}") == 1
    assert listed.count("NOT PROPOSED") == 1
    assert f"12:05:00   +3.0 min roll_back {SHIP}" in listed


def test_misses_are_counted_by_what_held_the_last_verdict_on_the_culprit() -> None:
    """Found, named others, held, and silent; what does not show itself is no miss."""
    cases = [
        played(replay_of(RIGHT), number=1),
        played(replay_of(told(4, SHIP, VerdictKind.HOLD)), number=2),
        played(replay_of(told(4, CART, VerdictKind.HOLD), told(9, CART, VerdictKind.DISMISS)), number=3),
        played(replay_of(), number=4),
        played(replay_of(shows_itself=None), number=5),
    ]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in blame_report.misses_table(cases).splitlines()]
    assert sorted(rows[2:]) == [
        ["hold BLAMED_CONTRAST", "1", "3"],
        ["named others", "1", "2"],
        ["said nothing", "1", "4"],
    ]


def test_false_rollbacks_are_counted_by_what_misled() -> None:
    """A right one is not in it; of a false one the reason, the kind, the recipe and the seed are."""
    cases = [played(replay_of(RIGHT), number=1), played(replay_of(RIGHT, WRONG), number=2)]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in blame_report.false_table(cases).splitlines()]
    assert rows[2:] == [["BLAMED_CONTRAST", "fault", "errors", "1", "2"]]


def test_the_picture_is_svg_with_a_bar_and_an_interval_for_each_method() -> None:
    """Best on top; names are escaped; a method without a call has no bar."""
    scores = {"a < b & c": f1(4, 4, 2), LASTGOOD: f1(9, 0, 1), "silent": share(0, 0)}
    picture = blame_chart.drawn(scores, LASTGOOD, "10 recordings")
    root = ET.fromstring(picture)
    names = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text") if each.get("text-anchor") == "end"]
    assert names == [LASTGOOD, "a < b & c", "silent"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 2


def test_a_generated_case_is_played_with_its_truth() -> None:
    """A bad one has its culprit and a rollout of it; a hidden one a culprit without a rollout; a placebo none."""
    found = {case.kind: case for seed in (0, 1, 5) for case in play(Job(half="tune", seed=seed, names=NAMES[:1]))}
    scored = {kind: case.methods[NAMES[0]] for kind, case in found.items()}
    assert scored["bad"].seen[0].workload == found["bad"].culprit
    assert scored["hidden"].hidden
    assert found["hidden"].culprit not in {each.workload for each in scored["hidden"].rollouts}
    assert scored["healthy"].culprits == ()
    assert all(each.judged and each.rollouts for each in scored.values())


def test_a_fault_counts_as_unseen_where_somebody_complains_and_as_unknown_where_nobody_does() -> None:
    """Rolled back where it shows itself; proposed where only an alert tells of it; of no other is anything asked."""
    for seed, shows, complained in ((22, True, False), (8, False, True), (20, None, False), (0, None, True)):
        (made,) = cases("tune", range(seed, seed + 1))
        (found,) = play(Job(half="tune", seed=seed, names=NAMES[:1]))
        alerted = any(isinstance(each, AlertSeen) and each.at >= (made.fault_at or each.at) for each in made.records)
        assert found.methods[NAMES[0]].shows_itself is shows, made.name
        assert alerted is complained, made.name
        assert [each.seen_from for each in found.methods[NAMES[0]].culprits] == [made.seen_at or made.fault_at]


@pytest.mark.real
def test_several_processes_say_the_same_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The order of the cases is that of the seeds; how far it is goes to stderr."""
    jobs = [Job(half="tune", seed=seed, names=NAMES[:1]) for seed in (5, 0)]
    assert run(jobs, 2) == run(jobs, 1)
    assert "2 of 2 seeds" in capsys.readouterr().err


def test_seeds_are_given_first_and_last(capsys: pytest.CaptureFixture[str]) -> None:
    """Both included; one alone; nonsense is refused with the remedy."""
    parser = blame_table.arguments()
    assert parser.parse_args(["--seeds", "3-5"]).seeds == range(3, 6)
    assert parser.parse_args(["--seeds", "7"]).seeds == range(7, 8)
    with pytest.raises(SystemExit):
        parser.parse_args(["--seeds", "5-3"])
    assert "as in 0-99" in capsys.readouterr().err
