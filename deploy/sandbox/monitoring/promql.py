"""Evaluates the sandbox's subset of PromQL over a `SampleStore`.

Held against a real Prometheus over the same samples (`tests/contract/test_promql_real.py`). A range selector covers
(t - range, t]: Prometheus before 3.0 takes the left end in as well, which shows only when a sample lies exactly on it.
"""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable

from deploy.sandbox.monitoring.functions import extrapolated, histogram_quantiles, over_time, replaced
from deploy.sandbox.monitoring.labels import NAME, Labels, drop, freeze, get, keep
from deploy.sandbox.monitoring.parser import COMPARISONS, SET_OPERATORS, parse
from deploy.sandbox.monitoring.samples import Sample, SampleStore
from deploy.sandbox.monitoring.tree import Aggregate, Binary, Call, Negate, Node, Number, Selector, Text

POINTS_MAX = 11_000
"""Per series of a range query (Prometheus' own limit)."""

Vector = dict[Labels, float]
"""An instant vector; two elements with one label set cannot be, in Prometheus neither."""

Value = float | str | Vector


class ExecutionError(RuntimeError):
    """A query that parses but cannot be answered over these samples (HTTP 422)."""


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


class Evaluator:
    """Answers queries over one store. Times are milliseconds since the epoch."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store

    def instant(self, query: str, time_ms: int) -> Value | dict[Labels, list[Sample]]:
        """The value at one moment; a bare range selector gives its raw samples."""
        node = parse(query)
        if isinstance(node, Selector) and node.range_ms is not None:
            return self._range(node, time_ms)
        return self._evaluate(node, time_ms)

    def range(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> dict[Labels, list[Sample]]:
        """The value at start, start + step, … up to end, by series; a scalar is one series without labels."""
        node = parse(query)
        if isinstance(node, Text) or (isinstance(node, Selector) and node.range_ms is not None):
            raise ValueError("invalid expression type for range query, must be Scalar or instant Vector")
        series: dict[Labels, list[Sample]] = {}
        begins = self._begins(node)
        empty = self._evaluate(node, start_ms) if start_ms < begins else None
        for time_ms in range(start_ms, end_ms + 1, step_ms):
            # Hours before the first sample are asked for in each soak; here one answer stands for all of them.
            value = empty if empty is not None and time_ms < begins else self._evaluate(node, time_ms)
            points = value if isinstance(value, dict) else {(): float(value)}
            for labels, number in points.items():
                series.setdefault(labels, []).append((time_ms, number))
        return series

    def label_values(self, label: str, selector: str, start_ms: int, end_ms: int) -> list[str]:
        """The label's values among the selected series (all for none) that have samples in start..end, sorted."""
        node = parse(selector) if selector else Selector(())
        if not isinstance(node, Selector) or node.range_ms is not None:
            raise ValueError("match[] is no vector selector")
        series = (each for each in self._store.select(node.matchers) if each.between(start_ms - 1, end_ms))
        return sorted({get(each.labels, label) for each in series} - {""})

    def vector(self, node: Node, time_ms: int) -> Vector:
        """The value of a parsed rule; a scalar is one element without labels."""
        value = self._evaluate(node, time_ms)
        if isinstance(value, str):
            raise ExecutionError("rule result is not a vector or scalar")
        return value if isinstance(value, dict) else {(): value}

    def _begins(self, node: Node) -> float:
        """Before this time every selector of the node is empty, so that its value does not change (`time()`: never)."""
        match node:
            case Selector():
                firsts = [series.times[0] for series in self._store.select(node.matchers) if series.times]
                return min(firsts, default=math.inf) + node.offset_ms
            case Call():
                changes = -math.inf if node.function in {"time", "timestamp"} else math.inf
                return min(changes, *map(self._begins, node.arguments)) if node.arguments else changes
            case Aggregate() | Negate():
                return self._begins(node.inner)
            case Binary():
                return min(self._begins(node.left), self._begins(node.right))
            case Number() | Text():
                return math.inf

    # Nodes ------------------------------------------------------------------------------------------------------------

    def _evaluate(self, node: Node, now: int) -> Value:
        match node:
            case Number() | Text():
                return node.value
            case Selector():
                return self._select(node, now)
            case Negate(inner):
                value = self._evaluate(inner, now)
                return _renamed(value, operators.neg) if isinstance(value, dict) else -float(value)
            case Aggregate():
                return _aggregate(node, self._vector(node.inner, now))
            case Call():
                return self._call(node, now)
            case Binary():
                return self._binary(node, now)

    def _vector(self, node: Node, now: int) -> Vector:
        value = self._evaluate(node, now)
        assert isinstance(value, dict), "the parser checks types"
        return value

    def _scalar(self, node: Node, now: int) -> float:
        value = self._evaluate(node, now)
        assert isinstance(value, float), "the parser checks types"
        return value

    def _select(self, node: Selector, now: int) -> Vector:
        found = ((series.labels, series.at(now - node.offset_ms)) for series in self._store.select(node.matchers))
        return {labels: value for labels, value in found if value is not None}

    def _range(self, node: Selector, now: int) -> dict[Labels, list[Sample]]:
        assert node.range_ms is not None, "the parser checks types"
        end = now - node.offset_ms
        found = ((each.labels, each.between(end - node.range_ms, end)) for each in self._store.select(node.matchers))
        return {labels: samples for labels, samples in found if samples}

    def _call(self, node: Call, now: int) -> Value:
        arguments = node.arguments
        match node.function:
            case "time":
                return now / 1000
            case "vector":
                return {(): self._scalar(arguments[0], now)}
            case "scalar":
                values = list(self._vector(arguments[0], now).values())
                return values[0] if len(values) == 1 else math.nan
            case "absent":
                return {} if self._vector(arguments[0], now) else {_absent_labels(arguments[0]): 1.0}
            case "clamp_max" | "clamp_min" as name:
                limit = self._scalar(arguments[1], now)
                clamp = min if name == "clamp_max" else max
                return _renamed(
                    self._vector(arguments[0], now), lambda value: value if math.isnan(value) else clamp(value, limit)
                )
            case "histogram_quantile":
                return histogram_quantiles(self._scalar(arguments[0], now), self._vector(arguments[1], now))
            case "label_replace":
                texts = [each.value for each in arguments[1:] if isinstance(each, Text)]
                return _unique(replaced(self._vector(arguments[0], now), *texts))
            case name:
                return self._over_range(name, arguments[0], now)

    def _over_range(self, name: str, node: Node, now: int) -> Vector:
        assert isinstance(node, Selector), "the parser checks types"
        assert node.range_ms is not None, "the parser checks types"
        end, result = now - node.offset_ms, {}
        for labels, samples in self._range(node, now).items():
            if name in ("rate", "increase"):
                value = extrapolated(samples, end - node.range_ms, end, per_second=name == "rate")
            else:
                value = over_time(name, samples)
            if value is not None:
                key = labels if name == "last_over_time" else drop(labels, NAME)
                if key in result:
                    raise ExecutionError("vector cannot contain metrics with the same labelset")
                result[key] = value
        return result

    # Binary operators -------------------------------------------------------------------------------------------------

    def _binary(self, node: Binary, now: int) -> Value:
        left, right = self._evaluate(node.left, now), self._evaluate(node.right, now)
        if isinstance(left, dict) and isinstance(right, dict):
            return _set(node, left, right) if node.operator in SET_OPERATORS else _match(node, left, right)
        if isinstance(left, dict):
            return _with_scalar(node, left, float(right))  # type: ignore[arg-type]  # strings do not pass the parser
        if isinstance(right, dict):
            return _with_scalar(node, right, float(left), swapped=True)
        result = _apply(node, float(left), float(right))
        assert result is not None, "comparisons of scalars are bool"
        return result


def _renamed(vector: Vector, change: Callable[[float], float]) -> Vector:
    return _unique([(drop(labels, NAME), change(value)) for labels, value in vector.items()])


def _unique(pairs: list[tuple[Labels, float]]) -> Vector:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ExecutionError("vector cannot contain metrics with the same labelset")
    return result


def _arithmetic(name: str, left: float, right: float) -> float:
    """IEEE 754, where Python raises: x/0 is an infinity, 0/0 is NaN."""
    if name == "+":
        return left + right
    if name == "-":
        return left - right
    if name == "*":
        return left * right
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left) or math.isnan(right):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _apply(node: Binary, left: float, right: float) -> float | None:
    """The value of one pair; None where a comparison filters it out."""
    if node.operator not in COMPARISONS:
        return _arithmetic(node.operator, left, right)
    holds = _COMPARE[node.operator](left, right)
    if node.returns_bool:
        return float(holds)
    return left if holds else None


def _keeps_name(node: Binary) -> bool:
    return node.operator in COMPARISONS and not node.returns_bool


def _with_scalar(node: Binary, vector: Vector, scalar: float, *, swapped: bool = False) -> Vector:
    pairs = []
    for labels, value in vector.items():
        result = _apply(node, scalar, value) if swapped else _apply(node, value, scalar)
        if result is not None:
            kept = value if _keeps_name(node) else result  # a filter keeps the vector's value, on whichever side it is
            pairs.append((labels if _keeps_name(node) else drop(labels, NAME), kept))
    return _unique(pairs)


def _signature(node: Binary, labels: Labels) -> Labels:
    return keep(labels, node.on) if node.on is not None else drop(labels, NAME, *node.ignoring)


def _set(node: Binary, left: Vector, right: Vector) -> Vector:
    if node.operator == "or":
        known = {_signature(node, labels) for labels in left}
        return left | {labels: value for labels, value in right.items() if _signature(node, labels) not in known}
    known = {_signature(node, labels) for labels in right}
    wanted = node.operator == "and"
    return {labels: value for labels, value in left.items() if (_signature(node, labels) in known) is wanted}


def _match(node: Binary, left: Vector, right: Vector) -> Vector:
    others: dict[Labels, float] = {}
    for labels, value in right.items():
        signature = _signature(node, labels)
        if signature in others:
            raise ExecutionError(_many(signature, "right"))
        others[signature] = value
    matched: set[Labels] = set()
    pairs = []
    for labels, value in left.items():
        signature = _signature(node, labels)
        if signature not in others:
            continue
        result = _apply(node, value, others[signature])
        if result is None:
            continue
        if signature in matched:
            raise ExecutionError(_many(signature, "left"))
        matched.add(signature)
        shown = labels if _keeps_name(node) else drop(labels, NAME)
        pairs.append((keep(shown, node.on) if node.on is not None else drop(shown, *node.ignoring), result))
    return _unique(pairs)


def _many(signature: Labels, side: str) -> str:
    shown = ", ".join(f'{name}="{value}"' for name, value in signature)
    return (
        f"found duplicate series for the match group {{{shown}}} on the {side} hand-side of the operation;"
        "many-to-many matching not allowed: matching labels must be unique on one side"
    )


def _aggregate(node: Aggregate, vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        group = drop(labels, NAME, *node.names) if node.without else keep(labels, node.names)
        groups.setdefault(group, []).append(value)
    return {labels: _combine(node.operator, values) for labels, values in groups.items()}


def _combine(name: str, values: list[float]) -> float:
    if name == "count":
        return float(len(values))
    if name in ("min", "max"):  # NaN loses against any number
        numbers = [value for value in values if not math.isnan(value)]
        return (min if name == "min" else max)(numbers) if numbers else math.nan
    return sum(values) if name == "sum" else sum(values) / len(values)


def _absent_labels(node: Node) -> Labels:
    """What `absent` can tell: the labels its selector fixes by one `=` matcher."""
    if not isinstance(node, Selector):
        return ()
    names = [matcher.name for matcher in node.matchers]
    fixed = {m.name: m.value for m in node.matchers if m.op == "=" and m.name != NAME and names.count(m.name) == 1}
    return freeze(fixed)
