"""Plays many seeds, in several processes where asked to."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.coverage import Coverage
from tests.simulation.run import run_seed

CHUNK = 25
"""Seeds that a process plays at a time."""


@dataclass(slots=True)
class Total:
    """What many seeds came to."""

    seeds: int = 0
    hours: float = 0.0
    failing: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, other: Total) -> None:
        """Take another's in."""
        self.seeds += other.seeds
        self.hours += other.hours
        self.failing += other.failing
        self.names += other.names
        self.coverage.add(other.coverage)

    def __str__(self) -> str:
        hours = f"simulated_hours={self.hours:.0f}"
        return f"simulate: seeds={self.seeds} violations={len(self.failing)} {hours} {self.coverage}"


def simulate(seeds: Iterable[int]) -> Total:
    """Play these seeds in this process."""
    total = Total()
    for seed in seeds:
        result = run_seed(seed)
        total.seeds += 1
        total.hours += result.hours
        total.coverage.add(result.coverage)
        if result.broken:
            total.failing.append(seed)
            total.names.append(result.broken[0].name)
    return total


def _parts(first: int, last: int) -> list[range]:
    return [range(begin, min(begin + CHUNK, last + 1)) for begin in range(first, last + 1, CHUNK)]


def totals(first: int, last: int, jobs: int) -> Iterator[Total]:
    """The seeds from `first` to `last`, in parts, in so many processes."""
    parts = _parts(first, last)
    if jobs == 1:
        yield from map(simulate, parts)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(simulate, parts)
