"""Two daemons on one PostgreSQL journal beside a real control plane, with the rights that the chart gives them.

The API server is the judge: each change of a Deployment's spec has a generation, and each request stands in its audit log.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from deploy.sandbox.scenarios import APP
from deploy.sandbox.services import SampleServices
from deploy.sandbox.vendors import PagerDutyStandIn
from deploy.sandbox.world import deployment, image
from handlers.workload_objects import FIELD_MANAGER
from tests.controlplane.installed import ACCOUNT, NAMESPACE
from tests.controlplane.plane import ControlPlane
from tests.controlplane.surroundings import Surroundings, surroundings
from tests.controlplane.workloads import Json, make, path
from tests.e2e.gate import gate
from tests.e2e.rig import GATES
from tests.e2e.two import GIVEN_BACK, POLICY, Two, paired
from tests.postgres import Server

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
LEASE = f"{LEASES}/lastgood"


@dataclass(kw_only=True)
class PlaneWorld:
    """The Deployment that goes wrong, and what surrounds it."""

    around: Surroundings
    written: int = 0
    """The generation that the pipeline's last change of the spec made."""

    @property
    def plane(self) -> ControlPlane:
        """Where it is."""
        return self.around.plane

    @property
    def services(self) -> SampleServices:
        """What the pods serve."""
        return self.around.services

    @property
    def pagerduty(self) -> PagerDutyStandIn:
        """Who is paged."""
        return self.around.pagerduty

    def deploy(self) -> None:
        """v1, with the ConfigMap that it names."""
        settings = {"metadata": {"name": f"{APP}-settings"}, "data": {"greeting": "hello"}}
        status, answer = self.plane.ask("POST", f"/api/v1/namespaces/{self.around.namespace}/configmaps", settings)
        assert status == 201, answer
        body = deployment(APP, "v1", replicas=3, ready_seconds=1)
        del body["metadata"]["namespace"]
        self.written = make(self.plane, self.around.namespace, "deployments", body)["metadata"]["generation"]

    async def set_image(self, app: str, version: str) -> None:
        """Change the image, as a pipeline does."""
        op = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image(app, version)}
        where = f"{self._where(app)}?fieldManager=deploy-pipeline"
        status, answer = await asyncio.to_thread(
            self.plane.ask, "PATCH", where, [op], kind="application/json-patch+json"
        )
        assert status == 200, answer
        self.written = answer["metadata"]["generation"]

    def _where(self, app: str) -> str:
        return path(self.around.namespace, "deployments", app)

    def seen(self, app: str) -> Json:
        """The Deployment as the API server has it now."""
        status, answer = self.plane.ask("GET", self._where(app))
        assert status == 200, answer
        return answer

    def settled(self, app: str) -> bool:
        """All pods are of the current template and available, and serve."""
        found = self.seen(app)
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
        is_seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        return is_seen and [*counts, len(self.services.pods())] == [wanted] * 4

    def version(self, app: str) -> str:
        """The tag of the image that the template names now."""
        (container,) = self.seen(app)["spec"]["template"]["spec"]["containers"]
        return str(container["image"]).rpartition(":")[2]

    def rollbacks(self) -> int:
        """Changes of the spec since the pipeline's last; nobody but Lastgood makes any."""
        return int(self.seen(APP)["metadata"]["generation"]) - self.written

    def patches(self) -> list[int]:
        """How the API server answered each patch of the template that was meant, by its audit log."""
        where, found = self._where(APP), []
        for line in self.plane.audit_log.read_text().splitlines():
            if where not in line:
                continue
            entry = json.loads(line)
            asked = urlsplit(entry["requestURI"])
            is_meant = parse_qs(asked.query) == {"fieldManager": [FIELD_MANAGER]}
            if entry["stage"] == "ResponseComplete" and asked.path == where and is_meant:
                found.append(int(entry["responseStatus"]["code"]))
        return found

    def lease_changes(self) -> int:
        """How often the Lease has changed hands."""
        status, answer = self.plane.ask("GET", LEASE)
        assert status == 200, answer
        return int(answer["spec"]["leaseTransitions"])

    def wrong(self) -> list[str]:
        """What of this API server's own records must not be: a second patch that was stored, fields that are still ours."""
        found = []
        if (answers := self.patches()).count(200) != 1:
            found.append(f"double action: patches were answered {answers}")
        ours = [each for each in self.seen(APP)["metadata"]["managedFields"] if each["manager"] == FIELD_MANAGER]
        if [set(each["fieldsV1"]) for each in ours] != [{"f:metadata"}]:
            found.append(f"fields were not given up: {ours}")
        return found


def given_back(plane: ControlPlane) -> None:
    """A Lease that nobody has, in the place of whatever there is."""
    plane.ask("DELETE", LEASE)
    lease = copy.deepcopy(GIVEN_BACK)
    lease["metadata"]["namespace"] = NAMESPACE
    status, answer = plane.ask("POST", LEASES, lease)
    assert status == 201, answer


@asynccontextmanager
async def two_beside(
    plane: ControlPlane, namespace: str, folder: Path, server: Server, **lease: str
) -> AsyncIterator[tuple[Two, PlaneWorld]]:
    """v1 is in place, and two daemons are not started yet. `lease`: settings other than the defaults."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        front = await enter(gate("http://127.0.0.1:9"))
        port = urlsplit(front.url).port or 0
        around = await enter(surroundings(plane, namespace, folder, app=APP, kind="deployment", port=port))
        await asyncio.to_thread(given_back, plane)
        world = PlaneWorld(around=around)
        await asyncio.to_thread(world.deploy)
        access = {"url": plane.url, "token": await asyncio.to_thread(plane.token, ACCOUNT)}
        content = around.settings(folder / "state", access, **POLICY)
        content["lease"] = {"enabled": True, "namespace": NAMESPACE, **lease}
        assert around.monitoring is not None, "it runs"
        monitoring = around.monitoring
        addresses = (
            plane.url, monitoring.prometheus_url, monitoring.alertmanager_url, around.pagerduty.url, around.slack.url
        )  # fmt: skip
        servers = dict(zip(GATES, addresses, strict=True))
        made = Two(world=world, server=server, schema=server.schema(), front=front)
        yield await enter(paired(made, folder, content, servers, {"kubernetes": plane.ssl_context()})), world
