"""Input for a parser: one of its seeds, damaged; or anything at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.targets import Parser
from tests.handlers.events_world import places

ODD_TEXTS = (
    "", "\ud800", "\x00", "\x1b[2J", "\u202e", "a\nb", "0", "-1", "1e999", "NaN", "²", "\u0661", "true", "null", "{{ .X }}", "<no value>", "a" * 5000,  # noqa: E501
    "9" * 5000, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-03-02T12:00:00Z", "1d", "%", "%ff", "25%", "²%",  # noqa: E501
    "http://[", "https://user:pass@h/", "sha256:" + "a" * 64, "shop/web", "[" * 3000, '{"a":' * 3000,
)  # fmt: skip
"""What has broken parsers: empty, half characters, control characters, digits that are none, times that overflow, nesting."""

ODD_NUMBERS = (0, -1, 1.5, 1e308, -1e308, 2**31, 2**63, 2**64, 10**400, True)

TEXTS = st.sampled_from(ODD_TEXTS) | st.text(max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.sampled_from(ODD_NUMBERS) | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
DEEP = 20_000
"""Nesting that no recursion survives."""


def of(parser: Parser) -> st.SearchStrategy[bytes]:
    """Input for this parser."""
    seeds = st.sampled_from(parser.seeds)
    cut = st.builds(spliced, seeds, st.integers(0, 5000), st.integers(0, 8), st.binary(max_size=8))
    anything = st.binary(max_size=40) | seeds | cut
    if parser.shape == "text":
        anything |= st.builds(spliced, seeds, st.integers(0, 5000), st.integers(0, 8), TEXTS.map(encoded)) | TEXTS.map(
            encoded
        )
    if parser.shape == "json":
        documents = [found for each in parser.seeds if (found := document(each)) is not None]
        anything = st.sampled_from(documents).flatmap(damaged) | anything if documents else anything
    return anything


def document(seed: bytes) -> Any:
    """The JSON value of a seed; None where it is none."""
    try:
        return json.loads(seed)
    except (ValueError, RecursionError):
        return None


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def spliced(seed: bytes, at: int, drop: int, put: bytes) -> bytes:
    """The seed with a few bytes gone and others in their place."""
    place = at % (len(seed) + 1)
    return seed[:place] + put + seed[place + drop :]


def damaged(value: Any) -> st.SearchStrategy[bytes]:
    """The document with one or two of its values replaced, left out, or buried in brackets; written as JSON."""
    where = places(value)
    if not where:
        return JSON.map(written)
    change = st.tuples(st.sampled_from(where), st.sampled_from(("put", "drop", "bury", "text")), JSON, TEXTS)
    return st.lists(change, min_size=1, max_size=2).map(lambda changes: _changed(value, changes))


def _changed(value: Any, changes: list[tuple[tuple[str | int, ...], str, Any, str]]) -> bytes:
    copy, buried = json.loads(json.dumps(value)), False
    for place, how, other, text in changes:
        try:
            inner = copy
            for key in place[:-1]:
                inner = inner[key]
            if how == "drop":
                del inner[place[-1]]
            else:
                inner[place[-1]] = {"put": other, "text": text, "bury": "BURIED"}[how]
                buried |= how == "bury"
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the second one's place away
    raw = written(copy)
    return raw.replace(b'"BURIED"', b"[" * DEEP + b"]" * DEEP, 1) if buried else raw


def written(value: Any) -> bytes:
    """As JSON, with half characters as escapes and NaN as the word that is no JSON."""
    return json.dumps(value).encode()
