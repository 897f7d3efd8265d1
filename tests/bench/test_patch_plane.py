"""From the webhook to the patch that a real API server has accepted, with the evidence at hand: p50 and p99."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import Results, program
from tests.bench.patch_plane import REPLICAS, WARM_UP, complete
from tests.bench.planes import newest
from tests.controlplane.plane import ControlPlane
from tests.controlplane.workloads import path, workload

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

Json = dict[str, Any]

INCIDENTS = 200
P99_MAX = 0.050
NAMESPACE = "bench"
ROLLED_OUT_SECONDS = 180.0


COLLECTED_AT = "400"
"""GOGC of API server, etcd and controllers. A collection takes some 80 ms of CPU, which on two cores stops everything else; in
production they have cores of their own. At Go's default of 100 one incident in twenty met one.
"""


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    """A control plane, with nothing beside it."""
    monkeypatch.setenv("GOGC", COLLECTED_AT)
    with ControlPlane(newest()) as running:
        yield running


def manifest(number: int) -> Json:
    """A Deployment that refers to two ConfigMaps and a Secret."""
    body = workload("Deployment", f"web-{number}", "shop:v1", replicas=REPLICAS)
    (container,) = body["spec"]["template"]["spec"]["containers"]
    container["env"] = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "colours", "key": "main"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "main"}}},
    ]
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}]
    return body


def asked(plane: ControlPlane, method: str, where: str, body: object, kind: str = "application/json") -> None:
    """A request that must succeed."""
    status, answer = plane.ask(method, where, body, kind=kind)
    assert 200 <= status <= 299, answer


def furnish(plane: ControlPlane, count: int) -> None:
    """So many Deployments, gone from v1 to v2."""
    asked(plane, "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    core = f"/api/v1/namespaces/{NAMESPACE}"
    for name in ("colours", "settings"):
        asked(plane, "POST", f"{core}/configmaps", {"metadata": {"name": name}, "data": {"main": "blue"}})
    asked(plane, "POST", f"{core}/secrets", {"metadata": {"name": "token"}, "stringData": {"main": "secret"}})
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "shop:v2"}]
    where = path(NAMESPACE, "deployments")
    steps: tuple[Callable[[int], None], ...] = (
        lambda number: asked(plane, "POST", where, manifest(number)),
        lambda number: asked(plane, "PATCH", f"{where}/web-{number}", change, "application/json-patch+json"),
    )
    with ThreadPoolExecutor(4) as threads:
        for revision, step in enumerate(steps, start=1):
            list(threads.map(step, range(count)))
            until_rolled_out(plane, count, f"shop:v{revision}")


def until_rolled_out(plane: ControlPlane, count: int, image: str) -> None:
    """All of them run this image only."""
    ends = time.monotonic() + ROLLED_OUT_SECONDS
    while True:
        listed = plane.ask("GET", path(NAMESPACE, "deployments"))[1]["items"]
        there = [one for one in listed if one["spec"]["template"]["spec"]["containers"][0]["image"] == image]
        if sum(map(complete, there)) == count:
            return
        assert time.monotonic() < ends, f"{image} is not rolled out everywhere"
        time.sleep(0.2)


def at(values: list[float], share: float) -> float:
    """The value below which that share of all lies, in milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1e3


def test_webhook_to_accepted_patch(plane: ControlPlane, tmp_path: Path, results: Results) -> None:
    """p99 of webhook → patch accepted is at most 50 ms on a real control plane, with countdown 0 and contrast measured."""
    furnish(plane, INCIDENTS + WARM_UP)
    who = (plane.url, plane.ca, plane.token("admin"), NAMESPACE)
    found = program("patch_plane", tmp_path, *who, INCIDENTS, timeout=480)
    took, bare = found["took"], found["bare"]
    p50, p99 = at(took, 0.5), at(took, 0.99)
    verdict = "met" if p99 <= P99_MAX * 1e3 else "**not met**"
    slowest = ", ".join(f"{what} {began:.0f}–{ended:.0f}" for what, began, ended in found["slowest"])
    results.add(
        "6. From webhook to accepted patch, real control plane",
        [
            f"{len(took)} incidents on Kubernetes {plane.minor}, one after the other, countdown 0, located and measured at once.",
            "The webhook comes over HTTP; journal, engine, the target's check, its dry run and the guards are the daemon's.",
            "API server, etcd, controllers and daemon share this machine. *Bare*: the same requests to the API server in the",
            "same order, as many at once, by our client without a daemon around it, before each incident.",
            f"Go programs collect garbage at GOGC={COLLECTED_AT}: one of the API server takes both cores for some 40 ms.",
            "",
            f"- Webhook sent → patch accepted: p50 **{p50:.1f} ms**, p99 **{p99:.1f} ms** (at most {P99_MAX * 1e3:.0f} ms):",
            f"  {verdict}. Bare: p50 {at(bare, 0.5):.1f} ms, p99 {at(bare, 0.99):.1f} ms; ratio of the medians",
            f"  **{p50 / at(bare, 0.5):.2f}**.",
            f"- Webhook answered, on disk: p50 {at(found['answered'], 0.5):.1f} ms, p99 {at(found['answered'], 0.99):.1f} ms.",
            f"- CPU of the daemon's process per incident: p50 {at(found['cpu'], 0.5):.1f} ms.",
            f"- The slowest, {max(took) * 1e3:.0f} ms, in milliseconds after its webhook: {slowest}.",
        ],
    )
    assert len(took) == INCIDENTS
    assert p99 <= P99_MAX * 1e3
