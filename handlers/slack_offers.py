"""The buttons of an announcement and what they carry: the incident and, on Approve, what was proposed above the button.

A message may be read long after it was written: on a phone that was offline, or while the proposal changed. So Approve
holds the target and the questions that were shown, and the core refuses an approval of anything else. What a button
carries comes back within a payload that Slack signed, and only our app can post it; it is read as strictly as everything
from outside all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.core.brief import Brief
from daemon.core.model import IncidentId, RevisionId
from daemon.core.reasons import Reason
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.plain import exact, utf16_units

INCIDENT_MAX = 64
"""Longest incident id, in characters; ours have about 25."""

REVISION_MAX = 64
"""Longest id of a revision, in characters: a hash."""

QUESTIONS_MAX = 40
"""Most refusals that a button carries: there are about thirty kinds."""

VALUE_MAX = 2_000
"""Vendor's limit of a button's value, in characters (protocols.md §5.2)."""


class Button(StrEnum):
    """The buttons; the value is the `action_id`, which no other app of the workspace shares with us by chance."""

    APPROVE = "lastgood_approve"
    DECLINE = "lastgood_decline"
    PAUSE = "lastgood_pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What stood in the message: the incident and, on Approve, the target and the questions."""

    incident: IncidentId
    target: RevisionId | None = None
    questions: tuple[Reason, ...] = ()


def value_of(brief: Brief, button: Button) -> str | None:
    """What the button of a message with this brief carries; None where it cannot carry it."""
    incident = exact(brief.incident, INCIDENT_MAX)
    if not incident:
        return None
    content: dict[str, object] = {"incident": incident}
    if button is Button.APPROVE:
        target = exact(brief.target, REVISION_MAX)
        if not target or len(brief.questions) > QUESTIONS_MAX:
            return None
        content |= {"target": target, "questions": list(brief.questions)}
    value = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return value if utf16_units(value) <= VALUE_MAX else None


def offer_of(value: object) -> Offer:
    """What a pressed button carried. Raises MalformedError."""
    if not isinstance(value, str) or len(value) > VALUE_MAX:
        raise MalformedError("actions[0].value", f"must be a string of at most {VALUE_MAX} characters")
    content = object_of(parse_json(value.encode("utf-8", "replace"), "actions[0].value"), "actions[0].value")
    incident = content.get("incident")
    if not isinstance(incident, str) or not exact(incident, INCIDENT_MAX):
        raise MalformedError("actions[0].value.incident", f"must be 1 to {INCIDENT_MAX} printable characters")
    return Offer(incident=IncidentId(incident), target=_target(content), questions=_questions(content))


def _target(content: Mapping[str, object]) -> RevisionId | None:
    target = content.get("target")
    if target is None:
        return None
    if not isinstance(target, str) or not exact(target, REVISION_MAX):
        raise MalformedError("actions[0].value.target", f"must be 1 to {REVISION_MAX} printable characters")
    return RevisionId(target)


def _questions(content: Mapping[str, object]) -> tuple[Reason, ...]:
    names = content.get("questions", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedError("actions[0].value.questions", "must be an array of strings")
    # One that this release does not know is not asked now either.
    return tuple(reason for reason in Reason if reason.value in names)
