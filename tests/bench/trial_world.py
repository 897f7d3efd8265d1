"""Everything real but the vendors and the pods' processes: control plane, Prometheus, Alertmanager, the daemon; and the floor.

The daemon runs under the roles of deploy/kubernetes/act, as it does where people install it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from deploy.sandbox.kube import Timing
from deploy.sandbox.monitoring import Rule, default_rules, start_monitoring
from deploy.sandbox.monitoring.rules import Routing
from deploy.sandbox.process import DaemonProcess
from deploy.sandbox.services import Load, SampleServices, serve_metrics
from deploy.sandbox.vendors import PagerDutyStandIn, SlackStandIn
from deploy.sandbox.world import ROUTING_KEY, WEBHOOK_TOKEN, free_port, until
from tests.bench.conftest import FOLDER, ROOT, environment
from tests.bench.pod_follower import PodFollower, Seen
from tests.bench.webhook_tap import Tap, tapped
from tests.controlplane import installed
from tests.controlplane.builds import Binaries
from tests.controlplane.installed import ACCOUNT
from tests.controlplane.node_api import Api
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import workload
from tests.packaging.chart import build

Json = dict[str, Any]

REPLICAS = 10
REQUESTS_PER_SECOND = 400.0
ERROR_RATIO = 0.4
OURS = "ours-"
SETTLE_SECONDS = 90.0
ENDS = ("recovered", "escalated", "superseded", "dismissed", "closed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How often is looked, what the daemon waits for, how long pods take, and their `minReadySeconds`; seconds."""

    scrape: float
    rules: tuple[Rule, ...]
    routing: Routing
    policy: Mapping[str, Any]
    pod_start: float
    pod_end: float = 0.5
    pace: int = 0


def quick(pod_start: float) -> Limits:
    """Issue 4's: countdown 0, scrape 1 s, persistence 2 (of 5, the default)."""
    policy = {
        "soak": "4s", "sample_interval": "1s", "signal_window": "4s", "assumed_for": "0s", "blame_window": "60s",
        "countdown": "0s", "hold": "3s", "decide_deadline": "60s", "approve_deadline": "60s",
        "converge_deadline": "60s", "verify_deadline": "60s",
        "rollbacks_per_cluster_hour": 1000,
    }  # fmt: skip
    rules = default_rules(window_seconds=4.0, for_seconds=0.0)
    return Limits(scrape=1.0, rules=rules, routing=Routing(), policy=policy, pod_start=pod_start)


def shipped(pod_start: float) -> Limits:
    """The defaults, and the routing that deploy/alerting names. Only the proof beforehand is had in a minute, not 15.

    A rollout that is over within seconds leaves nothing to compare at a scrape each 15 s, and is proposed to a person: so
    each new pod has half a minute before the next ones are replaced (`minReadySeconds`).
    """
    routing = Routing(group_wait_seconds=5.0, group_interval_seconds=15.0)
    rules = default_rules(window_seconds=60.0, for_seconds=120.0)
    return Limits(scrape=15.0, rules=rules, routing=routing, policy={"soak": "60s"}, pod_start=pod_start, pace=30)


@dataclass(kw_only=True)
class TrialWorld:
    """All of it, running."""

    plane: ControlPlane
    api: Api
    follower: PodFollower
    services: SampleServices
    tap: Tap
    daemon: DaemonProcess
    pace: int
    verified: set[str] = field(default_factory=set)
    ended: dict[str, Json] = field(default_factory=dict)
    ready: bool = False

    async def follow_log(self) -> None:
        """Read what the daemon says, for ever."""
        while True:
            for line in self.daemon.new_lines():
                self._note(line)
            await asyncio.sleep(0.1)

    def _note(self, line: Json) -> None:
        self.ready = self.ready or line.get("event") == "ready"
        namespace = str(line.get("lastgood.workload")).partition("/")[0]
        if line.get("event") == "revision" and line.get("what") == "verified":
            self.verified.add(namespace)
        elif line.get("event") == "incident" and line.get("phase") in ENDS:
            self.ended.setdefault(namespace, line)  # what follows a clearing away is none of the trial

    def seen(self, namespace: str) -> Seen:
        """What became of the namespace's pods."""
        return self.follower.seen.setdefault(namespace, Seen())

    async def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
        """One request as the admin; what is refused is a mistake of the trial."""
        status, answer = await self.api.ask(method, path, body, kind=kind)
        assert 200 <= status <= 299, answer
        return answer

    async def settle(self, namespace: str) -> None:
        """A namespace with v1 of `web`, all of it ready, and proven where the daemon is to act on it."""
        self.services.load(namespace, "web", Load(requests_per_second=REQUESTS_PER_SECOND))
        await self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        settings = {"metadata": {"name": "settings"}, "data": {"greeting": "hello"}}
        await self.ask("POST", f"/api/v1/namespaces/{namespace}/configmaps", settings)
        body = workload("Deployment", "web", "shop:v1", replicas=REPLICAS, minReadySeconds=self.pace)
        (container,) = body["spec"]["template"]["spec"]["containers"]
        container["envFrom"] = [{"configMapRef": {"name": "settings"}}]
        await self.ask("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body)
        await until(f"{namespace} serves", lambda: len(self.seen(namespace).good_ready) == REPLICAS, SETTLE_SECONDS)
        if namespace.startswith(OURS):
            await until(f"{namespace} is proven", lambda: namespace in self.verified, 3 * SETTLE_SECONDS)

    async def roll_out(self, namespace: str, tag: str) -> None:
        """A bad version, as a pipeline rolls it out."""
        ops = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": f"shop:{tag}"}]
        where = f"/apis/apps/v1/namespaces/{namespace}/deployments/web?fieldManager=pipeline"
        await self.ask("PATCH", where, ops, "application/json-patch+json")

    async def clear_away(self, namespace: str) -> None:
        """Its load ends, and so do its pods."""
        self.services.load(namespace, "web", Load(requests_per_second=0))
        await self.ask("DELETE", f"/api/v1/namespaces/{namespace}")

    def patches(self) -> dict[str, float]:
        """When the API server had taken the template of each namespace's `web` back, by its own audit log."""
        found: dict[str, float] = {}
        for line in self.plane.audit_log.read_text().splitlines():
            if 'fieldManager=lastgood"' in line or 'fieldManager=undo-at-once"' in line:
                entry = json.loads(line)
                tried = "dryRun" in entry["requestURI"] or entry["stage"] != "ResponseComplete"
                if not tried and entry["responseStatus"]["code"] == 200:
                    at = datetime.fromisoformat(entry["stageTimestamp"]).timestamp()
                    found.setdefault(entry["objectRef"]["namespace"], at)
        return found


def write_config(folder: Path, plane: ControlPlane, limits: Limits, port: int, urls: Mapping[str, str]) -> Path:
    """The daemon's configuration."""
    content = {
        "cluster": "bench",
        "state_dir": str(folder / "state"),
        "server": {"listen": f"127.0.0.1:{port}", "webhook_tokens": {"alertmanager": WEBHOOK_TOKEN}},
        "kubernetes": {"kubeconfig": str(plane.kubeconfig(ACCOUNT))},
        "prometheus": {"url": urls["prometheus"]},
        "alertmanager": {"urls": [urls["alertmanager"]], "settle": "1s"},  # it is new, and nothing fires yet
        "pagerduty": {"routing_key": ROUTING_KEY, "base_url": urls["pagerduty"]},
        "slack": {"bot_token": urls["slack_token"], "channel": "C0INCIDENT", "base_url": f"{urls['slack']}/api"},
        "log": {"format": "json"},
        "policy": {**limits.policy, "modes": [{"namespaces": [f"{OURS}*"], "mode": "auto"}]},
    }
    path = folder / "lastgood.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def install(plane: ControlPlane) -> None:
    """The account and its roles, as in deploy/kubernetes/act."""
    assert plane.ask("POST", "/api/v1/namespaces", {"metadata": {"name": installed.NAMESPACE}})[0] == 201
    installed.install(plane, build("act"))


@asynccontextmanager
async def floor_script(plane: ControlPlane) -> AsyncIterator[str]:
    """The script runs; its address."""
    program = (sys.executable, str(FOLDER / "undo_at_once.py"), plane.url, str(plane.ca), plane.token("admin"))
    process = await asyncio.create_subprocess_exec(
        *program, stdout=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def follows(work: Callable[[], Any]) -> AsyncIterator[None]:
    """Something runs while the block does; that it ended by itself is an error at the block's end."""
    task = asyncio.get_running_loop().create_task(work())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def trial_world(folder: Path, binaries: Binaries, limits: Limits) -> AsyncIterator[TrialWorld]:
    """Everything runs, and the daemon is ready."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        timing = Timing(start=limits.pod_start, termination=limits.pod_end, backoff=10.0, backoff_max=300.0)
        plane = await enter(ControlPlane(binaries, timing=timing, audit=True))
        await asyncio.to_thread(install, plane)
        headers = {"Authorization": f"Bearer {plane.token('admin')}"}
        connector = aiohttp.TCPConnector(ssl=plane.ssl_context())
        session = await enter(aiohttp.ClientSession(headers=headers, connector=connector, read_bufsize=2**22))
        api, services = Api(session=session, url=plane.url), SampleServices()
        services.fault(image="shop:v2", error_ratio=ERROR_RATIO)
        follower = PodFollower(api, services)
        await enter(follows(follower.run))
        metrics = await enter(serve_metrics(services, kube_state=follower.kube_state))
        port = free_port()
        tap = await enter(tapped(f"http://127.0.0.1:{port}", await enter(floor_script(plane))))
        pagerduty, slack = await enter(PagerDutyStandIn()), await enter(SlackStandIn())
        monitoring = await enter(
            start_monitoring(
                sd_url=f"{metrics}/sd/one-page", webhook_url=f"{tap.url}/api/v1/alertmanager",
                webhook_token=WEBHOOK_TOKEN, workdir=folder, rules=limits.rules, scrape_interval=limits.scrape,
                routing=limits.routing, kind="real",
            )
        )  # fmt: skip
        urls = {
            "prometheus": monitoring.prometheus_url, "alertmanager": monitoring.alertmanager_url,
            "pagerduty": pagerduty.url, "slack": slack.url, "slack_token": slack.token,
        }  # fmt: skip
        config = await asyncio.to_thread(write_config, folder, plane, limits, port, urls)
        daemon = DaemonProcess(config=config, log_path=folder / "daemon.log")
        world = TrialWorld(
            plane=plane, api=api, follower=follower, services=services, tap=tap, daemon=daemon, pace=limits.pace
        )  # fmt: skip
        await enter(follows(world.follow_log))
        await daemon.start()
        stack.push_async_callback(daemon.stop)
        await until("the daemon is ready", lambda: world.ready or not daemon.running, 60.0)
        assert daemon.running, daemon.log_end()
        yield world
