"""A small client of Prometheus' HTTP API (also Thanos, Mimir, VictoriaMetrics), and the safe writing of PromQL.

It answers numbers or raises a fault. What is no number (NaN, ±Inf, native histograms) is no data and left out, and an
answer that says it is incomplete is a fault too: missing data must never look like good or bad data (protocols §7).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp

from daemon.ports import Telemetry
from handlers.faults import Fault, FaultKind, Permanent, Transient, client_faults, from_status

Labels = dict[str, str]
Vector = list[tuple[Labels, float]]
Matrix = list[tuple[Labels, list[tuple[datetime, float]]]]

PEER = "prometheus"

POINTS_MAX = 11_000
"""Most points per series that one query_range may ask for: a fixed limit of Prometheus (web/api/v1/api.go)."""

PARTS_MAX = 10
"""Into how many requests a longer range is split, at most; beyond that the step is too fine for the range."""

ANSWER_BYTES_MAX = 32 * 2**20
"""Largest answer that is read: some 100,000 points with labels. A query that brings more selects too much."""

FOR_MAX = timedelta(days=365)
"""Longest `for` of a rule that is believed: taken from the start of an alert, more leads out of the calendar."""

PODS_MAX = 5_000
"""Most pod names in one query: Kubernetes is tested up to 5,000 nodes, and the query grows to 300 KB here."""

NO_POD = r"[^\x00-\x{10FFFF}]"
"""An RE2 expression that nothing matches. The empty one would match series *without* a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertingRule:
    """An alerting rule as `/api/v1/rules` lists it; `duration` is its `for`, `labels` are those it adds itself."""

    name: str
    group: str
    query: str
    duration: timedelta
    labels: tuple[tuple[str, str], ...]


class PrometheusClient:
    """Asks one Prometheus-compatible server. Every method raises only Transient or Permanent of handlers.faults."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        telemetry: Telemetry,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        """`url` up to and without `/api/v1`. `headers` (tenant, authorization) and `params` (Thanos' dedup) go with
        each request; `timeout` ends a request on our side and, as its `timeout` parameter, the query on the server's.
        """
        self._session = session
        self._url = url.rstrip("/") + "/api/v1"
        self._telemetry = telemetry
        self._headers = dict(headers or {})
        self._params = dict(params or {})
        self._timeout = timeout

    async def query(self, promql: str, at: datetime) -> Vector:
        """The instant vector (a scalar is one series without labels) at that moment; empty means no data, not 0."""
        form = {"query": promql, "time": _unix(at), "timeout": seconds(self._timeout)}
        data = _mapping(await self._ask("POST", "/query", form))
        if data.get("resultType") == "scalar":
            return _vector([{"metric": {}, "value": data.get("result")}])
        return _vector(_result(data, "vector"))

    async def query_range(self, promql: str, start: datetime, end: datetime, step: timedelta) -> Matrix:
        """The samples at every multiple of `step` since the epoch that lies in start..end, both included.

        Aligned, so that two queries of the same range see the same moments. Ranges over the server's limit of points
        are asked for in parts and joined. Raises ValueError for a step under 1 s or more than PARTS_MAX parts.
        """
        whole = int(step.total_seconds())
        if whole < 1:
            raise ValueError(f"step must be 1 s at least, is {step}")
        first, last = math.ceil(start.timestamp() / whole), math.floor(end.timestamp() / whole)
        parts = [(part, min(part + POINTS_MAX - 1, last)) for part in range(first, last + 1, POINTS_MAX)]
        if len(parts) > PARTS_MAX:
            raise ValueError(
                f"{last - first + 1} points are asked for, at most {PARTS_MAX * POINTS_MAX}: use a longer step"
            )
        joined: dict[tuple[tuple[str, str], ...], list[tuple[datetime, float]]] = {}
        for from_, to in parts:
            for labels, samples in await self._range(promql, from_ * whole, to * whole, whole):
                joined.setdefault(tuple(sorted(labels.items())), []).extend(samples)
        return [(dict(labels), samples) for labels, samples in joined.items()]

    async def _range(self, promql: str, start: int, end: int, step: int) -> Matrix:
        form = {
            "query": promql,
            "start": str(start),
            "end": str(end),
            "step": str(step),
            "timeout": seconds(self._timeout),
        }
        return _matrix(_result(_mapping(await self._ask("POST", "/query_range", form)), "matrix"))

    async def rules(self) -> tuple[AlertingRule, ...]:
        """All alerting rules of all groups."""
        data = _mapping(await self._ask("GET", "/rules", {"type": "alert"}))
        return tuple(_rules(data))

    async def label_values(self, label: str, selector: str, start: datetime, end: datetime) -> frozenset[str]:
        """The values of `label` (`__name__`: of the metrics' names) among the series of `selector` that had samples in
        start..end, to a few hours. From the index: no sample is read.
        """
        fields = {"match[]": selector, "start": _unix(start), "end": _unix(end)}
        values = await self._ask("GET", f"/label/{label}/values", fields)
        if not isinstance(values, list):
            raise _strange()
        return frozenset(str(value) for value in values)

    async def _ask(self, method: str, path: str, fields: Mapping[str, str]) -> object:
        """The `data` of one answer; tells telemetry whether the server could be used."""
        try:
            with client_faults(PEER):
                data = await self._send(method, path, fields)
        except Fault as fault:
            # A query that it refuses (400, 422) is our mistake: the server itself is there.
            self._telemetry.contact(PEER, ok=isinstance(fault, Permanent) and bool(fault.code))
            raise
        self._telemetry.contact(PEER, ok=True)
        return data

    async def _send(self, method: str, path: str, fields: Mapping[str, str]) -> object:
        post = method == "POST"
        async with self._session.request(
            method,
            self._url + path,
            params=self._params if post else {**self._params, **fields},
            # A form, not the address: hundreds of pod names are too long for an address.
            data=fields if post else None,
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=self._timeout.total_seconds()),
            # A redirect would turn the POST into a GET and carry the headers elsewhere.
            allow_redirects=False,
        ) as answer:
            body = await _read(answer)
            return _data(answer.status, answer.headers, body)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise Permanent(f"{PEER} answered more than {ANSWER_BYTES_MAX} bytes", FaultKind.CLIENT)
    return bytes(body)


def _data(status: int, headers: Mapping[str, str], body: bytes) -> object:
    """`data` of the envelope `{status, data, errorType, error, warnings}`; raises what the answer stands for."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    envelope = parsed if isinstance(parsed, dict) else {}
    if not 200 <= status <= 299:
        code, message = envelope.get("errorType"), envelope.get("error")
        raise from_status(status, headers, peer=PEER, message=str(message or ""), code=str(code or ""))
    data = envelope.get("data")
    if envelope.get("status") != "success" or not isinstance(data, dict | list):
        # A proxy's login page, or something else that is no Prometheus.
        raise _strange(status)
    _refuse_partial(envelope.get("warnings"))
    return data


def _mapping(data: object) -> Mapping[str, object]:
    if not isinstance(data, dict):
        raise _strange()
    return data


def _strange(status: int | None = None) -> Transient:
    return Transient(None, f"{PEER} answered something that is not its format", FaultKind.SERVER, status=status)


def _refuse_partial(warnings: object) -> None:
    """Warnings say that a store did not answer (Thanos, remote read), except those about the query's own wording."""
    texts = [str(text) for text in warnings] if isinstance(warnings, list) else []
    missing = [text for text in texts if not text.startswith("PromQL ")]
    if missing:
        raise Transient(None, f"{PEER} answered in part: {missing[0]}", FaultKind.SERVER, code="partial")


def _result(data: Mapping[str, object], expected: str) -> list[object]:
    result = data.get("result")
    if data.get("resultType") != expected or not isinstance(result, list):
        raise Permanent(f"the query gives no {expected}", FaultKind.INVALID, code="result_type")
    return result


def _vector(result: Iterable[object]) -> Vector:
    vector: Vector = []
    for entry in result:
        labels, fields = _series(entry)
        sample = _sample(fields.get("value"))
        if sample is not None:
            vector.append((labels, sample[1]))
    return vector


def _matrix(result: Iterable[object]) -> Matrix:
    matrix: Matrix = []
    for entry in result:
        labels, fields = _series(entry)
        raw = fields.get("values")
        samples = [sample for value in (raw if isinstance(raw, list) else []) if (sample := _sample(value)) is not None]
        if samples:
            matrix.append((labels, samples))
    return matrix


def _series(entry: object) -> tuple[Labels, Mapping[str, object]]:
    metric = entry.get("metric") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(metric, dict):
        raise Transient(None, f"{PEER} answered a series that is not its format", FaultKind.SERVER)
    return {str(name): str(value) for name, value in metric.items()}, entry


def _sample(raw: object) -> tuple[datetime, float] | None:
    """`[unix seconds, "number"]`; None where it is no finite number (0/0 gives NaN) or there is none (histograms)."""
    if raw is None:
        return None
    at, text = raw if isinstance(raw, list) and len(raw) == 2 else ("", "")
    try:
        moment, number = datetime.fromtimestamp(float(at), UTC), float(text)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Transient(None, f"{PEER} answered a sample that is not its format", FaultKind.SERVER) from None
    return (moment, number) if math.isfinite(number) else None


def _rules(data: Mapping[str, object]) -> Iterable[AlertingRule]:
    groups = data.get("groups")
    for group in groups if isinstance(groups, list) else []:
        rules = group.get("rules") if isinstance(group, dict) else None
        for rule in rules if isinstance(rules, list) else []:
            if isinstance(rule, dict) and rule.get("type") == "alerting":
                yield _rule(str(group.get("name", "")), rule)


def _rule(group: str, rule: Mapping[str, object]) -> AlertingRule:
    labels = rule.get("labels")
    return AlertingRule(
        name=str(rule.get("name", "")),
        group=group,
        query=str(rule.get("query", "")),
        duration=_duration(rule.get("duration")),
        labels=tuple(sorted((str(k), str(v)) for k, v in labels.items())) if isinstance(labels, dict) else (),
    )


def _duration(seconds: object) -> timedelta:
    """A rule's `for`, at most FOR_MAX; none where it is no number."""
    if not isinstance(seconds, int | float) or not seconds > 0:  # NaN is not
        return timedelta()
    return min(timedelta(seconds=min(seconds, FOR_MAX.total_seconds())), FOR_MAX)


def _unix(at: datetime) -> str:
    return f"{at.timestamp():.3f}"


def seconds(span: timedelta) -> str:
    """A duration as PromQL writes it, whole milliseconds: `90s`, `1500ms`. Raises ValueError if it is not positive."""
    milliseconds = round(span / timedelta(milliseconds=1))
    if milliseconds <= 0:
        raise ValueError(f"a PromQL duration must be positive, is {span}")
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\ufffd": "\\ufffd"}


def escape_label(value: str) -> str:
    """`value` for use between double quotes in PromQL: whatever it holds, it stays inside of the string.

    What is not printable is written as its code point; half a surrogate pair, which is no character, as U+FFFD. That
    one is always written so: PromQL takes it for broken UTF-8.
    """
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code_point(ord(char))) for char in value)


def _code_point(number: int) -> str:
    if 0xD800 <= number <= 0xDFFF:
        number = 0xFFFD
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


_RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def pods_regex(names: Sequence[str]) -> str:
    """An RE2 expression that matches exactly these pod names, not yet escaped for PromQL; nothing for no names.

    Raises ValueError for more than PODS_MAX names.
    """
    if len(names) > PODS_MAX:
        raise ValueError(f"{len(names)} pods, at most {PODS_MAX} fit into one query")
    return exactly([name for name in names if name]) or NO_POD


def exactly(names: Iterable[str]) -> str:
    """An RE2 expression that matches exactly these, not yet escaped for PromQL.

    Escapes as Go's regexp.QuoteMeta does (Python's re.escape writes sequences that RE2 refuses).
    """
    return "|".join(_RE2_SPECIAL.sub(r"\\\g<0>", name) for name in sorted(set(names)))


_PLACEHOLDER = re.compile(r"\$(namespace|pods|window)\b")


def render(
    template: str, *, namespace: str, pods: Sequence[str], window: timedelta, patterns: Sequence[str] = ()
) -> str:
    """The template with `$namespace` and `$pods` (to stand between double quotes) and `$window` filled in.

    `patterns` are RE2 expressions of ours that match further pods; names from outside are only ever `pods`.
    One pass: a value that looks like a placeholder is not filled in again. Any other `$` stays as it is.
    """
    named = [pods_regex(pods)] if pods or not patterns else []
    values = {
        "namespace": escape_label(namespace),
        "pods": escape_label("|".join([*named, *patterns])),
        "window": seconds(window),
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
