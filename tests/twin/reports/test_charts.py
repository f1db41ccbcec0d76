"""Charts of the twin: phases, the food web, effects, posteriors, each by hand-countable examples."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from linnaea.pages.line_chart import BandedLine, LineChartOptions
from linnaea.twin.data.foodweb import lay_out_web
from linnaea.twin.data.world_file import load_world
from linnaea.twin.reports.charts import draw_phase_plot, draw_time_series
from linnaea.twin.reports.food_web_chart import draw_food_web
from linnaea.twin.reports.study_charts import ParameterEffect, draw_effects, draw_morris_plot, draw_posterior


def find_shapes(chart: str) -> dict[str, ElementTree.Element]:
    """The shapes with a tooltip, by its text."""
    return {
        group.find("title").text: group.find("path")
        for group in ElementTree.fromstring(chart).iter("g")
        if group.find("title") is not None
    }


def measure_width(shape: ElementTree.Element) -> float:
    x = [float(number) for number in re.findall(r"[ML](-?[\d.]+) ", shape.get("d"))]
    return max(x) - min(x)


def test_names_are_escaped():
    chart = draw_phase_plot("<b>", "a & b", np.array([1.0, 2]), np.array([1.0, 2]))
    assert "<b>" not in chart
    assert "a &amp; b" in chart


def test_a_span_below_a_year_is_in_days():
    line = BandedLine(name="x", middle_k=np.ones(2))
    days = draw_time_series("x", np.array([0.0, 0.5]), [line], LineChartOptions(points=[(0.25, 1.0)]))
    assert ">days<" in days
    assert ">years<" in draw_time_series("x", np.array([0.0, 1.0]), [line])


def test_the_web_has_plants_below_and_hunters_above():
    shapes = find_shapes(draw_food_web(lay_out_web(load_world("tutorial").web)))
    height = {}
    for name in ("clover", "rabbit", "red fox"):
        (shape,) = (shape for text, shape in shapes.items() if text.startswith(f"{name}, trophic level"))
        height[name] = float(re.search(r"translate\([\d.]+ ([\d.]+)\)", shape.get("transform")).group(1))
    assert height["clover"] > height["rabbit"] > height["red fox"]


def test_bars_are_as_long_as_their_effects():
    effects = [ParameterEffect(name="a", size=4.0, low=3.0, high=8.0), ParameterEffect(name="b", size=2.0, chance=1.0)]
    chart = draw_effects("hare", effects, "animals")
    shapes = find_shapes(chart)
    assert measure_width(shapes["a: 4"]) == pytest.approx(2 * measure_width(shapes["b: 2"]), abs=0.3)
    # The longest is the end of an interval, which reaches the right edge.
    marks = [
        float(x)
        for path in ElementTree.fromstring(chart).iter("path")
        if "stroke:var(--orange)" in path.get("style", "")
        for x in re.findall(r"[ML](-?[\d.]+) ", path.get("d"))
    ]
    assert max(marks) == pytest.approx(470)


def test_close_discs_of_morris_have_names_below_each_other():
    chart = draw_morris_plot("hare", [(f"settings.value{i}", 1.0, 1.0 + 0.001 * i) for i in range(4)])
    texts = [one for one in ElementTree.fromstring(chart).iter("text") if one.text.startswith("value")]
    heights = sorted(
        float(one.get("y")) if one.get("y") else float(re.findall(r"[\d.]+", one.get("transform"))[1]) for one in texts
    )
    assert np.diff(heights).min() > 11


def test_a_posterior_is_drawn_against_its_prior():
    values, weights = np.array([1.1, 1.1, 2.9]), np.array([0.25, 0.25, 0.5])
    chart = draw_posterior("x", (values, weights), (1.0, 3.0), (1.1, 1.5, 2.9), present=9.0)
    heights = []
    for path in ElementTree.fromstring(chart).iter("path"):
        if "fill:var(--blue)" in path.get("style", ""):
            y = [float(number) for number in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)", path.get("d"))]
            heights.append(max(y) - min(y))
    # Twelve bars; half of the weight in the first, half in the last.
    assert len(heights) == 12
    assert heights[0] == heights[-1] > 0
    assert sum(heights[1:-1]) == 0
    assert "now" not in chart
    assert "now 2" in draw_posterior("x", (values, weights), (1.0, 3.0), (1.1, 1.5, 2.9), present=2.0)
