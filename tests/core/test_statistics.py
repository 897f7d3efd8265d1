"""The closed-form statistics, held against scipy as the oracle, against published tables, and against their own promises."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import inf, isclose, nan

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from daemon.core import statistics as ours

COUNTS = st.integers(0, 400)
NUMBERS = st.floats(-1e6, 1e6)
FEW_KINDS = st.integers(0, 4).map(float)


def close(got: float, wanted: float) -> bool:
    """Equal to nine digits, or both too small to matter to anybody."""
    return isclose(got, wanted, rel_tol=1e-8, abs_tol=1e-13)


# ------------------------------------------------------------------------------------------------- proportions


def small_cell(bad_new: int, n_new: int, bad_old: int, n_old: int) -> bool:
    bad, total = bad_new + bad_old, n_new + n_old
    return min(n * count / total for n in (n_new, n_old) for count in (bad, total - bad)) < ours.EXPECTED_MIN


def corrected_chi_square(bad_new: int, n_new: int, bad_old: int, n_old: int) -> float:
    """The oracle's two-sided p of the corrected test, made one-sided; for a new share that is the larger one."""
    table = [[bad_new, n_new - bad_new], [bad_old, n_old - bad_old]]
    return float(stats.chi2_contingency(table, correction=True).pvalue) / 2


@settings(max_examples=150, deadline=None)
@given(n_new=st.integers(1, 400), n_old=st.integers(1, 400), bad_new=COUNTS, bad_old=COUNTS)
def test_a_proportion_test_agrees_with_scipy(n_new: int, n_old: int, bad_new: int, bad_old: int) -> None:
    """Fisher's exact test where a cell is small, the corrected chi-square where none is, to nine digits."""
    bad_new, bad_old = min(bad_new, n_new), min(bad_old, n_old)
    got = ours.proportion_p(bad_new, n_new, bad_old, n_old)
    if small_cell(bad_new, n_new, bad_old, n_old):
        table = [[bad_new, n_new - bad_new], [bad_old, n_old - bad_old]]
        assert close(got, float(stats.fisher_exact(table, alternative="greater").pvalue))
    elif bad_new - n_new * (bad_new + bad_old) / (n_new + n_old) > 0.5:
        assert close(got, corrected_chi_square(bad_new, n_new, bad_old, n_old))
    else:
        assert got >= 0.5


@pytest.mark.parametrize(
    ("bad_new", "n_new", "bad_old", "n_old", "wanted"),
    [
        (3, 4, 1, 4, 17 / 70),  # Fisher's lady tasting tea (1935): three of four cups right
        (4, 4, 0, 4, 1 / 70),  # all of them
        (2, 5, 4, 1000, 0.000294952),  # five requests are enough, where the old revision fails so rarely
        (0, 20, 0, 20, 1.0),
        (20, 20, 20, 20, 1.0),
        (0, 3, 30, 30, 1.0),
        (
            500_000,
            10_000_000,
            4,
            10,
            0.999936309,
        ),  # the old ones fail more: five of ten at 5 % are rarer than 1 of 15,000
    ],
)
def test_known_tables_of_failures(bad_new: int, n_new: int, bad_old: int, n_old: int, wanted: float) -> None:
    """Published and obvious cases come out as they are known."""
    assert ours.proportion_p(bad_new, n_new, bad_old, n_old) == pytest.approx(wanted, rel=1e-6)


def test_the_sample_size_is_honoured() -> None:
    """One ratio, 10 % against 5 %: chance among 20 requests, certainty among 20,000."""
    few = ours.proportion_p(2, 20, 1, 20)
    some = ours.proportion_p(20, 200, 10, 200)
    many = ours.proportion_p(2000, 20_000, 1000, 20_000)
    assert few > 0.3
    assert 0.01 < some < 0.1
    assert many < 1e-50


@pytest.mark.parametrize(
    "counts",
    [(0, 0, 1, 10), (1, 10, 0, 0), (0.4, 0.4, 0, 10), (-1, 10, 0, 10), (nan, 10, 0, 10), (1, inf, 0, 10)],
)
def test_a_proportion_that_cannot_be_told_is_no_evidence(counts: tuple[float, float, float, float]) -> None:
    """Without requests, and with counts that are none, the answer is 1 and never an error."""
    assert ours.proportion_p(*counts) == 1.0


def test_fractional_counts_are_rounded() -> None:
    """A rate times seconds is no whole number; what is bad is never more than what there is."""
    assert ours.proportion_p(2.6, 19.7, 0.3, 20.2) == ours.proportion_p(3, 20, 0, 20)
    assert ours.proportion_p(12.0, 10.0, 0, 20) == ours.proportion_p(10, 10, 0, 20)


def test_large_counts_stay_exact_and_quick() -> None:
    """Millions of requests with few failures: the exact test, in a few terms, agrees with scipy."""
    counts = (7, 2_000_000, 1, 3_000_000)
    table = [[7, 2_000_000 - 7], [1, 3_000_000 - 1]]
    wanted = float(stats.fisher_exact(table, alternative="greater").pvalue)
    assert ours.proportion_p(*counts) == pytest.approx(wanted, rel=1e-6)


# -------------------------------------------------------------------------------------------------------- ranks


@settings(max_examples=100, deadline=None)
@given(new=st.lists(NUMBERS, min_size=1, max_size=9), old=st.lists(NUMBERS, min_size=1, max_size=9))
def test_a_rank_test_without_ties_agrees_with_scipys_exact_one(new: list[float], old: list[float]) -> None:
    """Small samples without ties: the exact distribution of Mann and Whitney's U."""
    assume(len(set(new + old)) == len(new) + len(old))
    wanted = stats.mannwhitneyu(new, old, alternative="greater", method="exact").pvalue
    assert close(ours.rank_p(new, old), float(wanted))


@settings(max_examples=100, deadline=None)
@given(new=st.lists(FEW_KINDS, min_size=1, max_size=30), old=st.lists(FEW_KINDS, min_size=1, max_size=30))
def test_a_rank_test_with_ties_agrees_with_scipys_approximation(new: list[float], old: list[float]) -> None:
    """With ties: the normal approximation, corrected for ties and continuity, with the floor that the docstring names."""
    assume(len(set(new + old)) < len(new) + len(old))
    assume(len(set(new + old)) > 1)
    wanted = float(stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic").pvalue)
    total, floor = len(new) + len(old), 1.0
    for step in range(len(new)):
        floor *= (step + 1) / (total - step)
    assert close(ours.rank_p(new, old), max(wanted, floor))


def test_many_values_are_approximated() -> None:
    """Over the cap the normal approximation is used, without ties as well."""
    new, old = [float(2 * n + 31) for n in range(60)], [float(2 * n) for n in range(60)]
    wanted = stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic").pvalue
    assert close(ours.rank_p(new, old), float(wanted))
    assert wanted != stats.mannwhitneyu(new, old, alternative="greater", method="exact").pvalue


def permuted(new: Sequence[float], old: Sequence[float]) -> float:
    """The p of every way to deal the same values out, ties and all."""

    def wins(indexes: tuple[int, ...]) -> float:
        rest = [value for index, value in enumerate(values) if index not in indexes]
        return sum((values[a] > b) + (values[a] == b) / 2 for a in indexes for b in rest)

    values = [*new, *old]
    dealt = [wins(indexes) for indexes in combinations(range(len(values)), len(new))]
    return sum(got >= dealt[0] for got in dealt) / len(dealt)


def test_a_handful_of_tied_values_promises_no_more_than_it_can() -> None:
    """Five minutes without an error against five with: one deal of 252 is so extreme, the bare curve says one of 500."""
    new, old = [0.3] * 5, [0.0] * 5
    bare = stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic").pvalue
    assert bare < 1 / 400
    assert ours.rank_p(new, old) == pytest.approx(permuted(new, old)) == pytest.approx(1 / 252)


@pytest.mark.parametrize(
    ("new", "old"),
    [([], [1.0]), ([1.0], []), ([1.0, 1.0], [1.0, 1.0, 1.0]), ([1.0, nan], [0.0]), ([1.0], [0.0, inf])],
)
def test_ranks_that_cannot_be_told_are_no_evidence(new: list[float], old: list[float]) -> None:
    """A side that is empty or no numbers, and values that are all equal."""
    assert ours.rank_p(new, old) == 1.0


def test_lower_values_are_no_evidence_of_larger_ones() -> None:
    """The test is one-sided: an improvement never counts against a revision."""
    assert ours.rank_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(1.0)
    assert ours.rank_p([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(1 / 20)
    assert ours.proportion_p(1, 100, 30, 100) > 0.99


# ------------------------------------------------------------------------------------------------------ distance


@settings(max_examples=100, deadline=None)
@given(value=NUMBERS, reference=st.lists(NUMBERS, min_size=5, max_size=20))
def test_a_robust_distance_is_the_one_of_scipys_scale(value: float, reference: list[float]) -> None:
    """(value - median) / (1.4826 MAD) wherever that scale is not under the floor."""
    scale = float(stats.median_abs_deviation(reference, scale="normal"))
    middle = sorted(reference)[len(reference) // 2]
    assume(len(reference) % 2 == 1)
    assume(scale > 0.05 * abs(middle) + 1e-9)
    assert ours.robust_z(value, reference) == pytest.approx((value - middle) / scale, rel=1e-6, abs=1e-6)


def test_a_constant_reference_has_a_scale() -> None:
    """The floor is a share of the median, or an absolute number where the median is 0; with neither it cannot be told."""
    still, nothing = [0.2] * 6, [0.0] * 6
    assert ours.robust_z(0.21, still) == pytest.approx(1.0)
    assert ours.robust_z(0.21, still, floor_share=0.5) == pytest.approx(0.1)
    assert ours.robust_z(0.3, nothing, floor=0.1) == pytest.approx(3.0)
    assert ours.robust_z(0.3, nothing) is None
    assert ours.robust_z(0.0, nothing) == 0.0


def test_outliers_in_the_reference_do_not_hide_a_new_one() -> None:
    """Two old incidents among nine quiet minutes: the plain z-score sleeps, the robust one does not."""
    reference = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 40.0, 45.0]
    plain = (10.0 - sum(reference) / 9) / float(stats.tstd(reference))
    robust = ours.robust_z(10.0, reference)
    assert plain < 1
    assert robust is not None
    assert robust > 50


@pytest.mark.parametrize(
    ("value", "reference"),
    [(1.0, [1.0] * 4), (nan, [1.0] * 5), (1.0, [1.0, 2.0, 3.0, 4.0, inf]), (1.0, [])],
)
def test_a_distance_without_enough_numbers_is_none(value: float, reference: list[float]) -> None:
    """Fewer than `least` reference values, or what is no number: cannot be told, which is not 0."""
    assert ours.robust_z(value, reference) is None


def test_the_least_number_of_reference_values_is_the_callers() -> None:
    """Three values do where the caller says that three do."""
    assert ours.robust_z(4.0, [1.0, 2.0, 3.0], least=3) == pytest.approx(2 / 1.4826, rel=1e-4)


# ------------------------------------------------------------------------------------------------ many questions


@pytest.mark.parametrize(
    ("ps", "wanted"),
    [
        ((), ()),
        ((0.03,), (0.03,)),
        ((0.01, 0.02, 0.03, 0.04, 0.05), (0.05, 0.08, 0.09, 0.09, 0.09)),
        ((0.01, 0.04, 0.03, 0.005), (0.03, 0.06, 0.06, 0.02)),  # the worked example of the method: 1 and 4 stay at 5 %
        ((0.9, 0.6), (1.0, 1.0)),
    ],
)
def test_known_adjustments(ps: tuple[float, ...], wanted: tuple[float, ...]) -> None:
    """Cases worked out by hand, in the order in which they were asked."""
    assert ours.smaller_of_many(ps) == pytest.approx(wanted)


def stepped_down(ps: Sequence[float], level: float) -> set[int]:
    """Holm's procedure as he wrote it: from the smallest on, until one is over its share of the level."""
    found: set[int] = set()
    for place, (p, index) in enumerate(sorted((p, index) for index, p in enumerate(ps))):
        if p * (len(ps) - place) > level:
            break
        found.add(index)
    return found


@given(ps=st.lists(st.floats(0, 1), max_size=8), level=st.floats(0.001, 0.2))
def test_an_adjusted_p_is_under_the_level_where_holms_procedure_says_so(ps: list[float], level: float) -> None:
    """Comparing the adjusted values with any level finds exactly what the step-down procedure finds at it."""
    adjusted = ours.smaller_of_many(ps)
    assert {index for index, p in enumerate(adjusted) if p <= level} == stepped_down(ps, level)
    assert all(p <= q <= min(1.0, len(ps) * p) for p, q in zip(ps, adjusted, strict=True))
