"""Benchmarks: each measures, holds the figure of issue 3, and adds its section to RESULTS.md when the run ends."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
COMMAND = "make bench"


class Results:
    """The sections of RESULTS.md, by number; those of an earlier run stay where this one did not come by."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = path.with_suffix(".json")
        self.sections: dict[str, str] = json.loads(self._kept.read_text()) if self._kept.exists() else {}

    def add(self, title: str, lines: list[str]) -> None:
        """A section: its title with number, and its Markdown lines."""
        stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z"
        self.sections[title] = "\n".join(
            [f"## {title}", "", *lines, "", f"Measured {stamp}, load {os.getloadavg()[0]:.1f}."]
        )

    def write(self) -> None:
        """Write the file."""
        head = [
            "# What it costs", "",
            f"Written by `{COMMAND}` ({platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}).",
            "Ratios come from one run and are the median of five unless said otherwise; absolute numbers are this machine's.",
        ]  # fmt: skip
        sections = [self.sections[title] for title in sorted(self.sections, key=_number)]
        self._path.write_text("\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n")
        self._kept.write_text(json.dumps(self.sections, indent=1))


def _number(title: str) -> int:
    return int(title.partition(".")[0])


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """Where a benchmark writes its section."""
    found = Results(FOLDER / "RESULTS.md")
    yield found
    found.write()


def environment() -> dict[str, str]:
    """For the programs: they import our packages from the checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def program(name: str, *arguments: Any, timeout: float = 120.0) -> dict[str, Any]:
    """Run one of the programs beside this file and read the JSON that it prints."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env=environment(), cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


def median(values: list[float]) -> float:
    """The median: one slow run, or one lucky one, does not count."""
    return statistics.median(values)
