"""The food web as a chart: trophic levels upwards, discs by biomass, arrows from the eaten to the eater by flow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from linnaea.pages.chart import Chart, format_short, get_colour, use_chart_style
from linnaea.pages.style import AMBER, BLUE, GREEN, GREY, ORANGE
from linnaea.twin.data.foodweb import WebLayout, WebNode

WIDTH, HEIGHT, SMALL_HEIGHT = 960, 700, 380
SMALL_WEB = 8
"Up to this many nodes a web needs only the small height."
SIDE, TOP, SLANTED_TOP, FOOT = 70, 44, 120, 54
KIND_COLOURS = {"animal": BLUE, "grass": GREEN, "woody": GREEN, "seed": AMBER, "dead": GREY}
MAX_LEVEL_NAMES = 7
"With more names side by side in a row of the web they are slanted, or stand in several rows."
BASAL_ROW_PX = 15


def draw_food_web(web: WebLayout) -> str:
    """The web of `foodweb.lay_out_web` as inline SVG."""
    with use_chart_style():
        crowd = Counter(round(node.level) for node in web.nodes)
        slanted = any(n > MAX_LEVEL_NAMES for level, n in crowd.items() if level > 1)
        n_rows = math.ceil(crowd[1] / MAX_LEVEL_NAMES)
        height = SMALL_HEIGHT if len(web.nodes) <= SMALL_WEB else HEIGHT
        margins = (SIDE, SIDE, SLANTED_TOP if slanted else TOP, FOOT + BASAL_ROW_PX * (n_rows - 1))
        chart = Chart(WIDTH, height, margins)
        chart.set_limits((0, 1), (0, 1))
        chart.axes.set_axis_off()
        _draw_links(chart, web)
        _draw_nodes(chart, web.nodes)
        _name_nodes(chart, web.nodes, slanted, n_rows)
        return chart.render("food web: who eats whom, and how much")


def _draw_links(chart: Chart, web: WebLayout) -> None:
    """Draw an arc from prey to predator, wide where much flows; links inside a level bend away from it."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    nodes = {node.name: node for node in web.nodes}
    for edge in sorted(web.edges, key=lambda edge: edge.width):
        prey, predator = nodes[edge.prey], nodes[edge.predator]
        if prey is predator:
            continue
        bend = 0.15 * (predator.x - prey.x) if prey.level != predator.level else 0.05
        middle = ((prey.x + predator.x) / 2 + bend, (prey.y + predator.y) / 2)
        points = [(prey.x, prey.y), middle, (predator.x, predator.y)]
        patch = PathPatch(
            Path(points, [Path.MOVETO, Path.CURVE3, Path.CURVE3]),
            facecolor="none",
            edgecolor=get_colour(ORANGE if edge.flow else GREY),
            linewidth=0.6 + 9 * edge.width,
            alpha=0.25 + 0.5 * edge.width if edge.flow else 0.25,
        )
        chart.axes.add_patch(patch)
        chart.explain(patch, f"{edge.prey} → {edge.predator}: {format_short(edge.flow)}")


def _measure_radius_px(node: WebNode) -> float:
    return 5 + 15 * node.size


def _draw_nodes(chart: Chart, nodes: Sequence[WebNode]) -> None:
    for node in nodes:
        style = {"color": get_colour(KIND_COLOURS.get(node.kind, BLUE)), "markeredgecolor": get_colour("card")}
        size = 2 * _measure_radius_px(node)
        (disc,) = chart.axes.plot([node.x], [node.y], "o", markersize=size, markeredgewidth=1.5, **style)
        chart.explain(disc, f"{node.name}, trophic level {node.level:.2f}")


def _name_nodes(chart: Chart, nodes: Sequence[WebNode], slanted: bool, n_rows: int) -> None:
    """Write names above the discs, below the discs of plants in `n_rows` rows."""
    basal = 0
    for node in sorted(nodes, key=lambda node: node.x):
        radius = _measure_radius_px(node)
        if round(node.level) == 1:
            place = {"shift_px": (0, -24 - BASAL_ROW_PX * (basal % n_rows)), "ha": "center", "va": "top"}
            basal += 1
        elif slanted:
            place = {"shift_px": (2, radius + 3), "rotation": 40, "rotation_mode": "anchor"}
        else:
            place = {"shift_px": (0, radius + 5), "ha": "center"}
        chart.add_text(node.x, node.y, node.name, halo=True, size=12, **place)
