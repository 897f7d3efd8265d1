"""`python -m tests.mutants [NAME…]`: plant each bug in a copy of the tree, run its tests, print what caught it.

Exit code 0 when every bug was caught, 1 otherwise. The tests run once without any bug first: a test that is red anyway
catches nothing. Takes about two minutes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.mutants.planted import MUTANTS, Mutant
from tests.mutants.planted_postgres import POSTGRES_MUTANTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("config", "daemon", "handlers", "deploy", "tests", "pyproject.toml")
SECONDS_MAX = 120
"""For the tests of one bug; a bug that makes them hang is caught, too."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def run_tests(tree: Path, tests: Iterable[str]) -> str | None:
    """The first test that fails in the tree; None when all pass."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        ended = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"(no end within {SECONDS_MAX} s)"
    if ended.returncode == 0:
        return None
    found = _FAILED.search(ended.stdout)
    return found.group(1) if found else f"(exit code {ended.returncode}) {ended.stdout[-400:]}{ended.stderr[-400:]}"


def planted(tree: Path, mutant: Mutant) -> str | None:
    """The test that caught the bug; the tree is as before afterwards. Raises ValueError for a patch that does not fit."""
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} holds the text {text.count(mutant.old)} times, not once")
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        return run_tests(tree, mutant.tests)
    finally:
        path.write_text(text)


def copy(to: Path) -> Path:
    """A copy of everything that the tests need."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / part)
    return to


def tell(line: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(names: Sequence[str]) -> int:
    """Print the table."""
    chosen = [mutant for mutant in (*MUTANTS, *POSTGRES_MUTANTS) if not names or mutant.name in names]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="lastgood-mutants-") as folder:
        tree = copy(Path(folder))
        red = run_tests(tree, sorted({test for mutant in chosen for test in mutant.tests}))
        if red is not None:
            tell(f"red without any bug: {red}")
            return 1
        for mutant in chosen:
            caught = planted(tree, mutant)
            missed += caught is None
            tell(f"{mutant.name:<28} {mutant.why:<72} {caught or 'NOT CAUGHT'}")
    tell(f"mutants: {len(chosen)} planted, {missed} not caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
