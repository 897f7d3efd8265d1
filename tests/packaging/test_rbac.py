"""The roles of the chart and the calls of the code are the same, verb for verb."""

from __future__ import annotations

import pytest

from daemon.core.actions import Checked, OutcomeKind
from tests import repository
from tests.handlers.rollback_world import world
from tests.packaging.calls import NO_RULE_NEEDED, Call, authorizer, call_of, granted, play
from tests.packaging.chart import Obj, build, one, render

pytestmark = pytest.mark.real

SECRETS = {Call("list", "", "secrets")}
WRITES = {Call("patch", "apps", "deployments")}

# Who names an address of the API. A module that is new here must be played in `calls.play`, or its rights are not in
# the roles; the client, and the reflector that is told its addresses, name none of their own.
NAMES_ADDRESSES = {
    "handlers/access_check.py",
    "handlers/workload_objects.py",
    "handlers/inbound/cluster.py",
    "handlers/outbound/targets.py",
}


def roles(objects: list[Obj]) -> list[Obj]:
    """Roles and ClusterRoles."""
    return [each for each in objects if each["kind"] in {"Role", "ClusterRole"}]


async def asked() -> set[Call]:
    """The rights that the code used while everything was allowed."""
    async with world() as there:
        there.cluster.faults.log.clear()
        _, done = await play(there)
        assert done.kind is OutcomeKind.DONE
        return {call_of(record) for record in there.cluster.faults.log} - {NO_RULE_NEEDED}


async def test_the_roles_are_what_the_code_asks_for() -> None:
    """`act` with the Secrets opt-in is exactly what was recorded; without it, Secrets are missing; `observe` lacks the
    writes as well, and nothing else.
    """
    recorded = await asked()
    assert granted(roles(render("rbac.mode=act", "rbac.secretsMetadata=true"))) == recorded
    assert granted(roles(render("rbac.mode=act"))) == recorded - SECRETS
    assert granted(roles(render())) == recorded - SECRETS - WRITES
    assert granted(roles(render("rbac.secretsMetadata=true"))) == recorded - WRITES


@pytest.mark.parametrize("mode", ["observe", "act"])
async def test_the_rendered_folders_hold_the_same_roles(mode: str) -> None:
    """What kustomize users get is what Helm users get."""
    assert granted(roles(build(mode))) == granted(roles(render(f"rbac.mode={mode}")))


def test_observe_holds_reading_verbs_only() -> None:
    """In `observe` no role holds anything but get, list and watch, whatever else is switched on."""
    found = granted(roles([*render("rbac.secretsMetadata=true"), *build("observe")]))
    assert {call.verb for call in found} == {"get", "list", "watch"}


async def test_under_the_act_role_a_rollback_succeeds() -> None:
    """With exactly these rights enforced, the daemon watches, checks and rolls back; Secrets are named as unchecked."""
    async with world() as there:
        there.cluster.faults.on_request = authorizer(granted(roles(render("rbac.mode=act"))))
        checked, done = await play(there)
        assert done.kind is OutcomeKind.DONE
        assert isinstance(checked.result, Checked)
        assert checked.result.check.unchecked == ("Secret token",)
        assert there.images() == ["shop:v1"]


async def test_under_the_observe_role_nothing_can_be_changed() -> None:
    """With these rights enforced the daemon watches as ever, and even a rollback that it would try writes nothing."""
    async with world() as there:
        there.cluster.faults.on_request = authorizer(granted(roles(render())))
        _, done = await play(there)
        assert done.kind is OutcomeKind.FAILED
        assert there.images() == ["shop:v2"]


def test_acting_can_be_narrowed_to_namespaces() -> None:
    """With rbac.namespaces the right to patch is bound in these only; reading stays cluster-wide."""
    objects = render("rbac.mode=act", "rbac.namespaces={shop,pay}")
    bound = {each["metadata"]["namespace"] for each in objects if each["kind"] == "RoleBinding"}
    assert bound == {"shop", "pay"}
    assert one(objects, "ClusterRoleBinding")["roleRef"]["name"] == "lastgood-read"


def test_each_binding_names_a_role_and_an_account_that_are_there() -> None:
    """No binding points into the void, in the chart and in the rendered folders."""
    for objects in (render("rbac.mode=act"), build("act"), build("observe")):
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
