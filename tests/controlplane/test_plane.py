"""The control plane of the tests does what a real one does: it is one, and its nodes speak as kubelets do."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.sandbox.kube import Behaviour, crash_after, image_digest
from tests import parts
from tests.controlplane.plane import APISERVER, NODES, ControlPlane
from tests.controlplane.workloads import Json, make, path, pods_of, until, until_available, workload

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


def test_it_is_the_version_it_says(control_plane: ControlPlane) -> None:
    """Clients ask `/version` and choose by it."""
    status, version = control_plane.ask("GET", "/version", user="nobody")
    assert status == 200
    assert f"{version['major']}.{version['minor']}" == control_plane.minor
    assert version["gitVersion"].startswith(f"v{control_plane.minor}.")


def test_who_has_no_role_is_refused_and_who_has_no_token_is_not_known(control_plane: ControlPlane) -> None:
    """RBAC is on: 403 for a known user without a role, 401 for a token that nobody has, 200 for the admin."""
    pods = "/api/v1/namespaces/default/pods"
    assert control_plane.ask("GET", pods)[0] == 200
    status, answer = control_plane.ask("GET", pods, user="nobody")
    assert (status, answer["reason"]) == (403, "Forbidden")
    request = urllib.request.Request(control_plane.url + pods, headers={"Authorization": "Bearer made-up"})
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(request, context=control_plane.ssl_context())
    refused.value.close()


def test_its_certificate_is_verified(control_plane: ControlPlane) -> None:
    """TLS is real: a client that does not trust this control plane's CA gets nowhere."""
    with pytest.raises(urllib.error.URLError) as refused:
        urllib.request.urlopen(f"{control_plane.url}/version", context=ssl.create_default_context())
    assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)


def test_a_deployment_becomes_available(control_plane: ControlPlane, namespace: str) -> None:
    """Controllers make the pods, the scheduler binds them, nodes run them: each with a node, an address and a digest."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", "shop:v1", replicas=3))
    seen = until_available(control_plane, namespace, "shop", 3)
    assert seen["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    pods = pods_of(control_plane, namespace, "shop")
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    for pod in pods:
        assert pod["spec"]["nodeName"].startswith("node-")
        assert pod["status"]["containerStatuses"][0]["imageID"] == image_digest("shop:v1")
        ready = _condition(pod, "Ready")
        assert ready["status"] == "True"
        assert "reason" not in ready


def test_a_rollout_replaces_all_pods(control_plane: ControlPlane, namespace: str) -> None:
    """A new image is a new ReplicaSet and new pods; the old ones are terminated by their nodes."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", "shop:v1", replicas=2))
    until_available(control_plane, namespace, "shop", 2)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "shop:v2"}]}}}}
    where = path(namespace, "deployments", "shop")
    status, _ = control_plane.ask("PATCH", where, change, kind="application/strategic-merge-patch+json")
    assert status == 200
    until_available(control_plane, namespace, "shop", 2)
    pods = until(lambda: pods_of(control_plane, namespace, "shop"), lambda found: len(found) == 2)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"shop:v2"}


def _crash_loops(reason: str, exit_code: int) -> Callable[[Json], bool]:
    def loops(one: Json) -> bool:
        last = one["lastState"].get("terminated", {})
        waits = one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
        return waits and one["restartCount"] >= 2 and (last.get("reason"), last.get("exitCode")) == (reason, exit_code)

    return loops


def _waits(reason: str) -> Callable[[Json], bool]:
    return lambda one: one["state"].get("waiting", {}).get("reason") == reason and one["restartCount"] == 0


@pytest.mark.parametrize(
    ("word", "shows"),
    [
        ("crash", _crash_loops("Error", 1)),
        ("oom", _crash_loops("OOMKilled", 137)),
        ("nopull", _waits("ImagePullBackOff")),
        ("noconfig", _waits("CreateContainerConfigError")),
        ("unready", lambda one: "running" in one["state"] and one["started"]),
    ],
)
def test_a_bad_image_shows_as_a_kubelet_shows_it(
    control_plane: ControlPlane, namespace: str, word: str, shows: Callable[[Json], bool]
) -> None:
    """Crash loop, killed for memory, not pulled, not configured, never ready: in the pod's status, and never ready."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", f"shop:v2-{word}"))

    def statuses() -> list[Json]:
        pods = pods_of(control_plane, namespace, "shop")
        return [one for pod in pods for one in pod["status"].get("containerStatuses", [])]

    seen = until(statuses, lambda found: bool(found) and all(map(shows, found)))
    assert not any(one["ready"] for one in seen)
    (pod,) = pods_of(control_plane, namespace, "shop")
    assert _condition(pod, "Ready")["reason"] == "ContainersNotReady"


def test_a_rollout_that_does_not_get_ready_exceeds_its_deadline(control_plane: ControlPlane, namespace: str) -> None:
    """The real controller says ProgressDeadlineExceeded."""
    body = workload("Deployment", "shop", "shop:v2-unready", progressDeadlineSeconds=2)
    make(control_plane, namespace, "deployments", body)

    def read() -> Json:
        return control_plane.ask("GET", path(namespace, "deployments", "shop"))[1]

    until(read, lambda seen: _condition(seen, "Progressing").get("reason") == "ProgressDeadlineExceeded")


def test_a_test_plans_what_an_image_does(control_plane: ControlPlane, namespace: str) -> None:
    """A behaviour by exact image holds from the next start of a container on, also while pods run."""
    control_plane.behave("planned:v1", crash_after(0.3))
    make(control_plane, namespace, "deployments", workload("Deployment", "planned", "planned:v1"))

    def restarts() -> int:
        pods = pods_of(control_plane, namespace, "planned")
        return sum(one["restartCount"] for pod in pods for one in pod["status"].get("containerStatuses", []))

    until(restarts, lambda count: count >= 1)
    control_plane.behave("planned:v1", None)
    until_available(control_plane, namespace, "planned", 1)


def test_a_pod_that_fits_nowhere_stays_pending(control_plane: ControlPlane, namespace: str) -> None:
    """The real scheduler refuses what asks for more than a node has, and says why."""
    body = workload("Deployment", "huge", "shop:v1")
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000000"}}
    make(control_plane, namespace, "deployments", body)

    def refused(pods: list[Json]) -> bool:
        return bool(pods) and _condition(pods[0], "PodScheduled").get("reason") == "Unschedulable"

    (pod,) = until(lambda: pods_of(control_plane, namespace, "huge"), refused)
    assert "nodeName" not in pod["spec"]


@pytest.mark.parametrize(
    ("kind", "plural", "replicas"), [("StatefulSet", "statefulsets", 2), ("DaemonSet", "daemonsets", None)]
)
def test_other_workloads_run_and_keep_their_revisions(
    control_plane: ControlPlane, namespace: str, kind: str, plural: str, replicas: int | None
) -> None:
    """StatefulSet and DaemonSet run, and write a ControllerRevision for each template."""
    make(control_plane, namespace, plural, workload(kind, "db", "db:v1", replicas=replicas))
    wanted = 3 if replicas is None else replicas
    key = "numberReady" if kind == "DaemonSet" else "readyReplicas"

    def read() -> Json:
        return control_plane.ask("GET", path(namespace, plural, "db"))[1]

    until(read, lambda seen: seen["status"].get(key) == wanted)
    revisions = control_plane.ask("GET", path(namespace, "controllerrevisions"))[1]["items"]
    assert [one["revision"] for one in revisions] == [1]


@pytest.mark.parametrize(("exit_code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_a_job_ends(control_plane: ControlPlane, namespace: str, exit_code: int, phase: str) -> None:
    """A container that is not restarted ends its pod, well or badly, and the Job with it."""
    image = f"task-{exit_code}:v1"
    reason = "Error" if exit_code else "Completed"
    control_plane.behave(image, Behaviour(lives_seconds=0.05, reason=reason, exit_code=exit_code))
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}}
    body = {"metadata": {"name": "task"}, "spec": {"backoffLimit": 0, "template": template}}
    make(control_plane, namespace, "jobs", {"apiVersion": "batch/v1", "kind": "Job", **body})

    def pods() -> list[Json]:
        found: list[Json] = control_plane.ask("GET", path(namespace, "pods"))[1]["items"]
        return found

    until(pods, lambda found: [pod["status"]["phase"] for pod in found] == [phase])


def test_a_deleted_workload_leaves_nothing(control_plane: ControlPlane, namespace: str) -> None:
    """Garbage collection deletes the pods, and their nodes let them go."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", "shop:v1", replicas=2))
    until_available(control_plane, namespace, "shop", 2)
    assert control_plane.ask("DELETE", path(namespace, "deployments", "shop"))[0] == 200
    until(lambda: pods_of(control_plane, namespace, "shop"), lambda pods: not pods)


def test_an_api_server_that_is_killed_comes_back_and_so_does_everything(
    control_plane: ControlPlane, namespace: str
) -> None:
    """SIGKILL, the same address again: objects are kept; controllers, scheduler and nodes find it by themselves."""
    make(control_plane, namespace, "deployments", workload("Deployment", "before", "shop:v1"))
    until_available(control_plane, namespace, "before", 1)
    control_plane.kill(APISERVER)
    with pytest.raises(OSError, match="refused"):
        control_plane.ask("GET", "/readyz")
    control_plane.restart(APISERVER)
    assert control_plane.ask("GET", path(namespace, "deployments", "before"))[0] == 200
    make(control_plane, namespace, "deployments", workload("Deployment", "after", "shop:v1", replicas=2))
    until_available(control_plane, namespace, "after", 2)


def test_an_api_server_that_is_paused_answers_later(control_plane: ControlPlane) -> None:
    """Slow weather: the connection stands and nobody answers, until it goes on."""
    control_plane.pause(APISERVER)
    try:
        with pytest.raises(OSError, match="timed out"):
            urllib.request.urlopen(f"{control_plane.url}/version", timeout=1, context=control_plane.ssl_context())
    finally:
        control_plane.resume(APISERVER)
    assert control_plane.ask("GET", "/version")[0] == 200


def test_a_watch_from_before_a_compaction_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    """After a compaction and a restart, what happened before cannot be watched any more: code 410."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", "shop:v1"))
    old = until_available(control_plane, namespace, "shop", 1)["metadata"]["resourceVersion"]
    where = path(namespace, "deployments", "shop")
    for number in range(3):
        label = {"metadata": {"labels": {"round": str(number)}}}
        assert control_plane.ask("PATCH", where, label, kind="application/merge-patch+json")[0] == 200
    control_plane.compact_etcd()
    control_plane.restart(APISERVER)
    query = f"?watch=true&resourceVersion={old}&timeoutSeconds=5"
    status, answer = control_plane.ask("GET", path(namespace, "deployments") + query)
    code = answer["object"]["code"] if status == 200 else answer["code"]
    assert code == 410, (status, answer)


def test_nodes_that_are_killed_know_their_pods_again(control_plane: ControlPlane, namespace: str) -> None:
    """A node that starts again goes on with what runs: no restart, no other address."""
    make(control_plane, namespace, "deployments", workload("Deployment", "shop", "shop:v1", replicas=2))
    until_available(control_plane, namespace, "shop", 2)
    before = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in pods_of(control_plane, namespace, "shop")}
    control_plane.restart(NODES)
    make(control_plane, namespace, "deployments", workload("Deployment", "more", "shop:v1", replicas=2))
    until_available(control_plane, namespace, "more", 2)
    after = {pod["metadata"]["uid"]: pod["status"]["podIP"] for pod in pods_of(control_plane, namespace, "shop")}
    assert after == before
    assert not set(before.values()) & {pod["status"]["podIP"] for pod in pods_of(control_plane, namespace, "more")}


def test_a_service_account_has_a_token_of_its_own(control_plane: ControlPlane, namespace: str) -> None:
    """Tokens of service accounts are signed by the control plane, and RBAC knows whom they name."""
    where = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    assert control_plane.ask("POST", where, {"metadata": {"name": "bot"}})[0] == 201
    user = f"system:serviceaccount:{namespace}:bot"
    status, answer = control_plane.ask("GET", path(namespace, "pods"), user=user)
    assert status == 403
    assert user in answer["message"]


def test_every_request_stands_in_the_audit_log(control_plane: ControlPlane, namespace: str) -> None:
    """Who asked for what, and whether it was allowed: one JSON line each, soon after."""
    control_plane.ask("GET", path(namespace, "pods"), user="nobody")

    def seen() -> list[Json]:
        lines = control_plane.audit_log.read_text().splitlines(keepends=True)
        mine = (line for line in lines if namespace in line and '"nobody"' in line and line.endswith("\n"))
        return [json.loads(line) for line in mine]

    *_, entry = until(seen, bool)
    assert (entry["verb"], entry["responseStatus"]["code"]) == ("list", 403)


def test_kubectl_works_with_a_users_kubeconfig(control_plane: ControlPlane) -> None:
    """The kubeconfig file holds all that a client needs, the CA included."""
    kubectl = parts.require("kubectl")
    command: list[str | Path] = [kubectl, "--kubeconfig", control_plane.kubeconfig(), "get", "nodes", "--output=name"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == ["node/node-1", "node/node-2", "node/node-3"], done.stderr


def _condition(obj: Json, kind: str) -> Json:
    conditions: list[Json] = obj["status"].get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})
