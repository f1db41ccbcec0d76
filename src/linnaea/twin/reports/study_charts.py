"""Charts of studies of a world: how far parameters move an outcome, and what observations say about their values.

Shape suffixes: n particles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.pages.chart import Chart, format_short, get_colour, use_chart_style
from linnaea.pages.style import BLUE, GREY, ORANGE

N_BINS = 12
WIDTH, HEIGHT, SQUARE_HEIGHT = 320, 190, 270
EFFECTS_WIDTH, EFFECT_ROW, EFFECTS_TOP = 480, 34, 30


@dataclass(frozen=True, kw_only=True)
class ParameterEffect:
    """How much a parameter matters to an outcome."""

    name: str
    size: float
    low: float = math.nan
    "lower end of its interval; nan without one"
    high: float = math.nan
    "upper end"
    chance: float = math.nan
    "size that chance alone reaches; nan if the interval says it"


def draw_effects(title: str, effects: Sequence[ParameterEffect], unit: str) -> str:
    """Bars from 0, each under its name, with its interval as a line or the size of chance as a mark."""
    ends = [value for one in effects for value in (one.size, one.high, one.chance) if math.isfinite(value)]
    longest = max(ends, default=0.0) or 1.0
    height = EFFECTS_TOP + EFFECT_ROW * len(effects) + 6
    with use_chart_style():
        chart = Chart(EFFECTS_WIDTH, height, (8, 10, EFFECTS_TOP, 6))
        axes = chart.axes
        axes.set_axis_off()
        axes.set_xlim(0, longest)
        axes.set_ylim(len(effects), 0)
        for row, effect in enumerate(effects):
            _draw_effect(chart, row, effect, longest)
        chart.set_titles(title)
        y = 1 - 15 / height
        chart.figure.text(1 - 10 / EFFECTS_WIDTH, y, unit, ha="right", color=get_colour("soft"))
        sizes = ", ".join(f"{one.name} {format_short(one.size)}" for one in effects)
        return chart.render(f"{title}: {sizes}")


def _draw_effect(chart: Chart, row: int, effect: ParameterEffect, longest: float) -> None:
    """Draw the bar of one parameter in its row, its name and size above it."""
    middle = row + 0.7
    chart.add_text(0, row + 0.36, effect.name)
    chart.add_text(longest, row + 0.36, format_short(effect.size), ha="right")
    (bar,) = chart.axes.barh([middle], [max(effect.size, 0.0)], 0.34, color=get_colour(BLUE), alpha=0.75)
    chart.explain(bar, f"{effect.name}: {format_short(effect.size)}")
    mark = {"color": get_colour(ORANGE), "linewidth": 2}
    if math.isfinite(effect.low):
        low, high = (max(value, 0.0) for value in (effect.low, effect.high))
        chart.axes.plot([low, high], [middle, middle], **mark)
        for end in (low, high):
            chart.axes.plot([end, end], [middle - 0.11, middle + 0.11], **mark)
    if math.isfinite(effect.chance):
        chart.axes.plot([effect.chance] * 2, [middle - 0.24, middle + 0.24], **mark)


def draw_morris_plot(title: str, points: Sequence[tuple[str, float, float]]) -> str:
    """Morris' plot: a disc for each (name, mu*, sigma); above the line an effect depends on the other parameters."""
    largest = 1.08 * max([value for _, x, y in points for value in (x, y)], default=0.0) or 1.0
    with use_chart_style():
        chart = Chart(WIDTH, SQUARE_HEIGHT)
        chart.set_limits((0.0, largest), (0.0, largest))
        chart.axes.plot([0, largest], [0, largest], color=get_colour(GREY), linewidth=1, linestyle=(0, (4, 3)))
        bottom = -math.inf
        for name, x, y in sorted(points, key=lambda point: point[2]):
            (disc,) = chart.axes.plot([x], [y], "o", markersize=9, color=get_colour(BLUE))
            chart.explain(disc, name)
            right = x > 0.6 * largest
            # Names of discs that lie close together are moved up until they stand below each other.
            y_px = y / largest * (SQUARE_HEIGHT - 62)
            place_px = max(y_px + 4, bottom + 13)
            bottom = place_px
            shift_px = (-7 if right else 7, place_px - y_px)
            short_name = name.rsplit(".", 1)[-1]
            chart.add_text(x, y, short_name, halo=True, shift_px=shift_px, ha="right" if right else "left")
        chart.set_titles(title, "mean absolute effect", "s.d. of the effects")
        return chart.render(f"{title}: mean absolute effect and its standard deviation")


def draw_posterior(
    title: str,
    particles: tuple[np.ndarray, np.ndarray],
    ends: tuple[float, float],
    band: tuple[float, float, float],
    present: float,
) -> str:
    """A histogram of weighted values against the uniform prior, which is the dashed line at 1.

    `particles` are values and weights, both [n]; `ends` is the range of the prior. The strip below is the `band` (low,
    middle, high); the triangle marks the `present` value if it lies in the range.
    """
    edges = np.linspace(*ends, N_BINS + 1)
    share, _ = np.histogram(particles[0], edges, weights=particles[1])
    density = share * N_BINS
    top = max(1.2, float(density.max()))
    with use_chart_style():
        chart = Chart(WIDTH, HEIGHT)
        chart.set_limits(ends, (0.0, top))
        axes, colour = chart.axes, get_colour(ORANGE)
        axes.bar(edges[:-1], density, 0.96 * np.diff(edges), align="edge", color=get_colour(BLUE), alpha=0.6)
        axes.axhline(1.0, color=get_colour(GREY), linewidth=1.5, linestyle=(0, (5, 3)))
        low, middle, high = band
        axes.plot([low, high], [0.03 * top] * 2, color=colour, linewidth=3)
        axes.plot([middle], [0.03 * top], "o", markersize=9, color=colour, markeredgecolor=get_colour("card"))
        if ends[0] <= present <= ends[1]:
            (mark,) = axes.plot([present], [0.97 * top], "v", markersize=9, color=get_colour("soft"))
            chart.explain(mark, f"now {format_short(present)}")
        chart.set_titles(title, "", "probability, prior = 1")
        return chart.render(f"{title}: {format_short(middle)}, {format_short(low)} to {format_short(high)}")


def draw_particles(
    x: tuple[str, float, float],
    y: tuple[str, float, float],
    values: tuple[np.ndarray, np.ndarray],
    weights_n: np.ndarray,
) -> str:
    """Particles by two parameters, each (name, low, high) with its values [n]; a disc's area is its weight."""
    (x_name, *x_ends), (y_name, *y_ends) = x, y
    with use_chart_style():
        chart = Chart(WIDTH, SQUARE_HEIGHT)
        chart.set_limits((x_ends[0], x_ends[1]), (y_ends[0], y_ends[1]))
        diameters = 2 * (1 + 4 * np.sqrt(weights_n / weights_n.max()))
        chart.axes.scatter(*values, s=diameters**2, color=get_colour(BLUE), alpha=0.5, linewidths=0)
        chart.set_titles(f"↑ {y_name}", x_name)
        return chart.render(f"{y_name} against {x_name}")
