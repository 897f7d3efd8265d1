"""A past time read from Prometheus, for `record` and `backtest --prometheus`: which time, from where, and how far it is."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TextIO

import aiohttp

from config import ConfigError, Settings, durations, load
from daemon import assembly
from daemon.cli import addresses
from daemon.cli.arguments import ascii_only, chosen_config
from daemon.cli.exits import CliError, Exit
from daemon.cli.terminal import safe, span
from daemon.core.policy import Policy
from handlers.backtest.history import HistoryError, from_prometheus
from handlers.backtest.recording import Recording, RolloutSeen
from handlers.faults import Fault, FaultKind
from handlers.prometheus import PrometheusClient

QUERY_SECONDS_MAX = 60.0
"""Of one query: a history may read a day of a large cluster at once. Longer ones are split (handlers.backtest.reading)."""

STEP = timedelta(seconds=60)
SINCE = timedelta(days=1)
BAR = 24
LINE_EVERY = 10
"""Per cent between two lines where no terminal shows a bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which time is read, and how finely."""

    start: datetime
    end: datetime
    step: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which Prometheus is asked, with what; headers hold secrets."""

    url: str
    policy: Policy
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)


class Unwatched:
    """ports.Telemetry of a command, whose metrics nobody scrapes."""

    def intake(self, source: str, result: str) -> None:
        """Nothing."""

    def contact(self, part: str, *, ok: bool) -> None:
        """Nothing."""


def span_of(options: argparse.Namespace, now: datetime) -> Span:
    """The time that `--from`, `--to` and `--step` mean: the last day, every 60 s. Raises CliError."""
    start = _moment("--from", options.since, now) if options.since is not None else now - SINCE
    end = _moment("--to", options.until, now) if options.until is not None else now
    if end > now:
        raise CliError(Exit.USAGE, "--to lies in the future", "leave it out to read up to now")
    if end <= start:
        raise CliError(Exit.USAGE, "--from is not before --to", "write them like --from 30d --to 1d")
    step = STEP if options.step is None else _duration("--step", options.step)
    return Span(start=start, end=end, step=step)


def _moment(option: str, text: str, now: datetime) -> datetime:
    """A moment (RFC 3339; without an offset it is UTC) or how long ago it was (`30d`)."""
    if text[:4].isdecimal() and "-" in text:
        try:
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            remedy = "write it like 2026-03-02, 2026-03-02T12:00:00Z or 30d"
            raise CliError(Exit.USAGE, f"{option} is no moment", remedy) from None
    try:
        return now - _duration(option, text)
    except OverflowError:
        raise CliError(Exit.USAGE, f"{option} is too long ago", "write it like 30d") from None


def _duration(option: str, text: str) -> timedelta:
    try:
        return durations.parse(text)
    except ValueError as error:
        said, _, remedy = str(error).partition("; ")
        raise CliError(Exit.USAGE, f"{option} {said}", remedy) from None


def source_of(options: argparse.Namespace) -> Source:
    """The Prometheus that `--prometheus` names, else the configuration's, with its headers. Raises CliError."""
    path = chosen_config(options)
    settings = _settings(options) if path is not None else None
    policy = settings.policy if settings is not None else Policy(cluster="recording")
    if options.prometheus is not None:
        return Source(url=_checked(options.prometheus), policy=policy)
    if settings is None or settings.prometheus.url is None:
        remedy = "name it with --prometheus, or the daemon's configuration with --config"
        raise CliError(Exit.USAGE, "no Prometheus is named", remedy)
    section = settings.prometheus
    return Source(
        url=section.url or "", policy=policy, headers=assembly.headers_of(section), params=dict(section.params)
    )


def _settings(options: argparse.Namespace) -> Settings:
    path = chosen_config(options)
    try:
        return load(path)
    except ConfigError as error:
        shown = ascii_only(str(path))
        remedy = f"`lastgood check-config {shown}` lists every problem"
        raise CliError(Exit.CONFIGURATION, f"{shown}: {ascii_only(error.problems[0])}", remedy) from None


def _checked(raw: str) -> str:
    remedy = "put them into a configuration, under prometheus.secret_headers, and name it with --config"
    addresses.server(raw, "--prometheus", example="http://127.0.0.1:9090", credentials=remedy)
    return raw


def recorded(source: Source, asked: Span, known: Sequence[RolloutSeen] = ()) -> Recording:
    """The recording of that time, with a word on standard error of how far it is; `known` as in from_prometheus.

    Raises CliError.
    """
    return asyncio.run(read(source, asked, known))


async def read(source: Source, asked: Span, known: Sequence[RolloutSeen] = ()) -> Recording:
    """As `recorded`, within a loop."""
    bar = Bar(sys.stderr)
    try:
        async with aiohttp.ClientSession() as session:
            client = PrometheusClient(
                session,
                source.url,
                telemetry=Unwatched(),
                headers=source.headers,
                params=source.params,
                timeout=timedelta(seconds=QUERY_SECONDS_MAX),
            )
            return await from_prometheus(
                client,
                asked.start,
                asked.end,
                step=asked.step,
                policy=source.policy,
                known=known,
                progress=bar.show,
                tell=bar.say,
            )
    except HistoryError as error:
        raise CliError(Exit.REFUSED, safe(error), "") from None
    except Fault as fault:
        raise _failure(fault) from None
    finally:
        bar.clear()


def _failure(fault: Fault) -> CliError:
    said = safe(fault.reason)
    if fault.kind is FaultKind.AUTH and fault.status is not None:
        return CliError(Exit.UNAUTHORISED, said, "check prometheus.secret_headers in the configuration")
    if fault.kind in (FaultKind.INVALID, FaultKind.CLIENT):
        return CliError(Exit.REFUSED, said, "check policy.signals in the configuration, or take a shorter time")
    return CliError(Exit.UNREACHABLE, said, "check the address of Prometheus, and whether it is overloaded")


class Bar:
    """How far it is: a bar on a terminal, a line now and then in a log."""

    def __init__(
        self,
        out: TextIO,
        clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
        *,
        doing: str = "reading",
        done: str = "read",
        quiet: float = 0.0,
    ) -> None:
        """`clock` gives seconds; what takes less than `quiet` of them is not worth a word. `doing` and `done` say what it is."""
        self._out = out
        self._clock = clock
        self._doing = doing
        self._done = done
        self._quiet = quiet
        self._terminal = out.isatty()
        self._began: float | None = None
        self._told = 0

    def show(self, done: int, total: int) -> None:
        """So much of so much is done."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        if now - self._began < self._quiet:
            return
        share = done / total if total else 1.0
        left = f", {span((now - self._began) * (1 - share) / share)} left" if 0.02 < share < 1 else ""
        if self._terminal:
            full = round(BAR * share)
            self._write(f"\r\x1b[K{self._doing} [{'#' * full}{'.' * (BAR - full)}] {share:.0%}{left}")
        elif int(share * 100) // LINE_EVERY > self._told // LINE_EVERY:
            self._told = int(share * 100)
            self._write(f"lastgood: {self._told} % {self._done}{left}\n")

    def say(self, warning: str) -> None:
        """Something that a person should know."""
        self.clear()
        self._write(f"lastgood: {safe(warning)}\n")

    def clear(self) -> None:
        """The bar goes; the next line begins where it stood."""
        if self._terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
