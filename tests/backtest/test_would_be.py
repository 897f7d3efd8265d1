"""Rollbacks that a replay would have carried out: later verdicts tell what they would have meant, and stay what they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from daemon.core.actions import RollBack
from daemon.core.facts import LedgerWritten
from daemon.core.incidents import VerdictKind
from daemon.core.ledger import LedgerEntry
from daemon.core.model import ActionId, IncidentId, Revision, RevisionId, Workload
from daemon.core.policy import Policy
from daemon.core.reasons import Reason
from handlers.backtest.recording import Record, RolloutSeen, recording
from handlers.backtest.replay import default_policy, replay
from handlers.backtest.verdicts import Told
from handlers.backtest.would_be import WouldBe
from tests.backtest.replay_cases import MINUTE, NOON, WEB, Shop

COUNTED = {Reason.BLAST_RADIUS, Reason.COOLING_DOWN}


def of_web(shop: Shop, name: str, after: timedelta = timedelta(0)) -> list[Record]:
    """What happens to web in that shop, under another name and later."""
    found: list[Any] = [each for each in shop.records() if getattr(each, "workload", None) == WEB]
    named = WEB.replace("web", name)
    moved = []
    for each in found:
        changes: dict[str, Any] = {"at": each.at + after, "workload": named}
        if getattr(each, "pod", None):
            changes["pod"] = each.pod.replace("web", name)
        moved.append(msgspec.structs.replace(each, **changes))
    return moved


def rolled_back(lines: Iterable[Record], policy: Policy | None = None) -> list[tuple[str | None, set[Reason]]]:
    """Which workloads are rolled back, in that order, and what the guards that count would have said."""
    found: list[Told] = list(replay(recording("many.jsonl", sorted(lines, key=lambda each: each.at)), policy))
    ordered = [each for each in found if each.verdict is VerdictKind.ROLL_BACK]
    return [(each.workload, {r.reason for r in each.would_refuse} & COUNTED) for each in ordered]


def test_the_fourth_rollback_of_an_hour_would_have_been_a_proposal() -> None:
    """The verdict is the same, its `would_refuse` has BLAST_RADIUS; what was refused takes no room itself."""
    shop = Shop(alert_after=None)
    names = [f"web{number}" for number in range(1, 6)]
    lines = [each for number, name in enumerate(names) for each in of_web(shop, name, number * 10 * MINUTE)]
    late = of_web(shop, "late", 70 * MINUTE)
    found = rolled_back([*lines, *late])
    assert [name for name, _ in found] == [f"shop/Deployment/{name}" for name in [*names, "late"]]
    assert [refused for _, refused in found] == [
        set(),
        set(),
        set(),
        {Reason.BLAST_RADIUS},
        {Reason.BLAST_RADIUS},
        set(),
    ]


def again(shop: Shop, new: str, old: str, after: timedelta) -> list[Record]:
    """A further rollout of the same web, from one revision to another, with pods of its own."""
    changed: list[Record] = []
    for each in of_web(shop, "web", after):
        if isinstance(each, RolloutSeen):
            changed.append(msgspec.structs.replace(each, revision=new, replaces=old))
        elif "-new-" in getattr(each, "pod", ""):
            kept: Any = each
            pod = kept.pod.replace("-new-", f"-{new}-")
            more = {"revision": new} if hasattr(kept, "revision") else {}
            changed.append(msgspec.structs.replace(kept, pod=pod, **more))
    return changed


def test_a_workload_that_would_have_been_rolled_back_cools_down() -> None:
    """Its next bad rollout is rolled back in the replay, and tells that a real run would have asked."""
    shop = Shop(alert_after=None, minutes=120)
    next_bad = again(Shop(alert_after=None, minutes=60), "newer", "old", 30 * MINUTE)
    found = rolled_back([*of_web(shop, "web"), *next_bad])
    assert found == [(WEB, set()), (WEB, {Reason.COOLING_DOWN})]


def test_a_policy_decides_how_many_are_too_many() -> None:
    """With room for one per hour the second would have been asked for."""
    policy = replace(default_policy(), rollbacks_per_namespace_hour=1)
    shop = Shop(alert_after=None)
    found = rolled_back([*of_web(shop, "web1"), *of_web(shop, "web2", 10 * MINUTE)], policy)
    assert [refused for _, refused in found] == [set(), {Reason.BLAST_RADIUS}]


# -- the account itself

SHOP = Workload(namespace="shop", kind="Deployment", name="web")
OLD, NEW, NEWER = (Revision(id=RevisionId(name), content=name) for name in ("old", "new", "newer"))


def an_order(incident: str = "inc-1", workload: Workload = SHOP) -> RollBack:
    return RollBack(
        id=ActionId(f"{incident}/roll_back"), deadline=NOON, incident=IncidentId(incident), workload=workload, uid="u",
        blamed=NEW, target=OLD, why="",
    )  # fmt: skip


def reasons(would_be: WouldBe, incident: str = "inc-2", workload: Workload = SHOP) -> list[Reason]:
    return [each.reason for each in would_be.refusals(incident, workload, NOON)]


@pytest.mark.parametrize(
    ("revision", "what", "cool"),
    [(NEWER, "verified", True), (NEWER, "counted", False), (OLD, "verified", False), (NEW, "verified", False)],
)
def test_a_later_revision_that_is_verified_ends_it(revision: Revision, what: Any, cool: bool) -> None:
    """Not the target, nor the blamed one, which goes on in the recording as if nothing had been."""
    would_be = WouldBe(default_policy())
    would_be.ordered(an_order(), NOON)
    assert reasons(would_be) == [Reason.COOLING_DOWN]
    would_be.written(LedgerWritten(at=NOON, workload=SHOP.key, entry=LedgerEntry(revision=revision), what=what))
    assert reasons(would_be) == ([] if cool else [Reason.COOLING_DOWN])


def test_an_incident_s_own_rollback_does_not_speak_against_it() -> None:
    """Nor does that of another workload, below the limit."""
    would_be = WouldBe(default_policy())
    would_be.ordered(an_order(), NOON)
    assert reasons(would_be, incident="inc-1") == []
    assert reasons(would_be, workload=Workload(namespace="shop", kind="Deployment", name="cart")) == []
