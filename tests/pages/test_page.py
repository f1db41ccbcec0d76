"""The page and its building blocks: whole, escaped, without links to anything else."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from linnaea.pages.elements import (
    render_answer,
    render_figures,
    render_image,
    render_legend,
    render_scale_bar,
    render_section,
    render_table,
)
from linnaea.pages.images import encode_indexed_png, encode_jpeg_bytes
from linnaea.pages.page import render_header, write_page
from linnaea.pages.time_lapse import render_time_lapse

NASTY = "<script>alert(\"1\")</script> & 'quoted'"
VOID = ("meta", "img", "input")


class Tags(HTMLParser):
    """The elements of a page; fails at an end tag that closes another element."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_closes_every_element_and_escapes_every_text(tmp_path):
    parts = [
        render_section("Numbers", render_table(("a", NASTY), [(NASTY, "1")], ["sure"]), "A note."),
        render_answer(NASTY, [NASTY]),
        render_figures([render_image("data:,", NASTY)], ["caption"]),
        render_legend([(NASTY, "blue", "dashed")]),
    ]
    path = write_page(tmp_path / "deep" / "page.html", NASTY, render_header(NASTY, NASTY), parts)
    text = path.read_text("utf-8")
    tags = Tags(text)
    assert tags.open == []
    assert {"section", "table", "figure"} <= set(tags.seen)
    assert "script" not in tags.seen
    assert "link" not in tags.seen
    assert not re.search(r"https?:|url\(|@import", text)


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")

    def fail():
        yield "<p>"
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_page(path, "t", "", fail())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_stand_to_the_right_and_texts_where_asked():
    assert "<td>1</td><td class=left>b</td>" in render_table(("x", "y"), [("1", "b")], text_columns=[1])


def test_a_section_without_a_body_is_left_out():
    assert render_section("Health", "") == ""
    assert render_figures([]) == ""


def test_a_scale_is_round_and_true_to_the_map():
    # A fifth of 5 km; a quarter of 0.8 km.
    assert "width:20.00%" in render_scale_bar(5.0)
    assert ">1 km<" in render_scale_bar(5.0)
    assert "width:25.00%" in render_scale_bar(0.8)
    assert ">200 m<" in render_scale_bar(0.8)
    assert "width:33.33%" in render_scale_bar(60.0)
    assert ">20 km<" in render_scale_bar(60.0)


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_a_thumbnail_is_a_small_jpeg():
    image = Image.open(io.BytesIO(encode_jpeg_bytes(Image.new("RGB", (900, 600), "olive"), 320)))
    assert image.format == "JPEG"
    assert image.size == (320, 213)


def test_an_indexed_png_keeps_its_colours():
    palette = np.zeros((256, 3), np.uint8)
    palette[7] = (1, 2, 3)
    image = decode(encode_indexed_png(np.array([[7, 0]], np.uint8), palette)).convert("RGB")
    assert image.getpixel((0, 0)) == (1, 2, 3)
    assert image.getpixel((1, 0)) == (0, 0, 0)


def test_a_time_lapse_holds_its_frames_and_no_end_of_its_script():
    html = render_time_lapse({"</script><b>": "data:,"}, (2, 3), [0.0, 0.5], below="<i></i>")
    data = re.search(r"<script type=application/json id=lapse-data>(.*?)</script>", html).group(1)
    assert json.loads(data.replace("<\\/", "</")) == {
        "rows": 2,
        "columns": 3,
        "sprites": {"</script><b>": "data:,"},
        "years": [0.0, 0.5],
    }
    assert "max=1 " in html
    assert "<option>&lt;/script&gt;" in html
    assert Tags(html).open == []
