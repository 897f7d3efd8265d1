"""Argo CD rolls its Application back and deploys nothing by itself until the end; its controller is played in the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from daemon.core.actions import Outcome, OutcomeKind, RolledBack, StaysSuspended, Superseded
from daemon.core.model import Owner, OwnerKind
from handlers import applications, suspended, views
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.rollback import argocd, outcomes
from tests.handlers.argocd_world import (
    APP,
    AUTOMATED,
    BAD,
    GOOD,
    OWNER,
    THEN,
    Argo,
    CutError,
    Json,
    add,
    application,
    argo_world,
)
from tests.handlers.rollback_world import PATH

pytestmark = pytest.mark.real


@pytest.fixture
async def there() -> AsyncIterator[Argo]:
    async with argo_world() as found:
        yield found


def warnings(outcome: Outcome | None) -> tuple[str, ...]:
    assert outcome is not None
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert isinstance(outcome.result, RolledBack)
    return outcome.result.warnings


def refused(outcome: Outcome, *words: str) -> None:
    """Nothing was written, and the sentence says why."""
    assert outcome.kind is OutcomeKind.REFUSED, outcome
    assert all(word in outcome.message for word in words), outcome.message


def untouched(there: Argo) -> bool:
    return not there.marks() and there.app().get("operation") is None and there.automated() == AUTOMATED


async def test_rolled_back_by_its_history_and_ended(there: Argo) -> None:
    """Argo CD is asked for what `argocd app rollback` asks for; the page says until when; the end restores auto-sync exactly."""
    outcome = await there.run()
    assert there.world.images() == ["shop:v1"]
    assert there.automated() == {**AUTOMATED, "enabled": False}
    (operation,) = there.operations
    assert operation["sync"] == {
        "revision": GOOD,
        "source": {"repoURL": "https://git.example/shop", "path": "deploy"},
        "syncOptions": ["ServerSideApply=true"],
        "syncStrategy": {"apply": {}},
    }
    assert operation["initiatedBy"] == {"username": "lastgood"}
    assert there.marks()[suspended.SUSPENDED_UNTIL] == "2026-03-02T16:05:00+00:00"
    assert "until 2026-03-02 16:05Z" in warnings(outcome)[0]
    assert '{"spec":{"syncPolicy":{"automated":{"enabled":null}}}}' in warnings(outcome)[0]
    assert "to entry 1 of its history (Succeeded: successfully synced)" in warnings(outcome)[1]
    ended = await there.ends()
    assert (ended.kind, ended.message) == (OutcomeKind.DONE, "Auto-sync of Application argocd/shop is on again.")
    assert there.automated() == AUTOMATED
    assert there.marks() == {}
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)


async def test_the_rollout_is_known_as_ours(there: Argo) -> None:
    """The workload's view names our action as soon as the target is current, and not before."""
    seen: list[Any] = []
    there.before = lambda verb, path: seen.append((there.world.images(), views.action_on(there.world.web())))
    await there.run()
    assert {action for images, action in seen if images == ["shop:v2"]} == {None}
    assert {action for images, action in seen if images == ["shop:v1"]} == {"inc-1/roll_back"}


async def test_cut_before_any_request_it_goes_on(there: Argo) -> None:
    """However often it dies, before whichever request: in the end there is one operation and one rollback."""
    for requests in range(120):
        left = [requests]

        def dies(verb: str, path: str, left: list[int] = left) -> None:
            if not left[0]:
                raise CutError
            left[0] -= 1

        there.before = dies
        try:
            outcome = await there.runner().probe(there.action()) or await there.run()
        except (CutError, Transient):
            continue
        break
    else:
        raise AssertionError("it never came to its end")
    there.before = lambda verb, path: None
    assert warnings(outcome)
    assert len(there.operations) == 1
    assert there.world.images() == ["shop:v1"]
    assert warnings(await there.runner().probe(there.action()))[0] == warnings(outcome)[0]


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_cut_after_any_write_it_goes_on(there: Argo, writes: int) -> None:
    """Dead right after the mark, the operation, or the giving up of fields: the next life asks for nothing twice."""
    there.dies_after = writes
    try:
        outcome = await there.run()
    except CutError:
        outcome = await there.run()
    assert warnings(outcome)
    assert len(there.operations) == 1
    assert applications.is_ours(there.app())


async def test_by_the_time_where_no_commit_is_known(there: Argo) -> None:
    """A pipeline names the commit of the program's repository; then the moment of the rollout tells the entry."""
    outcome = await there.run(target_commit="9999999ffff", target_since=THEN + timedelta(seconds=25))
    assert "to entry 1" in warnings(outcome)[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target_commit": None}, ("not known when",)),
        ({"target_commit": "9999999ffff"}, ("no entry", "commit 9999999ffff")),
        ({"target_commit": None, "target_since": THEN - timedelta(hours=1)}, ("no entry", "2026-03-02 10:00:00Z")),
    ],
)
async def test_an_entry_that_is_not_certain_is_refused(there: Argo, changes: Json, words: tuple[str, ...]) -> None:
    """No entry is guessed, and nothing is written."""
    refused(await there.run(**changes), "nothing was changed", *words)
    assert untouched(there)
    assert views.ACTION not in views.annotations_of(there.world.web())


async def test_under_an_application_set_it_is_refused(there: Argo) -> None:
    """It writes auto-sync back within moments; the sentence says what to do in place of this."""
    reference = {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "shops", "uid": "1"}
    await there.writes([add("/metadata/ownerReferences", [reference])])
    refused(await there.run(), "ApplicationSet shops", "git-revert")
    assert untouched(there)


@pytest.mark.parametrize("name", ["other", "unknown application", "team_shop"])
async def test_an_application_that_is_not_found_is_refused(there: Argo, name: str) -> None:
    """A label may name what is not there; then nobody knows whose auto-sync to switch off."""
    refused(await there.run(owner=Owner(kind=OwnerKind.ARGO_CD, name=name)), "no Application called")
    assert untouched(there)


async def test_one_that_deploys_elsewhere_is_refused(there: Argo) -> None:
    """A workload of the same name may run in the cluster that it deploys to."""
    await there.writes([add("/spec/destination", {"server": "https://10.0.0.1"})])
    refused(await there.run(), "no Application called")


async def test_what_another_rollback_holds_is_refused(there: Argo) -> None:
    """A second rollback of the same Application might bring back what the first took away."""
    await there.run()
    await there.applies(BAD)
    outcome = await there.runner().run(there.action(id="inc-2/roll_back"))
    refused(outcome, "rolled back already, by inc-1/roll_back")
    assert len(there.operations) == 1


async def test_a_newer_rollout_asks_for_nothing(there: Argo) -> None:
    """What is settled before the first step changes nothing at Argo CD."""
    await there.world.deploy("shop:v3")
    outcome = await there.run()
    assert isinstance(outcome.result, Superseded)
    assert untouched(there)


async def test_an_operation_under_way_is_waited_for(there: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argo CD does one thing at a time: nothing is written meanwhile, and after a while the dispatcher comes again."""
    monkeypatch.setattr(argocd, "LOOKS_MAX", 3)
    there.idle = True
    await there.writes([add("/operation", {"sync": {"revision": BAD}})])
    with pytest.raises(Transient, match="argocd app terminate-op shop"):
        await there.run()
    assert not there.marks()
    await there.writes([{"op": "remove", "path": "/operation"}])
    there.idle = False
    monkeypatch.setattr(argocd, "LOOKS_MAX", 60)
    assert warnings(await there.run())


async def test_our_operation_is_waited_for(there: Argo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow Argo CD is asked once; the next run finds the operation and goes on waiting."""
    monkeypatch.setattr(argocd, "LOOKS_MAX", 4)
    there.idle = True
    for _ in range(2):
        with pytest.raises(Transient, match="is under way"):
            await there.run()
    with pytest.raises(Transient, match="is under way"):  # not None: a pause would let go of auto-sync then
        await there.runner().probe(there.action())
    there.idle = False
    assert warnings(await there.run())
    assert len(there.operations) == 1


async def test_an_operation_that_fails_is_told(there: Argo) -> None:
    """The bad revision still runs: FAILED with Argo CD's own words, and the core ends the suspension at once."""
    there.fails = "one or more objects failed to apply"
    outcome = await there.run()
    assert (outcome.kind, outcome.result) == (OutcomeKind.FAILED, None)
    assert "Failed: one or more objects failed to apply" in outcome.message
    assert (await there.ends()).kind is OutcomeKind.DONE
    assert there.automated() == AUTOMATED


async def test_an_entry_that_holds_something_else_stays(there: Argo) -> None:
    """Neither the target nor the bad revision: auto-sync stays off, and a person is told what runs and how to end it."""
    there.images[GOOD] = "shop:v0"
    outcome = await there.run()
    assert outcome.kind is OutcomeKind.FAILED
    assert isinstance(outcome.result, StaysSuspended)
    assert f"is not {there.world.v1.label}" in outcome.message
    assert "kubectl patch applications.argoproj.io shop --namespace argocd" in outcome.message
    assert applications.is_ours(there.app())


async def test_an_operation_that_was_replaced_is_told(there: Argo) -> None:
    """A person synced by hand over ours: what became of ours is not known, and is not asked for again."""
    there.idle = True
    ours = there.runner()

    def replaced(verb: str, path: str) -> None:
        if verb == "get" and path == APP and there.app().get("operation") is not None:
            raise CutError

    there.before = replaced
    with pytest.raises(CutError):
        await ours.run(there.action())
    there.before = lambda verb, path: None
    await there.writes([{"op": "remove", "path": "/operation"}])
    outcome = await ours.run(there.action())
    assert outcome.kind is OutcomeKind.FAILED
    assert "another operation has taken its place" in outcome.message


async def test_a_mark_that_the_sync_wiped_is_no_loss(there: Argo) -> None:
    """With Replace=true Argo CD writes the whole object: the operation itself is the proof then."""
    before = there.before

    def wipes(verb: str, path: str) -> None:
        web = there.world.web()
        if there.world.images() == ["shop:v1"] and views.ACTION in views.annotations_of(web):
            raise CutError

    there.before = wipes
    with pytest.raises(CutError):
        await there.run()
    there.before = before
    gone = [
        {"op": "remove", "path": f"/metadata/annotations/lastgood.dev~1{each}"} for each in ("action", "rolled-back-to")
    ]
    await there.world.client.patch_json(PATH, gone, field_manager="argocd-controller")
    for replica_set in there.world.cluster.objects("apps/v1", "replicasets"):
        path = f"/apis/apps/v1/namespaces/default/replicasets/{replica_set['metadata']['name']}"
        kept = {key: value for key, value in replica_set["metadata"]["annotations"].items() if "lastgood" not in key}
        await there.world.client.patch_json(path, [add("/metadata/annotations", kept)], field_manager="test")
    assert "to entry 1" in warnings(await there.run())[1]
    assert len(there.operations) == 1


async def test_a_write_between_reading_and_asking_is_read_anew(there: Argo) -> None:
    """The patch tests the version that it read; nothing was written, and a new run begins again."""
    raced: list[str] = []

    async def races() -> None:
        await there.writes([add("/metadata/labels", {"by": "hand"})])

    real = there.world.client.patch_json

    async def patch_json(path: str, ops: Any, **options: Any) -> Json:
        if path == APP and not options.get("dry_run") and options["field_manager"] == "lastgood" and not raced:
            raced.append(path)
            await races()
        return await real(path, ops, **options)

    there.world.client.patch_json = patch_json  # type: ignore[method-assign]
    with pytest.raises(Transient):
        await there.run()
    assert there.automated() == AUTOMATED
    assert warnings(await there.run())


async def test_without_the_right_nothing_is_marked(there: Argo) -> None:
    """The Application's patch is tried before the workload is marked: a missing right leaves no trace."""

    def forbids(verb: str, path: str) -> None:
        if path == APP and verb in ("dry run", "patch"):
            raise Permanent("forbidden", FaultKind.AUTH, status=403)

    there.before = forbids
    with pytest.raises(Permanent):
        await there.run()
    assert views.ACTION not in views.annotations_of(there.world.web())


async def test_switched_on_again_by_what_applies_it_is_told(there: Argo) -> None:
    """A parent Application writes auto-sync back: the rollback stands for a moment, and the page says so."""
    await there.run()
    await there.person(automated=AUTOMATED)
    assert "it brings the bad revision back" in warnings(await there.runner().probe(there.action()))[0]


async def test_an_application_that_is_gone_afterwards(there: Argo) -> None:
    """The workload proves that it happened; there is nothing to end."""
    await there.run()
    await there.world.client.delete(APP)
    assert f"{OWNER.name} is not found any more" in warnings(await there.runner().probe(there.action()))[0]
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)


async def test_another_one_of_the_same_name_is_left(there: Argo) -> None:
    """Two Applications of one name list the workload: neither is chosen."""
    twin = application(namespace="team")
    there.world.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    there.world.cluster.create(twin)
    refused(await there.run(), "more than one Application")


async def test_what_cannot_be_read_any_more_stays(there: Argo) -> None:
    """Asked, and then not allowed to look: auto-sync stays off until its end, or it would undo what Argo CD may have done."""

    def forbids(verb: str, path: str) -> None:
        if there.app().get("operation") is not None:
            raise Permanent("forbidden", FaultKind.AUTH, status=403)

    there.before = forbids
    outcome = await there.run()
    assert (outcome.kind, outcome.result) == (OutcomeKind.FAILED, StaysSuspended())
    assert "cannot be read (forbidden)" in outcome.message


async def test_replaced_since_is_done_with_a_word(there: Argo) -> None:
    """The ReplicaSet keeps our mark: a newer rollout after ours does not undo that it happened."""
    await there.run()
    await there.world.settled()
    await there.world.deploy("shop:v3")
    assert outcomes.REPLACED in warnings(await there.run())
    assert outcomes.REPLACED in warnings(await there.runner().probe(there.action()))
