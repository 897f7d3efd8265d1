"""How a pod of a recording is taken to fail to start."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.model import StartFailureKind
from handlers.backtest.lives import NEVER_READY_AFTER, Pod

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("known", "kind"),
    [
        ({"reason": "Error"}, StartFailureKind.CRASH),
        ({"reason": "Error", "was_ready": True, "restarts": 1}, None),
        ({"reason": "Error", "was_ready": True, "restarts": 2}, StartFailureKind.CRASH),
        ({"reason": "CrashLoopBackOff", "was_ready": True, "restarts": 1}, StartFailureKind.CRASH),
        ({"reason": "OOMKilled", "ready": True}, StartFailureKind.OOM),
        ({"reason": "NodeNotReady"}, None),
        ({"reason": "Evicted", "restarts": 9}, None),
        ({}, StartFailureKind.NEVER_READY),
        ({"was_ready": True}, None),
        ({"since": NOON - NEVER_READY_AFTER + timedelta(seconds=1)}, None),
    ],
    ids=[
        "ended at its start", "ended once later on", "again", "backs off", "killed for memory", "its node", "evicted",
        "never ready", "ready before", "young",
    ],
)  # fmt: skip
def test_how_a_pod_fails_to_start(known: dict[str, Any], kind: StartFailureKind | None) -> None:
    """One exit of a pod that had been ready may be anything; one that never was cannot start."""
    pod = replace(Pod(name="web-1", revision="2", since=NOON - NEVER_READY_AFTER), **known)
    assert pod.fails(NOON) is kind
