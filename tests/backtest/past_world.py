"""Six hours of a small shop, with planted rollouts: a bad one that is rolled back, a healthy one, a set's, and a crash loop."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from handlers.backtest.recording import AlertSeen, PodSeen, Record, Recording, RolloutSeen, SampleSeen, recording

START = datetime(2025, 3, 4, 8, tzinfo=UTC)
END = START + timedelta(hours=6)
MINUTE = timedelta(minutes=1)
STEP = MINUTE

WEB, API, DB, CART, IDLE = (
    "shop/Deployment/web",
    "shop/Deployment/api",
    "shop/StatefulSet/db",
    "pay/Deployment/cart",
    "pay/Deployment/idle",
)
BAD_AT = START + timedelta(hours=2, seconds=20)
BACK_AT = START + timedelta(hours=2, minutes=30)
DB_AT = START + timedelta(hours=3)
API_AT = START + timedelta(hours=4, seconds=40)
CART_AT = START + timedelta(hours=5)
FIRING_AT, RESOLVED_AT = START + timedelta(hours=2, minutes=6), START + timedelta(hours=2, minutes=40)

RATE = 5.0
"""Requests per second of each pod."""


def planted() -> Recording:
    """The whole."""
    records = sorted(_records(), key=lambda record: (record.at, isinstance(record, SampleSeen)))
    return recording("planted", records)


def _records() -> Iterator[Record]:
    yield from _web()
    yield from _api()
    yield from _db()
    yield from _cart()
    yield from _run(IDLE, "idle-iii999-aaaaa", "iii999", START, END)
    labels = {"alertname": "HighErrors", "namespace": "shop", "deployment": "web", "severity": "critical"}
    for at, status in ((FIRING_AT, "firing"), (RESOLVED_AT, "resolved")):
        yield AlertSeen(at=at, status=status, labels=labels, starts_at=FIRING_AT)  # type: ignore[arg-type]


def _run(
    workload: str,
    pod: str,
    revision: str,
    since: datetime,
    until: datetime,
    *,
    ready_after: timedelta = MINUTE,
    errors: float = 0.001,
    latency: float = 0.08,
) -> Iterator[Record]:
    """One pod's life, with its samples while it is ready."""
    ready_from = since if since == START else since + ready_after
    yield PodSeen(at=since, pod=pod, workload=workload, revision=revision, ready=since == START)
    if since != START:
        yield PodSeen(at=ready_from, pod=pod, workload=workload, revision=revision, ready=True)
    at = ready_from
    while at <= until - (MINUTE if until != END else timedelta(0)):
        if at.second == 0:
            values = {"error_ratio": errors, "latency_seconds": latency, "cpu_ratio": 0.4, "memory_ratio": 0.5}
            for signal, value in values.items():
                weight = RATE * 60 if signal in ("error_ratio", "latency_seconds") else None
                yield SampleSeen(at=at, signal=signal, workload=workload, pod=pod, value=value, weight=weight)
        at += MINUTE
    if until != END:
        yield PodSeen(at=until, pod=pod, workload=workload, revision=revision, ready=False, deleted=True)


def _rollout(workload: str, at: datetime, revision: str, replaces: str, phase: str) -> RolloutSeen:
    return RolloutSeen(at=at, workload=workload, revision=revision, replaces=replaces, phase=phase)  # type: ignore[arg-type]


def _web() -> Iterator[Record]:
    bad, back = BAD_AT + 40 * timedelta(seconds=1), BACK_AT
    for number in range(3):
        yield from _run(WEB, f"web-aaa111-old{number}x", "aaa111", START, bad + (5 + 3 * number) * MINUTE)
        yield from _run(
            WEB, f"web-bbb222-new{number}x", "bbb222", bad + 3 * number * MINUTE, back + 2 * MINUTE, errors=0.3
        )
        yield from _run(WEB, f"web-aaa111-too{number}x", "aaa111", back, END)
    yield _rollout(WEB, BAD_AT, "bbb222", "aaa111", "started")
    yield _rollout(WEB, bad + 11 * MINUTE, "bbb222", "aaa111", "completed")
    yield _rollout(WEB, BACK_AT, "aaa111", "bbb222", "started")
    yield _rollout(WEB, BACK_AT + 2 * MINUTE, "aaa111", "bbb222", "completed")


def _api() -> Iterator[Record]:
    made = API_AT + timedelta(seconds=20)
    yield from _run(API, "api-ccc333-oldzz", "ccc333", START, made + 3 * MINUTE)
    yield from _run(API, "api-ddd444-newzz", "ddd444", made, END)
    yield _rollout(API, API_AT, "ddd444", "ccc333", "started")
    yield _rollout(API, made + 3 * MINUTE, "ddd444", "ccc333", "completed")


def _db() -> Iterator[Record]:
    for number, shift in ((1, 1), (0, 4)):
        yield from _run(DB, f"db-{number}", "eee555", START, DB_AT + shift * MINUTE)
        yield from _run(DB, f"db-{number}", "fff666", DB_AT + (shift + 1) * MINUTE, END)
    yield _rollout(DB, DB_AT, "fff666", "eee555", "started")
    yield _rollout(DB, DB_AT + 7 * MINUTE, "fff666", "eee555", "completed")


def _cart() -> Iterator[Record]:
    yield from _run(CART, "cart-ggg777-oldyy", "ggg777", START, END)
    yield _rollout(CART, CART_AT, "hhh888", "ggg777", "started")
    for minute, restarts in ((0, 0), (1, 1), (3, 2), (6, 3), (12, 4)):
        yield PodSeen(
            at=CART_AT + minute * MINUTE,
            pod="cart-hhh888-newyy",
            workload=CART,
            revision="hhh888",
            ready=False,
            restarts=restarts,
            reason="CrashLoopBackOff" if restarts else None,
        )
