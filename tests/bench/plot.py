"""Charts on two logarithmic axes, as one SVG: enough to see what grows faster than it should."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Chart", "Line", "drawn"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 250, 190, 52, 34, 62
_COLOURS = ("#b5651d", "#3b6ea5", "#5b8c5a")
_STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#555}.t{font-weight:600;fill:#222}"
    "path{fill:none;stroke-width:2}.g{stroke:#ddd;stroke-width:1}"
    ".l{stroke:#aaa;stroke-width:1;stroke-dasharray:3 3}"
    "@media(prefers-color-scheme:dark){text{fill:#aaa}.t{fill:#eee}.g{stroke:#444}}"
)


@dataclass(frozen=True)
class Line:
    """One line of a chart: points, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One chart: what grows, with what, by whom. A dotted line shows what linear growth is."""

    what: str
    by: str
    lines: Sequence[Line]


class _Axes:
    """Where values stand in a chart, by whole decades."""

    def __init__(self, chart: Chart) -> None:
        xs = [x for line in chart.lines for x, _ in line.points]
        ys = [y for line in chart.lines for _, y in line.points if y > 0]
        self.x0, self.x1 = _decades(xs)
        self.y0, self.y1 = _decades(ys)

    def x(self, value: float) -> float:
        return _LEFT + _WIDTH * (math.log10(value) - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        share = (math.log10(max(value, 10.0**self.y0)) - self.y0) / (self.y1 - self.y0)
        return _TOP + _HEIGHT * (1 - share)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def drawn(charts: Sequence[Chart]) -> str:
    """The charts beside each other, two in a row."""
    wide, high = _LEFT + _WIDTH + 24, _TOP + _HEIGHT + _GAP
    rows = (len(charts) + 1) // 2
    parts = [
        f'<g transform="translate({at % 2 * wide} {at // 2 * high})">{_one(chart)}</g>'
        for at, chart in enumerate(charts)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * wide} {rows * high}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _one(chart: Chart) -> str:
    axes = _Axes(chart)
    names = " ".join(
        f'<tspan fill="{colour}">{escape(line.name)}</tspan>'
        for line, colour in zip(chart.lines, _COLOURS, strict=False)
    )
    title = f'<text class="t" x="{_LEFT}" y="16">{escape(chart.what)}</text>'
    legend = f'<text x="{_LEFT}" y="{_TOP + _HEIGHT + 34}">by {escape(chart.by)}: {names}</text>'
    lines = [_curve(line, axes, c) for line, c in zip(chart.lines, _COLOURS, strict=False)]
    return title + _grid(axes) + _linear(chart.lines[0], axes) + "".join(lines) + legend


def _grid(axes: _Axes) -> str:
    parts = []
    for power in range(axes.x0, axes.x1 + 1):
        x = axes.x(10.0**power)
        parts.append(f'<path class="g" d="M{x:.1f} {_TOP}V{_TOP + _HEIGHT}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP + _HEIGHT + 15}" text-anchor="middle">'
                     f"{_short(power)}</text>")  # fmt: skip
    for power in range(axes.y0, axes.y1 + 1):
        y = axes.y(10.0**power)
        parts.append(f'<path class="g" d="M{_LEFT} {y:.1f}H{_LEFT + _WIDTH}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{_short(power)}</text>")  # fmt: skip
    return "".join(parts)


def _linear(line: Line, axes: _Axes) -> str:
    """From the first point on, as it were if it grew with what it is drawn by."""
    (x0, y0), (x1, _) = line.points[0], line.points[-1]
    end = min(x1, x0 * 10.0**axes.y1 / max(y0, 1e-9))
    x, y = axes.x(end), axes.y(y0 * end / x0)
    return f'<path class="l" d="M{axes.x(x0):.1f} {axes.y(y0):.1f}L{x:.1f} {y:.1f}"/>'


def _curve(line: Line, axes: _Axes, colour: str) -> str:
    points = "L".join(f"{axes.x(x):.1f} {axes.y(y):.1f}" for x, y in line.points)
    return f'<path stroke="{colour}" d="M{points}"/>'


def _short(power: int) -> str:
    """10 to the power, as people write it."""
    if power < 0:
        return f"{10.0**power:g}"
    return f"{10 ** (power % 3)}{['', 'k', 'M', 'G'][power // 3]}"
