"""Ten minutes of what meshes and traces tell of calls, with the same truth: web calls cart and pay, cart calls the set db.

Each source speaks of a namespace of its own, and beside what counts stands what must not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from daemon.core.model import Revision, Workload, WorkloadView
from tests.core.builders import V1, a_view
from tests.handlers.metric_families import counter
from tests.handlers.remote_write import Series

CALLS = (("web", "cart"), ("web", "pay"), ("cart", "db"))
SPACES = ("istio", "linkerd", "traces")
SETS = ("db",)


def workload(namespace: str, name: str) -> Workload:
    return Workload(namespace=namespace, kind="StatefulSet" if name in SETS else "Deployment", name=name)


def view(named: Workload, current: Revision | None = None, **changes: Any) -> WorkloadView:
    """The workload, as the cluster shows it."""
    values: dict[str, Any] = {"workload": named, "uid": f"uid-{named.key}", "history": ()}
    return a_view(current or replace(V1, uid=f"rs-{named.key}"), **(values | changes))


def cluster() -> list[WorkloadView]:
    """Four workloads in each namespace."""
    return [view(workload(space, name)) for space in SPACES for name in ("web", "cart", "pay", "db")]


def istio_labels(caller: str, callee: str, **more: str) -> dict[str, str]:
    return {
        "source_workload": caller,
        "source_workload_namespace": "istio" if caller != "unknown" else caller,
        "destination_workload": callee,
        "destination_workload_namespace": "istio" if callee != "unknown" else callee,
        **more,
    }


def istio(now: datetime) -> Iterator[Series]:
    """Requests are reported by both sides; the database is only connected to. One call is over since long."""
    requests = "istio_requests_total"
    for reporter in ("source", "destination"):
        for code in ("200", "503"):
            yield counter(
                now, requests, istio_labels("web", "cart", reporter=reporter, response_code=code, pod="a"), 5.0
            )
    yield counter(now, requests, istio_labels("web", "pay", reporter="waypoint"), 5.0)
    yield counter(now, "istio_tcp_connections_opened_total", istio_labels("cart", "db", reporter="source"), 0.1)
    yield counter(now, requests, istio_labels("unknown", "web", reporter="destination"), 50.0)
    yield counter(now, requests, istio_labels("web", "unknown", reporter="source"), 50.0)
    yield counter(now, requests, istio_labels("pay", "web", reporter="destination"), 0.0)


def linkerd(now: datetime) -> Iterator[Series]:
    """Outbound series name both ends; the inbound ones only the pod itself."""
    for caller, callee in (*CALLS[:2], ("web", "web")):
        for pod in ("a", "b"):
            ends = {"namespace": "linkerd", "deployment": caller, "dst_namespace": "linkerd", "dst_deployment": callee}
            yield counter(now, "response_total", {**ends, "direction": "outbound", "pod": pod}, 5.0)
    tcp = {
        "namespace": "linkerd",
        "deployment": "cart",
        "dst_namespace": "linkerd",
        "dst_statefulset": "db",
        "direction": "outbound",
    }
    yield counter(now, "tcp_open_total", {**tcp, "peer": "dst"}, 0.1)
    yield counter(now, "tcp_open_total", {**tcp, "deployment": "pay", "peer": "src"}, 0.1)
    yield counter(
        now, "response_total", {"namespace": "linkerd", "deployment": "pay", "direction": "inbound", "pod": "c"}, 5.0
    )
    yield counter(
        now, "response_total", {"namespace": "linkerd", "deployment": "pay", "direction": "outbound", "pod": "c"}, 5.0
    )


def traces(now: datetime) -> Iterator[Series]:
    """With the namespace as a dimension, with the workload as one, and with neither; a database is no service."""
    name, spaces = "traces_service_graph_request_total", {}
    for end in ("client", "server"):
        spaces[f"{end}_k8s_namespace_name"] = "traces"
    yield counter(now, name, {"client": "web", "server": "cart", **spaces}, 5.0)
    yield counter(now, name, {"client": "Web", "client_k8s_deployment_name": "web", "server": "pay", **spaces}, 5.0)
    named: Mapping[str, str] = {"server": "The DB", "server_k8s_statefulset_name": "db"}
    yield counter(now, name, {"client": "cart", **named, **spaces}, 5.0)
    yield counter(now, name, {"client": "pay", "server": "web", "connection_type": "database", **spaces}, 5.0)
    yield counter(now, name, {"client": "pay", "server": "cart"}, 5.0)  # in three namespaces


def everything(now: datetime) -> Iterator[Series]:
    yield from istio(now)
    yield from linkerd(now)
    yield from traces(now)
