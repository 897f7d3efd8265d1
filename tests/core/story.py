"""Plays a story through `decide` and `evolve`: a world answers what is owed, time only moves when the test says so.

Whatever is played, some things must always hold, so every step checks them: the same question gets the same answer,
time that passes has a consequence (no busy loop), a second outcome of an action changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from daemon.core.actions import (
    Action,
    Announce,
    Announced,
    AnswerPipeline,
    Checked,
    CheckTarget,
    EndSuspension,
    Locate,
    Located,
    Measure,
    Measured,
    MeasurePurpose,
    NoteChange,
    Outcome,
    OutcomeKind,
    Page,
    Paged,
    PageKind,
    ProveSoak,
    RevertCommit,
    RevertOpened,
    RollBack,
    RolledBack,
    Soaked,
)
from daemon.core.decide import decide
from daemon.core.events import (
    ActionFinished,
    AlertSource,
    AlertsReported,
    Approved,
    Closed,
    DeadlinePassed,
    Declared,
    Declined,
    Event,
    PauseAsked,
    ReleaseAsked,
    ResumeAsked,
    Reviewed,
    RollbackAsked,
    Started,
    WorkloadSeen,
)
from daemon.core.evolution import replay
from daemon.core.facts import Fact
from daemon.core.incidents import Incident, Phase, Word
from daemon.core.measurement import Measurement, SoakMeasurement, TargetCheck
from daemon.core.model import Alert, AlertStatus, DeclaredCause, Location, Revision, Workload, WorkloadView
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Reason, Refusal
from daemon.core.state import State
from tests.core.builders import (
    HOUR,
    NOON,
    SHOP,
    V1,
    V2,
    a_check,
    a_location,
    a_measurement,
    a_policy,
    a_recovery,
    a_rollout_view,
    a_soak,
    a_view,
    an_alert,
)

Answer = Callable[[Any], Outcome | None]


def done(result: Any = None) -> Outcome:
    """It worked."""
    return Outcome(kind=OutcomeKind.DONE, result=result)


def failed(message: str = "connection refused") -> Outcome:
    """It did not work, for good."""
    return Outcome(kind=OutcomeKind.FAILED, message=message)


class Story:
    """One state, one clock, and a world whose answers are `where`, `measures`, `checks`, `soaks`, `patches`, …."""

    def __init__(self, policy: Policy | None = None, now: datetime = NOON - HOUR) -> None:
        self.policy = policy or a_policy()
        self.now = now
        self.state = State()
        self.facts: list[Fact] = []
        self.told: list[Page | Announce] = []
        self.done: list[Action] = []
        self.where: dict[str, Location] = {}
        self.measures: Callable[[Measure], Measurement | None] = lambda action: a_measurement(self.now)
        self.watches: Callable[[Measure], Measurement | None] = lambda action: Measurement(at=self.now)
        self.checks: Callable[[CheckTarget], TargetCheck | None] = lambda action: a_check(action.target)
        self.soaks: Callable[[ProveSoak], SoakMeasurement | None] = self._soak
        self.patches: Callable[[RollBack], Outcome | None] = self._patch
        self.reverts: Callable[[RevertCommit], Outcome | None] = self._revert
        self.going_on: Outcome = done()
        self.withheld: set[type[Action]] = set()
        self._answers: dict[type[Action], Answer] = {
            Locate: lambda action: done(Located(location=self.where.get(action.alert.fingerprint) or a_location())),
            Measure: self._measured,
            CheckTarget: lambda action: self._result(Checked, "check", self.checks(action)),
            ProveSoak: lambda action: self._result(Soaked, "soak", self.soaks(action)),
            RollBack: lambda action: self.patches(action),  # noqa: PLW0108  looked up when asked: tests replace it
            EndSuspension: lambda action: self.going_on,
            Page: lambda action: done(Paged(key=action.key)),
            Announce: lambda action: done(Announced(channel="C1", thread="1.1")),
            AnswerPipeline: lambda action: done(),
            RevertCommit: lambda action: self.reverts(action),  # noqa: PLW0108  looked up when asked, as above
            NoteChange: lambda action: done(),
        }

    @staticmethod
    def _result(kind: type[Any], name: str, value: object) -> Outcome:
        return failed() if value is None else done(kind(**{name: value}))

    def _measured(self, action: Measure) -> Outcome:
        """A rollout that nobody complains about shows nothing, unless the story says so."""
        found = self.watches if action.purpose is MeasurePurpose.WATCH else self.measures
        return self._result(Measured, "measurement", found(action))

    def _soak(self, action: ProveSoak) -> SoakMeasurement:
        return a_soak(action.since, action.until or self.now)

    def _patch(self, action: RollBack) -> Outcome:
        return done(RolledBack(generation=99, patched_at=self.now))

    def _revert(self, action: RevertCommit) -> Outcome:
        url = f"https://git.example/pull/{action.commits[0].commit[:12]}"
        return Outcome(kind=OutcomeKind.DONE, result=RevertOpened(url=url), message=f"pull request: {url}")

    # -- what happens

    def happens(self, event: Event) -> tuple[Fact, ...]:
        """Decide one event and fold its facts; nothing is answered yet."""
        facts = decide(self.state, event, now=self.now, policy=self.policy)
        assert facts == decide(self.state, event, now=self.now, policy=self.policy), "the same question, another answer"
        before = self.state
        self.state = replay(facts, before)
        self.facts.extend(facts)
        return facts

    def answers(self) -> None:
        """Let the world answer everything that is due, and what follows from it, until it has nothing more to say."""
        for _ in range(500):
            action = next((a for a in self.state.due if type(a) not in self.withheld), None)
            if action is None:
                return
            self.done.append(action)
            if isinstance(action, Page | Announce):
                self.told.append(action)
            outcome = self._answers[type(action)](action)
            if outcome is None:
                self.withheld.add(type(action))
                continue
            finished = ActionFinished(at=self.now, action_id=action.id, outcome=outcome)
            self.happens(finished)
            if action.id not in self.state.owed:
                assert self.happens(finished) == (), "a second outcome of the same action changes nothing"
        raise AssertionError("the world is asked without end")

    def plays(self, event: Event) -> tuple[Fact, ...]:
        """Decide one event, then let the world answer."""
        facts = self.happens(event)
        self.answers()
        return facts

    def waits(self, lasts: timedelta) -> None:
        """Let time pass, stopping at every deadline on the way."""
        end = self.now + lasts
        for _ in range(2000):
            due = self.state.next_deadline()
            if due is None or due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            assert self.happens(DeadlinePassed(at=self.now)), f"nothing comes of the deadline {due}: a busy loop"
            following = self.state.next_deadline()
            assert following is None or following > self.now, f"still due after it was answered: {following}"
            self.answers()
        raise AssertionError("deadlines without end")

    # -- the world moves

    def sees(self, view: WorkloadView) -> None:
        """The cluster shows a workload."""
        self.plays(WorkloadSeen(at=self.now, view=view))

    def starts(self, *, down_since: datetime | None = None) -> None:
        """The daemon comes up."""
        self.plays(Started(at=self.now, down_since=down_since))

    def proves_v1(self, **changes: Any) -> None:
        """v1 serves alone and is verified by history that was read back."""
        self.starts()
        self.sees(a_view(V1, **changes))
        self.waits(timedelta(0))

    def rolls_out(self, new: Revision = V2, old: Revision = V1, **changes: Any) -> None:
        """At NOON (or now, if that is past) a rollout begins."""
        self.now = max(self.now, NOON)
        self.sees(a_rollout_view(new, old, **({"started_at": self.now} | changes)))

    def completes(self, revision: Revision = V2, **changes: Any) -> None:
        """The rollout is complete: only pods of `revision` are left."""
        known = self.state.workloads[SHOP.key].view
        values: dict[str, Any] = {
            "started_at": known.started_at,
            "available_since": self.now,
            "history": known.history,
            "uid": known.uid,
            "generation": known.generation,
        }
        self.sees(a_view(revision, **(values | changes)))

    def fires(self, *alerts: Alert) -> None:
        """Alertmanager pushes alerts (the plain one if none is named); a minute after NOON at the earliest."""
        alerts = alerts or (an_alert(),)
        self.now = max(self.now, *(alert.starts_at for alert in alerts))
        self.plays(AlertsReported(at=self.now, source=AlertSource.WEBHOOK, alerts=alerts))

    def resolves(self, *alerts: Alert) -> None:
        """Alertmanager says that they are gone."""
        gone = tuple(replace(alert, status=AlertStatus.RESOLVED) for alert in alerts or (an_alert(),))
        self.plays(AlertsReported(at=self.now, source=AlertSource.WEBHOOK, alerts=gone))

    def spikes(self, **changes: Any) -> None:
        """v1 was proven, v2 goes out, errors, and the alert fires."""
        self.proves_v1()
        self.rolls_out(**changes)
        self.fires()

    def is_back(self, **changes: Any) -> None:
        """The cluster runs v1 again, converged, by our action; from now on everything measures well."""
        incident = self.incident
        view = a_view(
            V1, uid="uid-1", generation=100, started_at=self.now, available_since=self.now, history=(V1, V2),
            action_id=incident.roll_back, **changes,
        )  # fmt: skip
        self.measures = lambda action: a_recovery(self.now)
        self.sees(view)

    # -- people

    def approves(self, actor: str = "ann") -> None:
        """A person approves the latest incident's proposal."""
        self.plays(Approved(at=self.now, incident=self.incident.id, actor=actor))

    def declines(self, actor: str = "ann") -> None:
        """A person declines it."""
        self.plays(Declined(at=self.now, incident=self.incident.id, actor=actor))

    def closes(self, actor: str = "ann", note: str = "") -> None:
        """A person closes it."""
        self.plays(Closed(at=self.now, incident=self.incident.id, actor=actor, note=note))

    def judges(self, word: Word, actor: str = "ann", **changes: Any) -> None:
        """A person judges the decision on the latest incident."""
        values: dict[str, Any] = {"incident": self.incident.id, "note": ""}
        self.plays(Reviewed(at=self.now, word=word, actor=actor, **(values | changes)))

    def pauses(self, scope: str = "", lasts: timedelta | None = None) -> None:
        """A person pauses a scope."""
        self.plays(PauseAsked(at=self.now, scope=scope, actor="ann", lasts=lasts))

    def resumes(self, scope: str = "") -> None:
        """A person ends the pause of a scope."""
        self.plays(ResumeAsked(at=self.now, scope=scope, actor="ann"))

    def declares(self, cause: DeclaredCause = DeclaredCause.CUSTOMER_REPORTS, **changes: Any) -> None:
        """A person declares that the shop's latest rollout does harm."""
        values: dict[str, Any] = {"workload": SHOP.key, "onset": self.now, "actor": "ann"}
        self.plays(Declared(at=self.now, cause=cause, **(values | changes)))

    def asks(self, target: Revision = V1, current: Revision = V2, **changes: Any) -> None:
        """A person asks for a rollback of the shop."""
        values: dict[str, Any] = {"workload": SHOP.key, "current": current.id, "target": target.id, "actor": "ann"}
        self.plays(RollbackAsked(at=self.now, **(values | changes)))

    def releases(self, revision: Revision | None = None) -> None:
        """A person releases a revision of the shop, or all of them."""
        name = revision.id if revision else None
        self.plays(ReleaseAsked(at=self.now, workload=SHOP.key, revision=name, actor="ann"))

    # -- what there is to see

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All incidents, oldest first."""
        return tuple(self.state.incidents.values())

    @property
    def incident(self) -> Incident:
        """The latest incident."""
        return self.incidents[-1]

    def expect(self, phase: Phase, reason: Reason | None = None) -> None:
        """Assert where the latest incident stands, and why."""
        found = self.incident
        assert (found.phase, found.reason) == (phase, found.reason if reason is None else reason), str(found.verdict)

    def expect_refused(self, reason: Reason, consequence: Consequence) -> Refusal:
        """Assert that the latest verdict holds this refusal with this consequence, and give it back."""
        verdict = self.incident.verdict
        assert verdict is not None
        found = [refusal for refusal in verdict.refusals if refusal.reason is reason]
        assert [refusal.consequence for refusal in found] == [consequence], str(verdict)
        return found[0]

    @property
    def pages(self) -> list[Page]:
        """What PagerDuty was told, in order."""
        return [told for told in self.told if isinstance(told, Page)]

    @property
    def announcements(self) -> list[Announce]:
        """What the chat was told, in order."""
        return [told for told in self.told if isinstance(told, Announce)]

    @property
    def triggers(self) -> list[Page]:
        """The pages that opened something at PagerDuty."""
        return [page for page in self.pages if page.page is PageKind.TRIGGER]

    @property
    def rollbacks(self) -> list[RollBack]:
        """The rollbacks that were carried out."""
        return [action for action in self.done if isinstance(action, RollBack)]

    @property
    def refusals(self) -> set[Reason]:
        """The reasons of the latest verdict's refusals."""
        verdict = self.incident.verdict
        return {refusal.reason for refusal in verdict.refusals} if verdict else set()

    def verified(self, revision: Revision, workload: Workload = SHOP) -> bool:
        """Whether the ledger holds the revision as verified."""
        entry = self.state.workloads[workload.key].entry(revision.id)
        return entry is not None and entry.verified

    def of(self, kind: type[Fact]) -> list[Any]:
        """The facts of one kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def replayed(self) -> State:
        """The state that the facts alone lead to."""
        return replay(self.facts)
