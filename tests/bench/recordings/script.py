"""What is to happen in one recording, drawn from its seed before anything is simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from tests.bench.recordings import chance, rollouts
from tests.bench.recordings.confounders import OUTAGES, Confounder, Disturbance, traffic_spike, unheard
from tests.bench.recordings.faults import Fault, NotSuitedError, Recipe
from tests.bench.recordings.landscape import Landscape, Service, landscape
from tests.bench.recordings.observing import REQUEST_SIGNALS, Style
from tests.bench.recordings.ranges import Ranges
from tests.bench.recordings.rollouts import Plan

Kind = Literal["bad", "healthy", "outage", "hidden"]
SIGNALS = (*REQUEST_SIGNALS, "cpu_ratio", "memory_ratio")
CHOICE: tuple[tuple[Confounder, float], ...] = (
    ("outage", 0.8), ("traffic spike", 1.0), ("flapping alert", 1.0), ("noisy neighbour", 1.0), ("low traffic", 0.6),
    ("clock skew", 0.8), ("missing series", 1.0), ("restart only", 0.8), ("warm-up", 1.5), ("neighbours roll out", 1.0),
    ("undone by hand", 0.6), ("silent alerts", 0.5), ("decoy", 1.0), ("unheard", 0.25), ("twice", 0.5),
)  # fmt: skip
"""How often each confounder is taken, against the others."""

LACKING = (("cpu_ratio", 0.12), ("memory_ratio", 0.12), ("traffic_rate", 0.1), ("latency_seconds", 0.05))
"""How many recordings have nothing of a signal."""

FAST, SLOW = 20.0, 300.0
"""Intervals up to the first get small worlds (a recording stays below some 100,000 lines), those from the second on long ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A recording to be. Moments are seconds since it begins, `until` is its end."""

    kind: Kind
    ranges: Ranges
    land: Landscape
    style: Style
    until: float
    plans: tuple[Plan, ...]
    """In time order; the bad one says so."""
    fault: Fault | None
    confounders: tuple[Confounder, ...]
    disturbances: tuple[Disturbance, ...]
    restarted: tuple[tuple[str, float], ...]
    """Services whose pods are made anew without a new revision, and when."""
    undone_at: float | None
    bias: float
    current: dict[str, str]
    """The revision that each service has at the beginning."""

    @property
    def bad(self) -> Plan | None:
        """The culprit's rollout."""
        return next((plan for plan in self.plans if plan.bad), None)


def script(rng: Random, ranges: Ranges, kind: Kind, recipe: Recipe) -> Script:
    """Everything that chance decides beforehand."""
    confounders = _confounders(rng, ranges, kind)
    interval = float(chance.weighed(rng, ranges.intervals))
    view = chance.weighed(rng, ranges.views)
    ranges = _fitted(ranges, interval, edges="edges" in view)
    land = landscape(rng, ranges, low_traffic="low traffic" in confounders)
    pace = 2.5 if interval >= SLOW else 1.0
    until = chance.whole(rng, ranges.minutes) * 60 * pace
    begins = min(chance.whole(rng, ranges.quiet_minutes) * 60 * pace, until * 0.45)
    style = _style(rng, ranges, land, interval, view, missing="missing series" in confounders, until=until)
    current = {service.name: rollouts.names(rng, land, rng.randint(3, 60))[1] for service in land.services}
    culprit, fault = _culprit(rng, land, recipe) if kind in {"bad", "hidden"} else (None, None)
    plans = _plans(rng, ranges, land, kind, culprit, confounders, begins, until, current)
    disturbances = _disturbances(rng, land, kind, confounders, begins, until)
    sound = [plan for plan in plans if not plan.bad]
    if "unheard" in confounders and sound:
        plan = rng.choice(sound)
        disturbances += (unheard(plan.service.name, plan.revision, until),)
    busy = {plan.service.name for plan in plans}
    idle = [service.name for service in land.services if service.name not in busy]
    restarted = (
        ((rng.choice(idle), begins + rng.uniform(-300.0, 600.0)),) if "restart only" in confounders and idle else ()
    )
    return Script(
        kind=kind, ranges=ranges, land=land, style=style, until=until, plans=plans, fault=fault, confounders=confounders,
        disturbances=disturbances, restarted=restarted,
        undone_at=begins + rng.uniform(1200.0, 2700.0) * pace if "undone by hand" in confounders and culprit else None,
        bias=chance.between(rng, ranges.pod_bias), current=current,
    )  # fmt: skip


def _confounders(rng: Random, ranges: Ranges, kind: Kind) -> tuple[Confounder, ...]:
    wanted = min(len(CHOICE), chance.weighed(rng, ranges.confounders) + (1 if kind == "healthy" else 0))
    found: list[Confounder] = []
    while len(found) < wanted:
        each = chance.weighed(rng, CHOICE)
        if each not in found:
            found.append(each)
    return tuple(found)


def _fitted(ranges: Ranges, interval: float, *, edges: bool) -> Ranges:
    if interval <= FAST:
        ranges = replace(ranges, services=(6, 8), pods=(2, 3), minutes=(60, 65))
    if interval >= SLOW:
        ranges = replace(ranges, hold_minutes=(ranges.hold_minutes[0] * 2.5, ranges.hold_minutes[1] * 2.5))
    if edges:
        ranges = replace(ranges, pods=(2, min(4, ranges.pods[1])))
    return ranges


def _style(
    rng: Random, ranges: Ranges, land: Landscape, interval: float, view: str, *, missing: bool, until: float
) -> Style:
    untidy = ranges.untidy
    side: Literal["both", "inbound", "outbound"] = chance.weighed(
        rng, (("both", 0.7), ("inbound", 0.22 * untidy), ("outbound", 0.08 * untidy))
    )
    signals = set(SIGNALS)
    for signal, odds in LACKING:
        if rng.random() < odds * untidy:
            signals.discard(signal)
    holes: set[tuple[str, str]] = set()
    gaps: list[tuple[float, float]] = []
    if missing:
        holes = {(rng.choice(land.services).name, rng.choice(SIGNALS)) for _ in range(rng.randint(1, 6))}
        begins = rng.uniform(0.1, 0.9) * until
        gaps = [(begins, begins + rng.uniform(1.0, 5.0) * interval)]
    return Style(
        interval=interval, view=next(each for each, _ in ranges.views if each == view), side=side,
        weights=rng.random() >= 0.25 * untidy, signals=frozenset(signals), nulls=rng.random() < 0.4,
        errors_from_first=rng.random() < 0.12 * untidy, staggered=rng.random() < 0.2 * untidy,
        loss=rng.choice((0.0, 0.0, 0.0, 0.005, 0.03)) * untidy, gaps=tuple(gaps), missing=frozenset(holes),
        request_spread=chance.between(rng, ranges.latency_noise),
    )  # fmt: skip


def _culprit(rng: Random, land: Landscape, recipe: Recipe) -> tuple[Service, Fault]:
    """A service that can have this fault."""
    for service in rng.sample(land.services, len(land.services)):
        try:
            place = (service.name, land.callers(service.name), tuple(call.callee for call in service.calls))
            return service, recipe(rng, place)
        except NotSuitedError:
            continue
    raise ValueError(f"no service can have {recipe.__name__}; every landscape has callers and callees")


def _plans(
    rng: Random, ranges: Ranges, land: Landscape, kind: Kind, culprit: Service | None,
    confounders: tuple[Confounder, ...], begins: float, until: float, current: dict[str, str],
) -> tuple[Plan, ...]:  # fmt: skip
    """The rollouts: the bad one at `begins`, healthy ones about it, or anywhere where there is none to be about."""
    starts: list[tuple[Service, float]] = [] if culprit is None else [(culprit, begins)]
    taken = set() if culprit is None else {culprit.name}

    def add(services: list[Service], start: float) -> None:
        free = [service for service in services if service.name not in taken]
        if free and 120.0 < start < until - 600.0:
            service = rng.choice(free)
            taken.add(service.name)
            starts.append((service, start))

    near = _neighbours(land, culprit)
    if near and ("neighbours roll out" in confounders or kind == "hidden"):
        for _ in range(rng.randint(1, 2)):
            add(near, begins + rng.uniform(-300.0, 300.0))
    if "decoy" in confounders:
        add(list(land.services), begins + rng.uniform(60.0, 420.0))
    count = chance.whole(rng, ranges.rollouts) if culprit is not None else rng.randint(1, 5)
    for _ in range(min(count, 5 - len(starts)) if starts else count):
        anywhere = kind == "healthy" and rng.random() < 0.6
        add(
            list(land.services),
            rng.uniform(300.0, until - 900.0) if anywhere else begins + rng.uniform(-900.0, 600.0),
        )
    if not starts or (kind == "hidden" and len(starts) < 2):
        add(list(land.services), begins + 30.0)
    planned = [
        rollouts.plan(
            rng, ranges, service, round(start, 3), _revisions(rng, land, current[service.name]),
            bad=culprit is not None and service.name == culprit.name,
        )
        for service, start in sorted(starts, key=lambda each: each[1])
    ]  # fmt: skip
    if culprit is not None and "twice" in confounders:
        planned = _twice(rng, ranges, land, planned, begins)
    return tuple(sorted(planned, key=lambda plan: plan.starts))


def _twice(rng: Random, ranges: Ranges, land: Landscape, planned: list[Plan], begins: float) -> list[Plan]:
    """The culprit had another rollout, a sound one, over before the bad one began."""
    bad = next(plan for plan in planned if plan.bad)
    between = _revisions(rng, land, bad.replaces)[0]
    names, rolling = (between, bad.replaces), replace(ranges, staged=0.0)
    first = rollouts.plan(rng, rolling, bad.service, max(60.0, begins - rng.uniform(600.0, 1500.0)), names, bad=False)
    second = replace(bad, revision=_revisions(rng, land, between)[0], replaces=between)
    return [first, *(second if plan is bad else plan for plan in planned)]


def _revisions(rng: Random, land: Landscape, old: str) -> tuple[str, str]:
    return (str(int(old) + 1), old) if land.names_by_number else (rollouts.names(rng, land, 0)[0], old)


def _neighbours(land: Landscape, culprit: Service | None) -> list[Service]:
    if culprit is None:
        return []
    names = {*land.callers(culprit.name), *(call.callee for call in culprit.calls)}
    return [service for service in land.services if service.name in names]


def _disturbances(
    rng: Random, land: Landscape, kind: Kind, confounders: tuple[Confounder, ...], begins: float, until: float
) -> tuple[Disturbance, ...]:
    """An outage that is the story itself comes with the rollouts; one that only confounds comes well before or after."""
    found: list[Disturbance] = []
    if kind == "outage":
        found.append(rng.choice(OUTAGES)(rng, land, begins + rng.uniform(-120.0, 600.0)))
    elif "outage" in confounders:
        early = rng.uniform(0.1, 0.6) * begins
        late = min(begins + rng.uniform(1500.0, 2400.0), until - 300.0)
        outage = rng.choice(OUTAGES)(rng, land, rng.choice((early, late)))
        ends = min(outage.ends, begins - 120.0) if outage.begins < begins else outage.ends
        found.append(replace(outage, ends=max(ends, outage.begins + 60.0)))
    if "traffic spike" in confounders:
        found.append(traffic_spike(rng, land, begins + rng.uniform(-600.0, 900.0)))
    return tuple(found)
