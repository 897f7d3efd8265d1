"""What a presser is told, in Slack's mrkdwn: short, and always what the incident is now.

Words from outside (images, names) are put on one line and escaped, as in every message.
"""

from __future__ import annotations

import re

from daemon.core.incidents import Incident, Phase
from daemon.core.model import Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from handlers.plain import one_line
from handlers.slack_offers import Button

PEOPLE_MAX = 20
"""Most approvers that are named."""

WORD_MAX = 300
"""Longest part from outside, in characters."""

FAILED = "Something went wrong inside Lastgood; its log tells more. Look at the thread before you press again."
KEPT = "Your press is kept, but Lastgood is busy and has not carried it out yet. It will; the thread shows what comes of it."

_DOES = {Button.APPROVE: "approve a rollback of", Button.DECLINE: "decline a rollback of", Button.PAUSE: "pause"}

_PHASES = {
    Phase.OPEN: "is being investigated again; nothing is proposed now",
    Phase.PROPOSED: "is proposed",
    Phase.ROLLING_BACK: "is rolling back already",
    Phase.VERIFYING: "is rolled back already and being verified",
    Phase.ESCALATED: "was handed over to a person",
    Phase.RECOVERED: "is rolled back and recovered",
    Phase.DISMISSED: "was dismissed",
    Phase.SUPERSEDED: "was superseded by a newer rollout",
    Phase.CLOSED: "is closed",
}

_MEMBER = re.compile(r"slack:([UW][A-Z0-9]+)")


def not_ready(why: str) -> str:
    """Nothing was done because of us."""
    return f"Nothing was done: Lastgood is not ready ({_safe(why)}). Press again in a moment, or use the command line."


def unknown(incident: str) -> str:
    """The journal does not hold it."""
    return (
        f"Nothing was done: there is no incident {_safe(incident)} (any more). `lastgood incidents --all` lists them."
    )


def forbidden(button: Button, workload: Workload, policy: Policy) -> str:
    """Not an approver; who is."""
    said = f"Nothing was done: you may not {_DOES[button]} {_safe(workload.short)}."
    people = _approvers(workload, policy)
    if not people:
        return f"{said} Nobody may from Slack: `policy.approvers` names no one for it. The command line can."
    more = f" and {len(people) - PEOPLE_MAX} more" if len(people) > PEOPLE_MAX else ""
    return f"{said} Who may: {', '.join(_who(actor) for actor in people[:PEOPLE_MAX])}{more}."


def changed(incident: Incident) -> str:
    """It is proposed, but not what stood in the message."""
    target = incident.target.label if incident.target is not None else "another revision"
    asks = ", ".join(reason.value.upper() for reason in incident.shown)
    asked = f", asking about {asks}" if asks else ""
    return (
        f"Too late, nothing was done: the proposal has changed since that message. Now it is a rollback of {_place(incident)}"
        f" to {_safe(target)}{asked}. Read the message again, it is up to date, and press there."
    )


def too_late(incident: Incident) -> str:
    """What the incident is now."""
    return f"Too late, nothing was done: {_now(incident)}"


def done(button: Button, incident: Incident) -> str:
    """What the press led to."""
    match button:
        case Button.APPROVE if incident.phase is Phase.PROPOSED:
            target = incident.target.label if incident.target is not None else "the target"
            return f"Approved by you. A fresh look comes first, then {_place(incident)} goes back to {_safe(target)}."
        case Button.APPROVE:
            return f"Approved by you. {_now(incident)}"
        case Button.DECLINE:
            return f"Declined by you, nothing was changed. {_now(incident)}"
        case Button.PAUSE:
            scope = (incident.suspect or incident.symptom).short
            return (
                f"Paused by you: Lastgood changes nothing on {_safe(scope)} until somebody resumes it"
                f" (`lastgood resume {_safe(scope)}`). {_now(incident)}"
            )


def _now(incident: Incident) -> str:
    if incident.phase is Phase.PROPOSED and incident.approved_by is not None:
        return f"{incident.id} was approved by {_who(incident.approved_by)}; the rollback follows a last look."
    by = ""
    if incident.phase in (Phase.ROLLING_BACK, Phase.VERIFYING, Phase.RECOVERED) and incident.approved_by is not None:
        by = f", approved by {_who(incident.approved_by)}"
    why = f" {_safe(incident.reason.sentence)}" if incident.reason is not None and not by else ""
    if incident.ended_by is not None and incident.reason in (Reason.DECLINED, Reason.CLOSED_BY_PERSON):
        why = f" {_safe(incident.reason.sentence)} It was {_who(incident.ended_by)}."
    return f"{_safe(incident.id)} ({_place(incident)}) {_PHASES[incident.phase]}{by}.{why}"


def _place(incident: Incident) -> str:
    return _safe((incident.suspect or incident.symptom).short)


def _approvers(workload: Workload, policy: Policy) -> list[str]:
    named = dict.fromkeys(actor for rule in policy.approvers for actor in rule.actors)
    return [actor for actor in named if policy.may_approve(actor, workload)]


def _who(actor: str) -> str:
    """A member is shown by name (in an answer that one person sees, this notifies nobody); others as journalled."""
    found = _MEMBER.fullmatch(actor)
    return f"<@{found[1]}>" if found is not None else _safe(actor)


def _safe(text: str) -> str:
    line = one_line(text, WORD_MAX).replace("`", "'")
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
