"""What a command led to, in sentences for whoever gave it. Pure: facts and state in, plain dicts and text out."""

from __future__ import annotations

from daemon.core import events
from daemon.core.events import Command
from daemon.core.facts import ApprovalGiven, Fact, LedgerWritten, Moved, PauseLifted, PauseSet
from daemon.core.model import Workload
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
    return "`lastgood verified NAMESPACE/NAME` shows its ledger" if name == "release" else "`lastgood explain` says why"


def changed(fact: Fact) -> str | None:
    """What a command changed, in a sentence; None for what only follows from it."""
    match fact:
        case ApprovalGiven():
            return f"approval of {fact.incident} recorded; a fresh measurement comes first, then the rollback"
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


def after(command: Command, state: State) -> Document:
    """How that stands now which the command was about."""
    match command:
        case events.PauseAsked() | events.ResumeAsked():
            covered = [each.view.workload for each in state.workloads.values()]
            return {"covers": sum(1 for workload in covered if _covers(command.scope, workload))}
        case events.Approved() | events.Declined() | events.Closed():
            incident = state.incidents.get(command.incident)
            return {"incident": overview.incident_row(incident)} if incident else {}
        case _:
            return {}


def _covers(scope: str, workload: Workload) -> bool:
    return scope in ("", workload.namespace, workload.short)
