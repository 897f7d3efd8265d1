"""Runs every method over the generated cases, seed by seed, on several processes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from daemon.core.incidents import VerdictKind
from daemon.core.reasons import Reason
from handlers.backtest.recording import AlertSeen, Recording, recording, written
from handlers.backtest.replay import replay
from handlers.backtest.score import Culprit, Replayed, replayed
from handlers.backtest.verdicts import Told
from tests.bench.baselines import METHODS
from tests.bench.recordings import Case, Half, cases
from tests.bench.recordings.ranges import World

LASTGOOD = "Lastgood"
SEMANTIC = "wrong_answers."
"""The recipes whose faults show on others alone."""

NAMES = (*METHODS, LASTGOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A case as far as the tables need it, and what each method said of it.

    `overlap` counts the samples after the fault began at which both revisions' pods reported.
    """

    name: str
    seed: int
    recipe: str
    kind: str
    confounders: tuple[str, ...]
    culprit: str | None
    fault_at: datetime | None
    overlap: int
    methods: dict[str, Replayed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All cases of one seed; `names` are the methods, `folder` is where the recordings go, if anywhere."""

    half: Half
    seed: int
    names: tuple[str, ...]
    folder: Path | None = None
    world: World = "rough"


def play(job: Job) -> list[Played]:
    """The cases of one seed, each through every method."""
    return [_played(case, job) for case in cases(job.half, range(job.seed, job.seed + 1), job.world)]


def run(jobs: Sequence[Job], processes: int) -> list[Played]:
    """Every job, with a count of them on stderr. The order of the cases is that of the jobs, however many processes."""
    found: list[Played] = []
    for number, played in enumerate(_each(jobs, processes), start=1):
        found += played
        sys.stderr.write(f"\r{number} of {len(jobs)} seeds, {len(found)} recordings")
        sys.stderr.flush()
    sys.stderr.write("\n")
    return found


def _each(jobs: Sequence[Job], processes: int) -> Iterator[list[Played]]:
    if processes == 1:
        yield from map(play, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(play, jobs)


def _played(case: Case, job: Job) -> Played:
    made = recording(case.name, list(case.records))
    if job.folder is not None:
        (job.folder / f"{case.name}.jsonl").write_bytes(b"".join(written(record) for record in case.records))
    return Played(
        name=case.name,
        seed=case.seed,
        recipe=case.recipe,
        kind=case.kind,
        confounders=tuple(case.confounders),
        culprit=case.culprit or case.hidden,
        fault_at=case.fault_at,
        overlap=case.overlap,
        methods={name: _scored(case, made, _said(name, made)) for name in job.names},
    )


def _scored(case: Case, made: Recording, told: list[Told]) -> Replayed:
    """With the truth. A hidden culprit is named by the case alone; of a fault that could show and does not nothing is known."""
    unseen = case.recipe.startswith(SEMANTIC) and _is_complained_of(case)
    shows = True if case.shows_itself else False if unseen else None
    scored = replayed(made, told, fault_at=case.seen_at or case.fault_at, shows_itself=shows)
    if case.hidden is None:
        return scored
    return replace(scored, culprits=(Culprit(workload=case.hidden, rollout_at=None, seen_from=case.fault_at),))


def _is_complained_of(case: Case) -> bool:
    """An alert fires after the fault began: where none does, and its own signals are well, nobody can know of it."""
    return any(
        isinstance(record, AlertSeen) and record.status == "firing" and record.at >= (case.fault_at or record.at)
        for record in case.records
    )


def _said(name: str, made: Recording) -> list[Told]:
    if name == LASTGOOD:
        return list(replay(made))
    return [
        Told(
            at=call.at,
            recording=made.name,
            verdict=VerdictKind.ROLL_BACK,
            reason=Reason.BLAMED_TIMING,
            workload=call.workload,
        )
        for call in METHODS[name](made)
    ]
