"""What a pod's state says of its revision: failures to start that are its own, availability, restarts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.core.model import RevisionId, StartFailureKind
from handlers import pods
from handlers.pods import StartLimits
from tests.handlers.kube_objects import Json, at, container, ended, pod, stamp, template, waiting

REV = RevisionId("0123456789abcdef")
LIMITS = StartLimits()
CRASH, OOM, NEVER = StartFailureKind.CRASH, StartFailureKind.OOM, StartFailureKind.NEVER_READY

LOOP = container(state=waiting("CrashLoopBackOff"), last=ended(finished=20), restartCount=3)
AGAIN = container(last=ended(finished=20), restartCount=2)


def unschedulable() -> Json:
    blocked = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod(containers=[], conditions=[blocked], phase="Pending")


FAILING: list[tuple[str, Json, StartFailureKind, float]] = [
    ("crash loop", pod(containers=[LOOP]), CRASH, 20),
    ("between two crashes it reads running", pod(containers=[AGAIN]), CRASH, 20),
    ("ready between two crashes", pod(ready_since=25, containers=[AGAIN | {"ready": True}]), CRASH, 20),
    ("init container", pod(inits=[LOOP | {"name": "migrate"}], containers=[]), CRASH, 20),
    ("cannot be run", pod(containers=[container(state=waiting("RunContainerError"))]), CRASH, 0),
    (
        "killed for memory once",
        pod(containers=[container(state=ended("OOMKilled", code=137, finished=5), restartCount=0)]),
        OOM,
        5,
    ),
    ("crash loop of memory", pod(containers=[LOOP | {"lastState": ended("OOMKilled", code=137, finished=7)}]), OOM, 7),
    ("never ready", pod(), NEVER, 120),
    ("its config is not there", pod(containers=[container(state=waiting("CreateContainerConfigError"))]), NEVER, 120),
    ("no image name", pod(containers=[container(state=waiting("InvalidImageName"))]), NEVER, 120),
]


@pytest.mark.parametrize(("seen", "kind", "since"), [case[1:] for case in FAILING], ids=[case[0] for case in FAILING])
def test_failures_of_the_revision(seen: Json, kind: StartFailureKind, since: float) -> None:
    """Crashes, memory, never ready and a template that cannot be configured count, wherever they show."""
    failure = pods.pod_failure(seen, LIMITS, at(300))
    assert failure is not None
    assert (failure.kind, failure.since, failure.pod) == (kind, at(since), "web-aaa-11111")
    assert failure.message


EXCUSED: list[tuple[str, Json]] = [
    ("ready", pod(ready_since=3)),
    ("one crash, long over", pod(ready_since=3, containers=[container(last=ended(finished=2), restartCount=1)])),
    ("crashes of long ago", pod(ready_since=3, containers=[AGAIN | {"lastState": ended(finished=-900)}])),
    ("ends well", pod(ready_since=3, containers=[AGAIN | {"lastState": ended("Completed", code=0)}])),
    ("killed for memory once and back", pod(ready_since=9, containers=[
        container(last=ended("OOMKilled", code=137, finished=5), restartCount=1, ready=True)])),
    ("was ready, is not now", pod(unready_since=60)),
    ("pulls its image", pod(containers=[container(state=waiting("ImagePullBackOff"))])),
    ("cannot pull", pod(containers=[container(state=waiting("ErrImagePull"))])),
    ("not scheduled", unschedulable()),
    ("evicted", pod(phase="Failed", reason="Evicted", containers=[LOOP])),
    ("its node goes", pod(reason="NodeLost", containers=[LOOP])),
    ("preempted", pod(containers=[LOOP], conditions=[{"type": "DisruptionTarget", "status": "True"}])),
    ("on its way out", pod(containers=[LOOP], metadata={"deletionTimestamp": stamp(1)})),
    ("being created", pod(containers=[container(state=waiting("ContainerCreating"))])),
    ("one of two waits", pod(containers=[container(), container("b", state=waiting("PodInitializing"))])),
    ("its init container works", pod(inits=[container("migrate")], containers=[])),
    ("not seen by a kubelet", pod(startTime=None, containers=[])),
]  # fmt: skip


@pytest.mark.parametrize("seen", [case[1] for case in EXCUSED], ids=[case[0] for case in EXCUSED])
def test_what_is_not_the_revisions_fault(seen: Json) -> None:
    """Infrastructure, leaving pods, slow beginnings and pods that did serve are no failure to start."""
    assert pods.pod_failure(seen, LIMITS, at(300)) is None


def test_never_ready_has_a_limit_to_the_second() -> None:
    """One second before its limit a pod may still become ready; the watcher is told when to look again."""
    assert pods.pod_failure(pod(), LIMITS, at(119)) is None
    assert pods.pod_failure(pod(), LIMITS, at(120)) is not None
    assert pods.never_ready_at(pod(), LIMITS) == at(120)
    assert pods.never_ready_at(pod(ready_since=1), LIMITS) is None


def test_an_init_container_has_the_progress_deadline() -> None:
    """A migration may take its time, and a native sidecar that runs for good is no init container that hangs."""
    busy = pod(inits=[container("migrate")], containers=[])
    assert pods.never_ready_at(busy, LIMITS) == at(600)
    busy["spec"]["initContainers"] = [{"name": "migrate", "restartPolicy": "Always"}]
    assert pods.never_ready_at(busy, LIMITS) is None


@pytest.mark.parametrize(
    ("probes", "deadline", "ready"),
    [
        ({}, 600, 120),
        ({"startupProbe": {"failureThreshold": 30, "periodSeconds": 10}}, 600, 300),
        ({"readinessProbe": {"initialDelaySeconds": 200}}, 600, 230),
        ({"startupProbe": {"failureThreshold": 300, "periodSeconds": 10}}, 600, 600),
        ({}, 60, 60),
    ],
)
def test_probes_extend_the_limit_up_to_the_progress_deadline(probes: Json, deadline: int, ready: int) -> None:
    """A start that its own probes allow is not condemned; what the progress deadline ends is."""
    body = template()
    body["spec"]["containers"][0] |= probes
    limits = pods.start_limits(body, deadline, timedelta(minutes=2))
    assert (limits.ready, limits.init) == (timedelta(seconds=ready), timedelta(seconds=deadline))


@pytest.mark.parametrize(
    ("failing", "fine", "blocked", "counts"), [(1, 0, 0, True), (1, 1, 0, True), (1, 2, 0, False), (2, 0, 8, True)]
)
def test_half_of_the_pods_that_can_run_must_fail(failing: int, fine: int, blocked: int, counts: bool) -> None:
    """One bad pod among many is a bad node; pods that no node takes neither excuse nor condemn."""
    world = [pod(f"bad-{n}", containers=[LOOP]) for n in range(failing)]
    world += [pod(f"good-{n}", ready_since=1) for n in range(fine)]
    world += [unschedulable() for _ in range(blocked)]
    assert (pods.start_failure(world, LIMITS, at(60)) is not None) is counts


def test_a_start_failure_tells_pods_restarts_and_the_first_sight() -> None:
    """The page names the gravest kind, every failing pod up to a limit, and when it began."""
    killed = LOOP | {"lastState": ended("OOMKilled", code=137, finished=30)}
    world = [pod(f"p-{n:02}", containers=[LOOP]) for n in range(30)] + [pod("q", containers=[killed])]
    failure = pods.start_failure(world, LIMITS, at(60))
    assert failure is not None
    assert (failure.kind, failure.restarts, failure.since) == (OOM, 93, at(20))
    assert len(failure.pods) == pods.PODS_MAX
    assert "OOMKilled" in failure.message


def test_a_hostile_message_is_cut() -> None:
    """A container may write anything into its termination message."""
    loud = container(state=waiting("CrashLoopBackOff"), last=ended(message="x\n" * 5000), restartCount=1)
    failure = pods.pod_failure(pod(containers=[loud]), LIMITS, at(60))
    assert failure is not None
    assert len(failure.message) <= 300
    assert "\n" not in failure.message


def test_a_pod_as_seen() -> None:
    """Restarts add up, the newest counts, and what shows in an init container shows."""
    loop = container("migrate", state=waiting("CrashLoopBackOff"), last=ended("OOMKilled", finished=40), restartCount=2)
    once = container(last=ended(finished=30), restartCount=1)
    seen = pods.pod_seen(pod(ready_since=9, containers=[once], inits=[loop]), REV)
    assert (seen.restarts, seen.last_restart_at, seen.crash_looping, seen.oom_killed) == (3, at(40), True, True)
    assert (seen.ready_since, seen.started_at, seen.node, seen.ready) == (at(9), at(0), "node-1", True)
    assert not pods.pod_seen(pod(ready_since=9, metadata={"deletionTimestamp": stamp(1)}), REV).ready
    assert not pods.pod_seen(pod(ready_since=9, phase="Failed"), REV).ready


@pytest.mark.parametrize(
    ("since", "desired", "unavailable", "answer"),
    [
        ([1, 5, 3], 3, 0, 5),
        ([1, 5, 3], 3, 1, 3),
        ([1, 5], 3, 0, None),
        ([1, 5], 3, 1, 5),
        ([1], 3, 3, 1),
        ([], 3, 3, None),
        ([], 0, 0, None),
        ([4, 2, 9, 1], 2, 0, 2),
    ],
)
def test_available_since_is_an_order_statistic(
    since: list[int], desired: int, unavailable: int, answer: int | None
) -> None:
    """Enough pods are ready since the last needed one became so; none of them is no proof of anything."""
    seen = [pods.pod_seen(pod(f"p{n}", ready_since=s), REV) for n, s in enumerate(since)]
    assert pods.available_since(seen, desired, unavailable) == (None if answer is None else at(answer))


def test_restarts_since_are_bounds() -> None:
    """Exact for pods made since then; of older ones only the newest restart has a time."""
    old = pods.pod_seen(pod("old", containers=[container(last=ended(finished=50), restartCount=9)]), REV)
    new = pods.pod_seen(pod("new", containers=[AGAIN], metadata={"creationTimestamp": stamp(60)}), REV)
    quiet = pods.pod_seen(pod("quiet", containers=[container(last=ended(finished=10), restartCount=4)]), REV)
    assert pods.restarts_since([old, new, quiet], at(45)) == (3, 11)
