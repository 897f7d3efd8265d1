"""Prometheus' HTTP API over the stand-in's store: queries, rules, health.

Source: Prometheus documentation, "HTTP API". What the evaluator does not know is answered with 400 `bad_data`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from deploy.sandbox.monitoring.alerting import RuleEvaluator
from deploy.sandbox.monitoring.labels import Labels
from deploy.sandbox.monitoring.lexer import ParseError, UnsupportedError, duration_ms
from deploy.sandbox.monitoring.promql import POINTS_MAX, Evaluator, ExecutionError
from deploy.sandbox.monitoring.samples import Sample
from deploy.sandbox.monitoring.wire import format_number, parse_time


class BadDataError(ValueError):
    """A request that Prometheus answers with 400 `bad_data`."""


class PrometheusApi:
    """Handlers over one evaluator and one set of rules."""

    def __init__(self, *, evaluator: Evaluator, rules: RuleEvaluator, clock: Callable[[], float]) -> None:
        self._evaluator = evaluator
        self._rules = rules
        self._clock = clock

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application()
        app.router.add_get("/-/ready", _ready)
        app.router.add_get("/-/healthy", _healthy)
        app.router.add_get("/api/v1/rules", self._get_rules)
        for path, answer in (("/api/v1/query", self._query), ("/api/v1/query_range", self._query_range)):
            handler = _enveloped(answer)
            app.router.add_get(path, handler)
            app.router.add_post(path, handler)
        app.router.add_get("/api/v1/label/{label}/values", _enveloped(self._label_values))
        return app

    async def _get_rules(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": self._rules.described()})

    def _query(self, given: Mapping[str, str]) -> dict[str, Any]:
        time_ms = _moment_ms(given, "time", self._clock())
        value = self._evaluator.instant(given.get("query", ""), time_ms)
        if isinstance(value, str):
            return {"resultType": "string", "result": [time_ms / 1000, value]}
        if isinstance(value, float):
            return {"resultType": "scalar", "result": _sample((time_ms, value))}
        if any(isinstance(each, list) for each in value.values()):
            return {"resultType": "matrix", "result": _matrix(value)}
        vector = [{"metric": dict(k), "value": _sample((time_ms, v))} for k, v in value.items() if isinstance(v, float)]
        return {"resultType": "vector", "result": vector}

    def _label_values(self, given: Mapping[str, str]) -> list[str]:
        """Of one selector (`match[]`) at most; without a range of times all that is kept."""
        start, end = (_moment_ms(given, name, default) for name, default in (("start", 0.0), ("end", self._clock())))
        return self._evaluator.label_values(given["label"], given.get("match[]", ""), start, end)

    def _query_range(self, given: Mapping[str, str]) -> dict[str, Any]:
        start, end = _moment_ms(given, "start", None), _moment_ms(given, "end", None)
        if end < start:
            raise BadDataError('invalid parameter "end": end timestamp must not be before start time')
        step = _step_ms(given.get("step", ""))
        if (end - start) / step > POINTS_MAX:
            raise BadDataError(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
                "(?step=XX)"
            )
        return {
            "resultType": "matrix",
            "result": _matrix(self._evaluator.range(given.get("query", ""), start, end, step)),
        }


def _enveloped(answer: Callable[[Mapping[str, str]], dict[str, Any] | list[str]]) -> Callable[[web.Request], Any]:
    """A handler that reads the path's, the URL's and the form's parameters and wraps the answer as Prometheus does."""

    async def handler(request: web.Request) -> web.Response:
        form = await request.post() if request.method == "POST" else {}
        given = {
            **request.query,
            **request.match_info,
            **{name: value for name, value in form.items() if isinstance(value, str)},
        }
        try:
            body = {"status": "success", "data": answer(given)}
        except ExecutionError as error:
            return _failed(422, "execution", str(error))
        except (ParseError, UnsupportedError) as error:
            return _failed(400, "bad_data", f'invalid parameter "query": {error}')
        except ValueError as error:
            return _failed(400, "bad_data", str(error))
        return web.Response(body=json.dumps(body).encode(), content_type="application/json")

    return handler


def _failed(status: int, kind: str, text: str) -> web.Response:
    return web.json_response({"status": "error", "errorType": kind, "error": text}, status=status)


def _sample(sample: Sample) -> list[Any]:
    return [sample[0] / 1000, format_number(sample[1])]


def _matrix(series: Mapping[Labels, Any]) -> list[dict[str, Any]]:
    return [
        {"metric": dict(labels), "values": [_sample(sample) for sample in samples]}
        for labels, samples in sorted(series.items())
    ]


def _moment_ms(given: Mapping[str, str], name: str, default: float | None) -> int:
    text = given.get(name, "")
    if text == "" and default is not None:
        return int(default * 1000)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        try:
            seconds = parse_time(text)
        except ValueError as error:
            raise BadDataError(f'invalid parameter "{name}": cannot parse "{text}" to a valid timestamp') from error
    return round(seconds * 1000)


def _step_ms(text: str) -> int:
    try:
        milliseconds = round(float(text) * 1000)
    except (ValueError, OverflowError):
        try:
            milliseconds = duration_ms(text)
        except ParseError as error:
            raise BadDataError(f'invalid parameter "step": cannot parse "{text}" to a valid duration') from error
    if milliseconds <= 0:
        raise BadDataError(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    return milliseconds


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="Prometheus Server is Ready.\n")


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="Prometheus Server is Healthy.\n")
