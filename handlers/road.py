"""The road of an incident: the facts that moved it, one line each, and what people were told on the way.

Pure: journalled facts in, JSON rows out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from daemon.core import facts as f
from daemon.core.actions import Announce, Outcome, Page, RollBack
from daemon.core.briefs import would_have
from daemon.core.incidents import Incident
from daemon.core.measurement import TargetCheck
from daemon.core.model import Declaration, Mode
from handlers.overview import Document, cut, moment

STEPS_MAX = 200
"""Steps of the road that are told: the first half and the last half of a longer one."""

_REGRESSED = "a verified revision that became unhealthy and lost its mark"
_WATCHED = "what the pods of a rollout show by themselves, and no alert says"

History = Sequence[tuple[datetime, f.Fact]]
"""Facts of an incident with the moment they were journalled, oldest first."""


def road(history: History) -> tuple[list[Document], int]:
    """The steps of the road, and how many are left out in its middle."""
    steps = list(_steps(history))
    return _middle_out(steps), max(0, len(steps) - STEPS_MAX)


def _middle_out(steps: list[Document]) -> list[Document]:
    half = STEPS_MAX // 2
    return steps if len(steps) <= STEPS_MAX else [*steps[:half], *steps[-half:]]


def _step(at: datetime, what: str, text: str, **more: Any) -> Document:
    return {"at": moment(at), "what": what, "text": cut(text), **more}


def _short(at: datetime) -> str:
    return f"{at:%H:%M:%S}Z"


def _steps(history: History) -> Iterator[Document]:
    """The facts that moved the incident, each as one line; what only repeats the last one is left out."""
    last: tuple[Any, ...] = ()
    for _, fact in history:
        step = _step_of(fact)
        if step is None:
            continue
        same = (step["what"], step["text"])
        if same != last:
            yield step
        last = same


def _step_of(fact: f.Fact) -> Document | None:
    match fact:
        case f.IncidentOpened():
            return _opened(fact)
        case f.AlertJoined():
            return _step(fact.at, "joined", f"alert {fact.alert.alert.name} joined; severity {fact.severity.value}")
        case f.IncidentDeclared():
            return _step(fact.at, "declared", _declared(fact.declaration), cause=fact.declaration.cause.value)
        case f.MeasureBegan() if fact.final:
            return _step(fact.at, "looked", "a fresh look before acting began")
        case f.TargetChecked():
            return _step(fact.at, "checked", _checked(fact.check))
        case f.Judged():
            return _judged(fact)
        case f.RecoveryMeasured():
            since = f"good since {_short(fact.good_since)}" if fact.good_since else "not good, or cannot tell"
            return _step(fact.at, "watched", f"the symptom: {since}")
        case f.Proposed():
            return _proposed(fact)
        case f.ApprovalGiven():
            return _step(fact.at, "approved", f"approved by {fact.actor}", actor=cut(fact.actor))
        case f.Moved():
            return _moved(fact)
        case _:
            return _of_decision(fact) or _of_action(fact)


def _of_decision(fact: f.Fact) -> Document | None:
    """Where Lastgood acts or asks, what it decided is what it did: only in `observe` is it news."""
    match fact:
        case f.Decided() if fact.decision.mode is Mode.OBSERVE:
            return _step(fact.at, "decided", would_have(fact.decision), made=fact.decision.made.value)
        case f.ReviewGiven():
            note = f": {fact.note}" if fact.note else ""
            said = f"the decision was {fact.word.value}, says {fact.actor}{note}"
            return _step(fact.at, "reviewed", said, word=fact.word.value, actor=cut(fact.actor))
        case _:
            return None


def _of_action(fact: f.Fact) -> Document | None:
    match fact:
        case f.ActionOwed(action=RollBack() as action):
            return _step(fact.at, "rollback", f"rollback to {action.target.label} ordered")
        case f.ActionSettled() if fact.action_id.endswith("/roll_back"):
            return _step(fact.at, "rollback", f"rollback {_outcome(fact.outcome)}", outcome=fact.outcome.kind.value)
        case _:
            return None


def _opened(fact: f.IncidentOpened) -> Document:
    because = _because(fact.incident)
    return _step(fact.at, "opened", f"opened for {because}", phase="open", severity=fact.incident.severity.value)


def _because(incident: Incident) -> str:
    if incident.declared is not None:
        return _declared(incident.declared)
    if incident.asked is not None:
        note = f": {incident.asked.note}" if incident.asked.note else ""
        return f"a rollback that {incident.asked.actor} asks for{note}"
    names = sorted({located.alert.name for located in incident.alerts})
    return ", ".join(names[:5]) or (_REGRESSED if incident.regression else _WATCHED)


def _declared(found: Declaration) -> str:
    note = f": {found.note}" if found.note else ""
    return f"a declaration of {found.actor}: {found.cause.sentence}{note}"


def _checked(check: TargetCheck) -> str:
    if not check.exists:
        return "the target is gone"
    if check.no_way:
        return f"there is no way of ours to the target: {check.no_way}"
    if check.dry_run_error:
        return f"the target was refused by a dry run: {check.dry_run_error}"
    lacking = f"; missing: {', '.join(check.missing)}" if check.missing else ""
    return f"the target could be deployed{lacking}" if not check.missing else f"the target lacks something{lacking}"


def _judged(fact: f.Judged) -> Document:
    verdict = fact.verdict
    names = ", ".join(refusal.reason.value.upper() for refusal in verdict.refusals)
    text = f"verdict {verdict.kind.value}: {verdict.reason.sentence}" + (f" Refusals: {names}." if names else "")
    score = fact.suspicions[0].score if fact.suspicions else None
    return _step(fact.at, "judged", text, verdict=verdict.kind.value, reason=verdict.reason.value, score=score)


def _proposed(fact: f.Proposed) -> Document:
    when = f"runs by itself at {_short(fact.countdown_until)}" if fact.countdown_until else "a person must confirm"
    return _step(fact.at, "proposed", f"rollback of {fact.workload.short} to {fact.target.label}: {when}")


def _moved(fact: f.Moved) -> Document:
    by = f" (by {fact.actor})" if fact.actor else ""
    by += f": {cut(fact.note)}" if fact.note else ""
    into = f" (into {fact.merged_into})" if fact.merged_into else ""
    return _step(
        fact.at,
        "moved",
        f"{fact.phase.value}: {fact.reason.sentence}{by}{into}",
        phase=fact.phase.value,
        trigger=fact.trigger.value,
        reason=fact.reason.value,
        actor=cut(fact.actor) if fact.actor else None,
    )


def _outcome(outcome: Outcome) -> str:
    message = f": {outcome.message}" if outcome.message else ""
    tries = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    return f"{outcome.kind.value}{tries}{message}"


def told(history: History) -> Iterator[Document]:
    """Every page and announcement with what became of it (outcome None: still owed)."""
    owed: dict[str, tuple[datetime, Page | Announce]] = {}
    settled: dict[str, f.ActionSettled] = {}
    for _, fact in history:
        if isinstance(fact, f.ActionOwed) and isinstance(fact.action, Page | Announce):
            owed[fact.action.id] = (fact.at, fact.action)
        elif isinstance(fact, f.ActionSettled):
            settled[fact.action_id] = fact
    for name, (at, action) in owed.items():
        yield _message(at, action, settled.get(name))


def _message(at: datetime, action: Page | Announce, settled: f.ActionSettled | None) -> Document:
    outcome = settled.outcome if settled else None
    return {
        "at": moment(at),
        "action": action.id,
        "kind": action.kind,
        "page": action.page.value if isinstance(action, Page) else None,
        "urgent": action.urgent if isinstance(action, Page) else None,
        "text": cut(action.brief.update or action.brief.headline),
        "outcome": outcome.kind.value if outcome else None,
        "settled_at": moment(settled.at) if settled else None,
        "message": cut(outcome.message) if outcome else "",
        "attempts": outcome.attempts if outcome else 0,
    }
