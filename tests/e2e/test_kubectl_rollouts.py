"""Real kubectl against the sandbox cluster: if its oldest client is content, so may ours be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.sandbox.kube import SandboxCluster, Timing
from tests.e2e.kubectl import KubectlCommand
from tests.parts import require

pytestmark = pytest.mark.real

MANIFEST: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": "first"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "shop:v1"}]},
        },
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl(KubectlCommand):
    """Speaks of one Deployment, ``web``."""

    async def apply(self, **changes: Any) -> str:
        """Applies the manifest, its container changed."""
        manifest = json.loads(json.dumps(MANIFEST))
        manifest["spec"]["template"]["spec"]["containers"][0].update(changes)
        path = self.folder / "web.json"
        path.write_text(json.dumps(manifest))
        return await self("apply", "--validate=false", "-f", str(path))

    async def settle(self) -> str:
        """Waits for the rollout as kubectl means it."""
        return await self("rollout", "status", "deployment/web", "--timeout=15s")

    def web(self) -> dict[str, Any]:
        (found,) = self.cluster.objects("apps/v1", "deployments")
        return found


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    binary = require("kubectl")
    async with SandboxCluster(timing=Timing(start=0.1, termination=0.05), network=43) as cluster:
        yield Kubectl(cluster=cluster, folder=tmp_path, binary=binary)


def image(obj: dict[str, Any]) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_apply_creates_changes_and_sees_when_nothing_changed(kubectl: Kubectl) -> None:
    """Client-side apply: created, configured, unchanged; an environment variable is merged in and taken out."""
    assert "created" in await kubectl.apply()
    assert "configured" in await kubectl.apply(env=[{"name": "A", "value": "1"}])
    assert kubectl.web()["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert "unchanged" in await kubectl.apply(env=[{"name": "A", "value": "1"}])
    assert "configured" in await kubectl.apply()
    assert "env" not in kubectl.web()["spec"]["template"]["spec"]["containers"][0]


async def test_rollout_status_waits_until_the_pods_are_there(kubectl: Kubectl) -> None:
    """It reports waiting first and success at the end, when every pod is of the new revision."""
    await kubectl.apply()
    assert "successfully rolled out" in await kubectl.settle()
    await kubectl("set", "image", "deployment/web", "main=shop:v2")
    output = await kubectl.settle()
    assert "Waiting for deployment" in output
    assert kubectl.web()["status"]["updatedReplicas"] == 2


async def test_rollout_status_fails_on_an_exceeded_deadline(kubectl: Kubectl) -> None:
    """A revision that is never ready ends it with an error that says so."""
    await kubectl.apply()
    await kubectl.settle()
    await kubectl("patch", "deployment/web", "-p", '{"spec":{"progressDeadlineSeconds":1}}')
    await kubectl("set", "image", "deployment/web", "main=shop:v2-unready")
    code, output = await kubectl.ask("rollout", "status", "deployment/web", "--timeout=15s")
    assert code == 1
    assert "exceeded its progress deadline" in output


async def test_undo_restores_the_template_byte_by_byte(kubectl: Kubectl) -> None:
    """After undo --to-revision=1 the template is the first one, under revision 3; history shows 2 and 3."""
    await kubectl.apply()
    await kubectl.settle()
    before = kubectl.web()["spec"]["template"]
    await kubectl("set", "image", "deployment/web", "main=shop:v2")
    await kubectl.settle()
    assert image(kubectl.web()) == "shop:v2"
    await kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    await kubectl.settle()
    assert kubectl.web()["spec"]["template"] == before
    assert kubectl.web()["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["2", "3"]
    assert "shop:v1" in await kubectl("rollout", "history", "deployment/web", "--revision=3")
    request = kubectl.cluster.faults.requests("PATCH", "/deployments/web$")[-1]
    assert [one["path"] for one in request.body] == ["/spec/template", "/metadata/annotations"]


async def test_undo_to_what_is_there_or_unknown_writes_nothing(kubectl: Kubectl) -> None:
    """The current template is skipped, an unknown revision and a paused Deployment are errors."""
    await kubectl.apply()
    await kubectl.settle()
    assert "skipped rollback" in await kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    code, output = await kubectl.ask("rollout", "undo", "deployment/web", "--to-revision=9")
    assert (code, "unable to find specified revision 9" in output) == (1, True)
    await kubectl("rollout", "pause", "deployment/web")
    code, output = await kubectl.ask("rollout", "undo", "deployment/web", "--to-revision=1")
    assert (code, "paused" in output) == (1, True)
    await kubectl("rollout", "resume", "deployment/web")


async def test_restart_is_a_new_revision_of_the_same_image(kubectl: Kubectl) -> None:
    """A rollout restart stamps the template, under the field manager kubectl-rollout."""
    await kubectl.apply()
    await kubectl.settle()
    await kubectl("rollout", "restart", "deployment/web")
    await kubectl.settle()
    web = kubectl.web()
    assert image(web) == "shop:v1"
    assert "kubectl.kubernetes.io/restartedAt" in web["spec"]["template"]["metadata"]["annotations"]
    assert web["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    entry = next(one for one in web["metadata"]["managedFields"] if one["manager"] == "kubectl-rollout")
    assert "f:template" in entry["fieldsV1"]["f:spec"]


async def test_scale_get_label_and_delete(kubectl: Kubectl) -> None:
    """The everyday verbs: sizes, lists by selector, single fields, waiting for a deletion."""
    await kubectl.apply()
    await kubectl("scale", "deployment/web", "--replicas=3")
    await kubectl.settle()
    pods = json.loads(await kubectl("get", "pods", "-l", "app=web", "-o", "json"))
    assert len(pods["items"]) == 3
    assert "deployment.apps/web" in await kubectl("get", "all")
    await kubectl("label", "deployment/web", "team=a")
    assert await kubectl("get", "deploy", "-l", "team in (a)", "-o", "jsonpath={.items[*].metadata.name}") == "web"
    assert "Available" in await kubectl("describe", "deployment/web")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=10s")
    await kubectl("delete", "deployment/web", "--wait")
    assert kubectl.cluster.objects("apps/v1", "deployments") == []


async def test_a_server_side_dry_run_changes_nothing(kubectl: Kubectl) -> None:
    """--dry-run=server answers the result and leaves the cluster as it was."""
    await kubectl.apply()
    await kubectl.settle()
    version = kubectl.web()["metadata"]["resourceVersion"]
    output = await kubectl("set", "image", "deployment/web", "main=shop:v2", "--dry-run=server")
    assert "server dry run" in output
    assert kubectl.web()["metadata"]["resourceVersion"] == version
