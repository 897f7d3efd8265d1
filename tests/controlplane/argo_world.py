"""A daemon process beside the real controller of Argo Rollouts, under the roles of deploy/kubernetes/act.

Monitoring is the sandbox's stand-in; the pods of the Rollout serve as long as they are ready, and one image fails.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from deploy.sandbox.monitoring import default_rules, kube_state_metrics, start_monitoring
from deploy.sandbox.process import REPOSITORY, DaemonProcess, bare_environment
from deploy.sandbox.services import Load, SampleServices, serve_metrics
from deploy.sandbox.vendors import PagerDutyStandIn, SlackStandIn
from deploy.sandbox.world import POLICY, ROUTING_KEY, SCRAPE_SECONDS, WEBHOOK_TOKEN, free_port, until
from handlers.pods import is_ready
from tests.controlplane.argo_player import Shop
from tests.controlplane.installed import ACCOUNT, lastgood_namespace
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path
from tests.packaging.chart import build

REQUESTS_PER_SECOND = 400.0
SECONDS = 120.0
"""For anything that daemon, controller and simulated nodes do together; ten on an idle machine."""

PLACES = {
    "ServiceAccount": "/api/v1/namespaces/lastgood/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


@dataclass(kw_only=True)
class ArgoWorld:
    """All of it, running. `verified` and `phases` are what the daemon's log told of revisions and incidents."""

    shop: Shop
    services: SampleServices
    pagerduty: PagerDutyStandIn
    daemon: DaemonProcess
    pods: list[Json] = field(default_factory=list)
    events: set[str] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)
    phases: list[str] = field(default_factory=list)

    async def follow(self) -> None:
        """Lets the ready pods serve, and reads what the daemon says; for ever."""
        serving: set[str] = set()
        while True:
            found = await asyncio.to_thread(self.shop.ask, "GET", path(self.shop.namespace, "pods"))
            self.pods = found["items"]
            ready = {pod["metadata"]["name"]: pod for pod in self.pods if is_ready(pod)}
            for name, pod in ready.items():
                image, ip = pod["spec"]["containers"][0]["image"], pod["status"].get("podIP", "")
                self.services.pod_ready(self.shop.namespace, name, app="shop", image=image, ip=ip)
            for name in serving - ready.keys():
                self.services.pod_gone(self.shop.namespace, name)
            serving = set(ready)
            for line in self.daemon.new_lines():
                self._note(line)
            await asyncio.sleep(0.1)

    def _note(self, line: Json) -> None:
        self.events.add(str(line.get("event")))
        if line.get("event") == "revision" and line.get("what") == "verified":
            self.verified.add(str(line.get("revision")).partition(" ")[0])
        elif line.get("event") == "incident":
            self.phases.append(str(line.get("phase")))

    def images(self) -> set[str]:
        """What pods run that are not going."""
        here = [pod for pod in self.pods if "deletionTimestamp" not in pod["metadata"]]
        return {pod["spec"]["containers"][0]["image"] for pod in here}

    async def waits(self, what: str, holds: Callable[[], bool]) -> None:
        """Until `holds()`; what the daemon said last is in the error."""
        try:
            await until(what, holds, SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {self.phases}\n{self.daemon.log_end(20)}") from None

    async def types(self, *words: str) -> tuple[int, str]:
        """Exit code and output of a command line with the daemon's configuration."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "daemon", *words, "--config", str(self.daemon.config),
            cwd=REPOSITORY, env=bare_environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(SECONDS):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


def _install(plane: ControlPlane, objects: Iterable[Json]) -> None:
    for each in objects:
        if each["kind"] in PLACES:
            status, answer = plane.ask("POST", PLACES[each["kind"]], each)
            assert status == 201, answer


def _config(folder: Path, shop: Shop, urls: Json) -> Path:
    content = {
        "cluster": "sandbox",
        "state_dir": str(folder / "state"),
        "server": {"listen": f"127.0.0.1:{urls['port']}", "webhook_tokens": {"alertmanager": WEBHOOK_TOKEN}},
        "kubernetes": {"kubeconfig": str(shop.plane.kubeconfig(ACCOUNT))},
        "prometheus": {"url": urls["prometheus"]},
        "alertmanager": {"urls": [urls["alertmanager"]], "poll_interval": "2s", "settle": "1s"},
        "pagerduty": {"routing_key": ROUTING_KEY, "base_url": urls["pagerduty"]},
        "slack": {"bot_token": urls["slack_token"], "channel": "C0INCIDENT", "base_url": f"{urls['slack']}/api"},
        "log": {"format": "json"},
        "policy": {
            **POLICY, "decide_deadline": "60s", "converge_deadline": "60s", "verify_deadline": "60s",
            "modes": [{"namespaces": [shop.namespace], "mode": "auto"}],
        },
    }  # fmt: skip
    file = folder / "lastgood.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))
    return file


@asynccontextmanager
async def argo_world(shop: Shop, folder: Path, objects: Iterable[Json] | None = None) -> AsyncIterator[ArgoWorld]:
    """The daemon is started and ready; with the roles in these objects where there are some."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        stack.enter_context(lastgood_namespace(shop.plane, folder))
        await asyncio.to_thread(_install, shop.plane, build("act") if objects is None else objects)
        services = SampleServices()
        services.load(shop.namespace, "shop", Load(requests_per_second=REQUESTS_PER_SECOND))
        pagerduty, slack = await enter(PagerDutyStandIn()), await enter(SlackStandIn())
        daemon = DaemonProcess(config=folder / "lastgood.yaml", log_path=folder / "daemon.log")
        world = ArgoWorld(shop=shop, services=services, pagerduty=pagerduty, daemon=daemon)
        metrics = await enter(serve_metrics(services, kube_state=lambda: kube_state_metrics(world.pods)))
        port = free_port()
        errors, crashing = default_rules(window_seconds=3.0, for_seconds=2.0)
        labels = {"severity": "critical", "rollout": "{{ $labels.app }}"}
        monitoring = await enter(
            start_monitoring(
                sd_url=f"{metrics}/sd/one-page", webhook_url=f"http://127.0.0.1:{port}/api/v1/alertmanager",
                webhook_token=WEBHOOK_TOKEN, workdir=folder, rules=(replace(errors, labels=labels), crashing),
                scrape_interval=SCRAPE_SECONDS, kind="stand-in",
            )
        )  # fmt: skip
        urls = {
            "port": port, "prometheus": monitoring.prometheus_url, "alertmanager": monitoring.alertmanager_url,
            "pagerduty": pagerduty.url, "slack": slack.url, "slack_token": slack.token,
        }  # fmt: skip
        _config(folder, shop, urls)
        follower = asyncio.get_running_loop().create_task(world.follow())
        await daemon.start()
        try:
            await world.waits("the daemon is ready", lambda: "ready" in world.events)
            yield world
        finally:
            await daemon.stop()
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
