"""The Prometheus client on a scripted server: numbers or a fault, nothing in between; and PromQL that stays PromQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.faults import FaultKind, Permanent, Transient
from handlers.prometheus import (
    ANSWER_BYTES_MAX,
    NO_POD,
    PARTS_MAX,
    PODS_MAX,
    POINTS_MAX,
    PrometheusClient,
    escape_label,
    pods_regex,
    render,
    seconds,
)
from tests.handlers.intake_fakes import T0, Counted

pytestmark = pytest.mark.looptime(False)  # real sockets: virtual time would run past them

SECOND = timedelta(seconds=1)


class Scripted:
    """A server that answers what it is told and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | None = None
        self.data: Any = {"resultType": "vector", "result": []}
        self.extra: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, str], Mapping[str, str]]] = []
        self.counted = Counted()

    async def answer(self, request: web.Request) -> web.Response:
        form = {**request.query, **{k: str(v) for k, v in (await request.post()).items()}}
        self.asked.append((request.method, request.path, form, request.headers))
        body = json.dumps({"status": "success", "data": self.data, **self.extra}).encode()
        return web.Response(status=self.status, body=body if self.body is None else self.body)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[PrometheusClient]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            yield PrometheusClient(session, str(server.make_url("/prom/")), telemetry=self.counted, **options)


def vector(*values: Any, **labels: str) -> dict[str, Any]:
    return {"resultType": "vector", "result": [{"metric": labels, "value": [1, value]} for value in values]}


async def test_a_query() -> None:
    """It is a POST form with time and time-out, own headers and parameters; the answer is labels and numbers."""
    scripted = Scripted()
    scripted.data = vector("1.5", pod="a")
    async with scripted.client(headers={"X-Scope-OrgID": "t"}, params={"dedup": "true"}) as client:
        assert await client.query("up", T0) == [({"pod": "a"}, 1.5)]
    (method, path, form, headers) = scripted.asked[0]
    assert (method, path) == ("POST", "/prom/api/v1/query")
    assert form == {"query": "up", "time": f"{T0.timestamp():.3f}", "timeout": "10s", "dedup": "true"}
    assert headers["X-Scope-OrgID"] == "t"
    assert scripted.counted.contacts == [("prometheus", True)]


async def test_what_is_no_number_is_no_data() -> None:
    """NaN, infinities and native histograms are left out; a scalar is one series without labels."""
    scripted = Scripted()
    scripted.data = vector("NaN", "+Inf", "-Inf", "2")
    scripted.data["result"].append({"metric": {}, "histogram": [1, {"count": "3"}]})
    async with scripted.client() as client:
        assert await client.query("x", T0) == [({}, 2.0)]
        scripted.data = {"resultType": "scalar", "result": [1, "7"]}
        assert await client.query("7", T0) == [({}, 7.0)]


async def test_no_result_is_empty_and_no_fault() -> None:
    """A wrong label gives an empty success: no data, which the caller must not read as 0."""
    async with Scripted().client() as client:
        assert await client.query("x", T0) == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"status": "success"}',
        b'{"status": "error", "data": {}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "1"]}]}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "one"]}]}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": ["x", "1"]}]}}',
        b'{"status": "success", "data": {"resultType": "vector", "result": [7]}}',
    ],
)
async def test_what_is_not_the_format_is_a_fault(body: bytes) -> None:
    """A proxy's login page is not "no data": it may pass, and until then nothing is known."""
    scripted = Scripted()
    scripted.body = body
    async with scripted.client() as client:
        with pytest.raises(Transient) as raised:
            await client.query("x", T0)
    assert raised.value.kind is FaultKind.SERVER


@pytest.mark.parametrize(
    ("status", "error_type", "fault", "reachable"),
    [
        (400, "bad_data", Permanent, True),
        (422, "execution", Permanent, True),
        (503, "timeout", Transient, False),
        (500, "", Transient, False),
        (401, "", Permanent, False),
        (302, "", Permanent, False),
    ],
)
async def test_errors(status: int, error_type: str, fault: type[Exception], *, reachable: bool) -> None:
    """A query that is refused is our mistake and the server is there; the rest means that it cannot be used."""
    scripted = Scripted()
    scripted.status = status
    scripted.body = json.dumps({"status": "error", "errorType": error_type, "error": "why"}).encode()
    async with scripted.client() as client:
        with pytest.raises(fault, match="why"):
            await client.query("x", T0)
    assert scripted.counted.contacts == [("prometheus", reachable)]


async def test_an_incomplete_answer_is_a_fault() -> None:
    """A store that did not answer makes the numbers wrong, not smaller; remarks on the query's wording do not."""
    scripted = Scripted()
    scripted.data = vector("1")
    async with scripted.client() as client:
        scripted.extra = {"warnings": ["PromQL warning: bucket label", "No StoreAPIs matched"]}
        with pytest.raises(Transient, match="answered in part: No StoreAPIs matched"):
            await client.query("x", T0)
        scripted.extra = {"warnings": ["PromQL warning: bucket label"], "infos": ["PromQL info: a"]}
        assert await client.query("x", T0) == [({}, 1.0)]


async def test_a_server_that_is_not_there() -> None:
    """A refused connection is transient and counted."""
    scripted = Scripted()
    async with scripted.client() as client:
        client._url = "http://127.0.0.1:9/api/v1"
        with pytest.raises(Transient):
            await client.query("x", T0)
    assert scripted.counted.contacts == [("prometheus", False)]


async def test_an_endless_answer_is_cut() -> None:
    """More than the limit is a fault, and the query's own mistake."""
    scripted = Scripted()
    scripted.body = b" " * (ANSWER_BYTES_MAX + 1)
    async with scripted.client() as client:
        with pytest.raises(Permanent, match="more than"):
            await client.query("x", T0)


async def test_a_range_is_aligned() -> None:
    """Only multiples of the step within the range; a step under a second and a too fine one are refused."""
    scripted = Scripted()
    scripted.data = {
        "resultType": "matrix",
        "result": [
            {"metric": {"pod": "a"}, "values": [[1200, "1"], [1215, "NaN"]]},
            {"metric": {}, "values": [[1, "NaN"]]},
        ],
    }
    start = datetime.fromtimestamp(1193, UTC)
    async with scripted.client() as client:
        got = await client.query_range("x", start, start + 40 * SECOND, 15 * SECOND)
        assert got == [({"pod": "a"}, [(datetime.fromtimestamp(1200, UTC), 1.0)])]
        form = scripted.asked[0][2]
        assert (form["start"], form["end"], form["step"]) == ("1200", "1230", "15")
        assert await client.query_range("x", start, start + SECOND, 15 * SECOND) == []
        assert len(scripted.asked) == 1
        with pytest.raises(ValueError, match="step must be"):
            await client.query_range("x", start, start, SECOND / 2)
        with pytest.raises(ValueError, match="use a longer step"):
            await client.query_range("x", start, start + PARTS_MAX * POINTS_MAX * SECOND, SECOND)


async def test_a_long_range_is_asked_for_in_parts() -> None:
    """No request asks for more points than the server allows, none is asked for twice, and the series are joined."""
    scripted = Scripted()
    scripted.data = {"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": [[0, "1"]]}]}
    start = datetime.fromtimestamp(0, UTC)
    async with scripted.client() as client:
        ((labels, samples),) = await client.query_range("x", start, start + POINTS_MAX * SECOND, SECOND)
    ranges = [(form["start"], form["end"]) for _, _, form, _ in scripted.asked]
    assert ranges == [("0", str(POINTS_MAX - 1)), (str(POINTS_MAX), str(POINTS_MAX))]
    assert (labels, len(samples)) == ({"a": "b"}, 2)


async def test_rules() -> None:
    """Alerting rules with their `for` in time; recording rules and nonsense are left out."""
    scripted = Scripted()
    rule = {"type": "alerting", "name": "A", "query": "x > 1", "duration": 90, "labels": {"severity": "critical"}}
    scripted.data = {"groups": [{"name": "g", "rules": [rule, {"type": "recording", "name": "r"}, 7]}, None]}
    async with scripted.client() as client:
        (got,) = await client.rules()
    assert scripted.asked[0][0] == "GET"
    assert scripted.asked[0][2] == {"type": "alert"}
    assert (got.name, got.group, got.query, got.duration) == ("A", "g", "x > 1", timedelta(seconds=90))
    assert got.labels == (("severity", "critical"),)


@pytest.mark.parametrize(
    ("span", "text"),
    [(timedelta(minutes=1), "60s"), (timedelta(milliseconds=1500), "1500ms"), (timedelta(days=2), "172800s")],
)
def test_durations(span: timedelta, text: str) -> None:
    """Whole seconds, or milliseconds; never a fraction, which PromQL does not know."""
    assert seconds(span) == text


def test_no_duration_is_refused() -> None:
    """PromQL has no empty window."""
    with pytest.raises(ValueError, match="must be positive"):
        seconds(timedelta())


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("cart-1", "cart-1"),
        ('"} or vector(1) or x{a="', '\\"} or vector(1) or x{a=\\"'),
        ("\\", "\\\\"),
        ("a\nb\r\x00\u2028", "a\\nb\\u000d\\u0000\\u2028"),
        ("\ud800\ufffd", "\\ufffd\\ufffd"),
        ("ünï 💥", "ünï 💥"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_label_values_stay_inside_their_quotes(value: str, escaped: str) -> None:
    """Quotes, backslashes, newlines and whatever PromQL cannot hold are escaped."""
    assert escape_label(value) == escaped


def test_pod_names_match_only_themselves() -> None:
    """Names are alternatives, without their special characters; none gives an expression that nothing matches."""
    assert pods_regex(["b.1", "a-1", "", "a-1"]) == "a-1|b\\.1"
    assert pods_regex([".*", "a|b", "x$^()[]{}+?\\"]) == "\\.\\*|a\\|b|x\\$\\^\\(\\)\\[\\]\\{\\}\\+\\?\\\\"
    assert pods_regex([]) == pods_regex([""]) == NO_POD
    with pytest.raises(ValueError, match="at most 5000"):
        pods_regex(["a"] * (PODS_MAX + 1))


def test_a_template_is_filled_once() -> None:
    """Values that look like placeholders stay text, other dollars stay, names are escaped for both languages."""
    template = 'rate(x{namespace="$namespace",pod=~"$pods",path=~"/a$"}[$window]) + $namespaces'
    got = render(template, namespace='$pods"', pods=["a.1", "$window"], window=timedelta(minutes=1))
    assert got == ('rate(x{namespace="$pods\\"",pod=~"\\\\$window|a\\\\.1",path=~"/a$"}[60s]) + $namespaces')


async def test_the_values_of_a_label_are_a_set() -> None:
    """Of the series of one selector within a range of time; from the answer's list, which another kind of answer is not."""
    server = Scripted()
    server.data = ["http_requests_total", "up"]
    async with server.client() as client:
        found = await client.label_values("__name__", '{pod!=""}', T0, T0 + SECOND)
        assert found == {"http_requests_total", "up"}
        method, path, form, _ = server.asked[-1]
        assert (method, path, form["match[]"]) == ("GET", "/prom/api/v1/label/__name__/values", '{pod!=""}')
        assert float(form["end"]) - float(form["start"]) == 1
        server.data = {"resultType": "vector", "result": []}
        with pytest.raises(Transient, match="not its format"):
            await client.label_values("__name__", "up", T0, T0 + SECOND)
        server.data = []
        assert await client.label_values("__name__", "up", T0, T0 + SECOND) == frozenset()
        with pytest.raises(Transient, match="not its format"):
            await client.query("up", T0)
