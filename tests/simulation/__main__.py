"""`python -m tests.simulation --seeds A-B`: plays the seeds, says what broke, and what was never reached."""

from __future__ import annotations

import argparse
import os
import sys

from tests.simulation.many import Total, totals
from tests.simulation.run import Result, run_seed
from tests.simulation.shrink import shrink

COVERED_FROM = 10_000
"""A run of so many seeds must have reached everything."""

TRACE_LINES = 60
SHOWN_MAX = 5
"""Failing seeds that are shrunk and shown; the others are only named."""


LINE_EVERY = 1000
"""Seeds: some two minutes of two cores."""


def story(result: Result, *, whole: bool = False) -> str:
    """What broke, the plan that leads there, and the last lines before it."""
    trace = result.trace if whole else result.trace[-TRACE_LINES:]
    policy = " ".join(f"{name}={value}" for name, value in result.plan.policy)
    lines = [
        f"seed {result.plan.seed}: {'; '.join(str(each) for each in result.broken) or 'nothing broke'}",
        f"  policy {policy}",
        f"  severity={result.plan.severity} mapping={result.plan.mapping} onset_known={result.plan.onset_known}",
        f"  leak={result.plan.leak_seconds} start={result.plan.start_seconds} drift={result.plan.drift:.1e}",
        f"  replicas={result.plan.replicas}",
        *(f"  plan   {item}" for item in result.plan.items),
        *(f"  fault  {w.target}/{w.kind} {w.begins}-{w.ends} s, chance {w.chance}" for w in result.plan.windows),
        *(f"  {line}" for line in trace),
        f"  digest {result.digest}",
    ]
    return "\n".join(lines)


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of seeds, write 1-200")
    return int(first), int(last or first)


def _progress(total: Total, part: Total, of: int) -> None:
    """On a terminal a count that moves; elsewhere, where each would stay, a line now and then. A failing seed at once."""
    for seed, name in zip(part.failing, part.names, strict=True):
        sys.stderr.write(f"seed {seed}: {name}\n")
    count = f"{total.seeds} of {of}, {len(total.failing)} failing"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{count} ")
    elif total.seeds % LINE_EVERY == 0:
        sys.stderr.write(f"{count}\n")
    sys.stderr.flush()


def _show(seeds: list[int]) -> None:
    for seed in seeds[:SHOWN_MAX]:
        _say(story(shrink(run_seed(seed))))
        _say(f"  replay: python -m tests.simulation --seeds {seed}-{seed} --trace")
    if len(seeds) > SHOWN_MAX:
        _say(f"failing as well: {' '.join(str(seed) for seed in seeds[SHOWN_MAX:])}")


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
        _say("\n".join(story(result, whole=True) for result in results))
        return int(any(result.broken for result in results))
    total = Total()
    for part in totals(first, last, asked.jobs):
        total.add(part)
        _progress(total, part, last - first + 1)
    _show(total.failing)
    missing = total.coverage.missing()
    if missing:
        _say(f"never reached: {', '.join(missing)}")
    _say(total)
    return int(bool(total.failing) or (bool(missing) and total.seeds >= COVERED_FROM))


if __name__ == "__main__":
    raise SystemExit(main())
