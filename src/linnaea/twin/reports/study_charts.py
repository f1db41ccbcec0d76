"""Charts of studies of a world: how far parameters move an outcome, and what observations say of their values.

Shape suffixes: n particles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from linnaea.twin.reports.charts import BLUE, GREY, ORANGE, ChartFrame, format_short, render_svg

BINS = 12


@dataclass(frozen=True, kw_only=True)
class ParameterEffect:
    """How much a parameter matters to an outcome."""

    name: str
    size: float
    low: float = math.nan
    "lower end of its interval; nan without one"
    high: float = math.nan
    chance: float = math.nan
    "size that chance alone brings; nan where an interval says it"


def draw_effects(title: str, effects: Sequence[ParameterEffect], unit: str) -> str:
    """Bars from 0, each under its name, with the interval as a line or what chance brings as a mark."""
    width, left, right, top, row = 480, 8, 470, 34, 34
    ends = [value for one in effects for value in (one.size, one.high, one.chance) if math.isfinite(value)]
    most = max(ends, default=0.0) or 1.0
    height = top + row * len(effects) + 6

    def place(value: float) -> float:
        return left + max(value, 0.0) / most * (right - left)

    body = f'<text x="4" y="15" class="title">{escape(title)}</text><text x="{right}" y="15" text-anchor="end">{escape(unit)}</text>'
    for index, one in enumerate(effects):
        y = top + row * index
        told = f"{one.name}: {format_short(one.size)}"
        body += f'<text x="{left}" y="{y + 9}">{escape(one.name)}</text>'
        body += f'<text x="{right}" y="{y + 9}" text-anchor="end">{format_short(one.size)}</text>'
        body += (
            f'<rect x="{left}" y="{y + 13}" width="{place(one.size) - left:.1f}" height="11" fill="{BLUE}" opacity=".75">'
            f"<title>{escape(told)}</title></rect>"
        )
        if math.isfinite(one.low):
            a, b = place(one.low), place(one.high)
            body += (
                f'<path d="M{a:.1f} {y + 18.5}H{b:.1f}M{a:.1f} {y + 15}v7M{b:.1f} {y + 15}v7" stroke="{ORANGE}" '
                'stroke-width="2" fill="none"/>'
            )
        if math.isfinite(one.chance):
            body += f'<path d="M{place(one.chance):.1f} {y + 11}v15" stroke="{ORANGE}" stroke-width="2.5" fill="none"/>'
    return render_svg(
        width, height, f"{title}: " + ", ".join(f"{one.name} {format_short(one.size)}" for one in effects), body
    )


def draw_morris_plot(title: str, points: Sequence[tuple[str, float, float]]) -> str:
    """Morris' plot: of each (name, mu*, sigma) a disc; above the line an effect depends on the other parameters."""
    most = max([value for _, x, y in points for value in (x, y)], default=0.0) or 1.0
    frame = ChartFrame((0.0, 1.08 * most), (0.0, 1.08 * most), 320, 260)
    body = frame.axes(title, "mean absolute effect", "s.d. of the effects")
    body += (
        f'<line x1="{frame.x(0.0):.1f}" y1="{frame.y(0.0):.1f}" x2="{frame.x(1.08 * most):.1f}" '
        f'y2="{frame.y(1.08 * most):.1f}" class="zero" stroke-dasharray="4 3"/>'
    )
    for name, x, y in points:
        px, py = float(frame.x(x)), float(frame.y(y))
        end, shift = ("end", -7) if px > 190 else ("start", 7)
        body += f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{BLUE}"><title>{escape(name)}</title></circle>'
        body += f'<text x="{px + shift:.1f}" y="{py - 5:.1f}" text-anchor="{end}" class="halo">{escape(name.rsplit(".", 1)[-1])}</text>'
    return render_svg(320, 260, f"{title}: mean absolute effect and its standard deviation", body)


def draw_posterior(
    title: str,
    values_n: np.ndarray,
    weights_n: np.ndarray,
    ends: tuple[float, float],
    band: tuple[float, float, float],
    present: float,
) -> str:
    """Weighted values as bars against the even prior, which is the dashed line at 1.

    The strip below is the band (low, middle, high); the triangle marks the present value where it lies in the range.
    """
    edges = np.linspace(*ends, BINS + 1)
    share, _ = np.histogram(values_n, edges, weights=weights_n)
    height = share * BINS
    frame = ChartFrame(ends, (0.0, max(1.2, float(height.max()))), 320, 180)
    body = frame.axes(title, "", "probability, prior = 1")
    for one, a, b in zip(height, edges[:-1], edges[1:], strict=True):
        x, y = float(frame.x(a)), float(frame.y(one))
        body += (
            f'<rect x="{x + 0.5:.1f}" y="{y:.1f}" width="{float(frame.x(b)) - x - 1:.1f}" height="{frame.bottom - y:.1f}" '
            f'fill="{BLUE}" opacity=".6"/>'
        )
    body += (
        f'<line x1="{frame.left}" x2="{frame.right}" y1="{frame.y(1.0):.1f}" y2="{frame.y(1.0):.1f}" stroke="{GREY}" '
        'stroke-width="1.5" stroke-dasharray="5 3"/>'
    )
    low, middle, high = (float(frame.x(value)) for value in band)
    y = frame.bottom - 4
    body += f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{ORANGE}" stroke-width="3" fill="none"/>'
    body += f'<circle cx="{middle:.1f}" cy="{y}" r="4.5" fill="{ORANGE}" stroke="white" stroke-width="1"/>'
    if ends[0] <= present <= ends[1]:
        x = float(frame.x(present))
        body += f'<path d="M{x - 5:.1f} {frame.top}h10l-5 8z" fill="{GREY}"><title>now {format_short(present)}</title></path>'
    return render_svg(
        320, 180, f"{title}: {format_short(band[1])}, {format_short(band[0])} to {format_short(band[2])}", body
    )


def draw_particles(
    x: tuple[str, float, float], y: tuple[str, float, float], x_n: np.ndarray, y_n: np.ndarray, weights_n: np.ndarray
) -> str:
    """Particles by two parameters, each (name, low, high); the area of a disc is its weight."""
    (x_name, *x_ends), (y_name, *y_ends) = x, y
    frame = ChartFrame((x_ends[0], x_ends[1]), (y_ends[0], y_ends[1]), 320, 260)
    body = frame.axes("", x_name, y_name)
    for a, b, share in zip(x_n, y_n, weights_n / weights_n.max(), strict=True):
        body += (
            f'<circle cx="{float(frame.x(a)):.1f}" cy="{float(frame.y(b)):.1f}" r="{1 + 4 * math.sqrt(share):.1f}" '
            f'fill="{BLUE}" opacity=".55"/>'
        )
    return render_svg(320, 260, f"{y_name} against {x_name}", body)
