"""The scorecard: how often Lastgood's decisions about a workload were right, and whether that suffices to arm it.

A revision counts once per kind of decision, however often its alert comes back: it is one question to the on-call, and counting
its repetitions would make the certainty look greater than it is. Incidents that a person declared or asked for are left out:
there the person named the culprit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import sqrt

from daemon.core.incidents import Decision, VerdictKind, Word
from daemon.core.model import Mode, RevisionId, Workload

DECISIONS_KEPT_MAX = 50
"""Decisions per workload that are kept one by one, and can still be judged. Older ones are only counted: whoever has not
judged one within fifty others will not."""

MADE = (VerdictKind.ROLL_BACK, VerdictKind.PROPOSE, VerdictKind.ESCALATE)
"""The kinds of decisions."""

Z = 1.6448536269514722
"""The standard normal's 95 % quantile. The interval of both sides is one of 90 %, so that its lower end alone is what
the precision is at least, with 95 % certainty: that is the question of whoever arms a workload."""

PRECISION_LOW_MIN = 0.8
"""What the precision of decisions to roll back must be at least, with that certainty: 11 of 11, or 19 of 20. A rollback that
was wrong costs a redeployment and is undone by it, so four of five is enough to begin with; the guards stay on."""

HEALTHY_MIN = 50
"""Healthy rollouts that raised no decision. With none wrong among 50, fewer than 1 in 16 raise a false alarm (95 %: 3 / 50)."""

HISTORY_MIN = timedelta(days=14)
"""Instead of so many rollouts: two weeks have seen each weekday twice, so the peaks and the quiet nights that look like
regressions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many decisions of this kind, made in this mode, have this word (None: not judged)."""

    made: VerdictKind
    mode: Mode
    word: Word | None
    number: int


Counts = Counter[tuple[VerdictKind, Mode, Word | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was decided about a workload since it was first counted; bounded, so it outlives its incidents.

    `decisions` are the newest ones, oldest first; `earlier` counts those before them. `healthy` are rollouts whose revision
    was verified without any decision about it, `healthy_revision` the last of them.
    """

    workload: Workload
    since: datetime
    decisions: tuple[Decision, ...] = ()
    earlier: tuple[Count, ...] = ()
    healthy: int = 0
    healthy_revision: RevisionId | None = None

    @property
    def counts(self) -> Counts:
        """All decisions by kind, mode and word."""
        found: Counts = Counter({(each.made, each.mode, each.word): each.number for each in self.earlier})
        found.update(_cell(decision) for decision in self.decisions)
        return found

    @property
    def unjudged(self) -> tuple[Decision, ...]:
        """Decisions that name a culprit and nobody has judged yet, the newest first."""
        return tuple(each for each in reversed(self.decisions) if each.blames and each.word is None)

    def with_decision(self, decision: Decision) -> Tally:
        """With one decision more. The same again about a revision takes the place, and keeps the word, of the one before."""
        before = next((each for each in self.decisions if is_same(each, decision)), None)
        others = tuple(each for each in self.decisions if each is not before)
        if before is not None:
            decision = replace(before, incident=decision.incident, at=decision.at)
        kept = (*others, decision)
        counted = self.earlier if len(kept) <= DECISIONS_KEPT_MAX else _counted(self.earlier, kept[0])
        wrongly = decision.revision is not None and decision.revision == self.healthy_revision
        return replace(
            self,
            decisions=kept[-DECISIONS_KEPT_MAX:],
            earlier=counted,
            healthy=self.healthy - 1 if wrongly else self.healthy,
            healthy_revision=None if wrongly else self.healthy_revision,
        )

    def with_word(self, about: Decision, judged: Decision) -> Tally:
        """With a person's word on the decision; unchanged where it is not among those that are kept."""
        decisions = tuple(
            replace(each, word=judged.word, judged_by=judged.judged_by, judged_at=judged.judged_at, note=judged.note)
            if each.incident == about.incident or is_same(each, about)
            else each
            for each in self.decisions
        )
        return replace(self, decisions=decisions)

    def with_healthy(self, revision: RevisionId) -> Tally:
        """With one healthy rollout more; a revision that was decided about, or counted just now, is none."""
        if revision == self.healthy_revision or any(each.revision == revision for each in self.decisions):
            return self
        return replace(self, healthy=self.healthy + 1, healthy_revision=revision)


def _cell(decision: Decision) -> tuple[VerdictKind, Mode, Word | None]:
    return decision.made, decision.mode, decision.word


def is_same(one: Decision, other: Decision) -> bool:
    """The same decision about the same revision."""
    return one.revision is not None and (one.revision, one.made) == (other.revision, other.made)


def _counted(earlier: tuple[Count, ...], decision: Decision) -> tuple[Count, ...]:
    counts: Counts = Counter({(each.made, each.mode, each.word): each.number for each in earlier})
    counts[_cell(decision)] += 1
    return tuple(Count(made=made, mode=mode, word=word, number=number) for (made, mode, word), number in counts.items())


def number(counts: Counts, made: Iterable[VerdictKind], word: Word | None, modes: Iterable[Mode] = tuple(Mode)) -> int:
    """How many decisions of these kinds, made in these modes, have this word."""
    wanted = set(modes)
    return sum(counts[kind, mode, word] for kind in made for mode in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How many of the judged decisions were right: `value` of 0..1 (None where none is judged), in [low, high]."""

    right: int
    judged: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share that was right."""
        return self.right / self.judged if self.judged else None


def precision(counts: Counts, *made: VerdictKind) -> Precision:
    """The precision of the decisions of these kinds."""
    right, wrong = (number(counts, made, word) for word in (Word.RIGHT, Word.WRONG))
    low, high = interval(right, right + wrong)
    return Precision(right=right, judged=right + wrong, low=low, high=high)


def interval(right: int, judged: int) -> tuple[float, float]:
    """Wilson's score interval of a share, both in 0..1; (0, 1) where nothing is known.

    Wilson's, because the plain one is [1, 1] for 3 of 3 and so would arm a workload after a single success. Source: E. B.
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927); L. D. Brown et al.,
    "Interval Estimation for a Binomial Proportion", Statistical Science 16 (2001), who recommend it for few cases.
    """
    if judged == 0:
        return 0.0, 1.0
    share, spread = right / judged, Z * Z / judged
    middle = share + spread / 2
    half = Z * sqrt(share * (1 - share) / judged + spread / (4 * judged))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return min(max(0.0, low), share), max(min(1.0, high), share)  # rounding must not leave the share outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether there is enough history to arm a workload, with the reasons in a sentence."""

    enough: bool
    sentence: str


def readiness(tally: Tally, everything: Counts, now: datetime) -> Readiness:
    """Whether the history suffices to arm the workload; `everything` has the decisions about all workloads.

    One workload seldom has a dozen bad rollouts. So the decisions about all of them together may stand in for its own, where none
    of its own was wrong; the healthy rollouts, or the days, must be its own.
    """
    own = precision(tally.counts, VerdictKind.ROLL_BACK)
    total = precision(everything, VerdictKind.ROLL_BACK)
    days = max(0, (now - tally.since).days)
    seen = f"{tally.healthy} healthy rollouts without a decision in {days} days"
    lived = tally.healthy >= HEALTHY_MIN or now - tally.since >= HISTORY_MIN
    if lived and own.low >= PRECISION_LOW_MIN:
        return Readiness(enough=True, sentence=f"Enough history to arm it: {_told(own)}; {seen}.")
    if lived and own.right == own.judged and total.low >= PRECISION_LOW_MIN:
        borrowed = f"over all workloads {_told(total)}, none of them wrong about this one"
        return Readiness(enough=True, sentence=f"Enough history to arm it: {borrowed}; {seen}.")
    missing = [] if own.low >= PRECISION_LOW_MIN else [f"{_told(own)} (needs {PRECISION_LOW_MIN:.0%})"]
    missing += [] if lived else [f"{seen} (needs {HEALTHY_MIN}, or {HISTORY_MIN.days} days)"]
    missing += [f"{len(tally.unjudged)} wait for `lastgood judge`"] if tally.unjudged else []
    return Readiness(enough=False, sentence=f"Not enough history to arm it: {'; '.join(missing)}.")


def _told(found: Precision) -> str:
    if found.judged == 0:
        return "no decision to roll back is judged"
    said = f"{found.right} of {found.judged} judged decisions to roll back were right"
    return f"{said}, at least {found.low:.0%} with 95 % certainty"


def together(tallies: Iterable[Tally]) -> Counts:
    """The decisions about all workloads."""
    found: Counts = Counter()
    for tally in tallies:
        if tally.decisions or tally.earlier:
            found.update(tally.counts)
    return found
