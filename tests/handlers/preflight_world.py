"""A daemon as preflight sees it: a story of the core, and stand-ins for all that is asked. Everything is well unless told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aiohttp import web

from daemon.core.actions import Checked, CheckTarget, Locate, Located, Outcome, OutcomeKind
from daemon.core.measurement import TargetCheck
from daemon.core.model import Alert, Location, OnsetSource
from daemon.core.policy import Policy
from daemon.core.state import State
from handlers.answers import Actor
from handlers.faults import Fault
from handlers.inbound.preflight import Preflight
from handlers.ladder import place
from handlers.overview import Document
from handlers.preflight import checks
from handlers.preflight.subject import Configured, Sources, Subject
from handlers.prometheus import AlertingRule, Vector
from tests.core.builders import SHOP, V1, a_check, a_policy, a_view
from tests.core.story import Story
from tests.handlers.measuring_world import SECOND, Alertmanager, Cluster, Prometheus, healthy, pod
from tests.handlers.people import Daemon

RULE = AlertingRule(
    name="HighErrorRate",
    group="shop",
    query='sum by (namespace, pod) (rate(http_requests_total{code=~"5.."}[1m])) > 1',
    duration=30 * SECOND,
    labels=(("severity", "critical"),),
)

POD = "checkout-1-abcde"

CONFIGURED = Configured(pagerduty=True, slack=True, buttons=True, webhook_address="LASTGOOD:9095")


def well(query: str, at: datetime) -> Vector:
    """Every part of every query has series."""
    if query.startswith("count("):
        return [({}, 3.0)]
    value = healthy(query, at)
    assert isinstance(value, float)
    return [({}, value)]


class Rights:
    """May do everything but what is in `lacks` (verb and resource)."""

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.fault: Fault | None = None
        self.asked: list[tuple[str, str, str, str]] = []

    async def self_subject_access_review(
        self, verb: str, group: str, resource: str, *, namespace: str = "", subresource: str = "", name: str = ""
    ) -> bool:
        self.asked.append((verb, group, resource, namespace))
        if self.fault is not None:
            raise self.fault
        what = f"{resource}/{subresource}" if subresource else resource
        return f"{verb} {what}" not in self.lacks


class World:
    """Change what a test is about, then `looks`."""

    def __init__(self, story: Story | None = None, /, **policy: Any) -> None:
        self.story = story or proven(**policy)
        self.cluster = Cluster()
        self.cluster.workloads = {("shop", "checkout"): SHOP}
        self.cluster.owners = {("shop", POD): SHOP}
        self.cluster.pods = {(SHOP, V1.id): [pod(POD, V1)]}
        self.prometheus = Prometheus(lambda query, at: 20.0)
        self.prometheus.instant = well
        self.prometheus.alerting = (RULE,)
        self.rights = Rights()
        self.alertmanager: Alertmanager | None = Alertmanager()
        self.located: list[Alert] = []
        self.onset = OnsetSource.FOR_STATE
        self.target: TargetCheck | Fault = a_check(V1)
        self.checked: list[CheckTarget] = []
        self.ready: str | None = None
        self.age = 1.0
        self.webhooks = 1
        self.free: int | OSError = 10**10
        self.configured = CONFIGURED

    @property
    def state(self) -> State:
        return self.story.state

    def now(self) -> datetime:
        return self.story.now

    async def locate(self, action: Locate) -> Outcome:
        """The real ladder; the onset as the test says."""
        self.located.append(action.alert)
        found = place(action.alert, self.cluster, self.story.policy.mappings)
        location = Location(
            workloads=found.workloads,
            rung=found.rung,
            tried=found.tried,
            onset=action.alert.starts_at,
            onset_source=self.onset,
        )
        return Outcome(kind=OutcomeKind.DONE, result=Located(location=location))

    async def check(self, action: CheckTarget) -> Outcome:
        self.checked.append(action)
        if isinstance(self.target, Fault):
            raise self.target
        return Outcome(kind=OutcomeKind.DONE, result=Checked(check=self.target))

    def _free(self) -> int:
        if isinstance(self.free, OSError):
            raise self.free
        return self.free

    def sources(self) -> Sources:
        return Sources(
            reader=self,
            policy=lambda: self.story.policy,
            clock=self,
            cache=self.cluster,
            signals=self.prometheus,
            rights=self.rights,
            alertmanager=self.alertmanager,
            locate=self.locate,
            check=self.check,
            watch_age=lambda: self.age,
            webhooks=lambda: self.webhooks,
            free_bytes=self._free,
            configured=self.configured,
        )

    def subject(self, *alerts: Alert) -> Subject:
        tracked = self.state.workloads[SHOP.key]
        return Subject(tracked=tracked, state=self.state, policy=self.story.policy, now=self.now(), alerts=alerts)

    async def looks(self, *alerts: Alert) -> Looked:
        return Looked(await checks.preflight(self.sources(), self.subject(*alerts)))


class Looked:
    """What came of one preflight."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def line(self, check: str) -> Document:
        """The one line of this check."""
        (found,) = [line for line in self.document["lines"] if line["check"] == check]
        return dict(found)

    def of(self, level: str) -> list[str]:
        """The checks of a level."""
        return [line["check"] for line in self.document["lines"] if line["level"] == level]


def proven(**policy: Any) -> Story:
    """v1 serves alone and is verified, in mode auto unless told."""
    story = Story(policy=a_policy(**policy))
    story.proves_v1()
    return story


def seen(policy: Policy | None = None, **view: Any) -> Story:
    """v1 is proven, and the cluster shows the workload so."""
    story = Story(policy=policy or a_policy())
    story.proves_v1()
    story.sees(a_view(**({"current": V1} | view)))
    return story


class PreflightDaemon(Daemon):
    """Also answers for preflights of its world."""

    def __init__(self, world: World, *, total_seconds: float = 20.0) -> None:
        super().__init__(world.story)
        self.world = world
        self.total_seconds = total_seconds

    def routes(self, actor: Actor) -> Sequence[web.AbstractRouteDef]:
        own = Preflight(self.world.sources(), actor, total_seconds=self.total_seconds)
        return [*super().routes(actor), *own.routes()]
