"""What surrounds a daemon beside a real control plane: pods that serve, monitoring, PagerDuty and Slack.

Monitoring is the sandbox's stand-in; the pods of one app in one namespace serve as long as they are ready, and an image fails
where a test says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy.sandbox.monitoring import Monitoring, default_rules, kube_state_metrics, start_monitoring
from deploy.sandbox.services import Load, SampleServices, serve_metrics
from deploy.sandbox.vendors import PagerDutyStandIn, SlackStandIn
from deploy.sandbox.world import SCRAPE_SECONDS, WEBHOOK_TOKEN, daemon_settings, free_port
from handlers.pods import is_ready
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import Json, path

REQUESTS_PER_SECOND = 400.0
LOOK_SECONDS = 0.1
"""How often pods are read: a new one serves that late."""

DEADLINES: Mapping[str, str] = {"decide_deadline": "60s", "converge_deadline": "60s", "verify_deadline": "60s"}
"""Real controllers on a busy machine take longer than the demo's."""


@dataclass(kw_only=True)
class Surroundings:
    """All of it, running. `port` is where Alertmanager's webhook goes."""

    plane: ControlPlane
    namespace: str
    app: str
    port: int
    services: SampleServices = field(default_factory=SampleServices)
    pagerduty: PagerDutyStandIn = field(default_factory=PagerDutyStandIn)
    slack: SlackStandIn = field(default_factory=SlackStandIn)
    monitoring: Monitoring | None = None
    pods: list[Json] = field(default_factory=list)

    def settings(self, state_dir: Path, kubernetes: Mapping[str, str], **policy: Any) -> dict[str, Any]:
        """The content of a daemon's configuration, in `auto` for the namespace."""
        assert self.monitoring is not None, "it runs"
        modes = [{"namespaces": [self.namespace], "mode": "auto"}]
        return daemon_settings(
            state_dir=state_dir, port=self.port, kubernetes=kubernetes, monitoring=self.monitoring,
            pagerduty=self.pagerduty, slack=self.slack, policy={**DEADLINES, "modes": modes, **policy},
        )  # fmt: skip

    async def follow(self) -> None:
        """Lets the ready pods serve, for ever; with the API server away all goes on as it was."""
        serving: set[str] = set()
        while True:
            with suppress(OSError):
                serving = self._serve(serving, await asyncio.to_thread(self._read))
            await asyncio.sleep(LOOK_SECONDS)

    def _read(self) -> list[Json]:
        status, answer = self.plane.ask("GET", path(self.namespace, "pods"))
        return list(answer["items"]) if status == 200 else self.pods

    def _serve(self, before: set[str], pods: list[Json]) -> set[str]:
        self.pods = pods
        ready = {pod["metadata"]["name"]: pod for pod in pods if is_ready(pod)}
        for name, pod in ready.items():
            image, ip = pod["spec"]["containers"][0]["image"], pod["status"].get("podIP", "")
            self.services.pod_ready(self.namespace, name, app=self.app, image=image, ip=ip)
        for name in before - ready.keys():
            self.services.pod_gone(self.namespace, name)
        return set(ready)


@asynccontextmanager
async def surroundings(
    plane: ControlPlane, namespace: str, folder: Path, *, app: str, kind: str, port: int = 0
) -> AsyncIterator[Surroundings]:
    """Run them. The alert about errors names the app by the label `kind`, like "deployment"."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        made = Surroundings(plane=plane, namespace=namespace, app=app, port=port or free_port())
        made.services.load(namespace, app, Load(requests_per_second=REQUESTS_PER_SECOND))
        await enter(made.pagerduty)
        await enter(made.slack)
        metrics = await enter(serve_metrics(made.services, kube_state=lambda: kube_state_metrics(made.pods)))
        errors, crashing = default_rules(window_seconds=3.0, for_seconds=2.0)
        labels = {"severity": "critical", kind: "{{ $labels.app }}"}
        made.monitoring = await enter(
            start_monitoring(
                sd_url=f"{metrics}/sd/one-page", webhook_url=f"http://127.0.0.1:{made.port}/api/v1/alertmanager",
                webhook_token=WEBHOOK_TOKEN, workdir=folder, rules=(replace(errors, labels=labels), crashing),
                scrape_interval=SCRAPE_SECONDS, kind="stand-in",
            )
        )  # fmt: skip
        follower = asyncio.get_running_loop().create_task(made.follow())
        try:
            yield made
        finally:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
