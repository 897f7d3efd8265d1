"""A recording from a real Prometheus that promtool filled: what was planted is in it, at the right time, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.core.incidents import VerdictKind
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from handlers.backtest import history
from handlers.backtest.past_alerts import ONSET
from handlers.backtest.recording import AlertSeen, PodSeen, Recording, RolloutSeen, SampleSeen
from handlers.backtest.replay import replay
from tests.backtest import past_world as world
from tests.backtest.filled_prometheus import client_of, filled_with
from tests.backtest.openmetrics import text_of
from tests.backtest.past_world import MINUTE, STEP

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

POLICY = Policy(cluster="test")


Read = tuple[Recording, list[tuple[int, int]], list[str]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The recording of the planted world, the progress that was told, and the warnings."""
    told: list[tuple[int, int]] = []
    warnings: list[str] = []
    with filled_with(text_of(world.planted(), STEP), tmp_path_factory.mktemp("prometheus")) as url:
        found = asked(url, progress=lambda done, total: told.append((done, total)), tell=warnings.append)
    return found, told, warnings


def asked(url: str, **more: Any) -> Recording:
    async def ask() -> Recording:
        async with client_of(url) as client:
            return await history.from_prometheus(client, world.START, world.END, step=STEP, policy=POLICY, **more)

    return asyncio.run(ask())


def rollouts(recording: Recording) -> list[RolloutSeen]:
    return [record for record in recording.evidence if isinstance(record, RolloutSeen)]


def test_every_planted_rollout_is_found_at_its_time(read: Read) -> None:
    """Each start and each completion is there, within a sample, with both revisions; and nothing else is."""
    planted = [(each.workload, each.revision, each.replaces, each.phase, each.at) for each in rollouts(world.planted())]
    found = {(each.workload, each.revision, each.replaces, each.phase): each.at for each in rollouts(read[0])}
    assert set(found) == {each[:4] for each in planted}
    assert len(rollouts(read[0])) == len(planted)
    for *what, at in planted:
        assert abs(found[tuple(what)] - at) <= 2 * MINUTE, what  # type: ignore[index]


def pods(recording: Recording, workload: str) -> list[PodSeen]:
    return [each for each in recording.evidence if isinstance(each, PodSeen) and each.workload == workload]


def samples(recording: Recording, workload: str, signal: str) -> list[SampleSeen]:
    return [
        each
        for each in recording.evidence
        if isinstance(each, SampleSeen) and (each.workload, each.signal) == (workload, signal)
    ]


def test_pods_come_become_ready_and_go(read: Read) -> None:
    """Every pod of a rollout is told with its revision, and the moments at which it was there, ready and gone."""
    planted, found = (pods(recording, world.WEB) for recording in (world.planted(), read[0]))
    for pod in sorted({each.pod for each in planted if each.revision == "bbb222"}):
        wanted = [(each.ready, each.deleted, each.at) for each in planted if each.pod == pod]
        told = [(each.ready, each.deleted, each.at) for each in found if each.pod == pod]
        assert [each[:2] for each in told] == [each[:2] for each in wanted]
        for (*_, at), (*_, wanted_at) in zip(told, wanted, strict=True):
            assert abs(at - wanted_at) <= MINUTE
    assert {each.revision for each in found} == {"aaa111", "bbb222"}


def test_a_crash_loop_is_told_with_its_reason_and_restarts(read: Read) -> None:
    """A pod that cannot start is never ready, restarts as often as planted, and says CrashLoopBackOff."""
    found = [each for each in pods(read[0], world.CART) if each.revision == "hhh888"]
    assert not any(each.ready for each in found)
    assert max(each.restarts for each in found) == 4
    assert found[-1].reason == "CrashLoopBackOff"


def test_a_pod_of_a_set_has_the_revision_it_was_made_with(read: Read) -> None:
    """A StatefulSet's pods keep their names: until it is made anew each is of the old revision, then of the new one."""
    found = [each for each in pods(read[0], world.DB) if each.pod == "db-0"]
    assert [each.revision for each in found if each.ready] == ["eee555", "fff666"]
    first_new = next(each.at for each in found if each.revision == "fff666")
    assert abs(first_new - (world.DB_AT + 5 * MINUTE)) <= MINUTE


def test_both_revisions_are_measured_in_the_same_minutes(read: Read) -> None:
    """While old and new pods serve, the old ones' error ratio is the planted one, and so is the new ones'."""
    during = (world.BAD_AT + 6 * MINUTE, world.BAD_AT + 11 * MINUTE)
    revision = {each.pod: each.revision for each in pods(read[0], world.WEB)}
    born = {each.pod: each.at for each in reversed(pods(read[0], world.WEB))}
    found = [each for each in samples(read[0], world.WEB, "error_ratio") if during[0] <= each.at <= during[1]]
    by_revision = {name: [each for each in found if revision[each.pod or ""] == name] for name in ("aaa111", "bbb222")}
    assert all(len(each) >= 5 for each in by_revision.values())
    for name, planted in (("aaa111", 0.001), ("bbb222", 0.3)):
        assert all(each.value == pytest.approx(planted, rel=0.01) for each in by_revision[name])
        # A rate needs some scrapes of a pod before it is whole.
        settled = [each for each in by_revision[name] if each.at >= born[each.pod or ""] + 4 * MINUTE]
        assert settled
        assert all(each.weight == pytest.approx(world.RATE * 60, rel=0.01) for each in settled)


def test_every_signal_of_the_format_is_read(read: Read) -> None:
    """Traffic, errors, latency and both saturations have the planted values once a pod has settled."""
    at = world.API_AT + timedelta(minutes=30, seconds=20)
    wanted = {"traffic_rate": world.RATE, "error_ratio": 0.001, "cpu_ratio": 0.4, "memory_ratio": 0.5}
    for signal, planted in wanted.items():
        (sample,) = (each for each in samples(read[0], world.API, signal) if each.at == at)
        assert sample.value == pytest.approx(planted, rel=0.01)
    (latency,) = (each for each in samples(read[0], world.API, "latency_seconds") if each.at == at)
    assert latency.value is not None
    assert 0.05 < latency.value <= 0.1  # the bucket that the planted 0.08 s lies in


def test_the_alert_is_told_as_it_fired_with_its_onset(read: Read) -> None:
    """`startsAt` is the first moment it fired, its end is told, and since when the condition held is annotated."""
    firing, resolved = (each for each in read[0].evidence if isinstance(each, AlertSeen))
    assert (firing.status, firing.at, firing.starts_at) == ("firing", world.FIRING_AT, world.FIRING_AT)
    assert (resolved.status, resolved.starts_at) == ("resolved", world.FIRING_AT)
    assert abs(resolved.at - world.RESOLVED_AT) <= MINUTE
    assert firing.labels == {
        "alertname": "HighErrors",
        "namespace": "shop",
        "deployment": "web",
        "severity": "critical",
    }
    assert firing.annotations == {ONSET: f"{world.FIRING_AT - 2 * MINUTE:%Y-%m-%dT%H:%M:%SZ}"}


def test_what_no_decision_needs_is_not_read(read: Read) -> None:
    """A workload without a rollout or an alert near it is not measured, nor is one hours before its rollout."""
    assert not samples(read[0], world.IDLE, "error_ratio")
    first = min(each.at for each in samples(read[0], world.API, "error_ratio"))
    assert first >= world.FIRING_AT - 16 * MINUTE


def test_progress_rises_to_its_end(read: Read) -> None:
    """How far it is never falls and ends at the whole; nothing had to be warned of."""
    _, told, warnings = read
    assert told == sorted(told)
    assert len(told) > 10
    assert told[-1] == (told[-1][1],) * 2
    assert warnings == []


def test_small_answers_and_small_windows_give_the_same(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer over `--query.max-samples` is read in halves, a long stretch in windows; the recording is the same."""
    monkeypatch.setattr(history, "WINDOW_MAX", 20 * MINUTE)
    with filled_with(text_of(world.planted(), STEP), tmp_path, "--query.max-samples=1500") as url:
        assert asked(url).evidence == read[0].evidence


def test_a_prometheus_without_kube_state_metrics_is_named(tmp_path: Path) -> None:
    """Where nothing tells of workloads the error says which series are needed."""
    text = ["up 1 1741075200\n", "# EOF\n"]
    with filled_with(text, tmp_path) as url, pytest.raises(history.HistoryError, match="kube_replicaset_spec_replicas"):
        asked(url)


def test_a_replay_finds_the_planted_bad_rollouts(read: Read) -> None:
    """What Lastgood would have done with this history: it rolls back the two bad rollouts, and none of the healthy ones."""
    told = [each for each in replay(read[0]) if each.verdict is VerdictKind.ROLL_BACK]
    assert {(each.workload, each.revision) for each in told} == {(world.WEB, "bbb222"), (world.CART, "hhh888")}
    by_workload = {each.workload: each for each in told}
    assert by_workload[world.WEB].at <= world.BAD_AT + 6 * MINUTE
    assert by_workload[world.CART].reason is Reason.BLAMED_START_FAILURE
