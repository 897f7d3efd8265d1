"""What is drawn from where. The two halves differ: what was tuned on one must hold on the other.

Lengths of time are seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Half = Literal["tune", "report"]
World = Literal["rough", "tidy"]
"""Rough: several confounders at once, plain rolling updates, any interval. Tidy: as on the demo that blame.md measured."""
View = Literal["pods", "pods and edges", "edges", "pods and workload", "workload"]
"""Of what the recording holds numbers: pods, pods and their edges, edges of pods alone, pods and totals, totals alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Bounds (both included) and weighted choices of one half."""

    services: tuple[int, int]
    pods: tuple[int, int]
    calls_each: tuple[float, float]
    """Calls to a callee per request."""
    entry_rate: tuple[float, float]
    """Requests per second that come from outside."""
    low_rate: tuple[float, float]
    """The same in a recording of low traffic."""
    minutes: tuple[int, int]
    quiet_minutes: tuple[int, int]
    """Before the first rollout."""
    intervals: tuple[tuple[int, float], ...]
    views: tuple[tuple[View, float], ...]
    rollouts: tuple[int, int]
    """Healthy ones, beside the bad one."""
    stages: tuple[int, int]
    first_share: tuple[float, float]
    hold_minutes: tuple[float, float]
    rolling_minutes: tuple[float, float]
    staged: float
    """Chance that a rollout is staged; else it is a plain rolling one."""
    alert_for: tuple[float, float]
    latency_noise: tuple[float, float]
    """Deviation (log) of the single request's latency: how far a quantile of few requests jumps."""
    pod_bias: tuple[float, float]
    """Deviation (log) between the pods of one revision."""
    confounders: tuple[tuple[int, float], ...]
    """How many of them at once."""
    untidy: float = 1.0
    """Factor of the odds that a recording lacks a signal or an end of its edges, that samples get lost, that pods warm up."""


RANGES: dict[Half, Ranges] = {
    "tune": Ranges(
        services=(6, 12),
        pods=(2, 6),
        calls_each=(0.4, 1.6),
        entry_rate=(12.0, 250.0),
        low_rate=(0.3, 4.0),
        minutes=(60, 80),
        quiet_minutes=(15, 30),
        intervals=((60, 0.72), (30, 0.12), (15, 0.06), (120, 0.10)),
        views=(("pods", 0.4), ("pods and edges", 0.2), ("edges", 0.2), ("pods and workload", 0.12), ("workload", 0.08)),
        rollouts=(0, 4),
        stages=(1, 4),
        first_share=(0.1, 0.5),
        hold_minutes=(4.0, 12.0),
        rolling_minutes=(1.0, 5.0),
        staged=0.9,
        alert_for=(60.0, 300.0),
        latency_noise=(0.4, 0.8),
        pod_bias=(0.02, 0.10),
        confounders=((0, 0.4), (1, 0.35), (2, 0.18), (3, 0.07)),
    ),
    "report": Ranges(
        services=(7, 14),
        pods=(2, 8),
        calls_each=(0.3, 2.0),
        entry_rate=(8.0, 180.0),
        low_rate=(0.15, 3.0),
        minutes=(65, 90),
        quiet_minutes=(12, 35),
        intervals=((60, 0.74), (20, 0.10), (10, 0.05), (90, 0.06), (300, 0.05)),
        views=(
            ("pods", 0.35),
            ("pods and edges", 0.2),
            ("edges", 0.27),
            ("pods and workload", 0.1),
            ("workload", 0.08),
        ),
        rollouts=(0, 4),
        stages=(1, 4),
        first_share=(0.05, 0.6),
        hold_minutes=(3.0, 15.0),
        rolling_minutes=(1.0, 4.0),
        staged=0.9,
        alert_for=(60.0, 300.0),
        latency_noise=(0.5, 1.0),
        pod_bias=(0.02, 0.14),
        confounders=((0, 0.35), (1, 0.35), (2, 0.2), (3, 0.1)),
    ),
}


def ranges_of(half: Half, world: World) -> Ranges:
    """Those of the half, in that world.

    The tidy one is made like the recordings of blame.md, so that its figures can be held against the published ones: staged
    rollouts, several at once, one-minute samples, traffic that suffices; one in four has a confounder.
    """
    found = RANGES[half]
    if world == "rough":
        return found
    return replace(
        found,
        untidy=0.2,
        intervals=((60, 1.0),),
        confounders=((0, 0.75), (1, 0.25)),
        entry_rate=(30.0, 250.0),
        latency_noise=(0.3, 0.6),
        pod_bias=(0.02, 0.06),
        hold_minutes=(5.0, 12.0),
        first_share=(0.1, 0.4),
        stages=(2, 4),
        staged=1.0,
        views=(("pods", 0.5), ("pods and edges", 0.5)),
    )
