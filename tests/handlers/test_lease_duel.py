"""Three electors and one Lease under everything that can happen: never two lead at the same time, and one does in the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest

from tests.handlers.lease_world import Contender, Shelf, Weather, fair, loses

SEEDS = 40
MINUTES = 4
TICK_SECONDS = 0.5
DRIFT = 0.1
"""How much faster or slower a machine's clock may run: far more than any real one does."""


class Duel:
    """Contenders of one seed, the invariant, and what it has seen."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.shelf = Shelf()
        self.alive: list[Contender] = []
        self.tokens: list[int] = []
        self.seen: Counter[str] = Counter()
        self._lives = 0

    def enter(self) -> None:
        self._lives += 1
        one = Contender(self.shelf, f"life-{self._lives}", weather=self._weather(), seed=self.chance.getrandbits(32))
        rate = 1 + DRIFT * (2 * self.chance.random() - 1)
        one.watch.monotonic = lambda: rate * asyncio.get_running_loop().time()  # type: ignore[method-assign]
        one.elector._monotonic = one.watch.monotonic
        one.elector._token_floor = self._highest
        one.begin()
        self.alive.append(one)

    async def _highest(self) -> int:
        await asyncio.sleep(self.chance.random())
        return max(self.tokens, default=0)

    def _weather(self) -> Weather:
        lossy = loses(self.chance, delay=3.0, dropped=0.1)

        async def weather(moment: str) -> None:
            self.holds()
            await lossy(moment)
            if self.chance.random() < 0.01:
                self.seen["hang"] += 1
                await asyncio.sleep(self.chance.uniform(5, 40))
            self.holds()

        return weather

    def holds(self) -> None:
        """The invariant: at most one leads; each new leader's token is the highest so far."""
        leading = [each for each in self.alive if each.elector.leads]
        assert len(leading) <= 1, [each.elector._identity for each in leading]
        for each in leading:
            if each.elector.token not in self.tokens:
                assert each.elector.token > max(self.tokens, default=0)
                self.tokens.append(each.elector.token)
                self.seen["elected"] += 1

    async def fate(self) -> None:
        """Something happens to one of them, or to the Lease."""
        one, what = self.chance.choice(self.alive), self.chance.random()
        if what < 0.3:
            await self._gone(one, killed=True)
        elif what < 0.6:
            await self._gone(one, killed=False)
        elif what < 0.75:
            self.shelf.lease = None
            self.seen["deleted"] += 1
        elif what < 0.9 and self.shelf.lease is not None:
            self.shelf.label(str(self.chance.random()))
            self.seen["labelled"] += 1
        else:
            one.watch.wall = timedelta(seconds=self.chance.uniform(-1e6, 1e6))
            self.seen["jumped"] += 1

    async def _gone(self, one: Contender, *, killed: bool) -> None:
        self.seen["killed" if killed else "ended"] += 1
        await (one.kill() if killed else one.end())
        self.alive.remove(one)
        self.enter()

    async def replace_the_lost(self) -> None:
        for one in [each for each in self.alive if each.lost is not None]:
            self.seen["lost"] += 1
            if self.chance.random() < 0.5:
                await one.elector.release()
            self.alive.remove(one)
            self.enter()

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        ends, next_fate = loop.time() + 60 * MINUTES, 0.0
        while loop.time() < ends:
            self.holds()
            await self.replace_the_lost()
            if loop.time() >= next_fate:
                next_fate = loop.time() + self.chance.uniform(0, 40)
                await self.fate()
            await asyncio.sleep(TICK_SECONDS)

    async def calms_down(self) -> None:
        """Faults are over: one leads, within the longest that a Lease can be held by a dead one, and stays."""
        for each in self.alive:
            each.api.weather = fair
        for _ in range(120):
            self.holds()
            await self.replace_the_lost()
            await asyncio.sleep(TICK_SECONDS)
            for each in self.alive:
                each.api.weather = fair
        assert sum(each.elector.leads for each in self.alive) == 1


@pytest.mark.parametrize("first", range(0, SEEDS, 5))
async def test_never_two(first: int) -> None:
    """Late, lost and hung answers, kills, endings, deletions, labels, clocks that jump and drift: never two leaders."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + 5):
        duel = Duel(seed)
        for _ in range(3):
            duel.enter()
        try:
            await duel.play()
            await duel.calms_down()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            for each in duel.alive:
                await each.kill()
        seen += duel.seen
    assert all(
        seen[what] >= 3 for what in ("elected", "killed", "ended", "deleted", "labelled", "lost", "hang", "jumped")
    ), seen
