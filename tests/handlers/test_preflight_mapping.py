"""Preflight: where an alert leads, by which rung, and which rules could lead here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from daemon.core.model import Alert, AlertStatus, OnsetSource
from daemon.core.policy import AlertMapping
from handlers.alerts import MalformedError, fingerprint_of
from handlers.preflight.alert_file import ALERTS_MAX, alerts_in
from tests.core.builders import CART, MINUTE, NOON, SHOP, an_alert
from tests.core.story import Story
from tests.handlers.preflight_world import POD, RULE, World, proven

LABELS = {"alertname": "HighErrorRate", "namespace": "shop", "pod": POD}


def labelled(**labels: str) -> Alert:
    return replace(an_alert(), labels=tuple(sorted({"alertname": "HighErrorRate", **labels}.items())))


@pytest.mark.parametrize(
    ("labels", "level", "says"),
    [
        ({"namespace": "shop", "pod": POD}, "ok", f"leads here by pod; tried: pod={POD}"),
        ({"namespace": "shop", "deployment": "checkout"}, "ok", "leads here by controller; tried: deployment=checkout"),
        ({"lastgood_workload": "shop/checkout"}, "ok", "leads here by explicit"),
        ({"namespace": "shop", "app": "gone"}, "warning", "leads here by its namespace alone"),
        ({"namespace": "pay", "app": "gone"}, "failed", "leads to no workload; tried: app=gone, namespace=pay"),
        ({}, "failed", "leads to no workload; tried: no label lastgood_workload"),
        ({"lastgood_workload": "shop/cart"}, "failed", "leads to shop/Deployment/cart by explicit, not here"),
    ],
)
async def test_where_an_alert_leads(labels: dict[str, str], level: str, says: str) -> None:
    """The real ladder, with every label that was tried; the remedy names a label to add."""
    world = World()
    world.cluster.workloads["shop", "cart"] = CART
    looked = await world.looks(labelled(**labels))
    line = looked.line("alert HighErrorRate")
    assert (line["level"], line["says"].startswith(says)) == (level, True), line
    assert level == "ok" or "lastgood_workload: shop/checkout" in line["remedy"]


@pytest.mark.parametrize(
    ("source", "level"),
    [(OnsetSource.FOR_STATE, "ok"), (OnsetSource.RULE, "ok"), (OnsetSource.ASSUMED, "warning")],
)
async def test_whether_the_onset_is_known(source: OnsetSource, level: str) -> None:
    """An assumed onset holds rather than decides, and the remedy names the Prometheus to ask."""
    world = World()
    world.onset = source
    line = (await world.looks(labelled(namespace="shop", pod=POD))).line("onset of HighErrorRate")
    assert line["level"] == level
    assert level == "ok" or "prometheus.url" in line["remedy"]


async def test_every_alert_that_was_handed_in_is_looked_at() -> None:
    """Two of a payload are two pairs of lines, and the rules are not asked."""
    world = World()
    looked = await world.looks(labelled(namespace="shop", pod=POD), labelled(namespace="pay"))
    assert len([line for line in looked.document["lines"] if line["part"] == "mapping"]) == 4
    assert len(world.located) == 2


async def test_alerts_that_were_seen() -> None:
    """Those in memory that lead here, the newest first, with rung and onset."""
    story = Story()
    story.spikes()
    line = (await World(story).looks()).line("alerts seen")
    assert line["says"] == "1 lead here, 1 of them fire: CheckoutErrors (by controller, onset known)"


@pytest.mark.parametrize(
    ("query", "labels", "level", "says"),
    [
        ("sum by (namespace, pod) (rate(x[1m])) > 1", {}, "ok", "by pod: namespace, pod"),
        ("rate(x[1m]) > 1", {}, "ok", "by pod"),
        ("sum without (pod, instance) (x) > 1", {}, "ok", "by label: job, namespace, service"),
        (
            "sum by (namespace, app) (x) / sum by (namespace, app) (y)",
            {"deployment": "{{ $labels.app }}"},
            "ok",
            "contr",
        ),
        ("sum(rate(x[1m])) > 1", {"lastgood_workload": "shop/checkout"}, "ok", "by explicit: lastgood_workload"),
        ("sum by (namespace) (rate(x[1m])) > 1", {}, "warning", "by the namespace alone"),
        ("sum(rate(x[1m])) > 1", {}, "warning", "none of 1"),
        ('sum by (namespace, pod) (rate(x{namespace="pay"}[1m]))', {}, "warning", "none of 1"),
        ('sum by (namespace, pod) (rate(x{namespace=~"shop|pay"}[1m]))', {}, "ok", "by pod"),
        ("sum by (namespace, pod) (x) > 1", {"namespace": "monitoring"}, "warning", "none of 1"),
        ("sum by (destination_workload, destination_workload_namespace) (x) > 1", {}, "ok", "by controller: destin"),
        ("sum by (destination_workload) (x) > 1", {}, "ok", "by label: destination_workload"),
        ("sum by (dst_deployment, dst_namespace) (x) > 1", {}, "ok", "by controller: dst_deployment, dst_namespace"),
        ("sum by (dst_statefulset, dst_namespace) (x) > 1", {}, "warning", "by the namespace alone"),
        ('sum by (destination_workload) (x{destination_workload="pay"}) > 1', {}, "warning", "none of 1"),
        # who calls is another's label, unless the alert is about who calls
        ('sum by (destination_workload) (x{source_workload="gateway"}) > 1', {}, "ok", "by label"),
        ('sum by (source_workload) (x{source_workload="gateway"}) > 1', {}, "warning", "none of 1"),
        ("sum by (source_workload, source_workload_namespace) (x) > 1", {}, "ok", "by controller: source_workload"),
        ("sum by (namespace, workload, workload_type) (x) > 1", {}, "ok", "by controller: namespace, workload"),
        ('sum by (namespace, workload) (x{workload_type="deployment"}) > 1', {}, "ok", "by controller"),
        ('sum by (namespace, workload) (x{workload_type="statefulset"}) > 1', {}, "warning", "none of 1"),
        ("sum by (service_name) (x) > 1", {}, "ok", "by label: service_name"),
        # the labels of other kinds are not the workload's
        ('sum by (namespace, pod) (x{statefulset="", dst_daemonset=""}) > 1', {}, "ok", "by pod"),
    ],
)
async def test_rules_that_could_lead_here(query: str, labels: dict[str, str], level: str, says: str) -> None:
    """What an expression's grouping keeps, and the rule's own labels, are given to the ladder."""
    world = World()
    world.prometheus.alerting = (replace(RULE, query=query, labels=tuple(labels.items())),)
    line = (await world.looks()).line("alert rules")
    assert (line["level"], says in line["says"]) == (level, True), line
    assert level == "ok" or "lastgood_workload: shop/checkout" in line["remedy"]


async def test_a_rule_by_the_host_of_a_service() -> None:
    """A mesh names the Service with its namespace; the workload's name is taken for the Service's."""
    world = World()
    world.cluster.services["shop", "checkout"] = [SHOP]
    for matcher in ("", 'destination_service=~"checkout.shop.svc.*"'):
        world.prometheus.alerting = (replace(RULE, query=f"sum by (destination_service) (x{{{matcher}}}) > 1"),)
        line = (await world.looks()).line("alert rules")
        assert "by service: destination_service" in line["says"]


async def test_a_mapping_of_the_policy_counts() -> None:
    """A rule that only the policy's mapping leads here is found."""
    mapping = AlertMapping(labels=(("alertname", "HighErrorRate"),), workload=SHOP)
    world = World(proven(mappings=(mapping,)))
    world.prometheus.alerting = (replace(RULE, query="sum(x) > 1"),)
    assert (await world.looks()).line("alert rules")["level"] == "ok"


# ------------------------------------------------------------------------------------------------------ what is read

NOW = NOON + 5 * MINUTE
API = {
    "annotations": {"summary": "x"},
    "endsAt": "2026-03-02T12:10:00.000Z",
    "fingerprint": "8693b784445577a7",
    "receivers": [{"name": "lastgood"}],
    "startsAt": "2026-03-02T12:01:00.000Z",
    "status": {"inhibitedBy": [], "silencedBy": [], "state": "active"},
    "updatedAt": "2026-03-02T12:01:00.000Z",
    "generatorURL": "http://prometheus/graph",
    "labels": LABELS,
}
WEBHOOK = {**API, "status": "firing"}


@pytest.mark.parametrize(
    ("raw", "count", "starts_at"),
    [
        ({"labels": LABELS}, 1, NOW),
        (API, 1, NOON + MINUTE),
        ([API], 1, NOON + MINUTE),
        (WEBHOOK, 1, NOON + MINUTE),
        ({"version": "4", "commonLabels": {}, "alerts": [WEBHOOK, {"labels": {"alertname": "B"}}]}, 2, NOON + MINUTE),
    ],
)
def test_every_form_is_read(raw: object, count: int, starts_at: datetime) -> None:
    """Alertmanager's API, its webhook whole or one alert of it, or labels alone."""
    found = alerts_in(raw, NOW)
    assert len(found) == count
    first = found[0]
    assert (dict(first.labels), first.starts_at, first.status) == (LABELS, starts_at, AlertStatus.FIRING)
    assert first.fingerprint == fingerprint_of(LABELS)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("text", "alert"),
        (7, "alert"),
        ({}, "alert.labels"),
        ({"labels": None}, "alert.labels"),
        ({"labels": {"a": 1}}, 'alert.labels["a"]'),
        ({"labels": LABELS, "startsAt": "yesterday"}, "alert.startsAt"),
        ({"labels": {"a": "\ud800"}}, 'alert.labels["a"]'),
        ([], "alert"),
        ([LABELS], "alert[0].labels"),
        ([{"labels": LABELS}] * (ALERTS_MAX + 1), "alert"),
        ({"alerts": {}}, "alert.alerts"),
        ({"alerts": [3]}, "alert.alerts[0]"),
    ],
)
def test_what_is_no_alert(raw: Any, field: str) -> None:
    """Refused with the path of the field."""
    with pytest.raises(MalformedError) as refused:
        alerts_in(raw, NOW)
    assert refused.value.field == field
