"""Locate: labels of meshes, of kubernetes-mixin and of OpenTelemetry, and alerts that have lost their namespace."""

from __future__ import annotations

import pytest

from daemon.core.model import Rung, Workload
from handlers.backtest.cluster import RecordedCluster
from handlers.ladder import place
from tests.handlers.measuring_world import NOW, WEB, Scene, alert
from tests.handlers.test_locate import CART, GRAFANA, IN_SHOP, KSM_TARGET, SHOP, located, shop

PAY = Workload(namespace="pay", kind="StatefulSet", name="ledger")
AGENT = Workload(namespace="shop", kind="DaemonSet", name="agent")
GATEWAY = Workload(namespace="istio-system", kind="Deployment", name="istio-ingressgateway")
STAGED = Workload(namespace="staging", kind="Deployment", name="cart")
ROLLED = Workload(namespace="shop", kind="Rollout", name="quotes")
TWINS = [Workload(namespace=namespace, kind="Deployment", name="twin") for namespace in ("shop", "pay")]

WEB_POD = "web-6d4b75cb6d-abcde"


def cluster() -> Scene:
    """The shop, what it calls in other namespaces, and a cart that is there twice."""
    scene = shop()
    scene.cluster.sets = [PAY, AGENT, GATEWAY, STAGED, ROLLED, *TWINS]
    scene.cluster.owners |= {("istio-system", "gateway-1"): GATEWAY, ("pay", "ledger-0"): PAY}
    scene.cluster.services |= {("pay", "ledger-rw"): [PAY]}
    scene.cluster.labelled |= {("service.istio.io/canonical-name", "money"): [PAY]}
    return scene


# istio_requests_total as a proxy of Istio 1.20 reports it, scraped by its pod's annotations: web calls pay/ledger.
CALL = {
    "app": "web",
    "connection_security_policy": "mutual_tls",
    "destination_app": "ledger",
    "destination_canonical_revision": "v2",
    "destination_canonical_service": "ledger",
    "destination_cluster": "Kubernetes",
    "destination_principal": "spiffe://cluster.local/ns/pay/sa/ledger",
    "destination_service": "ledger-rw.pay.svc.cluster.local",
    "destination_service_name": "ledger-rw",
    "destination_service_namespace": "pay",
    "destination_version": "v2",
    "destination_workload": "ledger",
    "destination_workload_namespace": "pay",
    "instance": "10.0.0.7:15020",
    "job": "kubernetes-pods",
    "namespace": "shop",
    "pod": WEB_POD,
    "reporter": "source",
    "request_protocol": "http",
    "response_code": "503",
    "source_app": "web",
    "source_canonical_service": "web",
    "source_workload": "web",
    "source_workload_namespace": "shop",
}
SERVED = {**CALL, "app": "ledger", "namespace": "pay", "pod": "ledger-0", "reporter": "destination"}
WAYPOINT = {**CALL, "app": "waypoint", "namespace": "istio-system", "pod": "gateway-1", "reporter": "waypoint"}


def without(labels: dict[str, str], *beginnings: str) -> dict[str, str]:
    return {name: value for name, value in labels.items() if not name.startswith(beginnings)}


@pytest.mark.parametrize(
    ("labels", "rung", "workloads"),
    [
        (CALL, Rung.CONTROLLER, (PAY,)),
        (SERVED, Rung.POD, (PAY,)),
        (WAYPOINT, Rung.CONTROLLER, (PAY,)),
        # … without what a rule's grouping drops, down to one label
        (without(CALL, "destination_workload"), Rung.SERVICE, (PAY,)),
        (without(SERVED, "destination_workload"), Rung.POD, (PAY,)),
        (without(CALL, "destination_workload", "destination_service_"), Rung.SERVICE, (PAY,)),
        ({"destination_workload": "ledger", "destination_workload_namespace": "pay"}, Rung.CONTROLLER, (PAY,)),
        ({"destination_workload": "ledger", "destination_service_namespace": "pay"}, Rung.CONTROLLER, (PAY,)),
        ({"destination_service": "ledger-rw.pay.svc.cluster.local:8080"}, Rung.SERVICE, (PAY,)),
        ({"destination_service": "ledger-rw.pay.svc:8080"}, Rung.SERVICE, (PAY,)),
        ({"destination_service": "ledger-rw.pay.example.com"}, Rung.NONE, ()),
        ({"destination_service_name": "ledger-rw", "destination_service_namespace": "pay"}, Rung.SERVICE, (PAY,)),
        ({"destination_canonical_service": "money", **IN_SHOP}, Rung.LABEL, (PAY,)),
        ({"destination_app": "ledger", "destination_workload_namespace": "pay"}, Rung.LABEL, (PAY,)),
        # the name is twice in the cluster: near is where the alert is
        ({"destination_workload": "cart", **IN_SHOP}, Rung.CONTROLLER, (CART,)),
        ({"destination_workload": "cart", "destination_workload_namespace": "staging", **IN_SHOP}, Rung.CONTROLLER, (STAGED,)),
        ({"destination_workload": "ledger", **IN_SHOP}, Rung.LABEL, (PAY,)),
        # all of the callee's namespace rather than all of the caller's
        ({"destination_workload_namespace": "shop", "namespace": "monitoring"}, Rung.NAMESPACE, SHOP),
        # no callee of this cluster: who called
        ({**CALL, "destination_workload": "unknown", "destination_workload_namespace": "unknown",
          "destination_app": "unknown", "destination_canonical_service": "unknown",
          "destination_service": "api.example.com", "destination_service_name": "api.example.com"}, Rung.POD, (WEB,)),
        ({"source_workload": "web", "source_workload_namespace": "shop"}, Rung.CONTROLLER, (WEB,)),
        ({"source_workload": "web", "source_workload_namespace": "shop", "destination_workload": "gone"}, Rung.NONE, ()),
        ({"source_workload": "gone", "source_workload_namespace": "shop"}, Rung.NAMESPACE, SHOP),
    ],
)  # fmt: skip
async def test_istio(labels: dict[str, str], rung: Rung, workloads: tuple[Workload, ...]) -> None:
    """It hurts at the callee, whoever reports it: the caller, the callee itself, or a proxy between them."""
    found = await located(cluster(), **labels)
    assert (found.rung, found.workloads) == (rung, workloads), found.tried


async def test_what_was_tried_of_a_mesh() -> None:
    """The caller's pod is named with why it was passed over; a word for nothing is not looked up."""
    found = await located(cluster(), **CALL)
    assert found.tried == (f"pod={WEB_POD} (not of the callee)", "destination_workload=ledger")
    found = await located(cluster(), destination_workload="unknown", destination_app="gone")
    assert (found.rung, found.tried) == (Rung.NONE, ("destination_app=gone",))


LINKERD = {"deployment": "web", "direction": "outbound", **IN_SHOP, "pod": WEB_POD, "dst_namespace": "pay"}


@pytest.mark.parametrize(
    ("labels", "rung", "workloads"),
    [
        ({**LINKERD, "dst_statefulset": "ledger", "dst_service": "ledger-rw"}, Rung.CONTROLLER, (PAY,)),
        ({**LINKERD, "dst_service": "ledger-rw"}, Rung.SERVICE, (PAY,)),
        ({"dst_statefulset": "ledger", "dst_namespace": "pay"}, Rung.CONTROLLER, (PAY,)),
        ({"dst_daemonset": "agent", "dst_namespace": "shop"}, Rung.CONTROLLER, (AGENT,)),
        # the kind is told: there is no such Deployment
        ({"dst_deployment": "ledger", "dst_namespace": "pay"}, Rung.NONE, ()),
        ({**LINKERD, "dst_deployment": "gone"}, Rung.POD, (WEB,)),
        ({"deployment": "web", "direction": "inbound", **IN_SHOP, "pod": WEB_POD}, Rung.POD, (WEB,)),
    ],
)
async def test_linkerd(labels: dict[str, str], rung: Rung, workloads: tuple[Workload, ...]) -> None:
    """Outbound series tell the callee by `dst_`; without it the plain labels are the subject's."""
    found = await located(cluster(), **labels)
    assert (found.rung, found.workloads) == (rung, workloads), found.tried


@pytest.mark.parametrize(
    ("workload", "kind", "expected"),
    [
        ("web", "deployment", WEB),
        ("web", "Deployment", WEB),
        ("agent", "daemonset", AGENT),
        ("agent", "", AGENT),
        ("agent", "DAEMONSET", AGENT),
        # the recording rule says deployment of whatever owns a ReplicaSet
        ("quotes", "deployment", ROLLED),
        ("quotes", "rollout", ROLLED),
        ("agent", "deployment", None),
        ("web", "job", None),
        ("web", "staticpod", None),
        ("shop/Deployment/web", "", WEB),
        ("shop/deployment/web", "statefulset", WEB),
        ("Deployment/web", "", WEB),
        ("deployment/web", "", WEB),
        ("daemonset/web", "", None),
        ("shop/web", "", WEB),
        ("pay/StatefulSet/ledger", "", PAY),
        ("pay/ledger", "", PAY),
        ("a/b/web", "", None),
        ("CronJob/web", "", None),
        ("shop/CronJob/web", "", None),
        ("shop/Deployment/", "", None),
        ("/", "", None),
    ],
)
async def test_kubernetes_mixin(workload: str, kind: str, expected: Workload | None) -> None:
    """`workload` is of the kind that `workload_type` says, in any case; a key in it says its own."""
    labels = {"workload": workload, **IN_SHOP, **({"workload_type": kind} if kind else {})}
    found = await located(cluster(), **labels)
    where = (Rung.NAMESPACE, SHOP) if expected is None else (Rung.CONTROLLER, (expected,))
    assert (found.rung, found.workloads) == where, found.tried


async def test_an_alert_of_kubernetes_mixin() -> None:
    """Joined with the metric of an exporter that honours labels: neither its pod nor its Service is the subject."""
    labels = {"workload": "agent", "workload_type": "daemonset", **IN_SHOP, "pod": WEB_POD, **KSM_TARGET}
    found = await located(cluster(), **labels)
    assert (found.rung, found.workloads) == (Rung.CONTROLLER, (AGENT,))


@pytest.mark.parametrize(
    ("labels", "rung", "workloads"),
    [
        ({"service_name": "web", **IN_SHOP}, Rung.LABEL, (WEB,)),
        ({"service_name": "web", "k8s_namespace_name": "shop"}, Rung.LABEL, (WEB,)),
        ({"application": "cart", **IN_SHOP}, Rung.LABEL, (CART,)),
        ({"k8s_service_name": "web-svc", **IN_SHOP}, Rung.SERVICE, (WEB,)),
        # service.namespace is read where it is one of Kubernetes', and no other is told
        ({"service_name": "cart", "service_namespace": "shop"}, Rung.LABEL, (CART,)),
        ({"service_name": "web", "service_namespace": "the-store"}, Rung.LABEL, (WEB,)),
        ({"service_name": "cart", "service_namespace": "shop", "namespace": "staging"}, Rung.LABEL, (STAGED,)),
        ({"service_name": "twin", "service_namespace": "the-store"}, Rung.NONE, ()),
        ({"service_name": "unknown_service:java", "application": "web", **IN_SHOP}, Rung.LABEL, (WEB,)),
    ],
)
async def test_opentelemetry_and_micrometer(
    labels: dict[str, str], rung: Rung, workloads: tuple[Workload, ...]
) -> None:
    """A service's name is the workload's label or name; the group it belongs to is not always a namespace."""
    found = await located(cluster(), **labels)
    assert (found.rung, found.workloads) == (rung, workloads), found.tried


@pytest.mark.parametrize(
    "label",
    [
        "deployment", "workload", "service", "k8s_service_name", "service_name", "application", "app", "job",
        "destination_workload", "destination_service_name", "destination_canonical_service", "dst_deployment",
        "source_workload",
    ],
)  # fmt: skip
async def test_without_a_namespace(label: str) -> None:
    """The only workload of that name is meant, though never as surely as with a namespace; of several none, and it says so."""
    found = await located(cluster(), **{label: "web"})
    assert (found.rung, found.workloads, found.tried) == (Rung.LABEL, (WEB,), (f"{label}=web",))
    found = await located(cluster(), **{label: "twin"})
    assert (found.rung, found.workloads) == (Rung.NONE, ())
    assert found.tried == (f"{label}=twin (of 2 workloads of that name)",)
    found = await located(cluster(), **{label: "gone"})
    assert (found.rung, found.tried) == (Rung.NONE, (f"{label}=gone",))


async def test_the_only_one_of_its_kind() -> None:
    """Where a label tells the kind, only workloads of that kind are counted."""
    scene = cluster()
    scene.cluster.sets.append(Workload(namespace="pay", kind="StatefulSet", name="web"))
    found = await located(scene, deployment="web")
    assert (found.rung, found.workloads) == (Rung.LABEL, (WEB,))
    found = await located(scene, workload="web", workload_type="statefulset")
    assert [each.kind for each in found.workloads] == ["StatefulSet"]
    found = await located(scene, workload="web")
    assert found.tried == ("workload=web (of 2 workloads of that name)",)


async def test_with_a_namespace_no_other_is_searched() -> None:
    """A plain label is of the alert's namespace, and of no other where that has no such workload."""
    for label in ("deployment", "workload", "service", "app", "service_name"):
        found = await located(cluster(), namespace="monitoring", **{label: "web"})
        assert (found.rung, GRAFANA in found.workloads) == (Rung.NAMESPACE, True)
        assert found.tried[0] == f"{label}=web"


async def test_the_exporter_is_no_only_one() -> None:
    """What an exporter adds of itself leads to it in no namespace either."""
    found = await located(cluster(), **KSM_TARGET)
    assert (found.rung, found.workloads) == (Rung.NONE, ())


@pytest.mark.parametrize(
    ("labels", "rung"),
    [
        ({"destination_workload": "ledger", "destination_workload_namespace": "pay"}, Rung.CONTROLLER),
        ({"destination_service": "ledger.pay.svc.cluster.local"}, Rung.SERVICE),
        ({"namespace": "pay", "workload": "ledger", "workload_type": "statefulset"}, Rung.CONTROLLER),
        ({"workload": "pay/StatefulSet/ledger"}, Rung.CONTROLLER),
        ({"service": "ledger"}, Rung.LABEL),
        ({"service": "twin"}, Rung.NONE),
    ],
)
def test_a_recording_leads_to_the_same(labels: dict[str, str], rung: Rung) -> None:
    """The backtest asks the same ladder, of the workloads that the recording has named so far."""
    recorded = RecordedCluster()
    for workload in (PAY, *TWINS):
        recorded.mentioned(workload.key, NOW)
    found = place(alert(**labels), recorded, ())  # type: ignore[arg-type]  # it answers what the ladder asks
    assert (found.rung, found.workloads) == (rung, () if rung is Rung.NONE else (PAY,))


@pytest.mark.parametrize(
    "value", ["a.svc", "..svc..", ".svc", "a.b.svc", ":", "svc.svc.svc", "x" * 5000, "a/b/c/d/e", "\n"]
)
async def test_hostile_values(value: str) -> None:
    """They name nothing and are told in one short line."""
    for label in ("workload", "workload_type", "service", "destination_service", "destination_workload", "dst_service"):
        found = await located(cluster(), **{label: value, "destination_workload_namespace": value})
        assert (found.rung, found.workloads) == (Rung.NONE, ())
        assert all(len(each) <= 300 and "\n" not in each for each in found.tried)
