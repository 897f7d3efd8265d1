"""The score of replayed verdicts, on recordings small enough to count by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from daemon.core.incidents import VerdictKind
from handlers.backtest import confidence
from handlers.backtest.recording import Record, TruthSeen, recording
from handlers.backtest.score import Culprit, Replayed, replayed, rollbacks, strongest, summary, true_rollbacks
from handlers.backtest.verdicts import Told
from tests.backtest.score_cases import CART, SHIP, TAX, began, minute, sample, told


def case(
    *said: Told,
    culprit: str | None = CART,
    truth_at: float = 60.0,
    rolled: Sequence[tuple[float, str]] = ((0.0, CART), (1.0, SHIP)),
    fault_at: datetime | None = None,
    shows_itself: bool | None = None,
    step: float = 1.0,
) -> Replayed:
    records: list[Record] = [began(at, workload) for at, workload in rolled]
    records += [sample(number * step, SHIP, 0.0) for number in range(5)]
    records.append(TruthSeen(at=minute(truth_at), culprit=culprit))
    made = recording("case", sorted(records, key=lambda record: record.at))
    return replayed(made, said, fault_at=fault_at, shows_itself=shows_itself)


def test_precision_recall_and_f1_are_counted_from_the_first_rollback_of_each_rollout() -> None:
    """One right (said twice), one wrong, one culprit missed: precision 1/2, recall 1/2, F1 1/2."""
    found = summary([case(told(3, CART), told(4, CART), told(5, SHIP)), case(told(3, CART, VerdictKind.PROPOSE))])
    assert (found.precision.hits, found.precision.of) == (1, 2)
    assert (found.recall.hits, found.recall.of) == (1, 2)
    assert found.f1.value == pytest.approx(0.5)
    assert (found.false_rollbacks.hits, found.false_rollbacks.of) == (1, 2)
    assert (found.culprits, found.rollouts, found.healthy_rollouts) == (2, 4, 2)


def test_only_roll_back_counts_for_precision() -> None:
    """Proposals, holds and the rest leave precision without anything to count, and miss the culprit."""
    kinds = [kind for kind in VerdictKind if kind is not VerdictKind.ROLL_BACK]
    found = summary([case(*(told(3, SHIP, kind) for kind in kinds))])
    assert found.precision.value is None
    assert found.false_rollbacks.hits == 0
    assert found.recall.value == 0.0


def test_a_rollback_before_the_culprits_rollout_began_is_false() -> None:
    """Naming the workload is not enough: what was rolled back must be the culprit's rollout."""
    early = case(told(3, CART), rolled=((0.0, SHIP), (10.0, CART)))
    assert true_rollbacks(early, rollbacks(early)) == ()
    assert summary([early]).precision.value == 0.0


def test_rolling_back_what_repaired_the_culprit_is_false() -> None:
    """Of two rollouts of the culprit the truth means the last that had begun by its time; a rollback of the next is another's."""
    each = case(told(5, CART), told(25, CART), rolled=((0.0, CART), (20.0, CART)), truth_at=6.0)
    assert [one.started_at for one in rollbacks(each)] == [minute(0), minute(20)]
    assert [one.at for one in true_rollbacks(each, rollbacks(each))] == [minute(5)]


def test_a_truth_before_everything_means_the_culprits_first_rollout() -> None:
    """A truth may stand on the first line."""
    assert case(truth_at=-100).culprits == (Culprit(workload=CART, rollout_at=minute(0)),)


def test_a_hidden_culprit_makes_every_rollback_false() -> None:
    """The culprit's rollout is not recorded: acting on anybody is wrong, and there is nothing to recall."""
    silent, wrong = case(culprit=TAX), case(told(3, TAX), told(4, SHIP), culprit=TAX)
    assert silent.hidden
    found = summary([silent, wrong])
    assert (found.hidden_acted.hits, found.hidden_acted.of) == (1, 2)
    assert (found.precision.hits, found.precision.of) == (0, 2)
    assert found.recall.of == 0
    assert found.healthy_rollouts == 4


def test_placebo_counts_the_rollouts_of_recordings_in_which_nobody_was_to_blame() -> None:
    """One of four placebo rollouts rolled back: 250 per 1000; the recording with a culprit is left out."""
    found = summary([case(told(3, CART), culprit=None), case(culprit=None), case(told(3, SHIP))])
    assert (found.placebo.hits, found.placebo.of) == (1, 4)
    assert found.document()["placebo_rollbacks_per_1000"] == 250.0


def test_a_recording_without_a_truth_is_not_scored() -> None:
    """A team's own history says nothing of culprits: its rollbacks are neither true nor false."""
    untold = replayed(recording("own", [began(0, CART), began(1, SHIP)]), [told(3, CART)])
    found = summary([untold, case(told(3, CART))])
    assert (found.recordings, found.without_truth, found.rollouts) == (1, 1, 2)
    assert (found.precision.hits, found.precision.of, found.placebo.of) == (1, 1, 0)


def test_several_truths_are_several_culprits_each_with_its_own_time() -> None:
    """A month with two bad rollouts: found the first, proposed the second after the first was over."""
    records: list[Record] = [began(0, CART), began(30, SHIP), began(31, TAX)]
    records += [TruthSeen(at=minute(2), culprit=CART), TruthSeen(at=minute(33), culprit=SHIP)]
    each = replayed(recording("month", records), [told(3, CART), told(36, SHIP, VerdictKind.PROPOSE)])
    found = summary([each])
    assert (found.recall.hits, found.recall.of) == (1, 2)
    assert (found.top_1.hits, found.top_1.of) == (2, 2)
    assert (found.proposed_first.hits, found.proposed_first.of) == (1, 1)
    assert found.healthy_rollouts == 1


def test_the_strongest_verdict_is_the_last_of_the_strongest_kind_that_names_a_workload() -> None:
    """A rollback outweighs a later proposal, a later proposal an earlier one, and a nameless verdict says nothing."""
    last = told(9, SHIP, VerdictKind.PROPOSE)
    assert strongest([told(1, CART), last]) == told(1, CART)
    assert strongest([told(1, CART, VerdictKind.PROPOSE), last]) is last
    assert strongest([told(1, None, VerdictKind.ESCALATE)]) is None
    assert strongest([told(1, CART, VerdictKind.HOLD), told(2, None, VerdictKind.DISMISS)]) == told(
        1, CART, VerdictKind.HOLD
    )


def test_top_1_leaves_out_recordings_in_which_nobody_was_named() -> None:
    """Right once, wrong once, silent once: one of two."""
    found = summary([case(told(3, CART)), case(told(3, SHIP, VerdictKind.HOLD)), case()])
    assert (found.top_1.hits, found.top_1.of) == (1, 2)


def test_a_culprit_whose_signals_do_not_show_the_fault_is_found_by_a_proposal_and_missed_by_silence() -> None:
    """Of three semantic faults one is proposed rightly, one wrongly, one not at all; a hold that names it does not count."""
    semantic = [
        case(told(3, SHIP, VerdictKind.PROPOSE), told(4, CART, VerdictKind.PROPOSE), shows_itself=False),
        case(told(3, SHIP, VerdictKind.PROPOSE), shows_itself=False),
        case(told(3, CART, VerdictKind.HOLD), shows_itself=False),
    ]
    found = summary([*semantic, case(told(3, CART), shows_itself=True)])
    assert (found.semantic_found.hits, found.semantic_found.of) == (1, 3)
    assert (found.recall.hits, found.recall.of) == (1, 4)
    assert (found.recall_shown.hits, found.recall_shown.of) == (1, 1)
    assert found.f1_shown.value == 1.0


def test_the_delay_counts_from_when_the_fault_could_be_seen() -> None:
    """Seconds since `fault_at`, else since the rollout began; in samples of the recording's own interval; never below 0."""
    late = summary([case(told(8, CART), fault_at=minute(6), step=0.5)])
    assert (late.delay_seconds[0].value, late.delay_samples[0].value) == (120.0, 4.0)
    plain = summary([case(told(8, CART))])
    assert (plain.delay_seconds[0].value, plain.delay_samples[1].value) == (480.0, 8.0)
    again = summary([case(told(8, CART), told(20, CART))])
    assert again.delay_seconds[0].value == 480.0
    early = summary([case(told(5, CART), fault_at=minute(6))])
    assert early.delay_seconds[0].value == 0.0


def test_the_document_is_one_line_of_json_and_says_what_was_counted() -> None:
    """Plain numbers, their bounds and their counts; and nothing that JSON does not know, with nothing to count either."""
    document = json.loads(summary([case(told(3, CART), step=1.0)]).line())
    assert document["precision"] == 1.0
    assert document["intervals"]["precision"][0] < 1.0
    assert document["counts"]["false_rollbacks_per_1000"] == {"hits": 0, "of": 1}
    assert document["decision_delay_seconds"]["median"] == 180.0
    assert "verdict" not in document
    empty = json.loads(summary([]).line())
    assert empty["precision"] is None
    assert empty["decision_delay_samples"]["p90"] is None


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe (Statistics in Medicine 17, 1998, table I): 81/263, 15/148, 0/20 and 1/29 by the score method."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, of), (low, high) in published.items():
        found = confidence.share(hits, of)
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)


def test_a_share_of_nothing_has_no_value_and_one_over_all_is_all() -> None:
    """Nothing to count is not 0; more rollbacks than rollouts are all of them."""
    assert confidence.share(0, 0).value is None
    assert confidence.share(5, 3).value == 1.0


def test_the_interval_of_f1_covers_the_truth_as_often_as_it_says() -> None:
    """Drawn 2,000 times from known rates, the true F1 lies within the bounds in 94 to 98 %: counts are lumpy."""
    chance = random.Random(5)
    true, false, missed = 0.8, 0.08, 0.12
    truth = 2 * true / (2 * true + false + missed)
    inside = 0
    for _ in range(2000):
        drawn = chance.choices("tfm", (true, false, missed), k=80)
        found = confidence.f1(drawn.count("t"), drawn.count("f"), drawn.count("m"))
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= truth <= found.high
    assert 0.94 <= inside / 2000 <= 0.98


def test_a_quantile_is_a_value_that_occurred_and_lies_between_its_bounds() -> None:
    """Nearest rank: of 1..10 the median is 5 and the p90 9; the bounds of few values are wide."""
    ten = [float(number) for number in range(10, 0, -1)]
    middle, p90 = confidence.quantile(ten, 0.5), confidence.quantile(ten, 0.9)
    assert (middle.value, p90.value) == (5.0, 9.0)
    assert (middle.low, middle.high) == (2.0, 9.0)
    assert confidence.quantile([], 0.5).value is None


def test_the_interval_of_the_recording_is_found_in_it() -> None:
    """A recording sampled every 30 s is counted in samples of 30 s."""
    assert case(step=0.5).interval == timedelta(seconds=30)
