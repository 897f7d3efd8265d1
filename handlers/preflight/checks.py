"""Runs all parts side by side within a limit. A part that hangs is reported by its name; none can hold up the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping

import structlog

from handlers.faults import Fault
from handlers.overview import Document, moment
from handlers.preflight import access, calls, mapping, signals, standing, target, telling, traffic
from handlers.preflight.lines import Level, Line, failed, rows
from handlers.preflight.subject import Sources, Subject

TOTAL_SECONDS = 20.0
"""Everything together; the command line waits 30 s for an answer."""

_log = structlog.get_logger(__name__)

Parts = Mapping[str, Awaitable[list[Line]]]


async def preflight(sources: Sources, subject: Subject, *, total_seconds: float = TOTAL_SECONDS) -> Document:
    """Everything about one workload."""
    parts: Parts = {
        "daemon": standing.daemon(sources),
        "workload": standing.workload(subject),
        "mapping": mapping.mapping(sources, subject),
        "calls": calls.calls(sources, subject),
        "signals": signals.signals(sources, subject),
        "traffic": traffic.night(sources, subject),
        "target": target.verified(subject),
        "dry run": target.dry_run(sources, subject),
        "access": access.access(sources, subject),
        "people": telling.people(sources, subject),
        "alertmanager": telling.alertmanager(sources),
    }
    found = await _all(parts, total_seconds)
    return {
        **_document(found),
        "now": moment(subject.now),
        "workload": subject.workload.key,
        "mode": subject.mode.value,
    }


async def of_unknown(sources: Sources, name: str, *, total_seconds: float = TOTAL_SECONDS) -> Document:
    """What can be said where no such workload is known: the daemon may be the reason."""
    parts: Parts = {"daemon": standing.daemon(sources), "alertmanager": telling.alertmanager(sources)}
    found = await _all(parts, total_seconds)
    ordered = {"daemon": found["daemon"], "workload": standing.unknown(name), "alertmanager": found["alertmanager"]}
    return {**_document(ordered), "now": moment(sources.clock.now()), "workload": name, "mode": None}


def _document(found: Mapping[str, list[Line]]) -> Document:
    counts = Counter(line.level for lines in found.values() for line in lines)
    return {
        "ok": counts[Level.FAILED] == 0,
        "counts": {level.value: counts[level] for level in Level},
        "lines": [row for part, lines in found.items() for row in rows(part, lines)],
    }


async def _all(parts: Parts, total_seconds: float) -> dict[str, list[Line]]:
    answers = await asyncio.gather(*(_guarded(name, part, total_seconds) for name, part in parts.items()))
    return dict(zip(parts, answers, strict=True))


async def _guarded(name: str, part: Awaitable[list[Line]], total_seconds: float) -> list[Line]:
    """The lines of one part, whatever becomes of it."""
    try:
        async with asyncio.timeout(total_seconds):
            return await part
    except TimeoutError:
        remedy = "what it asks (Prometheus, the API server, Alertmanager) hangs: see its health and the network"
        return [failed(name, f"no answer within {total_seconds:g}s", remedy)]
    except Fault as fault:
        return [failed(name, f"could not be checked: {fault.reason}", _remedy(fault))]
    except Exception as error:  # noqa: BLE001 - a bug in one part must not hide what the others found
        _log.exception("preflight_part_failed", part=name)
        return [failed(name, f"a bug in lastgood ({type(error).__name__})", "report it, with the daemon's log")]


def _remedy(fault: Fault) -> str:
    return f"see to what it asked ({fault.kind.value}), then ask again"
