"""How right the replayed verdicts were: what a team reads before it arms anything, and what the benchmark compares.

Only `roll_back` counts for precision, recall and F1: a proposal is read by a person, who may say no. Of several verdicts to roll
back the same rollout of a workload the first counts; the others say it again. A rollback is *true* when it names the culprit's
very rollout, so undoing what a later rollout of the culprit repaired is false. All of a recording without a culprit in it (nobody
is to blame, or the culprit's rollout is hidden from it) counts against precision, too: there every rollback is false. A recording
without any `truth` is not scored: nobody has said that nobody was to blame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from daemon.core.incidents import VerdictKind
from handlers.backtest import intervals
from handlers.backtest.confidence import CONFIDENCE, Quantile, Share, f1, quantile, share
from handlers.backtest.recording import Recording, RolloutSeen
from handlers.backtest.verdicts import Told

DIGITS = 4
"""Digits after the point in a document: the intervals are wider than that."""

STRENGTH = (VerdictKind.ROLL_BACK, VerdictKind.PROPOSE)
"""Strongest first; escalate, hold and dismiss are one rank below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A rollout of a recording: which workload's (`namespace/Kind/name`), and when it began."""

    workload: str
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """Whose rollout was to blame. `rollout_at` None: hidden, the recording does not hold its rollout, so nobody can be right.

    `seen_from` is the moment from which the fault could be seen; None: since the rollout began.
    """

    workload: str
    rollout_at: datetime | None
    seen_from: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One recording, the truth about it, and what was said of it, in time order. No culprit: nobody was to blame.

    `judged` False: the recording holds no truth at all, so it cannot be scored.
    `shows_itself`: whether the new revision's own signals show the fault; None where nobody said.
    """

    recording: str
    rollouts: tuple[Begun, ...]
    told: tuple[Told, ...]
    interval: timedelta
    culprits: tuple[Culprit, ...] = ()
    shows_itself: bool | None = None
    judged: bool = True

    @property
    def hidden(self) -> bool:
        """Somebody was to blame, and no culprit's rollout is in the recording."""
        return bool(self.culprits) and not self.seen

    @property
    def seen(self) -> tuple[Culprit, ...]:
        """The culprits whose rollouts the recording holds, in time order."""
        found = [(each.rollout_at, each) for each in self.culprits if each.rollout_at is not None]
        return tuple(each for _, each in sorted(found, key=lambda pair: pair[0]))

    @property
    def healthy(self) -> int:
        """The rollouts that were not to blame."""
        guilty = {(each.workload, each.rollout_at) for each in self.culprits}
        return sum(1 for each in self.rollouts if (each.workload, each.started_at) not in guilty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """The first verdict to roll back one rollout of one workload (`started_at` None: the recording holds no such rollout)."""

    at: datetime
    workload: str
    started_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The score over all recordings that hold a truth (`without_truth` do not); every number with a 95 % interval.

    `recall` is over all culprits whose rollouts are recorded, `recall_shown` and `f1_shown` over those whose own signals show the
    fault. `top_1`: see `first_named`. `proposed_first`: of the recorded culprits that were not rolled back and whose time saw a
    proposal, the share whose last proposal names the culprit. `semantic_found`: of those whose own signals are known not to show
    the fault, the share for which the strongest verdict is a proposal (or more) that names the culprit; silence is a miss.
    `hidden_acted`: recordings with a hidden culprit in which anything was rolled back. `false_rollbacks` is over all healthy
    rollouts, `placebo` over those of the recordings in which nobody was to blame. Delays are of true rollbacks.
    """

    recordings: int
    without_truth: int
    rollouts: int
    healthy_rollouts: int
    culprits: int
    precision: Share
    recall: Share
    f1: Share
    recall_shown: Share
    f1_shown: Share
    top_1: Share
    proposed_first: Share
    semantic_found: Share
    hidden_acted: Share
    false_rollbacks: Share
    placebo: Share
    delay_seconds: tuple[Quantile, Quantile]
    delay_samples: tuple[Quantile, Quantile]

    def document(self) -> dict[str, Any]:
        """What `--score` closes with: plain numbers first, their bounds under `intervals`, what was counted last."""
        shares = {name: (each.value, each.low, each.high) for name, each in self._shares()}
        shares["false_rollbacks_per_1000"] = self.false_rollbacks.scaled(1000)
        shares["placebo_rollbacks_per_1000"] = self.placebo.scaled(1000)
        counts = {name: {"hits": each.hits, "of": each.of} for name, each in self._shares()}
        counts["false_rollbacks_per_1000"] = {"hits": self.false_rollbacks.hits, "of": self.false_rollbacks.of}
        counts["placebo_rollbacks_per_1000"] = {"hits": self.placebo.hits, "of": self.placebo.of}
        return {
            "recordings": self.recordings,
            "without_truth": self.without_truth,
            "rollouts": self.rollouts,
            "healthy_rollouts": self.healthy_rollouts,
            "culprits": self.culprits,
            **{name: _rounded(value) for name, (value, _, _) in shares.items()},
            "decision_delay_seconds": _delays(self.delay_seconds),
            "decision_delay_samples": _delays(self.delay_samples),
            "confidence": CONFIDENCE,
            "intervals": {name: [_rounded(low), _rounded(high)] for name, (_, low, high) in shares.items()},
            "counts": counts,
        }

    def line(self) -> str:
        """The document as one line."""
        return json.dumps(self.document(), ensure_ascii=False)

    def _shares(self) -> Iterator[tuple[str, Share]]:
        yield "precision", self.precision
        yield "recall", self.recall
        yield "f1", self.f1
        yield "recall_shown", self.recall_shown
        yield "f1_shown", self.f1_shown
        yield "top_1", self.top_1
        yield "proposed_first", self.proposed_first
        yield "semantic_found", self.semantic_found
        yield "hidden_acted", self.hidden_acted


def replayed(
    recording: Recording, told: Sequence[Told], *, fault_at: datetime | None = None, shows_itself: bool | None = None
) -> Replayed:
    """A recording with what was said of it. Its truths name the culprits.

    A truth means the culprit's last rollout that began by the truth's time (by `fault_at` where given), or its first one where
    none did: so it may stand at the fault, at the end of the recording, or before everything.
    """
    rollouts = tuple(
        Begun(workload=each.workload, started_at=each.at)
        for each in recording.evidence
        if isinstance(each, RolloutSeen) and each.phase == "started"
    )
    named = [(truth.culprit, fault_at or truth.at) for truth in recording.truths if truth.culprit is not None]
    culprits = {
        (workload, rollout_at := _meant(rollouts, workload, at)): Culprit(
            workload=workload, rollout_at=rollout_at, seen_from=fault_at
        )
        for workload, at in named
    }
    return Replayed(
        recording=recording.name,
        rollouts=rollouts,
        told=tuple(sorted(told, key=lambda each: each.at)),
        interval=intervals.find(recording.evidence).step,
        culprits=tuple(culprits.values()),
        shows_itself=shows_itself,
        judged=bool(recording.truths),
    )


def summary(all_replayed: Sequence[Replayed]) -> Summary:
    """The score of these recordings together. Those without a truth are counted and otherwise left out."""
    untold = sum(1 for each in all_replayed if not each.judged)
    all_replayed = [each for each in all_replayed if each.judged]
    pairs = [(each, rollbacks(each)) for each in all_replayed]
    true = sum(len(true_rollbacks(each, found)) for each, found in pairs)
    false = sum(len(found) for _, found in pairs) - true
    culprits = sum(len(each.seen) for each in all_replayed)
    shown = [(each, found) for each, found in pairs if each.shows_itself]
    true_shown = sum(len(true_rollbacks(each, found)) for each, found in shown)
    all_shown = sum(len(each.seen) for each, _ in shown)
    hidden = [found for each, found in pairs if each.hidden]
    placebo = [(each, found) for each, found in pairs if not each.culprits]
    delays = [delay for each, found in pairs for delay in _delays_of(each, found)]
    return Summary(
        recordings=len(all_replayed),
        without_truth=untold,
        rollouts=sum(len(each.rollouts) for each in all_replayed),
        healthy_rollouts=sum(each.healthy for each in all_replayed),
        culprits=culprits,
        precision=share(true, true + false),
        recall=share(true, culprits),
        f1=f1(true, false, culprits - true),
        recall_shown=share(true_shown, all_shown),
        f1_shown=f1(true_shown, false, all_shown - true_shown),
        top_1=_counted([right for each in all_replayed for right in first_named(each)]),
        proposed_first=_counted([right for each, found in pairs for right in _proposals(each, found)]),
        semantic_found=_counted(
            [right for each in all_replayed if each.shows_itself is False for right in _found(each)]
        ),
        hidden_acted=share(sum(1 for found in hidden if found), len(hidden)),
        false_rollbacks=share(false, sum(each.healthy for each in all_replayed)),
        placebo=share(sum(len(found) for _, found in placebo), sum(len(each.rollouts) for each, _ in placebo)),
        delay_seconds=_median_and_p90([seconds for seconds, _ in delays]),
        delay_samples=_median_and_p90([samples for _, samples in delays]),
    )


def rollbacks(each: Replayed) -> tuple[Rollback, ...]:
    """The first verdict to roll back each rollout: the last of the workload that had begun when it was spoken."""
    first: dict[tuple[str, datetime | None], Rollback] = {}
    for told in each.told:
        if told.verdict is VerdictKind.ROLL_BACK and told.workload is not None:
            key = (told.workload, _begun(each.rollouts, told.workload, told.at))
            first.setdefault(key, Rollback(at=told.at, workload=told.workload, started_at=key[1]))
    return tuple(first.values())


def true_rollbacks(each: Replayed, found: Sequence[Rollback]) -> tuple[Rollback, ...]:
    """Those that name a culprit's very rollout."""
    guilty = {(culprit.workload, culprit.rollout_at) for culprit in each.seen}
    return tuple(one for one in found if (one.workload, one.started_at) in guilty)


def strongest(told: Sequence[Told]) -> Told | None:
    """What a person would go by: of the verdicts that name a workload a rollback before a proposal before the rest.

    Of several as strong the last; None where none of them names a workload.
    """
    naming = [each for each in told if each.workload is not None]
    for kind in STRENGTH:
        if same := [each for each in naming if each.verdict is kind]:
            return same[-1]
    return naming[-1] if naming else None


def first_named(each: Replayed) -> Iterator[bool]:
    """Top-1: for each recorded culprit in whose time any verdict names a workload, whether the strongest one names the culprit.

    A culprit's time lasts from the beginning of its rollout until the next culprit's begins, or the recording ends. Where no
    verdict of it names a workload nothing was ranked, and it does not count.
    """
    for culprit, told in _times(each):
        best = strongest(told)
        if best is not None:
            yield best.workload == culprit.workload


def _found(each: Replayed) -> Iterator[bool]:
    for culprit, told in _times(each):
        best = strongest([one for one in told if one.verdict in STRENGTH])
        yield best is not None and best.workload == culprit.workload


def _proposals(each: Replayed, found: Sequence[Rollback]) -> Iterator[bool]:
    true = {(one.workload, one.started_at) for one in true_rollbacks(each, found)}
    for culprit, told in _times(each):
        proposals = [one for one in told if one.verdict is VerdictKind.PROPOSE and one.workload is not None]
        if proposals and (culprit.workload, culprit.rollout_at) not in true:
            yield proposals[-1].workload == culprit.workload


def _times(each: Replayed) -> Iterator[tuple[Culprit, list[Told]]]:
    """Each recorded culprit with the verdicts of its time."""
    seen = each.seen
    for number, culprit in enumerate(seen):
        begin = culprit.rollout_at
        end = seen[number + 1].rollout_at if number + 1 < len(seen) else None
        told = [one for one in each.told if begin is not None and begin <= one.at and (end is None or one.at < end)]
        yield culprit, told


def _delays_of(each: Replayed, found: Sequence[Rollback]) -> Iterator[tuple[float, float]]:
    """Of each true rollback: seconds, and samples of the recording's interval, since the fault could be seen; never below 0."""
    since = {(one.workload, one.rollout_at): one.seen_from or one.rollout_at for one in each.seen}
    for one in true_rollbacks(each, found):
        start = since[one.workload, one.started_at]
        if start is not None:
            seconds = max(0.0, (one.at - start).total_seconds())
            yield seconds, seconds / each.interval.total_seconds()


def _begun(rollouts: Sequence[Begun], workload: str, by: datetime) -> datetime | None:
    return max(
        (each.started_at for each in rollouts if each.workload == workload and each.started_at <= by), default=None
    )


def _meant(rollouts: Sequence[Begun], workload: str, by: datetime) -> datetime | None:
    return _begun(rollouts, workload, by) or min(
        (each.started_at for each in rollouts if each.workload == workload), default=None
    )


def _counted(answers: Sequence[bool]) -> Share:
    return share(sum(answers), len(answers))


def _median_and_p90(values: Sequence[float]) -> tuple[Quantile, Quantile]:
    return quantile(values, 0.5), quantile(values, 0.9)


def _delays(found: tuple[Quantile, Quantile]) -> dict[str, Any]:
    middle, p90 = found
    return {
        "median": _rounded(middle.value),
        "p90": _rounded(p90.value),
        "intervals": {
            "median": [_rounded(middle.low), _rounded(middle.high)],
            "p90": [_rounded(p90.low), _rounded(p90.high)],
        },
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DIGITS)
