"""deploy/policies/quarantine on a real API server: what it refuses, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from daemon.cli.quarantine import configmap
from daemon.core.actions import OutcomeKind
from handlers.outbound.rollback.template import TemplateRollback
from tests.controlplane import policies
from tests.controlplane.installed import ACCOUNT
from tests.controlplane.plane import ControlPlane
from tests.controlplane.policies import API, Town
from tests.controlplane.rollouts import image, rolled_out
from tests.controlplane.workloads import Json, path, until, until_available, workload
from tests.handlers.rollback_world import WallClock
from tests.repository import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SINCE = policies.SINCE
NAME = "quarantine"
LIST = "lastgood-quarantine"
DIGEST = "sha256:" + "b" * 64
KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


@pytest.fixture(scope="module")
def policy(control_plane: ControlPlane) -> Iterator[None]:
    with policies.installed(control_plane, NAME):
        yield


@pytest.fixture
def town(control_plane: ControlPlane, namespace: str, policy: None) -> Iterator[Town]:
    yield policies.settle(control_plane, namespace)
    control_plane.ask("DELETE", policies.path_of_configmap(LIST))


def keep_out(town: Town, *lines: str, key: str = "") -> None:
    """The list, once it is in force: these lines for `web`, or for the key."""
    probe = f"probe:{town.namespace}"
    listed = {key or f"{town.namespace}.Deployment.web": "\n".join(lines) + "\n"}
    town.set_data(LIST, {**listed, f"{town.namespace}.Deployment.probe": probe})
    in_force(town, 403)


def in_force(town: Town, status: int) -> None:
    body = workload("Deployment", "probe", f"probe:{town.namespace}")
    policies.until_status(town.plane, "POST", path(town.namespace, "deployments"), body, status)


def running(town: Town, *tags: str) -> None:
    """The Deployment `web` that went through these versions."""
    first, *rest = tags
    assert town.make("deployments", workload("Deployment", "web", first))[0] == 201
    for tag in rest:
        until_available(town.plane, town.namespace, "web", 1)
        town.passes("set", "image", "deployment/web", f"main={tag}")
    until_available(town.plane, town.namespace, "web", 1)


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("shop:v2", "shop:v2"),
        (DIGEST, f"registry.example/shop@{DIGEST}"),
        (DIGEST, f"registry.example/shop:v2@{DIGEST}"),
        (f"shop@{DIGEST}", f"shop@{DIGEST}"),
        ("shop:v1\r\n  shop:v2  \r\n", "shop:v2"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_listed_image_is_refused(town: Town, kind: str, listed: str, asked: str) -> None:
    """When created and when changed to it, of each kind: by digest, also beside a tag, or by exact reference."""
    town.set_data(LIST, {f"{town.namespace}.{kind}.web": listed})
    replicas = None if kind == "DaemonSet" else 0
    body, good = (workload(kind, "web", each, replicas=replicas) for each in (asked, "shop:v7"))
    policies.until_status(town.plane, "POST", path(town.namespace, KINDS[kind]), body, 403)
    status, answer = town.make(KINDS[kind], body)
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert f"{asked} is quarantined (ConfigMap lastgood/{LIST})" in answer["message"]
    assert town.make(KINDS[kind], good)[0] == 201
    town.refused(NAME, "set", "image", f"{kind}/web", f"main={asked}")
    assert image(town.see(KINDS[kind])) == "shop:v7"


def test_only_what_is_listed_for_this_workload(town: Town) -> None:
    """Other images of it, the same image of another workload or kind, and a beginning of a reference pass."""
    keep_out(town, "shop:v2", DIGEST)
    for kind, name, asked in (
        ("Deployment", "web", "shop:v3"),
        ("Deployment", "web", "shop:v"),
        ("Deployment", "web", "shop:v21"),
        ("Deployment", "web", f"shop@{DIGEST.replace('b', 'c')}"),
        ("Deployment", "worker", "shop:v2"),
        ("StatefulSet", "web", f"shop@{DIGEST}"),
    ):
        where = f"{path(town.namespace, KINDS[kind])}?dryRun=All"
        status, answer = town.plane.ask("POST", where, workload(kind, name, asked))
        assert status == 201, answer


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_namespace_or_everything_by_hand(town: Town, everywhere: bool) -> None:
    """Lines that a person wrote for a namespace hold for each of its workloads, those for everywhere too."""
    keep_out(town, "shop:v2", key="_everywhere" if everywhere else town.namespace)
    body = workload("StatefulSet", "any", "shop:v2")
    assert town.make("statefulsets", body)[0] == 403
    status, _ = town.plane.ask("POST", f"{path('default', 'statefulsets')}?dryRun=All", body)
    assert status == (403 if everywhere else 201)


def test_init_containers_count(town: Town) -> None:
    """An image that only prepares the pod is refused as well."""
    keep_out(town, "migrate:v2")
    body = workload("Deployment", "web", "shop:v1")
    body["spec"]["template"]["spec"]["initContainers"] = [{"name": "first", "image": "migrate:v2"}]
    assert town.make("deployments", body)[0] == 403


def test_every_road_back_to_it_is_closed(town: Town) -> None:
    """`rollout undo`, `apply` on either side, `replace`, `edit` of something else in the template: refused while it is listed."""
    running(town, "shop:v2", "shop:v1")
    keep_out(town, "shop:v2")
    bad = {**workload("Deployment", "web", "shop:v2")}
    town.refused(NAME, "rollout", "undo", "deployment/web")
    town.refused(NAME, "apply", "-f", "-", body=bad)
    town.refused(NAME, "apply", "--server-side", "--force-conflicts", "-f", "-", body=bad)
    town.refused(NAME, "replace", "-f", "-", body=bad)
    assert image(town.see()) == "shop:v1"


def test_what_leaves_the_template_alone_is_never_refused(town: Town) -> None:
    """With a quarantined version running: scale, labels, annotations, pause, an apply without change, status, delete.
    The controllers' own writes go on.
    """
    running(town, "shop:v1", "shop:v2")
    keep_out(town, "shop:v2")
    town.refused(NAME, "rollout", "restart", "deployment/web")
    for words in (
        ("scale", "deployment/web", "--replicas=2"),
        ("label", "deployment/web", "a=b"),
        ("annotate", "deployment/web", "a=b"),
        ("rollout", "pause", "deployment/web"),
        ("rollout", "resume", "deployment/web"),
        ("patch", "deployment/web", "--type=json", '-p=[{"op": "replace", "path": "/spec/replicas", "value": 3}]'),
    ):
        town.passes(*words)
    status = {"status": {"conditions": [{"type": "Noted", "status": "True"}]}}
    where = f"{path(town.namespace, 'deployments', 'web')}/status"
    assert town.plane.ask("PATCH", where, status, kind="application/merge-patch+json")[0] == 200
    until_available(town.plane, town.namespace, "web", 3)
    town.passes("delete", "deployment/web")


def test_the_way_out_of_it_is_open(town: Town) -> None:
    """From a quarantined version to another one: nothing but the new template counts."""
    running(town, "shop:v1", "shop:v2")
    keep_out(town, "shop:v2")
    town.passes("set", "image", "deployment/web", "main=shop:v3")


async def test_our_rollback_is_never_refused(town: Town) -> None:
    """Under the roles of deploy/kubernetes/act, even back to an image that somebody listed for everywhere."""
    async with rolled_out(town.plane, town.namespace) as there:
        keep_out(town, "shop:v1", key="_everywhere")
        town.refused(NAME, "rollout", "undo", "deployment/web")
        async with there.other(ACCOUNT) as client:
            outcome = await TemplateRollback(client, WallClock()).run(there.action())
        assert outcome.kind is OutcomeKind.DONE, outcome
        assert image(there.web()) == "shop:v1"


def test_without_a_list_nothing_is_refused(town: Town) -> None:
    """No ConfigMap, or an empty one: as if there were no policy."""
    keep_out(town, "shop:v2")
    town.drop(LIST)
    in_force(town, 201)
    assert town.make("deployments", workload("Deployment", "web", "shop:v2"))[0] == 201
    town.set_data(LIST, {})
    town.passes("set", "image", "deployment/web", "main=shop:v2")


def test_the_commands_list_is_applied_and_lifted(town: Town) -> None:
    """`lastgood quarantine --configmap | kubectl apply -f -`: in force, then lifted by the next list without it; what a person
    added by hand stays.
    """
    where = f"lastgood/{LIST}"
    found = {"workload": f"{town.namespace}/Deployment/web", "images": ["shop:v2"], "digests": [DIGEST]}
    body = workload("Deployment", "web", "shop:v2")
    asked = path(town.namespace, "deployments")

    def apply(*rows: Json) -> None:
        town.passes("apply", "-f", "-", person="", body=configmap({"revisions": rows}, where))

    apply(found)
    policies.until_status(town.plane, "POST", asked, body, 403)
    by_hand = json.dumps({"data": {"_everywhere": f"hand:{town.namespace}"}})
    town.passes("patch", "configmap", LIST, "-n=lastgood", "--type=merge", f"-p={by_hand}", person="")
    apply()
    policies.until_status(town.plane, "POST", asked, body, 201)
    hand = workload("Deployment", "web", f"hand:{town.namespace}")
    policies.until_status(town.plane, "POST", asked, hand, 403)


def test_no_list_from_a_silent_daemon_lifts_nothing(town: Town) -> None:
    """The command failed and printed nothing: kubectl refuses that, and the last list stays."""
    keep_out(town, "shop:v2")
    done = town.kubectl("apply", "-f", "-", person="", body=None)
    assert done.returncode != 0
    assert town.make("deployments", workload("Deployment", "web", "shop:v2"))[0] == 403


def test_a_long_list_is_still_read(town: Town) -> None:
    """Ten thousand lines for one workload are within what the API server spends on a policy; ten containers ask for them."""
    keep_out(town, *(f"registry.example/team/shop:v{number}" for number in range(9_999)), "shop:v2")
    body = workload("Deployment", "web", "shop:v1")
    spec = body["spec"]["template"]["spec"]
    spec["containers"] += [{"name": f"c{number}", "image": f"side:v{number}"} for number in range(9)]
    status, answer = town.make("deployments", body)
    assert status == 201, answer
    town.refused(NAME, "set", "image", "deployment/web", "c8=shop:v2")


def test_tried_first_it_warns_and_refuses_nothing(town: Town) -> None:
    """With validationActions [Warn, Audit]: the change passes, and whoever made it reads why it would not."""
    keep_out(town, "shop:v2")
    actions(town, "Warn", "Audit")
    try:
        in_force(town, 201)
        said = town.passes("create", "deployment", "web", "--image=shop:v2")
        assert "Warning: Validation failed for ValidatingAdmissionPolicy 'quarantine.lastgood.dev'" in said
        assert "shop:v2 is quarantined" in said
    finally:
        actions(town, "Deny")
    in_force(town, 403)


def test_lifted_in_an_emergency_and_put_back(town: Town) -> None:
    """Without the binding nothing is refused; `kubectl apply -k` brings it back."""
    keep_out(town, "shop:v2")
    town.passes("delete", "validatingadmissionpolicybinding", "quarantine.lastgood.dev", person="")
    in_force(town, 201)
    town.passes("apply", "-k", str(ROOT / "deploy/policies/quarantine"), person="")
    in_force(town, 403)


def actions(town: Town, *wanted: str) -> None:
    """What the binding does."""
    where = f"{API}/validatingadmissionpolicybindings/quarantine.lastgood.dev"
    patch: Json = {"spec": {"validationActions": list(wanted)}}
    assert town.plane.ask("PATCH", where, patch, kind="application/merge-patch+json")[0] == 200


def test_its_types_are_sound(control_plane: ControlPlane, policy: None) -> None:
    """The API server's own check of every expression against the kinds finds nothing."""
    where = f"{API}/validatingadmissionpolicies/quarantine.lastgood.dev"
    found = until(lambda: control_plane.ask("GET", where)[1], lambda seen: "typeChecking" in seen.get("status", {}))
    assert found["status"]["typeChecking"] == {}
