"""How often the candidates of an incident ask others, per request that they serve: by the metrics of meshes and traces.

One query per metric of requests that tells of a candidate, over the time of the rollouts. It only helps to tell candidates
apart: what cannot be read tells nothing and holds up nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from daemon.core.fan_out import growth
from daemon.core.measurement import BEFORE_SAMPLES, LOOK_BACK_MAX, FanOut
from daemon.core.model import Workload
from handlers.call_metrics import METRICS, SERVED, SIDE, CallMetric
from handlers.call_names import Meant
from handlers.faults import Fault
from handlers.live_calls import Meanings
from handlers.prometheus import Matrix, escape_label, exactly
from handlers.sampling import Sampler

NOW_SAMPLES = 5
"""Of now: as much as persistence looks at."""

READ_SECONDS = 8.0
"""For all metrics together: a decision that is due does not wait for what only helps it."""

NAMES_MAX = 100
"""Names of candidates in one query: each has a handful, and its length is limited."""

CALLEES_MAX = 20
"""Whom one workload asks most, at most: a gateway asks all."""

TOLD_MAX = 3
"""Of these the ones that it asks so much more than before: they are journalled with each measurement, some 200 bytes each."""

Candidates = Sequence[tuple[Workload, datetime]]
"""Workloads with the start of their rollouts."""

Rates = dict[datetime, float]

_log = structlog.get_logger(__name__)


class FanOuts:
    """`meanings` tells which workload is meant by the ends of calls."""

    def __init__(self, sampler: Sampler, meanings: Callable[[], Meanings] = dict) -> None:
        self._sampler = sampler
        self._meanings = meanings

    async def read(self, candidates: Candidates, now: datetime) -> tuple[FanOut, ...]:
        """Of each candidate, by the first metric that tells of it."""
        if not candidates:
            return ()
        known: dict[Workload, list[FanOut]] = {}
        try:
            async with asyncio.timeout(READ_SECONDS):
                for metric, meant in self._telling():
                    missing = [each for each in candidates if each[0] not in known]
                    for found in await self._by(metric, meant, missing, now):
                        known.setdefault(found.workload, []).append(found)
        except TimeoutError:
            _log.warning("fan_out_unreadable", reason=f"no answer within {READ_SECONDS:.0f} s")
        except Fault as fault:
            _log.warning("fan_out_unreadable", reason=fault.reason)
        return tuple(each for several in known.values() for each in several)

    def _telling(self) -> Iterator[tuple[CallMetric, Meant]]:
        meanings = self._meanings()
        for metric in METRICS:
            if metric.serves is not None and (meant := meanings.get(metric.source)):
                yield metric, meant

    async def _by(self, metric: CallMetric, meant: Meant, candidates: Candidates, now: datetime) -> list[FanOut]:
        query = question(metric, meant, [workload for workload, _ in candidates], self._sampler.policy.signal_window)
        if query is None:
            return []
        step = self._sampler.step_for(LOOK_BACK_MAX)
        end = self._sampler.settled(now)
        start = max(min(began for _, began in candidates) - BEFORE_SAMPLES * step, end - LOOK_BACK_MAX)
        told = Told(metric, meant, await self._sampler.matrix(query, start, end, step))
        return [each for workload, began in candidates for each in told.fan_outs(workload, began, end, step)]


def question(metric: CallMetric, meant: Meant, workloads: Iterable[Workload], window: timedelta) -> str | None:
    """PromQL for what these ask and serve, which Told reads; None where the metric tells of none of them."""
    wanted = set(workloads)
    names = sorted({end.name for end, ours in meant.items() if wanted.intersection(ours)})[:NAMES_MAX]
    return metric.around(escape_label(exactly(names)), window) if names else None


class Told:
    """What one metric tells: requests/s that each workload serves, and that it asks of each other without failing."""

    def __init__(self, metric: CallMetric, meant: Meant, matrix: Matrix) -> None:
        self._served: defaultdict[Workload, Rates] = defaultdict(dict)
        self._asked: defaultdict[Workload, defaultdict[Workload, Rates]] = defaultdict(lambda: defaultdict(dict))
        for labels, points in matrix:
            caller, callee = metric.caller.end(labels), metric.callee.end(labels)
            for called in meant.get(callee, ()) if callee is not None else ():
                if labels.get(SIDE) == SERVED:
                    add(self._served[called], points)
                    continue
                for calling in meant.get(caller, ()) if caller is not None else ():
                    if calling != called:
                        add(self._asked[calling][called], points)

    def asked(self, workload: Workload) -> Mapping[Workload, Mapping[datetime, float]]:
        """The requests/s that it makes of each other one, by moment."""
        return self._asked.get(workload, {})

    def fan_outs(self, workload: Workload, began: datetime, end: datetime, step: timedelta) -> list[FanOut]:
        """Before its rollout that `began` and in the latest samples; the most growth first."""
        found = self._of_busiest(workload, began, end, step)
        return sorted(found, key=growth, reverse=True)[:TOLD_MAX]

    def _of_busiest(self, workload: Workload, began: datetime, end: datetime, step: timedelta) -> Iterator[FanOut]:
        served = self._served.get(workload, {})
        asked = self.asked(workload)
        most = sorted(asked, key=lambda callee: (-sum(asked[callee].values()), callee.key))
        for callee in most[:CALLEES_MAX]:
            each = {at: _short(rate / served[at]) for at, rate in asked[callee].items() if served.get(at)}
            before = tuple(each[at] for at in sorted(each) if began - BEFORE_SAMPLES * step <= at < began)
            late = tuple(each[at] for at in sorted(each) if max(began, end - NOW_SAMPLES * step) < at <= end)
            if before and late:
                yield FanOut(workload=workload, callee=callee, before=before, now=late)


def _short(number: float) -> float:
    """Four digits: more say nothing, and each is kept."""
    return float(f"{number:.4g}")


def add(rates: Rates, points: Iterable[tuple[datetime, float]]) -> None:
    """Requests/s of several series of the same calls are one number per moment."""
    for at, rate in points:
        rates[at] = rates.get(at, 0.0) + rate
