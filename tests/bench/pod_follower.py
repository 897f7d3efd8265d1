"""Follows the pods of a real API server: those that are ready serve and are scraped, and the moments of each trial are noted.

The pods of the control plane are simulated, so this stands in for their processes: one exporter for all of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from deploy.sandbox.monitoring import kube_state_metrics
from deploy.sandbox.services import SampleServices
from tests.controlplane.node_api import Api

Json = dict[str, Any]

SYSTEM = ("kube-", "default", "lastgood")


@dataclass(kw_only=True)
class Seen:
    """What became of the bad revision of one namespace; unix seconds, None for what has not happened."""

    bad_there: float | None = None
    bad_ready: float | None = None
    bad_gone: float | None = None
    bad: set[str] = field(default_factory=set)
    bad_in_all: int = 0
    good_ready: set[str] = field(default_factory=set)

    def note(self, event: str, pod: Json, now: float, *, is_bad: bool) -> None:
        """One event of a pod."""
        name, gone = pod["metadata"]["name"], event == "DELETED"
        ready = is_ready(pod) and not gone
        if not is_bad:
            (self.good_ready.add if ready else self.good_ready.discard)(name)
        elif gone:
            self.bad.discard(name)
            self.bad_gone = None if self.bad else now
        else:
            self.bad_there = self.bad_there or now
            self.bad_gone = None
            self.bad_in_all += name not in self.bad
            self.bad.add(name)
            self.bad_ready = self.bad_ready or (now if ready else None)


def is_ready(pod: Json) -> bool:
    """It gets traffic."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ())


class PodFollower:
    """One watch over all pods. `bad` is the image's tag whose pods are counted as bad by the namespace's `Seen`."""

    def __init__(self, api: Api, services: SampleServices) -> None:
        self._api = api
        self._services = services
        self._pods: dict[tuple[str, str], Json] = {}
        self.seen: dict[str, Seen] = {}

    def kube_state(self) -> str:
        """What kube-state-metrics says of the pods."""
        return kube_state_metrics(self._pods.values())

    async def run(self) -> None:
        """For ever."""
        _, listed = await self._api.ask("GET", "/api/v1/pods")
        assert not listed["items"], "an empty cluster is followed from its beginning"
        version = listed["metadata"]["resourceVersion"]
        while True:
            query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
            async for event in self._api.watch("/api/v1/pods", **query):
                assert event["type"] != "ERROR", event
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._saw(event["type"], event["object"], time.time())

    def _saw(self, event: str, pod: Json, now: float) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        image = pod["spec"]["containers"][0]["image"]
        is_bad = not image.endswith(":v1")
        self.seen.setdefault(namespace, Seen()).note(event, pod, now, is_bad=is_bad)
        if event == "DELETED":
            self._pods.pop((namespace, name), None)
            self._services.pod_gone(namespace, name)
            return
        self._pods[namespace, name] = pod
        if is_ready(pod):
            app = pod["metadata"]["labels"]["app"]
            self._services.pod_ready(namespace, name, app=app, image=image, ip=pod["status"].get("podIP", ""))
        else:
            self._services.pod_unready(namespace, name)
