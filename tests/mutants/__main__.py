"""`make mutants`, or `python -m tests.mutants [NAME…] [--write]`: plant each bug in a copy of the tree and see what catches it.

Prints a line per bug as it comes, with how far it is. Exit code 0 when every bug was caught, 1 otherwise. The tests run once
without any bug first: a test that is red anyway catches nothing. `--write` puts the table into deploy/docs/mutants.md.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants import page
from tests.mutants.mutant import Mutant
from tests.mutants.planted import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("config", "daemon", "handlers", "deploy", "tests", "pyproject.toml")
SECONDS_MAX = 240
"""For the tests of one bug; a bug that makes them hang is caught, too."""

_FAILED = re.compile(r"\b(?:FAILED|ERROR) (tests/[^\s\[]+)|(tests/\S+?::\w+)(?:\[.*\])? (?:FAILED|ERROR)")
"""As it is told at once: a bug may leave something behind that costs pytest its summary. Side by side the word comes first."""


def run_tests(tree: Path, tests: Iterable[str], *options: str) -> str | None:
    """The first test that fails in the tree; None when all pass."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-v", "-p", "no:cacheprovider", *options, *tests]
    try:
        ended = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"(no end within {SECONDS_MAX} s)"
    if ended.returncode == 0:
        return None
    found = _FAILED.search(ended.stdout)
    if found is None:
        return f"(exit code {ended.returncode}) {ended.stdout[-400:]}{ended.stderr[-400:]}"
    return found.group(1) or found.group(2)


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
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / part)
    return to


def tell(line: str) -> None:
    """One line of the table, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def plant(chosen: Sequence[Mutant], folder: Path, jobs: int) -> dict[str, str | None]:
    """What caught each of them; as many at a time as there are copies of the tree."""
    trees = queue.SimpleQueue[Path]()
    for number in range(jobs):
        trees.put(copy(folder / str(number)))

    def one(mutant: Mutant) -> str | None:
        tree = trees.get()
        try:
            return planted(tree, mutant)
        finally:
            trees.put(tree)

    caught: dict[str, str | None] = {}
    with ThreadPoolExecutor(jobs) as pool:
        under_way = {pool.submit(one, mutant): mutant for mutant in chosen}
        for done in as_completed(under_way):
            mutant = under_way[done]
            caught[mutant.name] = done.result()
            far = f"{len(caught):>3}/{len(chosen)}"
            tell(f"{far} {mutant.name:<28} {mutant.why:<72} {caught[mutant.name] or 'NOT CAUGHT'}")
    return caught


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="make mutants", description="plant bugs and see what catches them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--write", action="store_true", help=f"put the table into {page.PAGE.name} (all bugs)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="bugs at a time")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.names) - {mutant.name for mutant in MUTANTS}:
        parser.error(f"no such bug: {', '.join(sorted(unknown))}; they are named in tests/mutants/")
    chosen = [mutant for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    with tempfile.TemporaryDirectory(prefix="lastgood-mutants-") as folder:
        tell(f"mutants: the tests of {len(chosen)} bugs, without any bug")
        clean = copy(Path(folder) / "clean")
        together = ("--numprocesses", str(asked.jobs), "--dist", "worksteal")
        if (
            red := run_tests(clean, sorted({test for mutant in chosen for test in mutant.tests}), *together)
        ) is not None:
            tell(f"red without any bug: {red}")
            return 1
        caught = plant(chosen, Path(folder), asked.jobs)
    missed = sum(1 for by in caught.values() if by is None)
    if asked.write and not asked.names and not missed:
        page.write(caught)
    tell(f"mutants: {len(chosen)} planted, {missed} not caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
