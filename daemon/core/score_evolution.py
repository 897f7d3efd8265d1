"""How decisions, people's words on them and healthy rollouts change the state; part of `evolution`, which has the table.

Tallies are beside the workloads and not in them: what was decided stays true when a workload is deleted and made anew.
"""

from __future__ import annotations

from dataclasses import replace

from daemon.core import facts as f
from daemon.core.incidents import Decision
from daemon.core.model import Workload
from daemon.core.scorecard import Tally
from daemon.core.state import State, Tracked, with_key, without_key
from daemon.core.table import table

TALLIES_KEPT_MAX = 10_000
"""Workloads with a tally, twice the largest cluster that was tried: names that come and go must not make it grow for ever."""


def decided(state: State, fact: f.Decided) -> State:
    """An incident has its decision; it counts unless a person named the culprit."""
    incident = state.incidents.get(fact.incident)
    state = state.with_incident(fact.incident, decision=fact.decision)
    if incident is None or incident.declared is not None:
        return state
    tally = _tally(state, fact.decision.workload, fact)
    return _with_tally(state, tally.with_decision(fact.decision))


def reviewed(state: State, fact: f.ReviewGiven) -> State:
    """A person's word is on the incident, as long as that is remembered, and in the tally."""
    judged = replace(fact.about, word=fact.word, judged_by=fact.actor, judged_at=fact.at, note=fact.note)
    state = state.with_incident(fact.incident, decision=judged)
    tally = state.scorecards.get(fact.about.workload.key)
    return state if tally is None else _with_tally(state, tally.with_word(fact.about, judged))


def verified(state: State, fact: f.LedgerWritten, tracked: Tracked) -> State:
    """A revision was verified: a healthy rollout, if we saw it roll out and it changed something.

    What was proven from history is left out: an alert of that time opened no incident, so silence says nothing.
    """
    rollout, entry = tracked.rollout, fact.entry
    if fact.what != "verified" or rollout is None or rollout.revision.id != entry.revision.id:
        return state
    backwards = entry.proof is not None and entry.proof.backwards
    if rollout.replaced is None or rollout.ours is not None or rollout.restart_only or backwards:
        return state
    return _with_tally(state, _tally(state, rollout.workload, fact).with_healthy(entry.revision.id))


def _tally(state: State, workload: Workload, fact: f.Decided | f.LedgerWritten) -> Tally:
    return state.scorecards.get(workload.key) or Tally(workload=workload, since=fact.at)


def _with_tally(state: State, tally: Tally) -> State:
    tallies = with_key(state.scorecards, tally.workload.key, tally)
    if len(tallies) > TALLIES_KEPT_MAX:
        kept = table(tallies)
        oldest = kept.first_having(_without_decision, True) or next(iter(kept.items()))
        tallies = without_key(tallies, oldest[0])
    return replace(state, scorecards=tallies)


def _without_decision(tally: Tally) -> tuple[bool]:
    return (not tally.decisions,)


def decision_of(state: State, incident_id: str) -> Decision | None:
    """The decision on an incident, also of one that is forgotten, as long as its tally has it."""
    incident = state.incidents.get(incident_id)
    if incident is not None:
        return incident.decision
    found = table(state.scorecards).first_having(_incidents, incident_id)
    return next((each for each in found[1].decisions if each.incident == incident_id), None) if found else None


def _incidents(tally: Tally) -> tuple[str, ...]:
    return tuple(decision.incident for decision in tally.decisions)
