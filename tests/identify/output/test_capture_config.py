"""Times, places and stations in what `linnaea identify` writes, with and without its options about them."""

import csv
import json
import threading
from pathlib import Path

import pytest
from PIL import Image

from linnaea.census.readers.identified import read_identified
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.identify import main
from linnaea.identify.commands.watch import run_watch
from linnaea.identify.commands.watch_loop import Pace
from linnaea.standards.tables import read_rows

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "naming"
COLUMNS = ("captured_at", "latitude", "longitude", "station")


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
def cards(tmp_path, paint, monkeypatch):
    """Two roll-over folders of camera A; of camera B one photograph with a reset clock and one without a time."""
    photographs = [
        ("A/DCIM/100RECNX/1.png", "cat", "2024:05:01 10:00:00"),
        ("A/DCIM/101RECNX/1.png", "cat", "2024:05:01 10:00:30"),
        ("B/1.png", "wolf", "1970:01:01 00:00:10"),
        ("B/2.png", "wolf", ""),
    ]
    for name, what, time in photographs:
        exif = Image.Exif()
        exif[0x0110] = "HC500"
        if time:
            exif.get_ifd(0x8769)[0x9003] = time
        if name.startswith("A"):
            exif.get_ifd(0x8825).update({1: "S", 2: (2.0, 30.0, 0.0), 3: "E", 4: (34.0, 30.0, 0.0)})
        paint(tmp_path / "cards" / name, what, exif=exif)
    monkeypatch.chdir(tmp_path)
    return Path("cards")


@pytest.fixture
def table(cards):
    path = Path("deployments.csv")
    path.write_text(
        "station,latitude,longitude,start,end,camera,offset\n"
        "A,-2.33,34.83,2024-05-01,2024-05-31,left,-1h\n"
        "B,-2.41,34.9,2024-05-01,2024-05-31,right,19844d\n",
        encoding="utf-8",
    )
    return path


def test_a_table_has_time_place_and_station_of_each_photograph(go, cards, caplog):
    go(cards, out=Path("t.csv"))
    rows = read_csv("t.csv")
    assert [tuple(row[column] for column in COLUMNS) for row in rows] == [
        ("2024-05-01T10:00:00", "-2.5", "34.5", "cards/A"),
        ("2024-05-01T10:00:30", "-2.5", "34.5", "cards/A"),
        ("", "", "", "cards/B"),
        ("", "", "", "cards/B"),
    ]
    # Two roll-over folders of one station, half a minute apart, are one event.
    assert [row["event"] == rows[0]["event"] for row in rows] == [True, True, False, False]
    assert "1 photograph has no capture time: cards/B/2.png" in caplog.messages
    assert "1 photograph has an implausible clock: cards/B/1.png (1970-01-01 00:00:10)" in caplog.messages


def test_options_give_zone_places_and_clocks(go, cards, table):
    go(cards, out=Path("t.csv"), time_zone="Africa/Nairobi", deployments=table)
    assert [tuple(row[column] for column in COLUMNS) for row in read_csv("t.csv")] == [
        ("2024-05-01T09:00:00+03:00", "-2.33", "34.83", "A"),
        ("2024-05-01T09:00:30+03:00", "-2.33", "34.83", "A"),
        ("2024-05-01T00:00:10+03:00", "-2.41", "34.9", "B"),
        ("", "-2.41", "34.9", "B"),
    ]


def test_darwin_core_has_the_same_times_and_places(go, cards, table):
    terms = ("eventDate", "decimalLatitude", "decimalLongitude", "geodeticDatum")
    go(cards, out=Path("plain.csv"), as_="darwin-core")
    plain = [tuple(row[term] for term in terms) for row in read_csv("plain.csv")]
    assert plain[0] == ("2024-05-01T10:00:00", "-2.5", "34.5", "EPSG:4326")
    assert plain[2:] == [("", "", "", "")] * 2
    go(cards, out=Path("o.csv"), as_="darwin-core", utc_offset="+03:00", deployments=table)
    assert [row["eventDate"] for row in read_csv("o.csv")][2:] == ["2024-05-01T00:00:10+03:00", ""]


def test_a_package_has_a_deployment_for_each_row_of_the_table(go, cards, table):
    go(cards, out=Path("p"), as_="camtrap-dp", utc_offset="+03:00", deployments=table)
    columns = ("locationName", "latitude", "deploymentStart", "deploymentEnd", "cameraID", "timestampIssues")
    assert [tuple(row[column] for column in columns) for row in read_csv("p/deployments.csv")] == [
        ("A", "-2.33", "2024-05-01T00:00:00+03:00", "2024-05-31T23:59:59+03:00", "left", "false"),
        ("B", "-2.41", "2024-05-01T00:00:00+03:00", "2024-05-31T23:59:59+03:00", "right", "false"),
    ]
    assert len({row["deploymentID"] for row in read_csv("p/media.csv")}) == 2
    assert [row["file"] for row in read_csv("p/left_out.csv")] == ["cards/B/2.png"]


def test_a_package_without_the_table_marks_the_missing_zone(go, cards, caplog):
    go(cards, out=Path("p"), as_="camtrap-dp")
    (row,) = read_csv("p/deployments.csv")
    assert (row["locationName"], row["latitude"], row["timestampIssues"]) == ("cards/A", "-2.5", "true")
    assert row["deploymentComments"] == "time zone not recorded; UTC assumed"
    assert any("2 photographs without capture time, which Camtrap DP requires" in line for line in caplog.messages)


@pytest.mark.parametrize("as_", ["table", "darwin-core"])
def test_a_watch_writes_what_a_run_writes(go, cards, table, model, vocabulary_path, as_):
    options = {"as_": as_, "utc_offset": "+03:00", "deployments": table}
    go(cards, out=Path("run.csv"), **options)
    config = IdentifyConfig(
        paths=(cards,), out=Path("watch.csv"), watch=True, vocabulary=str(vocabulary_path), quiet=True, **options
    )

    class Once(threading.Event):
        """Stops the watch when it waits for the first time."""

        def wait(self, timeout=None):
            self.set()
            return True

    assert run_watch(config, model=model, stop=Once(), pace=Pace(interval_s=0.0, grace_s=0.0)) == 0
    assert read_csv("watch.csv") == read_csv("run.csv")


def test_the_census_takes_times_and_stations_from_the_table(go, cards, table):
    go(cards, out=Path("t.csv"), utc_offset="+03:00", deployments=table)
    for path in cards.rglob("*.png"):
        path.unlink()
    found = read_identified(read_rows(Path("t.csv")), Path("t.csv"), camera_days=30)
    assert [(visit.site, visit.latitude) for visit in found.visits.values()] == [("A", -2.33), ("B", -2.41)]
    assert [reason for _row, reason in found.rejected] == ["cards/B/2.png has no capture time"]


def test_a_changed_table_of_deployments_is_another_run(go, cards, table):
    go(cards, out=Path("t.csv"), deployments=table)
    first = json.loads(Path("t.csv.manifest.json").read_text(encoding="utf-8"))["hash"]
    table.write_text("station\nA\n", encoding="utf-8")
    go(cards, out=Path("t.csv"), deployments=table, overwrite=True)
    assert json.loads(Path("t.csv.manifest.json").read_text(encoding="utf-8"))["hash"] != first


def test_options_are_checked_before_the_run(cards):
    with pytest.raises(ValueError, match="leave one of the two out"):
        IdentifyConfig(paths=(cards,), utc_offset="+01:00", time_zone="Europe/Brussels")
    with pytest.raises(FileNotFoundError, match=r"--deployments gone\.csv does not exist"):
        IdentifyConfig(paths=(cards,), deployments=Path("gone.csv"))


def test_a_table_that_cannot_be_used_ends_the_run_before_it_begins(go, cards, table):
    table.write_text("station,latitude,longitude\nA,95,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"deployments\.csv, line 2: latitude '95' is not a place"):
        go(cards, out=Path("t.csv"), deployments=table)
    assert sorted(path.name for path in Path().iterdir()) == ["cards", "deployments.csv"]


@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared")
def test_two_continents_in_one_folder_are_two_deployments(go, tmp_path, caplog):
    go(CASES / "two_places", out=tmp_path / "p", as_="camtrap-dp", utc_offset="+02:00")
    rows = read_csv(tmp_path / "p" / "deployments.csv")
    assert [(row["locationName"].removeprefix(f"{CASES}/two_places/"), row["latitude"]) for row in rows] == [
        ("camera7", "50.5"),
        ("phone @ 50.50000,4.50000", "50.5"),
        ("phone @ -2.50000,34.50000", "-2.5"),
    ]
    assert any("at 2 places more than 200 m apart (up to 6,548 km" in line for line in caplog.messages)
