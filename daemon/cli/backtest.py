"""`lastgood backtest`: what Lastgood would have done, on recordings, without a daemon. One JSON line per verdict."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from config import ConfigError, load
from daemon.cli import past
from daemon.cli.arguments import ascii_only
from daemon.cli.exits import CliError, Exit
from daemon.core.policy import Policy
from daemon.runtime.clock import SystemClock
from handlers.backtest import recording as recordings
from handlers.backtest import replay as replays
from handlers.backtest.page import page
from handlers.backtest.recording import Recording, RecordingError
from handlers.backtest.score import Replayed, replayed, summary
from handlers.backtest.verdicts import Told

SUFFIX = ".jsonl"
AS_SHIPPED = "default"

REPLAY_QUIET_SECONDS = 2.0
"""Of one recording, before it is told how far its replay is: most take less, and which one it is is shown anyway."""


def run(options: argparse.Namespace) -> int:
    """Replay each recording under each policy; verdicts to standard output, how far it is to standard error."""
    if options.html is not None:
        _can_be_written(options.html)
    policies = [(AS_SHIPPED, None), *((str(path), _policy(path)) for path in options.policy or ())]
    scored: dict[str, list[Replayed]] = {name: [] for name, _ in policies}
    shown: list[tuple[Recording, Sequence[Told]]] = []
    for recording in _recordings(options):
        for name, policy in policies:
            told = list(_printed(recording, policy, name if len(policies) > 1 else None))
            if options.score:
                scored[name].append(replayed(recording, told))
            if options.html is not None and (policy is not None or len(policies) == 1):
                shown.append(_shown(recording, told, name if len(policies) > 2 else None))
    if options.score:
        _print_scores(scored)
    if options.html is not None:
        _write(options.html, page(shown))
    sys.stdout.flush()
    return Exit.OK


def _recordings(options: argparse.Namespace) -> Iterator[Recording]:
    """Those that are named, one at a time; or the past that a Prometheus holds."""
    asked = options.prometheus is not None or options.since is not None
    if asked == bool(options.recordings):
        remedy = "lastgood backtest FILE…, or lastgood backtest --prometheus URL --from 30d"
        raise CliError(Exit.USAGE, "name either recordings or a Prometheus", remedy)
    if asked:
        yield past.recorded(past.source_of(options), past.span_of(options, SystemClock().now()))
        return
    paths = list(_files(options.recordings))
    for number, path in enumerate(paths, start=1):
        _progress(number, len(paths), path.name)
        yield _read(path)
    _progress(0, 0, "")


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The files, and of each folder its recordings."""
    for path in given:
        if not path.is_dir():
            yield path
            continue
        found = sorted(path.glob(f"*{SUFFIX}"))
        if not found:
            raise CliError(Exit.USAGE, f"{ascii_only(str(path))}: no recording in it", f"recordings end in {SUFFIX}")
        yield from found


def _read(path: Path) -> Recording:
    try:
        found = recordings.load(path)
    except RecordingError as error:
        said, _, remedy = str(error).rpartition("; ")
        raise CliError(Exit.USAGE, ascii_only(said), remedy) from None
    if found.sorted_lines:
        _say(f"{path.name}: {found.sorted_lines} line(s) out of order, sorted by `at`")
    if not found.evidence:
        _say(f"{path.name}: nothing is recorded in it")
    return found


def _policy(path: Path) -> Policy:
    try:
        return load(path).policy
    except ConfigError as error:
        remedy = f"`lastgood check-config {ascii_only(str(path))}` lists every problem"
        raise CliError(
            Exit.CONFIGURATION, f"{ascii_only(str(path))}: {ascii_only(error.problems[0])}", remedy
        ) from None


def _printed(recording: Recording, policy: Policy | None, name: str | None) -> Iterator[Told]:
    clock = SystemClock()
    bar = past.Bar(
        sys.stderr, lambda: clock.now().timestamp(), doing="replaying", done="replayed", quiet=REPLAY_QUIET_SECONDS
    )
    for told in replays.replay(recording, policy, bar.show):
        document = told.document() if name is None else {**told.document(), "policy": name}
        bar.clear()
        print(json.dumps(document, ensure_ascii=False))
        yield told
    bar.clear()


def _shown(recording: Recording, told: Sequence[Told], name: str | None) -> tuple[Recording, Sequence[Told]]:
    """For the page; of several policies each has its own name there."""
    if name is None:
        return recording, told
    named = f"{recording.name} by {name}"
    return replace(recording, name=named), [replace(each, recording=named) for each in told]


def _print_scores(scored: dict[str, list[Replayed]]) -> None:
    for name, runs in scored.items():
        document = {"summary": summary(runs).document()}
        print(json.dumps(document if len(scored) == 1 else {**document, "policy": name}))


def _can_be_written(path: Path) -> None:
    """Before minutes of replaying, not after: its folder is there, and it may be written."""
    if not path.parent.is_dir():
        raise _unwritable(path, f"there is no folder {ascii_only(str(path.parent))}")
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise _unwritable(path, "it may not be written")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: Path, why: str) -> CliError:
    return CliError(Exit.USAGE, f"--html {ascii_only(str(path))}: {why}", "name a file that can be written")


def _progress(number: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[Kbacktest: {number} of {total}: {ascii_only(name)}" if total else "\r\x1b[K")
        sys.stderr.flush()


def _say(text: str) -> None:
    print(f"lastgood: {ascii_only(text)}", file=sys.stderr)
