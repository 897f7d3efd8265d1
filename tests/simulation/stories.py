"""What a day may bring: rollouts good and bad, people who act at the worst moment, oddities of a cluster."""

from __future__ import annotations

import random
from typing import Any

from tests.simulation.item import FAULTS_OVER, Item
from tests.simulation.network import KINDS

WORST = (
    "dry-run", "patch", "rollback", "phase/open", "phase/proposed", "phase/rolling_back", "phase/verifying", "phase/escalated",
)  # fmt: skip
"""The moments at which what happens does the worst damage."""

CAUSES = ("customer_reports", "data_corruption")


def when(rng: random.Random, low: float = 60.0, high: float = FAULTS_OVER - 300) -> float:
    """Some moment."""
    return round(rng.uniform(low, high), 1)


def worst(rng: random.Random) -> tuple[str, int]:
    """The first time of one of the worst moments."""
    return rng.choice(WORST), 1


def _at_worst(rng: random.Random, what: str, *args: Any, after: tuple[float, ...] = (0.0, 0.0, 2.0)) -> Item:
    return Item(what, args, on=worst(rng), after=rng.choice(after))


def _deploy(tag: str, at: float, name: str = "checkout") -> Item:
    return Item("deploy", (name, tag), at=round(at, 1))


def _then(what: str, *args: Any, on: str, after: float = 0.0) -> Item:
    return Item(what, args, on=(on, 1), after=round(after, 2))


def story(rng: random.Random) -> list[Item]:
    """What the day is about."""
    begin = when(rng, 60.0, 240.0)
    bad, good = _deploy("2.bad", begin), _deploy("2.good", begin)
    later = rng.uniform(0, 1)
    undone = rng.choice(["phase/rolling_back", "rollback", "phase/verifying", "phase/recovered"])
    stories: list[list[Item]] = [
        *[[bad]] * 6,
        *[[_deploy("2.crash", begin)]] * 4,
        [good, _deploy("3.bad", begin + 60 + 840 * later)],
        [_deploy("2.leak", begin)],
        [bad, _deploy("2.bad", begin + 120 * later, "cart")],
        [bad, _deploy("2.crash", begin + 120 * later, "cart")],
        [good, Item("outage", (rng.choice([120, 600]),), at=begin + 90 * later)],
        [good, Item("alarm", (rng.choice([60, 400]),), at=begin - 30 + 430 * later)],
        [_deploy("2.mild", begin), Item("alarm", (rng.choice([60, 900]),), at=begin + 30)],
        [_deploy("1.good+again", begin), Item("alarm", (300,), at=begin + 40)],
        [Item("alarm", (200,), at=begin)],
        [good, Item("ask", ("checkout", rng.random() < 0.7), at=begin + 60 + 540 * later)],
        [good, Item("declare", (rng.choice(CAUSES),), at=begin + 20 + 480 * later)],
        [bad, _then("undo", on="phase/verifying", after=60 * later)],
        [bad, _then("again", on=undone, after=40 * later)],
        [bad, _then("deploy", "checkout", "3.bad", on="phase/recovered", after=5 + 200 * later)],
        [bad, _at_worst(rng, "deploy", "checkout", rng.choice(["3.good", "3.bad"]), after=(0.0, 0.0, 0.1, 5.0, 30.0))],
        [_deploy("2.crash", begin), _at_worst(rng, "deploy", "checkout", "3.good", after=(0.0, 0.0, 0.1))],
        [bad, _then("outage", 900, on="phase/verifying", after=30 * later)],
        [bad, Item("quiet", (), at=(begin + 100) * later)],
    ]
    return rng.choice(stories)


def people(rng: random.Random) -> list[Item]:
    """Who does what besides: each with a chance of its own."""
    lasting = rng.choice([None, 60, 300])
    scope = rng.choice(["", "shop", "shop/checkout"])
    target = rng.choice(["api", "prometheus", "pagerduty", "slack", "disk"])
    lasts = round(rng.choice([3.0, 30.0, 200.0]) * rng.uniform(0.5, 1.5), 1)
    chances: list[tuple[float, Item]] = [
        (0.35, _then("approve", on="phase/proposed", after=rng.choice([0.0, 5.0, 60.0, 200.0]))),
        (0.12, _then("decline", on="phase/proposed", after=rng.choice([0.0, 5.0, 20.0]))),
        (0.10, _at_worst(rng, "pause", scope, lasting, after=(0.0, 0.0, 1.0, 10.0))),
        (0.05, Item("pause", (scope, lasting), at=when(rng))),
        (0.10, Item("resume", (scope,), at=when(rng, 600.0))),
        (0.15, _then("close", on="phase/escalated", after=rng.uniform(0, 300))),
        (0.08, _then("release", "checkout", on="rollback", after=rng.uniform(0, 400))),
        (0.08, _at_worst(rng, "review", rng.choice(["right", "wrong"]), after=(0.0, 5.0, 100.0))),
        (0.05, Item("notice", (rng.choice(["started", "succeeded", "failed"]),), at=when(rng, 60, 400))),
        (0.05, _at_worst(rng, "declare", rng.choice(CAUSES), after=(0.0, 1.0))),
        (0.05, _at_worst(rng, "ask", "checkout", rng.random() < 0.5, after=(0.0, 1.0, 20.0))),
        (0.15, _at_worst(rng, "trouble", target, rng.choice(KINDS[target]), lasts, after=(0.0, 0.0, 1.0))),
    ]
    return [item for chance, item in chances if rng.random() < chance]


def oddities(rng: random.Random) -> list[Item]:
    """What else may be true of a workload, or happen to it."""
    if rng.random() < 0.72:
        return []
    early = round(rng.uniform(0.0, 100.0), 1)
    undone = rng.choice(["rollback", "phase/verifying", "phase/recovered"])
    odd: list[Item] = [
        _then("again", on=undone, after=rng.uniform(0, 40)),
        Item("label", ("argocd.argoproj.io/instance", "shop"), at=early),
        Item("owner", (), at=early),
        Item("label", ("sim/on-delete", "yes"), at=early),
        Item("label", ("sim/out-of-reach", "yes"), at=early),
        Item("annotation", ("lastgood.dev/irreversible", "yes"), at=early),
        Item("annotation", ("lastgood.dev/mode", rng.choice(["observe", "approve", "yolo"])), at=early),
        _at_worst(rng, "annotation", "lastgood.dev/mode", "observe"),
        _at_worst(rng, "namespace-pause"),
        _at_worst(rng, "rollout-pause"),
        Item("rollout-pause", (), at=when(rng, 100.0, 300.0)),
        Item("config", (), at=when(rng, 60.0, 400.0)),
        Item("config-gone", (), at=when(rng, 60.0, 400.0)),
        Item("history-gone", (), at=when(rng, 100.0, 400.0)),
        _at_worst(rng, "history-gone"),
        _at_worst(rng, "recreate", rng.choice(["1.good", "2.bad"])),
        _at_worst(rng, "remove"),
        Item("forbid", (), at=early),
        _at_worst(rng, "silence", rng.choice([30, 120, 600])),
        Item("deploy", ("cart", "2.good"), at=when(rng, 60.0, 400.0)),
        Item("compact", (), at=when(rng)),
        Item("unwatched", (), at=0.0),
    ]
    return rng.sample(odd, rng.choice([1, 1, 2]))


def frozen(rng: random.Random) -> list[Item]:
    """The leader stands still, for less than the Lease lasts or for longer."""
    if rng.random() < 0.5:
        return []
    return [_at_worst(rng, "freeze", rng.choice([5.0, 14.0, 20.0, 60.0]), after=(0.0, 0.0, 0.01, 0.1, 1.0))]
