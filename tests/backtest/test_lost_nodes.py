"""A recording names no nodes: pods of several workloads that cease to be ready at the same moment were on one that went."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from daemon.core.incidents import VerdictKind
from daemon.core.reasons import Reason
from handlers.backtest.recording import PodSeen, Record, RolloutSeen, recording
from handlers.backtest.replay import replay
from tests.backtest.replay_cases import MINUTE, NOON, ROLLED_AT, WEB, Shop, clustered

SECOND = timedelta(seconds=1)
CART, MAIL = "shop/Deployment/cart", "shop/Deployment/mail"
LOST_AT = ROLLED_AT + 2 * MINUTE


def pod(
    workload: str,
    at: datetime,
    revision: str = "old",
    *,
    ready: bool = True,
    reason: str | None = None,
    deleted: bool = False,
) -> PodSeen:
    """What is said of the only pod of a revision."""
    return PodSeen(
        at=at, pod=f"{workload.rpartition('/')[2]}-{revision}-lost", workload=workload, revision=revision, ready=ready,
        reason=reason, deleted=deleted,
    )  # fmt: skip


def lost(*others: tuple[str, timedelta], reason: str | None = None, back: timedelta | None = None) -> list[Record]:
    """Web's new pod ceases to be ready at LOST_AT, and pods of these others that much after it; web's may come back."""
    found: list[Record] = [pod(name, NOON) for name in (WEB, CART, MAIL)]
    found += [RolloutSeen(at=ROLLED_AT, workload=WEB, revision="new", replaces="old", phase="started")]
    found += [pod(WEB, ROLLED_AT + MINUTE, "new"), pod(WEB, LOST_AT, "new", ready=False, reason=reason)]
    found += [pod(name, LOST_AT + after, ready=False) for name, after in others]
    found += [] if back is None else [pod(WEB, LOST_AT + back, "new")]
    return sorted(found, key=lambda record: record.at)


def tells_of_a_node(records: list[Record]) -> bool:
    """Whether web's new revision is taken to have lost its node."""
    return clustered(records).lost_with_others(WEB, "new")


@pytest.mark.parametrize(
    ("records", "told"),
    [
        (lost((CART, SECOND), (MAIL, SECOND)), True),
        (lost((CART, -MINUTE), (MAIL, MINUTE)), True),
        (lost((CART, 2 * SECOND), (MAIL, MINUTE + SECOND)), False),
        (lost((CART, SECOND)), True),
        (lost((CART, 2 * SECOND)), False),
        (lost((CART, -SECOND)), True),
        (lost((CART, 2 * SECOND), (WEB, SECOND)), False),
        (lost((CART, SECOND), (MAIL, SECOND), reason="CrashLoopBackOff"), False),
        (lost((CART, SECOND), (MAIL, SECOND), back=MINUTE), False),
    ],
    ids=[
        "two others", "within a minute", "one is later", "one other at once", "one other", "one other just before",
        "its own old pod", "it crashed", "it is back",
    ],
)  # fmt: skip
def test_others_that_lose_a_pod_at_the_same_moment_tell_of_a_node(records: list[Record], told: bool) -> None:
    """Two within a minute, or one in the same second; and the pod is still not ready and did not crash by itself."""
    assert tells_of_a_node(records) is told


def test_one_other_whose_pod_was_replaced_tells_of_its_rollout() -> None:
    """What a rollout takes away is not ready for half a minute, and then gone; of a lost node it stays for minutes."""
    gone = pod(CART, LOST_AT + MINUTE, ready=False, deleted=True)
    assert not tells_of_a_node([*lost((CART, SECOND)), gone])
    assert tells_of_a_node([*lost((CART, SECOND), (MAIL, SECOND)), gone])


@pytest.mark.parametrize(("others", "refused"), [((), False), (((CART, SECOND), (MAIL, SECOND)), True)])
def test_nobody_is_rolled_back_for_a_node(others: tuple[tuple[str, timedelta], ...], refused: bool) -> None:
    """The same errors of the same rollout: with the pods of two others gone, too, it is a common cause."""
    nodes = [each for each in lost(*others) if isinstance(each, PodSeen)]
    records: list[Record] = sorted([*Shop().records(), *nodes], key=lambda each: each.at)
    told = list(replay(recording("shop.jsonl", records)))
    rolled = [each for each in told if each.verdict is VerdictKind.ROLL_BACK]
    assert bool(rolled) is not refused
    assert any(Reason.COMMON_CAUSE in (each.reason, *each.would_refuse) for each in told) is refused
