"""The metrics that there are, for the tests that hold rules and dashboard to them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from daemon.runtime.telemetry import Metrics
from tests.repository import ROOT

RULES = ROOT / "deploy/helm/lastgood/files/prometheus-rules.yaml"
DASHBOARD = ROOT / "deploy/helm/lastgood/files/dashboard.json"

FOREIGN = {
    "up": {"job", "instance"},  # Prometheus' own
    "kube_replicaset_created": {"namespace", "replicaset"},  # kube-state-metrics
    "http_requests_total": {"namespace", "pod", "code", "status"},  # the workloads'; what the default signals read
    "http_request_duration_seconds_bucket": {"namespace", "pod", "le"},
}
"""Series that others expose, with the labels that may be used of them."""

NO_NAME = set("and or unless on ignoring by without group_left group_right offset bool Inf inf sum count max".split())
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR = re.compile(r'([a-zA-Z_:][\w:]*)\s*\{((?:[^}"]|"(?:[^"\\]|\\.)*")*)\}')
_NAME = re.compile(r"(?<![\w$.])([a-zA-Z_:][\w:]*)\b(?!\s*\()")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


@functools.cache
def ours() -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Every series of the daemon, as scraped: its labels, each with the values that it starts with."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in Metrics().registry.collect():
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return {name: {label: frozenset(v) for label, v in labels.items()} for name, labels in found.items()}


def names_in(expression: str) -> set[str]:
    """The names of the series that a PromQL expression reads."""
    without_texts = _QUOTED.sub('""', expression)  # a brace or a word in a text means nothing
    bare = _GROUPING.sub(" ", re.sub(r"\[[^\]]*\]|\{[^}]*\}", " ", without_texts))
    return {name for name in _NAME.findall(bare) if name not in NO_NAME}


def faults_of(expression: str) -> list[str]:
    """What a PromQL expression asks for that does not exist: a series, a label, or a value that no label ever has."""
    found = [f"no series {name}" for name in names_in(expression) if name not in ours() and name not in FOREIGN]
    for name, inside in _SELECTOR.findall(expression):
        known = ours().get(name)
        for label, operator, text in _MATCHER.findall(inside):
            if known is None:
                if label not in FOREIGN.get(name, ()):
                    found.append(f"{name} has no label {label}")
            elif label not in known:
                found.append(f"{name} has no label {label}")
            elif "$" not in text and not _some_value(operator, text, known[label]):
                found.append(f"{name}: no {label} is {text!r}")
    return found


def _some_value(operator: str, text: str, values: frozenset[str]) -> bool:
    """Whether each alternative of a matcher is, or matches, a value that the label has."""
    if operator in {"=", "!="}:
        return text in values
    return all(any(re.fullmatch(part, value) for value in values) for part in text.split("|"))
