"""The replay on a small shop made by hand: what is rolled back, what is not, and what the verdict does not depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from daemon.core.incidents import VerdictKind
from daemon.core.policy import Policy, SignalKind, SignalRule
from daemon.core.reasons import Reason
from handlers.backtest import intervals
from handlers.backtest import replay as replays
from handlers.backtest.recording import (
    AlertSeen,
    Evidence,
    PodSeen,
    Record,
    Recording,
    RolloutSeen,
    SampleSeen,
    TruthSeen,
    recording,
    written,
)
from handlers.backtest.replay import replay
from handlers.backtest.samples import RULES
from handlers.backtest.verdicts import Told
from tests import repository
from tests.backtest.replay_cases import BAD, FRONT, GOOD, MINUTE, ROLLED_AT, WEB, Shop, documents, told, without

SECOND = timedelta(seconds=1)


def rolled_back(found: list[Told]) -> list[Told]:
    return [each for each in found if each.verdict is VerdictKind.ROLL_BACK]


@pytest.mark.parametrize("alert_after", [3 * MINUTE, 2 * MINUTE, None])
@pytest.mark.parametrize("completed", [True, False])
def test_a_bad_rollout_is_rolled_back_within_four_samples(alert_after: timedelta | None, completed: bool) -> None:
    """By contrast, once, with or without an alert, and whether or not `completed` is ever sent; never at the first sample."""
    found = told(Shop(alert_after=alert_after, completed=completed))
    (one,) = rolled_back(found)
    assert (one.workload, one.revision, one.replaces, one.reason) == (WEB, "new", "old", Reason.BLAMED_CONTRAST)
    assert 2 <= (one.at - ROLLED_AT) / MINUTE <= 4
    assert one.score is not None
    assert one.score > Policy(cluster="x").blame_threshold
    assert {term.name for term in one.evidence}
    assert one.would_refuse == ()


@pytest.mark.parametrize("step", [10 * SECOND, 15 * SECOND, 30 * SECOND, 2 * MINUTE, 5 * MINUTE])
@pytest.mark.parametrize("staggered", [False, True])
def test_the_interval_is_found(step: timedelta, staggered: bool) -> None:
    """From 10 s to 5 min, taken together or each pod at its own moment: found in time, and a placebo is left alone."""
    shop = Shop(step=step, minutes=75, stagger=step / 7 if staggered else timedelta(0))
    (one,) = rolled_back(told(shop))
    assert one.workload == WEB
    assert 2 * step <= one.at - ROLLED_AT <= max(4 * step, 3 * MINUTE)
    assert not rolled_back(told(replace(shop, errors=GOOD, culprit=None)))


@pytest.mark.parametrize("alert_after", [3 * MINUTE, None])
def test_a_placebo_is_not_rolled_back(alert_after: timedelta | None) -> None:
    """New pods that are as good as the old ones: no rollback though an alert fires; and without one, not a word."""
    found = told(Shop(errors=GOOD, alert_after=alert_after, culprit=None))
    assert not rolled_back(found)
    assert alert_after is not None or found == []


def test_what_hurts_everybody_is_not_the_rollout() -> None:
    """Old and new pods fail alike, and so does the caller: nobody is rolled back, and a person is told."""
    found = told(Shop(everybody=BAD, culprit=None))
    assert not rolled_back(found)
    assert found[-1].verdict is VerdictKind.ESCALATE


def test_an_unknown_weight_is_not_few_requests() -> None:
    """The same verdict where no sample says how many requests are behind it, and where the traffic is not recorded either."""
    for shop in (Shop(weight=None), Shop(weight=None, signals=("error_ratio",))):
        (one,) = rolled_back(told(shop))
        assert one.workload == WEB


def test_few_requests_are_few() -> None:
    """Weights that say that hardly anybody asked keep it from acting: 40 % of a handful is chance."""
    assert not rolled_back(told(Shop(weight=2.0, signals=("error_ratio",))))


@pytest.mark.parametrize("signals", [("error_ratio",), ("error_ratio", "traffic_rate")])
def test_signals_may_be_missing(signals: tuple[str, ...]) -> None:
    """Errors alone suffice."""
    (one,) = rolled_back(told(Shop(signals=signals)))
    assert one.workload == WEB


def test_without_the_signal_that_shows_it_nothing_acts() -> None:
    """Where no signal shows the fault, the alert and the timing alone do not roll back."""
    for signals in (("latency_seconds",), ("traffic_rate",), ()):
        assert not rolled_back(told(Shop(signals=signals)))


def test_an_unknown_signal_judges_nothing() -> None:
    """With it the verdicts are those without it, whatever its numbers."""
    known = Shop().recording()
    noise = [
        SampleSeen(at=each.at, signal="queue_depth", workload=each.workload, pod=each.pod, value=1e6)
        for each in known.evidence
        if isinstance(each, SampleSeen)
    ]
    both = recording(known.name, sorted([*known.evidence, *noise], key=lambda each: each.at))
    assert documents(both) == documents(known)


def test_a_null_is_no_value() -> None:
    """Samples that were asked for and not answered say what their absence says."""
    known = Shop().recording()
    answered = [each for each in known.evidence if not _of_new(each) or each.at < ROLLED_AT + 10 * MINUTE]
    asked = [
        _without_value(each) if _of_new(each) and each.at >= ROLLED_AT + 10 * MINUTE else each
        for each in known.evidence
    ]
    assert documents(replace(known, evidence=asked)) == documents(replace(known, evidence=answered))
    silent = replace(known, evidence=[_without_value(each) if _of_new(each) else each for each in known.evidence])
    assert not rolled_back(list(replay(silent)))


def _of_new(record: Record) -> bool:
    return isinstance(record, SampleSeen) and record.pod is not None and record.pod.startswith("web-new")


def _without_value(record: Evidence) -> Evidence:
    return msgspec.structs.replace(record, value=None) if isinstance(record, SampleSeen) else record


def test_pods_that_crash_need_no_sample() -> None:
    """A crash loop beside ready old pods is rolled back on what Kubernetes says; a missing image or node is nobody's fault."""
    quiet = without(Shop(alert_after=None, signals=()).recording(), lambda each: getattr(each, "revision", "") == "new")

    def crashing(reason: str) -> Recording:
        pods = [
            PodSeen(
                at=ROLLED_AT + n * 20 * SECOND,
                pod="web-new-a",
                workload=WEB,
                revision="new",
                ready=False,
                restarts=n if reason == "CrashLoopBackOff" else 0,
                reason=reason,
            )
            for n in range(8)
        ]
        began = RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")
        return recording("crash", sorted([*quiet.evidence, began, *pods], key=lambda each: each.at))

    (one,) = rolled_back(list(replay(crashing("CrashLoopBackOff"))))
    assert (one.workload, one.reason) == (WEB, Reason.BLAMED_START_FAILURE)
    assert not rolled_back(list(replay(crashing("ImagePullBackOff"))))
    assert not rolled_back(list(replay(crashing("Unschedulable"))))


@pytest.mark.parametrize("culprit", [FRONT, "other/Deployment/thing", None])
def test_the_truth_is_never_read_by_a_decision(culprit: str | None) -> None:
    """Without a truth, with a wrong one and with the right one at another time, every verdict is the same."""
    known = Shop().recording()
    wrong = [TruthSeen(at=known.evidence[0].at + n * MINUTE, culprit=culprit) for n in range(3)]
    wanted = documents(known)
    assert wanted
    assert documents(replace(known, truths=wrong)) == wanted
    assert documents(replace(known, truths=[])) == wanted
    lines = [*Shop(culprit=None).records(), *wrong]
    assert documents(recording(known.name, lines)) == wanted


def test_lines_out_of_order_change_nothing() -> None:
    """Sorted by time, with as many told; records of one moment keep their order."""
    known = Shop().records()
    mixed = [*known[300:], *known[:300]]
    found = recording("shop.jsonl", mixed)
    assert found.sorted_lines == 1
    assert documents(found) == documents(recording("shop.jsonl", known))


def test_nothing_recorded_is_nothing_told() -> None:
    """An empty recording, one of edges alone, one of samples alone, and one of an alert about nobody."""
    known = Shop().recording()
    alert = AlertSeen(at=ROLLED_AT, status="firing", labels={"alertname": "Errors"}, starts_at=ROLLED_AT)
    for evidence in ([], list(known.evidence[:1]), [each for each in known.evidence if isinstance(each, SampleSeen)]):
        assert list(replay(replace(known, evidence=evidence))) == []
    assert not rolled_back(list(replay(replace(known, evidence=[alert]))))


def test_days_without_a_record_are_passed_over() -> None:
    """A rollout that nobody ends, then three days of silence: the verdicts are those of before, and the replay ends."""
    shop = Shop(errors=GOOD, alert_after=None)
    late = PodSeen(at=shop.end + timedelta(days=3), pod="x", workload=FRONT, revision="old", ready=True)
    assert list(replay(recording("quiet", [*shop.records(), late]))) == []


def test_a_policy_decides() -> None:
    """In `observe`, which a configuration has unless it says otherwise, the rollback is refused, and the guard is told."""
    policy = Policy(cluster="x")
    found = list(replay(Shop().recording(), policy))
    assert not rolled_back(found)
    assert {refusal.reason for each in found for refusal in each.would_refuse} >= {Reason.MODE_OBSERVE}
    later = replace(replays.default_policy(), countdown=2 * MINUTE)
    (one,), (at_once,) = rolled_back(list(replay(Shop().recording(), later))), rolled_back(told(Shop()))
    assert one.at - at_once.at == 2 * MINUTE


def test_a_verdict_is_told_once() -> None:
    """What has not changed is not said again with each sample."""
    said = [(each.verdict, each.workload, each.reason) for each in told(Shop(errors=GOOD, minutes=90))]
    assert all(before != after for before, after in pairwise(said))
    assert len(said) < 6


@pytest.mark.real
def test_it_is_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    """The printed lines are the same bytes under each PYTHONHASHSEED."""
    path = tmp_path / "shop.jsonl"
    path.write_bytes(b"".join(written(each) for each in Shop(everybody=0.1).records()))
    printed = {_printed(path, seed) for seed in ("0", "1", "4711")}
    assert len(printed) == 1
    assert b'"verdict"' in printed.pop()


def _printed(path: Path, seed: str) -> bytes:
    command = [sys.executable, "-m", "daemon", "backtest", str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=repository.ROOT)
    return done.stdout


def test_the_thresholds_of_a_policy_count() -> None:
    """What is written under `policy.signals` is what a recording's signals are judged by; without it nothing changes."""
    written_down = (
        SignalRule(name="error_ratio", kind=SignalKind.ERROR_RATIO, query="", trigger_above=0.01, healthy_below=0.005),
        SignalRule(name="latency_p95", kind=SignalKind.LATENCY_P95, query="", trigger_above=0.8),
        SignalRule(name="memory", kind=SignalKind.MEMORY, query="", trigger_above=0.99),
    )
    sampling = intervals.find(Shop().recording().evidence)
    found = {each.name: each for each in replays.judged_as(Policy(cluster="x", signals=written_down), sampling).signals}
    assert (found["error_ratio"].trigger_above, found["error_ratio"].healthy_below) == (0.01, 0.005)
    assert (found["latency_seconds"].trigger_above, found["memory_ratio"].trigger_above) == (0.8, 0.99)
    assert found["error_ratio_outbound"].trigger_above is None
    assert replays.judged_as(Policy(cluster="x"), sampling).signals == RULES


def test_a_replay_tells_how_far_it_is() -> None:
    """Ever more, up to all of it, and never by more than it says at once."""
    found, said = Shop(minutes=600).recording(), []
    list(replay(found, progress=lambda done, total: said.append((done, total))))
    records = len(found.evidence)
    assert {total for _, total in said} == {records}
    assert said[-1] == (records, records)
    steps = [after - before for (before, _), (after, _) in pairwise([(0, 0), *said])]
    assert len(steps) > 3
    assert all(0 <= step <= 2 * replays.TOLD_EVERY for step in steps)
