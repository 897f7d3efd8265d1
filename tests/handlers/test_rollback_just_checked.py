"""A rollback that follows its check at once: one request, and whatever moved in between is seen all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RollBack, RolledBack, Superseded
from deploy.sandbox.kube.faults import RequestRecord
from deploy.sandbox.kube.registry import Write
from deploy.sandbox.kube.resources import DEPLOYMENTS
from handlers import just_checked, revisions, views, workload_objects
from handlers.faults import Transient
from handlers.just_checked import JustChecked
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.targets import TargetChecker
from handlers.workload_objects import Fresh
from tests.handlers.rollback_world import PATH, WEB, Json, WallClock, World, world

pytestmark = pytest.mark.real

TOUCHED = {"team.example/touched": "yes"}


class Pair:
    """The check and the rollback of one daemon."""

    def __init__(self, there: World) -> None:
        checked = JustChecked()
        self.there = there
        self.checker = TargetChecker(there.client, checked)
        self.rollback = TemplateRollback(there.client, WallClock(), checked)

    async def check(self, **changes: Any) -> None:
        """Then forget what was sent for it."""
        await self.checker.run(self.there.check(**changes))
        self.there.cluster.faults.log.clear()

    async def run(self, action: RollBack | None = None) -> Outcome:
        return await self.rollback.run(action or self.there.action())

    def sent(self) -> list[tuple[str, bool]]:
        """What the rollback sent up to its last patch: method, and whether it was a dry run."""
        log = list(self.there.cluster.faults.log)
        last = max(i for i, r in enumerate(log) if is_the_patch(r))
        return [(r.method, r.dry_run) for r in log[: last + 1]]


def is_the_patch(record: RequestRecord) -> bool:
    return record.method == "PATCH" and record.field_manager == "lastgood" and not record.dry_run


AT_ONCE, READ_FIRST = [("PATCH", False)], ("GET", False)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with world() as there:
        for kind, name in (("ConfigMap", "colours"), ("Secret", "token"), ("PersistentVolumeClaim", "data")):
            there.cluster.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"a": "eA=="}})
        yield Pair(there)


def write(there: World, change: Callable[[Json], Any]) -> None:
    obj = there.cluster.registry.copy(DEPLOYMENTS, "default", "web")
    change(obj)
    there.cluster.registry.update(DEPLOYMENTS, "default", "web", obj, Write(manager="kubectl"))


async def test_one_request(pair: Pair) -> None:
    """Nothing is read or tried again; what was tried is sent, with our provenance and one test more."""
    await pair.check()
    outcome = await pair.run()
    assert outcome.kind is OutcomeKind.DONE
    assert isinstance(outcome.result, RolledBack)
    assert pair.sent() == AT_ONCE
    (patch,) = pair.there.writes()
    assert {op["path"] for op in patch.body if op["op"] == "test"} == {
        "/metadata/generation", "/metadata/uid", "/spec/template",
    }  # fmt: skip
    after = pair.there.web()
    assert revisions.template_hash(after["spec"]["template"]) == pair.there.v1.id
    assert views.action_on(after) == "inc-1/roll_back"


async def test_the_status_may_move(pair: Pair) -> None:
    """A controller writes it a few times a second: no reason to read again."""
    await pair.check()
    status = {"status": {**pair.there.web()["status"], "readyReplicas": 0}}
    await pair.there.client.patch_merge(f"{PATH}/status", status, field_manager="controller")
    pair.there.cluster.faults.log.clear()
    assert (await pair.run()).kind is OutcomeKind.DONE
    assert pair.sent() == AT_ONCE


async def test_an_annotation_moved(pair: Pair) -> None:
    """A Deployment's annotations say what may be done with it: they are read again, and kept."""
    await pair.check()
    write(pair.there, lambda obj: obj["metadata"]["annotations"].update(TOUCHED))
    assert (await pair.run()).kind is OutcomeKind.DONE
    assert pair.sent()[:2] == [*AT_ONCE, READ_FIRST]
    assert pair.there.web()["metadata"]["annotations"].items() >= TOUCHED.items()


async def test_scaled_in_between(pair: Pair) -> None:
    """An autoscaler's write is no reason to refuse: it is read, tried and rolled back, and the scale stays."""
    await pair.check()
    write(pair.there, lambda obj: obj["spec"].update(replicas=1))
    assert (await pair.run()).kind is OutcomeKind.DONE
    assert (pair.there.images(), pair.there.web()["spec"]["replicas"]) == (["shop:v1"], 1)
    assert [r.dry_run for r in pair.there.cluster.faults.log if r.field_manager == "lastgood"] == [False, True, False]


async def test_a_newer_rollout_wins(pair: Pair) -> None:
    """What was deployed between check and rollback stays."""
    await pair.check()
    await pair.there.deploy("shop:v3")
    outcome = await pair.run()
    assert isinstance(outcome.result, Superseded)
    assert pair.there.images() == ["shop:v3"]


async def test_paused_in_between(pair: Pair) -> None:
    """A person paused its rollouts: refused, though nothing of the template moved."""
    await pair.check()
    write(pair.there, lambda obj: obj["spec"].update(paused=True))
    outcome = await pair.run()
    assert (outcome.kind, pair.there.images()) == (OutcomeKind.REFUSED, ["shop:v2"])
    assert "paused" in (outcome.message or "")


async def test_paused_before_the_check(pair: Pair) -> None:
    """The check's dry run does not mind a pause; the rollback does."""
    write(pair.there, lambda obj: obj["spec"].update(paused=True))
    await pair.check()
    assert (await pair.run()).kind is OutcomeKind.REFUSED
    assert pair.there.images() == ["shop:v2"]


async def test_deleted_in_between(pair: Pair) -> None:
    """Gone is gone."""
    await pair.check()
    await pair.there.client.delete(PATH)
    outcome = await pair.run()
    assert outcome.kind is OutcomeKind.REFUSED
    assert "is gone" in (outcome.message or "")


async def test_another_action_reads(pair: Pair) -> None:
    """What was checked for one target says nothing about another one, or about another object of that name."""
    kept, known, action = JustChecked(), await fresh(pair.there), pair.there.action()
    for changes in ({"target": pair.there.v2}, {"uid": "before"}, {"blamed": pair.there.v1}):
        kept.note(pair.there.check(**changes), known)
        assert kept.take(action) is None


async def fresh(there: World) -> Fresh:
    found = await workload_objects.read(there.client, WEB)
    assert found is not None
    return found


async def test_too_old(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a countdown the world is read and tried again."""
    await pair.check()
    monkeypatch.setattr(just_checked, "AGE_SECONDS_MAX", -1.0)
    assert (await pair.run()).kind is OutcomeKind.DONE
    assert READ_FIRST in pair.sent()


async def test_given_away_once(pair: Pair) -> None:
    """A second run of the same action reads: the first may have happened."""
    await pair.check()
    await pair.run()
    pair.there.cluster.faults.log.clear()
    assert (await pair.run()).kind is OutcomeKind.DONE
    assert not pair.there.writes()


async def test_what_the_server_refused_is_not_remembered(pair: Pair) -> None:
    """A dry run that failed leaves nothing to be sent."""
    pair.there.cluster.faults.fail(1, status=422, method="PATCH", path=PATH)
    await pair.check()
    await pair.run()
    assert READ_FIRST in pair.sent()


@pytest.mark.parametrize("heard", [True, False])
async def test_the_answer_is_lost(pair: Pair, heard: bool) -> None:
    """Cut before or after the server heard it: it is looked up, and written once in all."""
    await pair.check()
    pair.there.cluster.faults.drop(1, method="PATCH", path=PATH, after=heard)
    if heard:
        assert (await pair.run()).kind is OutcomeKind.DONE
    else:
        with pytest.raises(Transient):
            await pair.run()
        assert pair.there.images() == ["shop:v2"]
        assert (await pair.run()).kind is OutcomeKind.DONE
    assert pair.there.images() == ["shop:v1"]
    assert pair.there.web()["metadata"]["generation"] == 3


async def test_it_keeps_few(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest makes room, and the newest of one workload is the one that counts."""
    monkeypatch.setattr(just_checked, "KEPT_MAX", 1)
    kept, known, action = JustChecked(), await fresh(pair.there), pair.there.action()
    kept.note(pair.there.check(), known)
    kept.note(pair.there.check(), known)
    assert kept.take(action) is known
    kept.note(pair.there.check(), known)
    kept.note(pair.there.check(workload=replace(WEB, namespace="other")), known)
    assert kept.take(action) is None
