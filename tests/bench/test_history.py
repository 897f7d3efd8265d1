"""A month of 200 workloads from a real Prometheus, backtested: how long it takes, how far it says it is, and what it finds."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from daemon.core.incidents import VerdictKind
from daemon.core.policy import Policy
from handlers.backtest.history import from_prometheus
from handlers.backtest.recording import Recording, RolloutSeen, SampleSeen
from handlers.backtest.replay import replay
from handlers.backtest.verdicts import Told
from tests.backtest.filled_prometheus import client_of, serving
from tests.bench import past_months
from tests.bench.conftest import Results
from tests.parts import require

# Filling takes longer than reading: promtool writes 360 blocks.
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

SECONDS_MAX = 300.0
SILENT_SECONDS_MAX = 30.0
MEMORY_MAX = 1024
"""MiB of the process, this test's own parts included."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How long something took, on the clock and of a core, and the longest time without a word on how far it is; seconds."""

    seconds: float
    cpu: float
    silence: float

    @classmethod
    def of(cls, told: list[float], cpu: float) -> Taken:
        """`told` are the moments of all words, that of the start first."""
        silence = max(after - before for before, after in pairwise(told))
        return cls(seconds=told[-1] - told[0], cpu=time.process_time() - cpu, silence=silence)


def measured(url: str, days: int = past_months.DAYS) -> tuple[Taken, Recording]:
    """Read that many days."""
    told, cpu = [time.monotonic()], time.process_time()
    recording = asyncio.run(read(url, days, told))
    told.append(time.monotonic())
    return Taken.of(told, cpu), recording


def replayed(recording: Recording) -> tuple[Taken, list[Told]]:
    """Replay it as shipped."""
    words, cpu = [time.monotonic()], time.process_time()
    found = list(replay(recording, progress=lambda done, total: words.append(time.monotonic())))
    words.append(time.monotonic())
    return Taken.of(words, cpu), found


def summed(recording: Recording, reading: Taken, replaying: Taken, found: list[Told]) -> list[str]:
    """The lines of the section."""
    planted = past_months.shipped()
    bad = {(f"{each.namespace}/Deployment/{each.name}", each.at) for each in planted if each.bad}
    rolled_back = {
        (each.workload, int(each.rollout_at.timestamp()))
        for each in found
        if each.verdict is VerdictKind.ROLL_BACK and each.rollout_at is not None
    }
    samples = sum(isinstance(each, SampleSeen) for each in recording.evidence)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    whole = reading.seconds + replaying.seconds
    month = (
        f"{past_months.DAYS} days of {past_months.WORKLOADS} workloads every {past_months.STEP} s, {len(planted)} rollouts,"
        f" {len(bad)} of them bad; {samples:,} samples. Prometheus runs on the same cores. Once."
    )
    held = "met" if whole < SECONDS_MAX else "**not met**"
    return [
        month,
        "",
        f"- Read and replayed in **{whole:.0f} s** (under {SECONDS_MAX:.0f} s): {held}.",
        f"- Rolled back: **{len(bad & rolled_back)} of {len(bad)}** planted bad rollouts, and {len(rolled_back - bad)} others.",
        f"- Memory at its highest: {memory} MiB (under {MEMORY_MAX} MiB).",
        "- Pods and signals are in this Prometheus around rollouts only: nothing else is read.",
        "",
        "| | seconds | of them CPU of ours | longest time without a word on how far it is |",
        "|---|---|---|---|",
        f"| reading | {reading.seconds:.0f} | {reading.cpu:.0f} | {reading.silence:.1f} s |",
        f"| replaying | {replaying.seconds:.0f} | {replaying.cpu:.0f} | {replaying.silence:.1f} s |",
    ]


def test_a_month_is_backtested_in_minutes(tmp_path: Path, results: Results) -> None:
    """Under five minutes for 30 days of 200 workloads at 60 s, never silent for long; every planted rollout is in it, and
    every bad one is found.
    """
    blocks = past_months.fill(tmp_path, require("promtool"))
    with serving(blocks, tmp_path) as url:
        reading, recording = measured(url)
    replaying, found = replayed(recording)
    results.add("9. A backtest of a month", summed(recording, reading, replaying, found))
    planted = past_months.shipped()
    begun = [each for each in recording.evidence if isinstance(each, RolloutSeen) and each.phase == "started"]
    wanted = {(f"{each.namespace}/Deployment/{each.name}", each.at) for each in planted}
    assert {(each.workload, int(each.at.timestamp())) for each in begun} == wanted
    rolled_back = {each.workload for each in found if each.verdict is VerdictKind.ROLL_BACK}
    assert rolled_back == {f"{each.namespace}/Deployment/{each.name}" for each in planted if each.bad}
    assert reading.seconds + replaying.seconds < SECONDS_MAX
    assert max(reading.silence, replaying.silence) < SILENT_SECONDS_MAX
