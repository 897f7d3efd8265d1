"""Small recordings made by hand, for the tests of the score and of the baselines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daemon.core.incidents import VerdictKind
from daemon.core.reasons import Reason
from handlers.backtest.recording import AlertSeen, PodSeen, Record, RolloutSeen, SampleSeen
from handlers.backtest.verdicts import Told

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CART, SHIP, TAX = "shop/Deployment/cart", "shop/Deployment/ship", "shop/Deployment/tax"


def minute(number: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=number)


def began(at: float, workload: str, revision: str = "new", replaces: str | None = "old") -> RolloutSeen:
    return RolloutSeen(at=minute(at), workload=workload, revision=revision, replaces=replaces, phase="started")


def pod(at: float, name: str, workload: str, revision: str, *, ready: bool = True, deleted: bool = False) -> PodSeen:
    return PodSeen(at=minute(at), pod=name, workload=workload, revision=revision, ready=ready, deleted=deleted)


def sample(
    at: float, workload: str, value: float | None, *, of: str | None = None, signal: str = "error_ratio"
) -> SampleSeen:
    return SampleSeen(at=minute(at), signal=signal, workload=workload, pod=of, value=value, weight=100.0)


def alert(at: float, *, firing: bool = True, starts: float | None = None) -> AlertSeen:
    return AlertSeen(
        at=minute(at),
        status="firing" if firing else "resolved",
        labels={"alertname": "Errors"},
        starts_at=minute(at if starts is None else starts),
    )


def told(at: float, workload: str | None, verdict: VerdictKind = VerdictKind.ROLL_BACK) -> Told:
    return Told(at=minute(at), recording="case", verdict=verdict, reason=Reason.BLAMED_CONTRAST, workload=workload)


def rolled(workload: str, *, old: list[float], new: list[float], at: float = 0.0, overlap: bool = True) -> list[Record]:
    """A rollout at minute `at` of one pod, error ratios by the minute: the old pod's end `len(new)` after it (or at it)."""
    name = workload.rsplit("/", 1)[-1]
    first = at - len(old) + (len(new) if overlap else 0)
    records: list[Record] = [pod(first, f"{name}-old", workload, "old"), began(at, workload)]
    records.append(pod(at, f"{name}-new", workload, "new"))
    records += [sample(first + n + 1, workload, value, of=f"{name}-old") for n, value in enumerate(old)]
    records += [sample(at + n + 1, workload, value, of=f"{name}-new") for n, value in enumerate(new)]
    return records
