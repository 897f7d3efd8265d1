"""Part of the composition root: what `lastgood preflight` looks at."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from config.settings import Settings
from daemon import assembly
from daemon.core.policy import Policy
from daemon.ports import Clock
from daemon.runtime.engine import Engine
from daemon.runtime.telemetry import Metrics
from handlers.cache import ClusterCache
from handlers.call_graph import CallGraph
from handlers.kube import KubeClient
from handlers.outbound.locate import LocateRunner
from handlers.outbound.targets import TargetChecker
from handlers.preflight.subject import Configured, Sources
from handlers.sampling import Sampler


def sources(
    settings: Settings,
    *,
    engine: Engine,
    policy: Callable[[], Policy],
    clock: Clock,
    metrics: Metrics,
    kube: KubeClient,
    cache: ClusterCache,
    outside: assembly.Clients,
    watch_age: Callable[[], float],
    calls: Callable[[], CallGraph | None],
) -> Sources:
    """The daemon's own clients and caches, so that what is measured is what a verdict would be made of."""
    locate = LocateRunner(cache, outside.prometheus, Sampler(outside.prometheus, policy), clock)
    return Sources(
        reader=engine,
        policy=policy,
        clock=clock,
        cache=cache,
        signals=outside.prometheus,
        rights=kube,
        alertmanager=outside.alertmanager,
        locate=locate.run,
        check=TargetChecker(kube).run,
        watch_age=watch_age,
        calls=calls,
        webhooks=lambda: _webhooks(metrics),
        free_bytes=lambda: shutil.disk_usage(settings.state_dir).free,
        configured=Configured(
            pagerduty=settings.pagerduty.is_set,
            slack=settings.slack.is_set,
            buttons=settings.slack.interactions != "off",
            webhook_address=_address(settings),
        ),
    )


def _webhooks(metrics: Metrics) -> int:
    labels = {"source": "alertmanager", "result": "accepted"}
    return int(metrics.registry.get_sample_value("lastgood_intake_total", labels) or 0)


def _address(settings: Settings) -> str:
    """Where Alertmanager could send to; a daemon that listens everywhere does not know how others name it."""
    known = settings.server.host not in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return settings.server.listen if known else f"LASTGOOD:{settings.server.port}"
