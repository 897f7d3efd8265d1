"""The scorecard as a JSON document: per workload what was decided, how often that was right, and whether it can be armed.

Pure, like `overview`, whose rules for keys, moments and text hold here too.
"""

from __future__ import annotations

from datetime import datetime

from daemon.core.incidents import Decision, VerdictKind, Word
from daemon.core.mode import mode_of
from daemon.core.model import Mode, Workload
from daemon.core.policy import Policy
from daemon.core.scorecard import MADE, Counts, Precision, Tally, number, precision, readiness, together
from daemon.core.state import State
from handlers.overview import Document, cut, moment

WORKLOADS_MAX = 2000
"""Workloads in one answer, as in a status. Those with something to judge come first."""

BLAME = (VerdictKind.ROLL_BACK, VerdictKind.PROPOSE)
"""The decisions that name a culprit."""

_WORDS: dict[str, Word | None] = {"right": Word.RIGHT, "wrong": Word.WRONG, "unjudged": None}


def scorecard(state: State, policy: Policy, now: datetime) -> Document:
    """All workloads that anything was decided about or that had a healthy rollout, and all of them together."""
    everything = together(state.scorecards.values())
    tallies = sorted(state.scorecards.values(), key=_to_judge_first)
    return {
        "now": moment(now),
        "total": _counted(everything),
        "workloads": [_row(each, everything, state, policy, now) for each in tallies[:WORKLOADS_MAX]],
        "left_out": max(0, len(tallies) - WORKLOADS_MAX),
    }


def of(name: str, state: State, policy: Policy, now: datetime) -> Document | None:
    """The same of the workloads that `namespace/name` or `namespace/Kind/name` means, with their decisions; None for none."""
    known = [
        *(each.workload for each in state.scorecards.values()),
        *(e.view.workload for e in state.workloads.values()),
    ]
    found = {each.key: each for each in known if name in (each.short, each.key)}
    if not found:
        return None
    everything = together(state.scorecards.values())
    tallies = [state.scorecards.get(each.key) or _empty(each, now) for each in found.values()]
    rows = [
        {**_row(each, everything, state, policy, now), "latest": [decision(d) for d in reversed(each.decisions)]}
        for each in tallies
    ]
    return {"now": moment(now), "total": _counted(everything), "workloads": rows, "left_out": 0}


def _empty(workload: Workload, now: datetime) -> Tally:
    """Of a workload about which nothing was decided, and that had no healthy rollout yet."""
    return Tally(workload=workload, since=now)


def _to_judge_first(tally: Tally) -> tuple[int, int, str]:
    return -len(tally.unjudged), -len(tally.decisions), tally.workload.key


def _row(tally: Tally, everything: Counts, state: State, policy: Policy, now: datetime) -> Document:
    tracked, ready = state.workloads.get(tally.workload.key), readiness(tally, everything, now)
    return {
        "workload": tally.workload.key,
        "mode": mode_of(policy, tracked).value if tracked is not None else None,
        "since": moment(tally.since),
        "days": max(0, (now - tally.since).days),
        **_counted(tally.counts),
        "healthy": tally.healthy,
        "unjudged": [each.incident for each in tally.unjudged],
        "enough": ready.enough,
        "sentence": ready.sentence,
    }


def _counted(counts: Counts) -> Document:
    return {
        "decisions": {
            made.value: {name: number(counts, (made,), word) for name, word in _WORDS.items()} for made in MADE
        },
        "modes": {
            mode.value: {name: number(counts, BLAME, word, (mode,)) for name, word in _WORDS.items()} for mode in Mode
        },
        "precision": {
            "roll_back": _precision(precision(counts, VerdictKind.ROLL_BACK)),
            "blame": _precision(precision(counts, *BLAME)),
        },
    }


def _precision(found: Precision) -> Document:
    return {"right": found.right, "judged": found.judged, "value": found.value, "low": found.low, "high": found.high}


def decision(found: Decision) -> Document:
    """A decision, with what people said of it."""
    return {
        "incident": found.incident,
        "at": moment(found.at),
        "made": found.made.value,
        "mode": found.mode.value,
        "evidence": found.tier.value,
        "revision": found.revision,
        "label": cut(found.label) if found.revision is not None else None,
        "refusals": [reason.value for reason in found.refusals],
        "word": found.word.value if found.word is not None else None,
        "judged_by": cut(found.judged_by) if found.judged_by is not None else None,
        "judged_at": moment(found.judged_at),
        "note": cut(found.note),
    }
