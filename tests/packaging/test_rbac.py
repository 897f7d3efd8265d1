"""The roles of the chart and the calls of the code are the same, verb for verb."""

from __future__ import annotations

import pytest

from daemon.core.actions import Checked, OutcomeKind, RolledBack
from tests import repository
from tests.packaging.calls import NO_RULE_NEEDED, Call, authorizer, call_of, granted, play
from tests.packaging.chart import Obj, build, one, render
from tests.packaging.every_kind import BROKEN, EveryKind, every_kind

pytestmark = pytest.mark.real

SECRETS = {Call("get", "", "secrets")}
WRITES = {
    *(Call("patch", "apps", kind) for kind in ("deployments", "statefulsets", "daemonsets")),
    *(Call("patch", "argoproj.io", kind) for kind in ("rollouts", "rollouts/status")),
}
DELETES = {Call("delete", "", "pods")}
SWITCHES = {Call("patch", "", "services")}
AROUND = {
    Call(verb, group, plural)
    for verb in ("get", "patch")
    for group, plural in (
        ("argoproj.io", "applications"),
        ("kustomize.toolkit.fluxcd.io", "kustomizations"),
        ("helm.toolkit.fluxcd.io", "helmreleases"),
    )
}

# Who names an address of the API. A module that is new here must be played in `calls.play`, or its rights are not in
# the roles; the client, and the reflector that is told its addresses, name none of their own.
NAMES_ADDRESSES = {
    "handlers/access_check.py",
    "handlers/applications.py",
    "handlers/rollback_steps.py",
    "handlers/suspended.py",
    "handlers/workload_objects.py",
    "handlers/inbound/cluster.py",
    "handlers/outbound/lease.py",  # test_lease_role.py plays it
    "handlers/outbound/rollback/statefulset.py",
    "handlers/outbound/targets.py",
}


def roles(objects: list[Obj]) -> list[Obj]:
    """Roles and ClusterRoles."""
    return [each for each in objects if each["kind"] in {"Role", "ClusterRole"}]


async def asked() -> set[Call]:
    """The rights that the code used while everything was allowed."""
    async with every_kind() as there:
        there.cluster.faults.log.clear()
        assert {done.kind for _, done in await play(there)} == {OutcomeKind.DONE}
        return {call_of(record) for record in there.cluster.faults.log} - {NO_RULE_NEEDED}


async def test_the_roles_are_what_the_code_asks_for() -> None:
    """`act` with all opt-ins is exactly what was recorded; without them, Secrets, what owns workloads, the switch of Services and
    the pods' deletion are missing; `observe` lacks the writes as well, and nothing else.
    """
    recorded = await asked()
    act = ("rbac.mode=act", "rbac.deletePods=true", "rbac.switchServices=true", "rbac.gitops=true")
    assert granted(roles(render(*act, "rbac.secretsMetadata=true"))) == recorded
    left = recorded - SECRETS
    for opted_in, without in ((4, set[Call]()), (3, AROUND), (2, SWITCHES), (1, DELETES), (0, WRITES)):
        left -= without
        assert granted(roles(render(*act[:opted_in]))) == left
    assert granted(roles(render("rbac.secretsMetadata=true"))) == left | SECRETS


@pytest.mark.parametrize("mode", ["observe", "act"])
async def test_the_rendered_folders_hold_the_same_roles(mode: str) -> None:
    """What kustomize users get is what Helm users get."""
    assert granted(roles(build(mode))) == granted(roles(render(f"rbac.mode={mode}")))


def test_observe_holds_reading_verbs_only() -> None:
    """In `observe` no role holds anything but get, list and watch, whatever else is switched on."""
    found = granted(roles([*render("rbac.secretsMetadata=true"), *build("observe")]))
    assert {call.verb for call in found} == {"get", "list", "watch"}


async def test_under_the_act_role_a_rollback_succeeds() -> None:
    """With exactly these rights enforced, the daemon watches, checks and rolls back; Secrets are named as unchecked, and the
    pod that a StatefulSet waits for as one that it may not delete. Services are not switched, controllers not suspended.
    """
    async with every_kind() as there:
        there.cluster.faults.on_request = authorizer(granted(roles(render("rbac.mode=act"))))
        outcomes = await play(there)
        others, unopted = outcomes[:4], outcomes[4:]
        assert {done.kind for _, done in others} == {OutcomeKind.DONE}
        assert [done.kind for _, done in unopted] == [OutcomeKind.FAILED] * 4
        (checked, _), (_, freed), *_ = outcomes
        assert isinstance(checked.result, Checked)
        assert checked.result.check.unchecked == ("Secret token",)
        assert isinstance(freed.result, RolledBack)
        assert any("delete pod db-2` (Lastgood may not" in warning for warning in freed.result.warnings)
        assert templates(there) == ["shop:v1"] * 3
        assert there.cart.obj()["status"]["abort"] is True
        assert there.db.pods()["db-2"] == BROKEN


async def test_under_the_observe_role_nothing_can_be_changed() -> None:
    """With these rights enforced the daemon watches as ever, and even a rollback that it would try writes nothing."""
    async with every_kind() as there:
        before = templates(there)
        there.cluster.faults.on_request = authorizer(granted(roles(render())))
        assert {done.kind for _, done in await play(there)} == {OutcomeKind.FAILED}
        assert templates(there) == before
        assert "abort" not in there.cart.obj()["status"]
        assert there.db.pods()["db-2"] == BROKEN


def templates(there: EveryKind) -> list[str]:
    """The image of each workload's template."""
    found = (there.web.web(), there.db.obj(), there.agent.obj())
    return [obj["spec"]["template"]["spec"]["containers"][0]["image"] for obj in found]


def test_acting_can_be_narrowed_to_namespaces() -> None:
    """With rbac.namespaces the rights to patch and to delete are bound in these only; reading stays cluster-wide.

    What owns workloads is elsewhere, and has namespaces of its own.
    """
    opted_in = (
        "rbac.deletePods=true",
        "rbac.switchServices=true",
        "rbac.gitops=true",
        "rbac.gitopsNamespaces={argocd}",
    )
    objects = render("rbac.mode=act", *opted_in, "rbac.namespaces={shop,pay}")
    found = [each for each in objects if each["kind"] == "RoleBinding"]
    bound = {(each["roleRef"]["name"], each["metadata"]["namespace"]) for each in found}
    assert bound == {(f"lastgood-{role}", name) for role in ("act", "free", "switch") for name in ("shop", "pay")} | {
        ("lastgood-gitops", "argocd")
    }
    assert one(objects, "ClusterRoleBinding")["roleRef"]["name"] == "lastgood-read"


def test_each_binding_names_a_role_and_an_account_that_are_there() -> None:
    """No binding points into the void, in the chart and in the rendered folders."""
    for objects in (
        render("rbac.mode=act", "rbac.deletePods=true", "rbac.switchServices=true", "rbac.gitops=true"),
        build("act"),
        build("observe"),
    ):
        names = {each["metadata"]["name"] for each in roles(objects)}
        account = one(objects, "ServiceAccount")["metadata"]
        bindings = [each for each in objects if each["kind"].endswith("Binding")]
        assert {each["roleRef"]["name"] for each in bindings} == names
        for binding in bindings:
            assert binding["subjects"] == [
                {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
            ]


def test_every_module_that_names_an_address_is_played() -> None:
    """The recording is of all the code: only these modules name addresses of the API, and `calls.play` runs each."""
    found = {
        str(path)
        for path in repository.python_files()
        if path.parts[0] in {"daemon", "handlers"}
        and path.name != "kube.py"
        and any(word in repository.text(path) for word in ("resource_path(", "/apis/", "/api/v1/namespaces"))
    }
    assert found == NAMES_ADDRESSES, "play it in tests/packaging/calls.py, compare the roles, then name it here"
