"""What reaches those that a workload calls, by the metrics of meshes: of its new pods, of which nothing is heard themselves.

Pods that are not heard tell nothing of their calls either, so only those who are called are believed, and only a metric of which
these tell one side (CallMetric.heard) says anything. Of `istio_requests_total` that is the callee's own sidecar
(`reporter="destination"`): through it comes whatever reaches the callee. Not so a waypoint, which callers outside of the mesh
pass by. Of Linkerd's `response_total` only the caller's proxy names both ends; the service graph of traces counts a call only
where the caller sent its span. Neither is read here: their silence would pass for work that is not done.

A caller without a sidecar is counted there without a name. So a callee that hears such callers now says nothing, and where one
hears them that did not before the rollout nobody does: they may be the new pods.

Two queries, whatever the number of callees. What cannot be read tells nothing and holds up nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import structlog

from daemon.core.measurement import BEFORE_SAMPLES, Peer, Sample
from daemon.core.model import Workload
from daemon.core.policy import SignalKind
from daemon.core.signals import typical
from daemon.core.silence import CALLERS_MAX, SILENT_SAMPLES
from handlers.call_metrics import METRICS, CallMetric
from handlers.call_names import Meant
from handlers.fan_outs import NAMES_MAX, READ_SECONDS, Rates, add
from handlers.faults import Fault
from handlers.live_calls import Meanings
from handlers.prometheus import Matrix, escape_label, exactly
from handlers.sampling import Sampler

_log = structlog.get_logger(__name__)


class Callees:
    """`meanings` tells which workload is meant by the ends of calls."""

    def __init__(self, sampler: Sampler, meanings: Callable[[], Meanings] = dict) -> None:
        self._sampler = sampler
        self._meanings = meanings

    async def read(
        self, caller: Workload, callees: Sequence[Workload], began: datetime, now: datetime
    ) -> tuple[Peer, ...]:
        """Requests/s from the caller that reach each, failed or not, before its rollout that `began` and in the latest samples.

        The first of `callees` that the first telling metric knows, CALLERS_MAX at most; only those of which both are known.
        The number stands under the name of the policy's traffic signal.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                for metric, meant in self._telling():
                    if found := await self._by(metric, meant, caller, callees, began, now):
                        return found
        except TimeoutError:
            _log.warning("callees_unreadable", reason=f"no answer within {READ_SECONDS:.0f} s")
        except Fault as fault:
            _log.warning("callees_unreadable", reason=fault.reason)
        return ()

    def _telling(self) -> Iterator[tuple[CallMetric, Meant]]:
        meanings = self._meanings()
        for metric in METRICS:
            if metric.heard is not None and (meant := meanings.get(metric.source)):
                yield metric, meant

    async def _by(
        self,
        metric: CallMetric,
        meant: Meant,
        caller: Workload,
        callees: Sequence[Workload],
        began: datetime,
        now: datetime,
    ) -> tuple[Peer, ...]:
        traffic = self._sampler.policy.names_of(SignalKind.TRAFFIC)
        known = {each for ours in meant.values() for each in ours}
        wanted = [each for each in callees if each in known][:CALLERS_MAX]
        if not traffic or not wanted or (caller,) not in meant.values():
            return ()
        names = sorted({end.name for end, ours in meant.items() if not set(ours).isdisjoint(wanted)})[:NAMES_MAX]
        query = metric.reaching(escape_label(exactly(names)), self._sampler.policy.signal_window)
        step = self._sampler.step_for(timedelta(0))
        spans = self._spans(began, now, step)
        then, late = await asyncio.gather(*(self._sampler.matrix(query, *span, step) for span in spans))
        before, latest = _Heard(metric, meant, caller, then), _Heard(metric, meant, caller, late)
        if latest.unnamed - before.unnamed:
            return ()
        peers = (
            Peer(workload=each, before=before.of(each, traffic[0]), now=latest.of(each, traffic[0]))
            for each in wanted
            if each not in latest.unnamed
        )
        return tuple(peer for peer in peers if peer.before is not None and peer.now is not None)

    def _spans(
        self, began: datetime, now: datetime, step: timedelta
    ) -> tuple[tuple[datetime, datetime], tuple[datetime, datetime]]:
        """The same moments as of the old pods, with whose requests they are compared."""
        end = self._sampler.settled(now)
        return (began - BEFORE_SAMPLES * step, began - step), (end - (SILENT_SAMPLES - 1) * step, end)


class _Heard:
    """What reaches each workload from `caller` in one span; `unnamed` are those that somebody without a name asked as well."""

    def __init__(self, metric: CallMetric, meant: Meant, caller: Workload, matrix: Matrix) -> None:
        self._rates: defaultdict[Workload, Rates] = defaultdict(dict)
        self.unnamed: set[Workload] = set()
        for labels, points in matrix:
            source, callee = metric.caller.end(labels), metric.callee.end(labels)
            called = meant.get(callee, ()) if callee is not None else ()
            if source is None:
                self.unnamed.update(called if any(rate for _, rate in points) else ())
            # A name that means others, too: what they ask would pass for the caller's.
            elif meant.get(source) == (caller,):
                for each in called:
                    add(self._rates[each], points)

    def of(self, callee: Workload, signal: str) -> Sample | None:
        """The median under the signal's name; None where nothing was told."""
        told = sorted(self._rates.get(callee, {}).items())
        return typical([Sample(at=at, values=((signal, rate),)) for at, rate in told])
