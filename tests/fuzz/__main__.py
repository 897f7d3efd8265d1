"""`python -m tests.fuzz --seconds N [--target NAME]`: look for input that breaks something, for N seconds per target.

Parsers run under atheris, guided by what they cover, where it is installed (`pip install atheris`), else under hypothesis;
addresses (`http.NAME`) under schemathesis against the served surface. Stops at a target's first finding, prints it with the way
to see it again, and goes on to the next. Exit code 0: nothing found, 1: something was, 2: a wrong call.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import logging
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import structlog
from hypothesis import HealthCheck, Phase, given

from tests.fuzz import inputs
from tests.fuzz.targets import Parser, judge, parsers

SHOWN_BYTES_MAX = 4_000
"""Of an input that is printed; a longer one is kept in a file."""

GRACE_SECONDS = 300
"""For a process to start, to read its seeds and to end."""

HTTP = "http."
AT_ONCE = 50
"""Examples between two looks at the clock."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, or see one input again; the exit code."""
    options = _options(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    table = {parser.name: parser for parser in parsers()}
    if options.replay is not None:
        return _replayed(table[options.target], ast.literal_eval(options.replay))
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        _say("fuzz: atheris is not installed (pip install atheris): hypothesis only")
    chosen = [name for name in (*table, *_addresses()) if options.target in (None, name)]
    if not chosen:
        _say(f"fuzz: no target {options.target}; there are {', '.join((*table, *_addresses()))}")
        return 2
    found = 0
    for number, name in enumerate(chosen, start=1):
        _say(f"fuzz: {number}/{len(chosen)} {name}", end=" ")
        if name.startswith(HTTP):
            found += _by_schemathesis(name.removeprefix(HTTP), options.seconds)
        else:
            found += (_by_atheris if guided else _by_hypothesis)(table[name], options.seconds)
    _say(f"fuzz: targets={len(chosen)} seconds={options.seconds} findings={found}")
    return 1 if found else 0


def _say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="per target")
    parser.add_argument("--target", help="only this one; an unknown name lists them")
    parser.add_argument("--replay", metavar="BYTES", help="see this input again: a bytes literal, with --target")
    options = parser.parse_args(arguments)
    if options.replay is not None and options.target not in {each.name for each in parsers()}:
        parser.error("--replay needs the --target that it is for")
    return options


def _addresses() -> list[str]:
    if importlib.util.find_spec("schemathesis") is None:
        return []
    from tests.fuzz import http

    return [HTTP + target.name for target in http.targets()]


def _replayed(parser: Parser, data: bytes) -> int:
    try:
        judge(parser, data)
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        _say(traceback.format_exc())
        return 1
    _say(f"fuzz: {parser.name} takes it, or refuses it as documented")
    return 0


def _told(name: str, data: bytes, why: str) -> int:
    _say(f"FOUND\n{why.rstrip()}")
    shown = repr(data)
    if len(data) > SHOWN_BYTES_MAX:
        kept = Path(tempfile.mkdtemp(prefix="fuzz-")) / "input"
        kept.write_bytes(data)
        shown = f"open({str(kept)!r}, 'rb').read()"
        _say(f"input: {len(data)} bytes in {kept}; see `judge(named({name!r}), {shown})` in tests/fuzz/targets.py")
        return 1
    _say(f"input: {shown}")
    _say(f'again: python -m tests.fuzz --target {name} --replay "$INPUT", where INPUT is the literal above')
    return 1


def _by_atheris(parser: Parser, seconds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "tests.fuzz.guided", parser.name, str(seconds), str(folder)]
        try:
            ended = subprocess.run(command, capture_output=True, check=False, timeout=seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _say(f"FAILED TO RUN: no end within {seconds + GRACE_SECONDS} s")
            return 1
        said = (ended.stdout + ended.stderr).decode(errors="replace")
        broken = next((each for kind in ("crash", "timeout", "oom") for each in folder.glob(f"{kind}-*")), None)
        if broken is not None:
            return _told(parser.name, broken.read_bytes(), _why(said))
        if ended.returncode != 0:
            _say(f"FAILED TO RUN\n{said[-2000:]}")
            return 1
        runs = next((line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line), "?")
        _say(f"runs={runs} kept={sum(1 for _ in folder.iterdir())}")
    return 0


def _why(said: str) -> str:
    """The traceback in what the process said."""
    start = max(said.rfind("=== Uncaught Python exception"), said.rfind("ERROR: libFuzzer"), 0)
    return said[start : start + 3000]


def _by_hypothesis(parser: Parser, seconds: int) -> int:
    end, runs = time.monotonic() + seconds, 0
    seen: list[bytes] = []
    while time.monotonic() < end:

        @hypothesis.seed(runs)
        @hypothesis.settings(
            max_examples=AT_ONCE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        @given(data=inputs.of(parser))
        def read(data: bytes) -> None:
            seen[:] = [data]
            judge(parser, data)

        try:
            read()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return _told(parser.name, seen[0], "".join(traceback.format_exception(error)))
        runs += AT_ONCE
    _say(f"runs={runs}")
    return 0


def _by_schemathesis(name: str, seconds: int) -> int:
    from tests.fuzz import http
    from tests.fuzz.surface import surface

    target = next(each for each in http.targets() if each.name == name)
    counts: Counter[int] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, surface(Path(folder)) as running:
        schema, round_ = http.described(), 0
        while time.monotonic() < end:
            for mode in http.modes(target):
                try:
                    http.attack(
                        running,
                        schema,
                        target,
                        mode,
                        examples=AT_ONCE,
                        seed=round_,
                        seen=lambda status: counts.update([status]),
                    )
                except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                    _say(f"FOUND ({mode}, --seed {round_})\n{error}")
                    return 1
            round_ += 1
    _say(" ".join(f"{status}={count}" for status, count in sorted(counts.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
