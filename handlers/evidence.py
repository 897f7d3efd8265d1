"""The evidence of a verdict for people: the loudest term first, and where a person says "wrong", which one misled it.

Pure, like `overview`, whose rules for keys, moments and text hold here too.
"""

from __future__ import annotations

from collections.abc import Iterable

from daemon.core import facts as f
from daemon.core.incidents import Decision, Incident, Suspicion, Term, Tier, Verdict, VerdictKind, Word
from daemon.core.policy import Policy
from daemon.core.reasons import Consequence, Refusal
from daemon.core.would import without_mode
from handlers import overview
from handlers.overview import Document, cut, moment
from handlers.road import History

_MAY = {
    Tier.START_FAILURE: "may act, without countdown",
    Tier.CONTRAST: "may act",
    Tier.BEFORE_AFTER: "may only propose",
    Tier.TIMING: "may only propose",
    Tier.NONE: "blames nobody",
}
"""What each strength of evidence allows, whatever the score (DESIGN, "Blame")."""


def loudest_first(terms: Iterable[Term]) -> tuple[Term, ...]:
    """By what they weigh in the score, for or against; equal ones stay as they were."""
    return tuple(sorted(terms, key=lambda term: -abs(term.weight)))


def candidate(suspicion: Suspicion, policy: Policy) -> Document:
    """A candidate with all its terms, the loudest first, their sum, and what evidence of that kind may do."""
    tier = suspicion.tier
    acts = tier is Tier.BEFORE_AFTER and policy.act_without_control
    return {
        "workload": suspicion.workload.key,
        "revision": overview.revision(suspicion.revision),
        "replaced": overview.revision(suspicion.replaced),
        "score": suspicion.score,
        "tier": tier.value,
        "may": "may act (act_without_control)" if acts else _MAY[tier],
        "terms": [_term(each) for each in loudest_first(suspicion.terms)],
        "refusals": [overview.refusal(veto) for veto in suspicion.vetoes],
    }


def _term(term: Term) -> Document:
    return {
        "name": term.name,
        "value": term.value,
        "threshold": term.threshold,
        "weight": term.weight,
        "sentence": cut(term.sentence),
    }


def judged(incident: Incident, history: History, policy: Policy) -> Document | None:
    """A person's word on the decision; with "wrong" also what spoke loudest when it was made. None where nobody said anything."""
    decision = incident.decision
    if decision is None or decision.word is None:
        return None
    return {
        "word": decision.word.value,
        "by": cut(decision.judged_by or ""),
        "at": moment(decision.judged_at),
        "note": cut(decision.note),
        "made": decision.made.value,
        "made_at": moment(decision.at),
        "label": cut(decision.label) if decision.revision is not None else None,
        "misled": _misled(decision, incident, history, policy) if decision.word is Word.WRONG else None,
    }


def _misled(decision: Decision, incident: Incident, history: History, policy: Policy) -> Document:
    """What the decision came from: the loudest term for the blame, or against it, and the refusals that handed it over."""
    suspicions, verdict = _as_decided(incident, history)
    accused = next((each for each in suspicions if each.revision.id == decision.revision), None)
    leader = accused or next(iter(suspicions), None)
    handed_over = _final(verdict) if decision.made is VerdictKind.ESCALATE else ()
    return {
        "accused": accused is not None,
        "workload": leader.workload.key if leader is not None else None,
        "score": leader.score if leader is not None else None,
        "threshold": policy.blame_threshold,
        **_heard(leader, accusing=accused is not None),
        "refusals": [overview.refusal(each) for each in handed_over],
    }


def _heard(suspicion: Suspicion | None, *, accusing: bool) -> Document:
    """The loudest term that pulls where the decision went, the score without it, and what else there is for the blame."""
    loudest = _loudest(suspicion, accusing=accusing) if suspicion is not None else None
    if suspicion is None or loudest is None:
        return {"loudest": None, "score_without": None, "left": []}
    return {
        "loudest": _term(loudest),
        "score_without": round(suspicion.score - loudest.weight, 4),
        "left": [term.name for term in suspicion.terms if term.weight > 0 and term is not loudest],
    }


def _loudest(suspicion: Suspicion, *, accusing: bool) -> Term | None:
    """Of the terms that pull where the decision went."""
    pulling = [term for term in suspicion.terms if (term.weight > 0 if accusing else term.weight < 0)]
    return next(iter(loudest_first(pulling)), None)


def _final(verdict: Verdict | None) -> tuple[Refusal, ...]:
    refusals = without_mode(verdict.refusals) if verdict is not None else ()
    return tuple(each for each in refusals if each.consequence is Consequence.ESCALATE)


def _as_decided(incident: Incident, history: History) -> tuple[tuple[Suspicion, ...], Verdict | None]:
    """The evidence when it was decided; the latest where the journal's part that was read does not reach back so far."""
    found: tuple[tuple[Suspicion, ...], Verdict | None] = (incident.suspicions, incident.verdict)
    for _, fact in history:
        if isinstance(fact, f.Judged):
            found = (fact.suspicions, fact.verdict)
        elif isinstance(fact, f.Decided):
            return found
    return incident.suspicions, incident.verdict
