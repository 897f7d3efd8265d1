"""`python -m tests.simulation --seeds A-B`: plays the seeds, says what broke, and what was never reached."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.coverage import Coverage
from tests.simulation.run import Result, run_seed
from tests.simulation.shrink import shrink

COVERED_FROM = 10_000
"""A run of so many seeds must have reached everything."""

CHUNK = 25
TRACE_LINES = 60
SHOWN_MAX = 5
"""Failing seeds that are shrunk and shown; the others are only named."""


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


def _totals(parts: list[range], jobs: int) -> Iterator[Total]:
    if jobs == 1:
        yield from map(simulate, parts)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(simulate, parts)


def story(result: Result, *, whole: bool = False) -> str:
    """What broke, the plan that leads there, and the last lines before it."""
    trace = result.trace if whole else result.trace[-TRACE_LINES:]
    policy = " ".join(f"{name}={value}" for name, value in result.plan.policy)
    lines = [
        f"seed {result.plan.seed}: {'; '.join(str(each) for each in result.broken) or 'nothing broke'}",
        f"  policy {policy}",
        f"  severity={result.plan.severity} mapping={result.plan.mapping} onset_known={result.plan.onset_known} "
        f"leak={result.plan.leak_seconds} drift={result.plan.drift:.1e}",
        *(f"  plan   {item}" for item in result.plan.items),
        *(f"  fault  {w.target}/{w.kind} {w.begins}-{w.ends} s, chance {w.chance}" for w in result.plan.windows),
        *(f"  {line}" for line in trace),
        f"  digest {result.digest}",
    ]
    return "\n".join(lines)


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds, write 1-200")
    return int(first), int(last or first)


def _show(seeds: list[int]) -> None:
    for seed in seeds[:SHOWN_MAX]:
        print(story(shrink(run_seed(seed))))
        print(f"  replay: python -m tests.simulation --seeds {seed}-{seed} --trace")
    if len(seeds) > SHOWN_MAX:
        print(f"failing as well: {' '.join(str(seed) for seed in seeds[SHOWN_MAX:])}")


def main(arguments: list[str] | None = None) -> int:
    """Play seeds; the exit code: 0 all is well, 1 something broke or was never reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_range, default=(1, 200), metavar="A-B")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--trace", action="store_true", help="show what happens in each seed")
    asked = parser.parse_args(arguments)
    first, last = asked.seeds
    if asked.trace:
        results = [run_seed(seed) for seed in range(first, last + 1)]
        print("\n".join(story(result, whole=True) for result in results))
        return int(any(result.broken for result in results))
    total = Total()
    for part in _totals(_parts(first, last), asked.jobs):
        total.add(part)
        if sys.stderr.isatty():
            print(f"\r{total.seeds} of {last - first + 1}, {len(total.failing)} failing", end="", file=sys.stderr)
    print(file=sys.stderr)
    _show(total.failing)
    missing = total.coverage.missing()
    if missing:
        print(f"never reached: {', '.join(missing)}")
    print(total)
    return int(bool(total.failing) or (bool(missing) and total.seeds >= COVERED_FROM))


if __name__ == "__main__":
    raise SystemExit(main())
