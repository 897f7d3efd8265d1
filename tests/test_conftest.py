"""The rules of conftest.py, held by running pytest on small suites of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import parts, repository

SKIPS = '''
import pytest

def test_skips_itself():
    """Skips."""
    pytest.skip("prometheus is missing")

@pytest.mark.skipif(True, reason="kubectl is missing")
def test_is_skipped_by_a_mark():
    """Skips."""

@pytest.mark.xfail(reason="known fault")
def test_fails_as_expected():
    """Fails."""
    assert False
'''
SKIPS_AS_A_WHOLE = """
import pytest

pytest.skip("alertmanager is missing", allow_module_level=True)
"""
CLOCKS = '''
import asyncio, time
import pytest

async def on_which_clock():
    began = time.monotonic()
    await asyncio.sleep(0.3)
    return "wall" if time.monotonic() - began > 0.25 else "virtual"

async def test_unmarked():
    """Virtual."""
    assert await on_which_clock() == "virtual"

@pytest.mark.real
async def test_real():
    """Wall."""
    assert await on_which_clock() == "wall"

@pytest.mark.real
@pytest.mark.looptime(start=100)
async def test_real_wins():
    """Wall, whatever else the test is marked with."""
    assert await on_which_clock() == "wall"
'''

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest on one file beside a copy of our conftest, with our settings; never inherits strictness."""
    shutil.copy(repository.ROOT / "tests/conftest.py", tmp_path)

    def run(content: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_sample.py").write_text(content)
        inherited = {name: value for name, value in os.environ.items() if name != "LASTGOOD_TEST_STRICT"}
        settings = str(repository.ROOT / "pyproject.toml")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-c", settings, "--rootdir", str(tmp_path), "-p", "no:cacheprovider",
             *options, str(tmp_path)],
            cwd=tmp_path, env=inherited | environment, capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip

    return run


def test_a_skip_is_a_skip_on_a_developers_machine(run: Run) -> None:
    """Without strictness a missing part skips, and the reason is printed."""
    result = run(SKIPS)
    assert result.returncode == 0, result.stdout
    assert "2 skipped, 1 xfailed" in result.stdout
    assert "prometheus is missing" in result.stdout


@pytest.mark.parametrize("jobs", ["0", "2"])
def test_a_skip_fails_a_strict_run_and_is_named(run: Run, jobs: str) -> None:
    """In strict runs, side by side or not, each skip fails with its name and reason; an expected failure stays one."""
    result = run(SKIPS, "--numprocesses", jobs, LASTGOOD_TEST_STRICT="1")
    assert result.returncode == 1, result.stdout
    assert "1 failed, 1 xfailed, 1 error" in result.stdout  # a skip by mark happens in set-up: pytest calls it an error
    assert "test_skips_itself was skipped, and LASTGOOD_TEST_STRICT=1 allows no skip" in result.stdout
    assert "prometheus is missing" in result.stdout
    assert "kubectl is missing" in result.stdout


def test_a_module_that_skips_as_a_whole_fails_a_strict_run(run: Run) -> None:
    """A skip while collecting is a skip, too."""
    result = run(SKIPS_AS_A_WHOLE, LASTGOOD_TEST_STRICT="1")
    assert result.returncode != 0
    assert "alertmanager is missing" in result.stdout
    assert "1 skipped" not in result.stdout


def test_real_tests_run_on_the_wall_clock_and_all_others_on_virtual_time(run: Run) -> None:
    """A real server knows nothing of virtual time, so the mark `real` beats --looptime and any looptime mark."""
    result = run(CLOCKS)
    assert result.returncode == 0, result.stdout


def test_a_missing_part_skips_by_name_and_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the skip knows what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match=r"alertmanager .*apt-get install prometheus-alertmanager"):
        parts.require("alertmanager")


def test_alertmanager_is_found_under_either_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian renames the binary; its makers' archive does not."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("alertmanager", "prometheus-alertmanager"):
        (tmp_path / name).touch(mode=0o755)
        assert parts.require("alertmanager") == tmp_path / name
