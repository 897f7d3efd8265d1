"""The methods that Lastgood is compared with do what their authors say, on recordings made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

import pytest

from handlers.backtest.recording import EdgeSeen, PodSeen, Record, Recording, SampleSeen, TruthSeen, recording
from tests.backtest.score_cases import CART, SHIP, TAX, alert, began, minute, pod, rolled, sample
from tests.bench import baselines, kayenta
from tests.bench.baselines import METHODS, Call, Method
from tests.bench.sides import watched

QUIET = [0.001, 0.002, 0.001, 0.0, 0.001, 0.002, 0.001, 0.003, 0.001, 0.0, 0.001, 0.002]
GATES = {name: method for name, method in METHODS.items() if "deploy" not in name}


def made(*records: Record) -> Recording:
    return recording("case", sorted(records, key=lambda record: record.at))


def calls(method: Method, *records: Record) -> list[tuple[datetime, str]]:
    return [(call.at, call.workload) for call in method(made(*records))]


def of_new(values: Sequence[float], **keywords: bool) -> list[Record]:
    """CART rolled out at noon, quiet before; the old pod stays quiet beside the new one."""
    return rolled(CART, old=[*QUIET, *([0.001] * len(values))], new=list(values), **keywords)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_calls_an_outage_of_the_new_pods_and_no_quiet_rollout(name: str) -> None:
    """Half of all requests fail on the new pod alone; another workload's rollout is quiet."""
    quiet = rolled(SHIP, old=[*QUIET, *QUIET], new=QUIET)
    found = calls(METHODS[name], *of_new([0.5] * 12), *quiet)
    assert [workload for _, workload in found] == [CART]


@pytest.mark.parametrize("name", METHODS)
def test_no_method_reads_the_truth(name: str) -> None:
    """With and without the truth the calls are the same."""
    records = [*of_new([0.5] * 12), alert(4)]
    assert calls(METHODS[name], *records) == calls(METHODS[name], *records, TruthSeen(at=minute(1), culprit=SHIP))


@pytest.mark.parametrize("name", METHODS)
def test_no_method_falls_over_what_is_missing(name: str) -> None:
    """An empty recording, one of nothing but a rollout and an alert, and null values."""
    METHODS[name](made())
    METHODS[name](made(began(0, CART, replaces=None), alert(3), sample(1, CART, None), sample(2, CART, 0.5)))


def test_any_deploy_calls_all_of_the_15_minutes_before_the_alert_and_the_latest_only_the_last() -> None:
    """Of rollouts 20, 15, 5 minutes before, and one after the alert began to fire."""
    records: list[Record] = [began(0, TAX), began(5, CART), began(15, SHIP), began(21, TAX), alert(22, starts=20)]
    assert calls(baselines.any_deploy, *records) == [(minute(22), CART), (minute(22), SHIP)]
    assert calls(baselines.latest_deploy, *records) == [(minute(22), SHIP)]
    assert calls(baselines.any_deploy, *records[:-1], alert(22, firing=False, starts=20)) == []


def test_a_failure_limit_counts_all_failures_not_only_those_in_a_row() -> None:
    """Argo Rollouts is cumulative: bad, good, bad, good, bad, good, bad passes a limit of 3 at the fourth; 0 at the first."""
    records = of_new([0.2, 0.0, 0.2, 0.0, 0.2, 0.0, 0.2])
    assert calls(baselines.argo_failure_limit, *records) == [(minute(7), CART)]
    assert calls(baselines.fixed_threshold, *records) == [(minute(1), CART)]
    assert calls(baselines.argo_failure_limit, *of_new([0.2, 0.2, 0.2, 0.0])) == []


@pytest.mark.parametrize("method", [baselines.three_sigma, baselines.three_mad])
def test_three_of_five_asks_for_persistence(method: Method) -> None:
    """Two bad of the last five are not enough, three are, and then at once."""
    assert calls(method, *of_new([0.2, 0.2, 0.0, 0.0, 0.0, 0.2, 0.2])) == []
    assert calls(method, *of_new([0.2, 0.0, 0.2, 0.0, 0.2])) == [(minute(5), CART)]


def test_one_outlier_of_the_past_blinds_the_mean_and_not_the_median() -> None:
    """Why MAD: with one minute of 50 % errors in the history, 10 % is within 3 sigma and far outside 3 MAD."""
    history = [*QUIET[:-1], 0.5, *([0.001] * 5)]
    records = rolled(CART, old=history, new=[0.1] * 5)
    assert calls(baselines.three_sigma, *records) == []
    assert calls(baselines.three_mad, *records) == [(minute(3), CART)]


def test_cusum_adds_up_what_no_single_sample_shows() -> None:
    """1.5 spreads (floor: half a point) over the mean add 1 a sample: over 5 after the sixth, and never 3 sigma."""
    mean = sum(QUIET) / len(QUIET)
    records = of_new([mean + 0.0075] * 8)
    assert calls(baselines.cusum, *records) == [(minute(6), CART)]
    assert calls(baselines.three_sigma, *records) == []


def test_without_history_the_methods_that_learn_say_nothing() -> None:
    """Four samples before the rollout are too few."""
    records = rolled(CART, old=QUIET[:4], new=[0.5] * 8, overlap=False)
    learning = (baselines.three_sigma, baselines.three_mad, baselines.cusum, baselines.kayenta)
    assert [calls(method, *records) for method in learning] == [[], [], [], []]


def test_kayenta_calls_high_what_is_clear_of_a_quarter_of_the_shift() -> None:
    """A shift far beyond the noise is High; equal values, fallen ones and the noise itself are not."""
    chance = random.Random(3)
    control = [chance.gauss(10, 1) for _ in range(12)]
    assert kayenta.high([value + 5 for value in control], control)
    assert kayenta.high([1.0] * 6, [0.0] * 6)
    assert not kayenta.high([1.0] * 6, [1.0] * 6)
    assert not kayenta.high([value - 5 for value in control], control)

    def noise() -> list[float]:
        return [chance.gauss(10, 1) for _ in range(12)]

    assert sum(kayenta.high(noise(), noise()) for _ in range(200)) <= 6  # 1 % is what a confidence of .98 allows


def test_kayentas_bounds_are_those_of_the_published_test() -> None:
    """Hollander and Wolfe's example of the Hodges-Lehmann shift (chorioamnion, ex. 4.1): the estimate is -.305."""
    late = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    early = [1.15, 0.88, 0.90, 0.74, 1.21]
    low, estimate = kayenta.shift(early, late)
    assert estimate == pytest.approx(-0.305)
    assert low < -0.76  # the 95 % interval is (-.76, .15); this is of 98 %


def test_kayenta_compares_with_the_old_pods_of_the_same_minutes() -> None:
    """Both sides fail alike: Kayenta is silent where a fixed threshold and before-and-after gates call."""
    shared = rolled(CART, old=[*QUIET, *([0.5] * 12)], new=[0.5] * 12)
    assert calls(baselines.kayenta, *shared) == []
    assert calls(baselines.fixed_threshold, *shared)


def test_kayenta_falls_back_on_the_past_when_the_old_pods_are_gone() -> None:
    """No overlap: the control is the history before the rollout."""
    gone = rolled(CART, old=QUIET, new=[0.5] * 12, overlap=False)
    assert calls(baselines.kayenta, *gone) == [(minute(kayenta.SAMPLES_MIN), CART)]


def test_gandalf_vetoes_what_was_faulty_before_the_rollout() -> None:
    """The workload had the fault before it was rolled out."""
    before = [*QUIET, 0.5, 0.5, 0.5, *([0.5] * 6)]
    assert calls(baselines.gandalf, *rolled(CART, old=before, new=[0.5] * 6)) == []


def test_gandalf_outlives_more_vetoes_than_votes() -> None:
    """Three pods had the fault before, one has it now: the logarithm of a negative number is not asked for."""
    before: list[Record] = []
    for name in ("a", "b", "c"):
        before.append(pod(-20, name, CART, "old"))
        before += [sample(at - 15, CART, value, of=name) for at, value in enumerate([*QUIET, 0.5, 0.5, 0.5])]
    assert calls(baselines.gandalf, *before, *rolled(CART, old=QUIET, new=[0.5] * 6, overlap=False)) == []


def test_gandalf_asks_how_many_of_the_faulty_pods_the_rollout_reached() -> None:
    """One new pod and three old ones of others fail: not reached, so not blamed; if those call it, it is blamed."""
    others: list[Record] = []
    for number, workload in enumerate((SHIP, TAX, "shop/Deployment/mail")):
        name = f"other-{number}"
        others.append(pod(-20, name, workload, "old"))
        others += [sample(at - 12, workload, value, of=name) for at, value in enumerate([*QUIET, *([0.5] * 8)])]
    assert calls(baselines.gandalf, *of_new([0.5] * 8), *others) == []
    edges = [EdgeSeen(at=minute(-30), caller=workload, callee=CART) for workload in (SHIP, TAX, "shop/Deployment/mail")]
    found = calls(baselines.gandalf, *of_new([0.5] * 8), *others, *edges)
    assert [workload for _, workload in found] == [CART]


def test_the_new_side_is_the_revision_rolled_out_and_the_old_one_what_it_replaces() -> None:
    """Pods of a third revision are on neither side; a point is the mean by the requests behind it."""
    records: list[Record] = [
        pod(-9, "a", CART, "old"), pod(-9, "x", CART, "older"), began(0, CART), pod(0, "b", CART, "new"),
        pod(0, "c", CART, "new"),
    ]  # fmt: skip
    for at in (-2, -1, 1, 2):
        records += [sample(at, CART, 0.1, of="a"), sample(at, CART, 0.9, of="x")]
    for at in (1, 2):
        few = SampleSeen(at=minute(at), signal="error_ratio", workload=CART, pod="b", value=1.0, weight=10)
        many = SampleSeen(at=minute(at), signal="error_ratio", workload=CART, pod="c", value=0.0, weight=90)
        records += [few, many]
    (found,) = watched(made(*records))
    assert [point.value for point in found.new["error_ratio"]] == [0.1, 0.1]
    assert [point.value for point in found.old["error_ratio"]] == [0.1, 0.1]
    assert [point.value for point in found.before["error_ratio"]] == [0.5, 0.5]


def test_where_no_pod_has_numbers_the_workloads_own_stand_for_the_new_ones() -> None:
    """A recording from metrics without pods: before and after."""
    records = [sample(at, CART, 0.5 if at > 0 else 0.001) for at in range(-10, 6)]
    (found,) = watched(made(began(0, CART), *records))
    assert len(found.new["error_ratio"]) == 5
    assert found.old == {}
    assert calls(baselines.three_sigma, began(0, CART), *records) == [(minute(3), CART)]


def test_a_rollout_is_watched_until_the_next_of_its_workload_and_for_half_an_hour() -> None:
    """What fails later is not this gate's."""
    late = [sample(at, CART, 0.5 if at > 31 else 0.001) for at in range(-10, 60)]
    assert calls(baselines.fixed_threshold, began(0, CART), *late) == []
    assert baselines.fixed_threshold(made(began(0, CART), began(20, CART), *late)) == [
        Call(at=minute(32), workload=CART)
    ]
    assert watched(made(began(0, CART), began(20, CART), *late))[0].until == minute(20)


def test_the_errors_of_a_workloads_own_calls_are_not_its_own_errors() -> None:
    """Outbound samples belong to the callee."""
    outbound = SampleSeen(at=minute(1), signal="error_ratio", workload=CART, peer=TAX, direction="outbound", value=1.0)
    inbound = SampleSeen(at=minute(2), signal="error_ratio", workload=CART, peer=SHIP, direction="inbound", value=1.0)
    assert calls(baselines.fixed_threshold, began(0, CART), outbound) == []
    assert calls(baselines.fixed_threshold, began(0, CART), inbound) == [(minute(2), CART)]


def test_a_pod_that_changes_hands_is_read_by_its_last_revision() -> None:
    """A StatefulSet's pod keeps its name: what counts is the revision it has at the sample's time."""
    records: list[Record] = [PodSeen(at=minute(-20), pod="db-0", workload=CART, revision="old", ready=True)]
    records += [began(0, CART), PodSeen(at=minute(2), pod="db-0", workload=CART, revision="new", ready=True)]
    records += [sample(at, CART, 0.0, of="db-0") for at in (-3, -2, -1, 1)]
    records += [sample(at, CART, 0.5, of="db-0") for at in (3, 4)]
    (found,) = watched(made(*records))
    assert [point.value for point in found.new["error_ratio"]] == [0.5, 0.5]
    assert [point.value for point in found.old["error_ratio"]] == [0.0]
