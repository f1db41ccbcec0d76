"""Charts of populations: numbers through time and one population against another.

Shape suffixes: k points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from linnaea.pages.chart import Chart, get_colour, use_chart_style
from linnaea.pages.line_chart import MAX_POINTS, BandedLine, LineChartOptions, draw_lines
from linnaea.pages.style import BLUE, ORANGE
from linnaea.twin.data.allometry import DAYS_PER_YEAR

PHASE_WIDTH, PHASE_HEIGHT = 320, 270
HEADROOM = 1.05
PHASE_PARTS = 8
"Parts of a phase plot's path, each darker than the one before."


def make_line(
    name: str, bands_3k: np.ndarray, *, several: bool, colour: str = BLUE, line_style: str = "solid"
) -> BandedLine:
    """A line from (low, middle, high); the band is left out unless there are `several` members."""
    low, middle, high = bands_3k
    band = {"low_k": low, "high_k": high} if several else {}
    return BandedLine(name=name, middle_k=middle, colour=colour, line_style=line_style, **band)


def draw_time_series(
    title: str, time_y: np.ndarray, lines: Sequence[BandedLine], options: LineChartOptions | None = None
) -> str:
    """Lines over years, or over days if the whole span is shorter than a year."""
    options = options or LineChartOptions()
    if time_y[-1] < 1:
        points = [(year * DAYS_PER_YEAR, value) for year, value in options.points]
        shade = None if options.shade_from is None else options.shade_from * DAYS_PER_YEAR
        options, time_y = replace(options, x_label="days", points=points, shade_from=shade), time_y * DAYS_PER_YEAR
    return draw_lines(title, time_y, lines, options)


def draw_phase_plot(x_name: str, y_name: str, x_k: np.ndarray, y_k: np.ndarray) -> str:
    """One population against another: the path darkens with time, a ring is its start, a disc its end."""
    step = max(1, len(x_k) // MAX_POINTS)
    x_k, y_k = x_k[::step], y_k[::step]
    with use_chart_style():
        chart = Chart(PHASE_WIDTH, PHASE_HEIGHT)
        chart.set_limits((0.0, HEADROOM * float(x_k.max())), (0.0, HEADROOM * float(y_k.max())))
        parts = max(1, min(PHASE_PARTS, len(x_k) - 1))
        edges = np.linspace(0, len(x_k) - 1, parts + 1).astype(int)
        for part, (a, b) in enumerate(pairwise(edges)):
            shade = 0.3 + 0.7 * (part + 1) / parts
            chart.axes.plot(x_k[a : b + 1], y_k[a : b + 1], color=get_colour(BLUE), alpha=shade, linewidth=1.6)
        colour = get_colour(ORANGE)
        chart.axes.plot(x_k[:1], y_k[:1], "o", markersize=9, color="none", markeredgecolor=colour, markeredgewidth=2)
        chart.axes.plot(x_k[-1:], y_k[-1:], "o", markersize=9, color=colour)
        chart.set_titles(f"↑ {y_name}", x_name)
        return chart.render(f"{y_name} against {x_name} through time")
