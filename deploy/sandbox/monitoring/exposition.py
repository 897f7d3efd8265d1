"""Reads the Prometheus text format 0.0.4, as far as the sandbox writes it (no exemplars; timestamps are ignored).

Source: Prometheus documentation, "Exposition formats".
"""

from __future__ import annotations

import re

from deploy.sandbox.monitoring.labels import NAME, Labels, freeze

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,|$)')
_ESCAPES = {"n": "\n", "\\": "\\", '"': '"'}


class BadExpositionError(ValueError):
    """A line that is no sample; names its number."""


def parse_exposition(text: str) -> list[tuple[Labels, float]]:
    """All samples of a page: label set (with `__name__`) and value."""
    samples = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadExpositionError(f"line {number}: no sample: {line[:200]}")
        name, inside, value = found.groups()
        try:
            samples.append((freeze({NAME: name, **_labels(inside or "", number)}), float(value)))
        except ValueError as error:
            raise BadExpositionError(f"line {number}: {error}") from error
    return samples


def _labels(text: str, number: int) -> dict[str, str]:
    labels, position = {}, 0
    while position < len(text):
        found = _LABEL.match(text, position)
        if found is None:
            raise BadExpositionError(f"line {number}: bad label at {text[position : position + 60]!r}")
        labels[found[1]] = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), found[2])
        position = found.end()
    return labels
