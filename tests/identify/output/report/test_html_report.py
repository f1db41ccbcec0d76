import json
import re

import pytest
from PIL import Image

from browser import render_page
from linnaea.identify.output.report import html_report
from linnaea.identify.output.report.html_report import write_report
from linnaea.identify.output.report.photo_cards import PhotoContext
from linnaea.records import Box, Prediction, RankedName

NASTY = "</script><script>document.title='broken'</script> & 'quoted'.jpg"


def name_cat(file, **more):
    fields = {
        "rank": "genus",
        "name": "Felis",
        "common_name": "<b>cats</b>",
        "confidence": 0.8,
        "lineage": ("Animalia", "", "", "", "Felidae", "Felis", ""),
        "path_confidence": (
            RankedName(rank="kingdom", name="Animalia", confidence=0.99),
            RankedName(rank="genus", name="Felis", confidence=0.8),
        ),
    }
    return Prediction(file=file, status="identified", **(fields | more))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos & more" / "photo 1.png"
    path.parent.mkdir()
    Image.new("RGB", (900, 600), "olive").save(path)
    return path


@pytest.fixture
def page_path(tmp_path, photo):
    """A cat with an alternative, two boxes in one photograph, a photograph of nothing, and a damaged file."""
    boxes = [Box(left=90, top=60, right=450, bottom=300), Box(left=450, top=300, right=900, bottom=600)]
    dog = {"rank": "species", "name": "Canis familiaris", "common_name": "domestic dog", "confidence": 0.9}
    rows = [
        (str(photo), name_cat(NASTY)),
        (str(photo), name_cat(NASTY, position=2, name="Panthera", common_name="", confidence=0.1, path_confidence=())),
        (f"{photo.parent}/./photo 1.png", name_cat("boxes.jpg", box=boxes[0])),
        (f"{photo.parent}/./photo 1.png", name_cat("boxes.jpg", box=boxes[1], **dog)),
        (
            str(photo.parent / "empty.png"),
            Prediction(file="empty.png", status="unidentified", outcome="no_organism", reason="no organism likely"),
        ),
        (str(tmp_path / "gone.jpg"), Prediction(file="b.jpg", status="unreadable", reason="the file is empty")),
    ]
    contexts = {
        str(photo): PhotoContext(
            captured_at="2024-05-01T10:00:00", latitude=-2.5, longitude=34.5, station="A", event="1"
        ),
        f"{photo.parent}/./photo 1.png": PhotoContext(captured_at="2024-05-03T22:10:00+02:00", station="B", event="2"),
    }
    counts = {"identified": 2, "unreadable": 1, "unidentified": 1, "rank:genus": 2}
    write_report(
        tmp_path / "report.html",
        rows,
        counts,
        "Linnaea <1>",
        describe=lambda path: contexts.get(path, PhotoContext()),
        events={"1": {"names": [{"name": "Felis", "rank": "genus", "common": "cats", "confidence": 0.8, "count": 3}]}},
    )
    return tmp_path / "report.html"


def read_cards(page_path):
    """The records in a page, in the order of its script."""
    page = page_path.read_text(encoding="utf-8")
    return [card for part in re.findall(r"report\.add\((.*)\)</script>", page) for card in json.loads(part)]


def test_the_page_is_one_file_that_needs_nothing_from_elsewhere(page_path):
    page = page_path.read_text(encoding="utf-8")
    without_data = re.sub(r"data:image/jpeg;base64,[^\"]*", "", page)
    assert re.findall(r"https?://[^\"]*", without_data) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<link|@import|\bfetch\(|import\(", without_data)
    assert not page_path.with_name("report_files").exists()


def test_no_name_can_end_a_script_element(page_path):
    page = page_path.read_text(encoding="utf-8")
    assert page.count("<script>") == page.count("</script>")
    assert "<b>cats" not in page
    assert read_cards(page_path)[0]["file"] == NASTY


def test_a_photograph_is_one_record_with_all_of_its_boxes(page_path, photo):
    first, boxed, empty, gone = read_cards(page_path)
    assert [image["name"] for image in first["images"]] == ["Felis"]
    assert first["images"][0]["others"] == [["Panthera", "genus", "", 0.1]]
    assert [image["box"] for image in boxed["images"]] == [[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5]]
    assert boxed["size"] == [900, 600]
    assert (first["url"], first["place"]) == ("photos%20%26%20more/photo%201.png", [-2.5, 34.5])
    assert (empty["thumb"], empty["images"][0]["outcome"]) == ("", "no_organism")
    assert gone["images"][0]["reason"] == "the file is empty"
    assert first["thumb"].startswith("data:image/jpeg;base64,")


def test_the_outline_of_the_world_is_there_only_for_photographs_with_a_place(page_path, tmp_path, photo):
    assert "report.land=[[" in page_path.read_text(encoding="utf-8")
    write_report(tmp_path / "bare.html", [(str(photo), name_cat("a.jpg"))], {"identified": 1})
    assert "report.land=" not in (tmp_path / "bare.html").read_text(encoding="utf-8").split("report.events=")[1]


def test_many_photographs_have_their_thumbnails_beside_the_page(tmp_path, photo, monkeypatch, caplog):
    monkeypatch.setattr(html_report, "EMBEDDED_PHOTOS", 2)
    monkeypatch.setattr(html_report, "MAX_PHOTOS", 4)
    monkeypatch.setattr(html_report, "PHOTOS_A_PART", 3)
    rows = [(str(photo), name_cat("0.png"))]
    rows += [(str(tmp_path / f"{i}"), Prediction(file=str(i), status="unreadable", reason="x")) for i in range(1, 6)]
    for _ in range(2):  # a later report replaces the folder
        write_report(tmp_path / "r.html", rows, {"unreadable": 5, "identified": 1})
    cards = read_cards(tmp_path / "r.html")
    assert [card["file"] for card in cards] == ["0.png", "1", "2", "3"]
    assert cards[0]["thumb"] == "r_files/000001.jpg"
    with Image.open(tmp_path / cards[0]["thumb"]) as thumbnail:
        assert thumbnail.size == (320, 213)
    assert "shows the first 4 photographs; 2 more are in the table only" in caplog.text


def test_a_folder_with_other_content_is_not_replaced(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(html_report, "EMBEDDED_PHOTOS", 0)
    (tmp_path / "r_files").mkdir()
    (tmp_path / "r_files" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="r_files has other content"):
        write_report(tmp_path / "r.html", [(str(photo), name_cat("a.png"))], {"identified": 1})
    assert (tmp_path / "r_files" / "letter.txt").read_text() == "dear"


def count_cards(document):
    return len(re.findall("<article", document))


@pytest.mark.parametrize(
    ("fragment", "files"),
    [
        ("", [NASTY, "boxes.jpg", "empty.png", "b.jpg"]),
        ("taxon=Canis+familiaris", ["boxes.jpg"]),
        ("q=domestic", ["boxes.jpg"]),
        ("outcome=no_organism", ["empty.png"]),
        ("station=A", [NASTY]),
        ("outcome=unreadable", ["b.jpg"]),
        ("q=felidae&station=B", ["boxes.jpg"]),
        ("q=wolf", []),
        ("sort=file", [NASTY, "b.jpg", "boxes.jpg", "empty.png"]),
        ("sort=sure", ["boxes.jpg", NASTY, "empty.png", "b.jpg"]),
    ],
)
def test_the_page_filters_searches_and_sorts(page_path, fragment, files):
    document = render_page(page_path, fragment)
    assert "<title>Linnaea: 4 photographs</title>" in document
    shown = re.findall(r'<p class="file" title="(.*?)">', document)
    assert [re.sub("&lt;", "<", re.sub("&gt;", ">", re.sub("&amp;", "&", name))) for name in shown] == files
    assert (f"1–{len(files)} of {len(files)} photograph" in document) == bool(files)


def test_the_page_counts_names_draws_boxes_a_map_and_times(page_path):
    document = render_page(page_path)
    rows = re.findall(r'aria-pressed="false">(.*?)</button></td><td>(\d+)</td><td>(\d+)</td>', document)
    assert [re.sub("<.*", "", re.sub("^<i>", "", name)) for name, _n, _events in rows] == [
        "Felis",
        "Canis familiaris",
        "No organism",
        "Unreadable",
    ]
    assert [(n, events) for _name, n, events in rows] == [("2", "2"), ("1", "1"), ("1", "0"), ("1", "0")]
    assert '<rect x="90" y="60" width="360" height="240"></rect>' in document
    assert "A (-2.5000, 34.5000): 1 photograph" in document
    assert "3 photographs without a place" in document
    assert "2 photographs without a capture time" in document
    assert "22:00 to 23:00: 1" in document  # the clock of the camera, not UTC
    assert "no picture" in document


def test_the_page_groups_by_event(page_path):
    document = render_page(page_path, "group=1")
    assert "1–4 of 4 events" in document
    assert re.search(r"<i>Felis</i> cats × 3<small> 80 %</small>", document)


def test_a_click_enlarges_the_original_photograph(page_path):
    page = page_path.read_text(encoding="utf-8")
    script = "<script>addEventListener('load', () => document.querySelectorAll('button.photo')[1].click())</script>"
    page_path.write_text(page.replace("</body>", script + "</body>"), encoding="utf-8")
    document = render_page(page_path)
    (dialog,) = re.findall(r"<dialog.*?</dialog>", document, re.DOTALL)
    assert " open" in dialog.split(">")[0]
    assert 'src="photos%20%26%20more/photo%201.png"' in dialog
    assert "Canis familiaris" in dialog


def test_pages_of_many_photographs(tmp_path):
    rows = ((str(i), Prediction(file=f"{i}.jpg", status="unreadable", reason="x")) for i in range(130))
    write_report(tmp_path / "r.html", rows, {"unreadable": 130})
    document = render_page(tmp_path / "r.html", "page=3")
    assert count_cards(document) == 10
    assert "121–130 of 130 photographs" in document
    assert "page 3 of 3" in document
