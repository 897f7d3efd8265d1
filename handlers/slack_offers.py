"""The buttons of an announcement and what they carry: the incident and, on Approve, what was proposed above the button.

A message may be read long after it was written: on a phone that was offline, or while the proposal changed. So Approve
holds the sentence that named the target and the refusals that were listed, and `Offer.covers` says whether that is what
is proposed now. What a button carries comes back within a payload that Slack signed, and only our app can post it;
it is read as strictly as everything from outside all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from daemon.core.brief import Brief
from daemon.core.incidents import Incident
from daemon.core.model import IncidentId
from handlers.alerts import MalformedError, object_of, parse_json
from handlers.plain import exact, one_line, utf16_units

INCIDENT_MAX = 64
"""Longest incident id, in characters; ours have about 25."""

SENTENCE_MAX = 300
"""Longest sentence that a button carries, in UTF-16 units: ours end below, and the vendor's limit holds for all parts."""

QUESTIONS_MAX = 40
"""Most refusals that a button carries: there are about thirty kinds."""

VALUE_MAX = 2_000
"""Vendor's limit of a button's value, in characters (protocols.md §5.2)."""

REVISION_CHARS = 8
"""How much of a revision's hash people are shown (Revision.label)."""

_REASON = re.compile(r"[A-Z][A-Z_]{1,40}")


class Button(StrEnum):
    """The buttons; the value is the `action_id`, which no other app of the workspace shares with us by chance."""

    APPROVE = "lastgood_approve"
    DECLINE = "lastgood_decline"
    PAUSE = "lastgood_pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What stood in the message: the incident, the sentence with the target, and the refusals (Approve only)."""

    incident: IncidentId
    sentence: str = ""
    questions: frozenset[str] = frozenset()

    def covers(self, incident: Incident) -> bool:
        """Whether consent to this offer is consent to what `incident` proposes now.

        The target must be the one that was named, and each refusal that a person is asked about one that was shown.
        """
        target = incident.target
        if target is None or target.id[:REVISION_CHARS] not in self.sentence:
            return False
        return {reason.value.upper() for reason in incident.shown} <= self.questions


def value_of(brief: Brief, button: Button) -> str | None:
    """What the button of a message with this brief carries; None where it cannot carry it."""
    incident = exact(brief.incident, INCIDENT_MAX)
    if not incident:
        return None
    content: dict[str, object] = {"incident": incident}
    if button is Button.APPROVE:
        names = (line.partition(":")[0] for line in brief.refusals[:QUESTIONS_MAX])
        # Its end: the target's hash stands behind its images, however many there are.
        content["sentence"] = one_line(brief.done[-SENTENCE_MAX // 2 :], SENTENCE_MAX, utf16_units)
        content["questions"] = sorted({name for name in names if _REASON.fullmatch(name)})
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
    return Offer(incident=IncidentId(incident), sentence=_sentence(content), questions=_questions(content))


def _sentence(content: Mapping[str, object]) -> str:
    sentence = content.get("sentence", "")
    if not isinstance(sentence, str):
        raise MalformedError("actions[0].value.sentence", "must be a string")
    return sentence


def _questions(content: Mapping[str, object]) -> frozenset[str]:
    names = content.get("questions", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedError("actions[0].value.questions", "must be an array of strings")
    return frozenset(names)
