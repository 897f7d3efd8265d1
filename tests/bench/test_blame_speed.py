"""How many candidates one core evaluates in a second, from raw samples to the score, and how many whole verdicts it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from daemon.core.incidents import Tier
from tests.bench.candidates import MINUTES, PODS, USUAL, WORKLOADS, Candidates, candidates
from tests.bench.conftest import Results, median

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

RUNS = 5
TIMES = 10
"""Each candidate so often per run: half a second, long enough for the clock of the processor's time."""

PER_SECOND_MIN = 1000.0


def rate(work: Callable[[], Iterable[Any]]) -> float:
    """Candidates per second of this process' own processor time: what else the machine does does not count."""
    began = time.process_time()
    done = sum(1 for _ in range(TIMES) for _ in work())
    return done / (time.process_time() - began)


def evaluated_rightly(world: Candidates) -> bool:
    """The bad ones are convicted by contrast, the others acquitted: what is measured is the whole work."""
    return all(
        (found.tier is Tier.CONTRAST) is one.bad for found, one in zip(world.evaluate(), world.each, strict=True)
    )


def test_candidates_per_second(results: Results) -> None:
    """At least 1,000 candidate evaluations per second on one core, each with an hour of samples of both revisions."""
    world = candidates()
    assert evaluated_rightly(world)
    runs = [(rate(world.evaluate), rate(world.read), rate(world.judge)) for _ in range(RUNS)]
    evaluations, verdicts = median([run[0] for run in runs]), median([run[2] for run in runs])
    ratio = median([reading / evaluating for evaluating, reading, _ in runs])
    per_verdict = len(next(iter(world.judge())).suspicions)
    met = "met" if evaluations >= PER_SECOND_MIN else "**not met**"
    results.add(
        "10. Candidates per second",
        [
            f"{WORKLOADS} open rollouts of as many workloads in a call graph, {PODS} pods of each revision, an incident each,",
            f"every second one bad; {len(USUAL)} signals of each pod and of all together, {MINUTES} samples a minute apart.",
            "One process on one core, its own processor time.",
            "",
            f"- Candidates evaluated, from raw samples to the score: **{evaluations:,.0f}/s**",
            f"  (at least {PER_SECOND_MIN:,.0f}): {met}.",
            f"- That is **{ratio:.0f}** times the time it takes to look at each number of all pods together once.",
            f"- Whole verdicts, every guard, {per_verdict} candidates each, of which one has samples: {verdicts:,.0f}/s.",
        ],
    )
    assert evaluations >= PER_SECOND_MIN
