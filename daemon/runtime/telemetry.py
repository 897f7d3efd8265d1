"""All of Lastgood's own metrics, in one place. Every label combination starts at 0, so "no failures" is not "no data".

Counters follow the facts as they are journalled; gauges are recomputed from the state. Nothing else may count.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, get_args, get_type_hints

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from daemon.core.actions import Action, OutcomeKind
from daemon.core.events import Event
from daemon.core.facts import ActionSettled, AlertPlaced, Fact, IncidentOpened, Judged, Moved
from daemon.core.incidents import Phase, Trigger, VerdictKind
from daemon.core.model import OnsetSource, Rung
from daemon.core.policy import Policy
from daemon.core.protection import Unprotected, unprotected
from daemon.core.reasons import Reason
from daemon.core.state import State
from daemon.runtime.score_metrics import ScoreMetrics

SOURCES = ("alertmanager", "operators", "poll", "history", "mqtt", "slack")
RESULTS = tuple(
    "accepted truncated ignored malformed unauthorized forbidden replayed late unknown too_large busy unavailable full".split()
)
CALL_SOURCES = ("declared", "istio", "linkerd", "traces", "unmatched")
PARTS = ("alertmanager", "prometheus", "kubernetes", "mqtt", "slack")

# Half of all lines would tell when each series began, which is always our own start.
disable_created_metrics()  # type: ignore[no-untyped-call]


def _kinds(union: Any) -> tuple[str, ...]:
    """The `kind` of each member of a union of values, so that a new one cannot be forgotten here."""
    return tuple(get_args(get_type_hints(member)["kind"])[0] for member in get_args(union))


KINDS = _kinds(Action)
FAILURES = tuple("auth rate_limited client server timeout network conflict gone not_found invalid bug".split())
EVENTS = _kinds(Event)
STATUSES = ("verified", "quarantined", "soaking")
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
FSYNC_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)


class Metrics:
    """ports.Telemetry, and what the runtime reports. `registry` is what `/metrics` serves.

    `senders` are the configured sources of deployment events, which are sources of intake under their own names.
    """

    def __init__(self, senders: Sequence[str] = ()) -> None:
        self._sources = (*SOURCES, *senders)
        self.registry = CollectorRegistry()
        self._intake = self._counter("intake_total", "Intake attempts.", ("source", "result"))
        self._intake_by: dict[tuple[str, str], Counter] = {}
        self._verdicts = self._counter("verdicts_total", "Verdicts.", ("kind", "reason"))
        self._refusals = self._counter(
            "refusals_total", "Refusals by guards, one per verdict that they are part of.", ("reason",)
        )
        self._rollbacks = self._counter("rollbacks_total", "Rollbacks by what became of them.", ("outcome",))
        self._moves = self._counter("incident_moves_total", "Moves of incidents into a phase.", ("phase",))
        self._unmapped = self._counter("alerts_unmapped_total", "Alerts whose labels map to no workload.", ())
        self._attempts = self._counter(
            "action_attempts_total", "Attempts of actions by their result.", ("action", "result")
        )
        self._failures = self._counter(
            "action_failures_total", "Failed attempts of actions by class.", ("action", "class")
        )
        self._contacts = self._counter("contacts_total", "Requests to outside parts.", ("part", "result"))
        self._reloads = self._counter("config_reloads_total", "Configuration reloads.", ("result",))
        self._stumbles = self._counter(
            "events_failed_total", "Events that could not be judged: a bug, the log tells which.", ("event",)
        )
        self._incidents = self._gauge("incidents", "Incidents in memory by phase.", ("phase",))
        self._revisions = self._gauge("revisions", "Revisions in the ledger.", ("status",))
        self._unprotected = self._gauge(
            "unprotected_workloads", "Armed workloads that could not be rolled back now.", ("reason",)
        )
        self._paused = self._gauge(
            "paused_scopes", "Pauses in force (1 for everything, a namespace or a workload each).", ()
        )
        self._owed = self._gauge("actions_owed", "Actions owed and not settled.", ("action",))
        self._config_ok = self._gauge("config_last_reload_successful", "1 when the last (re)load was good.", ())
        self._config_at = self._gauge("config_last_reload_success_timestamp_seconds", "When it last was.", ())
        self._calls = self._gauge(
            "call_graph_edges", "Calls between workloads that are known, by who tells them.", ("source",)
        )
        self._freshness = self._gauge(
            "reflector_freshness_seconds", "Since the oldest watch last heard from the API server.", ()
        )
        self._standing()
        self.fsync = Histogram(
            "lastgood_journal_commit_seconds", "One durable transaction.", registry=self.registry, buckets=FSYNC_SECONDS
        )
        self._stages = {
            name: Histogram(f"lastgood_{name}_seconds", text, registry=self.registry, buckets=SECONDS)
            for name, text in (
                ("onset_to_alert", "From the onset, where it is known, to the alert's arrival: time to detect."),
                ("alert_to_verdict", "From the alert's arrival to the verdict that moved the incident."),
                ("verdict_to_patch", "From that verdict to the accepted patch (countdown or approval included)."),
                ("patch_to_converged", "From the patch to convergence."),
                ("converged_to_recovered", "From convergence to verified recovery, hold included."),
            )
        }
        self._load()
        self._scores = ScoreMetrics(self.registry)
        self._start_at_zero()

    def _standing(self) -> None:
        """Whether it is there to act, and beside whom (`deploy/docs/high-availability.md`)."""
        self._ready = self._gauge("ready", "1 when the journal is writable and the caches are synced.", ())
        self._leader = self._gauge("leader", "1 when this daemon decides and acts, 0 when it stands by.", ())
        self._leased = self._gauge(
            "lease_enabled", "1 when a Lease says which of several daemons leads, 0 where there is only this one.", ()
        )

    def _load(self) -> None:
        """What tells of too much (`deploy/docs/overload.md`)."""
        self._inbox = self._gauge("inbox_events", "Accepted events that wait to be decided.", ())
        self._inbox_bytes = self._gauge(
            "inbox_bytes", "Characters of their alerts: about a quarter of their memory.", ()
        )
        self._crowded = self._counter(
            "connections_closed_total", "Connections that were closed because there were too many.", ()
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"lastgood_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"lastgood_{name}", text, labels, registry=self.registry)

    def _start_at_zero(self) -> None:
        outcomes = tuple(outcome.value for outcome in OutcomeKind)
        reasons = tuple(reason.value for reason in Reason)
        phases = tuple(phase.value for phase in Phase)
        combinations: tuple[tuple[Counter | Gauge, tuple[tuple[str, ...], ...]], ...] = (
            (self._intake, (self._sources, RESULTS)),
            (self._verdicts, (tuple(kind.value for kind in VerdictKind), reasons)),
            (self._refusals, (reasons,)),
            (self._rollbacks, (outcomes,)),
            (self._moves, (phases,)),
            (self._incidents, (phases,)),
            (self._owed, (KINDS,)),
            (self._attempts, (KINDS, outcomes)),
            (self._failures, (KINDS, FAILURES)),
            (self._contacts, (PARTS, ("ok", "failed"))),
            (self._revisions, (STATUSES,)),
            (self._unprotected, (tuple(Unprotected),)),
            (self._reloads, (("ok", "failed"),)),
            (self._calls, (CALL_SOURCES,)),
            (self._stumbles, (EVENTS,)),
        )
        for metric, labels in combinations:
            for values in itertools.product(*labels):
                metric.labels(*values)

    def stumbled(self, event: str) -> None:
        """An event could not be judged: a bug of ours, whatever the event was."""
        self._stumbles.labels(event).inc()

    def intake(self, source: str, result: str) -> None:
        """Count an intake attempt."""
        counter = self._intake_by.get((source, result))
        if counter is None:  # looking a label up costs more than counting, and this is asked per webhook
            counter = self._intake_by[source, result] = self._intake.labels(source, result)
        counter.inc()

    def contact(self, part: str, *, ok: bool) -> None:
        """An outside part answered, or could not be reached."""
        self._contacts.labels(part, "ok" if ok else "failed").inc()

    def attempted(self, action: str, result: str) -> None:
        """An attempt of an action ended: in an outcome, or in a failure of some class."""
        if result in FAILURES:
            self._failures.labels(action, result).inc()
        else:
            self._attempts.labels(action, result).inc()

    def reloaded(self, at: datetime, *, ok: bool) -> None:
        """The configuration was (re)loaded, or the new one was bad and the old one stays."""
        self._reloads.labels("ok" if ok else "failed").inc()
        self._config_ok.set(1 if ok else 0)
        if ok:
            self._config_at.set(at.timestamp())

    def watched(self, seconds: float, *, ready: bool, leads: bool, leased: bool) -> None:
        """How fresh the view of the cluster is, whether we are ready, whether it is for us to act, and by a Lease."""
        self._freshness.set(seconds)
        self._leader.set(1 if leads else 0)
        self._leased.set(1 if leased else 0)
        self._ready.set(1 if ready else 0)

    def waiting(self, events: int, size: int) -> None:
        """How much waits in the inbox."""
        self._inbox.set(events)
        self._inbox_bytes.set(size)

    def crowded(self) -> None:
        """A connection was closed to make room for another."""
        self._crowded.inc()

    def calls(self, counts: Mapping[str, int]) -> None:
        """How many calls the call graph holds, by source; `unmatched` have an end that fits no workload."""
        for source, count in counts.items():
            self._calls.labels(source).set(count)

    def journalled(self, facts: Sequence[Fact], state: State) -> None:
        """Count what was just journalled."""
        for fact in facts:
            match fact:
                case Judged():
                    self._judged(fact)
                case IncidentOpened() if fact.incident.alerts and fact.incident.onset_source is not OnsetSource.ASSUMED:
                    self._observe("onset_to_alert", fact.incident.onset, fact.incident.opened_at)
                case Moved():
                    self._moved(fact, state)
                case AlertPlaced() if fact.location.rung is Rung.NONE:
                    self._unmapped.inc()
                case ActionSettled() if fact.action_id.endswith("/roll_back"):
                    self._rollbacks.labels(fact.outcome.kind.value).inc()
                case _:
                    pass

    def _judged(self, fact: Judged) -> None:
        self._verdicts.labels(fact.verdict.kind.value, fact.verdict.reason.value).inc()
        for refusal in fact.verdict.refusals:
            self._refusals.labels(refusal.reason.value).inc()

    def _moved(self, fact: Moved, state: State) -> None:
        self._moves.labels(fact.phase.value).inc()
        incident = state.incidents.get(fact.incident)
        if incident is None:
            return
        if fact.trigger in (Trigger.BLAMED, Trigger.PROPOSABLE, Trigger.REFUSED) and incident.verdict_at:
            self._observe("alert_to_verdict", incident.opened_at, incident.verdict_at)
        if fact.trigger is Trigger.CONVERGED:
            self._observe("verdict_to_patch", incident.verdict_at, incident.patched_at)
            self._observe("patch_to_converged", incident.patched_at, fact.at)
        if fact.phase is Phase.RECOVERED:
            self._observe("converged_to_recovered", incident.converged_at, fact.at)

    def _observe(self, stage: str, start: datetime | None, end: datetime | None) -> None:
        if start is not None and end is not None:
            self._stages[stage].observe(max(0.0, (end - start).total_seconds()))

    def recompute(self, state: State, policy: Policy, now: datetime) -> None:
        """Set the gauges from the state; called when `/metrics` is read."""
        _fill(self._incidents, Phase, (incident.phase.value for incident in state.incidents.values()))
        _fill(self._owed, KINDS, (action.kind for action in state.owed.values()))
        entries = [entry for tracked in state.workloads.values() for entry in tracked.ledger.values()]
        statuses = ("quarantined" if e.quarantined_by else "verified" if e.proof else "soaking" for e in entries)
        _fill(self._revisions, STATUSES, statuses)
        reasons = (unprotected(tracked, state, policy, now) for tracked in state.workloads.values())
        _fill(self._unprotected, Unprotected, (reason.value for reason in reasons if reason is not None))
        self._paused.set(len(state.pauses))
        self._scores.recompute(state, now)


def _fill(gauge: Gauge, labels: Iterable[str], values: Iterable[str]) -> None:
    counts = dict.fromkeys((str(label) for label in labels), 0)
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    for label, count in counts.items():
        gauge.labels(label).set(count)
