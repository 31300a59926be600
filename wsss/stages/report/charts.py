"""Charts as inline SVG, written by hand so that they follow the page's light or dark colours. Pure.

Colours are the page's CSS variables --s0 to --s7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = 8
"""Number of series colours that the page's style defines."""
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 42
"""Margins around the plot, in the drawing's units."""
LINE_HEIGHT = 14
"""Height of a line of text below the plot."""
NAME_PAD = 0.35
"""Space left and right of named places, as a share of their distance."""
MOST_DOTS = 40
"""Points of a line up to which each has a small dot."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart.

    Attributes:
        name: Its name in the legend.
        points: (x, y), in x order.
        colour: Number of its colour; COLOURS and more begin again at 0.
        dashed: Whether it is dashed.
        mark: A point with a ring, e.g. the best one.
        dots: Whether every point has a large dot.
    """

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


def line_chart(
    series: Sequence[Series], *, x: Axis, y: Axis, width: int = 520, height: int = 300, title: str = ""
) -> Markup:
    """Draw a line chart with grid, ticks and a legend. A point shows its values when pointed at.

    Args:
        series: Lines; those without points are left out.
        x: Horizontal axis.
        y: Vertical axis.
        width: Width in the drawing's own units; it scales with the page.
        height: Height in the same units.
        title: What the chart shows, for readers that cannot see it.

    Returns:
        Safe markup: a legend and an <svg>; empty if there is nothing to draw.
    """
    series = [s for s in series if s.points]
    if not series:
        return Markup("")
    frame = _frame(series, x, y, width=width, height=height)
    drawn = Markup("").join([*_grid(frame, y), *_x_labels(frame, x), *_axes(frame, x, y), *map(frame.line, series)])
    svg = Markup('<div class="plot"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg></div>')
    names = legend([(s.name, s.colour, s.dashed) for s in series])
    return names + svg.format(width, height, title or y.label, drawn)


def legend(entries: Sequence[tuple[str, int, bool]]) -> Markup:
    """Names with their line colours: (name, colour, dashed)."""
    item = Markup('<span><i class="key{}" style="--c:var(--s{})"></i>{}</span>')
    items = [item.format(" dashed" if dashed else "", colour % COLOURS, name) for name, colour, dashed in entries]
    return Markup('<div class="legend">{}</div>').format(Markup("").join(items))


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Limits of the data, and the drawing's size."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int
    bottom: int

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def floor(self) -> int:
        return self.height - self.bottom

    def px(self, value: float) -> float:
        span = self.x1 - self.x0 or 1.0
        return LEFT + (value - self.x0) / span * (self.width - LEFT - RIGHT)

    def py(self, value: float) -> float:
        span = self.y1 - self.y0 or 1.0
        return self.floor - (value - self.y0) / span * (self.height - TOP - self.bottom)

    def line(self, series: Series) -> Markup:
        """A line with its dots and its mark."""
        corners = " ".join(f"{self.px(x):.1f},{self.py(y):.1f}" for x, y in series.points)
        line = Markup('<polyline class="line{}" points="{}"/>').format(" dashed" if series.dashed else "", corners)
        parts = [line, *self._dots(series), *self._mark(series)]
        return Markup('<g style="--c:var(--s{})">{}</g>').format(series.colour % COLOURS, Markup("").join(parts))

    def _dots(self, series: Series) -> Iterator[Markup]:
        if not series.dots and len(series.points) > MOST_DOTS:
            return
        dot = Markup('<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}: {:.4g}, {:.4g}</title></circle>')
        size, radius = ("", 4) if series.dots else (" small", 2.5)
        for x, y in series.points:
            yield dot.format(size, self.px(x), self.py(y), radius, series.name, x, y)

    def _mark(self, series: Series) -> Iterator[Markup]:
        ring = Markup(
            '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4.5"><title>{}: best, {:.4g} at {:.4g}</title></circle>'
        )
        if series.mark is not None:
            x, y = series.mark
            yield ring.format(self.px(x), self.py(y), series.name, y, x)


def _frame(series: Sequence[Series], x: Axis, y: Axis, *, width: int, height: int) -> _Frame:
    """Limits that the axes set, or else those of the points."""
    xs, ys = ([p[k] for s in series for p in s.points] for k in (0, 1))
    pad = NAME_PAD if x.names else 0.0
    two_lines = any("\n" in name for name in x.names)
    return _Frame(
        x0=(min(xs) if x.low is None else x.low) - pad,
        x1=(max(xs) if x.high is None else x.high) + pad,
        y0=min(ys) if y.low is None else y.low,
        y1=max(ys) if y.high is None else y.high,
        width=width,
        height=height,
        bottom=BOTTOM + LINE_HEIGHT * (two_lines - (not x.label)),
    )


def ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** int(f"{rough:e}".split("e")[1])
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if rough <= m * power * 1.0001)
    first = -(-low // step) * step
    return [round(first + k * step, 10) for k in range(int((high - first) / step + 1e-9) + 1)]


def _grid(frame: _Frame, y: Axis) -> Iterator[Markup]:
    """Horizontal lines at the ticks, with their numbers."""
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    number = Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{:g}</text>')
    for tick in ticks(frame.y0, frame.y1):
        at = frame.py(tick)
        yield line.format(LEFT, frame.right, at, at) + number.format(LEFT - 7, at + 4, tick)


def _x_labels(frame: _Frame, x: Axis) -> Iterator[Markup]:
    """Names or numbers below the plot."""
    label = Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
    places = list(enumerate(x.names)) if x.names else [(t, f"{t:g}") for t in ticks(frame.x0, frame.x1)]
    for place, name in places:
        for k, line in enumerate(name.split("\n")):
            yield label.format(frame.px(place), frame.floor + 17 + LINE_HEIGHT * k, line)


def _axes(frame: _Frame, x: Axis, y: Axis) -> Iterator[Markup]:
    """The horizontal axis, and the labels of both."""
    floor = frame.floor
    yield Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, frame.right, floor, floor)
    name = Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>')
    yield name.format((LEFT + frame.right) / 2, frame.height - 6, x.label)
    turned = Markup('<text class="name" transform="translate(12 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>')
    yield turned.format((TOP + floor) / 2, y.label)


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, int, float | None]]]]) -> Markup:
    """Draw groups of thin horizontal bars, one group a class.

    Args:
        rows: (group, [(name, colour, fraction in [0, 1] or None)]).

    Returns:
        Safe markup of blocks that flow with the page's width.
    """
    bar = Markup('<div class="bar" title="{}"><i style="--w:{:.1f}%;--c:var(--s{})"></i><b>{}</b></div>')
    block = Markup('<div class="bars"><h4>{}</h4>{}</div>')
    blocks = []
    for group, values in rows:
        lines = [
            bar.format(name, 100 * (value or 0), colour % COLOURS, "–" if value is None else f"{100 * value:.0f}")
            for name, colour, value in values
        ]
        blocks.append(block.format(group, Markup("").join(lines)))
    return Markup("").join(blocks)
