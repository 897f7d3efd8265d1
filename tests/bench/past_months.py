"""A month of a large cluster as OpenMetrics text, two hours a file, for promtool: what a backtest of a real team would read.

Pods and their signals are only written around rollouts, and ReplicaSets sparsely elsewhere: what nobody reads costs a query
nothing but the index, and the whole would be half a billion samples.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

BLOCK = 7200
"""Seconds of one block of Prometheus, and of one file."""

START = 1_740_787_200
"""2025-03-01T00:00:00Z, on a block's border."""

DAYS, WORKLOADS, NAMESPACES, ROLLOUTS, REPLICAS, STEP, SPARSE = 30, 200, 10, 4, 3, 60, 240
"""`ROLLOUTS` per workload, one a week; `SPARSE` seconds between samples that only have to be there."""

BEFORE, AFTER = 20 * 60, 135 * 60
OVERLAP = 10 * 60
"""So long old and new pods serve together."""

BAD_EVERY = 10
BUCKETS = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """One rollout: from when on, of whom, and whether it fails every fifth request."""

    at: int
    namespace: str
    name: str
    number: int
    bad: bool

    def replica_set(self, number: int) -> str:
        return f"{self.name}-{number:05d}c6d8"

    def pods(self, number: int) -> list[str]:
        return [f"{self.replica_set(number)}-b{each:04d}" for each in range(REPLICAS)]


def shipped() -> list[Shipped]:
    """All rollouts, spread over the month."""
    found = []
    span = DAYS * 86400 // ROLLOUTS
    for workload in range(WORKLOADS):
        for number in range(ROLLOUTS):
            shift = (workload * 7919 + number * 104_729) % (span - AFTER - BEFORE)
            at = START + number * span + BEFORE + shift
            at -= at % STEP
            count = workload * ROLLOUTS + number
            found.append(
                Shipped(
                    at=at,
                    namespace=f"team-{workload % NAMESPACES}",
                    name=f"service-{workload:03d}",
                    number=number + 1,
                    bad=count % BAD_EVERY == 3,
                )
            )
    return sorted(found, key=lambda each: each.at)


def fill(folder: Path, promtool: Path) -> Path:
    """The folder of a month's blocks; a few minutes."""
    blocks = folder / "tsdb"
    blocks.mkdir()
    rollouts = shipped()

    def one(number: int) -> None:
        begin = START + number * BLOCK
        source = folder / f"{number}.om"
        with source.open("w", encoding="ascii") as file:
            file.writelines(_block(rollouts, begin))
            file.write("# EOF\n")
        command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(blocks)]
        subprocess.run(command, check=True, capture_output=True)
        source.unlink()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(DAYS * 86400 // BLOCK)))
    return blocks


def _block(rollouts: list[Shipped], begin: int) -> Iterator[str]:
    end = begin + BLOCK
    yield from _points("up", {"job": "a"}, range(begin, end, 15), "1")
    yield from _alert({"alertname": "Watchdog"}, START, range(begin, end, STEP))
    for each in rollouts:
        yield from _sets(each, begin, end)
        if each.at - BEFORE < end and begin < each.at + AFTER:
            yield from _window(each, begin, end)


def _sets(each: Shipped, begin: int, end: int) -> Iterator[str]:
    """The ReplicaSet that this rollout made, and that of the first revision; it has pods until the next is done."""
    following = _next(each)
    for number in [0, 1] if each.number == 1 else [each.number]:
        since = START if number == 0 else each.at
        replaced = each.at if number == 0 else following
        until = START + 2 * DAYS * 86400 if replaced is None else replaced + OVERLAP
        near = any(abs(moment - begin) < BLOCK + AFTER for moment in (each.at, following or each.at))
        times = [at for at in range(begin, end, STEP if near else SPARSE) if at >= since]
        if not times:
            continue
        place = {"namespace": each.namespace, "replicaset": each.replica_set(number)}
        owner = {"owner_kind": "Deployment", "owner_name": each.name, "owner_is_controller": "true"}
        yield from _points("kube_replicaset_owner", {**place, **owner}, times, "1")
        yield from _points("kube_replicaset_created", place, times, str(since))
        for metric, shift in (("spec", 0), ("status_ready", 0 if number == 0 else STEP)):
            name = _name(f"kube_replicaset_{metric}_replicas", place)
            for at in times:
                yield f"{name} {REPLICAS if since + shift <= at < until else 0} {at}\n"


_NEXT: dict[tuple[str, int], int] = {}


def _next(each: Shipped) -> int | None:
    """When the workload's following rollout began."""
    if not _NEXT:
        _NEXT.update({(other.name, other.number): other.at for other in shipped()})
    return _NEXT.get((each.name, each.number + 1))


def _window(each: Shipped, begin: int, end: int) -> Iterator[str]:
    first, last = max(begin, each.at - BEFORE), min(end, each.at + AFTER)
    if each.bad:
        labels = {"alertname": "HighErrors", "namespace": each.namespace, "deployment": each.name}
        yield from _alert(labels, each.at + 240, range(max(first, each.at + 360), min(last, each.at + 3600), STEP))
    for number, since, until in (
        (each.number - 1, each.at - 10 * 86400, each.at + OVERLAP),
        (each.number, each.at, each.at + 90 * 86400),
    ):
        times = [at for at in range(first, last, STEP) if since <= at < until]
        gone = until if first <= until < last else None
        ratio = 0.2 if each.bad and number == each.number else 0.001
        for pod in each.pods(number) if times else ():
            yield from _pod(each, pod, number, times, since, gone)
            yield from _signals(each.namespace, pod, times, since, ratio)


def _pod(each: Shipped, pod: str, number: int, times: list[int], since: int, gone: int | None) -> Iterator[str]:
    place = {"namespace": each.namespace, "pod": pod, "uid": pod}
    container = {**place, "container": "app"}
    owner = {"owner_kind": "ReplicaSet", "owner_name": each.replica_set(number), "owner_is_controller": "true"}
    limit = {**container, "unit": "byte", "resource": "memory"}
    constant = (
        ("kube_pod_owner", {**place, **owner}, "1"),
        ("kube_pod_created", place, str(since)),
        ("kube_pod_status_ready", {**place, "condition": "true"}, "1"),
        ("kube_pod_status_ready", {**place, "condition": "false"}, "0"),
        ("kube_pod_container_status_restarts_total", container, "0"),
        ("kube_pod_container_resource_limits", limit, "1000"),
    )
    for metric, labels, value in constant:
        yield from _points(metric, labels, times, value)
        if gone is not None:
            yield f"{_name(metric, labels)} NaN {gone}\n"


def _signals(namespace: str, pod: str, times: list[int], since: int, ratio: float) -> Iterator[str]:
    place = {"namespace": namespace, "pod": pod, "container": "app"}
    counters = [("http_requests_total", {**place, "code": "200"}, 20 * (1 - ratio))]
    counters.append(("http_requests_total", {**place, "code": "500"}, 20 * ratio))
    for index, bound in enumerate(BUCKETS):
        share = min(1.0, index / 8)
        counters.append(("http_request_duration_seconds_bucket", {**place, "le": bound}, 20 * share))
    counters.append(("container_cpu_cfs_periods_total", place, 10.0))
    counters.append(("container_cpu_cfs_throttled_periods_total", place, 1.0))
    for metric, labels, rate in counters:
        name = _name(metric, labels)
        for at in times:
            yield f"{name} {rate * (at - since):.1f} {at}\n"
    yield from _points("container_memory_working_set_bytes", place, times, "500")


def _alert(labels: dict[str, str], since: int, times: range) -> Iterator[str]:
    yield from _points("ALERTS", {**labels, "alertstate": "firing"}, times, "1")
    yield from _points("ALERTS_FOR_STATE", labels, times, str(since))


def _name(metric: str, labels: dict[str, str]) -> str:
    quoted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{metric}{{{quoted}}}"


def _points(metric: str, labels: dict[str, str], times: range | list[int], value: str) -> Iterator[str]:
    name = _name(metric, labels)
    for at in times:
        yield f"{name} {value} {at}\n"
