import csv

from linnaea.embed.left_out import drop_own_files, get_left_out_path, log_left_out, report_left_out
from linnaea.photos.photo_files import HIDDEN, TWICE, VIDEO, LeftOut


def read(path):
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_file_stands_in_the_table_and_the_log_names_the_first_of_each_reason(tmp_path, caplog):
    caplog.set_level("INFO", "linnaea")
    left_out = [LeftOut(f"{i}.mp4", VIDEO) for i in range(5)] + [LeftOut("a.jpg", TWICE)]
    report_left_out(left_out, 4, tmp_path / "t.csv")
    assert read(tmp_path / "t.csv.left_out.csv") == [{"file": one.path, "reason": one.reason} for one in left_out]
    first, videos, twice = caplog.records
    assert first.message.startswith("10 given = 4 photographs + 6 left out")
    assert videos.message == f"left out: 0.mp4, 1.mp4, 2.mp4 and 2 more: {VIDEO}"
    assert [first.levelname, videos.levelname, twice.levelname] == ["WARNING", "WARNING", "INFO"]


def test_files_that_cost_nothing_are_counted_without_a_warning(caplog):
    caplog.set_level("INFO", "linnaea")
    log_left_out([LeftOut("._a.jpg", HIDDEN)], 1)
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert "2 given = 1 photograph + 1 left out" in caplog.text


def test_the_table_of_an_earlier_run_goes_when_nothing_is_left_out(tmp_path):
    out_path = tmp_path / "t.csv"
    report_left_out([LeftOut("a.mp4", VIDEO)], 0, out_path)
    report_left_out([], 1, out_path)
    assert not get_left_out_path(out_path).exists()


def test_files_of_the_run_itself_are_not_what_was_given(tmp_path):
    out_path = tmp_path / "t.csv"
    others = [LeftOut(str(tmp_path / name), VIDEO) for name in ("t.csv", "t.csv.left_out.csv", "t.csvx", "u.mp4")]
    assert [one.path for one in drop_own_files(others, out_path)] == [str(tmp_path / n) for n in ("t.csvx", "u.mp4")]
