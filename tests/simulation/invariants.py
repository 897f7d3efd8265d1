"""What must be true whatever happens. Each has a name and the promise it holds; each holds one safeguard, whatever the others do.

They are asked in the step in which something changed that they are about, and they look at the world, not at what the daemon says
of itself: at what the API server stored, what PagerDuty was sent, what is on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from daemon.core.actions import Announce, Page, PageKind, RollBack
from daemon.core.events import AlertsReported
from daemon.core.facts import (
    ActionOwed,
    ActionSettled,
    AlertNoted,
    Fact,
    IncidentOpened,
    LedgerWritten,
    Moved,
    PauseSet,
    WorkloadRecorded,
)
from daemon.core.incidents import Incident, Phase
from daemon.core.mode import mode_of
from daemon.core.model import AlertStatus, Mode, RevisionId
from daemon.core.policy import Paging, Route
from daemon.core.state import State
from daemon.ports import Journalled
from daemon.runtime import codec
from tests.simulation.clocks import true_now
from tests.simulation.kubernetes import Applied

if TYPE_CHECKING:
    from tests.simulation.world import World

HOUR_SECONDS = 3600.0
READ_SECONDS = 100.0
"""How long before a patch its target may have been read: a stale read, the dry run, and the patch itself take so long at most."""

PROMISES = {
    "one_rollback": "at most one rollback per incident",
    "once_per_action": "an action is written to the cluster once, also after a crash and a lost answer",
    "target_verified": "no rollback to a revision without proven health",
    "target_not_quarantined": "no rollback to a revision that was rolled back from and not released",
    "target_exists": "no rollback to a revision that has vanished from the history",
    "newer_rollout_wins": "a rollback replaces the revision that is blamed, nothing newer",
    "same_object": "a rollback changes the object that was judged, none made anew under its name",
    "not_paused": "no rollback is sent while a pause covers the workload",
    "not_observed": "no rollback is sent in mode observe",
    "not_lost": "nothing is written to the cluster by a daemon after another has the Lease",
    "intent_first": "nothing is done that is not on the disk as owed",
    "budget": "no more automatic rollbacks per hour than the policy allows",
    "cooling_down": "one automatic rollback per workload until a later revision is verified",
    "innocent": "no automatic rollback of a revision that does no harm",
    "alert_kept": "an alert that was answered with 2xx is on the disk",
    "alert_noted": "an alert that was answered with 2xx is decided about",
    "page_known": "nobody is paged about what the disk does not hold",
    "page_key": "a page's key names cluster, workload and revision where one is blamed, and never changes",
    "one_successor": "what is written back after a rollback is told once, in one incident",
    "one_open_page": "never two open pages about one incident",
    "never_pages_observe": "nobody is paged in mode observe",
    "page_sent": "an incident that was handed over or acted upon has paged, where its route pages",
    "post_known": "nobody is told in the chat what the disk does not hold",
    "post_once": "an announcement is posted once, unless its sender died while it was on the way",
    "replay": "the journal alone gives the same state, byte for byte, under any policy",
    "outcome_kept": "a rollback that happened is known to have happened",
    "ends": "with the faults over, every incident ends or is handed over, within its deadlines",
    "no_stumble": "no event is beyond judgement, no task and no runner breaks",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, when, and what was seen."""

    name: str
    at: float
    seen: str

    def __str__(self) -> str:
        return f"{self.name} at {self.at:.3f} s: {PROMISES[self.name]}; seen: {self.seen}"


class Invariants:
    """Asked about one world."""

    def __init__(self, world: World, only: str | None = None) -> None:
        self._world = world
        self._only = only
        self.found: list[Broken] = []
        self._applied: list[Applied] = []
        self._automatic: list[tuple[float, str]] = []
        self._quarantined: set[tuple[str, RevisionId]] = set()
        self._rolled: set[str] = set()
        self._owed: set[str] = set()
        self._done: set[str] = set()
        self._rows: set[tuple[str, str]] = set()
        self._noted: set[str] = set()
        self._accepted: set[str] = set()
        self._phases: set[tuple[str, str]] = set()
        self._must_page: dict[str, str] = {}
        self._paged: set[str] = set()
        self._keys: dict[str, str] = {}
        self._switched: dict[str, float] = {}
        self._posted: set[str] = set()

    def broken(self, name: str, seen: str) -> None:
        """Keep it; the world stops at the first."""
        if self._only not in (None, name):
            return
        self._world.say(f"BROKEN {name}: {seen}")
        self.found.append(Broken(name, self._world.loop.time(), seen))
        self._world.loop.stop()

    def _check(self, name: str, holds: object, seen: str) -> None:
        if not holds:
            self.broken(name, seen)

    # -- the cluster

    def write_sent(self, sender: int) -> None:
        """A process sends something that changes an object."""
        holder = self._world.server.holders[-1][1] if self._world.server.holders else f"replica-{sender}"
        self._check(
            "not_lost", holder == f"replica-{sender}", f"replica-{sender} writes, {holder or 'nobody'} has the Lease"
        )

    def rollback_applied(self, applied: Applied) -> None:
        """The API server stored a rollback of ours."""
        state = self._world.shadow
        again = [each for each in self._applied if each.action == applied.action]
        self._check("once_per_action", not again, f"{applied.action} a second time")
        self._check("intent_first", applied.action in self._owed, f"{applied.action} is not on the disk")
        action = state.owed.get(applied.action)
        if isinstance(action, RollBack):
            before = [each for each in self._applied if each.action.startswith(f"{action.incident}/")]
            self._check("one_rollback", not before or again, f"{action.incident} rolled back twice")
            self._check("same_object", applied.uid == action.uid, f"{applied.uid} instead of {action.uid}")
            fits = applied.before == action.blamed.id
            self._check("newer_rollout_wins", fits, f"{applied.before} was there, {action.blamed.id} is blamed")
            self._about_target(applied)
            self._about_leave(applied, action)
            self._about_budget(applied, action)
        self._applied.append(applied)
        self._quarantined.add((applied.workload, applied.before))

    def _about_target(self, applied: Applied) -> None:
        world, key = self._world, (applied.workload, applied.after)
        proven = world.prometheus.proven.get(key, timedelta(0))
        needed = min(policy.soak for policy in world.policies)
        self._check("target_verified", proven >= needed, f"{applied.after}: {proven} of {needed}")
        self._check("target_not_quarantined", key not in self._quarantined, f"{applied.after}")
        gone = world.server.gone_revisions.get((applied.uid, applied.after))
        there = applied.after in applied.history or gone is None or applied.sent_at - gone < READ_SECONDS
        self._check("target_exists", there, f"{applied.after} has been gone since {gone}")

    def _about_leave(self, applied: Applied, action: RollBack) -> None:
        """May it be sent at all? What changed while it was under way is too late for anybody."""
        world, state = self._world, self._world.shadow
        paused = state.paused_by(action.workload, true_now())
        since = max(self._switched.get("pause", 0.0), 0.0)
        self._check(
            "not_paused",
            paused is None or since >= applied.sent_at,
            f"{paused} since {since:.3f}, sent {applied.sent_at:.3f}",
        )
        tracked = state.workloads.get(action.workload.key)
        process = world.process
        if tracked is not None and process is not None:
            observed = mode_of(process.policy, tracked) is Mode.OBSERVE
            since = max(self._switched.get(f"mode/{action.workload.key}", 0.0), world.policy_since)
            self._check(
                "not_observed",
                not observed or since >= applied.sent_at,
                f"observe since {since:.3f}, sent {applied.sent_at:.3f}",
            )

    def _about_budget(self, applied: Applied, action: RollBack) -> None:
        world, now = self._world, self._world.loop.time()
        incident = world.shadow.incidents.get(action.incident)
        if incident is None or incident.approved_by is not None or incident.asked is not None:
            return
        recent = [each for each in self._applied if applied.at - each.at < HOUR_SECONDS]
        limit = max(min(p.rollbacks_per_namespace_hour, p.rollbacks_per_cluster_hour) for p in world.policies)
        self._check("budget", len(recent) < limit, f"{len(recent) + 1} of {limit}")
        cooled = applied.workload not in self._rolled
        self._check("cooling_down", cooled, f"{applied.workload} again, without a person")
        lenient = any(policy.act_without_control for policy in world.policies)
        harmful = world.truth.harmful(applied.before, now)
        self._check("innocent", harmful or lenient, f"{applied.before} does no harm")
        self._rolled.add(applied.workload)

    # -- the disk

    def rows_durable(self, rows: Sequence[Journalled]) -> None:
        """Accepted events are on the disk."""
        for row in rows:
            if isinstance(row, AlertsReported):
                self._rows.update((alert.fingerprint, alert.status.value) for alert in row.alerts)

    def fact_durable(self, fact: Fact, before: State) -> None:
        """A fact is on the disk; `before` is the state without it."""
        match fact:
            case ActionOwed(action=action):
                self._owed.add(action.id)
                if isinstance(action, Page):
                    self._page_owed(action, before)
            case ActionSettled():
                settled = before.owed.get(fact.action_id)
                if isinstance(settled, RollBack) and fact.outcome.kind == "done":
                    self._done.add(fact.action_id)
            case AlertNoted():
                self._noted.add(fact.alert.fingerprint)
            case LedgerWritten():
                self._ledger(fact)
            case IncidentOpened():
                self._opened(fact.incident, before)
            case PauseSet():
                self._switched["pause"] = self._world.loop.time()
            case WorkloadRecorded():
                self._recorded(fact, before)
            case Moved():
                self._moved(fact)
            case _:
                pass

    def _ledger(self, fact: LedgerWritten) -> None:
        key = (str(fact.workload), fact.entry.revision.id)
        if fact.what == "released":
            self._quarantined.discard(key)
        elif fact.what == "verified" and fact.workload in self._rolled:
            self._rolled.discard(fact.workload)

    def _recorded(self, fact: WorkloadRecorded, before: State) -> None:
        key, now = fact.view.workload.key, self._world.loop.time()
        known = before.workloads.get(key)
        if known is None or (known.view.mode, known.view.mode_invalid) != (fact.view.mode, fact.view.mode_invalid):
            self._switched[f"mode/{key}"] = now
        if fact.view.namespace_paused and (known is None or not known.view.namespace_paused):
            self._switched["pause"] = now

    def _opened(self, incident: Incident, before: State) -> None:
        if incident.predecessor is None or incident.blamed is None:
            return
        same = [
            other.id
            for other in before.open_incidents
            if other.predecessor == incident.predecessor
            and other.blamed is not None
            and other.blamed.id == incident.blamed.id
        ]
        self._check("one_successor", not same, f"{incident.id} beside {', '.join(same)}")

    def _moved(self, fact: Moved) -> None:
        incident = self._world.shadow.incidents.get(fact.incident)
        self._phases.add((fact.incident, fact.phase.value))
        if incident is None or fact.phase not in (Phase.ESCALATED, Phase.ROLLING_BACK):
            return
        routed = Route.PAGE in self._world.policies[-1].routes.of(incident.severity)
        if routed and not self._observed(incident):
            self._must_page.setdefault(fact.incident, f"{fact.phase} at {self._world.loop.time():.1f}")

    def _observed(self, incident: Incident) -> bool:
        policy = self._world.policies[-1]
        tracked = self._world.shadow.workloads.get((incident.suspect or incident.scope[0]).key)
        mode = policy.default_mode if tracked is None else mode_of(policy, tracked)
        return mode is Mode.OBSERVE and policy.paging is not Paging.INSTEAD

    def _page_owed(self, action: Page, before: State) -> None:
        incident = before.incidents.get(action.incident)
        if incident is None:
            return
        known = self._keys.get(action.incident)
        expected = known
        if known is None:
            expected = f"sim/{incident.id}"
            if incident.blamed is not None and incident.suspect is not None:
                expected = f"sim/{incident.suspect.key}/{incident.blamed.id}"
            self._keys[action.incident] = action.key
        self._check("page_key", action.key == expected, f"{action.key} instead of {expected}")
        if action.page is not PageKind.RESOLVE and known is None:
            self._check("never_pages_observe", not self._observed(incident), f"{action.incident} is in mode observe")

    # -- webhooks

    def accepted(self, alerts: Sequence[dict[str, Any]]) -> None:
        """A webhook got its 2xx."""
        for alert in alerts:
            kept = (alert["fingerprint"], alert["status"]) in self._rows
            self._check("alert_kept", kept, f"{alert['labels']['alertname']} {alert['status']}")
            if alert["status"] == AlertStatus.FIRING:
                self._accepted.add(alert["fingerprint"])

    # -- people are told

    def paged(self, event: dict[str, Any]) -> None:
        """PagerDuty has an event."""
        details = event["payload"]["custom_details"]
        incident, phase = details["incident"], details["phase"]
        known = phase == Phase.OPEN.value or (incident, phase) in self._phases
        self._check("page_known", known and incident in self._keys, f"{incident} {phase}")
        expected = self._keys.get(incident)
        self._check("page_key", expected in (None, event["dedup_key"]), f"{event['dedup_key']} instead of {expected}")
        if event["event_action"] == "trigger":
            self._paged.add(incident)
        held = list(self._world.pagerduty.open.values())
        twice = sorted({each for each in held if held.count(each) > 1})
        self._check("one_open_page", not twice, f"{twice} under {list(self._world.pagerduty.open)}")

    def announced(self, action: Announce) -> None:
        """The chat has a message."""
        phase = action.brief.phase
        news = phase not in tuple(Phase) or phase == Phase.OPEN  # about a rollout and no incident, or its beginning
        known = action.id in self._owed and (news or (action.incident, phase) in self._phases)
        self._check("post_known", known, f"{action.id} {phase}")
        again = action.id in self._posted and action.id not in self._world.chat.crossed
        self._check("post_once", not again, action.id)
        self._posted.add(action.id)

    # -- lives, and the end

    def replayed(self, state: State) -> None:
        """A life has folded the journal."""
        same = codec.dump_state(state) == codec.dump_state(self._world.shadow)
        self._check("replay", same, "another state than the facts on the disk give")

    def at_the_end(self) -> None:
        """The faults are over, and everything had its time."""
        world = self._world
        process = world.process
        engine = process.engine if process is not None else None
        if process is None or engine is None or not process.leads:
            self.broken("ends", "the daemon does not start")
            return
        self.replayed(engine.state)
        for incident in engine.state.open_incidents:
            ended = incident.phase is Phase.ESCALATED
            self._check("ends", ended, f"{incident.id} is {incident.phase} since {incident.phase_since:%H:%M:%S}")
        silent = sorted(self._accepted - self._noted)
        self._check("alert_noted", not silent, f"{silent}")
        alive = {each["metadata"]["uid"] for each in world.server.all("deployments")}
        for applied in self._applied:
            known = applied.action in self._done or applied.uid not in alive  # what tells of it went with the object
            self._check("outcome_kept", known, f"{applied.action} was never settled as done")
        for name, why in self._must_page.items():
            self._check("page_sent", name in self._paged, f"{name} ({why})")
