"""What the checks stand on: the daemon's parts and clients, and the workload in question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from daemon.core.actions import CheckTarget, Locate, Outcome
from daemon.core.mode import mode_of
from daemon.core.model import Alert, Mode, Workload
from daemon.core.policy import Policy
from daemon.core.state import State, Tracked
from daemon.ports import Clock, Reader
from handlers.alertmanager_api import Reading
from handlers.cache import ClusterCache
from handlers.call_graph import CallGraph
from handlers.prometheus import AlertingRule, Matrix, Vector


class Signals(Protocol):
    """What is asked of Prometheus; handlers.prometheus.PrometheusClient is one. Raises Transient and Permanent."""

    async def query(self, promql: str, at: datetime) -> Vector:
        """The instant vector at that moment."""
        ...

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        """The samples in start..end."""
        ...

    async def rules(self) -> tuple[AlertingRule, ...]:
        """All alerting rules."""
        ...


class Rights(Protocol):
    """May we do that? handlers.kube.KubeClient answers. Raises Transient and Permanent."""

    async def self_subject_access_review(
        self, verb: str, group: str, resource: str, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> bool:
        """Empty namespace means all of them."""
        ...


class Alerts(Protocol):
    """Reads Alertmanager's API; handlers.alertmanager_api.AlertmanagerApi is one. Raises Transient and Permanent."""

    async def read(self) -> Reading:
        """The alerts now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Which outside systems the settings name. `buttons`: presses in Slack reach us."""

    pagerduty: bool
    slack: bool
    buttons: bool
    webhook_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The daemon as preflight sees it. `alertmanager` is None where none is configured, `calls()` where no call graph is known.

    `watch_age` is in seconds; `webhooks` counts accepted Alertmanager webhooks since the start; `free_bytes` of the state
    folder's disk raises OSError.
    """

    reader: Reader
    policy: Callable[[], Policy]
    clock: Clock
    cache: ClusterCache
    signals: Signals
    rights: Rights
    alertmanager: Alerts | None
    locate: Callable[[Locate], Awaitable[Outcome]]
    check: Callable[[CheckTarget], Awaitable[Outcome]]
    watch_age: Callable[[], float]
    webhooks: Callable[[], int]
    free_bytes: Callable[[], int]
    configured: Configured
    calls: Callable[[], CallGraph | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One workload at one moment, and the alerts that were handed in with it."""

    tracked: Tracked
    state: State
    policy: Policy
    now: datetime
    alerts: tuple[Alert, ...] = ()

    @property
    def workload(self) -> Workload:
        """The workload."""
        return self.tracked.view.workload

    @property
    def mode(self) -> Mode:
        """The mode in force."""
        return mode_of(self.policy, self.tracked)

    @property
    def kubectl(self) -> str:
        """`kubectl -n NAMESPACE`."""
        return f"kubectl -n {self.workload.namespace}"

    @property
    def object(self) -> str:
        """The workload as kubectl names it."""
        return f"{self.workload.kind.lower()}/{self.workload.name}"
