"""A month of 200 workloads read from a real Prometheus: how long it takes, how far it says it is, and what it finds."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from daemon.core.policy import Policy
from handlers.backtest.history import from_prometheus
from handlers.backtest.recording import Recording, RolloutSeen, SampleSeen
from tests.backtest.filled_prometheus import client_of, serving
from tests.bench import past_months
from tests.bench.conftest import Results
from tests.parts import require

# Filling takes longer than reading: promtool writes 360 blocks.
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

SECONDS_MAX = 300.0
SILENT_SECONDS_MAX = 30.0


async def read(url: str, days: int, told: list[float]) -> Recording:
    start = datetime.fromtimestamp(past_months.START, UTC)
    async with client_of(url) as client:
        return await from_prometheus(
            client,
            start,
            start + timedelta(days=days),
            step=timedelta(seconds=past_months.STEP),
            policy=Policy(cluster="bench"),
            progress=lambda done, total: told.append(time.monotonic()),
        )


def measured(url: str, days: int = past_months.DAYS) -> tuple[float, float, Recording]:
    """Seconds it took, the longest silence about how far it is, and the recording."""
    told = [time.monotonic()]
    recording = asyncio.run(read(url, days, told))
    return told[-1] - told[0], max(after - before for before, after in pairwise(told)), recording


def test_a_month_is_read_in_minutes(tmp_path: Path, results: Results) -> None:
    """Under five minutes for 30 days of 200 workloads at 60 s, never silent for long, and every planted rollout is in it."""
    blocks = past_months.fill(tmp_path, require("promtool"))
    with serving(blocks, tmp_path) as url:
        seconds, silence, recording = measured(url)
    planted = past_months.shipped()
    begun = [each for each in recording.evidence if isinstance(each, RolloutSeen) and each.phase == "started"]
    samples = sum(isinstance(each, SampleSeen) for each in recording.evidence)
    month = f"{past_months.DAYS} days of {past_months.WORKLOADS} workloads every {past_months.STEP} s, {len(planted)} rollouts"
    said = f"{seconds:.0f} s, {samples:,} samples, at most {silence:.0f} s without a word on how far it is"
    held = f"Held: under {SECONDS_MAX:.0f} s. Pods and signals are in this Prometheus around rollouts only: nothing else is read."
    results.add("9. A recording from Prometheus", [f"{month}: {said}.", held])
    wanted = {(f"{each.namespace}/Deployment/{each.name}", each.at) for each in planted}
    assert {(each.workload, int(each.at.timestamp())) for each in begun} == wanted
    assert seconds < SECONDS_MAX
    assert silence < SILENT_SECONDS_MAX
