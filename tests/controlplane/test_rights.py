"""Least privilege, by the real authorizer: the chart's roles are enough, and without any one right something says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.cli import commands
from daemon.cli.exits import Exit
from daemon.core.model import Mode
from daemon.core.policy import GitOps, GitOpsRule, Policy
from handlers import access_check
from handlers.access_check import Answer
from handlers.rights import Grant, triples
from tests.contract import access_rules
from tests.controlplane.plane import ControlPlane
from tests.controlplane.rights_field import ALL, OPTED_IN, RBAC, WORKLOADS, Chart, Field, all_but
from tests.controlplane.workloads import path, until
from tests.packaging.every_kind import BROKEN
from tests.packaging.symptoms import OF_KUBERNETES, Triple, expected, symptoms, without

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ARMED = Policy(
    cluster="test",
    default_mode=Mode.APPROVE,
    delete_stuck_pods=True,
    gitops=(GitOpsRule(do=GitOps.ARGOCD_ROLLBACK), GitOpsRule(do=GitOps.FLUX_SUSPEND)),
)


@pytest.fixture
def there(control_plane: ControlPlane, namespace: str) -> Iterator[Field]:
    found = Field(control_plane, namespace)
    found.furnish()
    yield found
    found.clear()


@pytest.fixture(scope="module")
def chart() -> Chart:
    return Chart()


async def test_with_all_rights_nothing_is_wanting(there: Field, chart: Chart) -> None:
    """Under the full roles the daemon watches, checks everything and rolls back, and check-access has nothing to say."""
    there.bind(chart(*ALL))
    async with there.daemon(all_but()) as client:
        assert await symptoms(client, await there.rollbacks()) == set()
        report = await access_check.check(client, ARMED)
    assert {each.answer for each in report.findings} == {Answer.YES}
    assert report.asked_as == (there.account if there.plane.release >= (1, 28) else None)


@pytest.mark.parametrize("triple", OF_KUBERNETES)
async def test_without_this_right(there: Field, chart: Chart, triple: Triple) -> None:
    """With this one right taken out of the roles, whatever needs it says so, and check-access names it and no other."""
    there.bind(without(chart(*ALL), triple))
    async with there.daemon(all_but() - {triple}) as client:
        report = await access_check.check(client, ARMED)
        found = await symptoms(client, await there.rollbacks())
    lacks = [each for each in report.findings if each.answer is not Answer.YES]
    assert {(verb, each.group, each.resource) for each in lacks for verb in each.verbs} == {triple}
    assert expected(triple, found, WORKLOADS), found


async def test_observe_watches_all_and_changes_nothing(there: Field, chart: Chart) -> None:
    """Under the observe role every watch opens, and the rollback is refused: the template stays."""
    there.bind(chart())
    async with there.daemon(all_but(Grant.ACT, *OPTED_IN)) as client:
        found = await symptoms(client, await there.rollbacks())
        assert (await access_check.check(client, Policy(cluster="test"))).complete
    assert found == {
        "check Deployment: unchecked Secret token",
        *(f"check {kind}: may not patch" for kind in WORKLOADS),
        *(f"roll back {kind}" for kind in WORKLOADS),
    }
    assert there.images() == ["shop:v2", BROKEN, "shop:v2"]
    front = there.asks("GET", path(there.namespace, "services", "shop"))
    assert front["spec"]["selector"]["version"] == "green"


async def test_more_than_needed_is_named(there: Field, chart: Chart) -> None:
    """The act role under a policy that only observes is named as too much."""
    there.bind(chart("rbac.mode=act"))
    async with there.daemon(all_but(*OPTED_IN)) as client:
        report = await access_check.check(client, Policy(cluster="test"))
    more = [each for each in report.findings if each.answer is Answer.MORE]
    assert {(verb, each.group, each.resource) for each in more for verb in each.verbs} == triples(Grant.ACT)
    assert {each.namespaces for each in more} == {()}


async def test_the_command_with_a_kubeconfig(
    there: Field, chart: Chart, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lastgood check-access` from outside, over TLS with the account's token: 1, the namespace that lacks the right named."""
    there.bind(chart())
    async with there.daemon(all_but(Grant.ACT, *OPTED_IN)):
        config = tmp_path / "lastgood.yaml"
        modes = f"{{modes: [{{namespaces: [{there.namespace}], mode: approve}}]}}"
        kubeconfig = there.plane.kubeconfig(there.account)
        config.write_text(f"cluster: test\nkubernetes: {{kubeconfig: {kubeconfig}}}\npolicy: {modes}\n")
        code = await asyncio.to_thread(commands.main, ("check-access", "--config", str(config)))
    out, err = capsys.readouterr()
    assert (code, err) == (Exit.REFUSED, "")
    assert f"no: patch deployments.apps ({there.namespace})" in out
    if there.plane.release >= (1, 28):
        assert f"--serviceaccount={there.namespace}:lastgood" in out


def test_the_sandbox_answers_as_the_authorizer_does(there: Field) -> None:
    """To the same questions about the same roles, which tests/contract asks the sandbox."""
    for each in access_rules.objects(there.namespace, "default", "lastgood"):
        where = each["metadata"].get("namespace")
        collection = f"{RBAC}/{f'namespaces/{where}/' if where else ''}{each['kind'].lower()}s"
        there.asks("POST", collection, each)
        there.bound.append(f"{collection}/{each['metadata']['name']}")
    asked = access_rules.questions(there.namespace, "default")
    until(lambda: [there.may(each) for each, _ in asked], lambda seen: seen == [answer for _, answer in asked])


async def test_an_administrator_is_recognised(there: Field) -> None:
    """A member of system:masters is told in one row that these are not the daemon's rights."""
    async with there.client(there.plane.token("admin")) as client:
        report = await access_check.check(client, ARMED)
    assert report.complete
    assert [each.resource for each in report.findings if each.answer is Answer.MORE] == ["*"]
