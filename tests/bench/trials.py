"""What is seen of each trial, and the tables that are made of many: seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.bench.trial_world import TrialWorld

HEAD = (
    "| trials of | bad pod ready → webhook | webhook → patch accepted | → last bad pod gone | in all | until recovered |",
    "|---|---|---|---|---|---|",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Seconds since the first bad pod served; where none ever did, since the first one was there. `bad_pods` in all."""

    webhook: float | None
    patch: float
    gone: float
    recovered: float | None
    bad_pods: int


def seen(world: TrialWorld, namespace: str, patches: Mapping[str, float]) -> Trial:
    """What was seen of it."""
    pods = world.seen(namespace)
    began = pods.bad_ready if pods.bad_ready is not None else pods.bad_there
    assert began is not None, f"{namespace}: no bad pod was seen"
    assert pods.bad_gone is not None, f"{namespace}: bad pods are left"
    webhook, end = world.tap.firing.get(namespace), world.ended.get(namespace)
    at = None if end is None else end["recovered_at"]  # of the floor's trials it is only a witness
    recovered = None if at is None else datetime.fromisoformat(str(at)).timestamp()
    return Trial(
        webhook=None if webhook is None else webhook - began,
        patch=patches[namespace] - began,
        gone=pods.bad_gone - began,
        recovered=None if recovered is None else recovered - began,
        bad_pods=pods.bad_in_all,
    )


def row(name: str, trials: Sequence[Trial]) -> str:
    """One line of the table."""
    stages: list[list[float | None]] = [
        [one.webhook for one in trials],
        [None if one.webhook is None else one.patch - one.webhook for one in trials],
        [one.gone - one.patch for one in trials],
        [one.gone for one in trials],
        [one.recovered for one in trials],
    ]
    return f"| {name} | {' | '.join(map(figures, stages))} |"


def figures(values: Sequence[float | None]) -> str:
    """p50 / p99 / max; of a few values the p99 is the largest."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "–"
    return " / ".join(f"{value:.3g}" for value in (middle(known), known[int(len(known) * 0.99)], known[-1]))


def middle(values: Sequence[float]) -> float:
    """The median; of an even number of values the upper one of the two in the middle."""
    return sorted(values)[len(values) // 2]
