"""Cases: recordings with what is known about them. One seed gives one case, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from handlers.backtest.recording import AlertSeen, PodSeen, Record, RolloutSeen, SampleSeen, TruthSeen
from tests.bench.recordings import showing
from tests.bench.recordings.faults import Recipe
from tests.bench.recordings.ranges import RANGES, Half, Ranges, World, ranges_of
from tests.bench.recordings.recipes import RECIPES
from tests.bench.recordings.script import Kind, Script, script
from tests.bench.recordings.staging import Played, play
from tests.bench.recordings.watching import Timed

KINDS: tuple[Kind, ...] = ("bad", "healthy", "bad", "outage", "bad", "hidden", "bad", "healthy")
"""The kinds by seed, in turn: any run of eight seeds has four bad ones, two placebos, an outage and a hidden culprit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A recording and what is known about it. Nothing but `records` may be shown to who is to judge.

    `culprit` is None but for kind `bad`: a hidden culprit must not be named, so its `truth` record names nobody either, and
    `hidden` has the name. `seen_at` is when its own signals first show the fault.
    `overlap` counts the intervals after `fault_at` in which both revisions' pods reported.
    """

    name: str
    half: Half
    seed: int
    recipe: str
    kind: Kind
    confounders: tuple[str, ...]
    records: list[Record]
    culprit: str | None
    hidden: str | None
    bad_revision: str | None
    fault_at: datetime | None
    shows_itself: bool
    seen_at: datetime | None
    overlap: int
    healthy_rollouts: int
    interval: timedelta


def cases(half: Half, seeds: range, world: World = "rough") -> Iterator[Case]:
    """The cases of these seeds, made one at a time."""
    return (case(half, seed, world) for seed in seeds)


def case(half: Half, seed: int, world: World = "rough") -> Case:
    """The case of this seed; half of all are bad rollouts, each recipe as often as any other."""
    kind = KINDS[seed % len(KINDS)]
    place, recipes = seed // len(KINDS), RECIPES[half]
    if kind == "bad":
        place = place * KINDS.count("bad") + KINDS[: seed % len(KINDS)].count("bad")
    return made(half, seed, kind, recipes[place % len(recipes)], ranges_of(half, world))


def made(half: Half, seed: int, kind: Kind, recipe: Recipe, ranges: Ranges | None = None) -> Case:
    """A case of this kind and recipe, from other ranges than the half's where they are given."""
    rng = Random(f"{half} {seed}")
    drawn = script(rng, ranges or RANGES[half], kind, recipe)
    played = play(rng, drawn)
    found = showing.shown(drawn, played)
    bad = drawn.bad
    records = played.records if kind != "hidden" else _hidden(played)
    culprit = bad.service.workload if bad is not None and kind == "bad" else None
    truth_at = bad.starts if bad is not None else min(plan.starts for plan in drawn.plans)
    records.append((truth_at, TruthSeen(at=played.begins + timedelta(seconds=round(truth_at, 3)), culprit=culprit)))
    recipe_name = drawn.fault.recipe if drawn.fault is not None else "none"
    return Case(
        name=f"{half}-{seed:05d}-{kind}-{recipe_name}", half=half, seed=seed, recipe=recipe_name, kind=kind,
        confounders=drawn.confounders, records=_ordered(records), culprit=culprit,
        hidden=bad.service.workload if bad is not None and kind == "hidden" else None,
        bad_revision=bad.revision if bad is not None else None,
        fault_at=None if played.fault_at is None else played.begins + timedelta(seconds=round(played.fault_at, 3)),
        shows_itself=found.itself and kind == "bad", overlap=found.overlap,
        seen_at=None if found.seen_at is None else played.begins + timedelta(seconds=round(found.seen_at, 3)),
        healthy_rollouts=_healthy(drawn, played), interval=timedelta(seconds=drawn.style.interval),
    )  # fmt: skip


def _ordered(records: Timed) -> list[Record]:
    return [record for _, record in sorted(records, key=lambda each: each[1].at)]


def _healthy(drawn: Script, played: Played) -> int:
    return sum(1 for plan in drawn.plans if not plan.bad and plan.starts <= drawn.until)


def _hidden(played: Played) -> Timed:
    """Without the culprit's rollouts, its new pods, and what its pods report; its victims and its totals stay."""
    rolled = next(each for each in played.rolled if each.plan.bad)
    workload, new = rolled.plan.service.workload, {pod.name for pod in rolled.pods}

    def stays(record: Record) -> bool:
        if isinstance(record, RolloutSeen):
            return record.workload != workload
        if isinstance(record, PodSeen):
            return record.pod not in new
        if isinstance(record, SampleSeen):
            return record.workload != workload or record.pod is None
        return not (isinstance(record, AlertSeen) and record.labels.get("pod") in new)

    return [each for each in played.records if stays(each[1])]
