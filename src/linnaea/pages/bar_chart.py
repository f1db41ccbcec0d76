"""Stacked bars of shares: one bar for each row, the same colours in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from linnaea.pages.chart import FONT_PX, Chart, format_short, get_colour, use_chart_style
from linnaea.pages.style import GREY, ORANGE, SERIES, SKY

WIDTH, LEFT, RIGHT = 960, 170, 130
ROW, BAR = 27, 20
BRIGHT = (ORANGE, SKY, GREY)
"Colours that carry black text; the others carry text in the colour of the card."
LETTER = 0.6 * FONT_PX
"Width of a letter, px, as labels are fitted to their bars."


def draw_stacked_bars(label: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Shares of each row's total as inline SVG, with a legend above and the total (in `unit`) at the right."""
    parts = sorted({part for amounts in rows.values() for part, amount in amounts.items() if amount > 0})
    if not parts:
        return ""
    colours = dict(zip(parts, cycle(SERIES), strict=False))
    with use_chart_style():
        keys = _place_keys(parts)
        top = 24 * (1 + max(line for line, _ in keys.values())) + 10
        height = ROW * len(rows) + top + 4
        chart = Chart(WIDTH, height, (LEFT, RIGHT, top, 4))
        axes = chart.axes
        chart.set_limits((0, 1), (len(rows), 0))
        axes.set_ylim(len(rows), 0)
        axes.set_axis_off()
        _draw_keys(chart, keys, colours, top)
        for index, (name, amounts) in enumerate(rows.items()):
            chart.add_text(0, index + 0.5, name, shift_px=(-6, 0), ha="right", va="center")
            total = sum(amounts.values())
            _draw_bar(chart, index, name, {part: amounts.get(part, 0.0) for part in parts}, colours, unit)
            text = f"{format_short(total)} {unit}"
            chart.add_text(1, index + 0.5, text, shift_px=(6, 0), va="center", color=get_colour("soft"))
        return chart.render(label)


def _draw_bar(
    chart: Chart, index: int, name: str, amounts: Mapping[str, float], colours: Mapping[str, str], unit: str
) -> None:
    """Draw one row: its parts from the left, each with its name where that fits."""
    total, start = sum(amounts.values()) or 1.0, 0.0
    for part, amount in amounts.items():
        share = amount / total
        if share <= 0:
            continue
        style = {"color": get_colour(colours[part]), "edgecolor": get_colour("card"), "linewidth": 1}
        (bar,) = chart.axes.barh([index + 0.5], [share], BAR / ROW, left=start, **style)
        chart.explain(bar, f"{name}, {part}: {format_short(amount)} {unit}")
        text = "black" if colours[part] in BRIGHT else "card"
        if share * (WIDTH - LEFT - RIGHT) > LETTER * len(part) + 10:
            chart.add_text(start, index + 0.5, part, shift_px=(5, 0), va="center", color=get_colour(text))
        start += share


def _place_keys(parts: list[str]) -> dict[str, tuple[int, float]]:
    """Line and left edge (px) of each entry of the legend."""
    places, line, x = {}, 0, float(LEFT)
    for part in parts:
        width = 34 + LETTER * len(part)
        if x + width > WIDTH and x > LEFT:
            line, x = line + 1, float(LEFT)
        places[part] = (line, x)
        x += width
    return places


def _draw_keys(chart: Chart, keys: Mapping[str, tuple[int, float]], colours: Mapping[str, str], top: float) -> None:
    """Draw the legend: a square and a name for each part."""
    from matplotlib.patches import Rectangle

    for part, (line, x) in keys.items():
        y = chart.height - 18 - 24 * line
        square = Rectangle(
            (x / WIDTH, y / chart.height), 13 / WIDTH, 13 / chart.height, color=get_colour(colours[part]), linewidth=0
        )
        chart.figure.add_artist(square)
        chart.figure.text((x + 18) / WIDTH, (y + 2.5) / chart.height, part)
