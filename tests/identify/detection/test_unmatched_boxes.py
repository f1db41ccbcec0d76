import pytest

from linnaea.identify.detection.box_list import GONE, NOT_GIVEN, BoxList, UnmatchedEntry
from linnaea.identify.detection.unmatched_boxes import check_boxes, report_unmatched
from linnaea.photos.photo_files import FoundFile

ENTRIES = [UnmatchedEntry(file=f"{n}.jpg", reason=GONE) for n in range(5)]


def test_all_entries_are_in_the_file_and_the_first_in_the_log(tmp_path, caplog):
    report_unmatched(ENTRIES, tmp_path / "md.json", tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text().splitlines() == ["file,reason", *(f"{n}.jpg,{GONE}" for n in range(5))]
    assert f"{GONE} (5): 0.jpg, 1.jpg, 2.jpg, …; all of them are in" in caplog.text


def test_without_a_file_the_log_names_all_that_are_missing(tmp_path, caplog):
    caplog.set_level("WARNING", "linnaea")
    report_unmatched([*ENTRIES, UnmatchedEntry(file="other.jpg", reason=NOT_GIVEN)], tmp_path / "md.json", None)
    assert "4.jpg" in caplog.text
    assert "other.jpg" not in caplog.text


def test_a_list_of_other_photographs_is_refused(tmp_path):
    boxes = BoxList(path=tmp_path / "md.json", boxes={"x/a.jpg": []})
    with pytest.raises(ValueError, match=r"names none of the 1 photographs .it begins with 'x/a.jpg'"):
        check_boxes(boxes, [FoundFile("y/a.jpg")], [])
