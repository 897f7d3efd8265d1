"""A Canary with the real controller of Flagger in a namespace of its own, and the metrics that it judges by."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests import documents
from tests.controlplane import builds
from tests.controlplane.definitions import CANARIES
from tests.controlplane.plane import ControlPlane
from tests.controlplane.processes import Family, Server, free_ports
from tests.controlplane.workloads import Json, make, path, pods_of, workload
from tests.parts import require

TOKEN = "the-token-of-the-canaries"
V1, V2, BAD = "web:v1", "web:v2", "web:v2-errors"
TARGET, PRIMARY = "web", "web-primary"

SECONDS = 90.0
"""For one phase of Flagger's; some seconds on an idle machine."""

PACE = 1.0
"""Between two nudges: longer than one look of Flagger's takes, so that it is over before the next begins."""


def example(hooks: str, **analysis: Any) -> Json:
    """The Canary of our page, with its hooks sent to the address `hooks`, judging by the last five seconds."""
    (block,) = (each for each in documents.blocks(documents.read("deploy/docs/events.md"), "yaml")
                if "kind: Canary" in each.body)  # fmt: skip
    found: Json = yaml.safe_load(block.body.replace("http://lastgood.lastgood:9095", hooks))
    for metric in found["spec"]["analysis"]["metrics"]:
        metric["interval"] = "5s"
    found["spec"]["analysis"] |= analysis
    del found["metadata"]["namespace"]
    return found


@dataclass(kw_only=True)
class Shop:
    """The Deployment `web` and its Canary.

    Flagger looks no more often than every ten seconds, but at once when the interval of its analysis is another one. So a
    test that waits changes it to and fro.
    """

    plane: ControlPlane
    namespace: str
    log: Path
    _intervals: Iterator[str] = field(default_factory=lambda: cycle(("11s", "12s")))
    _nudged: float = 0.0

    @property
    def canary_path(self) -> str:
        return f"{CANARIES.replace('/canaries', '')}/namespaces/{self.namespace}/canaries"

    def ask(self, method: str, where: str, body: object = None, kind: str = "application/json") -> Json:
        status, answer = self.plane.ask(method, where, body, kind=kind)
        assert status < 300, answer
        return answer

    def begin(self, canary: Json) -> None:
        """The Deployment with two pods, and its Canary."""
        make(self.plane, self.namespace, "deployments", workload("Deployment", TARGET, V1, replicas=2))
        self.ask("POST", self.canary_path, canary)

    def deploy(self, image: str) -> None:
        """Another image, as a pipeline would write it."""
        op = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}
        self.ask("PATCH", path(self.namespace, "deployments", TARGET), [op], "application/json-patch+json")

    def status(self) -> Json:
        """The Canary's status."""
        found: Json = self.ask("GET", f"{self.canary_path}/web").get("status", {})
        return found

    def deployment(self, name: str) -> Json:
        return self.ask("GET", path(self.namespace, "deployments", name))

    def runs(self, name: str) -> tuple[str, int]:
        """Image and wanted replicas of a Deployment."""
        spec = self.deployment(name)["spec"]
        return spec["template"]["spec"]["containers"][0]["image"], spec["replicas"]

    def nudge(self) -> None:
        """Let Flagger look now."""
        change = {"spec": {"analysis": {"interval": next(self._intervals)}}}
        self.ask("PATCH", f"{self.canary_path}/web", change, "application/merge-patch+json")

    async def until(self, good: Callable[[Json], Any]) -> Json:
        """Nudges until the Canary's status is good."""
        deadline = time.monotonic() + SECONDS
        while not good(seen := await asyncio.to_thread(self.status)):
            assert time.monotonic() < deadline, f"{seen}\n{self.log.read_text(errors='replace')[-3000:]}"
            if time.monotonic() - self._nudged > PACE:
                await asyncio.to_thread(self.nudge)
                self._nudged = time.monotonic()
            await asyncio.sleep(0.05)
        return seen

    async def phase(self, name: str) -> Json:
        """Nudges until Flagger says that the Canary is in this phase."""
        return await self.until(lambda status: status.get("phase") == name)

    async def promoted(self, image: str) -> None:
        """Nudges until Flagger has taken the image over into the primary."""
        self.deploy(image)
        await self.phase("Progressing")
        await self.phase("Succeeded")
        assert (self.runs(TARGET), self.runs(PRIMARY)) == ((image, 0), (image, 2))


@contextmanager
def running(plane: ControlPlane, namespace: str, metrics: str, folder: Path) -> Iterator[Shop]:
    """A Flagger for one namespace, without a mesh."""
    (port,) = free_ports(1)
    command: list[str | Path] = [
        builds.flagger().folder / "flagger", "-kubeconfig", plane.kubeconfig(), "-namespace", namespace,
        "-mesh-provider", "kubernetes", "-metrics-server", metrics, "-port", str(port),
        "-control-loop-interval", "100ms",
    ]  # fmt: skip
    family, log = Family(), folder / "flagger.log"
    try:
        family.start(Server(name="flagger", command=command, log=log, folder=folder))
        yield Shop(plane=plane, namespace=namespace, log=log)
    finally:
        family.close()


class Traffic:
    """What the pods would say of their requests: ten each second, half of them failed where the image says `errors`."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane = plane
        self._namespace = namespace
        self._since: dict[str, float] = {}

    async def metrics(self, _request: web.Request) -> web.Response:
        pods = await asyncio.to_thread(pods_of, self._plane, self._namespace, TARGET)
        pods += await asyncio.to_thread(pods_of, self._plane, self._namespace, PRIMARY)
        answer = web.Response(text="".join(line for pod in pods for line in self._lines(pod)))
        answer.force_close()  # `watching` counts the connections that are left
        return answer

    def _lines(self, pod: Json) -> Sequence[str]:
        name, image = pod["metadata"]["name"], pod["spec"]["containers"][0]["image"]
        count = 10 * (time.monotonic() - self._since.setdefault(name, time.monotonic()))
        bad = count / 2 if image.endswith("errors") else 0.0
        labels = f'kubernetes_namespace="{self._namespace}",kubernetes_pod_name="{name}"'
        return [
            f'http_request_duration_seconds_count{{{labels},status="{status}"}} {value}\n'
            for status, value in (("200", count - bad), ("500", bad))
        ]


@asynccontextmanager
async def prometheus(traffic: Traffic, folder: Path) -> AsyncIterator[str]:
    """The real Prometheus, which scrapes the traffic twice a second; its address."""
    app = web.Application()
    app.router.add_get("/metrics", traffic.metrics)
    (port,) = free_ports(1)
    async with TestServer(app) as pods:
        scraped = {"job_name": "pods", "static_configs": [{"targets": [f"127.0.0.1:{pods.port}"]}]}
        settings = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [scraped]}
        (folder / "prometheus.yml").write_text(json.dumps(settings))
        command: list[str | Path] = [
            require("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        family = Family()
        try:
            family.start(Server(name="prometheus", command=command, log=folder / "prometheus.log", folder=folder))
            yield f"http://127.0.0.1:{port}"
        finally:
            await asyncio.to_thread(family.close)
