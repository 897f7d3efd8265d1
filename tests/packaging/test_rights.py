"""handlers/rights.py is the chart's roles, in both directions, and each right in it is needed by something."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pytest

from daemon.core.model import Mode
from daemon.core.policy import GitOps, GitOpsRule, ModeRule, Policy
from deploy.sandbox.kube.access_reviews import Grants, ServiceAccount
from handlers import access_check
from handlers.access_check import Answer
from handlers.rights import RIGHTS, Grant, triples
from tests import documents
from tests.handlers.rollback_world import world
from tests.packaging.calls import granted
from tests.packaging.chart import Obj, build, render
from tests.packaging.every_kind import every_kind
from tests.packaging.symptoms import EACH_RIGHT, Triple, expected, symptoms, without

pytestmark = pytest.mark.real

ALL = (
    "rbac.mode=act",
    "rbac.secretsMetadata=true",
    "rbac.deletePods=true",
    "rbac.switchServices=true",
    "rbac.gitops=true",
)
WAYS = (GitOpsRule(do=GitOps.ARGOCD_ROLLBACK), GitOpsRule(do=GitOps.FLUX_SUSPEND))
EVERYWHERE = Policy(cluster="test", default_mode=Mode.APPROVE, delete_stuck_pods=True, gitops=WAYS)
ARMED = Policy(cluster="test", modes=(ModeRule(mode=Mode.APPROVE, namespaces=("shop", "pay")),))
ACCOUNT = ServiceAccount(namespace="ops", name="lastgood")


@cache
def roles(*values: str) -> tuple[Obj, ...]:
    """What the chart makes with these values; rendered once, not to be changed."""
    return tuple(render(*values))


def held(objects: Iterable[Obj]) -> set[Triple]:
    """Verb, group and resource of all roles."""
    found = granted(each for each in objects if each["kind"] in ("Role", "ClusterRole"))
    return {(call.verb, call.group, call.resource) for call in found}


VALUES = [
    pytest.param((), (Grant.READ,), id="observe"),
    pytest.param(("rbac.secretsMetadata=true",), (Grant.READ, Grant.SECRETS), id="observe-secrets"),
    pytest.param(("rbac.mode=act",), (Grant.READ, Grant.ACT), id="act"),
    pytest.param(("rbac.mode=act", "rbac.deletePods=true"), (Grant.READ, Grant.ACT, Grant.PODS), id="act-pods"),
    pytest.param(
        ("rbac.mode=act", "rbac.switchServices=true"), (Grant.READ, Grant.ACT, Grant.SERVICES), id="act-services"
    ),
    pytest.param(("rbac.mode=act", "rbac.gitops=true"), (Grant.READ, Grant.ACT, Grant.GITOPS), id="act-gitops"),
    pytest.param(("config.lease.enabled=true",), (Grant.READ, Grant.LEASE), id="observe-lease"),
    pytest.param(ALL, (Grant.READ, Grant.SECRETS, Grant.ACT, Grant.PODS, Grant.SERVICES, Grant.GITOPS), id="act-all"),
]


@pytest.mark.parametrize(("values", "grants"), VALUES)
def test_the_chart_grants_the_list(values: tuple[str, ...], grants: tuple[Grant, ...]) -> None:
    """A right that is only in the list, or only in the chart's roles, is named; so is one under another value."""
    assert held(roles(*values)) == triples(*grants)


@pytest.mark.parametrize(("mode", "grants"), [("observe", (Grant.READ,)), ("act", (Grant.READ, Grant.ACT))])
def test_the_rendered_folders_grant_the_list(mode: str, grants: tuple[Grant, ...]) -> None:
    """Kustomize users get the same."""
    assert held(build(mode)) == triples(*grants)


def test_the_page_tells_the_list() -> None:
    """The table of deploy/docs/access.md is the list, verb for verb, and under the value that gives each."""
    told = {
        (verb, row[0].strip('"'), row[1], row[6].strip("`"))
        for row in documents.table(documents.read("deploy/docs/access.md"), "apiGroup")
        for verb in row[2].split(", ")
    }
    assert told == {(*right.triple, right.grant.value) for right in RIGHTS}
    assert documents.broken_links("deploy/docs/access.md") == []


async def test_with_all_rights_nothing_is_wanting() -> None:
    """Under the full roles, enforced by RBAC's rules, the daemon watches, checks everything, rolls back and frees."""
    async with every_kind() as there:
        there.cluster.faults.on_request = Grants(roles(*ALL), ACCOUNT).check
        assert await symptoms(there.client, there.actions()) == set()


@pytest.mark.parametrize("triple", EACH_RIGHT)
async def test_without_this_right(triple: Triple) -> None:
    """With this one right taken out of the roles, whatever needs it says so: a watch, the check of a target, the rollback."""
    async with every_kind() as there:
        there.cluster.faults.on_request = Grants(without(roles(*ALL), triple), ACCOUNT).check
        found = await symptoms(there.client, there.actions())
        assert expected(triple, found), found


@pytest.mark.parametrize("triple", EACH_RIGHT)
async def test_check_access_names_this_right(triple: Triple) -> None:
    """With this one right taken out of the roles, check-access names it and no other, as the reviews answer it."""
    async with world() as there:
        grants = Grants(without(roles(*ALL), triple), ACCOUNT)
        there.cluster.server.allow = grants.allows
        there.cluster.faults.on_request = grants.check
        report = await access_check.check(there.client, EVERYWHERE)
    found = [each for each in report.findings if each.answer is not Answer.YES]
    assert {(verb, each.group, each.resource) for each in found for verb in each.verbs} == {triple}


async def test_check_access_is_content_with_the_roles() -> None:
    """Bound in two namespaces, the role to act is exactly what a policy that arms these two needs."""
    objects = render("rbac.mode=act", "rbac.namespaces={shop,pay}")
    async with world() as there:
        there.cluster.server.allow = Grants(objects, ACCOUNT).allows
        report = await access_check.check(there.client, ARMED)
    assert report.complete
    assert not [each for each in report.findings if each.answer is Answer.MORE]
