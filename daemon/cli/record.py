"""`lastgood record`: writes what happened as a recording, from Prometheus, and from the daemon where one can be asked."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from daemon.cli import client, past
from daemon.cli.arguments import ascii_only
from daemon.cli.exits import CliError, Exit
from daemon.runtime.clock import SystemClock
from handlers.backtest import daemon_history
from handlers.backtest.recording import Recording, RolloutSeen, TruthSeen, written

WORKLOADS_ASKED_MAX = 500
"""Workloads whose history the daemon is asked for, one by one."""


def run(options: argparse.Namespace) -> int:
    """Write the recording; the exit code. Raises CliError."""
    asked = past.span_of(options, SystemClock().now())
    source = past.source_of(options)
    recording, truths = asyncio.run(_read(options, source, asked))
    said = write(options.file, recording, truths)
    print(f"lastgood: {ascii_only(str(options.file))}: {said}", file=sys.stderr)
    return Exit.OK


async def _read(
    options: argparse.Namespace, source: past.Source, asked: past.Span
) -> tuple[Recording, Sequence[TruthSeen]]:
    rollouts, truths = await _from_daemon(options)
    recording = await past.read(source, asked, rollouts)
    return recording, [each for each in truths if asked.start <= each.at <= asked.end]


async def _from_daemon(options: argparse.Namespace) -> tuple[Sequence[RolloutSeen], Sequence[TruthSeen]]:
    """What only the daemon knows; nothing, with a word on it, where it cannot be asked."""
    try:
        where = client.address(options)
        status = await client.ask(where, "status", {})
        scorecard = await client.ask(where, "scorecard", {})
        rollouts: list[RolloutSeen] = []
        for name in daemon_history.untold(status)[:WORKLOADS_ASKED_MAX]:
            rollouts += daemon_history.rollouts(await client.ask(where, "history", {"workload": name}))
        truths: list[TruthSeen] = []
        for name in daemon_history.judged(scorecard)[:WORKLOADS_ASKED_MAX]:
            truths += daemon_history.truths(await client.ask(where, "scorecard", {"workload": name}))
    except CliError as error:
        if options.socket is not None or options.server is not None:
            raise
        print(f"lastgood: without the daemon, from Prometheus alone ({error})", file=sys.stderr)
        return (), ()
    return rollouts, truths


def write(path: Path, recording: Recording, truths: Sequence[TruthSeen]) -> str:
    """Write the file whole or not at all (`-`: to standard output); what is in it. Raises CliError."""
    records = sorted([*recording.evidence, *truths], key=_at)
    if str(path) == "-":
        sys.stdout.buffer.writelines(written(record) for record in records)
        sys.stdout.flush()
    else:
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with unfinished.open("wb") as file:
                file.writelines(written(record) for record in records)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            said = f"{ascii_only(str(path))}: {error.strerror or error}"
            raise CliError(Exit.USAGE, said, "name a file that can be written") from None
    counts = Counter(type(record).__name__ for record in records)
    begun = sum(isinstance(each, RolloutSeen) and each.phase == "started" for each in recording.evidence)
    return (
        f"{begun} rollouts, {counts['AlertSeen']} alert records, {counts['SampleSeen']} samples,"
        f" {counts['EdgeSeen']} calls, {len(truths)} truths"
    )


def _at(record: object) -> datetime:
    at: datetime = record.at  # type: ignore[attr-defined]
    return at
