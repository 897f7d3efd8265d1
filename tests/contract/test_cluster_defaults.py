"""What the API server makes of a template that is sent: what it adds, what it leaves out, how it spells an amount.

It is why a template that is read back never equals the one that was written, and must be compared with what was read before.
"""

from __future__ import annotations

import copy

import pytest

from tests.contract.cluster_client import (
    STRATEGIC_PATCH,
    ClusterClient,
    Json,
    daemonset,
    deployment,
    statefulset,
)

pytestmark = pytest.mark.real

UNTIMED_SINCE = 36
"""Here (and somewhat earlier) a template has no `creationTimestamp: null` any more."""

SENT: Json = {
    "containers": [
        {
            "name": "main",
            "image": "shop:v1",
            "command": [],
            "ports": [{"containerPort": 80}],
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "B", "value": ""},
            ],
            "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5, "memory": "500M"}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        },
        {"name": "latest", "image": "registry.example:5000/side"},
        {"name": "digest", "image": f"side@sha256:{'0' * 64}"},
    ],
    "volumes": [
        {"name": "scratch"},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "host", "hostPath": {"path": "/x"}},
        {"name": "labels", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ],
    "serviceAccountName": "robot",
    "hostNetwork": False,
    "nodeSelector": {},
}

_PROBE: Json = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_GET: Json = {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}
_ENDS: Json = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}

READ: Json = {
    "containers": [
        {
            "name": "main",
            "image": "shop:v1",
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "env": [
                {"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "B"},
            ],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "500M"}},
            "livenessProbe": {**_GET, **_PROBE},
            "readinessProbe": {"tcpSocket": {"port": 80}, **_PROBE, "periodSeconds": 1},
            "lifecycle": {"preStop": _GET},
            **_ENDS,
        },
        {
            "name": "latest",
            "image": "registry.example:5000/side",
            "imagePullPolicy": "Always",
            "resources": {},
            **_ENDS,
        },
        {
            "name": "digest",
            "image": f"side@sha256:{'0' * 64}",
            "imagePullPolicy": "IfNotPresent",
            "resources": {},
            **_ENDS,
        },
    ],
    "volumes": [
        {"name": "scratch", "emptyDir": {}},
        {"name": "config", "configMap": {"name": "c", "defaultMode": 420}},
        {"name": "host", "hostPath": {"path": "/x", "type": ""}},
        {
            "name": "labels",
            "downwardAPI": {
                "items": [{"path": "p", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}],
                "defaultMode": 420,
            },
        },
        {
            "name": "token",
            "projected": {
                "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                "defaultMode": 420,
            },
        },
    ],
    "serviceAccountName": "robot",
    "serviceAccount": "robot",
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}


def sent(body: Json) -> Json:
    body["spec"]["template"] = {"metadata": {"labels": {"app": body["metadata"]["name"]}}, "spec": copy.deepcopy(SENT)}
    return body


async def test_a_template_comes_back_filled_in(client: ClusterClient) -> None:
    """The same in each kind of workload, field by field: empty things go, amounts are spelt anew."""
    idle = {"nodeSelector": {"no": "where"}}
    for plural, bare in (
        ("deployments", deployment(paused=True)),
        ("statefulsets", statefulset(replicas=0)),
        ("daemonsets", daemonset()),
    ):
        body = sent(bare)
        if plural == "daemonsets":
            body["spec"]["template"]["spec"] |= idle
        made = await client.make(plural, body)
        template = made["spec"]["template"]
        assert template["spec"] == (READ | idle if plural == "daemonsets" else READ)
        marks = {"labels": {"app": body["metadata"]["name"]}}
        old = {"creationTimestamp": None} if await client.minor() < UNTIMED_SINCE else {}
        assert template["metadata"] == marks | old


async def test_a_deployment_comes_back_filled_in(client: ClusterClient) -> None:
    """One replica, a quarter of surge and of unavailable, ten old revisions, ten minutes; empty labels are none."""
    body = deployment()
    body["spec"] = {"selector": body["spec"]["selector"], "template": body["spec"]["template"], "paused": True}
    body["metadata"] |= {"labels": {}, "annotations": {}}
    made = await client.make("deployments", body)
    rest = {key: value for key, value in made["spec"].items() if key not in ("selector", "template", "paused")}
    assert rest == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }
    assert not made["metadata"].keys() & {"labels", "annotations"}


async def test_sending_the_same_again_changes_nothing(client: ClusterClient) -> None:
    """The bare template once more, in any spelling, is no new version and no new generation."""
    made = await client.make("deployments", sent(deployment(paused=True)))
    before = await client.until("deployments", "web", lambda one: "observedGeneration" in one["status"])
    # The conditions of a paused Deployment come in two writes; a version is compared once both are there.
    before = await client.until("deployments", "web", lambda one: len(one["status"].get("conditions", [])) == 2)
    again = await client.patch(
        "deployments", "web", {"spec": {"template": {"spec": copy.deepcopy(SENT)}}}, kind=STRATEGIC_PATCH
    )
    assert again["metadata"]["generation"] == made["metadata"]["generation"]
    assert again["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_pod_is_given_priority_and_patience(client: ClusterClient) -> None:
    """Admission adds a priority, and two tolerations of five minutes, to the pod: its template has neither."""
    await client.make("deployments", deployment(replicas=1))
    (pod,) = await client.until_items("pods", lambda pods: len(pods) == 1)
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    keys = {(one["key"], one["effect"], one["tolerationSeconds"]) for one in pod["spec"]["tolerations"]}
    named = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    assert keys == {(key, "NoExecute", 300) for key in named}
    assert pod["metadata"]["generateName"].startswith("web-")
