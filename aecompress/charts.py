"""Charts as SVG that follow the reader's light or dark theme; needs nothing at all.

Colours are CSS variables of ``STYLE``, which a page includes once and ``standalone`` puts into a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from aecompress.spec import Array

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --panel: #f6f8fa; --ink: #17202b; --quiet: #5c6978;
  --line: #dde3ea; --c0: #0a6c9c; --c1: #d1701f; --c2: #6f4aa0; --c3: #2e8b57; --c4: #b03060; --c5: #7d6b00; }
@media (prefers-color-scheme: dark) { :root { --ground: #10151b; --panel: #182028; --ink: #e7ecf1; --quiet: #97a5b4;
  --line: #2c3742; --c0: #58b8e0; --c1: #f0a562; --c2: #b79ae6; --c3: #6fcf97; --c4: #f07fa8; --c5: #d8c65a; } }
.chart { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
.chart text { fill: var(--quiet); font-variant-numeric: tabular-nums; }
.chart .name { fill: var(--ink); }
.chart .ground { fill: var(--ground); }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.chart .ours { fill: var(--c0); }
.chart .other { fill: var(--quiet); opacity: 0.45; }
.chart .unfit { fill: none; stroke: var(--quiet); stroke-dasharray: 3 3; }
"""

_WIDTH = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 10, 38
_BAR, _STEP = 18, 27
_MOST_POINTS = 1200
_COLOURS = 6


@dataclass(frozen=True)
class Bar:
    """One line of ``bars``: its name, its length, what stands behind it, and ``ours``, ``other`` or ``unfit``."""

    name: str
    value: float
    text: str
    style: str = "other"


@dataclass(frozen=True)
class Curve:
    """One line of ``lines``: float arrays [n] each; where ``y`` is not finite the line is broken."""

    name: str
    x: Array
    y: Array


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars from 0, the names before and the texts behind them."""
    left = 12 + 7 * max((len(row.name) for row in rows), default=0)
    room = _WIDTH - left - 14 - 7 * max((len(row.text) for row in rows), default=0)
    longest = max((row.value for row in rows), default=0.0) or 1.0
    drawn = []
    for i, row in enumerate(rows):
        y, width = 6 + i * _STEP, max(room * row.value / longest, 1.0)
        drawn += [
            f'<text class="name" x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect class="{row.style}" x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{escape(row.text)}</text>',
        ]
    return _svg(12 + len(rows) * _STEP, drawn)


def lines(
    curves: Sequence[Curve], *, x: str, y: str, height: int = 240, marked: bool = False, zero: bool = False
) -> str:
    """Curves in one frame, with a legend where there are several.

    Args:
        x, y: what the axes show.
        height: of the picture, 720 wide.
        marked: draw every point, with its numbers as a tooltip.
        zero: let the vertical axis begin at 0.
    """
    frame = _Frame.around(curves, height, zero)
    drawn = frame.axes(x, y)
    for i, curve in enumerate(curves):
        colour = f"var(--c{i % _COLOURS})"
        drawn += [f'<path class="curve" stroke="{colour}" d="{d}"/>' for d in frame.paths(curve)]
        drawn += frame.marks(curve, colour) if marked else []
    return _svg(height, drawn + (_legend(curves) if len(curves) > 1 else []))


def histogram(edges: Array, counts: Array, *, x: str, y: str, height: int = 240) -> str:
    """Counts [n] between edges [n + 1], as an outline that is filled."""
    outline = Curve("", np.repeat(edges, 2)[1:-1], np.repeat(counts, 2).astype(np.float64))
    frame = _Frame.around([outline], height, zero=True)
    floor = frame.y(0.0)
    filled = [f'<path class="ours" d="{d}V{floor:.1f}H{frame.x(float(edges[0])):.1f}Z"/>' for d in frame.paths(outline)]
    return _svg(height, frame.axes(x, y) + filled)


def standalone(chart: str, title: str) -> str:
    """A chart as an SVG file of its own."""
    head, _, body = chart.partition(">")
    ground = '<rect class="ground" width="100%" height="100%"/>'
    named = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{named}><title>{escape(title)}</title><style>{STYLE}</style>{ground}{body}\n"


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie in the picture."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    height: int

    @classmethod
    def around(cls, curves: Sequence[Curve], height: int, zero: bool) -> _Frame:
        x = np.concatenate([curve.x for curve in curves]).astype(np.float64)
        y = np.concatenate([curve.y for curve in curves]).astype(np.float64)
        low_x, high_x = _ends(x, False)
        return cls(low_x, high_x, *_ends(y, zero), height)

    def x(self, value: float) -> float:
        return _LEFT + (value - self.low_x) / (self.high_x - self.low_x) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low_y) / (self.high_y - self.low_y)
        return self.height - _BOTTOM - share * (self.height - _BOTTOM - _TOP)

    def axes(self, x: str, y: str) -> list[str]:
        foot, end = self.height - _BOTTOM, _WIDTH - _RIGHT
        drawn = []
        for tick in ticks(self.low_y, self.high_y):
            at = self.y(tick)
            drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{end}" y1="{at:.1f}" y2="{at:.1f}"/>')
            drawn.append(f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>')
        for tick in ticks(self.low_x, self.high_x, 6):
            at = self.x(tick)
            drawn.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{foot}" y2="{foot + 4}"/>')
            drawn.append(f'<text x="{at:.1f}" y="{foot + 17}" text-anchor="middle">{number(tick)}</text>')
        drawn.append(f'<text x="{end}" y="{self.height - 4}" text-anchor="end">{escape(x)}</text>')
        drawn.append(f'<text x="{_LEFT}" y="{self.height - 4}">{escape(y)} ↑</text>')
        return drawn

    def paths(self, curve: Curve) -> list[str]:
        """The curve as paths, one for each stretch of finite values."""
        step = max(1, len(curve.x) // _MOST_POINTS)
        x, y = curve.x[::step], curve.y[::step]
        breaks = np.flatnonzero(np.diff(np.isfinite(y).astype(np.int8))) + 1
        parts = zip(np.split(x, breaks), np.split(y, breaks), strict=True)
        return [self._path(px, py) for px, py in parts if len(py) and np.isfinite(py[0])]

    def _path(self, x: Array, y: Array) -> str:
        points = zip(x.tolist(), y.tolist(), strict=True)
        return "M" + "L".join(f"{self.x(a):.1f} {self.y(b):.1f}" for a, b in points)

    def marks(self, curve: Curve, colour: str) -> list[str]:
        points = zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        return [
            f'<circle cx="{self.x(a):.1f}" cy="{self.y(b):.1f}" r="3.5" fill="{colour}">'
            f"<title>{escape(curve.name)} {a:.6g}, {b:.6g}</title></circle>"
            for a, b in points
            if math.isfinite(b)
        ]


def ticks(low: float, high: float, many: int = 5) -> list[float]:
    """Round numbers between two, about ``many`` of them: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / many
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A tick for people: ``12,000``, ``0.25``, ``1e-7``."""
    whole = value == round(value) and abs(value) < 1e7
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _ends(values: Array, zero: bool) -> tuple[float, float]:
    """Least and greatest finite value, apart even where there is one only."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if zero:
        low = min(low, 0.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = 0.5 * abs(high) or 0.5
        low, high = low - (0.0 if zero else room), high + room
    return low, high


def _legend(curves: Sequence[Curve]) -> list[str]:
    drawn, x = [], _WIDTH - _RIGHT
    for i, curve in reversed(list(enumerate(curves))):
        x -= 7 * len(curve.name) + 30
        drawn.append(f'<rect fill="var(--c{i % _COLOURS})" x="{x}" y="2" width="14" height="4" rx="2"/>')
        drawn.append(f'<text x="{x + 18}" y="9">{escape(curve.name)}</text>')
    return drawn


def _svg(height: int, drawn: Sequence[str]) -> str:
    return f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH} {height}">{"".join(drawn)}</svg>'
