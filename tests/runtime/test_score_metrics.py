"""The scorecard's metrics: complete from the first scrape, and never more series than were agreed on."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from daemon.core.incidents import Word
from daemon.core.scorecard import MADE, Tally
from daemon.core.state import State
from daemon.runtime.score_metrics import ALL, JUDGED, WORKLOADS_MAX
from daemon.runtime.telemetry import Metrics
from tests.core.builders import DAY, NOON, SHOP, a_policy
from tests.core.test_scorecard import a_decision, a_tally, judged

Series = dict[tuple[str, ...], float]


def series(metrics: Metrics, name: str) -> Series:
    """The values of a scorecard's metric, by its labels' values, the workload first."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.labels["workload"], *(value for key, value in sorted(sample.labels.items()) if key != "workload")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"lastgood_scorecard_{name}"
    }  # fmt: skip


def told(*tallies: Tally) -> Metrics:
    metrics = Metrics()
    state = State(scorecards={each.workload.key: each for each in tallies})
    metrics.recompute(state, a_policy(), NOON + 20 * DAY)
    return metrics


def test_all_workloads_start_at_0() -> None:
    """Before anything was decided; a precision that is not known is no number."""
    metrics = Metrics()
    kinds = {(ALL, made.value, judged): 0.0 for made in MADE for judged in JUDGED}
    assert series(metrics, "decisions") == kinds
    for name in ("precision_low", "healthy_rollouts", "enough"):
        assert series(metrics, name) == {(ALL,): 0.0}
    assert math.isnan(series(metrics, "precision")[ALL,])


def test_a_workload_has_its_own() -> None:
    """Decisions by kind and word, precision with its lower end, healthy rollouts, and whether it suffices."""
    metrics = told(a_tally(*judged(19, 1), a_decision(30), healthy=7))
    for workload in (SHOP.key, ALL):
        found = series(metrics, "decisions")
        assert [found[workload, "roll_back", word] for word in ("right", "wrong", "unjudged")] == [19, 1, 1]
        assert series(metrics, "precision")[workload,] == 0.95
        assert series(metrics, "precision_low")[workload,] == pytest.approx(0.804, abs=0.001)
        assert series(metrics, "healthy_rollouts")[workload,] == 7
        assert series(metrics, "enough")[workload,] == 1


def test_the_number_of_series_is_bounded() -> None:
    """Those decided about most recently have series, one without a decision has none; all are in `all`."""
    tallies = []
    for index in range(WORKLOADS_MAX + 5):
        decision = a_decision(1, Word.RIGHT, at=NOON + index * timedelta(minutes=1))
        tallies.append(replace(a_tally(decision), workload=replace(SHOP, name=f"w{index:03}")))
    quiet = replace(a_tally(healthy=3), workload=replace(SHOP, name="quiet"))
    metrics = told(*reversed(tallies), quiet)
    names = {key[0] for key in series(metrics, "decisions")}
    assert names == {ALL, *(each.workload.key for each in tallies[5:])}
    assert series(metrics, "decisions")[ALL, "roll_back", "right"] == WORKLOADS_MAX + 5
    assert series(metrics, "healthy_rollouts")[ALL,] == 3


def test_a_workload_that_lost_its_place_has_no_stale_series() -> None:
    """What was told of it once is not told for ever."""
    metrics = told(a_tally(*judged(2)))
    metrics.recompute(State(), a_policy(), NOON)
    assert set(series(metrics, "precision")) == {(ALL,)}
