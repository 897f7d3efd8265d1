"""New pods that say nothing any more, or restart, or are as bad as the old ones: what no contrast of numbers shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.core.blame import suspect
from daemon.core.incidents import Suspicion, Tier
from daemon.core.measurement import Measurement, Peer, Sample
from daemon.core.model import AlertStatus, Neighbour, OnsetSource, Rollout
from daemon.core.policy import Policy, RecordedPolicy, SignalKind, SignalRule
from daemon.core.weights import WEIGHTS
from tests.core.builders import CART, NOON, SHOP, STEP, V1, V2, a_measurement, a_policy, a_sample, samples, states

ROLLOUT = Rollout(workload=SHOP, replaced=V1, revision=V2, started_at=NOON, seen_at=NOON)
NOW = NOON + 12 * STEP
CALLED = Neighbour(workload=SHOP, hops=1, called=True)


def suspicion(measurement: Measurement, *, policy: Policy | None = None, **more: Any) -> Suspicion:
    """What speaks against v2."""
    known: dict[str, Any] = {"old_ran": True, "chain_start": None, "onset": NOON + STEP}
    return suspect(ROLLOUT, measurement, onset_source=OnsetSource.RULE, policy=policy or a_policy(), **(known | more))


def terms(measurement: Measurement, **more: Any) -> dict[str, float]:
    """The names of its terms, with their values."""
    return {term.name: term.value for term in suspicion(measurement, **more).terms}


def silent(*, spoke: int = 4, silent_for: int = 4, **changes: Any) -> Measurement:
    """New pods answered `spoke` times without an error, and not in the last `silent_for`; the old ones go on, and are well."""
    values: dict[str, Any] = {
        "new": samples(0.001, until=NOW - STEP * silent_for, count=spoke),
        "old": samples(0.001, until=NOW, count=max(spoke + silent_for, 1)),
        "new_pods": 2,
        "new_ready": 2,
    }
    return replace(a_measurement(NOW), **(values | changes))


# -- fallen silent


def test_new_pods_that_fell_silent_beside_old_ones_are_as_good_as_a_contrast() -> None:
    """They answered, they do not any more, the old ones do, and an alert fires."""
    found = suspicion(silent())
    term = next(term for term in found.terms if term.name == "silence")
    assert (found.tier, term.value, term.weight) == (Tier.CONTRAST, 4.0, WEIGHTS["silence"])
    assert term.sentence == "The new pods fell silent 4 samples ago while the old ones answered."


def test_three_moments_of_silence_are_asked_for() -> None:
    """A scrape or two may be lost."""
    assert [("silence" in terms(silent(silent_for=count))) for count in (2, 3)] == [False, True]


def test_a_single_answer_is_none() -> None:
    """What spoke once may be on its way to speak; what spoke twice did."""
    assert [("silence" in terms(silent(spoke=count))) for count in (1, 2)] == [False, True]


def test_where_there_are_no_new_pods_nobody_is_silent() -> None:
    """A canary that was scaled to nothing has nothing to say."""
    assert "silence" not in terms(silent(new_pods=0, new_ready=0))


QUIET: dict[str, Any] = {"alerts": states(AlertStatus.RESOLVED)}


@pytest.mark.parametrize(
    ("circumstances", "told"),
    [
        (QUIET, False),
        ({"alerts": ()}, False),
        ({}, True),
        (QUIET | {"new_ready": 1}, True),
        (QUIET | {"restarts": 1}, True),
    ],
    ids=["resolved", "no alert", "firing", "not ready", "restarted"],
)
def test_silence_alone_may_be_a_scrape_that_is_gone(circumstances: dict[str, Any], told: bool) -> None:
    """It counts beside an alert that fires, or pods that are not ready or restarted."""
    assert ("silence" in terms(silent(**circumstances))) is told


def test_old_pods_that_are_bad_themselves_make_silence_no_evidence() -> None:
    """An alert on a workload whose old pods err is about these; not so where the new ones are not even ready."""
    sick = samples(0.3, until=NOW, count=8)
    assert "silence" not in terms(silent(old=sick))
    assert "silence" in terms(silent(old=sick, new_ready=1))


@pytest.mark.parametrize(
    ("neighbour", "told"),
    [
        (CALLED, True),
        (replace(CALLED, hops=2), False),
        (replace(CALLED, called=False), False),
    ],
    ids=["called", "called by what is called", "a caller"],
)
def test_only_who_is_called_directly_is_accused_by_silence(neighbour: Neighbour, told: bool) -> None:
    """An alert elsewhere tells of pods that are not heard only where it is their callers' own."""
    assert ("silence" in terms(silent(), neighbour=neighbour)) is told


# -- everybody silent


def test_silence_is_told_by_old_pods_that_answer() -> None:
    """Moments in which nobody answers are nobody's silence: the old pods may be gone, and nobody may ask."""
    gone = replace(silent(silent_for=2, old=samples(0.001, until=NOW - STEP, count=5)), at=NOW + 2 * STEP)
    assert "silence" not in terms(gone)


def test_who_spoke_last_is_not_the_silent_one() -> None:
    """The old pods left, the new ones answered after that: minutes without anybody are nobody's silence."""
    assert "silence" not in terms(silent(old=samples(0.001, until=NOW - 8 * STEP, count=3)))


def test_without_old_pods_there_is_no_silence_beside_anybody() -> None:
    """Nobody ever answered: there is no metric to miss."""
    assert "silence" not in terms(silent(old=()))
    assert "unheard" not in terms(silent(spoke=0, old=(), new=()))


# -- never heard


def test_pods_that_were_never_heard_are_at_most_proposed() -> None:
    """They may only lack a scrape annotation: half the weight, and no tier that acts."""
    found = suspicion(silent(spoke=0, silent_for=4))
    term = next(term for term in found.terms if term.name == "unheard")
    assert (found.tier, term.value, term.weight) == (Tier.BEFORE_AFTER, 4.0, WEIGHTS["unheard"])
    assert term.sentence == "Nothing was heard of the new pods in 4 samples, and an alert fires."


def named(measurement: Measurement, **more: Any) -> str | None:
    """How the silence of pods that were never heard is called, where their caller's alert fires."""
    found = {term.name: term for term in suspicion(measurement, **({"neighbour": CALLED} | more)).terms}
    return next((name for name in ("silence", "unheard") if name in found), None)


def test_pods_that_were_never_heard_and_whose_callers_hurt_are_as_good_as_fallen_silent() -> None:
    """They are ready, the old ones have plenty to do in the same minutes, and it hurts nowhere but at who calls them."""
    found = suspicion(silent(spoke=0, silent_for=4), neighbour=CALLED)
    term = next(term for term in found.terms if term.name == "silence")
    assert (found.tier, term.value, term.weight) == (Tier.CONTRAST, 4.0, WEIGHTS["silence"])
    assert term.sentence == "Nothing was heard of the new pods in 4 samples, and an alert fires."


@pytest.mark.parametrize(
    ("circumstances", "name"),
    [
        ({}, "silence"),
        ({"neighbour": None}, "unheard"),
        ({"neighbour": replace(CALLED, hops=2)}, None),
        ({"neighbour": replace(CALLED, called=False)}, None),
        ({"besides": 1}, "unheard"),
        ({"onset": NOW}, "silence"),
        ({"onset": NOW + timedelta(seconds=1)}, "unheard"),
    ],
    ids=[
        "its caller hurts", "it hurts itself", "a caller's caller", "a callee", "it hurts elsewhere, too",
        "since they answered last", "since nobody answers",
    ],
)  # fmt: skip
def test_what_else_would_explain_it_makes_pods_that_were_never_heard_less(
    circumstances: dict[str, Any], name: str | None
) -> None:
    """They may only lack their metrics: something else hurts besides, or it began when the old pods were gone."""
    assert named(silent(spoke=0, silent_for=4), **circumstances) == name


@pytest.mark.parametrize(
    ("steps", "onset", "name"),
    [
        ((), NOON + STEP, "silence"),
        ((NOON,), NOON + 3 * STEP, "silence"),
        ((NOON,), NOON + 4 * STEP, "unheard"),
        ((NOON, NOON + 4 * STEP), NOON + 4 * STEP, "silence"),
        ((NOON + 2 * STEP,), NOON + STEP, "unheard"),
    ],
    ids=["nobody watched", "soon after", "much later", "soon after others", "before"],
)
def test_a_callers_alert_is_about_pods_that_were_ready_just_then(
    steps: tuple[datetime, ...], onset: datetime, name: str
) -> None:
    """Nothing else ties an alert elsewhere to pods of which nothing is heard."""
    rollout = replace(ROLLOUT, steps=steps)
    known: dict[str, Any] = {"old_ran": True, "chain_start": None, "onset_source": OnsetSource.RULE}
    measured = silent(spoke=0, silent_for=4)
    found = suspect(rollout, measured, onset, policy=a_policy(), neighbour=CALLED, **known)
    assert [term.name for term in found.terms if term.name in {"silence", "unheard"}] == [name]


def test_callers_that_were_asked_and_are_well_take_their_alert_back() -> None:
    """It is about something else."""
    well = a_sample(NOW, errors=0.001)
    caller = Peer(workload=CART, before=well, now=well, since=(well, well))
    assert named(silent(spoke=0, silent_for=4, callers=(caller,))) == "unheard"


@pytest.mark.parametrize(("ready", "name"), [(NOW - 3 * STEP, "unheard"), (NOW - 2 * STEP, None)])
def test_only_since_they_are_ready_they_could_be_heard(ready: datetime, name: str | None) -> None:
    """Three samples in which the old pods answered: one that ends when the first new one becomes ready is none of them."""
    measured = silent(spoke=0, silent_for=8, ready_since=(ready, NOW))
    assert next((each for each in terms(measured) if each in {"silence", "unheard"}), None) == name


def resting(used: float, *, usual: float | None = 0.3, moments: int = 4) -> Measurement:
    """Of the new pods nothing is known but the CPU that they use, of those before them all."""

    def with_cpu(share: float | None, at: datetime, *known: tuple[str, float]) -> Sample:
        return Sample(at=at, values=(*known, *((("cpu", share),) if share is not None else ())))

    spent = tuple(with_cpu(used, NOW - STEP * number) for number in reversed(range(moments)))
    before = tuple(with_cpu(usual, NOON - STEP * number, ("error_ratio", 0.001)) for number in (3, 2, 1))
    return silent(spoke=0, silent_for=4, new=spent, before=before)


AT_REST = a_policy(signals=(*a_policy().signals, SignalRule(name="cpu", kind=SignalKind.CPU, query="q")))


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        (resting(0.0999), "silence"),
        (resting(0.11), "unheard"),
        (resting(0.1, usual=None), "unheard"),
        (resting(0.1, moments=3), "unheard"),
    ],
    ids=["a third", "more", "nobody knew", "just begun"],
)
def test_ready_pods_that_use_no_cpu_do_not_work(measured: Measurement, name: str) -> None:
    """What only lacks its metrics works for its requests as the pods before it did; an alert fires, so it is missed."""
    found = {term.name: term for term in suspicion(measured, policy=AT_REST).terms}
    assert [each for each in found if each in {"silence", "unheard"}] == [name]
    assert ("hardly any CPU" in found[name].sentence) is (name == "silence")


def test_pods_that_nobody_misses_may_rest() -> None:
    """Ready and asked nothing, as a canary is before its first share: without an alert that is no fault."""
    quiet = replace(resting(0.1), alerts=())
    assert {"silence", "unheard"}.isdisjoint(terms(quiet, policy=AT_REST))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"new_ready": 1}, "silence"),
        ({"new_ready": 0}, "unheard"),
        ({"old": samples(0.001, until=NOW, count=5, traffic=1.0)}, "silence"),
        ({"old": samples(0.001, until=NOW, count=5, traffic=0.99)}, "unheard"),
        (QUIET, None),
    ],
    ids=["one is ready", "none is ready", "enough to do", "little to do", "no alert"],
)
def test_who_could_not_be_heard_is_not_missed(changes: dict[str, Any], name: str | None) -> None:
    """Pods that are not ready are asked nothing, and of little traffic chance may leave them none."""
    assert named(silent(**({"spoke": 0, "silent_for": 5} | changes))) == name


def test_who_answers_says_something_of_requests() -> None:
    """Old pods of which only the CPU is known answer nobody, as far as anybody knows."""
    cpu = SignalRule(name="cpu", kind=SignalKind.CPU, query="q")
    recorded = RecordedPolicy(cluster="test", signals=(*a_policy().signals, cpu))
    old = tuple(Sample(at=NOW - STEP * back, values=(("cpu", 0.3),)) for back in reversed(range(4)))
    errors = tuple(replace(each, values=(*each.values, ("error_ratio", 0.001))) for each in old)
    assert named(silent(spoke=0, old=errors), policy=recorded) == "silence"
    assert named(silent(spoke=0, old=old), policy=recorded) is None


def test_pods_that_were_never_heard_are_told_by_an_alert_only() -> None:
    """Not ready and silent from the start is a start that takes its time."""
    assert "unheard" not in terms(silent(spoke=0, new_ready=0, **QUIET))


def test_pods_that_nobody_asks_are_heard() -> None:
    """A series that says 0 requests per second is no silence, nor is one without traffic beside it."""
    idle = samples(0.0, until=NOW, count=4, traffic=0.0)
    assert "unheard" not in terms(silent(spoke=0, new=idle))
    unknown = samples(0.001, until=NOW, count=4, traffic=None)
    assert "unheard" not in terms(silent(spoke=0, new=unknown))


# -- bad alike


def test_old_and_new_bad_alike_speaks_for_the_rollout() -> None:
    """It suffers from something else: less than by timing alone, with how often."""
    found = suspicion(a_measurement(NOW, new=0.3, old=0.3, before=()))
    term = next(term for term in found.terms if term.name == "alike")
    assert (term.value, term.weight) == (5.0, WEIGHTS["alike"])
    assert found.score < a_policy().blame_threshold
    assert term.sentence == "Old and new pods were bad alike in 5 of the last 5 samples."


def test_one_bad_moment_of_both_is_not_alike() -> None:
    """As persistent as a conviction must be."""
    both = (*samples(0.02, until=NOW - STEP, count=4), *samples(0.3, until=NOW, count=1))
    assert "alike" not in terms(replace(a_measurement(NOW), new=both, old=both))
