"""Pictures of a run as SVG and small PNG, drawn without a plotting library: curves with bands, phases, maps, the web.

Colours are Okabe and Ito's, told apart by most colour-blind people, and never the only sign: lines differ in their
dashes, too. Maps run from dark to light (the scale of cividis), differences from blue over white to orange.

Shape suffixes: k points, R and C rows and columns of a map, row 0 in the south.
"""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from PIL import Image

from linnaea.twin.data.allometry import DAYS_PER_YEAR
from linnaea.twin.data.foodweb import WebLayout

BLUE, ORANGE, GREEN, GREY, PURPLE = "#0072B2", "#D55E00", "#00795B", "#555555", "#9A4C82"
KIND_COLOURS = {"animal": BLUE, "grass": GREEN, "woody": GREEN, "seed": "#8A6D00", "dead": GREY}
MOST_LEVEL = 7
"names side by side in a row of the food web"
_CIVIDIS = ((0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56))
_DIVERGING = ((0, 75, 130), (102, 165, 210), (247, 247, 247), (240, 165, 100), (190, 70, 0))


@dataclass(frozen=True, kw_only=True)
class BandedLine:
    """A line through time with a band around it."""

    name: str
    middle: np.ndarray
    "values [k]"
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    colour: str = BLUE
    dashes: str = ""


def format_short(number: float) -> str:
    """A number as axes show it: 1.2k, 3M, 0.05."""
    size = abs(number)
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if size >= scale:
            return f"{number / scale:.3g}{unit}"
    return f"{number:.3g}"


def choose_ticks(low: float, high: float, wanted: int = 3) -> list[float]:
    """Round numbers from `low` to `high`, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """The SVG path of points, broken where one is not a number."""
    parts, drawing = [], False
    for px, py in zip(x, y, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            drawing = False
            continue
        parts.append(f"{'L' if drawing else 'M'}{px:.1f} {py:.1f}")
        drawing = True
    return "".join(parts)


class ChartFrame:
    """The axes of a chart: places of values, and their drawing."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: int, height: int):
        self.left, self.right, self.top, self.bottom = 44, width - 10, 26, height - 30
        self.x_range, self.y_range, self.width, self.height = x, y, width, height

    def x(self, values):
        """Pixels from the left."""
        low, high = self.x_range
        return self.left + (np.asarray(values) - low) / ((high - low) or 1) * (self.right - self.left)

    def y(self, values):
        """Pixels from the top."""
        low, high = self.y_range
        return self.bottom - (np.asarray(values) - low) / ((high - low) or 1) * (self.bottom - self.top)

    def axes(self, title: str, x_label: str, y_label: str = "") -> str:
        """Title, grid, numbers and labels."""
        parts = [f'<text x="4" y="15" class="title">{escape(title)}</text>']
        for tick in choose_ticks(*self.y_range):
            y = float(self.y(tick))
            parts.append(f'<line x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            parts.append(f'<text x="{self.left - 5}" y="{y + 4:.1f}" text-anchor="end">{format_short(tick)}</text>')
        for tick in choose_ticks(*self.x_range, wanted=4):
            parts.append(
                f'<text x="{float(self.x(tick)):.1f}" y="{self.bottom + 14}" text-anchor="middle">{format_short(tick)}</text>'
            )
        parts.append(f'<text x="{self.right}" y="{self.height - 4}" text-anchor="end">{escape(x_label)}</text>')
        if y_label:
            parts.append(f'<text x="4" y="{self.height - 4}">↑ {escape(y_label)}</text>')
        return "".join(parts)


def render_svg(width: int, height: int, label: str, body: str) -> str:
    """A drawing that fits its column, with a text that stands for it."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, quote=True)}">{body}</svg>'


def draw_lines(
    title: str,
    time_y: np.ndarray,
    curves: Sequence[BandedLine],
    zero: bool = True,
    unit: str = "",
    dots: Sequence[tuple[float, float]] = (),
    since_y: float | None = None,
) -> str:
    """Curves through the years with their bands; `zero` keeps 0 in view.

    `dots` are measurements (year, value); those beyond twice the highest band lie on the upper edge. From the year `since_y` on
    the ground is grey.
    """
    unit_of_time, scale = "years", 1.0
    if time_y[-1] < 1:
        unit_of_time, scale = "days", DAYS_PER_YEAR
    time_y = time_y * scale
    # More points than pixels only make the page heavy.
    step = max(1, len(time_y) // 240)
    pick = np.unique(np.r_[0 : len(time_y) : step, len(time_y) - 1])
    values = np.concatenate([np.ravel(part) for c in curves for part in (c.middle, c.low, c.high) if part is not None])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    high = max([high, *(min(value, 2 * high) for _, value in dots)])
    first = min([time_y[0], *(year * scale for year, _ in dots)])
    frame = ChartFrame((first, max(time_y[-1], first + 1e-9)), (low, high if high > low else low + 1), 320, 180)
    body = ""
    if since_y is not None:
        left = float(frame.x(since_y * scale))
        body = (
            f'<rect x="{left:.1f}" y="{frame.top}" width="{frame.right - left:.1f}" height="{frame.bottom - frame.top}" '
            'fill="#efefe8"/>'
        )
    body += frame.axes(title, unit_of_time, unit)
    x = frame.x(time_y[pick])
    if zero and low < 0:
        body += (
            f'<line x1="{frame.left}" x2="{frame.right}" y1="{frame.y(0.0):.1f}" y2="{frame.y(0.0):.1f}" class="zero"/>'
        )
    for curve in curves:
        if curve.low is not None:
            ring = _path(np.r_[x, x[::-1]], np.r_[frame.y(curve.low[pick]), frame.y(curve.high[pick])[::-1]])
            body += f'<path d="{ring}Z" fill="{curve.colour}" opacity=".22"/>'
    for curve in curves:
        dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
        line = _path(x, frame.y(curve.middle[pick]))
        body += f'<path d="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.8"{dashes}/>'
    for year, value in dots:
        body += (
            f'<circle cx="{float(frame.x(year * scale)):.1f}" cy="{float(frame.y(min(value, high))):.1f}" r="2.6" '
            f'fill="{ORANGE}" stroke="white" stroke-width=".7"><title>{format_short(value)}</title></circle>'
        )
    ends = ", ".join(f"{curve.name} ends at {format_short(float(curve.middle[-1]))}" for curve in curves)
    return render_svg(320, 180, f"{title}: {ends}", body)


def draw_phase_plot(x_name: str, y_name: str, x: np.ndarray, y: np.ndarray) -> str:
    """One population against another; the path darkens with time, a ring is its start, a disc its end."""
    step = max(1, len(x) // 240)
    x, y = x[::step], y[::step]
    frame = ChartFrame((0.0, float(x.max()) or 1.0), (0.0, float(y.max()) or 1.0), 320, 260)
    px, py = frame.x(x), frame.y(y)
    body = frame.axes(f"↑ {y_name}", x_name)
    parts = max(1, min(8, len(x) - 1))
    edges = np.linspace(0, len(x) - 1, parts + 1).astype(int)
    for part, (a, b) in enumerate(pairwise(edges)):
        body += (
            f'<path d="{_path(px[a : b + 1], py[a : b + 1])}" fill="none" stroke="{BLUE}" stroke-width="1.6" '
            f'opacity="{0.3 + 0.7 * (part + 1) / parts:.2f}"/>'
        )
    body += f'<circle cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="4.5" fill="none" stroke="{ORANGE}" stroke-width="2"/>'
    body += f'<circle cx="{px[-1]:.1f}" cy="{py[-1]:.1f}" r="4.5" fill="{ORANGE}"/>'
    return render_svg(320, 260, f"{y_name} against {x_name} through time", body)


def draw_food_web(layout: WebLayout) -> str:
    """The food web of `foodweb.lay_out_web`: trophic levels upwards, discs by biomass, arrows from the eaten by flow."""
    width, height, side, foot, head = 960, 690, 70, 70, 120
    place = {
        node.name: (side + node.x * (width - 2 * side), height - foot - node.y * (height - foot - head))
        for node in layout.nodes
    }
    level_of = {node.name: node.level for node in layout.nodes}
    body = ""
    for edge in sorted(layout.edges, key=lambda one: one.width):
        (ax, ay), (bx, by) = place[edge.prey], place[edge.predator]
        if edge.prey == edge.predator:
            continue
        bend = 0.15 * (bx - ax) if level_of[edge.prey] != level_of[edge.predator] else 40
        path = f"M{ax:.0f} {ay:.0f}Q{(ax + bx) / 2 + bend:.0f} {(ay + by) / 2:.0f} {bx:.0f} {by:.0f}"
        shade = 0.12 + 0.6 * edge.width
        body += (
            f'<path d="{path}" fill="none" stroke="{ORANGE if edge.flow else GREY}" '
            f'stroke-width="{0.6 + 9 * edge.width:.1f}" opacity="{shade if edge.flow else 0.15:.2f}">'
            f"<title>{escape(edge.prey)} → {escape(edge.predator)}: {format_short(edge.flow)}</title></path>"
        )
    crowd = Counter(round(node.level) for node in layout.nodes)
    slanted = any(many > MOST_LEVEL for level, many in crowd.items() if level > 1)
    rows, basal = math.ceil(crowd[1] / MOST_LEVEL), 0
    for node in sorted(layout.nodes, key=lambda one: one.x):
        x, y = place[node.name]
        colour = KIND_COLOURS.get(node.kind, BLUE)
        radius = 5 + 15 * node.size
        body += (
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="{colour}" stroke="white" stroke-width="1.5">'
            f"<title>{escape(node.name)}, trophic level {node.level:.2f}</title></circle>"
        )
        at = f'x="{x:.0f}" y="{y - radius - 6:.0f}" text-anchor="middle"'
        if round(node.level) == 1:
            # Below there is room for several rows of names.
            at = f'x="{x:.0f}" y="{y + 33 + 15 * (basal % rows):.0f}" text-anchor="middle"'
            basal += 1
        elif slanted:
            # Level names of so many neighbours would run into each other.
            x, y = x + 4, y - radius - 4
            at = f'x="{x:.0f}" y="{y:.0f}" transform="rotate(-40 {x:.0f} {y:.0f})"'
        body += f'<text {at} class="halo">{escape(node.name)}</text>'
    return render_svg(width, height + 20, "food web: who eats whom, and how much", body)


def draw_stacked_bars(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Shares of each row's total as stacked bars, with a legend of the parts above."""
    causes = sorted({cause for parts in rows.values() for cause, amount in parts.items() if amount > 0})
    colours = dict(
        zip(
            causes,
            (BLUE, ORANGE, GREEN, PURPLE, "#8A6D00", "#56B4E9", GREY, "#000000", "#A33B00", "#4B3F72") * 2,
            strict=False,
        )
    )
    top, body, x = 30, "", 170.0
    for cause in causes:
        body += f'<rect x="{x:.0f}" y="5" width="13" height="13" fill="{colours[cause]}"/>'
        body += f'<text x="{x + 18:.0f}" y="16">{escape(cause)}</text>'
        x += 34 + 6.2 * len(cause)
    for index, (name, parts) in enumerate(rows.items()):
        total, x, y = sum(parts.values()) or 1.0, 170.0, 26 * index + top
        body += f'<text x="164" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
        for cause, colour in colours.items():
            wide = 560 * parts.get(cause, 0.0) / total
            if wide <= 0:
                continue
            body += (
                f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="19" fill="{colour}">'
                f"<title>{escape(name)}, {cause}: {format_short(parts[cause])} a year</title></rect>"
            )
            if wide > 7 * len(cause):
                body += f'<text x="{x + 5:.1f}" y="{y + 14}" fill="white" class="plain">{cause}</text>'
            x += wide
        body += f'<text x="{x + 6:.1f}" y="{y + 14}">{format_short(sum(parts.values()))} a year</text>'
    return render_svg(820, 26 * len(rows) + top + 4, "deaths by cause", body)


def _palette(stops: Sequence[tuple[int, int, int]]) -> np.ndarray:
    place = np.linspace(0, len(stops) - 1, 256)
    return np.stack([np.interp(place, range(len(stops)), [stop[c] for stop in stops]) for c in range(3)], 1).astype(
        np.uint8
    )


def _png(index: np.ndarray, palette: np.ndarray) -> str:
    image = Image.fromarray(index.astype(np.uint8))
    image.putpalette(palette.ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def encode_map(values: np.ndarray, highest: float) -> str:
    """A map [R, C], or frames [f, R, C] below each other, as a picture with north up; the root of the value sets the shade."""
    frames = values.reshape(-1, *values.shape[-2:])[:, ::-1]
    shade = np.sqrt(np.clip(frames / (highest or 1.0), 0, 1))
    return _png((255 * shade).round().reshape(-1, values.shape[-1]), _palette(_CIVIDIS))


def encode_difference_map(values: np.ndarray, largest: float) -> str:
    """A map of differences [R, C]: blue fewer, white the same, orange more."""
    share = np.clip(values[::-1] / (largest or 1.0), -1, 1)
    return _png((127.5 + 127.5 * np.sign(share) * np.sqrt(np.abs(share))).round(), _palette(_DIVERGING))
