"""The backtest shows what the daemon would do only if both measure the same: whatever the core reads, both fill in."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from daemon.core.measurement import Measurement
from handlers.backtest import world
from handlers.outbound import measure

NOT_RECORDED = {
    "unsettled": "a recording has no scrape that is still to come",
    "missing": "a recording has no server that does not answer",
}


def filled_by(module: ModuleType) -> set[str]:
    """The fields that the module gives to the fullest Measurement it makes."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    made = [{word.arg or "" for word in call.keywords} for call in calls if call.func.id == Measurement.__name__]  # type: ignore[attr-defined]
    return max(made, key=len)


@pytest.mark.parametrize(("module", "left_out"), [(measure, {}), (world, NOT_RECORDED)], ids=["daemon", "backtest"])
def test_all_that_is_judged_is_measured(module: ModuleType, left_out: dict[str, str]) -> None:
    """A field that only one of them fills is an excuse, or a conviction, that only one of them knows."""
    assert {field.name for field in fields(Measurement)} - filled_by(module) == set(left_out)
