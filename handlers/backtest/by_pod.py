"""The policy's PromQL, asked for all pods at once: every aggregation also keeps the label that tells the pods apart.

A signal's query gives one number for a group of pods. A history of thousands of pods cannot ask that of each of them. Only
what keeps its meaning is rewritten; of the rest `by_pod` says no, and each pod is asked for by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count", "group", "stddev", "stdvar", "quantile"})
MEANS_ANOTHER = frozenset(
    {"topk", "bottomk", "count_values", "limitk", "limit_ratio", "absent", "absent_over_time", "scalar", "vector"}
    | {"label_replace", "label_join"}
)
"""What compares series with each other or makes one of its own: kept apart by pod it would be another question."""

_TOKEN = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?P<comment>\#[^\n]*)|(?P<word>[A-Za-z_:][\w:]*)"""
    r"""|(?P<space>\s+)|(?P<other>[\d.]+\w*|.)""",
    re.DOTALL,
)
_PODS_LABEL = re.compile(r"""([A-Za-z_]\w*)\s*=~\s*["'`][^"'`]*\$pods\b""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPod:
    """A query whose series are told apart by `label`, which holds the pod's name."""

    query: str
    label: str


def pods_label(template: str) -> str | None:
    """The label that the template compares with `$pods`; None where there is none, or more than one."""
    found = set(_PODS_LABEL.findall(template))
    return found.pop() if len(found) == 1 else None


def by_pod(template: str) -> ByPod | None:
    """The template with one series per pod in place of one in all; None where that would not be the same question."""
    label = pods_label(template)
    if label is None:
        return None
    tokens = [(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(template)]
    written: dict[int, str] = {}
    braces = 0
    for place, (kind, token) in enumerate(tokens):
        braces += {"{": 1, "}": -1}.get(token, 0) if kind == "other" else 0
        if kind != "word" or braces:
            continue
        word = token.lower()
        after = _next(tokens, place)
        if word in MEANS_ANOTHER and _is(tokens, after, "("):
            return None
        if word in AGGREGATIONS and not _grouped(tokens, place, after, label, written):
            return None
        if word == "on" and _is(tokens, after, "("):
            _listed(tokens, after, label, written)
    rewritten = "".join(token + written.get(place, "") for place, (_, token) in enumerate(tokens))
    return ByPod(query=rewritten, label=label)


def _grouped(tokens: Sequence[tuple[str, str]], place: int, after: int, label: str, written: dict[int, str]) -> bool:
    """Let this aggregation keep the label; False where it groups `without`."""
    clause = after
    if _is(tokens, after, "("):
        clause = _next(tokens, _closing(tokens, after))
        if not _is(tokens, clause, "by", "without"):
            written[place] = f" by ({label}) "
            return True
    if not _is(tokens, clause, "by", "without"):
        return True  # a metric of that name
    if _is(tokens, clause, "without"):
        return False
    _listed(tokens, _next(tokens, clause), label, written)
    return True


def _listed(tokens: Sequence[tuple[str, str]], opening: int, label: str, written: dict[int, str]) -> None:
    """Put the label into a list of labels that begins here, unless it is there."""
    names = [token for kind, token in tokens[opening : _closing(tokens, opening)] if kind == "word"]
    if label not in names:
        written[opening] = f"{label}, " if names else label


def _next(tokens: Sequence[tuple[str, str]], place: int) -> int:
    place += 1
    while place < len(tokens) and tokens[place][0] in ("space", "comment"):
        place += 1
    return place


def _is(tokens: Sequence[tuple[str, str]], place: int, *words: str) -> bool:
    return place < len(tokens) and tokens[place][0] != "text" and tokens[place][1].lower() in words


def _closing(tokens: Sequence[tuple[str, str]], opening: int) -> int:
    depth = 0
    for place in range(opening, len(tokens)):
        if tokens[place][0] == "other":
            depth += {"(": 1, ")": -1}.get(tokens[place][1], 0)
        if depth == 0:
            return place
    return len(tokens)
