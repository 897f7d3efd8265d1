"""The recipes of faults, and which half each belongs to: none is in both."""

from __future__ import annotations

from tests.bench.recordings.faults import Recipe
from tests.bench.recordings.ranges import Half
from tests.bench.recordings.recipes import (
    configuration,
    crash,
    delayed,
    errors,
    leak,
    partial,
    silent,
    slow,
    starved,
    wrong_answers,
)

RECIPES: dict[Half, tuple[Recipe, ...]] = {
    "tune": (
        errors.failing,
        slow.multiplied,
        crash.at_once,
        silent.from_the_start,
        wrong_answers.fail_callers,
        wrong_answers.hold_locks,
        leak.steady,
        starved.throttled,
        configuration.wrong_address,
        partial.some_requests,
        delayed.errors_later,
        crash.never_ready,
    ),
    "report": (
        errors.growing,
        slow.waiting,
        crash.after_a_while,
        silent.falls_silent,
        wrong_answers.fail_callees,
        leak.by_request,
        starved.burning,
        configuration.hidden_by_fallback,
        partial.in_bursts,
        delayed.slow_later,
        errors.one_route,
        slow.in_the_tail,
        silent.refuses,
        wrong_answers.flood_callees,
    ),
}
