"""A short range of worlds on every run, and what makes a long one worth its time: exact replay, small traces, coverage."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.repository import ROOT
from tests.simulation import planted
from tests.simulation.__main__ import COVERED_FROM, main, story
from tests.simulation.coverage import UNREACHABLE, Coverage
from tests.simulation.item import Item
from tests.simulation.many import simulate
from tests.simulation.plan import draw
from tests.simulation.run import play, run_seed
from tests.simulation.shrink import shrink
from tests.simulation.test_planted import BAD, plan
from tests.simulation.world import Switches

SEEDS = range(1, 41)


def test_a_range_of_worlds() -> None:
    """Nothing breaks, and something is rolled back: the longer range is `make simulate`."""
    total = simulate(SEEDS)
    assert total.failing == [], total.names
    assert total.seeds == len(SEEDS)
    assert total.coverage.rollbacks > 5


def test_exact_replay() -> None:
    """The same seed gives the same steps, whatever was played before it."""
    first = run_seed(3)
    run_seed(4)
    again = run_seed(3)
    assert (first.digest, first.steps, first.trace) == (again.digest, again.steps, again.trace)
    assert run_seed(5).digest != first.digest


@pytest.mark.real
def test_exact_replay_in_other_processes() -> None:
    """Python's hashing of strings differs from process to process, and nothing depends on it."""
    program = "from tests.simulation.run import run_seed; print([run_seed(seed).digest for seed in (3, 9, 12)])"

    def played(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert played("1") == played("2")


def test_a_failing_world_is_made_small() -> None:
    """What is not needed to break the promise is left out: here all but the rollout."""
    crowded = plan(
        BAD,
        Item("deploy", ("cart", "2.good"), at=100.0),
        Item("kill", (5.0, ()), at=150.0),
        Item("resume", ("shop",), at=170.0),
    )
    mute = Switches(runner=planted.mute)
    result = play(replace(crowded, windows=draw(5).windows), mute)
    assert [broken.name for broken in result.broken] == ["page_sent"]
    small = shrink(result, mute)
    assert small.plan.items == (BAD,)
    assert small.plan.windows == ()
    assert small.broken[0].name == "page_sent"
    assert "page_sent" in story(small)
    assert len(story(small).splitlines()) < 40


def test_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run came to, in the form that others read."""
    assert main(["--seeds", "1-2", "--jobs", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("simulate: seeds=2 violations=0 simulated_hours=")
    assert "reasons=" in last
    assert "edges=" in last
    assert "faults=" in last


def test_bad_ranges_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what to write."""
    with pytest.raises(SystemExit):
        main(["--seeds", "few"])
    assert "is no range of seeds" in capsys.readouterr().err


def test_what_was_never_reached_is_named() -> None:
    """A long run fails for it; nothing is excused without a reason."""
    missing = Coverage().missing()
    assert "reason blamed_contrast" in missing
    assert "edge open/merged" in missing
    assert "fault disk/full" in missing
    assert COVERED_FROM == 10_000
    assert all(UNREACHABLE.values())
