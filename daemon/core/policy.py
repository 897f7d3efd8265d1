"""The limits within which Lastgood may act; every number of DESIGN's defaults, with its unit.

Plain frozen dataclasses: the configuration layer fills and validates them, the core only reads them. A replay never needs
a policy, so changing it cannot rewrite history.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from daemon.core.model import Mode, Severity, Workload

MINUTE = timedelta(minutes=1)


class SignalKind(StrEnum):
    """How a signal's numbers are to be read; decides which row of DESIGN's table of thresholds applies."""

    TRAFFIC = "traffic"
    ERROR_RATIO = "error_ratio"
    LATENCY = "latency"
    LATENCY_P95 = "latency_p95"
    LATENCY_P99 = "latency_p99"
    CPU = "cpu"
    MEMORY = "memory"


LATENCIES = frozenset({SignalKind.LATENCY, SignalKind.LATENCY_P95, SignalKind.LATENCY_P99})
"""All that are in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRule:
    """One signal: a PromQL template and, where the user wants other ones, its thresholds.

    `$namespace` and `$pods` (a regular expression, escaped) and `$window` are filled in per revision. Units: requests/s,
    ratios 0..1, seconds. `healthy_below` and `trigger_above` override the table's absolute numbers.
    """

    name: str
    kind: SignalKind
    query: str
    healthy_below: float | None = None
    trigger_above: float | None = None


_SELECTOR = 'namespace="$namespace",pod=~"$pods"'
_TOTAL = f"sum(rate(http_requests_total{{{_SELECTOR}}}[$window]))"
_BUCKETS = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{_SELECTOR}}}[$window]))"

# `code` and `status` are the two label names in common use; without any failed request neither series exists, and then
# traffic times 0 says "no errors" while no traffic at all still says "no data".
_ERRORS = (
    f'(sum(rate(http_requests_total{{{_SELECTOR},code=~"5.."}}[$window]))'
    f' or sum(rate(http_requests_total{{{_SELECTOR},status=~"5.."}}[$window]))'
    f" or {_TOTAL} * 0) / ({_TOTAL} > 0)"
)

DEFAULT_SIGNALS = (
    SignalRule(name="traffic", kind=SignalKind.TRAFFIC, query=_TOTAL),
    SignalRule(name="error_ratio", kind=SignalKind.ERROR_RATIO, query=_ERRORS),
    SignalRule(
        name="latency_p95",
        kind=SignalKind.LATENCY_P95,
        query=f"histogram_quantile(0.95, {_BUCKETS})",
    ),
    SignalRule(
        name="latency_p99",
        kind=SignalKind.LATENCY_P99,
        query=f"histogram_quantile(0.99, {_BUCKETS})",
    ),
)

_CONTAINERS = f'{_SELECTOR},container!="",container!="POD"'
_THROTTLED, _PERIODS = (
    f"sum by (pod, container) (rate(container_cpu_cfs_{name}_total{{{_CONTAINERS}}}[$window]))"
    for name in ("throttled_periods", "periods")
)
_USED = f"max by (pod, container) (container_memory_working_set_bytes{{{_CONTAINERS}}})"
_LIMIT = f'max by (pod, container) (kube_pod_container_resource_limits{{{_SELECTOR},resource="memory"}})'

# Of the container that is worst off. Measured only where somebody names them (`cpu: {}`): what is starved at its start, or is at
# home near its limit, would be bad for ever by the table's absolute numbers.
SATURATION_SIGNALS = (
    SignalRule(name="cpu", kind=SignalKind.CPU, query=f"max({_THROTTLED} / ({_PERIODS} > 0))"),
    SignalRule(name="memory", kind=SignalKind.MEMORY, query=f"max({_USED} / on (pod, container) {_LIMIT})"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeRule:
    """Which workloads get which mode; empty selectors match everything, `*` in a name matches any run of characters."""

    mode: Mode
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMapping:
    """An explicit answer to "which workload does this alert belong to": all of `labels` must equal the alert's."""

    labels: tuple[tuple[str, str], ...]
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverRule:
    """Who may approve, decline and pause from the chat, and where; empty selectors match everything, `*` any characters.

    `actors` are as journalled: `slack:U0123ABCD` is the user's id, which the user cannot change (unlike a name).
    """

    actors: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class GitOps(StrEnum):
    """What is done where a GitOps controller would write the bad revision back.

    REFUSE: a person is paged with the revert. ARGOCD_ROLLBACK: auto-sync of the Application is suspended, and the Application
    rolled back. FLUX_SUSPEND: the Kustomization or HelmRelease is suspended, and the workload rolled back. Both suspensions end
    by themselves. GIT_REVERT: the page comes with a pull request that reverts the commit.
    """

    REFUSE = "refuse"
    ARGOCD_ROLLBACK = "argocd-rollback"
    FLUX_SUSPEND = "flux-suspend"
    GIT_REVERT = "git-revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOpsRule:
    """What is `do`ne for which workloads; empty selectors match everything, `*` in a name matches any run of characters."""

    do: GitOps
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Paging(StrEnum):
    """BESIDE: a page from Lastgood is about a rollout. INSTEAD: every critical alert pages, whatever the verdict."""

    BESIDE = "beside"
    INSTEAD = "instead"


class Route(StrEnum):
    """Where an incident of some severity is told."""

    PAGE = "page"
    ANNOUNCE = "announce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The routes of each severity; what is in neither list only shows in the metrics."""

    critical: tuple[Route, ...] = (Route.PAGE, Route.ANNOUNCE)
    high: tuple[Route, ...] = (Route.ANNOUNCE,)
    low: tuple[Route, ...] = ()

    def of(self, severity: Severity) -> tuple[Route, ...]:
        """The routes of `severity`."""
        return {
            Severity.CRITICAL: self.critical,
            Severity.HIGH: self.high,
            Severity.LOW: self.low,
        }[severity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every limit of a decision. Durations are timedeltas, ratios 0..1, rates per second.

    `calls` are declared: caller and callee.
    """

    cluster: str

    default_mode: Mode = Mode.OBSERVE
    modes: tuple[ModeRule, ...] = ()
    mappings: tuple[AlertMapping, ...] = ()
    calls: tuple[tuple[Workload, Workload], ...] = ()
    signals: tuple[SignalRule, ...] = DEFAULT_SIGNALS

    soak: timedelta = 15 * MINUTE
    soak_low_traffic: timedelta = timedelta(hours=24)
    proof_age_max: timedelta = timedelta(days=14)

    blame_window: timedelta = 30 * MINUTE
    too_old: timedelta = timedelta(hours=2)
    assumed_for: timedelta = 2 * MINUTE
    blame_threshold: float = 0.3
    blame_margin: float = 0.2
    act_without_control: bool = False

    decide_deadline: timedelta = 10 * MINUTE
    approve_deadline: timedelta = 15 * MINUTE
    converge_deadline: timedelta = 10 * MINUTE
    verify_deadline: timedelta = 15 * MINUTE
    hold: timedelta = 2 * MINUTE
    countdown: timedelta = timedelta(seconds=30)

    sample_interval: timedelta = timedelta(seconds=30)
    signal_window: timedelta = MINUTE
    persistence_bad: int = 2
    persistence_of: int = 5
    latency_warm_up: timedelta = timedelta(seconds=60)
    min_traffic_rate: float = 1.0
    min_requests: int = 50

    restarts_max: int = 5
    restarts_window: timedelta = 5 * MINUTE

    rollbacks_per_namespace_hour: int = 3
    rollbacks_per_cluster_hour: int = 10

    paging: Paging = Paging.BESIDE
    routes: Routes = field(default_factory=Routes)
    severity_label: str = "severity"
    severities: tuple[tuple[str, Severity], ...] = (
        ("critical", Severity.CRITICAL),
        ("page", Severity.CRITICAL),
        ("high", Severity.HIGH),
        ("error", Severity.HIGH),
        ("warning", Severity.HIGH),
    )
    own_workload: str | None = None
    approvers: tuple[ApproverRule, ...] = ()
    change_events: bool = True
    delete_stuck_pods: bool = False
    gitops: tuple[GitOpsRule, ...] = ()
    suspend_for: timedelta = timedelta(hours=4)
    pipeline_managers: tuple[str, ...] = ()

    @property
    def settling(self) -> timedelta:
        """How long after its moment a sample can be expected to be known whole.

        The scrapes of the last seconds are still to come, first of some pods, then of others. Half a signal window is two scrapes
        where the window holds four, as it should; never more than one sample interval, or a recovery would always look stale.
        """
        return min(self.signal_window / 2, self.sample_interval)

    @property
    def sample_phase(self) -> timedelta:
        """When samples lie, counted from the whole multiples of the interval since the epoch."""
        return timedelta(0)

    @property
    def unknown_traffic_is_enough(self) -> bool:
        """Whether signals count of which nobody knows how many requests are behind them."""
        return False

    def names_of(self, kind: SignalKind) -> tuple[str, ...]:
        """The names of its signals of one kind, in their order."""
        return tuple(rule.name for rule in self.signals if rule.kind is kind)

    @property
    def latency_kinds(self) -> frozenset[SignalKind]:
        """The kinds whose first `latency_warm_up` after a pod's start is left out."""
        return LATENCIES

    def severity_of(self, label: str | None) -> Severity:
        """The severity that the alert's severity label means; unknown ones are LOW (metrics only)."""
        return dict(self.severities).get((label or "").lower(), Severity.LOW)

    def may_approve(self, actor: str, workload: Workload) -> bool:
        """Whether an approver rule lets this actor of the chat command about the workload; without rules nobody may."""
        return any(
            actor in rule.actors
            and (not rule.namespaces or any(fnmatchcase(workload.namespace, glob) for glob in rule.namespaces))
            and (not rule.names or any(fnmatchcase(workload.name, glob) for glob in rule.names))
            for rule in self.approvers
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPolicy(Policy):
    """A policy for a recording: its samples are whole, lie where they lie, and may not tell the traffic (issue 5)."""

    phase: timedelta = timedelta(0)

    @property
    def settling(self) -> timedelta:
        """What is recorded is known."""
        return timedelta(0)

    @property
    def sample_phase(self) -> timedelta:
        """Where the recording has its samples."""
        return self.phase

    @property
    def unknown_traffic_is_enough(self) -> bool:
        """A weight that is null means unknown, not low."""
        return True
