"""Past Flux and Argo CD on a real API server. Their controllers are played: each applies its source, unless suspended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.actions import EndSuspension, Outcome, OutcomeKind, RollBack, RolledBack
from daemon.core.model import ActionId, Owner, OwnerKind
from daemon.core.policy import GitOps
from handlers import applications, suspended, views
from handlers.faults import Transient
from handlers.outbound.rollback.flux import FluxSuspend
from handlers.outbound.rollback.template import TemplateRollback
from handlers.outbound.suspension import SuspensionEnd
from handlers.ownership import owner_of
from tests.controlplane import argo_cd, definitions
from tests.controlplane.argo_cd import ArgoCd, syncing
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rollouts import Rollout, deployment, image, rolled_out
from tests.controlplane.workloads import Json, path
from tests.handlers.argocd_world import AUTOMATED, GOOD
from tests.handlers.rollback_world import WallClock

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE
SECONDS = 60.0
TURN_SECONDS = 0.1
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
HELD_TURNS = 10
"""Turns of the controller in which a rollback must stand."""


class CutError(Exception):
    """The daemon died."""


@dataclass(slots=True)
class Flux:
    """A Kustomization whose source names one version of the Deployment `web`; `turns` counts the controller's looks."""

    there: Rollout
    source: str = "v1"
    turns: int = 0

    @property
    def path(self) -> str:
        return f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{self.there.namespace}/kustomizations/shop"

    @property
    def owner(self) -> Owner:
        return Owner(kind=OwnerKind.FLUX, name=f"Kustomization {self.there.namespace}/shop")

    def ask(self, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
        status, answer = self.there.plane.ask(method, where, body, kind=kind)
        assert status in {200, 201}, answer
        return answer

    def make(self) -> None:
        definitions.define(self.there.plane, definitions.CRDS / "kustomizations.yaml")
        body = {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "shop"}, "spec": {"interval": "1m", "path": "./shop"},
        }  # fmt: skip
        self.ask("POST", self.path.rpartition("/")[0], body)

    def turn(self) -> None:
        """One reconciliation, as kustomize-controller does it: server-side, with forced ownership."""
        if self.ask("GET", self.path)["spec"].get("suspend") is not True:
            body = deployment(self.source)
            body["metadata"]["labels"] = {
                "kustomize.toolkit.fluxcd.io/name": "shop",
                "kustomize.toolkit.fluxcd.io/namespace": self.there.namespace,
            }
            where = path(self.there.namespace, "deployments", "web")
            self.ask("PATCH", f"{where}?fieldManager=kustomize-controller&force=true", body, kind=APPLY)
        self.turns += 1

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.turn)
            await asyncio.sleep(TURN_SECONDS)

    async def turned(self, turns: int) -> None:
        """Let the controller look so often."""
        wanted = self.turns + turns
        async with asyncio.timeout(SECONDS):
            while self.turns < wanted:
                await asyncio.sleep(TURN_SECONDS)

    async def until_image(self, wanted: str) -> None:
        async with asyncio.timeout(SECONDS):
            while image(await asyncio.to_thread(self.there.web)) != wanted:
                await asyncio.sleep(TURN_SECONDS)

    def person(self, *, suspend: bool) -> None:
        """`flux suspend` or `flux resume`."""
        self.ask("PATCH", f"{self.path}?fieldManager=flux", {"spec": {"suspend": suspend}}, kind=MERGE)

    def obj(self) -> Json:
        return self.ask("GET", self.path)

    def action(self) -> RollBack:
        until = datetime.now(UTC) + timedelta(hours=4)
        return replace(self.there.action(), way=GitOps.FLUX_SUSPEND, owner=self.owner, suspend_until=until)

    def runner(self, api: Any = None) -> FluxSuspend:
        api = api or self.there.client
        return FluxSuspend(api, TemplateRollback(api, WallClock()))

    async def ends(self) -> Outcome:
        action = self.action()
        return await SuspensionEnd(self.there.client).run(
            EndSuspension(
                id=ActionId("inc-1/end_suspension/1"), deadline=action.deadline, incident=action.incident,
                workload=action.workload, owner=self.owner, way=GitOps.FLUX_SUSPEND,
            )
        )  # fmt: skip


class Mortal:
    """A client that dies right after one of the requests that write something."""

    def __init__(self, client: Any, writes: int) -> None:
        self._client, self._left = client, writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch_json(self, where: str, ops: Sequence[Json], **options: Any) -> Json:
        answer: Json = await self._client.patch_json(where, ops, **options)
        self._left -= 1
        if not self._left:
            raise CutError
        return answer


@asynccontextmanager
async def reconciling(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Flux]:
    async with rolled_out(control_plane, namespace) as there:
        flux = Flux(there, source="v2")
        await asyncio.to_thread(flux.make)
        task = asyncio.create_task(flux.run())
        try:
            await flux.turned(2)
            yield flux
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def flux(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Flux]:
    async with reconciling(control_plane, namespace) as found:
        yield found


async def rolls_back(flux: Flux) -> Outcome:
    """As the dispatcher does it: what was read in passing is tried again."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(Transient):
                return await flux.runner().run(flux.action())


async def test_without_the_way_it_is_written_over(flux: Flux) -> None:
    """What the way is for: a plain rollback lasts until the controller's next turn."""
    plain = TemplateRollback(flux.there.client, WallClock())
    assert (await plain.run(flux.there.action())).kind is OutcomeKind.DONE
    await flux.until_image("shop:v2")


async def test_the_rollback_holds_until_the_end(flux: Flux) -> None:
    """Suspended it stands, turn after turn; ended, the source counts again, and nothing of ours is left on the object."""
    assert owner_of({**flux.there.web(), "kind": "Deployment"}) == flux.owner
    outcome = await rolls_back(flux)
    assert isinstance(outcome.result, RolledBack), outcome
    assert "is suspended until" in outcome.result.warnings[0]
    await flux.turned(HELD_TURNS)
    assert image(flux.there.web()) == "shop:v1"
    assert suspended.is_ours(flux.obj())
    ended = await flux.ends()
    assert (ended.kind, ended.message) == (OutcomeKind.DONE, f"{flux.owner.name} is reconciled again.")
    assert not set(suspended.MARKS) & set(flux.obj()["metadata"].get("annotations") or {})
    await flux.until_image("shop:v2")
    assert await flux.ends() == Outcome(kind=OutcomeKind.DONE)


async def test_a_corrected_source_goes_out_at_the_end(flux: Flux) -> None:
    """The way that it is meant: the source is reverted while it is suspended, and the end starts no rollout back."""
    await rolls_back(flux)
    flux.source = "v1"
    assert (await flux.ends()).kind is OutcomeKind.DONE
    await flux.turned(HELD_TURNS)
    assert image(flux.there.web()) == "shop:v1"


@pytest.mark.parametrize("writes", [1, 2, 3])
async def test_cut_after_each_write_it_goes_on(flux: Flux, writes: int) -> None:
    """Dead after the suspension, the dry run or the patch: the next life finds what is there and ends in the same place."""
    with pytest.raises(CutError):
        await flux.runner(Mortal(flux.there.client, writes)).run(flux.action())
    outcome = await flux.runner().probe(flux.action())
    assert (outcome is None) == (writes < 3)
    outcome = outcome or await rolls_back(flux)
    assert isinstance(outcome.result, RolledBack), outcome
    await flux.turned(HELD_TURNS)
    assert image(flux.there.web()) == "shop:v1"
    assert suspended.is_ours(flux.obj())


@pytest.mark.parametrize("again", [True, False])
async def test_whose_it_is_the_server_tells(flux: Flux, again: bool) -> None:
    """ManagedFields tell a person's suspension from ours although our mark is still there: theirs is left."""
    await rolls_back(flux)
    flux.person(suspend=False)
    await flux.until_image("shop:v2")
    if again:
        flux.person(suspend=True)
    assert not suspended.is_ours(flux.obj())
    assert (await flux.ends()).kind is OutcomeKind.REFUSED
    assert flux.obj()["spec"]["suspend"] is again
    assert not set(suspended.MARKS) & set(flux.obj()["metadata"].get("annotations") or {})


async def test_what_was_suspended_before_is_not_ours(flux: Flux) -> None:
    """A person suspended it: it is rolled back, not claimed, and not ended."""
    flux.person(suspend=True)
    await flux.turned(2)
    outcome = await rolls_back(flux)
    assert isinstance(outcome.result, RolledBack), outcome
    assert "by somebody else" in outcome.result.warnings[0]
    assert await flux.ends() == Outcome(kind=OutcomeKind.DONE)
    assert flux.obj()["spec"]["suspend"] is True


@pytest.fixture
async def argo(control_plane: ControlPlane, namespace: str) -> AsyncIterator[ArgoCd]:
    async with syncing(control_plane, namespace) as found:
        yield found


async def goes_back(argo: ArgoCd) -> Outcome:
    """As the dispatcher does it."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(Transient):
                return await argo.runner().run(argo.action())


async def test_argo_without_the_way_it_is_written_over(argo: ArgoCd) -> None:
    """What the way is for: a plain rollback lasts until self-heal's next turn."""
    plain = TemplateRollback(argo.there.client, WallClock())
    assert (await plain.run(argo.there.action())).kind is OutcomeKind.DONE
    await argo.until_image("shop:v2")


async def test_argo_the_rollback_holds_until_the_end(argo: ArgoCd) -> None:
    """One operation, known as ours; it stands turn after turn; ended, auto-sync is as it was and the source counts again."""
    assert owner_of({**argo.there.web(), "kind": "Deployment"}) == argo_cd.OWNER
    outcome = await goes_back(argo)
    assert isinstance(outcome.result, RolledBack), outcome
    assert "is off until" in outcome.result.warnings[0]
    await argo.turned(HELD_TURNS)
    assert image(argo.there.web()) == "shop:v1"
    assert views.action_on(argo.there.web()) == argo.action().id
    assert (argo.begun, applications.is_ours(argo.app())) == (1, True)
    ended = await argo.ends()
    assert ended.kind is OutcomeKind.DONE, ended
    assert (argo.automated(), argo.marks()) == (AUTOMATED, set())
    await argo.until_image("shop:v2")
    assert await argo.ends() == Outcome(kind=OutcomeKind.DONE)


async def test_argo_a_corrected_source_goes_out_at_the_end(argo: ArgoCd) -> None:
    """The way that it is meant: the source is reverted meanwhile, and the end starts no rollout back."""
    await goes_back(argo)
    argo.source = GOOD
    assert (await argo.ends()).kind is OutcomeKind.DONE
    await argo.turned(HELD_TURNS)
    assert image(argo.there.web()) == "shop:v1"


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
async def test_argo_cut_after_each_write_it_goes_on(argo: ArgoCd, writes: int) -> None:
    """Dead after a dry run, the mark or the operation: the next life asks for nothing twice."""
    with pytest.raises(CutError):
        await argo.runner(Mortal(argo.there.client, writes)).run(argo.action())
    outcome = await goes_back(argo)
    assert isinstance(outcome.result, RolledBack), outcome
    await argo.turned(HELD_TURNS)
    assert image(argo.there.web()) == "shop:v1"
    assert (argo.begun, applications.is_ours(argo.app())) == (1, True)


@pytest.mark.parametrize("again", [True, False])
async def test_argo_whose_it_is_the_server_tells(argo: ArgoCd, again: bool) -> None:
    """ManagedFields tell a person's switch from ours although our marks are still there: theirs is left."""
    await goes_back(argo)
    argo.person(enabled=True)
    await argo.until_image("shop:v2")
    if again:
        argo.person(enabled=False)
    assert not applications.is_ours(argo.app())
    assert (await argo.ends()).kind is OutcomeKind.REFUSED
    assert argo.automated() == {**AUTOMATED, "enabled": not again}
    assert argo.marks() == set()
