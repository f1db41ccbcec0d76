"""Maps of values over the ground: one picture with its colour bar and scale bar, or frames for a time-lapse.

Row 0 of a map lies in the south; pictures have north up. Small values stay visible because the shade follows the square
root of the value.

Shape suffixes: R and C rows and columns of a map, f frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from linnaea.pages.chart import Chart, format_short, get_colour, use_chart_style
from linnaea.pages.elements import choose_scale_km, format_length
from linnaea.pages.images import encode_indexed_png
from linnaea.pages.style import BLUE, COLOURS, ORANGE

if TYPE_CHECKING:
    from matplotlib.colors import Colormap, Normalize

WIDTH, MARGIN, TOP, FOOT = 320, 6, 26, 64
"Width of a map's picture and its borders, px; the foot holds the scale bar and the colour bar."
BAR_HEIGHT = 9


def draw_map(title: str, values_rc: np.ndarray, size_km: tuple[float, float], unit: str) -> str:
    """A map of values of 0 and more, dark to light, as inline SVG. `size_km` is its width and height."""
    from matplotlib.colors import PowerNorm

    highest = float(values_rc.max()) or 1.0
    norm = PowerNorm(0.5, 0.0, highest)
    ticks = {0.0: "0", highest: f"{format_short(float(values_rc.max()))} {unit}"}
    return _draw(title, values_rc, size_km, _get_sequential(), norm, ticks)


def draw_difference_map(title: str, values_rc: np.ndarray, size_km: tuple[float, float], unit: str) -> str:
    """A map of differences as inline SVG: blue for less, white for no difference, orange for more."""
    from matplotlib.colors import FuncNorm

    largest = float(np.abs(values_rc).max()) or 1.0
    norm = FuncNorm((_signed_root, _signed_square), -largest, largest)
    text = format_short(float(np.abs(values_rc).max()))
    ticks = {-largest: f"-{text}", 0.0: "0", largest: f"+{text} {unit}"}
    return _draw(title, values_rc, size_km, _get_diverging(), norm, ticks)


def encode_frames(values_frc: np.ndarray, highest: float) -> str:
    """Frames of a map below each other as one PNG data URI; `highest` is the value of the lightest shade."""
    frames = values_frc[:, ::-1]
    shade = np.sqrt(np.clip(frames / (highest or 1.0), 0, 1))
    index = (255 * shade).round().astype(np.uint8).reshape(-1, values_frc.shape[-1])
    palette = (255 * _get_sequential()(np.arange(256))[:, :3]).round().astype(np.uint8)
    return encode_indexed_png(index, palette)


def _get_sequential() -> Colormap:
    """Cividis: its lightness rises evenly, for readers with any kind of colour vision."""
    import matplotlib

    return matplotlib.colormaps["cividis"]


def _get_diverging() -> Colormap:
    """From blue over white to orange, the colours that charts use for the two runs of a comparison."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("difference", [COLOURS[BLUE][0], "#f7f7f7", COLOURS[ORANGE][0]])


def _signed_root(value: np.ndarray) -> np.ndarray:
    return np.sign(value) * np.sqrt(np.abs(value))


def _signed_square(value: np.ndarray) -> np.ndarray:
    return np.sign(value) * np.square(value)


def _draw(
    title: str,
    values_rc: np.ndarray,
    size_km: tuple[float, float],
    colours: Colormap,
    norm: Normalize,
    ticks: dict[float, str],
) -> str:
    """The picture, its title above, below it the scale bar and the colour bar with its `ticks`."""
    inner = WIDTH - 2 * MARGIN
    side = inner * size_km[1] / size_km[0]
    with use_chart_style():
        chart = Chart(WIDTH, side + TOP + FOOT, (MARGIN, MARGIN, TOP, FOOT))
        axes = chart.axes
        axes.set_axis_off()
        axes.imshow(values_rc, colours, norm, origin="lower", interpolation="none", aspect="auto")
        chart.set_titles(title)
        _draw_scale_bar(chart, size_km[0], inner)
        _draw_colour_bar(chart, colours, norm, ticks, inner)
        return chart.render(f"map of {title}")


def _draw_scale_bar(chart: Chart, width_km: float, inner_px: float) -> None:
    """A round length below the south-western corner of the map."""
    from matplotlib.lines import Line2D

    length_km = choose_scale_km(width_km)
    left, right, y = MARGIN, MARGIN + inner_px * length_km / width_km, FOOT - 14
    x_px = np.array([left, left, right, right]) / chart.width
    y_px = np.array([y + 5, y, y, y + 5]) / chart.height
    chart.figure.add_artist(Line2D(x_px, y_px, color=get_colour("ink"), linewidth=1.3))
    chart.figure.text((right + 6) / chart.width, (y - 1) / chart.height, format_length(length_km))


def _draw_colour_bar(
    chart: Chart, colours: Colormap, norm: Normalize, ticks: dict[float, str], inner_px: float
) -> None:
    """The shades from the lowest to the highest value with their numbers."""
    place = (MARGIN / chart.width, 20 / chart.height, inner_px / chart.width, BAR_HEIGHT / chart.height)
    bar = chart.figure.add_axes(place)
    bar.set_axis_off()
    bar.imshow(np.linspace(0, 1, 256)[None], colours, aspect="auto", interpolation="none", extent=(0, 1, 0, 1))
    for value, text in ticks.items():
        x = float(norm(value))
        side = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        figure_x = (MARGIN + x * inner_px) / chart.width
        chart.figure.text(figure_x, 6 / chart.height, text, ha=side, color=get_colour("soft"))
