"""A failing plan made small: what is left out of it while it still breaks the same promise was not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.item import Item
from tests.simulation.plan import Plan
from tests.simulation.run import Result, play
from tests.simulation.world import Switches

ROUNDS_MAX = 6
"""How often everything is tried again: leaving one thing out may make another superfluous."""


def shrink(result: Result, switches: Switches | None = None) -> Result:
    """The result of the smallest plan found that still breaks what this one broke first."""
    name = result.broken[0].name
    best = result

    def fails(plan: Plan) -> bool:
        nonlocal best
        tried = play(plan, switches)
        if tried.broken and tried.broken[0].name == name:
            best = tried
            return True
        return False

    for _ in range(ROUNDS_MAX):
        before = best.plan
        _without_items(best, fails)
        _without_windows(best, fails)
        _plainer(best.plan, fails)
        if best.plan == before:
            break
    return best


def _without_items(found: Result, fails: Callable[[Plan], bool]) -> None:
    plan = found.plan
    for item in found.plan.items:
        less = replace(plan, items=tuple(each for each in plan.items if each is not item))
        if fails(less):
            plan = less
            continue
        plainer = _plainer_item(item)
        other = replace(plan, items=tuple(plainer if each is item else each for each in plan.items))
        if plainer != item and fails(other):
            plan = other


def _plainer_item(item: Item) -> Item:
    """A life that ends without a change of policy after it."""
    return replace(item, args=(item.args[0], ())) if item.what in ("kill", "stop") else item


def _without_windows(found: Result, fails: Callable[[Plan], bool]) -> None:
    plan = found.plan
    for window in plan.windows:
        less = replace(plan, windows=tuple(each for each in plan.windows if each is not window))
        if fails(less):
            plan = less


def _plainer(plan: Plan, fails: Callable[[Plan], bool]) -> None:
    usual: dict[str, Any] = {"severity": "critical", "mapping": "deployment", "onset_known": True, "drift": 0.0}
    for name, value in usual.items():
        if getattr(plan, name) != value and fails(replace(plan, **{name: value})):
            plan = replace(plan, **{name: value})
