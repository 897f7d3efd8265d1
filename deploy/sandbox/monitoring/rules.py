"""Alert rules and the routing of alerts, as values; written out as Prometheus' and Alertmanager's own configuration.

Both servers read YAML, of which JSON is a part: the files are JSON, and no YAML writer is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.sandbox.monitoring.labels import Matcher
from deploy.sandbox.monitoring.wire import format_number

_TEMPLATE = re.compile(r"\{\{\s*(?:\$labels\.([a-zA-Z_]\w*)|(\$value))\s*\}\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One alerting rule. Values of labels and annotations may hold `{{ $labels.NAME }}` and `{{ $value }}`, no more."""

    alert: str
    expr: str
    for_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in {**self.labels, **self.annotations}.items():
            if "{{" in _TEMPLATE.sub("", value):
                raise ValueError(f"rule {self.alert}, {name}: use only {{{{ $labels.NAME }}}} and {{{{ $value }}}}")

    def expanded(self, texts: Mapping[str, str], labels: Mapping[str, str], value: float) -> dict[str, str]:
        """`texts` (the rule's labels or annotations) for one element of the rule's result."""

        def put(found: re.Match[str]) -> str:
            return labels.get(found[1], "") if found[1] else format_number(value)

        return {name: _TEMPLATE.sub(put, text) for name, text in texts.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class InhibitRule:
    """Alerts that match `target` are inhibited while one that matches `source` fires with the same `equal` labels."""

    source: Sequence[Matcher]
    target: Sequence[Matcher]
    equal: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Routing:
    """Alertmanager's one route and its webhook. Times in seconds; `max_alerts` 0 = no limit."""

    receiver: str = "lastgood"
    group_by: Sequence[str] = ("namespace", "alertname")
    group_wait_seconds: float = 0.0
    group_interval_seconds: float = 1.0
    repeat_interval_seconds: float = 3600.0
    max_alerts: int = 0
    inhibit_rules: Sequence[InhibitRule] = ()


def default_rules(*, window_seconds: float = 5.0, for_seconds: float = 2.0) -> tuple[Rule, ...]:
    """The demo's rules: more than 5 % errors of a service, and a container in a crash loop.

    `window_seconds` is the range of `rate`; take at least four scrape intervals.
    """
    window = duration(window_seconds)
    errors = f'sum by (namespace, app) (rate(http_requests_total{{code=~"5.."}}[{window}]))'
    requests = f"sum by (namespace, app) (rate(http_requests_total[{window}]))"
    waiting = 'kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff"}'
    return (
        Rule(
            alert="HighErrorRate",
            expr=f"{errors} / {requests} > 0.05",
            for_seconds=for_seconds,
            labels={"severity": "critical", "deployment": "{{ $labels.app }}"},
            annotations={"summary": "{{ $labels.namespace }}/{{ $labels.app }} fails {{ $value }} of its requests"},
        ),
        Rule(
            alert="PodCrashLooping",
            expr=f"max by (namespace, pod) (max_over_time({waiting}[{window}])) >= 1",
            for_seconds=for_seconds,
            labels={"severity": "critical"},
            annotations={"summary": "pod {{ $labels.namespace }}/{{ $labels.pod }} cannot start"},
        ),
    )


def duration(seconds: float) -> str:
    """A Prometheus duration, whole seconds or milliseconds: both servers read `5s` and `1500ms` alike."""
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def prometheus_rules(rules: Sequence[Rule], evaluation_seconds: float) -> dict[str, Any]:
    """The content of a Prometheus rule file."""
    listed = [
        {
            "alert": rule.alert,
            "expr": rule.expr,
            "for": duration(rule.for_seconds),
            "labels": dict(rule.labels),
            "annotations": dict(rule.annotations),
        }
        for rule in rules
    ]
    return {"groups": [{"name": "sandbox", "interval": duration(evaluation_seconds), "rules": listed}]}


def prometheus_config(
    *, sd_url: str, alertmanager: str, rule_file: str, scrape_seconds: float, evaluation_seconds: float
) -> dict[str, Any]:
    """Prometheus' configuration; `alertmanager` is host:port. Labels of the pages win over those of the targets."""
    discovery = {"url": sd_url, "refresh_interval": duration(max(0.2, scrape_seconds / 2))}
    return {
        "global": {
            "scrape_interval": duration(scrape_seconds),
            "scrape_timeout": duration(scrape_seconds),
            "evaluation_interval": duration(evaluation_seconds),
        },
        "rule_files": [rule_file],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}], "timeout": "5s"}]},
        "scrape_configs": [{"job_name": "services", "honor_labels": True, "http_sd_configs": [discovery]}],
    }


def alertmanager_config(*, routing: Routing, webhook_url: str, webhook_token: str) -> dict[str, Any]:
    """Alertmanager's configuration: one route to one webhook with bearer credentials."""
    webhook: dict[str, Any] = {"url": webhook_url, "send_resolved": True, "max_alerts": routing.max_alerts}
    if webhook_token:
        webhook["http_config"] = {"authorization": {"type": "Bearer", "credentials": webhook_token}}
    return {
        "route": {
            "receiver": routing.receiver,
            "group_by": list(routing.group_by),
            "group_wait": duration(routing.group_wait_seconds),
            "group_interval": duration(routing.group_interval_seconds),
            "repeat_interval": duration(routing.repeat_interval_seconds),
        },
        "receivers": [{"name": routing.receiver, "webhook_configs": [webhook]}],
        "inhibit_rules": [
            {
                "source_matchers": [str(each) for each in rule.source],
                "target_matchers": [str(each) for each in rule.target],
                "equal": list(rule.equal),
            }
            for rule in routing.inhibit_rules
        ],
    }
