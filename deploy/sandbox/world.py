"""A small world on loopback: cluster, services, Prometheus and Alertmanager, PagerDuty and Slack; what a daemon sees.

`async with World(folder) as world:` runs all of it; `world.write_config(...)` writes the configuration with which a real
daemon process lives in it. Prometheus and Alertmanager are the real ones where they are installed.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from deploy.sandbox.kube import SandboxCluster
from deploy.sandbox.monitoring import Kind, Monitoring, default_rules, kube_state_metrics, start_monitoring
from deploy.sandbox.services import Load, SampleServices, serve_metrics
from deploy.sandbox.vendors import PagerDutyStandIn, SlackStandIn

NAMESPACE = "shop"
ROUTING_KEY = "0123456789abcdef0123456789abcdef"
WEBHOOK_TOKEN = "sandbox-webhook-token"
SCRAPE_SECONDS = 0.5
REQUESTS_PER_SECOND = 400.0
"""Per service: enough requests in a three-second window for a p95 to be more than chance."""

POLICY: Mapping[str, Any] = {
    "soak": "4s",
    "sample_interval": "1s",
    "signal_window": "3s",
    "latency_warm_up": "5s",
    "assumed_for": "2s",
    "blame_window": "60s",
    "countdown": "2s",
    "hold": "3s",
    "decide_deadline": "25s",
    "approve_deadline": "30s",
    "converge_deadline": "30s",
    "verify_deadline": "30s",
}
"""The demo's policy: the defaults' shape with time limits shortened, so that a minute holds a whole incident."""


def image(app: str, version: str) -> str:
    """The image of a version; `registry.local` is a name that means nothing anywhere."""
    return f"registry.local/{app}:{version}"


def deployment(app: str, version: str, *, replicas: int = 4, ready_seconds: int = 2) -> dict[str, Any]:
    """A Deployment that replaces its pods one by one, each given `ready_seconds` before the next."""
    labels = {"app": app}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": replicas,
            "minReadySeconds": ready_seconds,
            "progressDeadlineSeconds": 60,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": app,
                            "image": image(app, version),
                            "ports": [{"containerPort": 8080}],
                            "envFrom": [{"configMapRef": {"name": f"{app}-settings"}}],
                        }
                    ]
                },
            },
        },
    }


@dataclass(kw_only=True)
class World:
    """Everything around the daemon. `kind` forces the real monitoring or the stand-in; None takes what is installed."""

    folder: Path
    kind: Kind | None = None
    alert_for_seconds: float = 2.0
    cluster: SandboxCluster = field(default_factory=SandboxCluster)
    services: SampleServices = field(default_factory=SampleServices)
    pagerduty: PagerDutyStandIn = field(default_factory=PagerDutyStandIn)
    slack: SlackStandIn = field(default_factory=SlackStandIn)
    port: int = 0
    monitoring: Monitoring | None = None
    setup: Callable[[World], None] = lambda _world: None
    """Called once cluster and services run: what takes its time (pods) comes up while Prometheus does."""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        enter = self._stack.enter_async_context
        try:
            await enter(self.cluster)
            self.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            account = {"name": "default", "namespace": NAMESPACE}  # what the service account controller makes
            self.cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
            self._wire_pods()
            await enter(self.pagerduty)
            await enter(self.slack)
            metrics = await enter(serve_metrics(self.services, kube_state=self._kube_state))
            self.port = self.port or free_port()
            self.setup(self)
            self.monitoring = await enter(
                start_monitoring(
                    sd_url=f"{metrics}/sd/one-page",
                    webhook_url=f"http://127.0.0.1:{self.port}/api/v1/alertmanager",
                    webhook_token=WEBHOOK_TOKEN,
                    workdir=self.folder,
                    rules=default_rules(window_seconds=3.0, for_seconds=self.alert_for_seconds),
                    scrape_interval=SCRAPE_SECONDS,
                    kind=self.kind,
                )
            )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def _kube_state(self) -> str:
        return kube_state_metrics(self.cluster.objects("v1", "pods"), self.cluster.objects("apps/v1", "deployments"))

    def _wire_pods(self) -> None:
        """A ready pod serves, a stopped one does not: the services follow the cluster."""

        async def ready(pod: dict[str, Any]) -> None:
            meta, app = pod["metadata"], pod["metadata"].get("labels", {}).get("app", "")
            used = pod["spec"]["containers"][0]["image"]
            address = pod["status"].get("podIP", "127.0.0.1")
            self.services.pod_ready(meta["namespace"], meta["name"], app=app, image=used, ip=address)

        async def stopped(pod: dict[str, Any]) -> None:
            self.services.pod_gone(pod["metadata"]["namespace"], pod["metadata"]["name"])

        self.cluster.hooks.ready.append(ready)
        self.cluster.hooks.stopped.append(stopped)

    def deploy(self, app: str, version: str = "v1", **shape: Any) -> None:
        """Create a service's Deployment, its ConfigMap and its load."""
        self.services.load(NAMESPACE, app, Load(requests_per_second=REQUESTS_PER_SECOND))
        settings = {"metadata": {"name": f"{app}-settings", "namespace": NAMESPACE}, "data": {"greeting": "hello"}}
        self.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", **settings})
        self.cluster.create(deployment(app, version, **shape))

    async def set_image(self, app: str, version: str) -> None:
        """Change the image through the API, as a pipeline does."""
        container = {"name": app, "image": image(app, version)}
        body = {"spec": {"template": {"spec": {"containers": [container]}}}}
        path = f"{self.cluster.url}/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{app}"
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        async with aiohttp.ClientSession() as session:
            query = {"fieldManager": "deploy-pipeline"}
            async with session.patch(path, params=query, data=json.dumps(body), headers=headers) as answer:
                answer.raise_for_status()

    def ready_pods(self, app: str, version: str) -> int:
        """How many pods of a version serve now."""
        return sum(1 for pod in self.services.pods() if pod.ready and pod.image == image(app, version))

    def current_image(self, app: str) -> str:
        """The image that the Deployment's template names now."""
        found = self.cluster.object("apps/v1", "deployments", app, NAMESPACE)
        assert found is not None, f"{app} is not deployed"
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def version(self, app: str) -> str:
        """The tag of that image."""
        return self.current_image(app).rpartition(":")[2]

    def settled(self, app: str) -> bool:
        """All pods are of the current template and available, as `kubectl rollout status` means it."""
        found = self.cluster.object("apps/v1", "deployments", app, NAMESPACE) or {}
        status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 0)
        counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
        seen = status.get("observedGeneration", 0) >= found.get("metadata", {}).get("generation", 1)
        return seen and counts == [wanted] * 3

    def rollbacks(self) -> int:
        """Patches of a template by Lastgood that the API server accepted (dry runs do not count)."""
        asked = self.cluster.faults.requests("PATCH", "/deployments/")
        return sum(
            1
            for request in asked
            if request.status == 200 and request.field_manager == "lastgood" and "dryRun" not in request.query
        )

    def write_config(self, mode: str = "auto", **policy: Any) -> Path:
        """The configuration of a daemon that lives in this world."""
        assert self.monitoring is not None, "the world is not running"
        path = self.folder / "lastgood.yaml"
        content = daemon_settings(
            state_dir=self.folder / "state",
            port=self.port,
            kubernetes={"url": self.cluster.url},
            monitoring=self.monitoring,
            pagerduty=self.pagerduty,
            slack=self.slack,
            policy={"modes": [{"namespaces": [NAMESPACE], "mode": mode}], **policy},
        )
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path


def daemon_settings(
    *,
    state_dir: Path,
    port: int,
    kubernetes: Mapping[str, str],
    monitoring: Monitoring,
    pagerduty: PagerDutyStandIn,
    slack: SlackStandIn,
    policy: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of a configuration with these peers, and the demo's policy but for what `policy` says."""
    return {
        "cluster": "sandbox",
        "state_dir": str(state_dir),
        "server": {"listen": f"127.0.0.1:{port}", "webhook_tokens": {"alertmanager": WEBHOOK_TOKEN}},
        "kubernetes": dict(kubernetes),
        "prometheus": {"url": monitoring.prometheus_url},
        "alertmanager": {"urls": [monitoring.alertmanager_url], "poll_interval": "2s", "settle": "1s"},
        "pagerduty": {"routing_key": ROUTING_KEY, "base_url": pagerduty.url},
        "slack": {"bot_token": slack.token, "channel": "C0INCIDENT", "base_url": f"{slack.url}/api"},
        "log": {"format": "json"},
        "policy": {**POLICY, **policy},
    }


def free_port() -> int:
    """A port that nobody listens on now; the daemon takes it a moment later."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until(what: str, holds: Callable[[], bool], seconds: float, step: float = 0.1) -> None:
    """Wait until `holds()`; raises TimeoutError naming `what` after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(step)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {seconds:.0f} s") from None
