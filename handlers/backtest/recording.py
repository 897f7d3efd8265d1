"""The recording format: JSON Lines, one object a line, in time order (deploy/docs/recordings.md).

A recording holds what Lastgood would have seen, and nothing else may enter a decision. `truth` is the exception: it says which
rollout was to blame, for scoring, and no decision ever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec

LINE_BYTES_MAX = 1024 * 1024
"""Of one line: an alert with all its labels is a few kB."""

SHOWN_MAX = 200
"""Characters of what the decoder says that an error repeats."""

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Of all moments: what lies outside is no time of a recording (an unset one is the year 1), and nothing can be added to it."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Requests = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""More in one sample is a mistake, and too much for the statistics."""

WorkloadName = Annotated[str, msgspec.Meta(pattern=r"^[^/]+/[^/]+/[^/]+$")]
"""`namespace/Kind/name`."""


class RolloutSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="rollout"):
    """A rollout began, went on to its next stage, or is complete; it may never say that it is."""

    at: Moment
    workload: WorkloadName
    revision: str
    replaces: str | None = None
    phase: Literal["started", "stage", "completed"]


class PodSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="pod"):
    """A pod as it is from now on. `reason` is that of its waiting or terminated container, such as CrashLoopBackOff."""

    at: Moment
    pod: str
    workload: WorkloadName
    revision: str
    ready: bool
    restarts: int = 0
    reason: str | None = None
    deleted: bool = False


class SampleSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="sample", gc=False):
    """One number of one signal, of a pod or a whole workload (`pod` null), of all its traffic or of one edge (`peer`).

    Ratios are 0..1, latencies seconds, traffic requests per second. `value` null: asked and got nothing. `weight` are the
    requests behind it; null is unknown, not few. There are millions of them in a month, and none can be part of a cycle.
    """

    at: Moment
    signal: str
    workload: WorkloadName
    pod: str | None = None
    peer: WorkloadName | None = None
    direction: Literal["inbound", "outbound"] | None = None
    value: float | None = None
    weight: Requests | None = None


class AlertSeen(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="alert", rename={"starts_at": "startsAt"}
):
    """An alert as Alertmanager sent it."""

    at: Moment
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    starts_at: Moment


class EdgeSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="edge"):
    """`caller` calls `callee`."""

    at: Moment
    caller: WorkloadName
    callee: WorkloadName


class TruthSeen(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="truth"):
    """Whose rollout was to blame; null where none was. For scoring alone."""

    at: Moment
    culprit: WorkloadName | None = None


Record = RolloutSeen | PodSeen | SampleSeen | AlertSeen | EdgeSeen | TruthSeen
Evidence = RolloutSeen | PodSeen | SampleSeen | AlertSeen | EdgeSeen
"""All that a decision may rest on."""

_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


class RecordingError(Exception):
    """A recording cannot be read; the message names file, line and field, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A whole recording in time order. `sorted_lines` were out of order and have been put into it."""

    name: str
    # Not shown: asyncio writes down the result of every task that it ends, and a month as text is half a gigabyte.
    evidence: Sequence[Evidence] = field(repr=False)
    truths: Sequence[TruthSeen] = field(repr=False)
    sorted_lines: int = 0


def load(path: Path) -> Recording:
    """The recording in a file. Raises RecordingError."""
    try:
        with path.open("rb") as file:
            records = list(parse(file, str(path)))
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}; name a file that holds a recording") from error
    return recording(path.name, records)


def recording(name: str, records: Sequence[Record]) -> Recording:
    """A recording of these records, sorted by time where they are not (records of one moment keep their order)."""
    later = sum(1 for before, after in pairwise(records) if after.at < before.at)
    ordered = sorted(records, key=lambda record: record.at) if later else records
    return Recording(
        name=name,
        evidence=[record for record in ordered if not isinstance(record, TruthSeen)],
        truths=[record for record in ordered if isinstance(record, TruthSeen)],
        sorted_lines=later,
    )


def parse(lines: Iterator[bytes] | Sequence[bytes], name: str) -> Iterator[Record]:
    """The records of these lines; empty lines are passed over. Raises RecordingError for the first bad one."""
    for number, line in enumerate(lines, start=1):
        if len(line) > LINE_BYTES_MAX:
            raise RecordingError(f"{name}:{number}: longer than {LINE_BYTES_MAX} bytes; one record is one line")
        if line.isspace() or not line:
            continue
        try:
            yield _checked(_DECODER.decode(line))
        except (ValueError, RecursionError) as error:
            said = str(error)[:SHOWN_MAX]
            raise RecordingError(f"{name}:{number}: {said}; deploy/docs/recordings.md has the format") from error


def _checked(record: Record) -> Record:
    if not EARLIEST <= record.at <= LATEST:
        raise ValueError(f"before {EARLIEST.year} or after {LATEST.year} - at `$.at`")
    if isinstance(record, AlertSeen) and not EARLIEST <= record.starts_at <= LATEST:
        raise ValueError(f"before {EARLIEST.year} or after {LATEST.year} - at `$.startsAt`")
    return record


def written(record: Record) -> bytes:
    """The record as one line, times in UTC."""
    line: bytes = _ENCODER.encode(_in_utc(record))
    return line + b"\n"


def _in_utc(record: Record) -> Record:
    if isinstance(record, AlertSeen):
        return msgspec.structs.replace(record, at=record.at.astimezone(UTC), starts_at=record.starts_at.astimezone(UTC))
    return msgspec.structs.replace(record, at=record.at.astimezone(UTC))
