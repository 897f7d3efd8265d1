"""Evaluates alerting rules over the store, with `for`, and keeps `ALERTS` and `ALERTS_FOR_STATE`.

The states and when an alert is sent follow Prometheus' rules/alerting.go and rules/manager.go: `startsAt` is when the
alert began to *fire*, `endsAt` of a firing one is four resend delays ahead, a resolved one is kept for 15 minutes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from deploy.sandbox.monitoring.labels import NAME, Labels, drop, freeze
from deploy.sandbox.monitoring.parser import parse
from deploy.sandbox.monitoring.promql import Evaluator, ExecutionError
from deploy.sandbox.monitoring.rules import Rule
from deploy.sandbox.monitoring.samples import SampleStore
from deploy.sandbox.monitoring.tree import Node
from deploy.sandbox.monitoring.wire import format_number, format_time

RESOLVED_KEPT_MS = 15 * 60 * 1000
"""How long a resolved alert is remembered, so that a lost notification can be made good."""


@dataclass(slots=True, eq=False)
class _Active:
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float
    active_ms: int
    state: str = "pending"
    fired_ms: int = 0
    resolved_ms: int | None = None
    sent_ms: int | None = None


@dataclass(slots=True, eq=False)
class _RuleState:
    rule: Rule
    node: Node
    active: dict[Labels, _Active]
    written: set[Labels]
    error: str = ""
    evaluated_ms: int = 0
    took_seconds: float = 0.0


class RuleEvaluator:
    """All rules, in one group. Raises `ParseError` or `UnsupportedError` at once for a rule it cannot evaluate."""

    def __init__(
        self, *, rules: Sequence[Rule], store: SampleStore, interval_seconds: float, resend_seconds: float
    ) -> None:
        self._store = store
        self._evaluator = Evaluator(store)
        self._interval_seconds = interval_seconds
        self._resend_ms = int(resend_seconds * 1000)
        self._valid_ms = 4 * max(self._resend_ms, int(interval_seconds * 1000))
        self._states = [_RuleState(rule, parse(rule.expr), {}, set()) for rule in rules]

    def evaluate(self, now_ms: int, *, prometheus_url: str) -> list[dict[str, Any]]:
        """Evaluate once; returns what is to be sent now, in the shape of Alertmanager's `POST /api/v2/alerts`."""
        to_send = []
        for state in self._states:
            started = time.perf_counter()
            try:
                self._evaluate(state, now_ms)
                state.error = ""
            except ExecutionError as error:  # the rule keeps its alerts as they are, as in Prometheus
                state.error = str(error)
            state.evaluated_ms, state.took_seconds = now_ms, time.perf_counter() - started
            url = f"{prometheus_url}/graph?g0.expr={quote_plus(state.rule.expr)}&g0.tab=1"
            for alert in state.active.values():
                if self._is_due(alert, now_ms):
                    alert.sent_ms = now_ms
                    to_send.append(self._posted(alert, now_ms, url))
        return to_send

    def _evaluate(self, state: _RuleState, now_ms: int) -> None:
        seen: set[Labels] = set()
        for labels, value in self._evaluator.vector(state.node, now_ms).items():
            source = dict(drop(labels, NAME))
            named = {**source, **state.rule.expanded(state.rule.labels, source, value), "alertname": state.rule.alert}
            key, annotations = freeze(named), state.rule.expanded(state.rule.annotations, source, value)
            if key in seen:
                raise ExecutionError("vector contains metrics with the same labelset after applying alert labels")
            seen.add(key)
            known = state.active.get(key)
            if known is None or known.state == "inactive":
                state.active[key] = _Active(dict(key), annotations, value, now_ms)
            else:
                known.value, known.annotations = value, annotations
        self._advance(state, seen, now_ms)
        self._write(state, now_ms)

    def _advance(self, state: _RuleState, seen: set[Labels], now_ms: int) -> None:
        for key, alert in list(state.active.items()):
            if key in seen:
                if alert.state == "pending" and now_ms - alert.active_ms >= state.rule.for_seconds * 1000:
                    alert.state, alert.fired_ms = "firing", now_ms
            elif alert.state == "pending":
                del state.active[key]
            elif alert.resolved_ms is None:
                alert.state, alert.resolved_ms = "inactive", now_ms
            elif now_ms - alert.resolved_ms > RESOLVED_KEPT_MS:
                del state.active[key]

    def _write(self, state: _RuleState, now_ms: int) -> None:
        written: set[Labels] = set()
        for alert in state.active.values():
            if alert.state == "inactive":
                continue
            shown = freeze({**alert.labels, NAME: "ALERTS", "alertstate": alert.state})
            since = freeze({**alert.labels, NAME: "ALERTS_FOR_STATE"})
            self._store.append(shown, now_ms, 1.0)
            self._store.append(since, now_ms, float(alert.active_ms // 1000))
            written |= {shown, since}
        self._store.end(state.written - written, now_ms)
        state.written = written

    def _is_due(self, alert: _Active, now_ms: int) -> bool:
        if alert.state == "pending":
            return False
        if alert.sent_ms is None or (alert.resolved_ms or 0) > alert.sent_ms:
            return True
        return alert.sent_ms + self._resend_ms < now_ms

    def _posted(self, alert: _Active, now_ms: int, url: str) -> dict[str, Any]:
        ends_ms = now_ms + self._valid_ms if alert.resolved_ms is None else alert.resolved_ms
        return {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": format_time(alert.fired_ms / 1000),
            "endsAt": format_time(ends_ms / 1000),
            "generatorURL": url,
        }

    def described(self) -> dict[str, Any]:
        """The `data` of `GET /api/v1/rules`."""
        rules = [self._described(state) for state in self._states]
        evaluated = max((state.evaluated_ms for state in self._states), default=0)
        group = {
            "name": "sandbox",
            "file": "sandbox",
            "rules": rules,
            "interval": self._interval_seconds,
            "limit": 0,
            "evaluationTime": sum(state.took_seconds for state in self._states),
            "lastEvaluation": format_time(evaluated / 1000),
        }
        return {"groups": [group]}

    def _described(self, state: _RuleState) -> dict[str, Any]:
        alerts = [
            {
                "labels": alert.labels,
                "annotations": alert.annotations,
                "state": alert.state,
                "activeAt": format_time(alert.active_ms / 1000),
                "value": format_number(alert.value),
            }
            for alert in state.active.values()
            if alert.state != "inactive"
        ]
        states = {alert["state"] for alert in alerts}
        return {
            "state": next((each for each in ("firing", "pending") if each in states), "inactive"),
            "name": state.rule.alert,
            "query": state.rule.expr,
            "duration": state.rule.for_seconds,
            "labels": dict(state.rule.labels),
            "annotations": dict(state.rule.annotations),
            "alerts": alerts,
            "health": "err" if state.error else "ok",
            **({"lastError": state.error} if state.error else {}),
            "evaluationTime": state.took_seconds,
            "lastEvaluation": format_time(state.evaluated_ms / 1000),
            "type": "alerting",
        }
