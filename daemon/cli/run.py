"""`lastgood run` and `lastgood check-config`: the two commands that ask no daemon."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from config import ConfigError, Settings, load
from daemon.cli.arguments import ascii_only
from daemon.cli.exits import Exit


def run(config: Path | None) -> int:
    """Run the daemon until it is told to stop; its exit code. A bad configuration is told before anything starts."""
    if _checked(config) is None:
        return Exit.CONFIGURATION
    import structlog

    from daemon.app import run as run_daemon

    try:
        return _on_a_fast_loop(run_daemon(config))
    except Exception:
        # Whoever reads the log later needs to know where; the line on stderr alone would not tell.
        structlog.get_logger(__name__).critical("crashed", exc_info=True)
        raise


def _on_a_fast_loop(daemon: Coroutine[Any, Any, int]) -> int:
    """On uvloop, as the benchmarks are (tests/bench/RESULTS.md); where it is not to be had, on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(daemon)
    return uvloop.run(daemon)


def check(config: Path, *, as_json: bool) -> int:
    """Say whether the configuration is good, with every problem and warning."""
    if as_json:
        return _check_for_programs(config)
    settings = _checked(config)
    if settings is None:
        return Exit.CONFIGURATION
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{ascii_only(str(config))}: good (fingerprint {settings.fingerprint})")
    return Exit.OK


def _checked(config: Path | None) -> Settings | None:
    """The settings; None, and every problem on stderr, where they are bad."""
    try:
        return load(config)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{ascii_only(str(config or 'environment'))}: {ascii_only(problem)}", file=sys.stderr)
        return None


def _check_for_programs(config: Path) -> int:
    try:
        settings = load(config)
    except ConfigError as error:
        print(
            json.dumps({"ok": False, "problems": list(error.problems), "warnings": [], "fingerprint": None}, indent=2)
        )
        return Exit.CONFIGURATION
    found = {"ok": True, "problems": [], "warnings": list(settings.warnings), "fingerprint": settings.fingerprint}
    print(json.dumps(found, indent=2))
    return Exit.OK
