"""What was measured: samples per revision, peers, alert states, soak and target checks.

Measuring is an Action; these values are its result and are journalled with the verdict that used them, so that `explain`
can show every number later (DESIGN, "the road of one incident").
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from daemon.core.model import AlertStatus, RevisionId, StartFailure, Workload

BEFORE_SAMPLES = 10
"""Samples of the replaced revision before the rollout: enough for a median that one bad minute does not move."""

LOOK_BACK_MAX = timedelta(hours=2)
"""How far back the time side by side is read: rollouts older than TOO_OLD are not acted upon anyway."""

DAY = timedelta(days=1)
"""How much earlier `yesterday` is: a nightly batch or a daily peak is nobody's fault."""


class Health(StrEnum):
    """Four-valued: bad, fine, cannot tell, could not measure. Only UNHEALTHY may ever lead to a rollback."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The signals of one group of pods at one moment.

    `values` holds (signal name, value) for the signals that answered; a missing name means no data, never 0.
    Traffic is in requests/s, ratios are 0..1, latencies in seconds. `pods` is how many of them answered,
    None where unknown; `each` has the values of single pods, by signal, where they were asked for.
    """

    at: datetime
    values: tuple[tuple[str, float], ...]
    pods: int | None = None
    each: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def value(self, signal: str) -> float | None:
        """The signal's value, None where it had no data."""
        for name, value in self.values:  # asked hundreds of times per candidate: no generator
            if name == signal:
                return value
        return None

    def single(self, signal: str) -> tuple[float, ...]:
        """The values of single pods, empty where they are not known."""
        return next((values for name, values in self.each if name == signal), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another workload: how it did before the onset and now (common-cause veto), or before a rollout of one it calls and now.

    Of callers of a rollout also: `since`, how it did in the last moments before new pods were ready, or fell silent, and in the
    first ones after. `kept`: it is rolled out itself, and what fails is told by the pods that it had before.
    """

    workload: Workload
    before: Sample | None
    now: Sample | None
    since: tuple[Sample, Sample] | None = None
    kept: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """How often a workload that was rolled out asks another, in calls per request that it serves itself.

    One number a sample, oldest first: `before` its rollout, and in the latest samples. What it serves carries no blame: a spike
    of traffic makes more calls, and no more of them per request.
    """

    workload: Workload
    callee: Workload
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """What Alertmanager's API says of one alert of the incident now; RESOLVED where it is not listed any more."""

    fingerprint: str
    status: AlertStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The result of one Measure action.

    `new` and `old` are aligned samples of the pods of the blamed and the replaced revision, since the rollout began, up to when
    every scrape can be expected to be known; `unsettled` is the one pair (new, old) of a moment after that. `before` samples the
    replaced revision before it, `yesterday` the workload a day earlier. Only where nothing is heard of the new pods lately,
    before the rollout and now: `callers` are workloads that call it directly, told by their calls to it where these are known
    by themselves, else by all they do; `callees` are those it calls, with what reaches them from it. Where old and new pods are
    bad alike, `below` are those it calls, before the onset and now. `missing` names every
    source that could not be read: data that is missing is neither good nor bad. `failed_nodes` are nodes on which most pods of
    unrelated workloads are not ready either. `restarts` are those of the new pods, `old_restarts` of the old ones since the
    rollout began; `restarted_at` is the newest of the new pods', None where nobody knows. `killed` new pods ended last for
    lack of memory. `ready_since`: since when each new pod that is ready now has been.
    """

    at: datetime
    new: tuple[Sample, ...] = ()
    old: tuple[Sample, ...] = ()
    unsettled: tuple[Sample, Sample] | None = None
    before: tuple[Sample, ...] = ()
    yesterday: tuple[Sample, ...] = ()
    peers: tuple[Peer, ...] = ()
    callers: tuple[Peer, ...] = ()
    callees: tuple[Peer, ...] = ()
    below: tuple[Peer, ...] = ()
    fan_outs: tuple[FanOut, ...] = ()
    alerts: tuple[AlertState, ...] = ()
    start_failure: StartFailure | None = None
    new_ready: int = 0
    new_pods: int = 0
    old_ready: int = 0
    ready_since: tuple[datetime, ...] = ()
    restarts: int = 0
    restarted_at: datetime | None = None
    killed: int = 0
    old_restarts: int = 0
    failed_nodes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def is_of_one(self, sample: Sample) -> bool:
        """A sample of the new pods is known to be of a single one: by itself, or as only one of those ready now was by then."""
        return (sample.pods or sum(since <= sample.at for since in self.ready_since)) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """A ConfigMap that the target references, and when it last changed."""

    name: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCheck:
    """Whether a revision could be rolled back to right now (DESIGN: re-checked at rollback time).

    `exists`: its history object is there. `missing`: referenced objects that are gone. `unchecked`: references that our
    role may not read (Secrets). `dry_run_error`: what the API server said of a server-side dry run, None when accepted.
    `may_patch`: our role lets us try at all; the role for mode observe does not. `no_way`: why there is nothing of ours to try
    that leads to it, with what a person can do; None where there is.
    """

    revision: RevisionId
    exists: bool
    missing: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    configs: tuple[ConfigChange, ...] = ()
    dry_run_error: str | None = None
    may_patch: bool = True
    no_way: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakMeasurement:
    """Health of the only serving revision over `since`..`until`, in time added up per kind of sample.

    `healthy`: available, no restarts, signals measured and healthy with enough traffic. `quiet`: the same with too little
    traffic or no signals to judge. `inconclusive` pauses the clock. `unhealthy_at` is the latest unhealthy moment: it
    resets the clock, and only what came after it (already the only thing in `healthy` and `quiet`) counts. `regressed_at` is
    since when it was so persistently; None where it never was: a blip resets the clock, and takes no mark away. `healthy_until`
    is the latest healthy or quiet moment.
    """

    since: datetime
    until: datetime
    healthy: timedelta
    quiet: timedelta
    inconclusive: timedelta
    unhealthy_at: datetime | None = None
    regressed_at: datetime | None = None
    healthy_until: datetime | None = None
    because: str = ""
    baseline: tuple[tuple[str, float], ...] = ()
    missing: tuple[str, ...] = ()
