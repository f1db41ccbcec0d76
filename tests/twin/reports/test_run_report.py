"""The reports of a run and of a comparison: whole, without links, and saying what was never checked."""

import re
from html.parser import HTMLParser

import pytest

from linnaea.twin.commands.compare import CompareConfig, main
from linnaea.twin.runs.results import load_run
from made_runs import GONE, make_run


class Page(HTMLParser):
    """Counts open elements and keeps what the page would load."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.loads, self.bare = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs[name] for name in ("src", "href", "xlink:href") if name in attrs]
        if (tag == "img" and not attrs.get("alt")) or (tag == "svg" and not attrs.get("aria-label")):
            self.bare.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

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


def test_a_run_says_how_large_its_ground_was(folders):
    text = (folders[0] / "report.html").read_text("utf-8")
    made = text[text.index("How it was made") :]
    # The world's ground is 3 km × 3 km; √0.15 of each side is left.
    assert (
        "area 0.15 of the world&#x27;s (1.16 × 1.16 km)" in made or "area 0.15 of the world's (1.16 × 1.16 km)" in made
    )
    assert ">200 m<" in text
