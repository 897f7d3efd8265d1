"""A latency that convicts is not that of a warm-up, of one bad node, or of a queue: what new pods say when the old are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from daemon.core.measurement import Sample
from daemon.core.policy import SignalKind, SignalRule
from tests.core.builders import NOON, SECOND, STEP, a_policy
from tests.core.contrast_cases import K, asking, by_pod, contrast, convicts, one, recorded, side


@pytest.mark.parametrize(
    ("overlap", "later", "ready", "guilty"),
    [
        ([0.3] * 4, [0.3] * 6, (0, 0), True),
        ([0.3] * 4, [0.3] * 6, (0, 0, 120), False),
        ([0.3] * 4, [0.3] * 7, (0, 0, 120), True),
        ([0.3] * 4, [0.3] * 4 + [0.1, 0.1], (0, 0), False),
        ([0.1] * 4, [0.3] * 9, (0, 0), False),
        ([0.3] * 4, [0.3] * 9, (), False),
    ],
    ids=[
        "goes on",
        "the youngest may be cold",
        "the youngest is warm",
        "well since",
        "well beside the old pods",
        "unknown",
    ],
)
def test_a_latency_that_goes_on_when_all_pods_are_warm_was_no_warm_up(
    overlap: list[float], later: list[float], ready: Sequence[int], guilty: bool
) -> None:
    """After 90 s side by side, as of a rolling update: what goes on is none, and what begins later convicts nobody."""
    since = tuple(NOON + second * SECOND for second in ready)
    found = contrast(asking(K.LATENCY), side(overlap + later), side([0.1] * len(overlap)), ready_since=since)
    assert found.convicts(a_policy()) is guilty


@pytest.mark.parametrize(
    ("value", "minutes", "ready", "guilty"),
    [
        (0.29, 7, (0,), False),
        (0.29, 9, (0,), True),
        (0.31, 7, (0,), True),
        (0.29, 7, (0, 60), True),
        (0.29, 7, (0, 9 * 60), False),
        (0.29, 7, (), True),
    ],
    ids=[
        "a little slow",
        "for long",
        "three times",
        "two of them",
        "the other one came later",
        "nobody knows how many",
    ],
)
def test_where_only_all_pods_together_are_measured_a_single_one_may_have_a_slow_node_too(
    value: float, minutes: int, ready: Sequence[int], guilty: bool
) -> None:
    """As the daemon measures: of one new pod what is said of all is said of it."""
    since = tuple(NOON + second * SECOND for second in ready)
    count = 2 * minutes + 1
    found = contrast(asking(K.LATENCY), side([value] * count), side([0.1] * count), ready_since=since)
    assert found.convicts(a_policy()) is guilty


@pytest.mark.parametrize(
    ("second", "guilty"), [(4 * 60, True), (30 * 60, False)], ids=["a second one", "still the only one"]
)
def test_the_daemon_asks_pods_that_came_later_too(second: int, guilty: bool) -> None:
    """Together they are as slow as the first one was: then it was not its node."""
    since = (NOON, NOON + second * SECOND)
    new, old = side([0.16] * 20), side([0.1] * 6)
    assert contrast(asking(K.LATENCY), new, old, ready_since=since).convicts(a_policy()) is guilty


@pytest.mark.parametrize(
    ("later", "guilty"),
    [
        ([[0.16, 0.16]] * 2, True),
        ([[0.16, 0.16]], False),
        ([[0.2, 0.1]] * 5, False),
        ([[0.1, 0.1]] + [[0.16, 0.16]] * 4, True),
        ([[0.16]] * 20, False),
        ([[0.2, 0.1]] * 20, False),
    ],
    ids=[
        "all of them, twice",
        "all of them, once",
        "one of two",
        "all of them, in the end",
        "still the only one",
        "one of two for long",
    ],
)
def test_pods_that_came_later_tell_whether_it_was_the_node_of_the_first(later: list[list[float]], guilty: bool) -> None:
    """Beside the old pods there was one new one, a little slow: others that are as slow once the old ones are gone convict."""
    new = by_pod([[0.16]] * 6 + later)
    assert convicts(asking(K.LATENCY), new, side([0.1] * 6), ready_since=(NOON,)) is guilty


@pytest.mark.parametrize("kind", [K.CPU, K.MEMORY])
def test_only_latency_is_told_by_pods_that_came_later(kind: SignalKind) -> None:
    """What the old pods did is done by fewer or more of the new ones then: that they use more proves nothing."""
    assert not convicts(asking(kind), by_pod([[0.95]] * 6 + [[0.95, 0.95]] * 5), side([0.1] * 6), ready_since=(NOON,))


@pytest.mark.parametrize(
    ("times", "cpu", "pods", "guilty"),
    [
        (1.6, 0.6, 2, False),
        (1.4, 0.6, 2, True),
        (1.1, 0.83, 2, False),
        (1.05, 0.95, 2, False),
        (1.05, 0.83, 2, True),
        (1.6, None, 2, True),
        (1.6, 0.6, 4, True),
        (1.6, 0.6, 0, True),
    ],
    ids=[
        "too much",
        "it bears that",
        "a little too much",
        "more than the old ones have",
        "as much as the others",
        "no CPU known",
        "per pod",
        "uncounted",
    ],
)
def test_pods_that_are_sent_more_than_their_cpu_bears_are_slow_with_any_revision(
    times: float, cpu: float | None, pods: int, guilty: bool
) -> None:
    """What the old pods use for their requests, times what the new ones are sent: over the trigger it is a queue."""

    def sent(latency: float, rate: float, used: float | None, count: int) -> tuple[Sample, ...]:
        known = {"traffic": rate, "s": latency, "cpu": used}
        values = tuple((name, number) for name, number in known.items() if number is not None)
        each = (("s", (latency,) * count),) if count else ()
        return tuple(Sample(at=NOON + STEP * n, values=values, pods=count or None, each=each) for n in range(8))

    policy = a_policy(signals=(*asking(K.LATENCY).signals, SignalRule(name="cpu", kind=K.CPU, query="q")))
    new = sent(0.3, 20.0 * times, 0.5, pods)
    assert convicts(policy, new, sent(0.1, 20.0, cpu, 2)) is guilty


def test_only_latency_waits_in_a_queue() -> None:
    """Errors of pods that are sent more are errors."""
    rules = (*asking(K.ERROR_RATIO).signals, SignalRule(name="cpu", kind=K.CPU, query="q"))
    sides = [
        tuple(
            Sample(at=NOON + STEP * n, values=(("traffic", rate), ("s", errors), ("cpu", 0.8)), pods=2)
            for n in range(5)
        )
        for rate, errors in ((40.0, 0.3), (20.0, 0.01))
    ]
    assert convicts(a_policy(signals=rules), *sides)


@pytest.mark.parametrize(
    ("traffic", "guilty"),
    [(0.6, False), (0.67, True), (None, True)],
    ids=["ninety requests", "a hundred", "nobody knows how many"],
)
def test_a_latency_of_a_few_requests_is_that_of_the_slowest_of_them(traffic: float | None, guilty: bool) -> None:
    """A p95 of forty requests is the third slowest: two that waited for garbage collection look like a revision."""
    policy = recorded(K.LATENCY) if traffic is None else asking(K.LATENCY)
    policy = replace(policy, min_requests=1, min_traffic_rate=0.0)
    new, old = side([0.9] * 8, traffic=traffic), side([0.1] * 8, traffic=traffic)
    assert convicts(policy, new, old) is guilty


def test_of_errors_a_few_requests_tell_enough() -> None:
    """Of thirty-odd requests eight failed, of the old pods' none: that is what a proportion test is for."""
    policy = replace(asking(K.ERROR_RATIO), min_requests=1, min_traffic_rate=0.0)
    assert convicts(policy, side([0.3] * 5, traffic=0.3), side([0.0] * 5, traffic=0.3))


@pytest.mark.parametrize(("few", "guilty"), [(0.33, False), (0.34, True)], ids=["nineteen requests", "twenty"])
def test_a_sample_of_a_handful_of_requests_tells_no_latency(few: float, guilty: bool) -> None:
    """Of the last old pod's two last requests nobody knows how slow it is."""
    bad, well = [0.9] * 3, [0.1] * 5
    new = (*side(well), *(one(NOON + STEP * (5 + index), value, 20.0) for index, value in enumerate(bad)))
    old = (*side(well), *(one(NOON + STEP * (5 + index), 0.1, few) for index in range(3)))
    found = contrast(asking(K.LATENCY), new, old)
    assert bool(found.convicting) is guilty
