"""Locate: the ladder from labels to workloads, whose labels they are, and since when the anomaly is there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daemon.core.actions import Locate, Located
from daemon.core.model import ActionId, Location, OnsetSource, Rung, Workload
from daemon.core.policy import AlertMapping
from handlers.ladder import WORKLOADS_MAX
from handlers.outbound.locate import LocateRunner
from handlers.prometheus import AlertingRule, Vector
from tests.handlers.measuring_world import DOWN, MINUTE, NOW, SECOND, WEB, Scene, alert, policy

KSM = Workload(namespace="monitoring", kind="Deployment", name="kube-state-metrics")
GRAFANA = Workload(namespace="monitoring", kind="Deployment", name="grafana")
CART = Workload(namespace="shop", kind="Deployment", name="cart")
SHOP = (CART, WEB)
STARTS = NOW - 5 * MINUTE


def shop() -> Scene:
    """Two namespaces: a shop with web and cart, and what watches it."""
    scene = Scene()
    cluster = scene.cluster
    for workload in (WEB, CART, KSM, GRAFANA):
        cluster.workloads[workload.namespace, workload.name] = workload
    cluster.owners |= {
        ("shop", "web-6d4b75cb6d-abcde"): WEB,
        ("shop", "web-6d4b75cb6d-00000"): WEB,
        ("shop", "cart-1"): CART,
        ("monitoring", "ksm-1"): KSM,
    }
    cluster.services |= {
        ("shop", "web-svc"): [WEB],
        ("shop", "both"): [WEB, CART],
        ("monitoring", "kube-state-metrics"): [KSM],
    }
    cluster.labelled |= {
        ("app", "web"): [WEB],
        ("app.kubernetes.io/name", "cart"): [CART],
        ("app", "kube-state-metrics"): [KSM],
    }
    return scene


async def located(scene: Scene, /, **labels: str) -> Location:
    return await located_with(scene, scene.prometheus, labels)


async def located_with(scene: Scene, prometheus: Any, labels: dict[str, str]) -> Location:
    runner = LocateRunner(scene.cluster, prometheus, scene.sampler, scene.hands)
    action = Locate(id=ActionId("locate/f1"), deadline=NOW + MINUTE, alert=alert(**labels))
    assert await runner.probe(action) is None
    outcome = await runner.run(action)
    assert isinstance(outcome.result, Located)
    return outcome.result.location


IN_SHOP = {"namespace": "shop"}
IN_MONITORING = {"namespace": "monitoring"}


@pytest.mark.parametrize(
    ("labels", "rung", "workloads", "tried"),
    [
        ({"lastgood_workload": "shop/web", "pod": "cart-1"}, Rung.EXPLICIT, (WEB,), "lastgood_workload=shop/web"),
        ({"lastgood_workload": "shop/Deployment/web"}, Rung.EXPLICIT, (WEB,), "lastgood_workload=shop/Deployment/web"),
        ({"lastgood_workload": " web ", **IN_SHOP}, Rung.EXPLICIT, (WEB,), "lastgood_workload= web"),
        ({**IN_SHOP, "pod": "cart-1", "app": "web"}, Rung.POD, (CART,), "pod=cart-1"),
        ({**IN_SHOP, "k8s_pod_name": "cart-1"}, Rung.POD, (CART,), "k8s_pod_name=cart-1"),
        ({**IN_SHOP, "deployment": "cart", "service": "web-svc"}, Rung.CONTROLLER, (CART,), "deployment=cart"),
        ({**IN_SHOP, "replicaset": "web-6d4b75cb6d"}, Rung.CONTROLLER, (WEB,), "replicaset=web-6d4b75cb6d"),
        ({**IN_SHOP, "service": "web-svc", "app": "cart"}, Rung.SERVICE, (WEB,), "service=web-svc"),
        ({**IN_SHOP, "service": "both"}, Rung.SERVICE, SHOP, "service=both"),
        ({**IN_SHOP, "app": "web", "job": "cart"}, Rung.LABEL, (WEB,), "app=web"),
        ({**IN_SHOP, "app_kubernetes_io_name": "cart"}, Rung.LABEL, (CART,), "app_kubernetes_io_name=cart"),
        ({**IN_SHOP, "job": "shop/cart"}, Rung.LABEL, (CART,), "job=shop/cart"),
        ({"app": "web"}, Rung.LABEL, (WEB,), "app=web"),
        ({"kubernetes_namespace": "shop", "pod": "cart-1"}, Rung.POD, (CART,), "pod=cart-1"),
        (IN_SHOP, Rung.NAMESPACE, SHOP, "namespace=shop"),
    ],
)
async def test_the_ladder(labels: dict[str, str], rung: Rung, workloads: tuple[Workload, ...], tried: str) -> None:
    """The highest rung that an alert's labels reach is the one that counts, and it was the last one tried."""
    found = await located(shop(), **labels)
    assert (found.rung, found.workloads, found.tried[-1]) == (rung, workloads, tried)


async def test_what_was_tried_on_the_way() -> None:
    """Every label that led nowhere is told, in the order of the ladder, down to the namespace."""
    labels = {"pod": "gone", "statefulset": "db", "service": "none", "job": "x", "lastgood_workload": "a/b/c/d"}
    found = await located(shop(), **IN_SHOP, **labels)
    assert found.rung is Rung.NAMESPACE
    assert found.tried == (
        "lastgood_workload=a/b/c/d",
        "pod=gone",
        "statefulset=db",
        "service=none",
        "job=x",
        "namespace=shop",
    )
    found = await located(shop(), namespace="empty", pod="gone")
    assert (found.workloads, found.rung, found.tried) == ((), Rung.NONE, ("pod=gone", "namespace=empty"))


async def test_an_alert_without_any_label_of_the_ladder() -> None:
    """It says which labels it lacks; pods without a namespace cannot be told apart, so they are not looked up."""
    found = await located(shop(), pod="cart-1")
    assert (found.workloads, found.rung) == ((), Rung.NONE)
    assert found.tried == tuple(
        f"no label {name}" for name in ("lastgood_workload", "namespace", "app", "app_kubernetes_io_name", "job")
    )


async def test_lower_rungs_are_not_looked_up() -> None:
    """A hit ends the search."""
    scene = shop()
    await located(scene, **IN_SHOP, lastgood_workload="shop/web", pod="cart-1")
    assert scene.cluster.asked == [
        f"{kind}/web" for kind in ("Deployment", "StatefulSet", "DaemonSet", "Rollout", "Service")
    ]


NAMED = (("StatefulSet", "db"), ("DaemonSet", "agent"), ("Deployment", "twice"), ("StatefulSet", "twice"))
NAMES = [
    ({"lastgood_workload": "shop/NAME"}, Rung.EXPLICIT),
    ({"lastgood_workload": "NAME"}, Rung.EXPLICIT),
    ({"app": "NAME"}, Rung.LABEL),
    ({"app_kubernetes_io_name": "NAME"}, Rung.LABEL),
    ({"job": "shop/NAME"}, Rung.LABEL),
]


@pytest.mark.parametrize(("labels", "rung"), NAMES)
async def test_a_name_alone_is_of_any_kind(labels: dict[str, str], rung: Rung) -> None:
    """A StatefulSet or DaemonSet is found by its bare name; where several kinds have it, all of them are."""
    scene = shop()
    db, agent, *twice = (Workload(namespace="shop", kind=kind, name=name) for kind, name in NAMED)
    scene.cluster.sets = [db, agent, *twice]
    for name, expected in (("db", (db,)), ("agent", (agent,)), ("twice", tuple(twice)), ("cart", (CART,))):
        found = await located(scene, **IN_SHOP, **{key: value.replace("NAME", name) for key, value in labels.items()})
        assert (found.rung, found.workloads) == (rung, expected)


@pytest.mark.parametrize("label", ["{}", "kubernetes_{}_name", "k8s_{}_name", "exported_{}"])
async def test_a_controller_label_tells_the_kind(label: str) -> None:
    """`statefulset` means the StatefulSet of that name, though a Deployment has it too."""
    scene = shop()
    scene.cluster.sets = [Workload(namespace="shop", kind=kind, name="web") for kind in ("StatefulSet", "DaemonSet")]
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        found = await located(scene, **IN_SHOP, **{label.format(kind.lower()): "web"})
        assert (found.rung, [each.kind for each in found.workloads]) == (Rung.CONTROLLER, [kind])


async def test_a_mapping_of_the_policy() -> None:
    """All labels of a mapping must be the alert's; the first that leads to a workload wins, over the alert's own label."""
    scene = shop()
    gone = Workload(namespace="shop", kind="Deployment", name="gone")
    scene.policy = policy(
        mappings=tuple(
            AlertMapping(labels=labels, workload=workload)
            for labels, workload in (
                ((("team", "x"), ("tier", "y")), WEB),
                ((("team", "x"),), gone),
                ((("team", "x"),), CART),
            )
        )
    )
    found = await located(scene, team="x", lastgood_workload="shop/web")
    assert (found.rung, found.workloads) == (Rung.EXPLICIT, (CART,))
    assert found.tried == ("policy mapping to shop/Deployment/gone", "policy mapping to shop/Deployment/cart")


KSM_TARGET = {"job": "kube-state-metrics", "service": "kube-state-metrics", "app": "kube-state-metrics"}


@pytest.mark.parametrize(
    ("labels", "rung", "workloads"),
    [
        # honor_labels: the series' own namespace and pod won, job and service are the exporter's.
        ({**IN_SHOP, "pod": "cart-1", **KSM_TARGET}, Rung.POD, (CART,)),
        ({**IN_SHOP, "deployment": "web", "pod": "ksm-1", **KSM_TARGET}, Rung.CONTROLLER, (WEB,)),
        ({**IN_SHOP, **KSM_TARGET}, Rung.NAMESPACE, SHOP),
        # … and the subject lives beside the exporter.
        ({**IN_MONITORING, "deployment": "grafana", "pod": "ksm-1", **KSM_TARGET}, Rung.CONTROLLER, (GRAFANA,)),
        ({**IN_MONITORING, "pod": "ksm-1", "job_name": "backup", **KSM_TARGET}, Rung.NAMESPACE, (GRAFANA, KSM)),
        ({**IN_MONITORING, "deployment": "kube-state-metrics", "pod": "ksm-1", **KSM_TARGET}, Rung.CONTROLLER, (KSM,)),
        # Without it: what clashes was renamed, the plain target labels are the exporter's.
        (
            {**IN_MONITORING, "pod": "ksm-1", "exported_namespace": "shop", "exported_pod": "cart-1", **KSM_TARGET},
            Rung.POD,
            (CART,),
        ),
        (
            {**IN_MONITORING, "pod": "ksm-1", "exported_namespace": "shop", "deployment": "web", **KSM_TARGET},
            Rung.CONTROLLER,
            (WEB,),
        ),
        (
            {**IN_MONITORING, "service": "ingress", "exported_namespace": "shop", "exported_service": "web-svc"},
            Rung.SERVICE,
            (WEB,),
        ),
        ({**IN_SHOP, "app": "web", "job": "web", "exported_namespace": "monitoring"}, Rung.NAMESPACE, (GRAFANA, KSM)),
        ({**IN_MONITORING, "service": "web-svc", "exported_namespace": "shop"}, Rung.NAMESPACE, SHOP),
        ({**IN_SHOP, "pod": "web-6d4b75cb6d-abcde", "exported_pod": "cart-1"}, Rung.POD, (CART,)),
        # A prefix or a PodMonitor's job names the exporter too; an app that only ends alike does not.
        (
            {**IN_MONITORING, "pod": "ksm-1", "job": "monitoring/prom-kube-state-metrics"},
            Rung.NAMESPACE,
            (GRAFANA, KSM),
        ),
        ({**IN_MONITORING, "pod": "ksm-1", "job": "grafana"}, Rung.POD, (KSM,)),
    ],
)
async def test_whose_labels(labels: dict[str, str], rung: Rung, workloads: tuple[Workload, ...]) -> None:
    """An alert about a workload is never taken for one about the exporter that told it."""
    found = await located(shop(), **labels)
    assert (found.rung, found.workloads) == (rung, workloads)


async def test_a_pod_that_contradicts_the_controller() -> None:
    """The controller label names the subject; it is told why the pod was passed over."""
    found = await located(shop(), **IN_SHOP, pod="cart-1", deployment="web")
    assert (found.rung, found.workloads) == (Rung.CONTROLLER, (WEB,))
    assert found.tried == ("pod=cart-1 (not of the controller)", "deployment=web")
    found = await located(shop(), **IN_SHOP, pod="web-6d4b75cb6d-abcde", deployment="web")
    assert (found.rung, found.workloads) == (Rung.POD, (WEB,))


@pytest.mark.parametrize(
    "value", ['"} or vector(1) #', "a\nb", "../../web", "$namespace", "x" * 5000, "////", "\u202eweb", "*"]
)
async def test_hostile_values(value: str) -> None:
    """They name nothing, break nothing, and are told in one short line."""
    names = ("lastgood_workload", "pod", "deployment", "replicaset", "service", "app", "job")
    found = await located(shop(), namespace=value, **dict.fromkeys(names, value))
    assert (found.workloads, found.rung) == ((), Rung.NONE)
    assert all(len(each) <= 300 and "\n" not in each for each in found.tried)


async def test_a_large_namespace() -> None:
    """Only so many workloads are taken, always the same ones, and it says so."""
    scene = shop()
    for number in range(WORKLOADS_MAX + 1):
        crowd = Workload(namespace="crowd", kind="Deployment", name=f"w{number:04}")
        scene.cluster.workloads["crowd", crowd.name] = crowd
    found = await located(scene, namespace="crowd")
    assert len(found.workloads) == WORKLOADS_MAX
    assert found.workloads[0].name == "w0000"
    assert found.tried == (f"namespace=crowd (the first {WORKLOADS_MAX} of {WORKLOADS_MAX + 1})",)


# The onset ------------------------------------------------------------------------------------------------------------


def state(began: datetime, **labels: str) -> tuple[dict[str, str], float]:
    return {"__name__": "ALERTS_FOR_STATE", "alertname": "HighErrors", **labels}, began.timestamp()


async def onset(scene: Scene, /, **labels: str) -> tuple[timedelta, OnsetSource]:
    found = await located(scene, **labels)
    return STARTS - found.onset, found.onset_source


def rule(seconds: float, name: str = "HighErrors", **labels: str) -> AlertingRule:
    return AlertingRule(
        name=name, group="g", query="q", duration=timedelta(seconds=seconds), labels=tuple(sorted(labels.items()))
    )


async def test_the_onset_is_when_the_condition_became_true() -> None:
    """`ALERTS_FOR_STATE` of the alert's own series; external labels that only the alert has do not matter."""
    scene = shop()
    began = (STARTS - 90 * SECOND).replace(microsecond=0)
    scene.prometheus.instant = lambda query, at: [
        state(began + 30 * SECOND),
        state(began, pod="a"),
        state(began - 2 * MINUTE, pod="b"),
    ]
    assert await onset(scene, pod="a", cluster="eu") == (90 * SECOND, OnsetSource.FOR_STATE)


async def test_an_alert_that_is_over_or_began_anew() -> None:
    """Asked now its series is gone, or tells of a later turn: then the one at its start counts."""
    began = STARTS - 40 * SECOND
    for now in ([], [state(STARTS + 3 * MINUTE)]):
        scene = shop()

        def at(query: str, moment: datetime, now: Vector = now) -> Vector:
            return [state(began)] if moment == STARTS else now

        scene.prometheus.instant = at
        assert await onset(scene) == (40 * SECOND, OnsetSource.FOR_STATE)


@pytest.mark.parametrize("value", [1e300, -1e300])
async def test_a_value_that_is_no_time(value: float) -> None:
    """Nonsense instead of a moment is no onset."""
    scene = shop()
    scene.prometheus.instant = lambda query, at: [({"alertname": "HighErrors"}, value)]
    assert await onset(scene) == (scene.policy.assumed_for, OnsetSource.ASSUMED)


@pytest.mark.parametrize(
    ("rules", "labels", "seconds"),
    [
        ((rule(30), rule(900, "Other")), {}, 30),
        ((rule(30, severity="low"), rule(60, severity="critical")), {"severity": "low"}, 30),
        ((rule(30, team="{{ $labels.team }}"), rule(20)), {}, 30),
        ((rule(30, severity="low"),), {"severity": "relabelled"}, 30),
        ((rule(0),), {}, 0),
    ],
)
async def test_the_rules_duration(rules: tuple[AlertingRule, ...], labels: dict[str, str], seconds: int) -> None:
    """Without that series, the `for` of the alert's rule; of several that fit the longest."""
    scene = shop()
    scene.prometheus.alerting = rules
    assert await onset(scene, **labels) == (seconds * SECOND, OnsetSource.RULE)


async def test_an_unreadable_prometheus() -> None:
    """What can still be read is used; nothing readable, or no Prometheus, makes the onset an assumed one."""
    scene = shop()

    def down(query: str, at: datetime) -> Vector:
        raise DOWN

    scene.prometheus.instant, scene.prometheus.alerting = down, (rule(45),)
    assert await onset(scene) == (45 * SECOND, OnsetSource.RULE)
    scene.prometheus.alerting = DOWN
    assert await onset(scene) == (scene.policy.assumed_for, OnsetSource.ASSUMED)
    found = await located_with(scene, None, {})
    assert (STARTS - found.onset, found.onset_source) == (scene.policy.assumed_for, OnsetSource.ASSUMED)


async def test_the_name_of_an_alert_is_only_text() -> None:
    """A hostile alertname stays inside of its quotes."""
    scene, asked = shop(), list[str]()

    def query(text: str, at: datetime) -> Vector:
        asked.append(text)
        return []

    scene.prometheus.instant = query
    await located(scene, alertname='"} or vector(1) #\n')
    assert set(asked) == {'ALERTS_FOR_STATE{alertname="\\"} or vector(1) #\\n"}'}
    assert STARTS.tzinfo is UTC
