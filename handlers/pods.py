"""What a pod's JSON says of its revision: how it runs, whether it fails to start, since when enough pods are ready.

Pure functions; the rules are those of protocols §3. What counts as a failure *of the revision* is chosen narrowly,
because a start failure may roll back without a countdown:

- A container that crashes again and again or was killed for its memory, init containers and native sidecars included.
- A pod whose containers run but that was never Ready within a limit that leaves its own probes the time they ask for.
- A container that cannot be configured (`CreateContainerConfigError`: a ConfigMap, Secret or key that the template
  names is not there) or whose image name is no name. Both are the template's fault, but only after that same limit: a
  ConfigMap may arrive seconds after the rollout, and kubelets time out reading one.
- Never: image pulls, scheduling, quota, eviction, a pod on its way out. They are infrastructure (DESIGN).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.core.model import RevisionId, StartFailure, StartFailureKind, Stint
from handlers.cache import PodSeen
from handlers.faults import shorten
from handlers.revisions import Json, parse_time

NEVER_READY_AFTER = timedelta(minutes=2)
"""How long running containers may be unready before the pod counts as never ready, unless probes ask for more."""

PROGRESS_DEADLINE_SECONDS = 600
"""Kubernetes' default of `spec.progressDeadlineSeconds`; also what an init container may take."""

CRASHES_MIN = 2
"""Restarts before a container that runs just now still counts as crashing: one crash may be a race with a
dependency.
"""

CRASH_WINDOW = timedelta(minutes=10)
"""A crash longer ago is over: the kubelet resets its back-off after a container ran that long."""

READY_FLIP = timedelta(seconds=10)
"""A Ready condition that turned False later than this after the start was True before: the pod has been ready."""

FAILING_SHARE = 0.5
"""Share of a revision's pods (those able to run) that must fail: one bad pod of ten is a bad node, not a bad
revision.
"""

PODS_MAX = 20
"""Most pod names in one StartFailure: enough to look at, and a message stays readable."""

_CRASH_REASONS = frozenset({"CrashLoopBackOff", "RunContainerError", "CreateContainerError", "StartError"})
_TEMPLATE_REASONS = frozenset({"CreateContainerConfigError", "InvalidImageName"})
_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLimits:
    """When a pod counts as never ready: after `ready` since its containers run, `init` since it runs init
    containers.
    """

    ready: timedelta = NEVER_READY_AFTER
    init: timedelta = timedelta(seconds=PROGRESS_DEADLINE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFailure:
    """How one pod fails to start. `since` is the newest crash, or when its limit passed."""

    pod: str
    kind: StartFailureKind
    restarts: int
    since: datetime
    message: str


def start_limits(template: Json, progress_deadline_seconds: int, never_ready: timedelta) -> StartLimits:
    """The limits of a workload: `never_ready`, more where its probes ask for it, never above the progress deadline."""
    deadline = timedelta(seconds=max(progress_deadline_seconds, 1))
    containers = (template.get("spec") or {}).get("containers") or ()
    slowest = max((_probe_budget(c) for c in containers), default=timedelta(0))
    return StartLimits(ready=min(deadline, max(never_ready, slowest)), init=deadline)


def pod_seen(pod: Json, revision: RevisionId) -> PodSeen:
    """The pod in Lastgood's words. An object without creationTimestamp (none on a real server) counts as made at
    epoch.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    statuses = list(_statuses(pod))
    ends = [end for s in statuses if s["restartCount"] and (end := _finished(s, "lastState")) is not None]
    return PodSeen(
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        revision=revision,
        node=(pod.get("spec") or {}).get("nodeName"),
        created_at=_created(pod),
        started_at=parse_time(status.get("startTime")),
        ready_since=_ready_since(pod),
        restarts=sum(s["restartCount"] for s in statuses),
        last_restart_at=max(ends, default=None),
        crash_looping=any(_waiting(s) == "CrashLoopBackOff" for s in statuses),
        oom_killed=any(_terminated_reason(s) == "OOMKilled" for s in statuses),
        terminating="deletionTimestamp" in metadata or status.get("phase") in ("Failed", "Succeeded"),
    )


def stint_of(pod: PodSeen, until: datetime | None = None) -> Stint:
    """The pod's life under its name, up to `until` (None: still). It began with the object: nothing ran before that."""
    return Stint(name=pod.name, since=pod.created_at, until=until)


def pod_failure(pod: Json, limits: StartLimits, now: datetime) -> PodFailure | None:
    """How this pod fails to start, None where it does not or where it is not the revision's fault."""
    if _excused(pod):
        return None
    for status in _statuses(pod):
        crash = _crash(pod, status, now)
        if crash is not None:
            return crash
    since = _unready_since(pod, limits)
    if since is None or since > now:
        return None
    return PodFailure(
        pod=pod["metadata"]["name"],
        kind=StartFailureKind.NEVER_READY,
        restarts=_restarts(pod),
        since=since,
        message=shorten(_why_unready(pod)),
    )


def never_ready_at(pod: Json, limits: StartLimits) -> datetime | None:
    """When this pod will count as never ready if nothing changes; None where it is ready, was, or is excused."""
    return None if _excused(pod) else _unready_since(pod, limits)


def start_failure(pods: Iterable[Json], limits: StartLimits, now: datetime) -> StartFailure | None:
    """How the pods of one revision fail to start, None where fewer than FAILING_SHARE of those able to run do."""
    able = [pod for pod in pods if not _excused(pod)]
    failures = [failure for pod in able if (failure := pod_failure(pod, limits, now)) is not None]
    return summary(failures, len(able))


def summary(failures: Sequence[PodFailure], able: int) -> StartFailure | None:
    """One StartFailure for a revision with `able` pods that could run, of which some fail."""
    if not failures or len(failures) < able * FAILING_SHARE:
        return None
    severity = {StartFailureKind.OOM: 0, StartFailureKind.CRASH: 1, StartFailureKind.NEVER_READY: 2}
    first = min(failures, key=lambda f: (severity[f.kind], f.since, f.pod))
    return StartFailure(
        kind=first.kind,
        pods=tuple(sorted(f.pod for f in failures)[:PODS_MAX]),
        restarts=sum(f.restarts for f in failures),
        since=min(f.since for f in failures),
        message=first.message,
    )


def is_able(pod: Json) -> bool:
    """Whether the pod is one that could run: not leaving, not evicted, not held up by infrastructure."""
    return not _excused(pod)


def available_since(pods: Iterable[PodSeen], desired: int, max_unavailable: int) -> datetime | None:
    """Since when `desired - max_unavailable` (at least one) pods are ready; None if they are not, or none is desired.

    The time is an order statistic over what is ready *now*: a lower bound, pods that served before and left do not
    count.
    """
    if desired <= 0:
        return None
    needed = max(desired - max_unavailable, 1)
    since = sorted(pod.ready_since for pod in pods if pod.ready_since is not None and not pod.terminating)
    return since[needed - 1] if len(since) >= needed else None


def restarts_since(pods: Iterable[PodSeen], since: datetime) -> tuple[int, int]:
    """At least and at most how many container restarts there were since then.

    A pod tells its restarts in all and when the newest was. Made since then: exact. Older, with a restart since then:
    at least one, at most all of them.
    """
    low = high = 0
    for pod in pods:
        if pod.created_at >= since:
            low, high = low + pod.restarts, high + pod.restarts
        elif pod.last_restart_at is not None and pod.last_restart_at >= since:
            low, high = low + 1, high + pod.restarts
    return low, high


def _crash(pod: Json, status: Json, now: datetime) -> PodFailure | None:
    """The failure of one container that keeps ending, None where it does not."""
    waiting, ended = _waiting(status), _last_end(status)
    restarts, reason = status["restartCount"], _terminated_reason(status)
    recent = ended is not None and now - ended <= CRASH_WINDOW
    again = restarts >= CRASHES_MIN and recent and _exit_code(status) != 0
    oom = reason == "OOMKilled" and recent and (again or not status.get("ready"))
    if waiting not in _CRASH_REASONS and not again and not oom:
        return None
    code = _exit_code(status)
    words = [f"container {status['name']}:", waiting or "crashing"]
    words += [f"({reason}, exit code {code})"] if reason else []
    words += [f"after {restarts} restarts", _detail(status)]
    return PodFailure(
        pod=pod["metadata"]["name"],
        kind=StartFailureKind.OOM if reason == "OOMKilled" else StartFailureKind.CRASH,
        restarts=_restarts(pod),
        since=ended or parse_time((pod.get("status") or {}).get("startTime")) or _created(pod),
        message=shorten(" ".join(word for word in words if word)),
    )


def _unready_since(pod: Json, limits: StartLimits) -> datetime | None:
    """When the pod began to count as never ready (maybe in the future), None where it is or has been ready."""
    if _ready_since(pod) is not None or _was_ready(pod):
        return None
    started = parse_time((pod.get("status") or {}).get("startTime"))
    if started is None:
        return None
    statuses = list(_statuses(pod))
    if any(_waiting(s) in _TEMPLATE_REASONS for s in statuses):
        return started + limits.ready
    main = (pod.get("status") or {}).get("containerStatuses") or ()
    running = [at for s in main if (at := _running_since(s)) is not None]
    if main and len(running) == len(main):
        return max(running) + limits.ready
    inits = [at for s in _inits(pod) if (at := _running_since(s)) is not None]
    return max(inits) + limits.init if inits else None


def _excused(pod: Json) -> bool:
    """Leaving, ended by somebody else (evicted, preempted, node gone), not scheduled, or waiting for its image."""
    status = pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"] or status.get("phase") in ("Failed", "Succeeded", "Unknown"):
        return True
    if status.get("reason"):
        return True
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return True
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return True
    return any(_waiting(s) in _PULL_REASONS for s in _statuses(pod))


def is_ready(pod: Json) -> bool:
    """Whether the pod's Ready condition says so."""
    return _ready_since(pod) is not None


def _was_ready(pod: Json) -> bool:
    """Whether a pod that is not Ready now has been: its condition turned False well after its containers began."""
    turned = parse_time((_condition(pod, "Ready") or {}).get("lastTransitionTime"))
    started = parse_time((pod.get("status") or {}).get("startTime"))
    return turned is not None and started is not None and turned - started > READY_FLIP


def _ready_since(pod: Json) -> datetime | None:
    condition = _condition(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    return parse_time(condition.get("lastTransitionTime")) or _created(pod)


def _condition(pod: Json, kind: str) -> Json | None:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), None)


def _statuses(pod: Json) -> Iterator[dict[str, Any]]:
    """The state of every container; one without restartCount has not restarted."""
    status = pod.get("status") or {}
    for item in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        yield {**item, "restartCount": int(item.get("restartCount") or 0), "name": item.get("name", "?")}


def _inits(pod: Json) -> Sequence[Json]:
    """States of the init containers that must end: native sidecars (restartPolicy Always) run for good."""
    spec = (pod.get("spec") or {}).get("initContainers") or ()
    sidecars = {c.get("name") for c in spec if c.get("restartPolicy") == "Always"}
    return [s for s in (pod.get("status") or {}).get("initContainerStatuses") or () if s.get("name") not in sidecars]


def _restarts(pod: Json) -> int:
    return sum(s["restartCount"] for s in _statuses(pod))


def _waiting(status: Json) -> str:
    return str(((status.get("state") or {}).get("waiting") or {}).get("reason") or "")


def _running_since(status: Json) -> datetime | None:
    return parse_time(((status.get("state") or {}).get("running") or {}).get("startedAt"))


def _terminated(status: Json) -> Json:
    """How the container ended last: now, or before its latest start."""
    for state in ("state", "lastState"):
        ended: Json | None = (status.get(state) or {}).get("terminated")
        if ended is not None:
            return ended
    return {}


def _terminated_reason(status: Json) -> str:
    return str(_terminated(status).get("reason") or "")


def _exit_code(status: Json) -> int:
    return int(_terminated(status).get("exitCode") or 0)


def _last_end(status: Json) -> datetime | None:
    return parse_time(_terminated(status).get("finishedAt"))


def _finished(status: Json, state: str) -> datetime | None:
    return parse_time(((status.get(state) or {}).get("terminated") or {}).get("finishedAt"))


def _detail(status: Json) -> str:
    """What the container or the kubelet said; hostile text, shortened by the caller."""
    said = _terminated(status).get("message") or ((status.get("state") or {}).get("waiting") or {}).get("message")
    return f"- {said}" if said else ""


def _why_unready(pod: Json) -> str:
    for status in _statuses(pod):
        if _waiting(status) in _TEMPLATE_REASONS:
            return f"container {status['name']}: {_waiting(status)} {_detail(status)}"
    unready = [s["name"] for s in _statuses(pod) if _running_since(s) is not None and not s.get("ready")]
    return f"containers {', '.join(unready) or '?'} run but never became ready"


def _created(pod: Json) -> datetime:
    return parse_time(pod["metadata"].get("creationTimestamp")) or datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _probe_budget(container: Json) -> timedelta:
    """The longest that a container's start-up and readiness probes may take before the kubelet gives up on them."""
    seconds = 0
    for name in ("startupProbe", "readinessProbe"):
        probe = container.get(name)
        if probe:
            tries = int(probe.get("failureThreshold") or 3) * int(probe.get("periodSeconds") or 10)
            seconds += int(probe.get("initialDelaySeconds") or 0) + tries
    return timedelta(seconds=seconds)
