"""What a command led to, in sentences for whoever gave it. Pure: facts and state in, plain dicts and text out."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.core import events
from daemon.core.events import Command
from daemon.core.facts import (
    ApprovalGiven,
    Fact,
    IncidentDeclared,
    IncidentOpened,
    LedgerWritten,
    Moved,
    PauseLifted,
    PauseSet,
    ReviewGiven,
)
from daemon.core.incidents import Decision, Incident, Phase, VerdictKind
from daemon.core.mode import mode_of
from daemon.core.model import IncidentId, Mode, Workload
from daemon.core.policy import Policy
from daemon.core.state import State
from handlers import overview
from handlers.overview import Document


def missing(command: Command, state: State) -> bool:
    """The command names an incident that is not known."""
    return getattr(command, "incident", None) not in {None, *state.incidents}


def remedy(name: str, *, missing: bool) -> str:
    """What somebody does whose command `name` was refused."""
    if missing:
        return "`lastgood incidents --all` lists the known ones"
    if name == "resume":
        return "`lastgood status` lists the pauses; the scope must be the one that was paused"
    if name == "rollback":
        return "`lastgood rollback` shows how it stands now; `lastgood explain NAMESPACE/NAME` tells why"
    if name == "declare":
        return "`lastgood history NAMESPACE/NAME` shows the rollouts that are known"
    if name == "judge":
        return "`lastgood scorecard NAMESPACE/NAME` lists the decisions that can be judged"
    return "`lastgood verified NAMESPACE/NAME` shows its ledger" if name == "release" else "`lastgood explain` says why"


def changed(fact: Fact) -> str | None:
    """What a command changed, in a sentence; None for what only follows from it."""
    match fact:
        case ApprovalGiven():
            return f"approval of {fact.incident} recorded; a fresh measurement comes first, then the rollback"
        case IncidentOpened() if fact.incident.asked is not None:
            return f"{fact.incident.id} carries out the rollback of {fact.incident.symptom.short}"
        case IncidentOpened():
            return f"{fact.incident.id} is open: it looks into the latest rollout of {fact.incident.symptom.short}"
        case IncidentDeclared():
            return f"{fact.incident} was open already: it is now a declared one, too"
        case ReviewGiven():
            return f"{fact.incident} is judged {fact.word}: {decided(fact.about)}"
        case Moved():
            return f"{fact.incident} is now {fact.phase.value}: {fact.reason.sentence}"
        case PauseSet():
            until = f"until {overview.moment(fact.until)}" if fact.until else "until somebody resumes"
            return f"{fact.scope or 'everything'} is paused {until}"
        case PauseLifted():
            return f"{fact.scope or 'everything'} is no longer paused"
        case LedgerWritten() if fact.what == "released":
            return f"{fact.entry.revision.label} of {fact.workload} is released from quarantine"
        case _:
            return None


def decided(found: Decision) -> str:
    """A decision, in a few words."""
    what = {VerdictKind.ROLL_BACK: "to roll back", VerdictKind.PROPOSE: "to propose a rollback of"}
    if found.blames and found.revision is not None:
        return f"the decision {what[found.made]} {found.label} of {found.workload.short}"
    return f"the decision to hand {found.workload.short} over to a person"


def after(command: Command, facts: Sequence[Fact], state: State, policy: Policy) -> Document:
    """How that stands now which the command was about, and what will come of it."""
    match command:
        case events.PauseAsked() | events.ResumeAsked():
            covered = [each.view.workload for each in state.workloads.values()]
            return {"covers": sum(1 for workload in covered if _covers(command.scope, workload))}
        case events.Approved() | events.Declined() | events.Closed() | events.Reviewed():
            incident = state.incidents.get(command.incident)
            return {"incident": overview.incident_row(incident)} if incident else {}
        case events.RollbackAsked():
            opened = [state.incidents[fact.incident.id] for fact in facts if isinstance(fact, IncidentOpened)]
            return {"incident": overview.incident_row(opened[0])} if opened else {}
        case events.Declared():
            return _of_declared(command, facts, state, policy)
        case _:
            return {}


def _of_declared(command: events.Declared, facts: Sequence[Fact], state: State, policy: Policy) -> Document:
    """The incident that the declaration opened or marked, and what will happen."""
    named = [_named(fact) for fact in facts]
    incident = next((state.incidents[each] for each in named if each is not None and each in state.incidents), None)
    if incident is None:
        return {}
    return {"incident": overview.incident_row(incident), "then": _then(command, incident, state, policy)}


def _named(fact: Fact) -> IncidentId | None:
    match fact:
        case IncidentOpened():
            return fact.incident.id
        case IncidentDeclared():
            return fact.incident
        case _:
            return None


def _then(command: events.Declared, incident: Incident, state: State, policy: Policy) -> str:
    more = f"`lastgood explain {incident.id}` tells more"
    tracked = state.workloads.get(command.workload)
    mode = mode_of(policy, tracked) if tracked is not None else policy.default_mode
    if incident.phase.ended or incident.phase is Phase.ESCALATED:
        because = f" ({incident.reason.sentence})" if incident.reason is not None else ""
        return f"nothing more is done by itself: it is {incident.phase.value}{because}; {more}"
    if incident.phase in (Phase.ROLLING_BACK, Phase.VERIFYING):
        return f"a rollback is under way already; {more}"
    if mode is Mode.OBSERVE:
        return f"the mode is observe: it is judged and announced, and nothing is changed; {more}"
    declared = [command.cause, *([incident.declared.cause] if incident.declared is not None else [])]
    risk = next((cause for cause in declared if cause.risks_data), None)
    if risk is not None:
        return f"{risk.sentence}: nothing is rolled back without a person's approval; {more}"
    if mode is Mode.APPROVE:
        return f"where the rollout is blamed, a rollback is proposed and waits for a person; {more}"
    return f"the rollout is measured: only strong evidence acts by itself, else a rollback is proposed; {more}"


def _covers(scope: str, workload: Workload) -> bool:
    return scope in ("", workload.namespace, workload.short)
