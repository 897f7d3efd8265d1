"""Pods of which no record tells, only samples: what they run, when they are gone, and that they convict like others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest

from daemon.core.events import Event, WorkloadSeen
from daemon.core.incidents import VerdictKind
from daemon.core.reasons import Reason
from handlers.backtest import intervals
from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.recording import Evidence, PodSeen, Recording, RolloutSeen, SampleSeen, recording
from handlers.backtest.replay import default_policy, judged_as, replay
from handlers.backtest.world import World
from tests.backtest.replay_cases import BAD, FRONT, GOOD, MINUTE, NOON, ROLLED_AT, WEB, Shop, cut, without

SECOND = timedelta(seconds=1)
STARTED = RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")


def is_old_pod(record: Evidence) -> bool:
    return isinstance(record, PodSeen) and record.revision == "old"


def is_pod(record: Evidence) -> bool:
    return isinstance(record, PodSeen)


def said(found: Recording) -> list[tuple[datetime, VerdictKind, Reason, str | None, str | None, str | None]]:
    return [(each.at, each.verdict, each.reason, each.workload, each.revision, each.replaces) for each in replay(found)]


def sample(at: datetime, pod: str, value: float, workload: str = WEB) -> SampleSeen:
    return SampleSeen(at=at, signal="error_ratio", workload=workload, pod=pod, value=value, weight=600.0)


def told_of(pod: str, revision: str, at: datetime = ROLLED_AT + SECOND) -> PodSeen:
    return PodSeen(at=at, pod=pod, workload=WEB, revision=revision, ready=True)


def heard(*pods: str, at: datetime = NOON) -> RecordedCluster:
    """A cluster of which only samples tell so far."""
    cluster = RecordedCluster()
    for pod in pods:
        cluster.heard(WEB, pod, at)
    return cluster


def ready(cluster: RecordedCluster, revision: str) -> int:
    return cluster.counts(WEB, revision)[1]


# -- verdicts


@pytest.mark.parametrize(
    "shop",
    [Shop(), Shop(completed=True), Shop(step=5 * MINUTE), Shop(alert_after=None), Shop(errors=GOOD)],
    ids=["alert", "completed", "every five minutes", "no alert", "healthy"],
)
def test_old_pods_of_samples_alone_say_what_old_pods_of_records_say(shop: Shop) -> None:
    """The same verdicts at the same moments, whether records tell of the old pods or not."""
    found = shop.recording()
    assert said(without(found, is_old_pod)) == said(found)
    assert bool([each for each in said(found) if each[1] is VerdictKind.ROLL_BACK]) is (shop.errors == BAD)


@pytest.mark.parametrize("alert_after", [3 * MINUTE, None])
def test_a_recording_without_any_pod_record_convicts(alert_after: timedelta | None) -> None:
    """What was heard before the rollout is old, what is heard first after it is new: the contrast stands, a warm-up later."""
    shop = Shop(alert_after=alert_after)
    full, bare = (said(found)[-1] for found in (shop.recording(), without(shop.recording(), is_pod)))
    assert bare[1:] == full[1:] == (VerdictKind.ROLL_BACK, Reason.BLAMED_CONTRAST, WEB, "new", "old")
    assert bare[0] - full[0] <= MINUTE


@pytest.mark.parametrize("everybody", [GOOD, BAD], ids=["all well", "all bad"])
def test_a_recording_without_any_pod_record_convicts_nobody_that_is_not_worse(everybody: float) -> None:
    """New pods that are as the old ones are: no rollback."""
    found = without(Shop(errors=everybody, everybody=everybody).recording(), is_pod)
    assert VerdictKind.ROLL_BACK not in {each[1] for each in said(found)}


def test_strangers_amid_a_rollout_are_no_evidence() -> None:
    """Pods first heard while records tell of the new ones: fail as they may, they accuse and acquit nobody."""
    for shop in (Shop(errors=GOOD), Shop()):
        found = without(shop.recording(), is_old_pod)
        strangers = [
            sample(NOON + n * MINUTE, f"web-stranger-{letter}", GOOD if shop.errors == BAD else 1.0)
            for n in range(31, 61) for letter in "abcdef"
        ]  # fmt: skip
        joined = recording(found.name, sorted([*found.evidence, *strangers], key=lambda record: record.at))
        verdicts = [each[1:] for each in said(joined)]
        assert verdicts == [each[1:] for each in said(found)]


# -- what a pod runs


def test_what_runs_is_named_late_by_a_rollout() -> None:
    """The first rollout says what it replaces: that is what the pods of before ran, from before the recording on."""
    cluster = heard("a", "b")
    cluster.rollout(STARTED)
    cluster.heard(WEB, "c", ROLLED_AT + MINUTE)
    assert [cluster.ran(WEB, pod, "old", NOON - MINUTE) for pod in "abc"] == [True, True, False]
    assert cluster.ran(WEB, "c", "new", ROLLED_AT + MINUTE)
    assert (ready(cluster, "old"), ready(cluster, "new")) == (2, 1)
    assert cluster.was_there_before(WEB, "old")
    assert cluster.counts(WEB, "") == (0, 0, 0)


def test_what_runs_is_named_late_by_a_pod() -> None:
    """Records tell of one pod alone: the others that were heard before run the same."""
    cluster = heard("a", "b")
    cluster.pod(told_of("b", "old", NOON + MINUTE))
    assert [cluster.ran(WEB, pod, "old", NOON) for pod in "ab"] == [True, True]
    assert ready(cluster, "old") == 2
    assert not cluster.is_rolled_out(WEB)
    cluster.rollout(STARTED)
    assert cluster.is_rolled_out(WEB)


def test_pods_heard_first_amid_a_rollout_that_records_tell_of_are_nobodys() -> None:
    """They may be of either revision, however often they are heard; a record that tells of one later counts for before."""
    cluster = heard("a")
    cluster.rollout(STARTED)
    cluster.pod(told_of("n", "new"))
    assert [cluster.heard(WEB, "s", ROLLED_AT + n * MINUTE) for n in (1, 2)] == [False, False]
    assert not any(cluster.ran(WEB, "s", revision, ROLLED_AT + MINUTE) for revision in ("old", "new", ""))
    assert (ready(cluster, "old"), ready(cluster, "new")) == (1, 1)
    cluster.pod(told_of("s", "old", ROLLED_AT + 3 * MINUTE))
    assert cluster.ran(WEB, "s", "old", ROLLED_AT + MINUTE)
    assert ready(cluster, "old") == 2


def test_a_record_of_a_pod_is_believed_more_than_its_samples() -> None:
    """From then on it is gone when a record says so, not when it is silent."""
    cluster = heard("a", "b")
    cluster.rollout(STARTED)
    cluster.pod(told_of("a", "old"))
    cluster.heard(WEB, "a", ROLLED_AT + MINUTE)
    assert list(cluster.fallen_silent(ROLLED_AT + 60 * MINUTE)) == [WEB]
    assert ready(cluster, "old") == 1
    assert cluster.workload_of_pod("shop", "a") == cluster.workload_of_pod("shop", "b") is not None


# -- when it is gone


def test_silence_is_no_end_without_a_rollout() -> None:
    """Recordings hold samples around rollouts alone: between these nobody is gone."""
    cluster = heard("a", "b")
    assert list(cluster.fallen_silent(NOON + 60 * MINUTE)) == []
    cluster.rollout(STARTED)
    assert list(cluster.fallen_silent(NOON)) == []
    assert list(cluster.fallen_silent(NOON + SECOND)) == [WEB]
    assert ready(cluster, "old") == 0
    assert list(cluster.fallen_silent(NOON + SECOND)) == []


def test_a_pod_that_is_heard_again_was_not_gone() -> None:
    """Nothing could be read for a while: it runs what it ran."""
    cluster = heard("a")
    cluster.rollout(STARTED)
    cluster.heard(WEB, "n", ROLLED_AT + MINUTE)
    cluster.fallen_silent(ROLLED_AT + 10 * MINUTE)
    assert (ready(cluster, "old"), ready(cluster, "new")) == (0, 0)
    assert [cluster.heard(WEB, pod, ROLLED_AT + 10 * MINUTE) for pod in "an"] == [True, True]
    assert [cluster.heard(WEB, pod, ROLLED_AT + 11 * MINUTE) for pod in "an"] == [False, False]
    assert (ready(cluster, "old"), ready(cluster, "new")) == (1, 1)


class Fed:
    """A world fed with samples of old pods `a` to `c`, heard no more after the given minutes, and of the new pods `x` to `z`."""

    def __init__(self, step: timedelta, old_until: Sequence[int]) -> None:
        evidence = sorted(self._records(step, old_until), key=lambda record: record.at)
        sampling = intervals.find(evidence)
        assert sampling.step == step
        self.world = World(sampling, judged_as(default_policy(), sampling))
        self.events: list[Event] = []
        for record in evidence:
            self.events += self.world.feed(record)
            self.events += self.world.look_again(record.at)

    @staticmethod
    def _records(step: timedelta, old_until: Sequence[int]) -> Iterator[Evidence]:
        yield STARTED
        for number in range(1, 120 * MINUTE // step):
            at = NOON + number * step
            yield sample(at, "front-a", GOOD, FRONT)
            for pod, until in zip("abc", old_until, strict=True):
                if at <= NOON + until * MINUTE:
                    yield sample(at, pod, GOOD)
            if at > ROLLED_AT:
                yield from (sample(at, pod, GOOD) for pod in "xyz")

    def converged_at(self) -> datetime | None:
        """When the watch would have called the rollout complete."""
        seen = [each for each in self.events if isinstance(each, WorkloadSeen) and each.view.workload.name == "web"]
        return next((each.at for each in seen if each.view.converged and each.at > ROLLED_AT), None)


def test_the_watch_sees_a_new_pod_when_it_is_heard_first() -> None:
    """And no sample after that, nor the pods of before the rollout, is news."""
    events = Fed(MINUTE, (60, 60, 60)).events
    seen = [each for each in events if isinstance(each, WorkloadSeen) and each.at == ROLLED_AT + MINUTE]
    ready = [pods.ready for each in seen for pods in each.view.pods if pods.revision == "new"]
    assert ready == [1, 2, 3]
    assert [each.at for each in events if isinstance(each, WorkloadSeen) and each.at < ROLLED_AT] == []


@pytest.mark.parametrize(
    ("step", "old_until", "gone"),
    [
        (30 * SECOND, (36, 34, 36), ROLLED_AT + 9 * MINUTE + 30 * SECOND),
        (2 * MINUTE, (36, 34, 36), ROLLED_AT + 14 * MINUTE),
        (5 * MINUTE, (40, 40, 40), ROLLED_AT + 30 * MINUTE),
        (2 * MINUTE, (120, 34, 36), None),
    ],
    ids=["after three minutes", "after three samples", "of five minutes", "one goes on"],
)
def test_a_rollout_of_pods_of_samples_alone_is_complete_when_the_last_old_one_is_silent(
    step: timedelta, old_until: Sequence[int], gone: datetime | None
) -> None:
    """Three minutes or three samples, whichever is longer; no record says that the rollout is complete."""
    assert Fed(step, old_until).converged_at() == gone


def test_a_gap_of_all_samples_does_not_end_a_rollout() -> None:
    """For six minutes nobody is heard, and the fault begins after them: old and new pods are there again, and it is convicted."""
    gap = (ROLLED_AT + 2 * MINUTE, ROLLED_AT + 8 * MINUTE)
    for dropped in (is_old_pod, is_pod):
        found = without(Shop(alert_after=9 * MINUTE).recording(), dropped)
        silent = without(found, lambda record: isinstance(record, SampleSeen) and gap[0] < record.at < gap[1])
        assert said(silent)[-1][1:] == (VerdictKind.ROLL_BACK, Reason.BLAMED_CONTRAST, WEB, "new", "old")


def test_nothing_of_it_looks_ahead() -> None:
    """Cut off at its first rollback, a recording without pod records says the same up to there."""
    found = without(Shop().recording(), is_pod)
    at = next(each[0] for each in said(found) if each[1] is VerdictKind.ROLL_BACK)
    assert [each for each in said(cut(found, at)) if each[0] <= at] == [each for each in said(found) if each[0] <= at]
