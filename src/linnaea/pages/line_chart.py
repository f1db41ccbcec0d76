"""Lines with bands over a common x axis, with measured points beside them.

Shape suffixes: k points of a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.pages.chart import FONT_PX, Chart, format_short, get_colour, use_chart_style
from linnaea.pages.style import BLUE, ORANGE

WIDTH, HEIGHT = 320, 190
MAX_POINTS = 240
"More points than this only make the page heavy: a chart is about 270 px wide."
BAND_OPACITY = 0.22
DASHES = {"solid": "solid", "dashed": (0, (5, 3)), "dotted": (0, (1.5, 2))}
HEADROOM = 0.04
"Space above the highest value, as a share of the range."
LABEL_SPACE = 1.25
"Distance of labels at the ends of lines, in heights of a letter."


@dataclass(frozen=True, kw_only=True)
class BandedLine:
    """A line with a band around it."""

    name: str
    middle_k: np.ndarray
    low_k: np.ndarray | None = None
    "lower end of the band; None without a band"
    high_k: np.ndarray | None = None
    colour: str = BLUE
    "a name of `style.COLOURS`"
    line_style: str = "solid"
    "solid, dashed or dotted"


@dataclass(frozen=True, kw_only=True)
class LineChartOptions:
    """What a line chart shows beside its lines."""

    x_label: str = "years"
    y_label: str = ""
    from_zero: bool = True
    "keep 0 in view"
    points: Sequence[tuple[float, float]] = ()
    "measurements (x, y); those above twice the highest band lie on the upper edge"
    shade_from: float | None = None
    "x from which the background is grey"
    whole_numbers: bool = False
    "ticks of y are whole numbers"
    name_lines: bool = False
    "write the name of each line at its end"


def draw_lines(title: str, x_k: np.ndarray, lines: Sequence[BandedLine], options: LineChartOptions) -> str:
    """Lines with their bands as inline SVG."""
    with use_chart_style():
        margins = (44, _label_room(lines) if options.name_lines else 10, 28, 34)
        chart = Chart(WIDTH, HEIGHT, margins)
        axes = chart.axes
        y_range = _find_range(lines, options)
        first = min([float(x_k[0]), *(x for x, _ in options.points)])
        chart.set_limits((first, float(x_k[-1])), y_range)
        if options.whole_numbers:
            chart.use_whole_numbers()
        if options.shade_from is not None:
            axes.axvspan(options.shade_from, float(x_k[-1]), color=get_colour("track"), linewidth=0)
        if options.from_zero and y_range[0] < 0:
            axes.axhline(0, color=get_colour("soft"), linewidth=1)
        pick = np.unique(np.r_[0 : len(x_k) : max(1, len(x_k) // MAX_POINTS), len(x_k) - 1])
        for line in lines:
            if line.low_k is not None:
                colour = get_colour(line.colour)
                axes.fill_between(
                    x_k[pick], line.low_k[pick], line.high_k[pick], color=colour, alpha=BAND_OPACITY, linewidth=0
                )
        for line in lines:
            style = {"color": get_colour(line.colour), "linestyle": DASHES[line.line_style]}
            axes.plot(x_k[pick], line.middle_k[pick], **style)
        _draw_points(chart, options.points, y_range[1])
        if options.name_lines:
            _name_lines(chart, float(x_k[-1]), lines)
        chart.set_titles(title, options.x_label, options.y_label)
        ends = ", ".join(f"{line.name} ends at {format_short(float(line.middle_k[-1]))}" for line in lines)
        return chart.render(f"{title}: {ends}")


def _find_range(lines: Sequence[BandedLine], options: LineChartOptions) -> tuple[float, float]:
    """The range of y that holds all lines, their bands, and points up to twice the highest."""
    parts = [part for line in lines for part in (line.middle_k, line.low_k, line.high_k) if part is not None]
    values = np.concatenate([np.ravel(part) for part in parts])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if options.from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    highest = max([high, *(min(y, 2 * high) for _, y in options.points)])
    return low, highest + HEADROOM * (highest - low) if highest > low else low + 1


def _draw_points(chart: Chart, points: Sequence[tuple[float, float]], highest: float) -> None:
    """Draw measurements, each with its value as a tooltip."""
    for x, y in points:
        style = {"color": get_colour(ORANGE), "markersize": 6, "markeredgewidth": 0.7}
        (dot,) = chart.axes.plot([x], [min(y, highest)], "o", markeredgecolor=get_colour("card"), **style)
        chart.explain(dot, format_short(y))


def _label_room(lines: Sequence[BandedLine]) -> float:
    """Pixels to the right of the axes that the names of the lines need."""
    return 12 + 0.6 * FONT_PX * max(len(line.name) for line in lines)


def _name_lines(chart: Chart, x: float, lines: Sequence[BandedLine]) -> None:
    """Write each line's name at its end, moved up or down where names would overlap."""
    named = [line for line in lines if np.isfinite(line.middle_k[-1])]
    named.sort(key=lambda line: float(line.middle_k[-1]))
    low, high = chart.axes.get_ylim()
    px_per_unit = chart.axes.get_position().height * chart.height / (high - low)
    bottom = -np.inf
    for line in named:
        y = float(line.middle_k[-1])
        place_px = max((y - low) * px_per_unit, bottom + LABEL_SPACE * FONT_PX)
        bottom = place_px
        shift_px = (5, place_px - (y - low) * px_per_unit)
        chart.add_text(x, y, line.name, shift_px=shift_px, va="center", color=get_colour(line.colour))
