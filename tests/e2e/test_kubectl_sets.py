"""Real kubectl and the sandbox's StatefulSets and DaemonSets: undo, status, history, restart, get."""

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

PLURALS = {"StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl(KubectlCommand):
    """Speaks of one workload, ``KIND/web``."""

    kind: str

    @property
    def web(self) -> str:
        """The workload as kubectl names it."""
        return f"{self.kind.lower()}/web"

    async def apply(self, image: str = "shop:v1", **spec: Any) -> str:
        """Applies the workload and waits for its rollout."""
        template = {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": image, "args": ["--only=<1&2>"]}]},
        }
        body = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
        if self.kind == "StatefulSet":
            body |= {"replicas": 2, "serviceName": "web"}
        metadata = {"name": "web", "annotations": {"kubernetes.io/change-cause": "first"}}
        path = self.folder / "web.json"
        path.write_text(
            json.dumps({"apiVersion": "apps/v1", "kind": self.kind, "metadata": metadata, "spec": body}),
        )
        await self("apply", "--validate=false", "-f", str(path))
        return await self.settle()

    async def change(self, image: str) -> None:
        """Sets the image and the cause, and waits for the rollout."""
        await self("annotate", self.web, "kubernetes.io/change-cause=second", "--overwrite")
        await self("set", "image", self.web, f"main={image}")
        await self.settle()

    async def settle(self) -> str:
        """Waits for the rollout as kubectl means it."""
        return await self("rollout", "status", self.web, "--timeout=15s")

    def object(self) -> dict[str, Any]:
        """The workload as it is stored."""
        (found,) = self.cluster.objects("apps/v1", PLURALS[self.kind])
        return found

    def images(self) -> set[str]:
        """The images of the workload's pods."""
        return {one["spec"]["containers"][0]["image"] for one in self.cluster.objects("v1", "pods")}


@pytest.fixture(params=sorted(PLURALS))
async def kubectl(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Kubectl]:
    binary = require("kubectl")
    async with SandboxCluster(timing=Timing(start=0.1, termination=0.05), network=44) as cluster:
        yield Kubectl(cluster=cluster, folder=tmp_path, binary=binary, kind=str(request.param))


def image(obj: dict[str, Any]) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_rollout_status_waits_until_the_pods_are_there(kubectl: Kubectl) -> None:
    """It succeeds when every pod is ready, and waits for one that is not until its own time-out."""
    await kubectl.apply()
    assert all(one["status"]["phase"] == "Running" for one in kubectl.cluster.objects("v1", "pods"))
    await kubectl("set", "image", kubectl.web, "main=shop:v2-unready")
    code, output = await kubectl.ask("rollout", "status", kubectl.web, "--timeout=2s")
    assert (code, "Waiting for" in output) == (1, True)


async def test_undo_restores_the_template_byte_by_byte(kubectl: Kubectl) -> None:
    """Undo sends the ControllerRevision's data; the template is the first one, its revision now number 3."""
    await kubectl.apply()
    before = kubectl.object()["spec"]
    await kubectl.change("shop:v2")
    assert "rolled back" in await kubectl("rollout", "undo", kubectl.web)
    await kubectl.settle()
    assert kubectl.object()["spec"] == before
    assert kubectl.images() == {"shop:v1"}
    revisions = kubectl.cluster.objects("apps/v1", "controllerrevisions")
    assert {one["revision"] for one in revisions} == {2, 3}
    request = kubectl.cluster.faults.requests("PATCH", f"/{PLURALS[kubectl.kind]}/web$")[-1]
    assert request.body == next(one["data"] for one in revisions if one["revision"] == 3)


async def test_history_shows_numbers_causes_and_templates(kubectl: Kubectl) -> None:
    """Two revisions with the causes that were annotated when each was made, and the template of one."""
    await kubectl.apply()
    await kubectl.change("shop:v2")
    history = await kubectl("rollout", "history", kubectl.web)
    lines = [line.split() for line in history.splitlines()[2:] if line]
    assert lines == [["1", "first"], ["2", "second"]]
    assert "shop:v1" in await kubectl("rollout", "history", kubectl.web, "--revision=1")


async def test_undo_to_what_is_there_or_unknown_writes_nothing(kubectl: Kubectl) -> None:
    """The present template is no change; an unknown and a missing revision are errors.

    kubectl compares bytes and says "skipped", unless it is older than the server: 1.32 for one writes the template's
    `creationTimestamp: null`, which a 1.36 leaves out, so it patches, says "rolled back", and nothing has changed.
    """
    await kubectl.apply()
    code, output = await kubectl.ask("rollout", "undo", kubectl.web)
    assert (code, "no last revision to roll back to" in output) == (1, True)
    said = await kubectl("rollout", "undo", kubectl.web, "--to-revision=1")
    assert "skipped rollback" in said or "rolled back" in said
    code, output = await kubectl.ask("rollout", "undo", kubectl.web, "--to-revision=9")
    assert (code, "unable to find specified revision 9" in output) == (1, True)
    assert kubectl.object()["metadata"]["generation"] == 1


async def test_undo_in_a_server_side_dry_run_changes_nothing(kubectl: Kubectl) -> None:
    """--dry-run=server asks the server and leaves the workload as it was."""
    await kubectl.apply()
    await kubectl.change("shop:v2")
    version = kubectl.object()["metadata"]["resourceVersion"]
    assert "server dry run" in await kubectl("rollout", "undo", kubectl.web, "--dry-run=server")
    assert kubectl.object()["metadata"]["resourceVersion"] == version


async def test_restart_is_a_new_revision_of_the_same_image(kubectl: Kubectl) -> None:
    """A rollout restart stamps the template, under the field manager kubectl-rollout, and replaces every pod."""
    await kubectl.apply()
    uids = {one["metadata"]["uid"] for one in kubectl.cluster.objects("v1", "pods")}
    await kubectl("rollout", "restart", kubectl.web)
    await kubectl.settle()
    web = kubectl.object()
    assert image(web) == "shop:v1"
    assert "kubectl.kubernetes.io/restartedAt" in web["spec"]["template"]["metadata"]["annotations"]
    assert any(one["manager"] == "kubectl-rollout" for one in web["metadata"]["managedFields"])
    assert not uids & {one["metadata"]["uid"] for one in kubectl.cluster.objects("v1", "pods")}


async def test_on_delete_has_no_rollout_status(kubectl: Kubectl) -> None:
    """Kubectl says so, with exit code 1; that is all one learns about such a rollout."""
    await kubectl.apply()
    patch = '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}'
    await kubectl("patch", kubectl.web, "--type=merge", "-p", patch)
    code, output = await kubectl.ask("rollout", "status", kubectl.web)
    assert (code, "only available for" in output) == (1, True)


async def test_get_describe_and_delete(kubectl: Kubectl) -> None:
    """The everyday verbs; a deletion takes pods and revisions with it."""
    await kubectl.apply()
    assert f"{kubectl.kind.lower()}.apps/web" in await kubectl("get", "all")
    found = json.loads(await kubectl("get", "controllerrevisions", "-l", "app=web", "-o", "json"))
    assert [one["revision"] for one in found["items"]] == [1]
    described = await kubectl("describe", kubectl.web)
    assert "shop:v1" in described
    assert "Pods Status" in described
    await kubectl("delete", kubectl.web, "--wait")
    assert kubectl.cluster.objects("apps/v1", PLURALS[kubectl.kind]) == []


async def test_undo_does_not_free_an_ordered_set(tmp_path: Path) -> None:
    """The stuck StatefulSet: after undo kubectl waits in vain; with the broken pod deleted it succeeds."""
    binary = require("kubectl")
    async with SandboxCluster(timing=Timing(start=0.1, termination=0.05), network=45) as cluster:
        kubectl = Kubectl(cluster=cluster, folder=tmp_path, binary=binary, kind="StatefulSet")
        await kubectl.apply()
        await kubectl("set", "image", kubectl.web, "main=shop:v2-unready")
        code, output = await kubectl.ask("rollout", "status", kubectl.web, "--timeout=1s")
        assert code == 1, output
        await kubectl("rollout", "undo", kubectl.web)
        code, output = await kubectl.ask("rollout", "status", kubectl.web, "--timeout=1s")
        assert code == 1, output
        assert kubectl.images() == {"shop:v1", "shop:v2-unready"}
        await kubectl("delete", "pod", "web-1")
        await kubectl.settle()
        assert kubectl.images() == {"shop:v1"}
