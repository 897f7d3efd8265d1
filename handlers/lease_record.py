"""A Lease of coordination.k8s.io/v1 as an elector reads and writes it, and when it may be taken. No I/O, no clock.

Kubernetes' own elector (client-go, tools/leaderelection) gave the shape; two rules are ours. The times that others wrote are
never compared with any clock: what counts is how long *we* have seen the Lease unchanged. And a Lease that says nothing of its
past (new, or made anew after somebody deleted it under a leader) is not free at once: whoever held its predecessor may act
until the time for renewing is over. One that its holder gave back says so, and is free at once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from handlers.kube_json import Obj

API_VERSION, PLURAL = "coordination.k8s.io/v1", "leases"

RELEASED_SECONDS = 1
"""The duration that a Lease which was given back carries, as client-go writes it: a server refuses 0."""

TRANSITIONS_MAX = 2**31 - 2
"""The API's type is int32, and whoever takes the Lease adds one."""

MARGIN = 0.8
"""The time for renewing is at most this part of the duration: clocks of two machines run at different speeds, and a write
that was under way when the time was over needs a moment to end."""

NAME_CHARS_MAX = 253
"""Of a holder: as long as the name of a pod (RFC 1123 subdomain) may be, and room for what makes it unique."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How long a Lease holds; the defaults are client-go's. Raises ValueError for what could not work.

    duration: others wait that long after the last sign of life before they take it. renew_deadline: the holder stops acting
    that long after it sent the last renewal that succeeded. retry: time between two renewals. look: how often those who wait
    look at the Lease, so that one which was given back is taken within that time; a request for one small object, and
    client-go's 2 s would make a rollout of the daemon itself as long a gap.
    """

    duration: timedelta = timedelta(seconds=15)
    renew_deadline: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)
    look: timedelta = timedelta(seconds=0.5)

    def __post_init__(self) -> None:
        if self.duration < timedelta(seconds=1) or self.duration % timedelta(seconds=1):
            raise ValueError(f"duration is {_text(self.duration)}; a Lease counts whole seconds, at least 1")
        if self.retry <= timedelta(0):
            raise ValueError(f"retry is {_text(self.retry)}; it must be above zero")
        if self.renew_deadline > MARGIN * self.duration:
            raise ValueError(
                f"renew_deadline is {_text(self.renew_deadline)} of a duration of {_text(self.duration)}; at most "
                f"{MARGIN:.0%} of it, or two could act at the same time"
            )
        if self.renew_deadline < 2 * self.retry:
            raise ValueError(
                f"renew_deadline is {_text(self.renew_deadline)} with a retry of {_text(self.retry)}; at least twice as long, "
                "or one lost answer costs the lease"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """What a Lease says. `holder` is empty where nobody has it; `problems` name fields that make no sense, and why."""

    uid: str
    version: str
    holder: str
    duration: timedelta | None
    acquired: str
    renewed: str
    transitions: int
    problems: tuple[str, ...] = ()

    @property
    def is_released(self) -> bool:
        """Whoever had it gave it back, after having stopped acting."""
        return not self.holder and self.transitions > 0 and bool(self.renewed)

    @property
    def sign_of_life(self) -> tuple[object, ...]:
        """Changes when its holder does something to it, or another gets it; not when somebody puts a label on it."""
        return self.uid, self.holder, self.acquired, self.renewed, self.transitions


def read(lease: Obj) -> LeaseRecord:
    """What the object says; what cannot be understood counts as absent and is named in `problems`."""
    metadata, spec, problems = lease.get("metadata") or {}, lease.get("spec") or {}, list[str]()
    duration = _whole(spec, "leaseDurationSeconds", problems)
    return LeaseRecord(
        uid=str(metadata.get("uid") or ""),
        version=str(metadata.get("resourceVersion") or ""),
        holder=str(spec.get("holderIdentity") or ""),
        duration=timedelta(seconds=duration) if duration else None,
        acquired=_time(spec, "acquireTime", problems),
        renewed=_time(spec, "renewTime", problems),
        transitions=_whole(spec, "leaseTransitions", problems),
        problems=tuple(problems),
    )


def seconds_until_free(record: LeaseRecord, seen_unchanged: float, times: LeaseTimes) -> float:
    """How long to wait before it may be taken, in seconds; 0.0 or less: now. `seen_unchanged` is by our monotonic clock.

    The longer of the holder's duration and ours counts: during a change of the setting both are in use.
    """
    if record.is_released:
        return 0.0
    duration = max(times.duration, record.duration or times.duration)
    return duration.total_seconds() - seen_unchanged


def identity_of(pod: str, unique: str) -> str:
    """A holder's name: the pod's, for people, and something that no other life of the same pod has. Raises ValueError."""
    if not pod or any(char.isspace() for char in pod):
        raise ValueError("the pod's name is empty or holds a space; name the holder after the pod")
    if not unique:
        raise ValueError("without something unique a restarted pod would take its own old lease for still held")
    return f"{pod[: NAME_CHARS_MAX - len(unique) - 1]}_{unique}"


def pod_of(holder: str) -> str:
    """The pod that a holder's name was made of; a name of another make as it is."""
    return holder.rpartition("_")[0] or holder


def blank(name: str, times: LeaseTimes) -> Obj:
    """A new Lease that nobody holds."""
    spec = {"leaseDurationSeconds": int(times.duration.total_seconds())}
    return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": {"name": name}, "spec": spec}


def taken(lease: Obj, *, holder: str, token: int, now: datetime, times: LeaseTimes) -> Obj:
    """The Lease in the hands of `holder`; `token` becomes the number of its transitions."""
    return _changed(
        lease,
        now,
        holderIdentity=holder,
        leaseDurationSeconds=int(times.duration.total_seconds()),
        leaseTransitions=token,
        acquireTime=_stamp(now),
    )


def renewed(lease: Obj, *, token: int, now: datetime, times: LeaseTimes) -> Obj:
    """The Lease with a new sign of life."""
    return _changed(lease, now, leaseDurationSeconds=int(times.duration.total_seconds()), leaseTransitions=token)


def released(lease: Obj, *, now: datetime) -> Obj:
    """The Lease given back."""
    return _changed(lease, now, holderIdentity="", leaseDurationSeconds=RELEASED_SECONDS)


def _changed(lease: Obj, now: datetime, **fields: Any) -> Obj:
    """All else stays as it was read: `uid` and `resourceVersion`, so that only this very one is written, and whatever a
    newer API knows beside.
    """
    changed = copy.deepcopy(lease)
    spec = changed["spec"] = dict(changed.get("spec") or {})
    spec |= {**fields, "renewTime": _later(str(spec.get("renewTime") or ""), now)}
    return changed


def _later(before: str, now: datetime) -> str:
    """Now, but after `before`: a write that changes nothing is none, and a clock that was set back must not look dead."""
    try:
        return max(_stamp(now), _stamp(datetime.fromisoformat(before).astimezone(UTC) + timedelta(microseconds=1)))
    except (ValueError, OverflowError):
        return _stamp(now)


def _stamp(moment: datetime) -> str:
    """metav1.MicroTime: UTC, six digits."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _time(spec: Obj, field: str, problems: list[str]) -> str:
    value = spec.get(field)
    if value is None:
        return ""
    try:
        is_aware = datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        is_aware = False
    if not is_aware:
        problems.append(f"spec.{field} is {value!r:.60}, which is no time; write it like 2026-01-31T10:00:00.000000Z")
    return str(value)


def _whole(spec: Obj, field: str, problems: list[str]) -> int:
    value = spec.get(field)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TRANSITIONS_MAX:
        problems.append(f"spec.{field} is {value!r:.60}, which is no number from 0 to {TRANSITIONS_MAX}; correct it")
        return 0
    return value


def _text(span: timedelta) -> str:
    return f"{span.total_seconds():g} s"
