"""Plays one seed: its plan on a loop of its own, and what came of it."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from daemon.runtime import codec, engine
from tests.simulation.coverage import Coverage
from tests.simulation.invariants import Broken
from tests.simulation.loop import DeadlockError, SimLoop
from tests.simulation.plan import Plan, draw
from tests.simulation.world import Switches, World

COMPACT_AFTER_FACTS = 300
"""Far fewer than the daemon's: snapshots are to be met."""

STEPS_MAX = 2_000_000
"""A world that takes more than this goes round in circles."""

BUGS = ("event_not_judged", "facts_not_told", "deadline_without_consequence", "task_failed", "runner_failed")
"""Logged errors that are never the world's fault."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a seed. `digest` is equal for equal runs; `hours` are simulated."""

    plan: Plan
    broken: tuple[Broken, ...]
    digest: str
    hours: float
    steps: int
    trace: tuple[str, ...]
    coverage: Coverage


def run_seed(seed: int, switches: Switches | None = None) -> Result:
    """Draw the plan of the seed and play it."""
    return play(draw(seed), switches)


def play(plan: Plan, switches: Switches | None = None) -> Result:
    """Play a plan."""
    codec.prepare()
    loop = SimLoop(str(plan.seed))
    kept, engine.COMPACT_AFTER_FACTS = engine.COMPACT_AFTER_FACTS, COMPACT_AFTER_FACTS
    collects = gc.isenabled()
    gc.disable()  # what is left of the killed must not be run by the collector
    try:
        world = World(plan, loop, switches or Switches())
        loop.on_error = world.bug
        with _logs(world):
            try:
                loop.run_until_complete(world.main())
            except DeadlockError as error:
                world.bug(str(error))
            broken = tuple(world.invariants.found)
            loop.close()
        world.coverage.faults.update(world.network.met)
        digest = hashlib.blake2b("\n".join([loop.digest(), *world.trace]).encode(), digest_size=16).hexdigest()
        return Result(
            plan=plan,
            broken=broken,
            digest=digest,
            hours=loop.time() / 3600,
            steps=loop.steps,
            trace=tuple(world.trace),
            coverage=world.coverage,
        )
    finally:
        engine.COMPACT_AFTER_FACTS = kept
        if collects:
            gc.enable()


@contextmanager
def _logs(world: World) -> Iterator[None]:
    """Nothing is printed; what says that something broke is an invariant's."""

    def heard(_logger: Any, _name: str, event: Any) -> Any:
        if event.get("event") in BUGS:
            world.bug(" ".join(f"{key}={value!r}" for key, value in event.items() if key != "exc_info") + _why(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    wrapper = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(processors=[heard], wrapper_class=wrapper, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _why(event: Any) -> str:
    import sys
    import traceback

    error = event.get("exc_info")
    error = sys.exc_info()[1] if error is True else error
    if not isinstance(error, BaseException):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f" {error!r} at {', '.join(f'{each.filename}:{each.lineno}' for each in last)}"
