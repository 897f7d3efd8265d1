"""deploy/policies/pipeline-only on a real API server: who may change a protected workload, and who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml

from daemon.core.actions import OutcomeKind
from handlers.outbound.rollback.template import TemplateRollback
from tests.controlplane import policies
from tests.controlplane.installed import ACCOUNT
from tests.controlplane.plane import ControlPlane
from tests.controlplane.policies import API, BREAK_GLASS, TEAM, Town
from tests.controlplane.rollouts import image, rolled_out
from tests.controlplane.workloads import Json, path, until, until_available, workload
from tests.handlers.rollback_world import WallClock
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = policies.SINCE
NAME = "pipeline-only"
NAMES = "lastgood-pipelines"
MARK = "lastgood.dev/protected"
KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
EMERGENCY = {"person": "eve", "groups": (TEAM, BREAK_GLASS)}
SHIPPED: dict[str, str] = yaml.safe_load((ROOT / "deploy/policies/pipeline-only/identities.yaml").read_text())["data"]


@pytest.fixture(scope="module")
def policy(control_plane: ControlPlane) -> Iterator[None]:
    with policies.installed(control_plane, NAME):
        yield


@pytest.fixture
def town(control_plane: ControlPlane, namespace: str, policy: None) -> Town:
    """With the names as shipped and this namespace's pipeline, in force."""
    found = policies.settle(control_plane, namespace)
    found.set_data(NAMES, {**SHIPPED, "users": f"{SHIPPED['users']}{found.pipeline}\n"})
    in_force(found, 201)
    return found


def marked(kind: str, name: str, tag: str, replicas: int = 1) -> Json:
    body = workload(kind, name, tag, replicas=None if kind == "DaemonSet" else replicas)
    body["metadata"]["labels"] = {MARK: "true"}
    return body


def in_force(town: Town, status: int, user: str = "") -> None:
    """What creating a protected workload gives, by the pipeline or by this user; and others are stopped."""
    where = f"{path(town.namespace, 'deployments')}?dryRun=All"
    body = marked("Deployment", "probe", "probe:v1")
    user = user or town.pipeline
    others = 422 if status == 422 else 403  # 422: the policy is there, and the names are not (yet)
    asked = ("admin", user)
    wanted = [others, status]
    until(lambda: [town.plane.ask("POST", where, body, user=each)[0] for each in asked], lambda seen: seen == wanted)


def running(town: Town, *tags: str) -> None:
    """The protected Deployment `web`, which the pipeline took through these versions."""
    first, *rest = tags
    where = path(town.namespace, "deployments")
    assert town.plane.ask("POST", where, marked("Deployment", "web", first), user=town.pipeline)[0] == 201
    for tag in rest:
        until_available(town.plane, town.namespace, "web", 1)
        town.passes("set", "image", "deployment/web", f"main={tag}", **as_pipeline(town))
    until_available(town.plane, town.namespace, "web", 1)


def as_pipeline(town: Town) -> dict[str, object]:
    return {"person": town.pipeline, "groups": ("system:serviceaccounts",)}


def test_the_pipeline_deploys_and_the_controllers_follow(town: Town) -> None:
    """A named service account creates and updates, with its own token; the controllers' writes go on without being named."""
    running(town, "shop:v1", "shop:v2")
    assert image(town.see()) == "shop:v2"


@pytest.mark.parametrize("kind", KINDS)
def test_others_do_not_whatever_their_role(town: Town, kind: str) -> None:
    """One who may edit everything here, and the admin: neither create nor change, of each kind; the message says whom to ask."""
    where = path(town.namespace, KINDS[kind])
    body = marked(kind, "web", "shop:v1", replicas=0)
    status, answer = town.plane.ask("POST", where, body)
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert town.plane.ask("POST", where, body, user=town.pipeline)[0] == 201
    said = town.refused(NAME, "set", "image", f"{kind}/web", "main=shop:v2")
    assert f"changed by pipelines only, and ann is none: named in ConfigMap lastgood/{NAMES}" in said
    assert image(town.see(KINDS[kind])) == "shop:v1"


def test_every_road_to_the_template_is_closed(town: Town) -> None:
    """By kubectl's restart, undo, apply on either side, replace, patch of any of the template's fields."""
    running(town, "shop:v1", "shop:v2")
    before = town.see()
    other = marked("Deployment", "web", "shop:v3")
    env = '-p=[{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "A", "value": "b"}]}]'
    note = '-p={"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}'
    town.refused(NAME, "rollout", "restart", "deployment/web")
    town.refused(NAME, "rollout", "undo", "deployment/web")
    town.refused(NAME, "apply", "-f", "-", body=other)
    town.refused(NAME, "apply", "--server-side", "--force-conflicts", "-f", "-", body=other)
    town.refused(NAME, "apply", "--server-side", "--force-conflicts", "--field-manager=ci", "-f", "-", body=other)
    town.refused(NAME, "replace", "-f", "-", body=other)
    town.refused(NAME, "patch", "deployment/web", "--type=json", env)
    town.refused(NAME, "patch", "deployment/web", note)
    assert town.see()["spec"] == before["spec"]


def test_what_leaves_the_template_alone_is_free(town: Town) -> None:
    """Scale, labels, annotations, pause, an apply without change, status, delete: by anyone who may."""
    running(town, "shop:v1")
    for words in (
        ("scale", "deployment/web", "--replicas=2"),
        ("label", "deployment/web", "a=b"),
        ("annotate", "deployment/web", "a=b"),
        ("rollout", "pause", "deployment/web"),
        ("rollout", "resume", "deployment/web"),
    ):
        town.passes(*words)
    town.passes("apply", "-f", "-", body={**marked("Deployment", "web", "shop:v1", replicas=2)})
    until_available(town.plane, town.namespace, "web", 2)
    town.passes("delete", "deployment/web")


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"metadata": {"labels": {MARK: None}}}, id="removed"),
        pytest.param({"metadata": {"labels": {MARK: "false"}}}, id="changed"),
        pytest.param({"metadata": {"labels": None}}, id="all-labels"),
        pytest.param(
            {
                "metadata": {"labels": {MARK: None}},
                "spec": {"template": {"metadata": {"annotations": {"a": "b"}}}},
            },
            id="with-the-template",
        ),
    ],
)
def test_the_mark_cannot_be_taken_off(town: Town, patch: Json) -> None:
    """Neither with the change nor before it; the pipeline may, and then everybody deploys."""
    running(town, "shop:v1")
    words = ("patch", "deployment/web", "--type=merge", f"-p={json.dumps(patch)}")
    town.refused(NAME, *words)
    assert town.see()["metadata"]["labels"][MARK] == "true"
    town.passes(*words, **as_pipeline(town))
    town.passes("set", "image", "deployment/web", "main=shop:v2")


def test_anyone_may_put_the_mark_on_but_not_with_a_change(town: Town) -> None:
    """From then on it holds; without it nothing is refused."""
    assert town.make("deployments", workload("Deployment", "web", "shop:v1", replicas=0))[0] == 201
    town.passes("set", "image", "deployment/web", "main=shop:v2")
    both = {"metadata": {"labels": {MARK: "true"}}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    town.refused(NAME, "patch", "deployment/web", f"-p={json.dumps(both)}")
    town.passes("label", "deployment/web", f"{MARK}=true")
    town.refused(NAME, "set", "image", "deployment/web", "main=shop:v3")


def test_a_whole_namespace(town: Town) -> None:
    """With the label on the namespace no workload in it needs one, and delete and make anew is closed, too."""
    town.passes("label", "namespace", town.namespace, f"{MARK}=true", person="")
    body = workload("Deployment", "web", "shop:v1", replicas=0)
    policies.until_status(town.plane, "POST", path(town.namespace, "deployments"), body, 403)
    town.passes("create", "-f", "-", body=body, **as_pipeline(town))
    town.refused(NAME, "set", "image", "deployment/web", "main=shop:v2")
    town.passes("delete", "deployment/web")
    town.refused(NAME, "create", "-f", "-", body=body)


def test_a_named_group_passes_and_its_blanks_name_nobody(town: Town) -> None:
    """One of `groups`; empty lines and lines of blanks are no name."""
    town.set_data(NAMES, {"users": f"\n  \n{ACCOUNT}\n", "groups": f"\n   \n{town.namespace}-deployers \n"})
    in_force(town, 403)
    body = marked("Deployment", "web", "shop:v1", replicas=0)
    deployers = {"person": "bob", "groups": (TEAM, f"{town.namespace}-deployers")}
    until(lambda: town.kubectl("create", "-f", "-", body=body, **deployers).returncode, lambda code: code == 0)  # type: ignore[arg-type]
    town.refused(NAME, "set", "image", "deployment/web", "main=shop:v2")


def test_break_glass_passes_warned_and_in_the_audit_log(town: Town) -> None:
    """A member changes what is protected: the terminal says so, the audit log has who, as a member of what, and that it was
    used. What the pipeline does, or a member with something else, is no use of it.
    """
    running(town, "shop:v1")
    assert "break-glass" not in town.passes("annotate", "deployment/web", "a=b", **EMERGENCY)
    said = town.passes("set", "image", "deployment/web", "main=shop:v2", **EMERGENCY)
    assert "Warning: Validation failed for ValidatingAdmissionPolicy 'break-glass.lastgood.dev'" in said
    assert "break-glass: eve changes a protected workload; this is in the audit log" in said
    assert image(town.see()) == "shop:v2"
    (noted,) = until(lambda: uses(town), bool)
    assert noted["break-glass.lastgood.dev/used"] == f"eve as a member of {BREAK_GLASS}"
    assert "break-glass: eve" in noted["validation.policy.admission.k8s.io/validation_failure"]


def uses(town: Town) -> list[dict[str, str]]:
    """The annotations of every use in this namespace."""
    events = (json.loads(line) for line in town.plane.audit_log.read_text().splitlines())
    here = (each for each in events if (each.get("objectRef") or {}).get("namespace") == town.namespace)
    found = (each.get("annotations") or {} for each in here if each["stage"] == "ResponseComplete")
    return [each for each in found if any(key.startswith("break-glass") for key in each)]


def test_without_the_names_nobody_changes_anything_protected(town: Town) -> None:
    """Even a label: the API server does not look at the conditions then. Scaling, deleting and what is not protected go on,
    and with the ConfigMap everything is as before.
    """
    running(town, "shop:v1")
    assert town.make("deployments", workload("Deployment", "free", "shop:v1", replicas=0))[0] == 201
    town.drop(NAMES)
    in_force(town, 422)
    for how in ({}, as_pipeline(town), EMERGENCY):
        said = town.refused(NAME, "annotate", "deployment/web", "a=b", **how)
        assert "no params found for policy binding with `Deny`" in said
    town.passes("scale", "deployment/web", "--replicas=2")
    until_available(town.plane, town.namespace, "web", 2)
    town.passes("set", "image", "deployment/free", "main=shop:v2")
    town.set_data(NAMES, {**SHIPPED, "users": f"{SHIPPED['users']}{town.pipeline}\n"})
    in_force(town, 201)
    town.passes("annotate", "deployment/web", "a=b")


async def test_our_rollback_passes_by_the_shipped_names(town: Town) -> None:
    """Under the roles of deploy/kubernetes/act, by the name that identities.yaml has for Lastgood."""
    async with rolled_out(town.plane, town.namespace) as there:
        town.passes("label", "deployment/web", f"{MARK}=true")
        town.refused(NAME, "rollout", "undo", "deployment/web")
        async with there.other(ACCOUNT) as client:
            outcome = await TemplateRollback(client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.DONE, outcome
        assert image(there.web()) == "shop:v1"


async def test_our_rollback_says_it_when_it_is_not_named(town: Town) -> None:
    """Lastgood's account left out of the names: the rollback fails, and the policy's words are in the message."""
    async with rolled_out(town.plane, town.namespace) as there:
        town.passes("label", "deployment/web", f"{MARK}=true")
        town.set_data(NAMES, {"users": town.pipeline})
        in_force(town, 201)
        undo = ("rollout", "undo", "deployment/web", "--dry-run=server")
        how = {"person": ACCOUNT, "groups": (TEAM,)}
        until(lambda: town.kubectl(*undo, **how).returncode, lambda code: code != 0)  # type: ignore[arg-type]
        async with there.other(ACCOUNT) as client:
            outcome = await TemplateRollback(client, WallClock()).run(there.action())
    assert outcome.kind is OutcomeKind.FAILED
    assert f"changed by pipelines only, and {ACCOUNT} is none" in outcome.message


def test_tried_first_it_warns_and_refuses_nothing(town: Town) -> None:
    """With validationActions [Warn, Audit] the change passes, and whoever made it reads why it would not."""
    running(town, "shop:v1")
    where = f"{API}/validatingadmissionpolicybindings/pipeline-only-workloads.lastgood.dev"

    def act(*wanted: str) -> None:
        patch = {"spec": {"validationActions": list(wanted)}}
        assert town.plane.ask("PATCH", where, patch, kind="application/merge-patch+json")[0] == 200

    act("Warn", "Audit")
    try:
        restart = ("rollout", "restart", "deployment/web")
        said = until(lambda: town.kubectl(*restart), lambda done: done.returncode == 0).stderr
        assert "Warning: Validation failed for ValidatingAdmissionPolicy 'pipeline-only.lastgood.dev'" in said
    finally:
        act("Deny")
    in_force(town, 201)


@pytest.mark.parametrize("name", [NAME, "break-glass"])
def test_its_types_are_sound(control_plane: ControlPlane, policy: None, name: str) -> None:
    """The API server's own check of every expression against the kinds finds nothing."""
    where = f"{API}/validatingadmissionpolicies/{name}.lastgood.dev"
    found = until(lambda: control_plane.ask("GET", where)[1], lambda seen: "typeChecking" in seen.get("status", {}))
    assert found["status"]["typeChecking"] == {}
