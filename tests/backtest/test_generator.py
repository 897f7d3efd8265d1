"""The generator of recordings: the same for ever, readable, and each recipe shows what it says and nothing else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import pytest

from handlers.backtest import recording
from handlers.backtest.recording import AlertSeen, PodSeen, RolloutSeen, SampleSeen, TruthSeen
from tests import repository
from tests.bench.recordings import Case, Half, case, cases, made
from tests.bench.recordings.__main__ import main
from tests.bench.recordings.faults import Recipe
from tests.bench.recordings.ranges import RANGES
from tests.bench.recordings.recipes import RECIPES
from tests.bench.recordings.showing import SAMPLES_MIN

HALVES: tuple[Half, ...] = ("tune", "report")
PLAIN = {
    half: replace(
        RANGES[half],
        services=(6, 7),
        pods=(3, 3),
        entry_rate=(60.0, 100.0),
        calls_each=(0.7, 1.2),
        minutes=(75, 75),
        quiet_minutes=(20, 20),
        intervals=((60, 1.0),),
        views=(("pods and edges", 1.0),),
        rollouts=(0, 1),
        stages=(2, 2),
        first_share=(0.34, 0.4),
        hold_minutes=(14.0, 15.0),
        staged=1.0,
        confounders=((0, 1.0),),
        untidy=0.0,
    )
    for half in HALVES
}
"""Long stages and nothing beside the fault: what is seen here is the recipe's doing."""
EVERY = [(half, recipe) for half in HALVES for recipe in RECIPES[half]]
SEMANTIC = "wrong_answers."
SEEDS = range(9000, 9003)


def digest(found: Case) -> str:
    """Of all its records as they are written."""
    return hashlib.sha256(b"".join(map(recording.written, found.records))).hexdigest()


@cache
def plain(half: Half, recipe: Recipe) -> tuple[Case, ...]:
    """Bad rollouts of this recipe under plain conditions."""
    return tuple(made(half, seed, "bad", recipe, PLAIN[half]) for seed in SEEDS)


def by_revision(found: Case, workload: str, signal: str, direction: str = "inbound") -> dict[str, dict[float, float]]:
    """The mean of each revision's pods by minute; a total without direction is taken for inbound, edges are left out."""
    revisions = {record.pod: record.revision for record in found.records if isinstance(record, PodSeen)}
    values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in found.records:
        if not isinstance(record, SampleSeen) or record.workload != workload or record.signal != signal:
            continue
        wanted = record.direction == "outbound" if direction == "outbound" else record.peer is None
        if wanted and record.pod is not None and record.value is not None:
            values[revisions[record.pod]][record.at.timestamp() // 60].append(record.value)
    return {revision: {at: fmean(each) for at, each in series.items()} for revision, series in values.items()}


def differences(found: Case, workload: str, signal: str, direction: str = "inbound") -> list[float]:
    """New less old (for latency as a share of old), minute by minute from the fault's third on, where both reported."""
    assert found.fault_at is not None
    assert found.bad_revision is not None
    series = by_revision(found, workload, signal, direction)
    new, begins = series.pop(found.bad_revision, {}), found.fault_at.timestamp() // 60 + 2
    old = next(iter(series.values()), {})
    same = [at for at in sorted(new.keys() & old.keys()) if at >= begins]
    return [(new[at] - old[at]) / (old[at] if signal == "latency_seconds" else 1.0) for at in same]


@pytest.mark.parametrize("half", HALVES)
def test_a_seed_gives_one_recording_for_ever(half: Half) -> None:
    """The same seed twice is the same case; another seed is another one."""
    one, again, other = case(half, 2), case(half, 2), case(half, 10)
    assert one == again
    assert digest(one) != digest(other)


@pytest.mark.real
def test_a_recording_does_not_hang_on_the_process() -> None:
    """Another hash seed, another process: the same bytes, or a tuned weight could not be explained tomorrow."""
    code = (
        "import hashlib; from tests.bench.recordings import case; from handlers.backtest.recording import written;"
        "print([hashlib.sha256(b''.join(map(written, case('report', n).records))).hexdigest() for n in range(4)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=repository.ROOT,
            capture_output=True, check=True, text=True, timeout=60,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


@pytest.mark.parametrize("half", HALVES)
def test_recordings_are_in_time_order_and_can_be_read(half: Half) -> None:
    """What is written parses to what was made, nothing runs backwards, and one truth is in it."""
    for found in cases(half, range(8, 12)):
        assert list(recording.parse(list(map(recording.written, found.records)), found.name)) == found.records
        assert all(before.at <= after.at for before, after in pairwise(found.records))
        truths = [record for record in found.records if isinstance(record, TruthSeen)]
        assert [truth.culprit for truth in truths] == [found.culprit]


def test_no_recipe_is_in_both_halves() -> None:
    """Else the report would be on what was tuned."""
    assert not {*RECIPES["tune"]} & {*RECIPES["report"]}
    assert len({recipe for half in HALVES for recipe in RECIPES[half]}) == sum(len(RECIPES[half]) for half in HALVES)


@pytest.mark.parametrize("half", HALVES)
def test_eight_seeds_in_a_row_have_every_kind(half: Half) -> None:
    """Any run of seeds is a fair sample: four bad ones with four recipes, two placebos, an outage, a hidden culprit."""
    found = list(cases(half, range(100, 108)))
    assert sorted(each.kind for each in found) == ["bad"] * 4 + ["healthy"] * 2 + ["hidden", "outage"]
    assert len({each.recipe for each in found if each.kind == "bad"}) == 4
    assert all((each.culprit is not None) == (each.kind == "bad") for each in found)


SIGNALS = ("error_ratio", "latency_seconds", "cpu_ratio", "memory_ratio")
APART = {"error_ratio": 0.015, "latency_seconds": 0.2, "cpu_ratio": 0.15, "memory_ratio": 0.05}


def departs(found: Case, what: str) -> bool:
    """Whether the new pods lie apart from the old ones in what the recipe names, in the mean of the minutes."""
    assert found.culprit is not None
    if what == "outbound":
        apart = differences(found, found.culprit, "error_ratio", "outbound")
        return len(apart) >= 5 and fmean(apart) > 0.05
    apart = differences(found, found.culprit, what)
    if what == "memory_ratio":  # fresh pods begin below the old ones: only the height of the climb tells
        apart = sorted(apart)[len(apart) * 2 // 3 :] * 3
    return len(apart) >= 5 and fmean(apart) > APART[what]


def unwell(found: Case) -> bool:
    """Whether the records of the new pods alone say that something is wrong."""
    return any(
        isinstance(record, PodSeen) and record.revision == found.bad_revision
        and (record.restarts > 0 or (not record.ready and record.reason is None and not record.deleted))
        for record in found.records
    )  # fmt: skip


def silent(found: Case) -> bool:
    """Whether the old pods report requests in minutes after the fault in which no new one does."""
    assert found.culprit is not None
    assert found.bad_revision is not None
    assert found.fault_at is not None
    series = by_revision(found, found.culprit, "traffic_rate")
    new, after = series.pop(found.bad_revision, {}), found.fault_at.timestamp() // 60 + 1
    return len([at for at in next(iter(series.values())) if at > after and at not in new]) >= 3


SHOWS = {
    "errors.failing": ("error_ratio",), "slow.multiplied": ("latency_seconds",), "crash.at_once": ("pod",),
    "silent.from_the_start": ("silence",), "leak.steady": ("memory_ratio", "pod"),
    "starved.throttled": ("cpu_ratio", "latency_seconds"), "configuration.wrong_address": ("outbound",),
    "partial.some_requests": ("error_ratio",), "delayed.errors_later": ("error_ratio",), "crash.never_ready": ("pod",),
    "errors.growing": ("error_ratio",), "slow.waiting": ("latency_seconds",), "crash.after_a_while": ("pod",),
    "silent.falls_silent": ("silence",), "silent.refuses": ("silence",), "leak.by_request": ("memory_ratio", "pod"),
    "starved.burning": ("cpu_ratio",), "configuration.hidden_by_fallback": ("outbound",),
    "partial.in_bursts": ("error_ratio",), "delayed.slow_later": ("latency_seconds",), "errors.one_route": ("error_ratio",),
    "slow.in_the_tail": ("latency_seconds",),
}  # fmt: skip


@pytest.mark.parametrize(("half", "recipe"), EVERY, ids=[recipe.__qualname__ for _, recipe in EVERY])
def test_a_recipe_shows_what_it_claims(half: Half, recipe: Recipe) -> None:
    """The new pods depart from the old ones by what the recipe names; one that shows on others alone departs in nothing."""
    found = [each for each in plain(half, recipe) if each.overlap >= 8 or not each.recipe.startswith("delayed.")]
    assert found, "a stage of fourteen minutes outlasts some delays"
    name = found[0].recipe
    if name.startswith(SEMANTIC):
        lied = [(each.seed, what) for each in found for what in (*SIGNALS, "outbound") if departs(each, what)]
        assert not lied
        assert not any(each.shows_itself for each in found)
        return
    for what in SHOWS[name]:
        shown = [
            unwell(each) if what == "pod" else silent(each) if what == "silence" else departs(each, what)
            for each in found
        ]
        assert all(shown), (name, what, shown)


@pytest.mark.parametrize(("half", "recipe"), EVERY, ids=[recipe.__qualname__ for _, recipe in EVERY])
def test_what_shows_itself_is_told(half: Half, recipe: Recipe) -> None:
    """Under plain conditions all recipes but the semantic ones are seen by whom who knows what to look for.

    Three minutes beside the old pods are needed for that, unless the pods themselves say it.
    """
    for found in plain(half, recipe):
        beside = found.overlap >= SAMPLES_MIN or set(SHOWS.get(found.recipe, ())) & {"pod", "silence"}
        told = bool(beside) and not found.recipe.startswith(SEMANTIC)
        assert found.shows_itself == told, (found.recipe, found.seed, found.overlap)


def victims(found: Case) -> Iterator[float]:
    """By how much the error ratio of others rose after the fault began."""
    assert found.fault_at is not None
    before: dict[str, list[float]] = defaultdict(list)
    after: dict[str, list[float]] = defaultdict(list)
    for record in found.records:
        if isinstance(record, SampleSeen) and record.signal == "error_ratio" and record.value is not None:
            late = record.at > found.fault_at
            (after if late else before)[f"{record.workload} {record.peer} {record.direction}"].append(record.value)
    return (fmean(after[each]) - fmean(before[each]) for each in before.keys() & after.keys())


@pytest.mark.parametrize(("half", "recipe"), [each for each in EVERY if SEMANTIC[:-1] in each[1].__module__])
def test_semantic_faults_hurt_others(half: Half, recipe: Recipe) -> None:
    """Some other service's errors or its edges' rise: without it there would be nothing to blame anybody for."""
    hurt = [max(victims(found)) > 0.02 for found in plain(half, recipe)]
    assert sum(hurt) >= len(hurt) / 2, hurt


def test_placebo_revisions_differ_by_chance_alone() -> None:
    """Over many healthy rollouts the errors of new and old pods in the same minutes are the same, as often more as less."""
    ranges = replace(PLAIN["report"], rollouts=(3, 4))
    scores: list[float] = []
    for seed in range(9100, 9116):
        found = made("report", seed, "healthy", RECIPES["report"][0], replace(ranges, confounders=((-1, 1.0),)))
        for record in found.records:
            if isinstance(record, RolloutSeen) and record.phase == "started":
                scores += score(found, record)
    assert len(scores) >= 30
    assert abs(fmean(scores)) < 0.5
    assert sum(abs(each) > 4 for each in scores) <= len(scores) * 0.05
    assert median(map(abs, scores)) < 1.2


def score(found: Case, rollout: RolloutSeen) -> list[float]:
    """The z-score of the two revisions' pooled error counts.

    The rollout's first three minutes are left out (warm-up), and so are single bad minutes, which any pod has.
    """
    revisions = {record.pod: record.revision for record in found.records if isinstance(record, PodSeen)}
    counts: dict[bool, dict[float, list[float]]] = {True: {}, False: {}}
    begins = rollout.at.timestamp() // 60 + 3
    for record in found.records:
        if not isinstance(record, SampleSeen) or record.workload != rollout.workload or record.peer is not None:
            continue
        if record.signal == "error_ratio" and record.pod and record.weight and record.value is not None:
            minute = counts[revisions[record.pod] == rollout.revision].setdefault(
                record.at.timestamp() // 60, [0.0, 0.0]
            )
            minute[0] += record.value * record.weight
            minute[1] += record.weight
    calm = {
        at: max(bad / all_ for bad, all_ in (counts[True][at], counts[False][at])) < 0.02
        for at in counts[True].keys() & counts[False].keys()
        if at >= begins
    }
    same = [at for at, is_calm in calm.items() if is_calm]
    (bad, all_new), (worse, all_old) = (
        (sum(counts[new][at][0] for at in same), sum(counts[new][at][1] for at in same)) for new in (True, False)
    )
    if not all_new or not all_old:
        return []
    ratio = (bad + worse) / (all_new + all_old)
    deviation = (ratio * (1 - ratio) * (1 / all_new + 1 / all_old)) ** 0.5
    return [(bad / all_new - worse / all_old) / deviation] if deviation else []


@pytest.mark.parametrize("half", HALVES)
def test_a_hidden_culprit_is_nowhere(half: Half) -> None:
    """Neither its rollout, nor its new pods, nor samples of its pods, nor the truth name it; other rollouts are there."""
    for seed in (5, 13, 21):
        found = case(half, seed)
        assert found.kind == "hidden"
        assert found.hidden is not None
        for record in found.records:
            assert not (isinstance(record, RolloutSeen) and record.workload == found.hidden)
            if isinstance(record, PodSeen) and record.workload == found.hidden:
                assert record.revision != found.bad_revision
            assert not (isinstance(record, SampleSeen) and record.workload == found.hidden and record.pod is not None)
            assert not (isinstance(record, TruthSeen) and record.culprit is not None)
        assert found.healthy_rollouts >= 1
        assert sum(isinstance(each, RolloutSeen) and each.phase == "started" for each in found.records) >= 1


def test_alerts_name_somebody() -> None:
    """Each alert has a namespace and one of the labels that kube-prometheus' rules have, and most bad rollouts have alerts."""
    hurt = [case("tune", seed) for seed in range(0, 16, 2)]
    alerts = [record for each in hurt for record in each.records if isinstance(record, AlertSeen)]
    assert all("namespace" in each.labels and {"pod", "service", "deployment"} & each.labels.keys() for each in alerts)
    assert {each.status for each in alerts} == {"firing", "resolved"}
    alerted = [each for each in hurt if any(isinstance(record, AlertSeen) for record in each.records)]
    assert len(hurt) / 2 <= len(alerted) < len(hurt)


def test_the_command_writes_what_can_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file for each seed, counted as it goes."""
    main(["--half", "tune", "--seeds", "1-2", "--out", str(tmp_path / "made")])
    loaded = [recording.load(path) for path in sorted((tmp_path / "made").iterdir())]
    assert [each.name for each in loaded] == [f"{found.name}.jsonl" for found in cases("tune", range(1, 3))]
    assert all(each.sorted_lines == 0 for each in loaded)
    assert "2 of 2 recordings" in capsys.readouterr().err


def test_seeds_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to write instead."""
    with pytest.raises(SystemExit):
        main(["--half", "tune", "--seeds", "some", "--out", str(tmp_path)])
    assert "FIRST-LAST" in capsys.readouterr().err


def test_a_culprit_may_have_rolled_out_twice() -> None:
    """Then the bad revision replaces the sound one, which was all there was when it began."""
    plain_twice = replace(PLAIN["tune"], confounders=((13, 1.0),))
    found = made("tune", 9200, "bad", RECIPES["tune"][0], plain_twice)
    assert "twice" in found.confounders
    mine = [each for each in found.records if isinstance(each, RolloutSeen) and each.workload == found.culprit]
    first, second = (
        next(each for each in mine if each.phase == "started"),
        next(each for each in mine if each.phase == "started" and each.revision == found.bad_revision),
    )
    assert second.replaces == first.revision
    serving = {
        record.revision: record.ready
        for record in found.records
        if isinstance(record, PodSeen) and record.workload == found.culprit and record.at < second.at
    }
    assert serving[first.revision]
