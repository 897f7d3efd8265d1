"""Flux is suspended before its workload is rolled back, and goes on afterwards; the Kustomization is played in memory."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.actions import EndSuspension, Outcome, OutcomeKind, RollBack, RolledBack, Superseded
from daemon.core.model import ActionId, Owner, OwnerKind
from daemon.core.policy import GitOps
from deploy.sandbox.kube.errors import ApiError
from deploy.sandbox.kube.patches import json_patch
from handlers import suspended
from handlers.faults import FaultKind, Permanent, Transient
from handlers.outbound.rollback import flux
from handlers.outbound.rollback.flux import FluxSuspend
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.suspension import SuspensionEnd
from tests.handlers.rollback_world import WEB, WallClock, World, world

pytestmark = pytest.mark.real

OWNER = Owner(kind=OwnerKind.FLUX, name="Kustomization flux-system/shop")
PATH = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/shop"
UNTIL = datetime(2026, 3, 2, 16, 5, tzinfo=UTC)
RESUME = "flux resume kustomization shop --namespace flux-system"

Json = dict[str, Any]


class CutError(Exception):
    """The daemon died."""


@dataclass(slots=True)
class Played:
    """The client of the sandbox, with one Kustomization beside it; `before` happens before each request of ours."""

    world: World
    obj: Json | None = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda verb, path: None
    patched: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.client, name)

    async def get(self, path: str, **query: Any) -> Json:
        self.before("get", path)
        if "toolkit.fluxcd.io" not in path:
            return await self.world.client.get(path, **query)
        if path != PATH or self.obj is None:
            raise Permanent("not found", FaultKind.NOT_FOUND, status=404)
        return copy.deepcopy(self.obj)

    async def patch_json(self, path: str, ops: Sequence[Json], **options: Any) -> Json:
        self.before("dry run" if options.get("dry_run") else "patch", path)
        if path != PATH:
            return await self.world.client.patch_json(path, ops, **options)
        try:
            obj = json_patch(copy.deepcopy(self.obj), list(ops))
        except ApiError as error:
            raise Permanent(str(error), FaultKind.INVALID, status=422) from None
        self.patched += 1
        self.obj = written(obj, options["field_manager"])
        return copy.deepcopy(self.obj)

    def person(self, *, suspend: bool) -> None:
        """`flux suspend` or `flux resume`."""
        assert self.obj is not None
        self.obj["spec"]["suspend"] = suspend
        self.obj = written(self.obj, "flux")

    def runner(self) -> FluxSuspend:
        return FluxSuspend(self, TemplateRollback(self, WallClock()), look_seconds=0.001)

    def action(self, **changes: Any) -> RollBack:
        return self.world.action(way=GitOps.FLUX_SUSPEND, owner=OWNER, suspend_until=UNTIL, **changes)

    async def ends(self) -> Outcome:
        return await SuspensionEnd(self).run(an_end())

    @property
    def marks(self) -> Json:
        assert self.obj is not None
        return dict(self.obj["metadata"].get("annotations") or {})

    def suspend(self) -> bool:
        assert self.obj is not None
        return bool(self.obj["spec"].get("suspend"))


def kustomization(**spec: Any) -> Json:
    metadata = {"name": "shop", "namespace": "flux-system", "uid": "k-1", "resourceVersion": "1"}
    return {"kind": "Kustomization", "metadata": metadata, "spec": {"interval": "1m", **spec}}


def written(obj: Json, manager: str) -> Json:
    """As after a write by this manager, who owns `spec.suspend` from then on."""
    metadata = obj["metadata"]
    metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
    metadata["managedFields"] = [{"manager": manager, "fieldsV1": {"f:spec": {"f:suspend": {}}}}]
    return obj


def an_end(**changes: Any) -> EndSuspension:
    values: Json = {
        "id": ActionId("inc-1/end_suspension/1"),
        "deadline": UNTIL + timedelta(hours=1),
        "incident": "inc-1",
        "workload": WEB,
        "owner": OWNER,
        "way": GitOps.FLUX_SUSPEND,
    }
    return EndSuspension(**(values | changes))


@pytest.fixture
async def there() -> AsyncIterator[Played]:
    async with world() as found:
        yield Played(found, kustomization())


def warnings(outcome: Outcome | None) -> tuple[str, ...]:
    assert outcome is not None
    assert outcome.kind is OutcomeKind.DONE, outcome
    assert isinstance(outcome.result, RolledBack)
    return outcome.result.warnings


async def test_suspended_rolled_back_and_resumed(there: Played) -> None:
    """The marks say who and until when, the page how to end it; the end leaves nothing of ours behind, and happens once."""
    outcome = await there.runner().run(there.action())
    assert there.world.images() == ["shop:v1"]
    assert there.suspend()
    assert there.marks == {
        suspended.SUSPENDED_BY: "inc-1/roll_back",
        suspended.SUSPENDED_UNTIL: "2026-03-02T16:05:00+00:00",
    }
    assert "until 2026-03-02 16:05Z" in warnings(outcome)[0]
    assert f"`{RESUME}`" in warnings(outcome)[0]
    ended = await there.ends()
    assert (ended.kind, ended.message) == (OutcomeKind.DONE, f"{OWNER.name} is reconciled again.")
    assert not there.suspend()
    assert there.marks == {}
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)


async def test_cut_anywhere_it_goes_on(there: Played) -> None:
    """However often it dies, before whichever request: in the end there is one suspension and one rollback."""
    for requests in range(60):
        left = [requests]

        def dies(verb: str, path: str, left: list[int] = left) -> None:
            if not left[0]:
                raise CutError
            left[0] -= 1

        there.before = dies
        try:
            outcome = await there.runner().probe(there.action()) or await there.runner().run(there.action())
        except CutError:
            continue
        break
    else:
        raise AssertionError("it never came to its end")
    there.before = lambda verb, path: None
    assert warnings(outcome)
    assert there.patched == 1
    assert there.world.images() == ["shop:v1"]
    assert warnings(await there.runner().probe(there.action()))[0] == warnings(outcome)[0]


async def test_what_a_person_suspended_is_not_claimed(there: Played) -> None:
    """It is rolled back, but the suspension stays theirs: no mark, and the end leaves it."""
    there.person(suspend=True)
    outcome = await there.runner().run(there.action())
    assert "by somebody else" in warnings(outcome)[0]
    assert there.marks == {}
    assert await there.ends() == Outcome(kind=OutcomeKind.DONE)
    assert there.suspend()


@pytest.mark.parametrize("again", [True, False])
async def test_what_a_person_changed_since_is_left(there: Played, again: bool) -> None:
    """Resumed by hand it is not resumed twice; suspended by hand again it stays so. Our marks go either way."""
    await there.runner().run(there.action())
    there.person(suspend=False)
    if again:
        there.person(suspend=True)
    ended = await there.ends()
    assert ended.kind is OutcomeKind.REFUSED
    assert ("leaves it so" if again else "somebody has resumed it") in ended.message
    assert there.suspend() is again
    assert there.marks == {}


async def test_a_newer_rollout_suspends_nobody(there: Played) -> None:
    """What is settled before the first step changes nothing at Flux."""
    await there.world.deploy("shop:v3")
    outcome = await there.runner().run(there.action())
    assert isinstance(outcome.result, Superseded)
    assert there.patched == 0


async def test_a_rollback_that_is_refused_leaves_the_end_to_the_core(there: Played) -> None:
    """A newer rollout between the suspension and the patch wins; the mark lets the end find what is to be ended."""
    action = there.action(target=there.world.v2, blamed=there.world.v2)

    def gone(verb: str, path: str) -> None:
        if verb == "dry run":
            raise Permanent("denied by admission", FaultKind.AUTH, status=403)

    there.before = gone
    outcome = await there.runner().run(action)
    assert outcome.kind is OutcomeKind.FAILED
    assert there.suspend()
    there.before = lambda verb, path: None
    assert (await there.ends()).message == f"{OWNER.name} is reconciled again."


async def test_a_reconciliation_under_way_is_waited_for(there: Played) -> None:
    """Nothing is rolled back while the status says that the controller applies; one that never ends is told of."""
    assert there.obj is not None
    there.obj["status"] = {"conditions": [{"type": "Reconciling", "status": "True", "reason": "Progressing"}]}
    looks: list[str] = []

    def settles(verb: str, path: str) -> None:
        assert there.obj is not None
        looks.append(verb)
        if len(looks) == 20:
            there.obj["status"] = {}
        assert verb != "dry run" or not there.obj["status"], "rolled back into a reconciliation"

    there.before = settles
    assert len(warnings(await there.runner().run(there.action()))) == 1


async def test_one_that_never_ends_is_told_of(there: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the bound it is rolled back all the same; a reconciliation that only waits for its next turn is no obstacle."""
    monkeypatch.setattr(flux, "LOOKS_MAX", 3)
    assert there.obj is not None
    there.obj["status"] = {"conditions": [{"type": "Reconciling", "status": "True", "reason": "Progressing"}]}
    assert "in the middle of a reconciliation" in warnings(await there.runner().run(there.action()))[1]


async def test_one_that_waits_for_its_next_turn_is_quiet(there: Played) -> None:
    """A failed reconciliation stays Reconciling until the next: it applies nothing now."""
    assert there.obj is not None
    there.obj["status"] = {"conditions": [{"type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry"}]}
    assert len(warnings(await there.runner().run(there.action()))) == 1


async def test_resumed_in_between_nothing_is_fought(there: Played) -> None:
    """Where a parent applies `suspend: false` over ours at once, the workload is left as it is."""

    def resumes(verb: str, path: str) -> None:
        if there.patched == 1 and there.suspend():
            there.person(suspend=False)

    there.before = resumes
    outcome = await there.runner().run(there.action())
    assert outcome.kind is OutcomeKind.REFUSED
    assert "resumed at once" in outcome.message
    assert there.world.images() == ["shop:v2"]


@pytest.mark.parametrize("name", ["Kustomization flux-system/other", "kustomize-controller", "Kustomization ?/shop"])
async def test_an_owner_that_is_not_there_is_refused(there: Played, name: str) -> None:
    """Labels may name what is gone, or nothing: then nobody knows whom to suspend."""
    owner = Owner(kind=OwnerKind.FLUX, name=name)
    outcome = await there.runner().run(there.world.action(way=GitOps.FLUX_SUSPEND, owner=owner, suspend_until=UNTIL))
    assert outcome.kind is OutcomeKind.REFUSED
    assert there.world.images() == ["shop:v2"]


async def test_a_write_between_reading_and_suspending_is_read_anew(there: Played) -> None:
    """The patch tests what it read; a new run begins again."""

    def races(verb: str, path: str) -> None:
        if verb == "patch" and path == PATH and not there.patched:
            there.before = lambda verb, path: None
            there.obj = written(kustomization(suspend=False), "flux")

    there.before = races
    with pytest.raises(Transient):
        await there.runner().run(there.action())
    assert not there.suspend()
    assert warnings(await there.runner().run(there.action()))


async def test_a_right_that_is_missing_at_the_end_is_told(there: Played) -> None:
    """FAILED with the command: a suspension that nobody may end must not stay in silence."""
    await there.runner().run(there.action())

    def forbids(verb: str, path: str) -> None:
        if verb == "patch":
            raise Permanent("forbidden", FaultKind.AUTH, status=403)

    there.before = forbids
    ended = await there.ends()
    assert ended.kind is OutcomeKind.FAILED
    assert f"`{RESUME}`" in ended.message


async def test_another_way_suspended_nothing(there: Played) -> None:
    """There is nothing to end of a way that suspends nobody."""
    ended = await SuspensionEnd(there).run(an_end(way=GitOps.GIT_REVERT))
    assert ended == Outcome(kind=OutcomeKind.DONE)
    assert await SuspensionEnd(there).probe(an_end()) is None
