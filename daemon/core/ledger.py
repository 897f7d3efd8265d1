"""The ledger: which revisions of a workload are verified, with their proof, and which are quarantined.

A Revision becomes verified when it has accumulated `soak` of proven health as the only serving revision. An inconclusive
time pauses the clock, an unhealthy one resets it; too little traffic leads to a health-only proof after
`soak_low_traffic` (DESIGN, "Verified, exactly").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from daemon.core.measurement import SoakMeasurement
from daemon.core.model import Revision
from daemon.core.policy import Policy

ZERO = timedelta(0)

# How a revision is watched on once it is verified, or was rolled back to and the symptom went away (DESIGN). Rarer looks miss
# nothing: each reads back all the time since the one before. What they cost is that a regression is known later.

CLOSE_WATCH_FOR = timedelta(hours=2)
"""A look per `soak`: what a soak is too short for shows in the hours after it (caches that fill, pools and memory that leak)."""

WATCHED_FOR = timedelta(hours=24)
"""What begins within it withdraws the mark: a day has the morning's peak and the night's jobs in it, and after a day most that
goes wrong comes from elsewhere than from the rollout."""

WIDE_WATCH_EVERY = timedelta(hours=2)
"""Between looks from then on: eleven in the rest of the day, and a leak that took hours to show is not an outage of minutes."""

PROOF_KEPT_FRESH_EVERY = timedelta(hours=24)
"""After the watch: only so that the proof of what still serves does not grow old (`proof_age_max` is days)."""


class ProofKind(StrEnum):
    """TRAFFIC: signals were healthy under load. HEALTH_ONLY: it ran without trouble, but too little traffic to judge."""

    TRAFFIC = "traffic"
    HEALTH_ONLY = "health_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Why a revision counts as good: what was proven, over how long, when. `backwards`: read from history at a start."""

    kind: ProofKind
    verified_at: datetime
    soaked: timedelta
    since: datetime
    backwards: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """What is known of one revision of one workload.

    `soaked` counts healthy time under traffic, `quiet` healthy time whatever the traffic. `checked_until` is the end of
    the last measured span, `healthy_at` the latest moment it was seen serving healthily. `baseline` holds typical values
    of its signals. A quarantined entry keeps its proof aside: release gives it back;
    `came_back_at` is when it was first seen deployed again; `recovered_at` when a rollback to it was found to have helped.
    """

    revision: Revision
    serving_since: datetime | None = None
    soaked: timedelta = ZERO
    quiet: timedelta = ZERO
    since: datetime | None = None
    checked_until: datetime | None = None
    next_check: datetime | None = None
    checks: int = 0
    proof: Proof | None = None
    healthy_at: datetime | None = None
    recovered_at: datetime | None = None
    quarantined_by: str | None = None
    came_back_at: datetime | None = None
    withdrawn: str | None = None
    because: str = ""
    baseline: tuple[tuple[str, float], ...] = ()

    @property
    def verified(self) -> bool:
        """It may be a target: proven and not quarantined."""
        return self.proof is not None and self.quarantined_by is None

    @property
    def watched_since(self) -> datetime | None:
        """Since when it is watched for a regression; None where it has no mark to lose."""
        if self.proof is None:
            return None
        return max(self.proof.verified_at, self.recovered_at or self.proof.verified_at)

    def lost_by(self, at: datetime) -> bool:
        """What began to go wrong at this moment takes the mark away: it lies within the watch."""
        return self.watched_since is not None and at - self.watched_since < WATCHED_FOR

    def why_not(self, policy: Policy) -> str:
        """One clause why this is no target, for pages and `explain`."""
        if self.quarantined_by is not None:
            return f"quarantined by {self.quarantined_by}"
        if self.withdrawn:
            return f"its mark was withdrawn: {self.withdrawn}"
        best = max(self.soaked, ZERO)
        detail = f"; {self.because}" if self.because else ""
        return f"never verified: {_short(best)} of {_short(policy.soak)} healthy soak{detail}"


def _short(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    return f"{seconds // 60}m{seconds % 60:02d}s" if seconds >= 60 else f"{seconds}s"


def counted(entry: LedgerEntry, soak: SoakMeasurement) -> LedgerEntry:
    """The entry after a measured span: clocks advanced, paused or reset. Source: DESIGN, "Verified, exactly"."""
    reset = soak.unhealthy_at is not None
    soaked = (ZERO if reset else entry.soaked) + soak.healthy
    quiet = (ZERO if reset else entry.quiet) + soak.healthy + soak.quiet
    since = soak.unhealthy_at if reset else (entry.since or soak.since)
    return replace(
        entry,
        soaked=soaked,
        quiet=quiet,
        since=since,
        checked_until=soak.until,
        checks=entry.checks + 1,
        healthy_at=soak.healthy_until or entry.healthy_at,
        because=soak.because,
        baseline=soak.baseline or entry.baseline,
    )


def proof_of(entry: LedgerEntry, policy: Policy, now: datetime, *, backwards: bool) -> Proof | None:
    """The proof that the entry's clocks amount to, None while they do not suffice."""
    since = entry.since or now
    if entry.soaked >= policy.soak:
        sentence = f"{_short(entry.soaked)} healthy under traffic as the only serving revision"
        return Proof(
            kind=ProofKind.TRAFFIC,
            verified_at=now,
            soaked=entry.soaked,
            since=since,
            backwards=backwards,
            sentence=sentence,
        )
    if entry.quiet >= policy.soak_low_traffic:
        sentence = f"{_short(entry.quiet)} without trouble, but with too little traffic to judge its signals"
        return Proof(
            kind=ProofKind.HEALTH_ONLY,
            verified_at=now,
            soaked=entry.quiet,
            since=since,
            backwards=backwards,
            sentence=sentence,
        )
    return None


def next_check(entry: LedgerEntry, policy: Policy, now: datetime) -> datetime:
    """When to measure this entry again.

    While it soaks: when the missing time could be reached at the earliest, but at least ten times per soak, so that a
    replaced pod costs little of the clock. Afterwards ever more rarely: to 2 h, to 24 h, then daily (DESIGN).
    """
    since = entry.watched_since
    if since is None or (entry.proof is not None and entry.proof.kind is ProofKind.HEALTH_ONLY):
        missing = max(policy.soak - entry.soaked, policy.sample_interval)
        return now + max(min(missing, policy.soak / 10), policy.sample_interval)
    if now - since < CLOSE_WATCH_FOR:
        return now + max(policy.soak, policy.sample_interval)
    return now + (WIDE_WATCH_EVERY if now - since < WATCHED_FOR else PROOF_KEPT_FRESH_EVERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChoice:
    """The revision to go back to, those skipped on the way, and why every other candidate was rejected."""

    target: LedgerEntry | None
    skipped: tuple[Revision, ...]
    rejected: tuple[str, ...]


def choose_target(
    ledger: dict[str, LedgerEntry],
    history: tuple[Revision, ...],
    blamed: Revision,
    replaced: Revision | None,
    policy: Policy,
) -> TargetChoice:
    """The replaced revision if verified; else the newest verified one further back, with what was skipped (DESIGN)."""
    older = [revision for revision in history if replaced is None or revision.id != replaced.id]
    older.sort(key=lambda revision: revision.number or 0, reverse=True)
    walk = ([replaced] if replaced is not None else []) + older
    skipped: list[Revision] = []
    rejected: list[str] = []
    for revision in walk:
        if revision.id == blamed.id:
            continue
        entry = ledger.get(revision.id)
        if entry is not None and entry.verified:
            return TargetChoice(target=entry, skipped=tuple(skipped), rejected=tuple(rejected))
        why = entry.why_not(policy) if entry is not None else "never seen serving, so nothing is proven"
        skipped.append(revision)
        rejected.append(f"{revision.label}: {why}")
    return TargetChoice(target=None, skipped=(), rejected=tuple(rejected))
