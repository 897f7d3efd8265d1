"""The call graph: who is near, who hangs together, and which workloads the names of metrics mean."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from daemon.core.model import Revision, RevisionId, Workload
from handlers.call_graph import HOPS_MAX, HUB_CALLS, NEAR_MAX, CallGraph
from handlers.call_metrics import EDGES_MAX, METRICS, End
from handlers.call_names import SAME_MAX, Names, pairs
from handlers.call_search import REMEMBERED, SEARCH_EVERY
from tests import documents
from tests.handlers.calls_world import view


def deployment(name: str, namespace: str = "shop", kind: str = "Deployment") -> Workload:
    return Workload(namespace=namespace, kind=kind, name=name)


def graph(*calls: str) -> CallGraph:
    """From `a>b` and chains of them."""
    made = CallGraph()
    for chain in calls:
        names = [deployment(name) for name in chain.split(">")]
        for caller, callee in pairwise(names):
            made.add(caller.key, callee.key)
    return made


def near(made: CallGraph, *names: str) -> list[tuple[str, int, bool]]:
    found = made.near([deployment(name) for name in names])
    return [(each.workload.name, each.hops, each.called) for each in found]


def kin(made: CallGraph, name: str) -> list[str]:
    return [each.name for each in made.kin([deployment(name)])]


def test_the_nearest_come_first_and_called_ones_before_callers() -> None:
    """Up and down, three calls far; what is called by it and calls it as well is a called one where both are as near."""
    made = graph("gate>web>cart>db>disk>dust", "cart>web", "web>web")
    assert near(made, "web") == [
        ("cart", 1, True), ("gate", 1, False), ("db", 2, True), ("disk", 3, True),
    ]  # fmt: skip
    assert near(made, "web", "cart")[0] == ("db", 1, True)
    assert near(made, "stranger") == []
    assert len(made) == 6


def test_callers_are_those_who_call_it_directly() -> None:
    """By name; not what it calls, nor who calls its callers, nor itself."""
    made = graph("gate>web>cart>db", "app>cart", "cart>cart")
    assert [each.name for each in made.callers(deployment("cart"))] == ["app", "web"]
    assert made.callers(deployment("gate")) == made.callers(deployment("stranger")) == ()


def test_who_is_joined_by_calls_is_kin_whichever_way() -> None:
    """Through whom one calls and by whom one is called; itself among them."""
    assert kin(graph("web>db", "cart>db", "mail>cart", "far>mail"), "web") == ["web", "db", "cart", "mail"]
    assert kin(graph("a>b"), "web") == ["web"]


def test_a_hub_is_kin_and_joins_nobody() -> None:
    """Behind a gateway everything would be kin, and nobody left to witness a common cause."""
    few = [f"gate>s{number}" for number in range(HUB_CALLS)]
    assert "s7" in kin(graph(*few), "s1")
    many = graph(*few, "gate>one-more", "s1>db")
    assert kin(many, "s1") == ["s1", "db", "gate"]
    assert len(kin(many, "gate")) == HUB_CALLS + 3
    assert ("gate", 1, False) in near(many, "s1")


def test_no_more_than_can_be_journalled() -> None:
    """Of a place with very many neighbours the nearest are kept."""
    made = graph(*(f"web>s{number}" for number in range(NEAR_MAX)), "s1>far")
    assert len(near(made, "web")) == len(kin(made, "web")) == NEAR_MAX
    assert ("far", 2, True) not in near(made, "web")


# -- names

WEB, SET = deployment("web"), deployment("db", kind="StatefulSet")


def names(*workloads: Workload, **labels: str) -> Names:
    """A cluster of these; a workload's labels by its name."""
    return Names.shown(view(each, labels=tuple(pairs_of(labels.get(each.name, "")))) for each in workloads)


def pairs_of(text: str) -> Iterable[tuple[str, str]]:
    return (tuple(part.split("=")) for part in text.split(",") if part)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        (End(name="web", namespace="shop"), [WEB]),
        (End(name="db", namespace="shop"), [SET]),
        (End(name="db", namespace="shop", kind="StatefulSet"), [SET]),
        (End(name="db", namespace="shop", kind="Deployment"), []),
        (End(name="web", namespace="pay"), []),
        (End(name="web"), [WEB]),
        (End(name="nobody", namespace="shop"), []),
    ],
)
def test_a_name_means_the_workload_that_is_called_so(end: End, wanted: list[Workload]) -> None:
    """Of any kind unless one is told, and in no other namespace than the one that is told."""
    assert names(WEB, SET).of(end) == wanted


def test_without_a_namespace_only_a_name_that_is_unique_counts() -> None:
    """A staging and a production of the same names: the other end's namespace decides, else nobody is meant."""
    other = deployment("web", "staging")
    both = names(WEB, other)
    assert both.of(End(name="web")) == []
    assert both.of(End(name="web"), "staging") == [other]
    assert both.of(End(name="web"), "pay") == []


def test_a_service_may_be_a_label() -> None:
    """The workloads of one name label are the service's, unless a workload has the name itself or too many bear it."""
    one, two = deployment("reviews-v1"), deployment("reviews-v2")
    known = names(one, two, **{"reviews-v1": "app=reviews", "reviews-v2": "app.kubernetes.io/name=reviews,app=x"})
    assert known.of(End(name="reviews", namespace="shop")) == [one, two]
    own = names(deployment("reviews"), one, **{"reviews-v1": "app=reviews"})
    assert own.of(End(name="reviews")) == [deployment("reviews")]
    many = [deployment(f"part-{number}") for number in range(SAME_MAX + 1)]
    assert names(*many, **{each.name: "app=chart" for each in many}).of(End(name="chart")) == []


def test_who_calls_a_deployment_calls_the_service_that_is_switched_to_it() -> None:
    """Blue/green: the rollout is the Service's switch, so the Service is near, too."""
    green, service = deployment("web-green"), deployment("web", kind="Service")
    live = Revision(id=RevisionId("h1"), content="c", number=1, uid="rs-green")
    views = [view(green, current=live), view(service, current=live), view(WEB)]
    assert Names.shown(views).of(End(name="web-green", namespace="shop")) == [green, service]


def test_calls_with_an_unknown_end_are_counted() -> None:
    """An external host is no workload: no call, but told."""
    found, unmatched = pairs(
        [(End(name="web"), End(name="db")), (End(name="web"), End(name="example.org"))], names(WEB, SET)
    )
    assert (found, unmatched) == ([(WEB, SET)], 1)


def test_a_metrics_answer_is_read_by_its_own_labels() -> None:
    """The first name label that is there names the end and its kind; one without a name is no call."""
    linkerd = next(metric for metric in METRICS if metric.name == "response_total")
    labels: dict[str, Any] = {"namespace": "a", "statefulset": "db", "dst_namespace": "b", "dst_deployment": "web"}
    assert linkerd.call(labels) == (
        End(name="db", namespace="a", kind="StatefulSet"),
        End(name="web", namespace="b", kind="Deployment"),
    )
    assert linkerd.call({**labels, "dst_deployment": ""}) is None


def test_a_query_asks_for_the_busiest_calls_and_for_no_strangers() -> None:
    """What lies outside of the mesh must not take the place of calls between workloads; one more than may be is asked for."""
    istio, linkerd = METRICS[0], METRICS[2]
    assert istio.query() == (
        f"topk({EDGES_MAX + 1}, sum by (source_workload, source_workload_namespace, destination_workload,"
        ' destination_workload_namespace) (rate(istio_requests_total{source_workload!~"|unknown",'
        'destination_workload!~"|unknown"}[600s])) > 0)'
    )
    assert '{direction="outbound",dst_namespace!=""}' in linkerd.query()


def test_the_page_has_every_metric() -> None:
    """deploy/docs/call-graph.md tells the metrics and labels that the code has, and its limits."""
    page = documents.read("deploy/docs/call-graph.md")
    rows = [
        (
            metric.source,
            f"`{metric.name}`",
            ", ".join(f"`{label}`" for label in metric.caller.all),
            ", ".join(f"`{label}`" for label in metric.callee.all),
        )
        for metric in METRICS
    ]
    assert [tuple(row) for row in documents.table(page, "source")] == rows
    assert f"At most {EDGES_MAX:,} calls" in page
    assert f"more than {HUB_CALLS} workloads" in page
    assert (HOPS_MAX, "up to three calls away" in page) == (3, True)
    assert (SEARCH_EVERY.total_seconds(), "every five minutes" in page) == (300, True)
    assert (REMEMBERED.days, "remembered for a day" in page) == (1, True)
