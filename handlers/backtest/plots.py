"""A plot of one verdict as inline SVG: its colours come from the page's style sheet, its size is fixed by limits."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from handlers import plain
from handlers.backtest.lines import AlertSpan, Panel, Picture, Points
from handlers.backtest.verdicts import Told

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM = 900, 100, 26, 62, 12, 56, 24
"""Pixels at natural size; the page scales the whole to its width."""

TEXT_MAX = 60
"""Characters of a name in a plot."""

TICKS = 6

ROWS, ROW, LETTER = 4, 12, 6.6
"""Rows of labels above the panels, their height, and a letter's width: labels close to each other go into different rows."""


def text(value: object, limit: int = TEXT_MAX) -> str:
    """Strangers' text for HTML and SVG: one line, no characters that act, and no mark-up of its own."""
    return html.escape(plain.one_line(str(value), limit), quote=True)


def amount(signal: str, value: float) -> str:
    """A number with its unit, short: `4.2 %`, `180 ms`, `31 /s`."""
    name = signal.removesuffix(" (outbound)")
    if name.endswith("_ratio"):
        return f"{value * 100:.3g} %"
    if name.endswith("_seconds"):
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    return f"{value:.3g} /s" if name.endswith("_rate") else f"{value:.4g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Where a moment lies."""

    start: datetime
    seconds: float

    def x(self, at: datetime) -> float:
        share = (at - self.start).total_seconds() / self.seconds
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def plot(told: Told, picture: Picture) -> str:
    """The whole `<svg>`."""
    rows = max(1, len(picture.panels))
    height = TOP + rows * (PANEL + GAP) + BOTTOM
    scale = _Scale(start=picture.start, seconds=max((picture.end - picture.start).total_seconds(), 1.0))
    bottom = height - BOTTOM
    title = f"{told.verdict.value} {told.workload or 'no candidate'} {told.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="xMidYMid meet">',
        f"<title>{text(title, 300)}</title>",
        *_alerts(picture.alerts, scale, bottom),
        *_times(picture, scale, bottom),
    ]
    for row, panel in enumerate(picture.panels):
        parts += _panel(panel, scale, TOP + row * (PANEL + GAP) + GAP)
    if not picture.panels:
        parts.append(f'<text class="none" x="{WIDTH / 2}" y="{TOP + PANEL / 2}">no samples here</text>')
    parts += [*_marks(told, picture, scale, bottom), "</svg>"]
    return "".join(parts)


def _alerts(alerts: Sequence[AlertSpan], scale: _Scale, bottom: float) -> Iterator[str]:
    for alert in alerts:
        left = scale.x(alert.start)
        width = max(scale.x(alert.end) - left, 1.5)
        yield (
            f'<rect class="alert" x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP:.0f}">'
            f"<title>alert {text(alert.name)}</title></rect>"
        )


def _times(picture: Picture, scale: _Scale, bottom: float) -> Iterator[str]:
    span = picture.end - picture.start
    for tick in range(TICKS + 1):
        at = picture.start + span * tick / TICKS
        x = scale.x(at)
        anchor = "start" if tick == 0 else "end" if tick == TICKS else "middle"
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        yield (
            f'<text class="axis" text-anchor="{anchor}" x="{x:.1f}" y="{bottom + 16}">{at.astimezone(UTC):%H:%M}</text>'
        )


def _panel(panel: Panel, scale: _Scale, top: float) -> Iterator[str]:
    values = [value for line in panel.lines for _, value in line.points]
    low, high = min(0.0, *values), max(values)
    if high <= low:
        high = low + 1.0
    foot = top + PANEL
    yield f'<text class="signal" x="{LEFT}" y="{top - 6:.0f}">{text(panel.signal)}</text>'
    for value in (low, (low + high) / 2, high):
        y = foot - (value - low) / (high - low) * PANEL
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{amount(panel.signal, value)}</text>'
    for line in panel.lines:
        for part in line.parts:
            yield _line(line.side, part, scale, foot, low, high)


def _line(side: str, points: Points, scale: _Scale, foot: float, low: float, high: float) -> str:
    places = [(scale.x(at), foot - (value - low) / (high - low) * PANEL) for at, value in points]
    if len(places) == 1:
        ((x, y),) = places
        return f'<circle class="{side} dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="{side}" points="{drawn}"/>'


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A moment with a name: its style, and what it is about in more words."""

    at: datetime
    kind: str
    label: str
    about: str


def _marks(told: Told, picture: Picture, scale: _Scale, bottom: float) -> Iterator[str]:
    marks = [
        _Mark(at=each.at, kind="rollout", label=each.phase, about=f"{each.phase} {each.revision}")
        for each in picture.marks
    ]
    if told.onset is not None and told.onset >= picture.start:
        marks.append(_Mark(at=told.onset, kind="onset", label="onset", about="the anomaly began"))
    marks.append(_Mark(at=told.at, kind="verdict", label=told.verdict.value, about="the verdict"))
    taken = [0.0] * ROWS
    for mark in sorted(marks, key=lambda each: each.at):
        x = scale.x(mark.at)
        length = len(mark.label) * LETTER
        left = min(x + 4, WIDTH - length)
        # Where no row is free the least used one has to do.
        row = next((row for row in range(ROWS) if taken[row] <= left), taken.index(min(taken)))
        taken[row] = left + length + 4
        yield from _mark(mark, x, left, 10 + row * ROW, bottom)


def _mark(mark: _Mark, x: float, left: float, height: float, bottom: float) -> Iterator[str]:
    yield f'<line class="{mark.kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{height - 8:.0f}" y2="{bottom}"/>'
    yield (
        f'<text class="{mark.kind}" x="{left:.1f}" y="{height:.0f}">'
        f"{text(mark.label)}<title>{text(mark.about, 120)}</title></text>"
    )
