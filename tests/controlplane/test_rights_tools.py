"""The rights to what delivery tools bring: each is needed where they are installed, and none where they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from daemon.core.actions import RollBack
from daemon.core.model import Mode
from daemon.core.policy import GitOps, GitOpsRule, Policy
from handlers import access_check, reflector
from handlers.access_check import Answer
from handlers.faults import Fault
from handlers.inbound.cluster import ClusterWatch
from handlers.rights import RIGHTS, Grant
from tests.controlplane import definitions
from tests.controlplane.argo_player import Shop, manifest
from tests.controlplane.argo_watch import SECONDS, last, until
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rights_field import ALL, OPTED_IN, Chart, Field, all_but, without_tools
from tests.handlers.rollback_world import WallClock
from tests.handlers.test_cluster_watch import Views
from tests.packaging.symptoms import OF_TOOLS, Triple, expected, symptoms, without

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = definitions.SINCE
ARMED = Policy(
    cluster="test",
    default_mode=Mode.APPROVE,
    delete_stuck_pods=True,
    gitops=(GitOpsRule(do=GitOps.ARGOCD_ROLLBACK), GitOpsRule(do=GitOps.FLUX_SUSPEND)),
)
APART = {right.triple for right in RIGHTS if right.tool is not None}


@pytest.fixture
def there(control_plane: ControlPlane, namespace: str) -> Iterator[Field]:
    """All tools' kinds are defined; the account has no roles yet."""
    for name in ("rollouts", "canaries", "applications", "kustomizations", "helmreleases"):
        definitions.define(control_plane, definitions.CRDS / f"{name}.yaml")
    found = Field(control_plane, namespace)
    found.account_made()
    yield found
    found.clear()


@pytest.fixture
def shop(there: Field) -> Shop:
    """A Rollout that went from v1 to v2 and has its first canaries."""
    made = Shop(plane=there.plane, namespace=there.namespace)
    made.create(manifest("shop:v1"))
    made.take_up()
    made.promote()
    made.deploy("shop:v2")
    made.take_up()
    return made


@pytest.fixture(scope="module")
def chart() -> Chart:
    return Chart()


def back(shop: Shop) -> RollBack:
    return shop.action(shop.revision("shop:v1"), shop.revision("shop:v2"))


async def test_with_all_rights_nothing_is_wanting(there: Field, shop: Shop, chart: Chart) -> None:
    """Under the full roles the daemon watches Rollouts and Canaries, and checks and aborts the Rollout."""
    there.bind(chart(*ALL))
    async with there.daemon(all_but()) as client:
        assert await symptoms(client, [back(shop)]) == set()
    assert shop.get()["status"]["abort"] is True


@pytest.mark.parametrize("triple", OF_TOOLS)
async def test_without_this_right(there: Field, shop: Shop, chart: Chart, triple: Triple) -> None:
    """With this one right taken out of the roles, whatever needs it says so; check-access names it and is content."""
    there.bind(without(chart(*ALL), triple))
    async with there.daemon(all_but() - {triple}) as client:
        report = await access_check.check(client, ARMED)
        found = await symptoms(client, [back(shop)])
    lacks = [each for each in report.findings if each.answer is not Answer.YES]
    assert {(verb, each.group, each.resource) for each in lacks for verb in each.verbs} == {triple}
    assert ({each.answer for each in lacks}, report.complete) == ({Answer.OPTIONAL}, True)
    assert expected(triple, found), found


async def test_the_old_roles_after_an_upgrade(
    there: Field, shop: Shop, chart: Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both tools are there and the roles know neither: ready, each refusal told once, and seen once they are granted."""
    monkeypatch.setattr(reflector, "ABSENT_SECONDS", (0.1, 0.2))
    there.bind(without_tools(chart()))
    faults: list[str] = []

    def told(collection: str, _fault: Fault) -> None:
        faults.append(collection)

    inbox, reading = Views(), all_but(Grant.ACT, *OPTED_IN)
    async with there.daemon(reading - APART) as client:
        watch = ClusterWatch(client, inbox, WallClock(), on_fault=told, flagger=True)
        tasks = [asyncio.create_task(run(), name=name) for name, run in watch.tasks().items()]
        try:
            async with asyncio.timeout(SECONDS):
                await watch.synced.wait()
            assert sorted(faults) == ["canaries", "rollouts"]
            assert watch.age() < SECONDS
            there.bind(chart(), suffix="new")
            view = await last(inbox, shop, "shop", lambda view: view.current.images == ("shop:v2",))
            await until(lambda: not watch.reflectors["canaries"].forbidden)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert view.workload == shop.workload
    assert sorted(faults) == ["canaries", "rollouts"], "told once each, however often they were looked for"
