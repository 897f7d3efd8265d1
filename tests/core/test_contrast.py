"""New against old at the same minute: what convicts must stand out, be more than chance, last, and be of most of the pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.core.contrast import both_bad
from daemon.core.measurement import Sample
from daemon.core.policy import Policy, RecordedPolicy, SignalKind, SignalRule
from tests.core.builders import NOON, SECOND, STEP, a_policy
from tests.core.contrast_cases import TRAFFIC, K, asking, by_pod, contrast, convicts, one, recorded, side

# -- both are bad


@pytest.mark.parametrize(
    ("new", "old", "worth_asking"),
    [((0.0, 0.3), (0.0, 0.3), True), ((0.3, 0.0), (0.3, 0.3), False), ((0.3, 0.3), (0.3, 0.0), False)],
    ids=["both bad by now", "the new ones are well again", "the old ones are"],
)
def test_callees_are_asked_where_both_are_bad_in_their_latest_sample(
    new: tuple[float, ...], old: tuple[float, ...], worth_asking: bool
) -> None:
    """One gate for the daemon and the backtest; without samples of both there is nothing to ask."""
    policy = asking(K.ERROR_RATIO)
    sides = [by_pod([[value] for value in values]) for values in (new, old)]
    assert both_bad(sides[0], sides[1], (), policy) is worth_asking
    assert not both_bad(sides[0], (), (), policy)
    assert not both_bad((), sides[1], (), policy)


# -- it stands out


@pytest.mark.parametrize(
    ("kind", "new", "equal", "better"),
    [(K.ERROR_RATIO, 0.06, 0.045, 0.02), (K.CPU, 0.92, 0.88, 0.6), (K.MEMORY, 0.87, 0.84, 0.6)],
)
def test_two_equals_on_both_sides_of_a_threshold_are_no_contrast(
    kind: SignalKind, new: float, equal: float, better: float
) -> None:
    """Just over the edge against just under it convicts nobody; the same value against clearly better pods does."""
    policy = asking(kind)
    pods = [by_pod([[value, value]] * 5) for value in (new, equal, better)]
    assert contrast(policy, pods[0], pods[1]).convicting == 0
    assert convicts(policy, pods[0], pods[2])


@pytest.mark.parametrize(
    ("rate", "new", "old", "guilty"),
    [
        (20.0, 0.95, 0.63, True),
        (20.0, 0.95, 0.634, False),
        (5.0, 0.95, 0.64, False),
        (40.0, 0.95, 0.31, True),
        (40.0, 0.95, 0.32, False),
        (60.0, 1.0, 0.3, False),
    ],
    ids=["half as much again", "not quite", "sent less", "half again of twice", "sent twice", "saturated by thrice"],
)
def test_cpu_is_what_its_requests_cost(rate: float, new: float, old: float, guilty: bool) -> None:
    """Half as much again for each request convicts; who is sent more has more to do, up to the last core it has."""
    found = contrast(asking(K.CPU), by_pod([[new, new]] * 5, traffic=rate), by_pod([[old, old]] * 5))
    assert (found.convicting, found.convicts(a_policy())) == (5 if guilty else 0, guilty)


def test_what_a_request_costs_is_told_per_pod() -> None:
    """Two pods that are sent as much as four others have twice as much to do, each; uncounted ones say nothing."""
    new, four = by_pod([[0.95] * 2] * 5), by_pod([[0.5] * 4] * 5)
    assert contrast(asking(K.CPU), new, four).convicting == 0
    assert contrast(asking(K.CPU), new, by_pod([[0.5] * 2] * 5)).convicting == 5
    assert contrast(asking(K.CPU), new, side([0.5] * 5)).convicting == 5


def test_only_cpu_has_a_price_per_request() -> None:
    """Errors and memory are no dearer for being asked more often."""
    for kind, old in ((K.ERROR_RATIO, 0.03), (K.MEMORY, 0.8)):
        new = by_pod([[0.95, 0.95]] * 5, traffic=200.0)
        assert contrast(asking(kind), new, by_pod([[old, old]] * 5)).convicting == 5, kind


def test_little_more_in_many_times_stands_out_too() -> None:
    """0.052 is hardly more than 0.01 in absolute terms, and five times as much."""
    assert contrast(asking(K.ERROR_RATIO), side([0.052] * 5), side([0.01] * 5)).convicting == 5


def test_much_more_in_absolute_terms_stands_out_too() -> None:
    """Where people are used to much, 0.24 against 0.17 is not twice as much, and seven requests more of a hundred."""
    loud = SignalRule(name="s", kind=K.ERROR_RATIO, query="q", healthy_below=0.18, trigger_above=0.2)
    policy = a_policy(signals=(TRAFFIC, loud))
    assert convicts(policy, side([0.24] * 5), side([0.17] * 5))
    assert not convicts(policy, side([0.21] * 5), side([0.17] * 5))


@pytest.mark.parametrize(
    ("outbound", "guilty"), [(0.3, False), (0.001, True)], ids=["both fail there", "all is well there"]
)
def test_many_times_little_is_chance_where_both_fail_at_what_they_call(outbound: float, guilty: bool) -> None:
    """0.066 against 0.02 while one that both call answers with errors: who of them is worse off is chance."""
    calls = SignalRule(name="calls", kind=K.ERROR_RATIO, query="q")
    policy = a_policy(signals=(*asking(K.ERROR_RATIO).signals, calls))

    def failing(errors: float) -> tuple[Sample, ...]:
        return tuple(replace(each, values=(*each.values, ("calls", outbound))) for each in side([errors] * 5))

    assert convicts(policy, failing(0.066), failing(0.02)) is guilty
    assert convicts(policy, failing(0.08), failing(0.02)), "as much as triggers on top"


# -- both are bad


def bad_above(kind: SignalKind, limit: float) -> Policy:
    """The user says from which value it is bad, whatever the others do."""
    return a_policy(signals=(TRAFFIC, SignalRule(name="s", kind=kind, query="q", trigger_above=limit)))


@pytest.mark.parametrize(
    ("kind", "new", "old", "alike"),
    [
        (K.ERROR_RATIO, 0.2, 0.101, 5),
        (K.ERROR_RATIO, 0.2, 0.1, 0),
        (K.ERROR_RATIO, 0.059, 0.01, 5),
        (K.ERROR_RATIO, 0.061, 0.01, 0),
        (K.LATENCY, 0.29, 0.2, 5),
        (K.LATENCY, 0.31, 0.2, 0),
        (K.LATENCY_P95, 0.24, 0.2, 5),
        (K.LATENCY_P95, 0.26, 0.2, 0),
        (K.CPU, 0.99, 0.1, 5),
        (K.MEMORY, 0.99, 0.1, 5),
    ],
    ids=[
        "errors: less than twice", "errors: twice", "errors: a few points", "errors: five points",
        "latency: less than half again", "latency: half again", "p95: less than a quarter", "p95: a quarter again",
        "cpu: whatever", "memory: whatever",
    ],
)  # fmt: skip
def test_both_bad_and_the_new_ones_far_worse_is_a_case_for_neither(
    kind: SignalKind, new: float, old: float, alike: int
) -> None:
    """Old pods that are bad are no witness against the new ones; much less bad ones do not fail alike, either."""
    found = contrast(bad_above(kind, 0.009), by_pod([[new, new]] * 8), by_pod([[old, old]] * 8))
    assert (found.convicting, found.alike, found.fine) == (0, alike, 0)
    assert not found.convicts(a_policy())
    assert not found.acquits(a_policy())


# -- it is more than chance


def test_few_requests_are_chance() -> None:
    """Nine failures of 150 against three of 150 can be luck; the same ratios under twenty times the traffic cannot."""
    new, old = [0.06] * 5, [0.02] * 5
    few = contrast(asking(K.ERROR_RATIO), side(new, traffic=1.0), side(old, traffic=1.0))
    assert (few.convicting, few.enough, few.sure) == (5, True, False)
    assert convicts(asking(K.ERROR_RATIO), side(new), side(old))


def test_who_asks_many_signals_must_be_surer() -> None:
    """A p of 0.0021 is enough for the one signal that was asked, not for the worst of five."""

    def both(value: float) -> tuple[Sample, ...]:
        more = tuple((f"other-{index}", 0.0) for index in range(4))
        return tuple(
            Sample(at=NOON + STEP * index, values=(("traffic", 1.0), ("s", value), *more)) for index in range(5)
        )

    assert contrast(asking(K.ERROR_RATIO), both(0.08), both(0.007)).sure
    assert not contrast(asking(K.ERROR_RATIO, others=4), both(0.08), both(0.007)).sure


def test_without_counts_it_must_lie_far_out_of_what_the_old_pods_show() -> None:
    """An error ratio whose requests nobody knows: beyond what the old pods do anyway, not beyond a quiet average."""
    policy = recorded(K.ERROR_RATIO)
    new = by_pod([[0.15, 0.15]] * 5, traffic=None)
    calm, wild = side([0.01] * 5, traffic=None), side([0.0, 0.04, 0.0, 0.04, 0.04], traffic=None)
    assert convicts(policy, new, calm)
    before = tuple(one(NOON - STEP * index, value, None) for index, value in enumerate([0.2, 0.01] * 6, start=1))
    assert contrast(policy, new, wild, before=before).convicting == 5
    assert not contrast(policy, new, wild, before=before).sure


def test_a_latency_that_always_swings_convicts_nobody() -> None:
    """0.26 s against a median of 0.1 s is nothing where the old pods go from 0.1 to 0.2 s by themselves."""
    new = side([0.26] * 6)
    assert convicts(asking(K.LATENCY), new, side([0.1] * 6))
    assert not convicts(asking(K.LATENCY), new, side([0.1, 0.16, 0.1, 0.16, 0.1, 0.16]))


def test_where_too_little_is_known_of_the_old_pods_size_and_duration_decide() -> None:
    """Under five values nobody can say what is far out: that holds nobody back."""
    new, old = side([None, None, 0.3, 0.3]), side([None, None, 0.1, 0.1])
    assert contrast(asking(K.LATENCY_P95), new, old).sure


def test_traffic_that_nobody_knows_is_enough_only_in_a_recording() -> None:
    """Live, pairs without known traffic are no pairs; in a recording they are, and are sure without counts."""
    new, old = by_pod([[0.3, 0.3]] * 5, traffic=None), side([0.01] * 5, traffic=None)
    assert contrast(asking(K.ERROR_RATIO), new, old).pairs == 0
    assert convicts(recorded(K.ERROR_RATIO), new, old)


# -- it lasts


def test_a_latency_must_be_bad_for_a_while_however_often_it_is_sampled() -> None:
    """Caches fill and code is compiled for a minute or two: two and a half minutes convict, a second less does not."""
    hot, cold = [0.3] * 12, [0.1] * 12
    for step, samples, lasted, guilty in (
        (7 * SECOND, 12, 77, False),
        (STEP, 5, 120, False),
        (149 * SECOND / 5, 6, 149, False),
        (STEP, 6, 150, True),
        (15 * SECOND, 11, 150, True),
    ):
        assert (samples - 1) * step == lasted * SECOND
        found = contrast(asking(K.LATENCY), side(hot[:samples], step=step), side(cold[:samples], step=step))
        assert found.convicting > 2
        assert found.convicts(a_policy()) is guilty, (step, samples)


@pytest.mark.parametrize(
    ("new", "sure"),
    [
        ([0.3, 0.3, 0.3, 0.1, 0.3, 0.3], True),
        ([0.3, 0.3, 0.1, 0.3, 0.1, 0.3], True),
        ([0.3, 0.3, 0.3, 0.1, 0.1, 0.3, 0.3, 0.3], False),
        ([0.1, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3], True),
    ],
    ids=["one good sample", "one good sample, twice", "two good samples", "good at first"],
)
def test_two_good_samples_in_a_row_end_a_bad_time(new: list[float], sure: bool) -> None:
    """One good sample between bad ones is a lucky minute, two are an end: what was before counts no more."""
    found = contrast(asking(K.LATENCY), side(new), side([0.1] * len(new)))
    assert found.sure is sure


@pytest.mark.parametrize(("later", "lasts"), [([0.0, 0.0, 0.0], False), ([0.0, 0.3, 0.0], True), ([], True)])
def test_pods_that_are_well_since_the_old_ones_left_are_not_convicted(later: list[float], lasts: bool) -> None:
    """They were slow to warm up; one bad sample of the newest three, or nothing since, does not clear them."""
    found = contrast(asking(K.ERROR_RATIO), side([0.3] * 5 + later), side([0.01] * 5))
    assert (found.convicting, found.lasts) == (5, lasts)
    assert found.convicts(a_policy()) is lasts


# -- it is of most of the pods


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [(K.CPU, 0.3, 0.99), (K.MEMORY, 0.3, 0.99), (K.ERROR_RATIO, 0.01, 0.9)],
)
def test_one_pod_of_three_is_on_a_bad_node(kind: SignalKind, good: float, bad: float) -> None:
    """Two of three are the revision; one of three, or of two, is its node."""
    old = side([good] * 6)
    for pods, guilty in (([bad, bad, good], True), ([bad, good, good], False), ([bad, good], False)):
        assert convicts(asking(kind), by_pod([pods] * 6), old) is guilty, pods


@pytest.mark.parametrize(
    ("third", "guilty"), [(0.3, True), (0.12, True), (0.1, False)], ids=["bad", "in doubt", "healthy"]
)
def test_a_slow_revision_is_slow_in_all_its_pods(third: float, guilty: bool) -> None:
    """Two of three that are slow while the third is as fast as the old ones are young, or on a slow node."""
    assert convicts(asking(K.LATENCY_P95), by_pod([[0.3, 0.3, third]] * 6), side([0.1] * 6)) is guilty


def test_a_single_pod_is_no_witness_of_its_cpu_and_is_one_of_its_errors() -> None:
    """A node can starve one pod; it does not make it answer with errors."""
    assert not convicts(asking(K.CPU), by_pod([[0.99]] * 6), side([0.3] * 6))
    lone = by_pod([[0.3]] * 5, traffic=None)
    assert convicts(recorded(K.ERROR_RATIO), lone, side([0.01] * 5, traffic=None))


@pytest.mark.parametrize(
    ("slow", "guilty"),
    [
        ([0.16] * 16, False),
        ([0.16] * 17, True),
        ([0.29] * 16, False),
        ([0.16] * 4 + [0.31] * 2, False),
        ([0.16] * 3 + [0.31] * 3, True),
    ],
    ids=[
        "a little",
        "a little for eight minutes",
        "not thrice as slow",
        "thrice as slow, twice",
        "thrice as slow, thrice",
    ],
)
def test_a_single_slow_pod_must_be_so_by_far_or_for_long(slow: list[float], guilty: bool) -> None:
    """Its node may be slow, and no second pod tells: three times the latency in three samples, or eight minutes of it."""
    assert convicts(asking(K.LATENCY), by_pod([[each] for each in slow]), side([0.1] * len(slow))) is guilty


# -- what people are shown


def test_the_worst_signal_is_named_with_its_numbers() -> None:
    """Medians of both sides, and the threshold that the new pods broke."""
    found = contrast(asking(K.ERROR_RATIO), side([0.3] * 5), side([0.02] * 5))
    assert found.worst is not None
    assert (found.worst.name, found.new_value, found.old_value, found.threshold) == ("s", 0.3, 0.02, 0.05)


def test_without_pairs_there_is_nothing_to_say() -> None:
    """No signal is named, nobody is convicted or acquitted."""
    found = contrast(asking(K.ERROR_RATIO), (), ())
    assert (found.pairs, found.worst, found.sure, found.lasts) == (0, None, False, True)
    assert not found.convicts(a_policy())
    assert not found.acquits(a_policy())


def idling(errors: float | None) -> tuple[Sample, ...]:
    """Pods that use a little CPU; that share of their requests fails (None: nothing is known of any)."""
    asked = () if errors is None else (("error_ratio", errors),)
    return tuple(Sample(at=NOON + STEP * index, values=(("cpu", 0.1), *asked)) for index in range(6))


@pytest.mark.parametrize(
    ("new", "old", "fine"), [(0.0, 0.0, 5), (None, 0.0, 0), (None, None, 5)], ids=["both told", "unheard", "CPU alone"]
)
def test_pods_that_answer_nobody_are_not_acquitted_by_their_cpu(
    new: float | None, old: float | None, fine: int
) -> None:
    """Where requests are known of the old pods, and of the new ones nothing but that they idle."""
    cpu = SignalRule(name="cpu", kind=K.CPU, query="q")
    policy = RecordedPolicy(cluster="test", signals=(*a_policy().signals, cpu))
    assert contrast(policy, idling(new), idling(old)).fine == fine


# -- as bad as ever


@pytest.mark.parametrize(
    ("before", "now", "alike"),
    [(0.95, 0.95, 0), (0.95, 1.42, 0), (0.95, 1.43, 5), (0.89, 0.95, 5), (None, 0.95, 5)],
    ids=["as ever", "half as much again", "more than that", "well before", "nobody knows"],
)
def test_what_was_as_bad_before_the_rollout_is_no_symptom(before: float | None, now: float, alike: int) -> None:
    """Pods that always use more than they asked for do not fail alike by that: of this rollout it tells nothing."""
    usual = by_pod([[before]] * 3) if before is not None else ()
    found = contrast(asking(K.CPU), by_pod([[now]] * 5), by_pod([[now]] * 5), before=usual)
    assert (found.alike, found.convicting) == (alike, 0)
