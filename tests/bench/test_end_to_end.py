"""Bad pod ready → webhook → patch → last bad pod gone → recovered, all real but the vendors; beside a script that undoes at once.

`END_TO_END_TRIALS` (10) is how many trials each scenario has, `END_TO_END_POD_SECONDS` (1) how long a pod takes from its node
to ready.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from deploy.sandbox.world import until
from tests.bench.conftest import Results
from tests.bench.planes import newest
from tests.bench.trial_world import ERROR_RATIO, OURS, REPLICAS, TrialWorld, quick, shipped, trial_world
from tests.bench.trials import HEAD, Trial, middle, row, seen
from tests.bench.webhook_tap import FLOOR

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

PARTS = ("prometheus", "alertmanager", "kubectl")
TRIALS = int(os.environ.get("END_TO_END_TRIALS", "10"))
POD_SECONDS = float(os.environ.get("END_TO_END_POD_SECONDS", "1"))
RATIO_MAX = 1.3
SCENARIOS = {"spike": "v2", "crash": "v2-crash"}
"""The bad version's tag, by the scenario's name."""

WHO = {OURS: "Lastgood", FLOOR: "floor"}
QUICK_SECONDS, SHIPPED_SECONDS = 60.0, 900.0


async def play(world: TrialWorld, namespace: str, tag: str, seconds: float) -> None:
    """The bad version goes out; returns when its last pod is gone."""
    await world.roll_out(namespace, tag)
    await until(f"{namespace}: bad pods are gone", lambda: world.seen(namespace).bad_gone is not None, seconds, 0.02)


async def finish(world: TrialWorld, namespace: str, seconds: float) -> None:
    """Until Lastgood has ended its incident as recovered, or the floor's alert is resolved; then away with it."""
    if namespace.startswith(OURS):
        await until(f"{namespace}: ended", lambda: namespace in world.ended, seconds)
        assert world.ended[namespace]["phase"] == "recovered", world.ended[namespace]
    else:
        await until(f"{namespace}: resolved", lambda: namespace in world.tap.resolved, seconds)
    await world.clear_away(namespace)


async def batch(world: TrialWorld, number: int, finishing: asyncio.TaskGroup) -> None:
    """One trial of each, one after the other; the order turns, so that neither is always first."""
    names = [name_of(who, scenario, number) for scenario in SCENARIOS for who in WHO]
    async with asyncio.TaskGroup() as settling:
        for name in names:
            settling.create_task(world.settle(name))
    for name in reversed(names) if number % 2 else names:
        await play(world, name, SCENARIOS[name.split("-")[1]], QUICK_SECONDS)
        finishing.create_task(finish(world, name, QUICK_SECONDS))


def name_of(who: str, scenario: str, number: int) -> str:
    """The trial's namespace."""
    return f"{who}{scenario}-{number}"


def window(trials: list[Trial]) -> float:
    """The median of the whole window of bad traffic, seconds."""
    return middle([one.gone for one in trials])


async def test_countdown_0(tmp_path: Path, results: Results) -> None:
    """With countdown 0, scrape 1 s and persistence 2 the whole window of bad traffic is at most 1.3 times the floor's."""
    binaries = newest(*PARTS)
    async with trial_world(tmp_path, binaries, quick(POD_SECONDS)) as world:
        async with asyncio.TaskGroup() as finishing:
            for number in range(TRIALS):
                await batch(world, number, finishing)
        patches = world.patches()
    found = {
        (who, scenario): [seen(world, name_of(who, scenario, number), patches) for number in range(TRIALS)]
        for scenario in SCENARIOS
        for who in WHO
    }
    ours, floor = found[OURS, "spike"], found[FLOOR, "spike"]
    ratio = window(ours) / window(floor)
    verdict = "met" if ratio <= RATIO_MAX else "**not met**"
    results.add(
        "7. End to end, real control plane",
        [
            f"Kubernetes {binaries.minor}, Prometheus, Alertmanager and the daemon as a process with the rights of",
            "`deploy/kubernetes/act`; PagerDuty and Slack are stand-ins, and so are the processes in the pods, which take",
            f"{POD_SECONDS:g} s to ready. Deployments of {REPLICAS} pods, replaced as by default. *Spike*: {ERROR_RATIO:.0%} of",
            "the bad version's requests fail; *crash*: it never starts, so no bad pod serves; time counts from the first one.",
            "*Floor*: a script of twenty lines that undoes when the webhook comes, in the same run.",
            f"{TRIALS} trials each, in turns.",
            "",
            f"- Countdown 0, scrape 1 s, persistence 2: the whole window of bad traffic is **{ratio:.2f}** times the floor's",
            f"  ({window(ours):.1f} s to {window(floor):.1f} s; at most {RATIO_MAX}): {verdict}. The difference is the",
            "  wait for the second bad sample and for the scrapes that make it whole: one to three seconds, by the moments at",
            "  which this run's Prometheus scrapes and evaluates.",
            "",
            "Seconds, p50 / p99 / max:",
            "",
            *HEAD,
            *(row(f"{scenario}, {WHO[who]}", trials) for (who, scenario), trials in found.items()),
        ],
    )
    assert ratio <= RATIO_MAX


async def test_shipped_defaults(tmp_path: Path, results: Results) -> None:
    """With the shipped defaults an error spike is rolled back and ends as recovered, by itself."""
    binaries = newest(*PARTS)
    name = name_of(OURS, "spike", 0)
    async with trial_world(tmp_path, binaries, shipped(POD_SECONDS)) as world:
        await world.settle(name)
        await play(world, name, SCENARIOS["spike"], SHIPPED_SECONDS)
        await finish(world, name, SHIPPED_SECONDS)
        trial = seen(world, name, world.patches())
    results.add(
        "8. End to end, shipped defaults",
        [
            "The same world and the same spike, once, with the shipped policy (mode `auto`), `for: 2m`, a scrape each 15 s and",
            "the routing of deploy/alerting. Only the proof beforehand is had in one minute instead of 15. Pods are replaced",
            "with `minReadySeconds: 30`: what is rolled out within seconds leaves nothing to compare at this scrape, and is",
            "proposed to a person. No floor: it would wait for the same webhook.",
            "",
            "Seconds:",
            "",
            *HEAD,
            row("spike, Lastgood", [trial]),
        ],
    )
