"""Replays a recording in virtual time through the very same core, and tells every verdict.

Time moves from record to record and from deadline to deadline; what the core owes is answered at once, from the recording up
to that moment. The core looks at samples as soon as all of one moment are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta

from daemon.core.actions import RollBack
from daemon.core.decide import conclude
from daemon.core.events import ActionFinished, DeadlinePassed, Event, Started
from daemon.core.facts import ActionOwed, Fact, Judged, LedgerWritten, Moved
from daemon.core.incidents import Incident, Trigger, VerdictKind
from daemon.core.model import Mode
from daemon.core.policy import Policy, RecordedPolicy, SignalKind, SignalRule
from daemon.core.reasons import Reason, Refusal
from daemon.core.state import State
from handlers.backtest import intervals
from handlers.backtest.reading import Progress
from handlers.backtest.recording import AlertSeen, Evidence, PodSeen, Recording, RolloutSeen, SampleSeen
from handlers.backtest.resting import Resting
from handlers.backtest.samples import KINDS, RULES
from handlers.backtest.verdicts import Told
from handlers.backtest.world import World
from handlers.backtest.would_be import WouldBe
from handlers.evidence import loudest_first

ANSWERS_MAX = 1000
"""Answers and deadlines of one moment: more is a bug in the core, never a recording. Between two records lies any time."""

TOLD_EVERY = 2000
"""Records between two words on how far it is: at most a second's work."""

AFTERWARDS = timedelta(minutes=15)
"""How long the core goes on after the last record: what waits for a deadline gets it."""


def judged_as(policy: Policy, sampling: intervals.Sampling) -> Policy:
    """The policy for a recording: what it was sampled by, and what it is judged by."""
    given = {each.name: getattr(policy, each.name) for each in fields(Policy)}
    found = {
        "signals": tuple(_as_written(rule, policy) for rule in RULES),
        "sample_interval": sampling.step,
        "signal_window": max(policy.signal_window, sampling.step),
    }
    return RecordedPolicy(**(given | found), phase=sampling.phase)


def _as_written(rule: SignalRule, policy: Policy) -> SignalRule:
    """With the thresholds that the policy has for this signal; what a workload sees of others has none of its own."""
    kinds = (rule.kind, SignalKind.LATENCY_P95) if rule.kind is SignalKind.LATENCY else (rule.kind,)
    found = [each for kind in kinds for each in policy.signals if each.kind is kind]
    if rule.name not in KINDS or not found:
        return rule
    return replace(rule, healthy_below=found[0].healthy_below, trigger_above=found[0].trigger_above)


def default_policy() -> Policy:
    """Without a policy: `auto`, countdown 0 (issue 5)."""
    return Policy(cluster="backtest", default_mode=Mode.AUTO, countdown=timedelta(0))


def replay(
    recording: Recording, policy: Policy | None = None, progress: Progress = lambda done, total: None
) -> Iterator[Told]:
    """Every verdict in time order; `progress` is told how many records of how many were replayed."""
    sampling = intervals.find(recording.evidence)
    yield from _Replay(recording, judged_as(policy or default_policy(), sampling), sampling, progress).run()


def _by_moment(evidence: Sequence[Evidence]) -> Iterator[tuple[datetime, Sequence[Evidence]]]:
    """The records of each moment."""
    first = 0
    while first < len(evidence):
        last, now = first + 1, evidence[first].at
        while last < len(evidence) and evidence[last].at == now:
            last += 1
        yield now, evidence[first:last]
        first = last


class _Replay:
    def __init__(
        self,
        recording: Recording,
        policy: Policy,
        sampling: intervals.Sampling,
        progress: Progress = lambda done, total: None,
    ) -> None:
        self._progress = progress
        self._recording = recording
        self._policy = policy
        self._sampling = sampling
        self._world = World(sampling, policy)
        self._state = State()
        self._would_be = WouldBe(policy)
        self._asked_of: State | None = None
        self._deadline: datetime | None = None
        self._resting = Resting(policy)
        self._last: dict[str, tuple[VerdictKind, str | None, Reason]] = {}
        self._told: list[Told] = []

    def run(self) -> Iterator[Told]:
        evidence = self._recording.evidence
        if not evidence:
            return
        self._happens(Started(at=evidence[0].at, down_since=None), evidence[0].at)
        looked = done = told = 0
        for now, records in _by_moment(evidence):
            self._wake(records, now)
            self._pass(now)
            events = [event for record in records for event in self._world.feed(record)]
            if self._sampling.index(now) > looked:
                looked = self._sampling.index(now)
                events += self._world.look_again(now)
            for event in events:
                self._happens(event, now)
                self._answer(now)
            self._due(now)
            yield from self._take()
            done += len(records)
            if done - told >= TOLD_EVERY:
                told = done
                self._progress(done, len(evidence))
        self._progress(len(evidence), len(evidence))
        self._pass(evidence[-1].at + AFTERWARDS)
        yield from self._take()

    def _take(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    # -- time

    def _wake(self, records: Sequence[Evidence], now: datetime) -> None:
        for workload in {each.workload for each in records if isinstance(each, SampleSeen | PodSeen | RolloutSeen)}:
            self._state = self._resting.wake(self._state, workload, now)
        for record in records:
            if isinstance(record, AlertSeen):
                for workload in self._resting.with_alert(self._state, tuple(sorted(record.labels.items()))):
                    self._state = self._resting.wake(self._state, workload, now)

    def _pass(self, until: datetime) -> None:
        """Every deadline before that moment, in order. One at the moment itself waits for what is recorded of it."""
        while (due := self._next_deadline()) is not None and due < until:
            self._due(due)

    def _next_deadline(self) -> datetime | None:
        """Of a state that is still the same it is the same: most moments bring nothing but samples."""
        if self._state is not self._asked_of:
            self._asked_of, self._deadline = self._state, self._state.next_deadline()
        return self._deadline

    def _due(self, now: datetime) -> None:
        for _ in range(ANSWERS_MAX):
            due = self._next_deadline()
            if due is None or due > now:
                return
            self._happens(DeadlinePassed(at=now), now)
            self._answer(now)
        raise AssertionError("a deadline without consequence")

    # -- the core

    def _happens(self, event: Event, now: datetime) -> None:
        concluded = conclude(self._state, event, now=now, policy=self._policy)
        self._state = concluded.state
        for fact in concluded.facts:
            self._tell(fact, now)

    def _answer(self, now: datetime) -> None:
        for _ in range(ANSWERS_MAX):
            if not self._state.owed:
                return
            action = self._state.due[0]
            outcome = self._world.answer(action, now)
            self._happens(ActionFinished(at=now, action_id=action.id, outcome=outcome), now)
            self._state = self._resting.looked(self._state, action, now)
        raise AssertionError("the world is asked without end")

    # -- what is told

    def _tell(self, fact: Fact, now: datetime) -> None:
        match fact:
            case Judged() if fact.verdict.kind is not VerdictKind.ROLL_BACK:
                self._verdict(fact.incident, now, fact.verdict.kind, fact.verdict.reason)
            case ActionOwed(action=RollBack(incident=incident) as action):
                verdict = self._state.incidents[incident].verdict
                reason = verdict.reason if verdict is not None else Reason.COUNTDOWN_OVER
                self._verdict(incident, now, VerdictKind.ROLL_BACK, reason)
                self._would_be.ordered(action, now)
            case LedgerWritten():
                self._would_be.written(fact)
            case Moved(trigger=Trigger.NO_CANDIDATE | Trigger.SYMPTOM_GONE | Trigger.NEWER_ROLLOUT):
                self._verdict(fact.incident, now, VerdictKind.DISMISS, fact.reason)
            case Moved(trigger=Trigger.REFUSED | Trigger.DEADLINE):
                self._verdict(fact.incident, now, VerdictKind.ESCALATE, fact.reason)
            case _:
                pass

    def _verdict(self, incident_id: str, now: datetime, kind: VerdictKind, reason: Reason) -> None:
        incident = self._state.incidents[incident_id]
        leader = incident.suspicions[0] if incident.suspicions else None
        name = leader.workload.key if leader is not None else None
        if self._last.get(incident_id) == (kind, name, reason):
            return
        self._last[incident_id] = (kind, name, reason)
        self._told.append(self._as_told(incident, now, kind, reason))

    def _as_told(self, incident: Incident, now: datetime, kind: VerdictKind, reason: Reason) -> Told:
        leader = incident.suspicions[0] if incident.suspicions else None
        second = incident.suspicions[1] if len(incident.suspicions) > 1 else None
        return Told(
            at=now,
            recording=self._recording.name,
            verdict=kind,
            reason=reason,
            workload=leader.workload.key if leader else None,
            revision=leader.revision.id if leader else None,
            replaces=leader.replaced.id if leader and leader.replaced else None,
            score=leader.score if leader else None,
            margin=round(leader.score - second.score, 4) if leader and second else None,
            evidence=loudest_first(leader.terms) if leader else (),
            would_refuse=self._refusals(incident, now),
            onset=incident.onset,
            rollout_at=incident.rollout_started_at,
            others=incident.suspicions[1:],
            needs=(self._policy.blame_threshold, self._policy.blame_margin),
        )

    def _refusals(self, incident: Incident, now: datetime) -> tuple[Refusal, ...]:
        """Those of the verdict, and what the rollbacks before it would have raised."""
        if incident.verdict is None:
            return ()
        leader = incident.suspicions[0].workload if incident.suspicions else incident.symptom
        return (*incident.verdict.refusals, *self._would_be.refusals(incident.id, leader, now))
