"""Servers that we ask: Prometheus, Alertmanager, vendors. Whatever they answer is a value or a fault, never a bug of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from daemon.cli import client
from daemon.cli.exits import CliError
from handlers import prometheus
from handlers.alert_history import spells_of
from handlers.alertmanager_api import Reading, _alert, merged
from handlers.alerts import MalformedError, parse_json
from handlers.backtest import daemon_history
from handlers.code_host import github, is_github_limit, wait_until_reset
from handlers.faults import Fault, from_status, retry_after_seconds
from handlers.kube import _event, status_fault
from handlers.outbound.locate import _duration
from handlers.outbound.slack.answers import api_result
from handlers.pagerduty_events import EventsApi
from handlers.preflight.selectors import matchers_in, selectors
from handlers.signal_sources import alternatives_of
from handlers.slack_replies import SlackReplies
from tests.core.builders import an_alert
from tests.fuzz.targets import Parser
from tests.fuzz.targets_senders import GOLDEN, raw


@dataclass
class Response:
    """What of an aiohttp answer the readers look at."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def envelope(result_type: str, result: object) -> bytes:
    return raw({"status": "success", "data": {"resultType": result_type, "result": result}})


def vector(data: bytes) -> object:
    found = prometheus._mapping(prometheus._data(200, {}, data))
    return prometheus._vector(prometheus._result(found, "vector"))


def matrix(data: bytes) -> object:
    found = prometheus._mapping(prometheus._data(200, {}, data))
    read = prometheus._matrix(prometheus._result(found, "matrix"))
    return spells_of(read, timedelta(minutes=1))


def rules(data: bytes) -> object:
    """What is done with them: an onset is a start minus a rule's duration."""
    found = tuple(prometheus._rules(prometheus._mapping(prometheus._data(200, {}, data))))
    alert = an_alert()
    for rule in found:
        if (duration := _duration((rule,), alert)) is not None:
            alert.starts_at - duration
        selectors(rule.query)
        matchers_in(rule.query)
        alternatives_of(rule.query)
    return found


def failure(data: bytes) -> object:
    return prometheus._data(422, {"Retry-After": data[:40].decode("latin-1")}, data)


def listed_alerts(data: bytes) -> object:
    entries = parse_json(data, "answer")
    found = [_alert(each, index) for index, each in enumerate(entries if isinstance(entries, list) else [])]
    return merged([Reading(alerts=tuple(each for each in found if each is not None), complete=True)])


def slack(data: bytes) -> object:
    return api_result(cast("Any", Response()), data)


def slack_url(data: bytes) -> object:
    return SlackReplies(cast("Any", None), "https://slack.com/api").leads_to_slack(data.decode("utf-8", "replace"))


def pagerduty(data: bytes) -> object:
    raise EventsApi(cast("Any", None), "https://pagerduty", "key")._fault(cast("Any", Response(status=400)), data)


def vendor(data: bytes) -> object:
    host = github(cast("Any", None), "https://api.github", "token")
    refused = [host._understood(cast("Any", Response(status=status)), data) for status in (403, 422)]
    for answer in refused:
        is_github_limit(answer)
        str(host.fault(answer, {}))
    return host._understood(cast("Any", Response()), data)


def waits(data: bytes) -> object:
    """Header lines of an answer."""
    lines = data.decode("latin-1").split("\n")
    headers = dict(zip(("Retry-After", "Date", "X-RateLimit-Reset"), lines, strict=False))
    from_status(429, headers, peer="x")
    return retry_after_seconds(headers), wait_until_reset(headers)


def watch_event(data: bytes) -> object:
    return _event(data)


def kube_status(data: bytes) -> object:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = {}
    raise status_fault(409, {}, found if isinstance(found, dict) else {})


def told(read: Callable[[Any], object]) -> Callable[[bytes], object]:
    def understood(data: bytes) -> object:
        document = client._document(200, data, client.Address(socket=Path("s"), server=None))
        return read(document)

    return understood


def history(document: Any) -> object:
    return [
        daemon_history.untold(document),
        list(daemon_history.rollouts(document)),
        daemon_history.judged(document),
        list(daemon_history.truths(document)),
    ]


def refused_command(data: bytes) -> object:
    return client._document(409, data, client.Address(socket=Path("s"), server=None))


LABELS = {"__name__": "up", "pod": "web-1"}
RULE = {
    "type": "alerting",
    "name": "HighErrors",
    "query": 'rate(e{a="b"}[5m]) > 0',
    "duration": 60,
    "labels": {"severity": "critical"},
}
STATUS = {
    "kind": "Status",
    "message": "no",
    "reason": "Conflict",
    "details": {"retryAfterSeconds": 1, "causes": [{"reason": "X", "field": "a", "message": "b"}]},
}
ROW = {
    "revision": {"id": "ab"},
    "replaced": {"id": "cd"},
    "started_at": "2026-03-02T12:00:00Z",
    "completed_at": "2026-03-02T12:01:00Z",
}
HISTORY = {
    "workload": "shop/Deployment/web",
    "rollouts": [ROW],
    "workloads": [
        {
            "workload": "shop/DaemonSet/x",
            "latest": [{"at": "2026-03-02T12:00:00Z", "word": "right", "made": "roll_back"}],
            "decisions": {"roll_back": {"right": 1}},
        }
    ],
}
PROMETHEUS = ("handlers.prometheus", "handlers.faults")
PARSERS = (
    Parser(
        name="prometheus-vector",
        covers=PROMETHEUS,
        read=vector,
        refuses=(Fault,),
        seeds=(envelope("vector", [{"metric": LABELS, "value": [1.5, "0.25"]}]),),
    ),
    Parser(
        name="prometheus-matrix",
        covers=(*PROMETHEUS, "handlers.alert_history"),
        read=matrix,
        refuses=(Fault,),
        seeds=(envelope("matrix", [{"metric": LABELS, "values": [[1, "1"], [2, "NaN"], [300, "2"]]}]),),
    ),
    Parser(
        name="prometheus-rules",
        covers=(*PROMETHEUS, "handlers.outbound.locate", "handlers.preflight.selectors", "handlers.signal_sources"),
        read=rules,
        refuses=(Fault,),
        seeds=(raw({"status": "success", "data": {"groups": [{"name": "g", "rules": [RULE]}]}}),),
    ),
    Parser(
        name="prometheus-failure",
        covers=PROMETHEUS,
        read=failure,
        refuses=(Fault,),
        seeds=(raw({"status": "error", "errorType": "bad_data", "error": "parse error"}),),
    ),
    Parser(
        name="alertmanager-alerts",
        covers=("handlers.alertmanager_api", "handlers.alerts"),
        read=listed_alerts,
        refuses=(MalformedError,),
        seeds=((GOLDEN / "alertmanager/api_alerts.json").read_bytes(),),
    ),
    Parser(
        name="slack-answer",
        covers=("handlers.outbound.slack.answers",),
        read=slack,
        refuses=(Fault,),
        seeds=(raw({"ok": True, "ts": "1.1"}), raw({"ok": False, "error": "ratelimited"})),
    ),
    Parser(
        name="slack-response-url",
        covers=("handlers.slack_replies",),
        read=slack_url,
        refuses=(),
        shape="text",
        seeds=(b"https://hooks.slack.com/actions/T/1/x", b"https://hooks.slack.com:443@evil/"),
    ),
    Parser(
        name="pagerduty-answer",
        covers=("handlers.pagerduty_events",),
        read=pagerduty,
        refuses=(Fault,),
        seeds=(raw({"status": "invalid event", "message": "bad", "errors": ["a"]}),),
    ),
    Parser(
        name="vendor-answer",
        covers=("handlers.code_host",),
        read=vendor,
        refuses=(Fault,),
        seeds=(raw({"message": "no", "errors": [{"a": 1}]}), raw([{"id": 1}])),
    ),
    Parser(
        name="answer-headers",
        covers=("handlers.faults", "handlers.code_host"),
        read=waits,
        refuses=(),
        shape="text",
        seeds=(
            b"120\nWed, 21 Oct 2026 07:28:00 GMT\n1700000000",
            b"Wed, 21 Oct 2026 07:28:00 GMT\nWed, 21 Oct 2026 07:28:00 GMT\n9",
        ),
    ),
    Parser(
        name="kube-watch-event",
        covers=("handlers.kube", "handlers.kube_json"),
        read=watch_event,
        refuses=(Fault,),
        seeds=(
            raw({"type": "ADDED", "object": {"metadata": {"name": "x"}}}),
            raw({"type": "ERROR", "object": {**STATUS, "code": 410}}),
        ),
    ),
    Parser(
        name="kube-status",
        covers=("handlers.kube", "handlers.faults"),
        read=kube_status,
        refuses=(Fault,),
        seeds=(raw(STATUS),),
    ),
    Parser(
        name="daemon-answer",
        covers=("daemon.cli.client", "handlers.backtest.daemon_history"),
        read=told(history),
        refuses=(CliError,),
        seeds=(raw(HISTORY),),
    ),
    Parser(
        name="daemon-refusal",
        covers=("daemon.cli.client",),
        read=refused_command,
        refuses=(CliError,),
        seeds=(raw({"error": "no", "remedy": "do"}),),
    ),
)
