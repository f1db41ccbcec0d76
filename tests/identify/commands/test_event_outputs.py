"""Events in the output of `linnaea identify`: tables, packages, sorted folders, runs and watches."""

import csv
import json
import os
import re
import shutil
import threading
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from linnaea.embed.journal import Journal
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import main
from linnaea.identify.commands.watch import run_watch
from linnaea.identify.commands.watch_loop import Pace
from linnaea.identify.naming.event_pooling import pool_event
from linnaea.records import PREDICTION_COLUMNS

EVENT_COLUMNS = ["event", "event_rank", "event_name", "event_confidence", "event_count"]
CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "naming" / "stations"


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def go(vocabulary_path):
    def run_main(*paths, **options):
        settings = {"vocabulary": str(vocabulary_path), "quiet": True, "model": "placeholder"} | options
        return main(IdentifyConfig(paths=paths, **settings))

    return run_main


@pytest.fixture
def bursts(tmp_path, paint):
    """Two cameras. North: cat, blank, cat within 4 s; a wolf 2 minutes later. South: a cat; a fox rose without time."""
    root = tmp_path / "cameras"
    photographs = [
        ("north/1.png", "cat", "10:00:00"),
        ("north/2.png", "no organism", "10:00:02"),
        ("north/3.png", "cat", "10:00:04"),
        ("north/4.png", "wolf", "10:02:04"),
        ("south/1.png", "cat", "10:00:01"),
        ("south/2.png", "dog rose", ""),
    ]
    for place, what, time in photographs:
        exif = Image.Exif()
        exif[0x0110] = "HC500"
        if time:
            exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 {time}"
        paint(root / place, what, exif=exif)
    return root


def test_a_table_has_the_event_of_each_photograph(go, bursts, tmp_path):
    go(bursts, out=tmp_path / "t.csv")
    rows = read_csv(tmp_path / "t.csv")
    assert [column for column in rows[0] if column in EVENT_COLUMNS] == EVENT_COLUMNS
    assert [row["event_name"] for row in rows] == [
        *["Felis catus"] * 3,
        "Canis lupus",
        "Felis catus",
        "Rosa canina",
    ]
    assert rows[1]["outcome"] == "no_organism"
    assert [row["event"] for row in rows].count(rows[0]["event"]) == 3
    assert len({row["event"] for row in rows}) == 4
    assert {row["event_count"] for row in rows} == {""}


@pytest.mark.parametrize(("gap", "n_events"), [("0", 6), ("1", 6), ("2", 4), ("60", 4), ("2m", 3), ("1h", 3)])
def test_the_gap_decides_what_is_one_event(go, bursts, tmp_path, gap, n_events):
    go(bursts, out=tmp_path / "t.csv", event_gap=gap)
    assert len({row["event"] for row in read_csv(tmp_path / "t.csv")}) == n_events


def test_the_table_of_events_has_one_row_for_each_event(go, bursts, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        go(bursts, out=tmp_path / f"t.{suffix}", events=tmp_path / f"e.{suffix}", overwrite=True)
    rows = read_csv(tmp_path / "e.csv")
    assert [(Path(row["station"]).name, row["name"], row["start"][11:], row["n_photographs"]) for row in rows] == [
        ("north", "Felis catus", "10:00:00", "3"),
        ("north", "Canis lupus", "10:02:04", "1"),
        ("south", "Felis catus", "10:00:01", "1"),
        ("south", "Rosa canina", "", "1"),
    ]
    table = pl.read_parquet(tmp_path / "e.parquet")
    assert table["n_photographs"].to_list() == [3, 1, 1, 1]
    assert table["event"].to_list() == [row["event"] for row in rows]
    lines = (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == [row["event"] for row in rows]


def test_the_table_of_independent_records_leaves_untimed_events_out_aloud(go, bursts, tmp_path, caplog):
    go(bursts, out=tmp_path / "t.csv", independent_events=tmp_path / "i.csv")
    rows = read_csv(tmp_path / "i.csv")
    assert [(Path(row["station"]).name, row["name"]) for row in rows] == [
        ("north", "Canis lupus"),
        ("north", "Felis catus"),
        ("south", "Felis catus"),
    ]
    assert "1 events have no capture time and are not in the table" in caplog.text


def test_a_run_on_stdout_prints_rows_without_events_and_writes_the_files(go, bursts, tmp_path, capsys):
    go(bursts, out=Path("-"), events=tmp_path / "e.csv", sort_into=tmp_path / "sorted")
    assert capsys.readouterr().out.splitlines()[0] == ",".join(PREDICTION_COLUMNS)
    assert len(read_csv(tmp_path / "e.csv")) == 4
    assert (tmp_path / "sorted" / "Felis catus" / "2.png").is_file()


def test_photographs_are_sorted_by_the_name_of_their_event_or_by_their_own(go, bursts, tmp_path):
    go(bursts, out=tmp_path / "t.csv", sort_into=tmp_path / "events")
    go(bursts, out=tmp_path / "u.csv", sort_into=tmp_path / "alone", sort_by="photograph", sort_with="symlink")

    def tree(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    assert tree(tmp_path / "events") == [
        "Canis lupus/4.png",
        "Felis catus/1 (2).png",
        "Felis catus/1.png",
        "Felis catus/2.png",
        "Felis catus/3.png",
        "Rosa canina/2.png",
    ]
    assert "no organism/2.png" in tree(tmp_path / "alone")
    assert (tmp_path / "alone" / "no organism" / "2.png").is_symlink()


def test_a_folder_to_sort_into_lies_outside_the_photographs(go, bursts):
    with pytest.raises(ValueError, match="the next run would find the copies; choose a folder outside"):
        go(bursts, sort_into=bursts / "sorted")


def test_a_package_has_the_events_of_the_table(go, bursts, tmp_path):
    go(bursts, out=tmp_path / "t.csv")
    go(bursts, out=tmp_path / "p", as_="camtrap-dp", near=(1.0, 2.0))
    observations = read_csv(tmp_path / "p" / "observations.csv")
    events = [row for row in observations if row["observationLevel"] == "event"]
    rows = read_csv(tmp_path / "t.csv")
    assert {(row["eventID"], row["scientificName"]) for row in events} == {
        (row["event"], row["event_name"]) for row in rows if row["captured_at"]
    }
    assert len(events) == 3
    (left_out,) = read_csv(tmp_path / "p" / "left_out.csv")
    assert (left_out["file"], left_out["name"]) == (str(bursts / "south" / "2.png"), "Rosa canina")


def test_an_interrupted_run_gives_the_same_events(go, bursts, tmp_path, monkeypatch):
    options = {"events": tmp_path / "e.csv", "sort_into": tmp_path / "sorted", "batch_size": 2}
    go(bursts, out=tmp_path / "t.csv", **options)
    whole = (tmp_path / "t.csv").read_bytes(), (tmp_path / "e.csv").read_bytes()
    (tmp_path / "e.csv").unlink()
    shutil.rmtree(tmp_path / "sorted")

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        go(bursts, out=tmp_path / "t2.csv", **options)
    monkeypatch.undo()
    listed = (tmp_path / "sorted" / "sorted.csv").read_bytes()
    go(bursts, out=tmp_path / "t2.csv", resume=True, **options)
    assert ((tmp_path / "t2.csv").read_bytes(), (tmp_path / "e.csv").read_bytes()) == whole
    assert (tmp_path / "sorted" / "sorted.csv").read_bytes() == listed


def test_the_report_has_the_events_with_their_names(go, bursts, tmp_path):
    go(bursts, out=tmp_path / "t.csv", report=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    events = json.loads(re.search(r"report\.events=(\{.*?\})</script>", page)[1])
    rows = read_csv(tmp_path / "t.csv")
    assert {key: [one["name"] for one in event["names"]] for key, event in events.items()} == {
        row["event"]: [row["event_name"]] for row in rows
    }
    assert all(f'"event":"{row["event"]}"' in page for row in rows)
    assert '"time":"2024-05-01T10:02:04"' in page


def test_a_watch_writes_events_and_sorts_at_its_end(bursts, tmp_path, model, vocabulary_path):
    for path in bursts.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    config = IdentifyConfig(
        paths=(bursts,),
        vocabulary=str(vocabulary_path),
        quiet=True,
        watch=True,
        names="full",
        out=tmp_path / "t.csv",
        events=tmp_path / "e.csv",
        sort_into=tmp_path / "sorted",
    )
    looks = []

    class Once(threading.Event):
        """Stops the watch when it waits for the first time."""

        def wait(self, timeout=None):
            looks.append(timeout)
            self.set()
            return True

    assert run_watch(config, model=model, stop=Once(), pace=Pace(interval_s=0.01)) == 0
    assert len(looks) == 1
    assert [row["event_name"] for row in read_csv(tmp_path / "t.csv")][:3] == ["Felis catus"] * 3
    assert len(read_csv(tmp_path / "e.csv")) == 4
    assert len(read_csv(tmp_path / "sorted" / "sorted.csv")) == 6


def test_options_about_events_are_checked(bursts):
    with pytest.raises(ValueError, match="--event-gap 'soon' is not a duration"):
        IdentifyConfig(paths=(bursts,), event_gap="soon")
    with pytest.raises(ValueError, match=r"--events e.doc: unknown kind of table '.doc'"):
        IdentifyConfig(paths=(bursts,), events=Path("e.doc"))
    with pytest.raises(ValueError, match="unknown --sort-with 'move'"):
        IdentifyConfig(paths=(bursts,), sort_with="move")
    with pytest.raises(ValueError, match="only with --out FILE"):
        IdentifyConfig(paths=(bursts,), watch=True, events=Path("e.csv"))


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared")
def test_a_burst_of_a_station_is_one_event(go, tmp_path):
    go(*(CASES / f"Station {name}" for name in "AB"), out=tmp_path / "t.csv", events=tmp_path / "e.csv")
    bursts = [row for row in read_csv(tmp_path / "e.csv") if row["n_photographs"] != "1"]
    assert [row["n_photographs"] for row in bursts] == ["3", "3"]


def test_pooling_is_what_names_the_events(go, bursts, tmp_path, monkeypatch):
    from linnaea.identify.commands import event_outputs

    floors = []

    def spy(images, floor, find_common_name):
        floors.append(floor)
        return pool_event(images, floor, find_common_name)

    monkeypatch.setattr(event_outputs, "pool_event", spy)
    go(bursts, out=tmp_path / "t.csv", min_confidence=0.25)
    assert floors == [0.25] * 4
