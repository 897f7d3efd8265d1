"""Every scenario of `make demo` against the real daemon process, with the real monitoring and with the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.sandbox.demo import main
from deploy.sandbox.monitoring import Kind
from deploy.sandbox.scenarios import SCENARIOS
from tests.parts import require

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

EXPECTED = {
    "error-spike": ("recovered", "v1", 1, 1),
    "alert-after-completion": ("recovered", "v1", 1, 1),
    "crashloop": ("recovered", "v1", 1, 1),
    "innocent": ("escalated", "none", 0, 1),
    "no-verified-target": ("escalated", "none", 0, 1),
    "superseded": ("superseded", "none", 0, 0),
    "observe": ("escalated", "none", 0, 0),
}
"""Outcome, rolled back to, rollbacks, pages: written down a second time, so that the demo cannot move its own goal."""


def test_table_of_scenarios_is_complete() -> None:
    """The demo offers the scenarios that are tested, and no other."""
    assert set(SCENARIOS) == set(EXPECTED)


@pytest.mark.parametrize("kind", ["real", "stand-in"])
@pytest.mark.parametrize("name", EXPECTED)
def test_scenario_ends_as_it_should(name: str, kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line says how it ended, the exit code is 0, and it took less than a minute."""
    if kind == "real":
        require("prometheus")
        require("alertmanager")
    code = main(["--scenario", name, "--monitoring", kind, "--keep", str(tmp_path)])
    last = capsys.readouterr().out.splitlines()[-1]
    outcome, target, rollbacks, pages = EXPECTED[name]
    told, _, seconds = last.rpartition(" seconds=")
    assert told == (
        f"demo: scenario={name} outcome={outcome} rolled_back_to={target} "
        f"rollbacks={rollbacks} pages={pages} duplicate_pages=0"
    ), (tmp_path / "daemon.log").read_text()[-4000:]
    assert code == 0
    assert int(seconds) < 60
