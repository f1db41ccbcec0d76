"""Charts: inline SVG without ids, in the page's colours, the same each time; shapes by hand-countable examples."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from linnaea.pages.bar_chart import draw_stacked_bars
from linnaea.pages.chart import Chart, format_short, get_colour, use_chart_style
from linnaea.pages.line_chart import BandedLine, LineChartOptions, draw_lines
from linnaea.pages.map_chart import draw_difference_map, draw_map, encode_frames

HARES = BandedLine(name="hares", middle_k=np.ones(3))


def paths(chart: str, colour: str) -> list[str]:
    """The `d` of the lines drawn in a colour."""
    return [
        element.get("d")
        for element in ElementTree.fromstring(chart).iter("path")
        if f"stroke:var(--{colour})" in element.get("style", "") and "fill:none" in element.get("style", "")
    ]


def places(chart: str) -> list[tuple[float, float]]:
    """Centres of the discs of a chart."""
    return [(float(x), float(y)) for x, y in re.findall(r"translate\(([\d.]+) ([\d.]+)\)", chart)]


def test_a_chart_is_small_valid_themed_and_the_same_each_time():
    options = LineChartOptions(points=[(1.0, 1.0)], shade_from=2.0)
    chart = draw_lines("hares", np.arange(3.0), [HARES], options)
    root = ElementTree.fromstring(chart)
    assert root.tag == "svg"
    assert root.get("viewBox") == "0 0 320 190"
    assert root.get("aria-label") == "hares: hares ends at 1"
    assert chart == draw_lines("hares", np.arange(3.0), [HARES], options)
    assert " id=" not in chart
    assert "clip-path" not in chart
    # Every colour is a variable, so that it follows the scheme of the page.
    assert not re.search(r"#[0-9a-fA-F]{6}", chart)
    assert len(chart) < 4000


def test_text_stays_text():
    chart = draw_lines("hares & <b>", np.arange(3.0), [HARES], LineChartOptions(y_label="per km²"))
    texts = [element.text for element in ElementTree.fromstring(chart).iter("text")]
    assert "hares & <b>" in texts
    assert "↑ per km²" in texts
    assert "years" in texts
    assert "<b>" not in chart


def test_a_line_keeps_its_ends_and_breaks_where_nothing_is_known():
    values = np.array([0.0, 1, np.nan, 3, 4])
    chart = draw_lines("hares", np.arange(5.0), [BandedLine(name="hares", middle_k=values)], LineChartOptions())
    (line,) = paths(chart, "blue")
    assert line.count("M") == 2
    assert "ends at 4" in chart


def test_a_long_line_is_thinned_and_keeps_its_last_point():
    x = np.arange(10_000.0)
    chart = draw_lines(
        "x", x, [BandedLine(name="x", middle_k=np.random.default_rng(0).random(10_000))], LineChartOptions()
    )
    (line,) = paths(chart, "blue")
    assert line.count("L") <= 260
    assert float(re.findall(r"[\d.]+", line)[-2]) == pytest.approx(310)


def test_a_band_is_drawn_only_where_there_is_one():
    banded = BandedLine(name="x", middle_k=np.ones(3), low_k=np.zeros(3), high_k=np.full(3, 2.0))
    with_band, without = (draw_lines("x", np.arange(3.0), [one], LineChartOptions()) for one in (banded, HARES))
    assert "fill:var(--blue)" in with_band
    assert "fill:var(--blue)" not in without


def test_points_beyond_twice_the_band_lie_on_the_edge_and_say_their_value():
    points = [(1.0, 1.0), (1.0, 2.0), (1.0, 50.0)]
    chart = draw_lines("hares", np.arange(3.0), [HARES], LineChartOptions(points=points))
    heights = [y for _, y in places(chart)]
    assert heights[0] > heights[1]
    # The edge lies a little above the highest point, which is twice the band.
    assert heights[2] == pytest.approx(heights[1], abs=0.04 * 130)
    titles = [element.text for element in ElementTree.fromstring(chart).iter("title")]
    assert titles == ["1", "2", "50"]


def test_names_at_the_ends_of_lines_do_not_overlap():
    lines = [BandedLine(name=name, middle_k=np.full(3, 5.0 + 0.01 * i)) for i, name in enumerate("abc")]
    chart = draw_lines("x", np.arange(3.0), lines, LineChartOptions(name_lines=True))
    heights = sorted(
        float(element.get("y")) if element.get("y") else float(re.findall(r"[\d.]+", element.get("transform"))[1])
        for element in ElementTree.fromstring(chart).iter("text")
        if element.text in ("a", "b", "c")
    )
    assert np.diff(heights).min() > 11


def test_numbers_on_axes_are_short():
    assert [format_short(n) for n in (0, 950, 1234, 5.6e6, 0.05)] == ["0", "950", "1.23k", "5.6M", "0.05"]


def test_animals_are_counted_in_whole_numbers():
    lines = [BandedLine(name="lion", middle_k=np.ones(5))]
    chart = draw_lines("lion", np.arange(5.0), lines, LineChartOptions(whole_numbers=True))
    numbers = [element.text for element in ElementTree.fromstring(chart).iter("text")]
    assert "1" in numbers
    assert not any("." in text for text in numbers)


def test_every_part_is_in_the_legend_and_bars_are_as_long_as_their_shares():
    chart = draw_stacked_bars("deaths", {"hare": {"predation": 99.0, "age": 1.0}}, "a year")
    titles = [element.text for element in ElementTree.fromstring(chart).iter("title")]
    assert titles == ["hare, age: 1 a year", "hare, predation: 99 a year"]
    texts = [element.text for element in ElementTree.fromstring(chart).iter("text")]
    # "predation" stands in the legend and in its bar, "age" only in the legend: its bar is too short.
    assert texts.count("predation") == 2
    assert texts.count("age") == 1
    assert "100 a year" in texts
    bars = [
        [float(x) for x in re.findall(r"[ML]([\d.]+) ", element.get("d"))]
        for group in ElementTree.fromstring(chart).iter("g")
        if group.find("title") is not None
        for element in group.iter("path")
    ]
    widths = [max(x) - min(x) for x in bars]
    assert widths[1] / sum(widths) == pytest.approx(0.99, abs=0.001)
    assert draw_stacked_bars("deaths", {}, "a year") == ""


def pixels(chart: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(source))).convert("RGB")
        for source in re.findall(r'href="data:image/png;base64,\s*([^"]*)"', chart)
    ]


def test_a_map_has_north_up_and_its_highest_cell_lightest():
    frames = encode_frames(np.array([[[0.0, 0], [0, 4]]]), 4.0)
    image = Image.open(io.BytesIO(base64.b64decode(frames.split(",")[1]))).convert("RGB")
    assert image.getpixel((1, 0)) == (254, 232, 56)
    assert image.getpixel((0, 0)) == image.getpixel((1, 1)) == (0, 34, 78)


def test_a_drawn_map_says_its_range_and_its_scale():
    chart = draw_map("hare", np.array([[0.0, 0], [0, 1234]]), (5.0, 5.0), "per km²")
    texts = [element.text for element in ElementTree.fromstring(chart).iter("text")]
    assert {"hare", "0", "1.23k per km²", "1 km"} <= set(texts)
    ground, bar = pixels(chart)
    assert ground.size == (2, 2)
    assert bar.size == (256, 1)
    image = ElementTree.fromstring(chart).find(".//image")
    upside_down = (
        "scale(1 -1)" in image.get("transform", "") or "-" in image.get("transform", "").partition("matrix")[2]
    )
    lightest = max(((x, y) for x in (0, 1) for y in (0, 1)), key=lambda place: sum(ground.getpixel(place)))
    assert lightest == ((1, 1) if upside_down else (1, 0))


def test_differences_are_blue_below_zero_and_orange_above():
    ground, _ = pixels(draw_difference_map("hare", np.array([[0.0, -1, 1]]), (3.0, 1.0), "per km²"))
    same, blue, orange = (ground.getpixel((x, 0)) for x in range(3))
    assert min(same) > 240
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]


def test_a_map_of_nothing_can_be_drawn():
    assert ">0 per km²<" in draw_map("hare", np.zeros((2, 2)), (1.0, 1.0), "per km²")


def test_a_tooltip_and_a_halo_reach_the_svg():
    with use_chart_style():
        chart = Chart(100, 100)
        (line,) = chart.axes.plot([0, 1], [0, 1], color=get_colour("blue"))
        chart.explain(line, "a < b")
        chart.add_text(0.5, 0.5, "name", halo=True)
        svg = chart.render("label")
    root = ElementTree.fromstring(svg)
    assert root.find(".//title").text == "a < b"
    assert root.find(".//g[@class='halo']/text").text == "name"
