"""Charts as inline SVG, drawn by hand so that they follow the page's light or dark colours (CSS variables --s0..--s7). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = 8
"""Number of series colours that the page's style defines."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points (x, y) in x order, a colour number, dashed or not, and a marked point with its text."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False
    mark: tuple[float, float] | None = None
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: label, and limits if they are not those of the points; `names` turns x = 0, 1, … into names."""

    label: str
    low: float | None = None
    high: float | None = None
    names: Sequence[str] = ()


LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 42


def line_chart(
    series: Sequence[Series], *, x: Axis, y: Axis, width: int = 520, height: int = 300, title: str = ""
) -> Markup:
    """A line chart with grid, ticks and a legend; every point tells its values when pointed at.

    Args:
        series: Lines; those without points are left out.
        x: Horizontal axis.
        y: Vertical axis.
        width: Width of the drawing's own units; it scales with the page.
        height: Height of the same.
        title: What the chart shows, for readers that cannot see it.

    Returns:
        Safe markup: a legend and an <svg>; empty if there is nothing to draw.
    """
    series = [s for s in series if s.points]
    if not series:
        return Markup("")
    xs, ys = [p[0] for s in series for p in s.points], [p[1] for s in series for p in s.points]
    bottom = BOTTOM + 14 * any("\n" in n for n in x.names) - 14 * (not x.label)
    pad = 0.35 if x.names else 0.0
    frame = _Frame(
        x0=(min(xs) if x.low is None else x.low) - pad, x1=(max(xs) if x.high is None else x.high) + pad,
        y0=min(ys) if y.low is None else y.low, y1=max(ys) if y.high is None else y.high, width=width, height=height, bottom=bottom,
    )  # fmt: skip
    parts = [_grid(frame, x, y), *(_line(frame, s) for s in series)]
    svg = Markup('<div class="plot"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></div>').format(
        width, height, title or y.label, Markup("").join(parts)
    )
    return legend([(s.name, s.colour, s.dashed) for s in series]) + svg


def legend(entries: Sequence[tuple[str, int, bool]]) -> Markup:
    """Names with their line colours: (name, colour, dashed)."""
    items = [
        Markup('<span><i class="key{}" style="--c:var(--s{})"></i>{}</span>').format(
            " dashed" if d else "", c % COLOURS, n
        )
        for n, c, d in entries
    ]
    return Markup('<div class="legend">{}</div>').format(Markup("").join(items))


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Data limits and the drawing's size."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int
    bottom: int

    def px(self, value: float) -> float:
        span = self.x1 - self.x0 or 1.0
        return LEFT + (value - self.x0) / span * (self.width - LEFT - RIGHT)

    def py(self, value: float) -> float:
        span = self.y1 - self.y0 or 1.0
        return self.height - self.bottom - (value - self.y0) / span * (self.height - TOP - self.bottom)


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** _floor_log10(rough)
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if rough <= m * power * 1.0001)
    first = -(-low // step) * step
    return [round(first + k * step, 10) for k in range(int((high - first) / step + 1e-9) + 1)]


def _floor_log10(value: float) -> int:
    return int(f"{value:e}".split("e")[1])


def _grid(frame: _Frame, x: Axis, y: Axis) -> Markup:
    right, floor = frame.width - RIGHT, frame.height - frame.bottom
    parts = []
    for tick in ticks(frame.y0, frame.y1):
        at = frame.py(tick)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:g}</text>'
            ).format(LEFT, right, at, at, LEFT - 7, at + 4, tick)
        )
    for tick, name in _x_ticks(frame, x):
        for k, line in enumerate(name.split("\n")):
            parts.append(
                Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                    frame.px(tick), floor + 17 + 14 * k, line
                )
            )
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, floor, floor))
    middle = (TOP + floor) / 2
    parts.append(
        Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + right) / 2, frame.height - 6, x.label
        )
    )
    parts.append(
        Markup('<text class="name" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            middle, y.label
        )
    )
    return Markup("").join(parts)


def _x_ticks(frame: _Frame, x: Axis) -> list[tuple[float, str]]:
    return list(enumerate(x.names)) if x.names else [(t, f"{t:g}") for t in ticks(frame.x0, frame.x1)]


def _line(frame: _Frame, series: Series) -> Markup:
    points = [(frame.px(a), frame.py(b)) for a, b in series.points]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    parts = [Markup('<polyline class="line{}" points="{}"/>').format(" dashed" if series.dashed else "", path)]
    shown = len(points) <= 40
    for (a, b), (x, y) in zip(points, series.points, strict=True):
        if series.dots or shown:
            parts.append(
                Markup(
                    '<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:.4g}, {:.4g}</title></circle>'
                ).format("" if series.dots else " small", a, b, 4 if series.dots else 2.5, series.name, x, y)
            )
    if series.mark is not None:
        a, b = frame.px(series.mark[0]), frame.py(series.mark[1])
        parts.append(
            Markup(
                '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}: best, {:.4g} at {:.4g}</title></circle>'
            ).format(a, b, series.name, series.mark[1], series.mark[0])
        )
    return Markup('<g style="--c:var(--s{})">{}</g>').format(series.colour % COLOURS, Markup("").join(parts))


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, int, float | None]]]]) -> Markup:
    """Groups of thin horizontal bars, one group a class.

    Args:
        rows: (group, [(name, colour, fraction in [0, 1] or None)]).

    Returns:
        Safe markup of blocks that flow with the page's width.
    """
    blocks = []
    for group, values in rows:
        lines = [
            Markup('<div class="bar" title="{}"><i style="--w:{:.1f}%;--c:var(--s{})"></i><b>{}</b></div>').format(
                name, 100 * (value or 0), colour % COLOURS, "–" if value is None else f"{100 * value:.0f}"
            )
            for name, colour, value in values
        ]
        blocks.append(Markup('<div class="bars"><h4>{}</h4>{}</div>').format(group, Markup("").join(lines)))
    return Markup("").join(blocks)
