import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from linnaea.identify.output import html_report as report
from linnaea.identify.output.html_report import write_report
from linnaea.records import Prediction, RankedName

NASTY = "<script>alert(\"1\")</script> & 'quoted'.jpg"


@pytest.fixture
def page(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (900, 600), "olive").save(photo)
    cat = Prediction(
        file=NASTY,
        status="identified",
        rank="genus",
        name="Felis",
        common_name="<b>cats</b>",
        confidence=0.8,
        similarity=0.31,
        lineage=("Animalia", "", "", "", "Felidae", "Felis", ""),
        path_confidence=(
            RankedName(rank="kingdom", name="Animalia", confidence=0.99),
            RankedName(rank="genus", name="Felis", confidence=0.8),
            RankedName(rank="species", name="Felis catus", confidence=0.4),
        ),
    )
    other = Prediction(file=NASTY, status="identified", position=2, rank="genus", name="Panthera", confidence=0.1)
    broken = Prediction(file="b.jpg", status="unreadable", reason="the file is empty")
    rows = [(str(photo), cat), (str(photo), other), (str(tmp_path / "gone.jpg"), broken)]
    counts = {"identified": 1, "unreadable": 1, "unidentified": 0, "rank:genus": 1}
    write_report(tmp_path / "report.html", rows, counts, "Linnaea <1>")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [value for _name, value in attrs if value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def test_names_are_escaped_wherever_they_stand(page):
    assert "<script" not in page
    assert "<b>cats" not in page
    assert "&lt;script&gt;" in page
    assert "Linnaea &lt;1&gt;" in page


def test_the_page_needs_nothing_from_elsewhere_and_every_tag_closes(page):
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert "article" in tags.seen
    assert "script" not in tags.seen
    assert "link" not in tags.seen
    assert "http" not in re.sub(r"data:[^\"]*", "", page)
    assert any(value.startswith("data:image/jpeg;base64,") for value in tags.attributes)


def test_a_card_shows_lineage_bars_alternatives_and_reasons(page):
    assert page.count("<article") == 2
    assert "80%" in page
    assert "similarity 0.31" in page
    assert "Felidae" in page
    assert "1 alternative<" in page
    assert re.search(r"<tr class=muted><th scope=row>species", page)
    assert not re.search(r"<tr class=muted><th scope=row>genus", page)
    assert "The file is empty" in page
    assert "no picture" in page


def test_long_runs_are_cut_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_CARDS", 2)
    rows = (("gone", Prediction(file=str(i), status="unreadable", reason="x")) for i in range(9))
    write_report(tmp_path / "r.html", rows, {"unreadable": 9})
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    assert "7 more are in the table" in page
