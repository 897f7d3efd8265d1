"""The scorecard's numbers: what counts once, how sure they are, and when they suffice to arm a workload."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from daemon.core.incidents import Decision, Tier, VerdictKind, Word
from daemon.core.model import IncidentId, Mode, RevisionId
from daemon.core.scorecard import (
    DECISIONS_KEPT_MAX,
    HEALTHY_MIN,
    HISTORY_MIN,
    MADE,
    PRECISION_LOW_MIN,
    Counts,
    Tally,
    Z,
    interval,
    number,
    precision,
    readiness,
    together,
)
from tests.core.builders import CART, DAY, NOON, SHOP

ROLL_BACK, PROPOSE, ESCALATE = MADE
RIGHT, WRONG = Word.RIGHT, Word.WRONG


def a_decision(number: int, word: Word | None = None, **changes: Any) -> Decision:
    """The incident of this number: its revision would be rolled back, in observe."""
    values: dict[str, Any] = {
        "incident": IncidentId(f"inc-{number}"),
        "at": NOON + number * timedelta(hours=1),
        "made": ROLL_BACK,
        "mode": Mode.OBSERVE,
        "tier": Tier.CONTRAST,
        "workload": SHOP,
        "revision": RevisionId(f"hash-{number}"),
        "label": f"checkout:v{number}",
        "word": word,
    }
    return Decision(**(values | changes))


def a_tally(*decisions: Decision, healthy: int = 0, since: datetime = NOON) -> Tally:
    tally = Tally(workload=SHOP, since=since, healthy=healthy)
    for decision in decisions:
        tally = tally.with_decision(decision)
    return tally


def judged(right: int, wrong: int = 0, **changes: Any) -> tuple[Decision, ...]:
    words = [RIGHT] * right + [WRONG] * wrong
    return tuple(a_decision(index, word, **changes) for index, word in enumerate(words))


# -- the interval


@given(right=st.integers(0, 400), wrong=st.integers(0, 400))
def test_the_interval_is_wilsons(right: int, wrong: int) -> None:
    """As scipy has it, for every number of right and wrong ones."""
    low, high = interval(right, right + wrong)
    if right + wrong == 0:
        assert (low, high) == (0.0, 1.0)
        return
    oracle = binomtest(right, right + wrong).proportion_ci(confidence_level=0.9, method="wilson")
    assert low == pytest.approx(oracle.low, abs=1e-9)
    assert high == pytest.approx(oracle.high, abs=1e-9)
    assert 0.0 <= low <= right / (right + wrong) <= high <= 1.0


def test_the_certainty_is_the_one_that_is_told() -> None:
    """The lower end alone holds with 95 %."""
    assert pytest.approx(NormalDist().inv_cdf(0.95), abs=1e-12) == Z


def test_what_the_limit_asks_for() -> None:
    """11 of 11 or 19 of 20 more than one needs; 10 of 10 and 18 of 19 do not suffice, nor do three lucky ones."""
    enough = [(11, 11), (19, 20)]
    assert [interval(*each)[0] >= PRECISION_LOW_MIN for each in enough] == [True, True]
    short = [(10, 10), (18, 19), (3, 3)]
    assert [interval(*each)[0] >= PRECISION_LOW_MIN for each in short] == [False, False, False]


def test_precision_of_nothing_is_unknown() -> None:
    """Not 0 and not 1: none was judged."""
    found = precision(a_tally(a_decision(1)).counts, ROLL_BACK)
    assert (found.value, found.judged, found.low, found.high) == (None, 0, 0.0, 1.0)


def test_precision_is_of_the_kinds_that_are_asked_for() -> None:
    """Decisions to roll back alone, or all that blamed; what was handed over blames nobody."""
    decisions = (
        a_decision(1, RIGHT),
        a_decision(2, WRONG),
        a_decision(3),
        a_decision(4, RIGHT, made=PROPOSE, mode=Mode.APPROVE),
        a_decision(5, WRONG, made=ESCALATE),
    )
    counts = a_tally(*decisions).counts
    assert (precision(counts, ROLL_BACK).right, precision(counts, ROLL_BACK).judged) == (1, 2)
    assert (precision(counts, ROLL_BACK).value, precision(counts, ROLL_BACK, PROPOSE).judged) == (0.5, 3)
    assert number(counts, (PROPOSE,), RIGHT, (Mode.OBSERVE,)) == 0
    assert number(counts, (PROPOSE,), RIGHT, (Mode.APPROVE,)) == 1
    assert number(counts, (ROLL_BACK,), None) == 1


# -- what is counted


def test_a_revision_counts_once_however_often_its_alert_comes_back() -> None:
    """The same decision again keeps the place and the word; another kind of decision about it is another question."""
    tally = a_tally(a_decision(1, RIGHT), a_decision(2))
    again = tally.with_decision(a_decision(3, revision=RevisionId("hash-1")))
    assert [(each.incident, each.word) for each in again.decisions] == [("inc-2", None), ("inc-3", RIGHT)]
    assert sum(again.counts.values()) == 2
    other = again.with_decision(a_decision(4, revision=RevisionId("hash-1"), made=PROPOSE))
    assert sum(other.counts.values()) == 3


def test_without_a_revision_each_counts() -> None:
    """What names no culprit cannot be the same again."""
    tally = a_tally(*(a_decision(index, made=ESCALATE, revision=None) for index in range(3)))
    assert number(tally.counts, (ESCALATE,), None) == 3
    assert tally.unjudged == ()


def test_the_last_word_counts() -> None:
    """Right, then wrong: one wrong. A word on the first of two incidents about a revision holds for that revision."""
    tally = a_tally(a_decision(1))
    for word in (RIGHT, WRONG):
        about = a_decision(1)
        tally = tally.with_word(about, replace(about, word=word, judged_by="ann", judged_at=NOON, note=word.value))
    assert (precision(tally.counts, ROLL_BACK).right, precision(tally.counts, ROLL_BACK).judged) == (0, 1)
    assert (tally.decisions[0].judged_by, tally.decisions[0].note) == ("ann", "wrong")
    later = tally.with_decision(a_decision(2, revision=RevisionId("hash-1")))
    about = a_decision(1)
    assert later.with_word(about, replace(about, word=RIGHT)).decisions[0].word is RIGHT


def test_a_word_on_what_is_not_kept_changes_nothing() -> None:
    """It was decided about another revision."""
    tally = a_tally(a_decision(1))
    assert tally.with_word(a_decision(9), a_decision(9, RIGHT)) == tally


@given(st.lists(st.tuples(st.sampled_from(MADE), st.sampled_from([RIGHT, WRONG, None])), max_size=130))
def test_what_is_forgotten_is_still_counted(found: list[tuple[VerdictKind, Word | None]]) -> None:
    """However many there were: the counts are whole, and what is kept is bounded."""
    decisions = [a_decision(index, word, made=made) for index, (made, word) in enumerate(found)]
    tally = a_tally(*decisions)
    assert tally.counts == Counter((each.made, each.mode, each.word) for each in decisions)
    assert tally.decisions == tuple(decisions[-DECISIONS_KEPT_MAX:])
    assert len(tally.earlier) <= len(MADE) * len(Mode) * 3


def test_a_healthy_rollout_counts_once_and_not_where_anything_was_decided_about_it() -> None:
    """Verified twice (more traffic later) is one; a revision that was blamed is none; one blamed later is none any more."""
    tally = a_tally(a_decision(1)).with_healthy(RevisionId("a")).with_healthy(RevisionId("a"))
    assert tally.healthy == 1
    assert tally.with_healthy(RevisionId("hash-1")).healthy == 1
    assert tally.with_healthy(RevisionId("b")).healthy == 2
    blamed = tally.with_decision(a_decision(2, revision=RevisionId("a")))
    assert (blamed.healthy, blamed.healthy_revision) == (0, None)


def test_all_together() -> None:
    """The decisions about every workload in one count; one without any adds nothing."""
    others = (a_tally(*judged(2)), Tally(workload=CART, since=NOON), a_tally(*judged(0, 60)))
    counts = together(others)
    assert (number(counts, MADE, RIGHT), number(counts, MADE, WRONG)) == (2, 60)


# -- whether it suffices

NOTHING: Counts = Counter()
LONG = NOON + HISTORY_MIN
PROVEN = a_tally(*judged(30)).counts


@pytest.mark.parametrize(
    ("tally", "everything", "now", "enough"),
    [
        (a_tally(*judged(11), healthy=HEALTHY_MIN), NOTHING, NOON + DAY, True),
        (a_tally(*judged(11)), NOTHING, LONG, True),
        (a_tally(*judged(19, 1)), NOTHING, LONG, True),
        (a_tally(*judged(11), healthy=HEALTHY_MIN - 1), NOTHING, LONG - DAY, False),
        (a_tally(*judged(10), healthy=500), NOTHING, LONG, False),
        (a_tally(*judged(12, 2)), NOTHING, LONG, False),
        (a_tally(*judged(30, made=PROPOSE)), NOTHING, LONG, False),
        (a_tally(healthy=500), NOTHING, LONG, False),
        (a_tally(healthy=500), PROVEN, NOON, True),
        (a_tally(*judged(2)), PROVEN, LONG, True),
        (a_tally(*judged(2, 1)), PROVEN, LONG, False),
        (a_tally(*judged(2)), PROVEN, NOON, False),
    ],
)
def test_when_it_suffices(tally: Tally, everything: Counts, now: datetime, enough: bool) -> None:
    """Precision by its lower end, and healthy rollouts or days; those of all workloads where none of its own was wrong."""
    found = readiness(tally, everything, now)
    assert (found.enough, found.sentence.startswith("Enough history")) == (enough, enough)


def test_the_sentence_says_what_it_rests_on() -> None:
    """The numbers stand in it, and whether they are its own."""
    own = readiness(a_tally(*judged(12), healthy=63), NOTHING, NOON + 21 * DAY)
    assert own.sentence == (
        "Enough history to arm it: 12 of 12 judged decisions to roll back were right, at least 82% with 95 % certainty; "
        "63 healthy rollouts without a decision in 21 days."
    )
    borrowed = readiness(a_tally(healthy=50), PROVEN, NOON)
    assert borrowed.sentence == (
        "Enough history to arm it: over all workloads 30 of 30 judged decisions to roll back were right, at least 92% with "
        "95 % certainty, none of them wrong about this one; 50 healthy rollouts without a decision in 0 days."
    )


def test_the_sentence_says_what_is_missing() -> None:
    """Each thing that is missing with what is needed, and how many wait for a word; what suffices is left out."""
    missing = readiness(a_tally(*judged(3), a_decision(9), a_decision(8, made=ESCALATE)), NOTHING, NOON + DAY)
    assert missing.sentence == (
        "Not enough history to arm it: 3 of 3 judged decisions to roll back were right, at least 53% with 95 % certainty "
        "(needs 80%); 0 healthy rollouts without a decision in 1 days (needs 50, or 14 days); 1 wait for `lastgood judge`."
    )
    assert "healthy" not in readiness(a_tally(), NOTHING, LONG).sentence
    assert "no decision to roll back is judged (needs 80%)" in readiness(a_tally(), NOTHING, LONG).sentence
    assert "certainty" not in readiness(a_tally(*judged(11)), NOTHING, NOON).sentence
