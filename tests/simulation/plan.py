"""What will happen in a world: drawn from the seed up front, so that a failing world can be shrunk by leaving things out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from daemon.core.model import Mode
from daemon.core.policy import Paging, Policy
from tests.simulation.network import KINDS, Window

SECOND = timedelta(seconds=1)
FAULTS_OVER = 2400.0
"""When the last fault has passed and nobody acts any more: from then on everything must come to an end."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something happens: `at` a moment, or `after` so many seconds when `on` (a trigger and its how-many-eth time)."""

    what: str
    args: tuple[Any, ...] = ()
    at: float | None = None
    on: tuple[str, int] | None = None
    after: float = 0.0

    def __str__(self) -> str:
        when = (
            f"{self.at:7.1f} s"
            if self.at is not None
            else f"{self.after:.1f} s after {self.on[0]} no. {self.on[1]}"
            if self.on
            else ""
        )
        return f"{when}  {self.what} {' '.join(str(each) for each in self.args)}".rstrip()


@dataclass(frozen=True, slots=True)
class Plan:
    """The policy of the first life, how the world is, and what happens in it."""

    seed: int
    policy: tuple[tuple[str, Any], ...]
    severity: str = "critical"
    mapping: str = "deployment"
    onset_known: bool = True
    leak_seconds: float = 240.0
    start_seconds: float = 40.0
    drift: float = 0.0
    items: tuple[Item, ...] = ()
    windows: tuple[Window, ...] = field(default=())

    def policy_of(self, changes: tuple[tuple[str, Any], ...] = ()) -> Policy:
        """The policy with some of it changed."""
        return Policy(**{"cluster": "sim", "change_events": False, **dict(self.policy), **dict(changes)})


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan/{seed}")
    items = _story(rng)
    items += _people(rng)
    items += _oddities(rng)
    items += _lives(rng)
    drift = rng.choice([0.0, 0.0, 0.0, rng.uniform(-2e-4, 2e-4)])
    items += [Item("clock", (round(rng.uniform(-90, 90), 1),), at=_when(rng))] if rng.random() < 0.06 else []
    items.sort(key=lambda item: (item.at is None, item.at or 0.0))
    return Plan(
        seed=seed,
        policy=_policy(rng),
        severity=rng.choice(["critical"] * 6 + ["warning", "none"]),
        mapping=rng.choice(["deployment"] * 12 + ["namespace", "both", "nothing"]),
        onset_known=rng.random() < 0.9,
        leak_seconds=rng.choice([60.0, 240.0, 420.0]),
        start_seconds=rng.choice([5.0, 40.0, 80.0, 80.0, 80.0]),
        drift=drift,
        items=tuple(items),
        windows=tuple(_windows(rng)),
    )


def _policy(rng: random.Random) -> tuple[tuple[str, Any], ...]:
    seconds = {
        "soak": rng.choice([180, 300, 900]),
        "blame_window": rng.choice([300, 600]),
        "too_old": rng.choice([120] + [7200] * 11),
        "decide_deadline": rng.choice([180, 300, 600]),
        "approve_deadline": rng.choice([180, 300, 600]),
        "converge_deadline": rng.choice([120, 300, 600]),
        "verify_deadline": rng.choice([180, 300, 600]),
        "hold": rng.choice([60, 120]),
        "countdown": rng.choice([0, 30, 30, 30]),
        "sample_interval": rng.choice([30, 30, 30, 60]),
        "assumed_for": 120,
    }
    counts = {
        "rollbacks_per_namespace_hour": rng.choice([1, 2, 3]),
        "rollbacks_per_cluster_hour": rng.choice([1, 3, 10]),
    }
    policy: dict[str, Any] = {name: value * SECOND for name, value in seconds.items()} | counts
    policy["default_mode"] = rng.choice([Mode.AUTO] * 12 + [Mode.APPROVE] * 3 + [Mode.OBSERVE])
    policy["act_without_control"] = rng.random() < 0.15
    policy["paging"] = rng.choice([Paging.BESIDE] * 5 + [Paging.INSTEAD])
    if rng.random() < 0.06:
        policy["proof_age_max"] = 60 * SECOND
    if rng.random() < 0.03:
        policy["own_workload"] = "shop/checkout"
    return tuple(sorted(policy.items()))


def _when(rng: random.Random, low: float = 60.0, high: float = FAULTS_OVER - 300) -> float:
    return round(rng.uniform(low, high), 1)


def _story(rng: random.Random) -> list[Item]:
    """What the day is about."""
    begin = _when(rng, 60.0, 240.0)
    deploy = lambda tag, at, name="checkout": Item("deploy", (name, tag), at=round(at, 1))  # noqa: E731
    stories: list[list[Item]] = [
        *[[deploy("2.bad", begin)]] * 6,
        *[[deploy("2.crash", begin)]] * 3,
        [deploy("2.good", begin), deploy("3.bad", begin + rng.uniform(60, 900))],
        [deploy("2.leak", begin)],
        [deploy("2.bad", begin), deploy("2.bad", begin + rng.uniform(0, 120), "cart")],
        [deploy("2.good", begin), Item("outage", (round(rng.uniform(120, 600)),), at=begin + rng.uniform(0, 90))],
        [deploy("2.good", begin), Item("alarm", (round(rng.uniform(60, 400)),), at=begin + rng.uniform(-30, 400))],
        [deploy("2.mild", begin), Item("alarm", (round(rng.uniform(60, 900)),), at=begin + 30)],
        [deploy("1.good+again", begin), Item("alarm", (300,), at=begin + 40)],
        [Item("alarm", (200,), at=begin)],
        [deploy("2.good", begin), Item("ask", ("checkout", rng.random() < 0.7), at=begin + rng.uniform(60, 600))],
        [deploy("2.good", begin), Item("declare", (rng.choice(["customer_reports", "data_corruption"]),), at=begin + rng.uniform(20, 500))],
        [deploy("2.bad", begin), deploy("2.crash", begin + rng.uniform(0, 120), "cart")],
        [deploy("2.bad", begin), Item("undo", (), on=("phase/verifying", 1), after=rng.uniform(1, 60))],
        [deploy("2.bad", begin), Item("again", (), on=(rng.choice(["phase/rolling_back", "rollback", "phase/verifying", "phase/recovered"]), 1), after=rng.uniform(0, 40))],
        [deploy("2.bad", begin), Item("deploy", ("checkout", "3.bad"), on=("phase/recovered", 1), after=rng.uniform(5, 200))],
        [deploy("2.bad", begin), Item("deploy", ("checkout", rng.choice(["3.good", "3.bad"])), on=(_worst(rng), 1), after=rng.choice([0.0, 0.0, 0.1, 5.0, 30.0]))],
        [deploy("2.bad", begin), Item("outage", (900,), on=("phase/verifying", 1), after=rng.uniform(0, 30))],
        [deploy("2.bad", begin), Item("quiet", (), at=rng.uniform(0.0, begin + 100))],
    ]  # fmt: skip
    return rng.choice(stories)


def _worst(rng: random.Random) -> str:
    """The moments at which people do the worst damage."""
    return rng.choice([
        "dry-run", "patch", "rollback", "phase/open", "phase/proposed", "phase/rolling_back", "phase/verifying", "phase/escalated",
    ])  # fmt: skip


def _people(rng: random.Random) -> list[Item]:
    found: list[Item] = []
    if rng.random() < 0.35:
        found.append(Item("approve", (), on=("phase/proposed", 1), after=rng.choice([0.0, 5.0, 60.0, 200.0])))
    if rng.random() < 0.12:
        found.append(Item("decline", (), on=("phase/proposed", 1), after=rng.choice([0.0, 5.0, 20.0])))
    if rng.random() < 0.15:
        scope = rng.choice(["", "shop", "shop/checkout"])
        lasts = rng.choice([None, 60, 300])
        when = (
            {"on": (_worst(rng), 1), "after": rng.choice([0.0, 0.0, 1.0, 10.0])}
            if rng.random() < 0.7
            else {"at": _when(rng)}
        )
        found.append(Item("pause", (scope, lasts), **when))  # type: ignore[arg-type]
        if lasts is None and rng.random() < 0.7:
            found.append(Item("resume", (scope,), at=_when(rng, 600.0)))
    if rng.random() < 0.15:
        found.append(Item("close", (), on=("phase/escalated", 1), after=rng.uniform(0, 300)))
    if rng.random() < 0.08:
        found.append(Item("release", ("checkout",), on=("rollback", 1), after=rng.uniform(0, 400)))
    if rng.random() < 0.08:
        found.append(Item("review", (rng.choice(["right", "wrong"]),), on=(_worst(rng), 1), after=rng.uniform(0, 100)))
    if rng.random() < 0.05:
        found.append(Item("notice", (rng.choice(["started", "succeeded", "failed"]),), at=_when(rng, 60, 400)))
    if rng.random() < 0.05:
        found.append(
            Item("declare", (rng.choice(["customer_reports", "data_corruption"]),), on=(_worst(rng), 1), after=1.0)
        )
    if rng.random() < 0.05:
        found.append(Item("ask", ("checkout", rng.random() < 0.5), on=(_worst(rng), 1), after=rng.uniform(0, 20)))
    if rng.random() < 0.15:
        target = rng.choice(["api", "prometheus", "pagerduty", "slack", "disk"])
        kind = rng.choice(KINDS[target])
        lasts = round(rng.choice([3.0, 30.0, 200.0]) * rng.uniform(0.5, 1.5), 1)
        found.append(Item("trouble", (target, kind, lasts), on=(_worst(rng), 1), after=rng.choice([0.0, 0.0, 1.0])))
    return found


def _oddities(rng: random.Random) -> list[Item]:
    """What else may be true of a workload, or happen to it."""
    if rng.random() < 0.75:
        return []
    early = round(rng.uniform(0.0, 100.0), 1)
    worst = {"on": (_worst(rng), 1), "after": rng.choice([0.0, 0.0, 2.0])}
    odd: list[Item] = [
        Item(
            "again",
            (),
            on=(rng.choice(["rollback", "phase/verifying", "phase/recovered"]), 1),
            after=rng.uniform(0, 40),
        ),
        Item("label", ("argocd.argoproj.io/instance", "shop"), at=early),
        Item("owner", (), at=early),
        Item("label", ("sim/on-delete", "yes"), at=early),
        Item("label", ("sim/out-of-reach", "yes"), at=early),
        Item("annotation", ("lastgood.dev/irreversible", "yes"), at=early),
        Item("annotation", ("lastgood.dev/mode", rng.choice(["observe", "approve", "yolo"])), at=early),
        Item("annotation", ("lastgood.dev/mode", "observe"), **worst),  # type: ignore[arg-type]
        Item("namespace-pause", (), **worst),  # type: ignore[arg-type]
        Item("rollout-pause", (), **worst),  # type: ignore[arg-type]
        Item("rollout-pause", (), at=rng.uniform(100.0, 300.0)),
        Item("config", (), at=_when(rng, 60.0, 400.0)),
        Item("config-gone", (), at=_when(rng, 60.0, 400.0)),
        Item("history-gone", (), at=_when(rng, 100.0, 400.0)),
        Item("history-gone", (), **worst),  # type: ignore[arg-type]
        Item("recreate", (rng.choice(["1.good", "2.bad"]),), **worst),  # type: ignore[arg-type]
        Item("remove", (), **worst),  # type: ignore[arg-type]
        Item("forbid", (), at=early),
        Item("silence", (round(rng.uniform(30, 600)),), **worst),  # type: ignore[arg-type]
        Item("deploy", ("cart", "2.good"), at=_when(rng, 60.0, 400.0)),
        Item("compact", (), at=_when(rng)),
        Item("unwatched", (), at=early),
    ]
    return rng.sample(odd, rng.choice([1, 1, 2]))


POLICIES: tuple[tuple[tuple[str, Any], ...], ...] = (
    (("default_mode", Mode.OBSERVE),),
    (("default_mode", Mode.APPROVE),),
    (("default_mode", Mode.AUTO),),
    (("soak", 60 * SECOND), ("countdown", 0 * SECOND)),
    (("soak", timedelta(hours=2)),),
    (("rollbacks_per_namespace_hour", 1), ("rollbacks_per_cluster_hour", 1)),
    (("decide_deadline", 120 * SECOND), ("verify_deadline", 120 * SECOND)),
)


def _lives(rng: random.Random) -> list[Item]:
    """When processes die, and how long nobody is there."""
    found: list[Item] = []
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        down = round(rng.choice([0.5, 5.0, 5.0, 40.0, 200.0]) * rng.uniform(0.5, 1.5), 1)
        changes = rng.choice(POLICIES) if rng.random() < 0.25 else ()
        match rng.choice(["kill", "kill", "write", "effect", "effect", "stop"]):
            case "kill":
                found.append(Item("kill", (down, changes), at=_when(rng)))
            case "write":
                found.append(Item("kill", (down, changes), on=("write", rng.randint(1, 120))))
            case "effect":
                found.append(
                    Item("kill", (down, changes), on=(_worst(rng), 1), after=rng.choice([0.0, 0.0, 0.05, 1.0]))
                )
            case _:
                found.append(Item("stop", (down, changes), at=_when(rng)))
    if rng.random() < 0.05:
        found.append(Item("reload", (rng.choice(POLICIES),), on=(_worst(rng), 1), after=0.0))
    return found


def _windows(rng: random.Random) -> list[Window]:
    found = []
    for _ in range(rng.choice([0, 1, 2, 3, 5])):
        target = rng.choice(list(KINDS))
        kind = rng.choice(KINDS[target])
        begin = _when(rng, 0.0, 900.0)
        lasts = rng.choice([10.0, 60.0, 200.0, 900.0])
        found.append(
            Window(target, kind, begin, round(min(begin + lasts, FAULTS_OVER), 1), rng.choice([0.1, 0.4, 1.0]))
        )
    return found
