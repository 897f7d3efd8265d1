"""Values for tests of the core: a shop whose v2 replaced v1 at NOON, and what can be measured of it.

Each builder gives the plain case; a test names only what makes its case special.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.core.measurement import AlertState, Measurement, Sample, SoakMeasurement, TargetCheck
from daemon.core.model import (
    Alert,
    AlertStatus,
    Location,
    Mode,
    OnsetSource,
    Revision,
    RevisionId,
    RevisionPods,
    Rung,
    StartFailure,
    StartFailureKind,
    Workload,
    WorkloadView,
)
from daemon.core.policy import Policy

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""When the rollout under suspicion begins, in every story."""

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STEP = timedelta(seconds=30)
"""The default sample interval."""

SHOP = Workload(namespace="shop", kind="Deployment", name="checkout")
CART = Workload(namespace="shop", kind="Deployment", name="cart")
FINGERPRINT = "f1"


def a_revision(number: int, **changes: Any) -> Revision:
    """Revision vN; its template hash, content, image and ReplicaSet follow from the number."""
    values: dict[str, Any] = {
        "id": RevisionId(f"{number}{number}hash"),
        "content": f"content-{number}",
        "number": number,
        "replica_set": f"checkout-{number}",
        "uid": f"rs-{number}",
        "images": (f"registry.example/checkout:v{number}",),
        "digests": (f"sha256:{number}",),
        "created_at": NOON - 10 * DAY + number * HOUR,
    }
    return Revision(**(values | changes))


V1, V2, V3 = a_revision(1), a_revision(2), a_revision(3)


def pods_of(revision: Revision, count: int = 3, ready: int | None = None) -> RevisionPods:
    """`count` pods of a revision, all ready unless told."""
    names = tuple(f"checkout-{revision.id}-{index}" for index in range(count))
    return RevisionPods(revision=revision.id, names=names, ready=count if ready is None else ready)


def a_view(current: Revision = V1, **changes: Any) -> WorkloadView:
    """The shop, serving `current` alone and converged for two hours; the generation follows the revision's number."""
    values: dict[str, Any] = {
        "workload": SHOP,
        "uid": "uid-1",
        "generation": current.number or 1,
        "current": current,
        "history": tuple(a_revision(number) for number in range(1, (current.number or 1) + 1)),
        "pods": (pods_of(current),),
        "desired": 3,
        "converged": True,
        "started_at": NOON - 2 * HOUR,
        "available_since": NOON - 2 * HOUR,
        "changed_by": "kubectl",
    }
    return WorkloadView(**(values | changes))


def a_rollout_view(new: Revision = V2, old: Revision = V1, **changes: Any) -> WorkloadView:
    """The shop in the middle of a rollout that began at NOON: pods of both revisions serve."""
    values: dict[str, Any] = {
        "started_at": NOON,
        "available_since": None,
        "converged": False,
        "pods": (pods_of(old, 2), pods_of(new, 1)),
    }
    return a_view(new, **(values | changes))


def a_start_failure(**changes: Any) -> StartFailure:
    """The pod of v2 crash-loops."""
    values: dict[str, Any] = {
        "kind": StartFailureKind.CRASH,
        "pods": ("checkout-22hash-0",),
        "restarts": 4,
        "since": NOON + STEP,
        "message": "CrashLoopBackOff, exit code 1",
    }
    return StartFailure(**(values | changes))


def a_policy(**changes: Any) -> Policy:
    """Everything in mode auto, no change events, all else as by default."""
    values: dict[str, Any] = {"cluster": "test", "default_mode": Mode.AUTO, "change_events": False}
    return Policy(**(values | changes))


def an_alert(fingerprint: str = FINGERPRINT, **changes: Any) -> Alert:
    """A critical alert on the shop that began to fire a minute after NOON."""
    values: dict[str, Any] = {
        "fingerprint": fingerprint,
        "status": AlertStatus.FIRING,
        "labels": (("alertname", "CheckoutErrors"), ("severity", "critical"), ("deployment", "checkout")),
        "starts_at": NOON + MINUTE,
    }
    return Alert(**(values | changes))


def a_location(*workloads: Workload, **changes: Any) -> Location:
    """The alert belongs to the shop by its controller label, its onset is known: 30 s after NOON."""
    values: dict[str, Any] = {
        "workloads": workloads or (SHOP,),
        "rung": Rung.CONTROLLER,
        "tried": ("deployment",),
        "onset": NOON + STEP,
        "onset_source": OnsetSource.FOR_STATE,
    }
    return Location(**(values | changes))


def a_sample(at: datetime, *, errors: float | None = 0.0, traffic: float | None = 20.0, **latency: float) -> Sample:
    """One sample: error ratio 0..1, requests per second, and latencies in seconds by name."""
    known = {"traffic": traffic, "error_ratio": errors, **latency}
    return Sample(at=at, values=tuple((name, value) for name, value in known.items() if value is not None))


def samples(
    errors: float | None = 0.0,
    *,
    until: datetime,
    count: int = 5,
    traffic: float | None = 20.0,
    **latency: float,
) -> tuple[Sample, ...]:
    """`count` equal samples, STEP apart, the last one at `until`."""
    moments = [until - STEP * (count - 1 - index) for index in range(count)]
    return tuple(a_sample(at, errors=errors, traffic=traffic, **latency) for at in moments)


def states(status: AlertStatus, fingerprints: Iterable[str] = (FINGERPRINT,)) -> tuple[AlertState, ...]:
    """What Alertmanager says of the incident's alerts now."""
    return tuple(AlertState(fingerprint=fingerprint, status=status) for fingerprint in fingerprints)


def a_measurement(
    at: datetime, *, new: float | None = 0.3, old: float | None = 0.001, traffic: float = 20.0, **changes: Any
) -> Measurement:
    """New pods at error ratio `new`, old ones at `old` in the same minutes (None: no samples of that side)."""
    values: dict[str, Any] = {
        "at": at,
        "new": () if new is None else samples(new, until=at, traffic=traffic),
        "old": () if old is None else samples(old, until=at, traffic=traffic),
        "before": samples(0.001, until=NOON - STEP),
        "alerts": states(AlertStatus.FIRING),
        "new_ready": 1,
        "new_pods": 1,
        "old_ready": 2,
    }
    return Measurement(**(values | changes))


def a_recovery(at: datetime, errors: float | None = 0.001, **changes: Any) -> Measurement:
    """After a rollback: v1 serves alone, the alert is gone, the signals are back."""
    values: dict[str, Any] = {"alerts": states(AlertStatus.RESOLVED), "new_ready": 3, "new_pods": 3, "old_ready": 0}
    return a_measurement(at, new=errors, old=None, **(values | changes))


def a_soak(since: datetime, until: datetime, healthy: timedelta | None = None, **changes: Any) -> SoakMeasurement:
    """Healthy under traffic for all of the span, unless told otherwise; what is unhealthy is so persistently."""
    zero = timedelta(0)
    whole = {"healthy": until - since if healthy is None else healthy, "quiet": zero, "inconclusive": zero}
    values: dict[str, Any] = {"since": since, "until": until, "baseline": (("error_ratio", 0.001),), **whole}
    values["regressed_at"] = changes.get("unhealthy_at")
    return SoakMeasurement(**(values | changes))


def a_check(revision: Revision = V1, **changes: Any) -> TargetCheck:
    """The target exists, nothing is missing, the dry run was accepted."""
    values: dict[str, Any] = {"revision": revision.id, "exists": True}
    return TargetCheck(**(values | changes))
