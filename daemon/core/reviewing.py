"""A person's word on a decision: kept for the scorecard, the last one counts, and who is innocent gets back what they had."""

from __future__ import annotations

from daemon.core import progress, soaking
from daemon.core.draft import Draft
from daemon.core.events import Reviewed
from daemon.core.facts import ReviewGiven
from daemon.core.incidents import Incident, Phase, Trigger, Word
from daemon.core.reasons import Reason
from daemon.core.score_evolution import decision_of
from daemon.core.telling import announce


def reviewed(draft: Draft, event: Reviewed) -> None:
    """Keep the word. "wrong" declines what is proposed and lifts the quarantine; "right" after it puts both back in force."""
    incident = draft.state.incidents.get(event.incident)
    about = decision_of(draft.state, event.incident)
    if about is None:
        draft.refuse("judge", event.actor, _nothing(incident, event))
        return
    draft.add(
        ReviewGiven(
            at=draft.now, incident=event.incident, about=about, word=event.word, actor=event.actor, note=event.note
        )
    )
    if event.word is Word.WRONG:
        soaking.acquit(draft, about, f"judged wrong by {event.actor}")
    elif about.word is Word.WRONG and incident is not None and incident.patched_at is not None:
        soaking.convict(draft, about, f"judged right by {event.actor} after all")
    if incident is not None:
        _follow(draft, incident, event)


def _nothing(incident: Incident | None, event: Reviewed) -> str:
    if incident is None:
        return f"there is no incident {event.incident}"
    if incident.asked is not None:
        return f"incident {incident.id} is a rollback that {incident.asked.actor} asked for: no decision of Lastgood"
    if incident.merged_into is not None:
        return f"incident {incident.id} was merged: judge {incident.merged_into}"
    return f"nothing was decided about incident {incident.id}: it is {incident.phase}"


def _follow(draft: Draft, incident: Incident, event: Reviewed) -> None:
    if event.word is Word.WRONG and incident.phase is Phase.PROPOSED:
        progress.escalate(draft, incident.id, Trigger.DECLINED, Reason.DECLINED, actor=event.actor)
    elif incident.thread.count:  # whoever read of the decision reads of this; nobody is paged
        told = draft.incident(incident.id)
        announce(draft, told, f"Judged {event.word} by {event.actor}. {event.note}".strip())
