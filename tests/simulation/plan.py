"""What will happen in a world: drawn from the seed up front, so that a failing world can be shrunk by leaving things out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from daemon.core.model import Mode
from daemon.core.policy import Paging, Policy
from tests.simulation.item import FAULTS_OVER, Item
from tests.simulation.network import KINDS, Window
from tests.simulation.stories import frozen, oddities, people, story, when, worst

SECOND = timedelta(seconds=1)


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
    replicas: int = 1
    items: tuple[Item, ...] = ()
    windows: tuple[Window, ...] = field(default=())

    def policy_of(self, changes: tuple[tuple[str, Any], ...] = ()) -> Policy:
        """The policy with some of it changed."""
        return Policy(**{"cluster": "sim", "change_events": False, **dict(self.policy), **dict(changes)})


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(f"plan/{seed}")
    items = story(rng)
    items += people(rng)
    items += oddities(rng)
    items += _lives(rng)
    drift = rng.choice([0.0, 0.0, 0.0, rng.uniform(-2e-4, 2e-4)])
    items += [Item("clock", (round(rng.uniform(-90, 90), 1),), at=when(rng))] if rng.random() < 0.06 else []
    items.sort(key=lambda item: (item.at is None, item.at or 0.0))
    replicas = rng.choice([1] * 5 + [2, 3])
    if replicas > 1:
        items += frozen(rng)
    return Plan(
        seed=seed,
        replicas=replicas,
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
        "soak_low_traffic": 3600,
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
                found.append(Item("kill", (down, changes), at=when(rng)))
            case "write":
                found.append(Item("kill", (down, changes), on=("write", rng.randint(1, 120))))
            case "effect":
                found.append(Item("kill", (down, changes), on=worst(rng), after=rng.choice([0.0, 0.0, 0.05, 1.0])))
            case _:
                found.append(Item("stop", (down, changes), at=when(rng)))
    if rng.random() < 0.05:
        found.append(Item("reload", (rng.choice(POLICIES),), on=worst(rng), after=0.0))
    return found


def _windows(rng: random.Random) -> list[Window]:
    found = []
    for _ in range(rng.choice([0, 1, 2, 3, 5])):
        target = rng.choice(list(KINDS))
        kind = rng.choice(KINDS[target])
        begin = when(rng, 0.0, 900.0)
        lasts = rng.choice([10.0, 60.0, 200.0, 900.0])
        found.append(
            Window(target, kind, begin, round(min(begin + lasts, FAULTS_OVER), 1), rng.choice([0.1, 0.4, 1.0]))
        )
    return found
