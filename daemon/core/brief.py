"""What people are told about an incident, as a value: pages and announcements carry one, handlers only lay it out.

Composing it is pure and it is journalled with the action, so nobody is told what the journal does not hold (DESIGN).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """The answers every message gives, in the order in which an on-call engineer asks.

    Each field is plain text without mark-up; layout, escaping and size limits are the handlers' job. `lines` under
    `refusals` hold the number seen and the number needed. `commands` are exact and can be pasted. `links` are (text, URL)
    of the change and its pipeline, and of the pull request that reverts it. `asks`: a person can approve or decline now;
    `countdown_until` is when it runs by itself. `target` is the id of the revision and `questions` the reasons that an
    approval answers: what consent is given to.
    """

    incident: str
    headline: str
    phase: str
    workload: str
    changed: str
    since: datetime | None
    wide: str
    done: str
    refusals: tuple[str, ...]
    evidence: tuple[str, ...]
    commands: tuple[str, ...]
    update: str
    final: bool = False
    links: tuple[tuple[str, str], ...] = ()
    asks: bool = False
    countdown_until: datetime | None = None
    target: str = ""
    questions: tuple[str, ...] = ()
