"""A recording as a world that the core lives in: it says what happened, and answers what the core wants to know.

Answers come from the recording up to the present moment, never from after it. Nothing is changed: a rollback is not carried out,
and the incident ends there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from daemon.core import silence
from daemon.core import soak as soaks
from daemon.core.actions import (
    Action,
    Announced,
    Checked,
    CheckTarget,
    Locate,
    Located,
    Measure,
    Measured,
    MeasurePurpose,
    Outcome,
    OutcomeKind,
    Page,
    Paged,
    ProveSoak,
    Result,
    RollBack,
    Soaked,
)
from daemon.core.contrast import both_bad
from daemon.core.events import AlertSource, AlertsReported, Event, WorkloadSeen
from daemon.core.measurement import (
    BEFORE_SAMPLES,
    DAY,
    LOOK_BACK_MAX,
    AlertState,
    FanOut,
    Health,
    Measurement,
    Peer,
    Sample,
    SoakMeasurement,
    TargetCheck,
)
from daemon.core.model import Alert, AlertStatus, Location, OnsetSource, Rung, Workload
from daemon.core.onsets import LOOK_BACK, felt_since
from daemon.core.policy import Policy, SignalKind
from daemon.core.signals import judge_sample, typical
from handlers import ladder, revisions
from handlers.backtest.around import Around
from handlers.backtest.cluster import RecordedCluster
from handlers.backtest.intervals import Sampling
from handlers.backtest.past_alerts import ONSET
from handlers.backtest.recording import (
    EARLIEST,
    LATEST,
    AlertSeen,
    EdgeSeen,
    Evidence,
    PodSeen,
    RolloutSeen,
    SampleSeen,
)
from handlers.backtest.samples import SampleStore
from handlers.call_graph import CallGraph

ONSET_LOOK_BACK = timedelta(minutes=20)
"""How far before an alert its beginning is looked for: rules wait for a few minutes, seldom for more."""

HEARD_WITHIN, HEARD_SAMPLES = timedelta(minutes=3), 3
"""Without a sample for longer a pod that only samples tell of counts as gone: a scrape or two may be lost."""

UNNAMED_NODE = ("one that the recording does not name",)

SOAK_HISTORY = timedelta(hours=24)

USUAL_SAMPLES = 60
"""Of a revision that counts as verified: an hour of one a minute, so that one bad quarter of it is not what is usual."""

REFUSED = Outcome(kind=OutcomeKind.FAILED, message="a backtest changes nothing")


class World:
    """Fed with evidence in time order; asked at any moment in between."""

    def __init__(self, sampling: Sampling, policy: Policy) -> None:
        self._sampling = sampling
        self._policy = policy
        self.cluster = RecordedCluster()
        self.samples = SampleStore(sampling)
        self._alerts: dict[str, Alert] = {}
        self._given: set[tuple[str, str]] = set()
        self._graph = CallGraph(policy.calls)
        self._answers: dict[type[Any], Callable[[Any, datetime], Result]] = {
            Locate: self._locate,
            Measure: self._measure,
            CheckTarget: lambda action, now: Checked(check=TargetCheck(revision=action.target.id, exists=True)),
            ProveSoak: self._prove,
            Page: lambda action, now: Paged(key=action.key),
        }

    # -- what happens

    def feed(self, record: Evidence) -> list[Event]:
        """Take it in; what the core is told of it."""
        match record:
            case RolloutSeen():
                return self._rollout(record)
            case PodSeen():
                self.cluster.pod(record)
                return [WorkloadSeen(at=record.at, view=self.cluster.view(record.workload, record.at))]
            case AlertSeen():
                return [self._alert(record)]
            case EdgeSeen():
                self._graph.add(record.caller, record.callee)
                self.cluster.mentioned(record.caller, record.at)
                self.cluster.mentioned(record.callee, record.at)
            case SampleSeen():
                return self._sample(record)
        return []

    def _sample(self, record: SampleSeen) -> list[Event]:
        self.samples.add(record)
        if record.peer is not None:
            caller, callee = record.workload, record.peer
            self._graph.add(*((callee, caller) if record.direction == "inbound" else (caller, callee)))
        taken_in = record.pod is not None and self.cluster.heard(record.workload, record.pod, record.at)
        if not taken_in or not self.cluster.is_rolled_out(record.workload):
            return []
        return [WorkloadSeen(at=record.at, view=self.cluster.view(record.workload, record.at))]

    def look_again(self, now: datetime) -> list[Event]:
        """What time alone has changed: pods that are not ready for too long, and such as are heard no more."""
        silent = self.cluster.fallen_silent(now - max(HEARD_WITHIN, HEARD_SAMPLES * self._sampling.step))
        changed = dict.fromkeys((*self.cluster.exchanging(), *silent))
        return [WorkloadSeen(at=now, view=self.cluster.view(name, now)) for name in changed]

    def _rollout(self, record: RolloutSeen) -> list[Event]:
        """A revision that is replaced counts as verified: it is shown to have served alone, and was healthy all the while.

        So it is with the first record of a rollout, whatever its phase: a recording may begin in the middle of one.
        """
        began = self.cluster.rollout(record)
        told: list[Event] = []
        replaced = self.cluster.replaces(record.workload)
        if began and replaced is not None:
            self._given.add((record.workload, replaced))
            told.append(WorkloadSeen(at=record.at, view=self.cluster.old_view(record.workload, record.at)))
        told.append(WorkloadSeen(at=record.at, view=self.cluster.view(record.workload, record.at)))
        return told

    def _alert(self, record: AlertSeen) -> AlertsReported:
        labels = tuple(sorted(record.labels.items()))
        fingerprint = hashlib.sha256(repr(labels).encode()).hexdigest()[:16]
        alert = Alert(
            fingerprint=fingerprint,
            status=AlertStatus.FIRING if record.status == "firing" else AlertStatus.RESOLVED,
            labels=labels,
            annotations=tuple(sorted(record.annotations.items())),
            starts_at=record.starts_at,
        )
        self._alerts[fingerprint] = alert
        return AlertsReported(at=record.at, source=AlertSource.WEBHOOK, alerts=(alert,))

    # -- what is asked

    def answer(self, action: Action, now: datetime) -> Outcome:
        """The outcome of an action, as of now."""
        if isinstance(action, RollBack):
            return REFUSED
        found = self._answers.get(type(action))
        result = found(action, now) if found is not None else Announced(channel="backtest", thread="1")
        return Outcome(kind=OutcomeKind.DONE, result=result)

    def _locate(self, action: Locate, now: datetime) -> Result:
        found = ladder.place(action.alert, self.cluster, self._policy.mappings)  # type: ignore[arg-type]
        onset, source = action.alert.starts_at - self._policy.assumed_for, OnsetSource.ASSUMED
        known = revisions.parse_time(dict(action.alert.annotations).get(ONSET))
        if known is None and found.rung is not Rung.NAMESPACE:
            known = self._first_bad(found.workloads, min(action.alert.starts_at, now))
        if known is not None and EARLIEST <= known <= LATEST:
            onset, source = known, OnsetSource.FOR_STATE
        return Located(
            location=Location(
                workloads=found.workloads,
                rung=found.rung,
                tried=found.tried,
                onset=onset,
                onset_source=source,
                neighbours=self._graph.near(found.workloads),
                kin=self._graph.kin(found.workloads),
                felt_at=self._felt_at(found, onset, now),
            )
        )

    def _felt_at(self, found: ladder.Place, onset: datetime, now: datetime) -> datetime | None:
        if found.rung is Rung.NAMESPACE or not found.workloads:
            return None
        samples = self.samples.whole(found.workloads[0].key, onset - LOOK_BACK, min(onset, now))
        return felt_since(self._policy, samples, onset)

    def _first_bad(self, workloads: Sequence[Workload], fired: datetime) -> datetime | None:
        """Since when a workload of the alert has been bad without a break, as its samples show; None where they do not.

        A recording has no ALERTS_FOR_STATE, and an assumed onset may lie before the rollout that caused it.
        """
        begun = []
        for workload in workloads:
            samples = self.samples.whole(workload.key, fired - ONSET_LOOK_BACK, fired)
            usual = typical(samples[: len(samples) // 2])
            bad = [judge_sample(self._policy, sample, usual) is Health.UNHEALTHY for sample in samples]
            if bad and bad[-1] and not all(bad):
                begun.append(samples[len(bad) - bad[::-1].index(False)].at)
        return min(begun, default=None)

    def _measure(self, action: Measure, now: datetime) -> Result:
        key, old, new = action.workload.key, action.old, action.new
        if not self.cluster.known(key):
            return Measured(measurement=Measurement(at=now))
        since = max(action.since, now - LOOK_BACK_MAX)
        step, began = self._sampling.step, action.rollout_started_at
        if action.purpose is MeasurePurpose.RECOVERY:
            since = max(action.since, now - BEFORE_SAMPLES * step)
        pods, ready, restarts = self.cluster.counts(key, new.id) if new else (0, 0, 0)
        before = self._of(key, old.id, began - BEFORE_SAMPLES * step, began - step) if old else ()
        if not before:
            before = self.samples.whole(key, began - BEFORE_SAMPLES * step, began - step)
        fresh = self._of(key, new.id, since, now) if new else ()
        beside = self._of(key, old.id, since, now) if old else ()
        life = self.cluster.life(key)
        ready_since = life.ready_since(new.id) if new else ()
        turns = silence.fell_silent_at(fresh, ready_since, self._policy, now)
        around = Around(self.samples, self.cluster, self._policy)
        measurement = Measurement(
            at=now,
            new=fresh,
            callers=around.callers(key, self._graph.callers(action.workload), began, turns, now) if turns else (),
            callees=around.callees(key, self._graph.callees(action.workload), began, now) if turns else (),
            fan_outs=self._fan_outs(around, action, now),
            below=self._below(action, fresh, beside, before, now),
            old=beside,
            before=before,
            yesterday=self._yesterday(action, now),
            peers=self._peers(action, now),
            alerts=tuple(self._state(alert) for alert in action.alerts),
            start_failure=self.cluster.start_failure(key, new.id, now) if new else None,
            new_ready=ready,
            new_pods=pods,
            old_ready=self.cluster.counts(key, old.id)[1] if old else 0,
            ready_since=ready_since,
            failed_nodes=UNNAMED_NODE if new and self.cluster.lost_with_others(key, new.id) else (),
            restarts=restarts,
            restarted_at=life.restarted_at(new.id) if new else None,
            killed=life.killed(new.id) if new else 0,
            old_restarts=self.cluster.counts(key, old.id)[2] if old else 0,
        )
        return Measured(measurement=measurement)

    def _yesterday(self, action: Measure, now: datetime) -> tuple[Sample, ...]:
        """The workload at this time of the day before, under whatever revision."""
        if action.purpose is MeasurePurpose.RECOVERY:
            return ()
        ago = now - DAY
        return self.samples.whole(action.workload.key, ago - BEFORE_SAMPLES * self._sampling.step, ago)

    def _peers(self, action: Measure, now: datetime) -> tuple[Peer, ...]:
        kin = self._graph.kin((action.workload,)) if action.peers else ()
        return tuple(self._peer(peer, action.onset, now) for peer in action.peers if peer not in kin)

    def _below(
        self, action: Measure, new: Sequence[Sample], old: Sequence[Sample], before: Sequence[Sample], now: datetime
    ) -> tuple[Peer, ...]:
        if action.purpose is not MeasurePurpose.BLAME or not both_bad(new, old, before, self._policy):
            return ()
        wanted = self._graph.callees(action.workload)[: silence.CALLERS_MAX]
        return tuple(self._peer(each, action.onset, now) for each in wanted)

    def _fan_outs(self, around: Around, action: Measure, now: datetime) -> tuple[FanOut, ...]:
        return tuple(
            each
            for workload, began in action.candidates
            for each in around.fan_outs(workload, self._graph.callees(workload), began, now)
        )

    def _of(self, workload: str, revision: str, first: datetime, last: datetime) -> tuple[Sample, ...]:
        cluster, after = self.cluster, self._policy.latency_warm_up
        return self.samples.of(
            workload,
            revision,
            lambda pod, at: cluster.ran(workload, pod, revision, at),
            first,
            last,
            warm=lambda pod, at: cluster.is_warm(workload, pod, at, after),
        )

    def _peer(self, workload: Workload, onset: datetime, now: datetime) -> Peer:
        ago, step = onset - self._policy.assumed_for, self._sampling.step
        before = self.samples.whole(workload.key, ago - 2 * step, ago)
        recent = self.samples.whole(workload.key, now - 2 * step, now)
        return Peer(workload=workload, before=before[-1] if before else None, now=recent[-1] if recent else None)

    def _state(self, alert: Alert) -> AlertState:
        known = self._alerts.get(alert.fingerprint)
        status = AlertStatus.RESOLVED if known is None else known.status
        return AlertState(fingerprint=alert.fingerprint, status=status)

    def _prove(self, action: ProveSoak, now: datetime) -> Result:
        until = action.until or now
        key, revision = action.workload.key, action.revision.id
        if (key, revision) in self._given or self.cluster.was_there_before(key, revision):
            span = max(until - action.since, self._policy.soak)
            return Soaked(
                soak=SoakMeasurement(
                    since=action.since, until=until, healthy=span, quiet=timedelta(0), inconclusive=timedelta(0),
                    healthy_until=until, baseline=self._usual(key, revision, until),
                )
            )  # fmt: skip
        broken = self.cluster.broken(key, revision, now)
        span_of = soaks.Span(
            since=action.since,
            until=until,
            step=self._sampling.step,
            proven_from=action.since,
            broken_at=min(broken[0], until) if broken is not None and broken[0] > action.since else None,
            broken_by=broken[1] if broken is not None else "",
        )
        samples = self._of(key, revision, max(action.since, now - SOAK_HISTORY), until)
        baseline = Sample(at=now, values=action.baseline) if action.baseline else None
        return Soaked(soak=soaks.measured(samples, span_of, baseline, self._policy))

    def _usual(self, workload: str, revision: str, until: datetime) -> tuple[tuple[str, float], ...]:
        """What those after it are compared with. Not its CPU and memory: of pods that are warm they say nothing of cold ones."""
        found = typical(self._of(workload, revision, until - USUAL_SAMPLES * self._sampling.step, until))
        compared = {rule.name for rule in self._policy.signals if rule.kind not in (SignalKind.CPU, SignalKind.MEMORY)}
        return tuple((name, value) for name, value in found.values if name in compared) if found is not None else ()
