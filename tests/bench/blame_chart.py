"""F1 of every method with its 95 % interval as horizontal bars: a picture without a drawing library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from handlers.backtest.confidence import Share

WIDTH, LEFT, RIGHT, TOP, ROW, BAR, BOTTOM = 900, 372, 110, 56, 30, 16, 44
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
OURS, OTHERS, INK, GRID = "#1f6f54", "#9aa5b1", "#24292f", "#d8dee4"


def drawn(found: Mapping[str, Share], ours: str, note: str) -> str:
    """An SVG, best method on top; `ours` stands out, `note` says on what it was measured."""
    rows = sorted(found.items(), key=lambda pair: pair[1].value or 0.0, reverse=True)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" {FONT}>',
        "<title>Blaming the right rollout: F1 by method, with 95 % intervals</title>",
        f"<desc>{escape('; '.join(f'{name}: {_said(each)}' for name, each in rows))}</desc>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600" fill="{INK}">Blaming the right rollout: F1 by method</text>',
        *_axis(height),
        *[part for number, (name, each) in enumerate(rows) for part in _row(number, name, each, ours)],
        f'<text x="16" y="{height - 10}" font-size="11" fill="#57606a">{escape(note)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axis(height: int) -> list[str]:
    parts = []
    for tenths in range(0, 11, 2):
        x = _x(tenths / 10)
        parts.append(f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - BOTTOM}" stroke="{GRID}"/>')
        parts.append(
            f'<text x="{x}" y="{TOP - 13}" text-anchor="middle" font-size="11" fill="#57606a">{tenths / 10:.1f}</text>'
        )
    return parts


def _row(number: int, name: str, found: Share, ours: str) -> list[str]:
    middle = TOP + ROW * number + ROW / 2
    weight = ' font-weight="600"' if name == ours else ""
    parts = [
        f'<text x="{LEFT - 10}" y="{middle + 4.5:g}" text-anchor="end" fill="{INK}"{weight}>{escape(name)}</text>',
        f'<text x="{WIDTH - RIGHT + 14}" y="{middle + 4.5:g}" fill="{INK}"{weight}>{_said(found)}</text>',
    ]
    if found.value is not None and found.low is not None and found.high is not None:
        low, high, width = _x(found.low), _x(found.high), _x(found.value) - LEFT
        colour = OURS if name == ours else OTHERS
        whiskers = f"M{low} {middle:g}H{high}M{low} {middle - 5:g}v10M{high} {middle - 5:g}v10"
        parts += [
            f'<rect x="{LEFT}" y="{middle - BAR / 2:g}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<path d="{whiskers}" stroke="{INK}" stroke-width="1.5" fill="none"/>',
        ]
    return parts


def _x(value: float) -> float:
    return round(LEFT + value * (WIDTH - LEFT - RIGHT), 1)


def _said(found: Share) -> str:
    return "no call" if found.value is None else f"{found.value:.2f}"
