"""The report pages: whole, without links, and saying what was never checked; charts by hand-countable examples."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from linnaea.pages.html import render_scale_bar
from linnaea.twin.commands.compare import CompareConfig, main
from linnaea.twin.data.foodweb import lay_out_web
from linnaea.twin.reports.charts import (
    BandedLine,
    choose_ticks,
    draw_food_web,
    draw_lines,
    draw_phase_plot,
    draw_stacked_bars,
    encode_difference_map,
    encode_map,
    format_short,
)
from linnaea.twin.runs.results import load_run
from made_runs import GONE, make_run


class Page(HTMLParser):
    """Counts open elements and keeps what the page would load."""

    VOID = ("meta", "img", "input", "br", "path", "line", "circle", "rect")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.loads, self.bare = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs[name] for name in ("src", "href") if name in attrs]
        if tag == "img" and not attrs.get("alt") or tag == "svg" and not attrs.get("aria-label"):
            self.bare.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    base, gone = make_run(home / "base"), make_run(home / "gone", scenario=GONE)
    assert main(CompareConfig(base=base, whatif=gone, last_years=0.01)) == 0
    return base, gone


@pytest.mark.parametrize("which", ["run", "comparison"])
def test_a_page_is_whole_and_needs_nothing_else(folders, which):
    base, gone = folders
    text = (base / "report.html" if which == "run" else gone / "compared" / "report.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert page.bare == []
    assert all(source.startswith("data:image/png") for source in page.loads)
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", text), flags=re.IGNORECASE)
    assert len(text) < 2_000_000


def test_a_run_says_what_was_never_checked_and_how_it_was_made(folders):
    text = (folders[0] / "report.html").read_text("utf-8")
    unmeasured = load_run(folders[0]).data.unmeasured()
    assert f"{len(unmeasured):,} values" in text
    assert all(
        section in text for section in ("Numbers", "Who eats whom", "Time-lapse", "Causes of death", "How it was made")
    )


def test_a_comparison_answers_with_the_species_and_its_interval(folders):
    text = (folders[1] / "compared" / "report.html").read_text("utf-8")
    answer = text[text.index("class=answer") : text.index("Side by side")]
    assert "red fox" in answer
    assert "−100 %" in answer or "-100 %" in answer
    assert "Without foxes?" in text


def test_ticks_are_round_and_within():
    assert choose_ticks(0, 10) == [0, 5, 10]
    assert choose_ticks(0, 1) == [0, 0.5, 1]
    assert choose_ticks(3, 3) == [3]
    assert [format_short(n) for n in (0, 950, 1234, 5.6e6, 0.05)] == ["0", "950", "1.23k", "5.6M", "0.05"]


def test_a_curve_keeps_its_ends_and_breaks_where_nothing_is_known():
    values = np.array([0.0, 1, np.nan, 3, 4])
    chart = draw_lines("hares", np.arange(5.0), [BandedLine(name="hares", middle=values)])
    line = re.search(r'd="([^"]*)" fill="none"', chart).group(1)
    assert line.count("M") == 2
    assert "ends at 4" in chart


def test_names_are_escaped():
    chart = draw_phase_plot("<b>", "a & b", np.array([1.0, 2]), np.array([1.0, 2]))
    assert "<b>" not in chart
    assert "a &amp; b" in chart


def test_a_map_has_north_up_and_its_highest_cell_lightest():
    import base64
    import io

    from PIL import Image

    source = encode_map(np.array([[0.0, 0], [0, 4]]), 4.0)
    image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")
    assert image.getpixel((1, 0)) == (254, 232, 56)
    assert image.getpixel((0, 0)) == image.getpixel((1, 1)) == (0, 34, 78)
    middle = encode_difference_map(np.array([[0.0, -1, 1]]), 1.0)
    image = Image.open(io.BytesIO(base64.b64decode(middle.split(",")[1]))).convert("RGB")
    blue, orange = image.getpixel((1, 0)), image.getpixel((2, 0))
    assert min(image.getpixel((0, 0))) > 240
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]


def test_the_web_stands_plants_below_and_hunters_above(folders):
    run = load_run(folders[0])
    chart = draw_food_web(lay_out_web(run.data.web))
    height = {
        name: float(re.search(rf'cy="(\d+)"[^>]*><title>{name}', chart).group(1))
        for name in ("clover", "rabbit", "red fox")
    }
    assert height["clover"] > height["rabbit"] > height["red fox"]


def test_a_scale_is_round_and_true_to_the_map():
    # A fifth of 5 km; a quarter of 0.8 km.
    assert "width:20.00%" in render_scale_bar(5.0) and ">1 km<" in render_scale_bar(5.0)
    assert "width:25.00%" in render_scale_bar(0.8) and ">200 m<" in render_scale_bar(0.8)
    assert "width:33.33%" in render_scale_bar(60.0) and ">20 km<" in render_scale_bar(60.0)


def test_a_run_says_how_large_its_ground_was(folders):
    text = (folders[0] / "report.html").read_text("utf-8")
    made = text[text.index("How it was made") :]
    # The world's ground is 3 km × 3 km; √0.15 of each side is left.
    assert (
        "area 0.15 of the world&#x27;s (1.16 × 1.16 km)" in made or "area 0.15 of the world's (1.16 × 1.16 km)" in made
    )
    assert text.count("class=scale") >= 3


def test_every_cause_of_death_is_in_the_legend():
    chart = draw_stacked_bars({"hare": {"predation": 99.0, "age": 1.0}})
    assert re.findall(r'height="13" fill="([^"]*)"/><text[^>]*>([^<]*)', chart) == [
        ("#0072B2", "age"),
        ("#D55E00", "predation"),
    ]


def test_dots_beyond_twice_the_band_lie_on_the_edge():
    chart = draw_lines(
        "hares",
        np.arange(3.0),
        [BandedLine(name="hares", middle=np.ones(3))],
        dots=[(1.0, 1.0), (1.0, 2.0), (1.0, 50.0)],
    )
    height = [float(y) for y in re.findall(r'cy="([^"]*)"', chart)]
    assert height[0] > height[1] == height[2]
