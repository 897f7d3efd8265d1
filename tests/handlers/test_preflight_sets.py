"""Preflight of a StatefulSet: of whom signals are asked now, and of whom the traffic of a day."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from daemon.core.model import Workload
from handlers.preflight.signals import signals
from handlers.preflight.subject import Subject
from handlers.preflight.traffic import night
from handlers.prometheus import Vector
from tests.core.builders import HOUR, SECOND, V1
from tests.handlers.measuring_world import pod
from tests.handlers.preflight_world import World, well

DB = Workload(namespace="shop", kind="StatefulSet", name="db")


class Sets:
    """A set in the place of the shop; `asked` are the pods of every question about now."""

    def __init__(self, **ages: float) -> None:
        self.world = World()
        self.asked: set[str] = set()
        now = self.world.now()
        made = [pod(name.replace("_", "-"), V1, created_at=now - age * SECOND) for name, age in ages.items()]
        self.world.cluster.pods = {(DB, V1.id): made}
        self.world.prometheus.instant = self._instant

    def _instant(self, query: str, at: datetime) -> Vector:
        self.asked.update(re.findall(r'pod=~"([^"]*)"', query))
        return well(query, at)

    @property
    def subject(self) -> Subject:
        subject = self.world.subject()
        return replace(subject, tracked=replace(subject.tracked, view=replace(subject.tracked.view, workload=DB)))


async def test_a_pod_just_exchanged_is_not_asked() -> None:
    """Its name still has the samples of the pod before it, which ran another revision."""
    there = Sets(db_0=HOUR.total_seconds(), db_1=91, db_2=90)
    lines = await signals(there.world.sources(), there.subject)
    assert {line.level for line in lines} == {"ok"}
    assert there.asked == {"db-0|db-1"}, "30 s back, the window of a minute before that, and a second of rounding"


async def test_a_set_just_exchanged_has_no_signals_yet() -> None:
    """That is told, and nothing is asked."""
    there = Sets(db_0=60)
    (line,) = await signals(there.world.sources(), there.subject)
    assert (line.level, line.says.partition(":")[0]) == ("warning", "its pods were exchanged just now")
    assert there.asked == set()


async def test_the_day_of_a_set() -> None:
    """All pods that it ever had are numbered: the traffic of a day is that of its numbers."""
    there = Sets(db_0=60)
    (line,) = await night(there.world.sources(), there.subject)
    assert line.level == "ok"
    assert {name for query, *_ in there.world.prometheus.queries for name in re.findall(r'pod=~"([^"]*)"', query)} == {
        "db-[0-9]+"
    }
