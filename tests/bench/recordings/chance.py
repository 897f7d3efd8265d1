"""Draws that `random.Random` does not have: counts and noise as monitoring shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import TypeVar

MANY = 40.0
"""From this mean on a normal distribution is near enough to a Poisson or binomial one, and far quicker."""

Item = TypeVar("Item")


def poisson(rng: Random, mean: float) -> int:
    """How often something happens that happens `mean` times on average."""
    if mean <= 0:
        return 0
    if mean > MANY:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def binomial(rng: Random, tries: int, chance: float) -> int:
    """How many of `tries` succeed."""
    if tries <= 0 or chance <= 0:
        return 0
    if chance >= 1:
        return tries
    if tries <= MANY:
        return sum(1 for _ in range(tries) if rng.random() < chance)
    if chance > 0.5:
        return tries - binomial(rng, tries, 1 - chance)
    mean = tries * chance
    if mean < MANY / 2:
        return min(tries, poisson(rng, mean))
    return min(tries, max(0, round(rng.gauss(mean, math.sqrt(mean * (1 - chance))))))


def around(rng: Random, deviation: float) -> float:
    """A factor about 1: log-normal with this deviation."""
    return math.exp(rng.gauss(0.0, deviation))


def between(rng: Random, bounds: tuple[float, float]) -> float:
    """Uniform between the two."""
    return rng.uniform(*bounds)


def whole(rng: Random, bounds: tuple[int, int]) -> int:
    """A whole number between the two, both included."""
    return rng.randint(*bounds)


def log_between(rng: Random, bounds: tuple[float, float]) -> float:
    """Between the two, each magnitude as likely as the other: for what spans several."""
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))


def weighed(rng: Random, table: Sequence[tuple[Item, float]]) -> Item:
    """One of the items, by their weights."""
    return rng.choices([item for item, _ in table], [weight for _, weight in table])[0]


class Drift:
    """A slow random walk about 1 that always comes back: what a quiet service's numbers do over the minutes."""

    __slots__ = ("_deviation", "_kept", "_log", "_rng")

    def __init__(self, rng: Random, deviation: float, kept: float = 0.85) -> None:
        """`deviation` in the long run; `kept` is the share of a step's departure that is left at the next one."""
        self._rng, self._deviation, self._kept = rng, deviation * math.sqrt(1 - kept * kept), kept
        self._log = rng.gauss(0.0, deviation)

    def step(self) -> float:
        """The factor of the next step."""
        self._log = self._log * self._kept + self._rng.gauss(0.0, self._deviation)
        return math.exp(self._log)
