"""Queries asked for all pods at once: rewritten where they keep their meaning, refused where they would not."""

from __future__ import annotations

import pytest

from daemon.core.policy import DEFAULT_SIGNALS, SATURATION_SIGNALS
from handlers.backtest.by_pod import by_pod, pods_label

SELECT = 'namespace="$namespace",pod=~"$pods"'


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (f"sum(rate(x{{{SELECT}}}[$window]))", f"sum by (pod) (rate(x{{{SELECT}}}[$window]))"),
        (f"sum by (le) (rate(x{{{SELECT}}}[1m]))", f"sum by (pod, le) (rate(x{{{SELECT}}}[1m]))"),
        (f"sum(rate(x{{{SELECT}}}[1m])) by (le)", f"sum(rate(x{{{SELECT}}}[1m])) by (pod, le)"),
        (f"sum by () (x{{{SELECT}}})", f"sum by (pod) (x{{{SELECT}}})"),
        (f"sum by (pod) (x{{{SELECT}}})", f"sum by (pod) (x{{{SELECT}}})"),
        (f"SUM(x{{{SELECT}}})", f"SUM by (pod) (x{{{SELECT}}})"),
        (f"max(a{{{SELECT}}} / on (container) b)", f"max by (pod) (a{{{SELECT}}} / on (pod, container) b)"),
        (f'sum(x{{{SELECT},sum=~"min(a)"}})', f'sum by (pod) (x{{{SELECT},sum=~"min(a)"}})'),
        (f"x{{{SELECT}}} # sum(y)\n", f"x{{{SELECT}}} # sum(y)\n"),
        (f"sum (x{{{SELECT}}}) / avg(x{{{SELECT}}})", f"sum by (pod)  (x{{{SELECT}}}) / avg by (pod) (x{{{SELECT}}})"),
    ],
)
def test_every_aggregation_keeps_the_pod(template: str, wanted: str) -> None:
    """An aggregation keeps the pods' label, whatever it is written like; text, labels and comments stay as they are."""
    found = by_pod(template)
    assert found is not None
    assert " ".join(found.query.split()) == " ".join(wanted.split())
    assert found.label == "pod"


@pytest.mark.parametrize(
    "template",
    [
        f"topk(3, x{{{SELECT}}})",
        f"sum without (instance) (x{{{SELECT}}})",
        f"sum(x{{{SELECT}}}) without (instance)",
        f"sum(x{{{SELECT}}}) or vector(0)",
        f"absent(x{{{SELECT}}})",
        f"scalar(sum(x{{{SELECT}}}))",
        'sum(x{namespace="$namespace"})',
        'sum(x{pod=~"$pods"}) / sum(y{kubernetes_pod_name=~"$pods"})',
    ],
)
def test_what_would_be_another_question_is_refused(template: str) -> None:
    """What compares series with each other, makes one of its own or names no pods is not asked for all at once."""
    assert by_pod(template) is None


@pytest.mark.parametrize("rule", [*DEFAULT_SIGNALS, *SATURATION_SIGNALS], ids=lambda rule: rule.name)
def test_the_shipped_signals_can_all_be_asked_at_once(rule: object) -> None:
    """None of the queries that Lastgood ships needs one request per pod."""
    assert by_pod(rule.query) is not None  # type: ignore[attr-defined]


def test_the_label_that_names_pods_is_found_by_its_placeholder() -> None:
    """Metrics call the pod differently; the label is the one that the template compares with $pods."""
    template = 'sum(rate(x{ns="$namespace", kubernetes_pod_name =~ "$pods"}[$window]))'
    assert pods_label(template) == "kubernetes_pod_name"
    found = by_pod(template)
    assert found is not None
    assert found.query.startswith("sum by (kubernetes_pod_name) (")
