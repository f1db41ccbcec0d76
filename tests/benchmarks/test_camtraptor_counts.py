"""camtraptor's counts of a package, by its documentation, are those of our tables of events and records."""

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from linnaea.records import Box, Prediction
from linnaea.standards.camtrap_dp import PackageMetadata, write_package
from linnaea.standards.events import EVENT_COLUMNS, RECORD_COLUMNS, make_event_rows, make_record_rows
from linnaea.standards.exif import PhotoMetadata
from linnaea.standards.tables import write_table
from made_events import index_rows

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
ABOVE = ("Animalia", "Chordata", "Mammalia")
SPECIES = [
    (*ABOVE, "Carnivora", "Felidae", "Felis", "Felis catus"),
    (*ABOVE, "Artiodactyla", "Cervidae", "Cervus", "Cervus elaphus"),
    (*ABOVE, "Artiodactyla", "Suidae", "Sus", "Sus scrofa"),
]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return __import__("camtraptor_counts")


def make_project(rng, *, boxes):
    """Rows of three cameras with bursts, and the time of each photograph."""
    rows, times = [], {}
    for camera in ("North", "River", "Salt lick"):
        time = datetime.fromisoformat("2024-05-01T06:00:00+02:00")
        for number in range(40):
            time += timedelta(seconds=rng.choice((1, 20, 60, 61, 600, 1799, 1800, 5000)))
            path = f"project/{camera}/{number:03}.jpg"
            times[path] = time.isoformat()
            if rng.random() < 0.3:
                rows.append((path, Prediction(file=path, status="unidentified", outcome="no_organism")))
                continue
            lineage = rng.choice(SPECIES)
            for k in range(rng.randint(1, 3) if boxes else 1):
                box = Box(left=k, top=0, right=k + 9, bottom=9) if boxes else None
                fields = {"rank": "species", "name": lineage[-1], "confidence": 0.9, "lineage": lineage, "box": box}
                rows.append((path, Prediction(file=path, status="identified", **fields)))
    return rows, times


def write_all(folder, rows, times, after_s, compared_to):
    index = index_rows(rows, find_capture=lambda path: (path.rpartition("/")[0], times[path]))
    in_events = ((path, prediction, event) for path, prediction, event, _seen in index.join(rows))
    facts = PackageMetadata(
        classified_by="x",
        created="2024-06-01T00:00:00Z",
        near=(1.0, 2.0),
        read=lambda path: PhotoMetadata(event_date=times[path], width=100, height=100),
    )
    write_package(folder, in_events, facts)
    write_table(folder / "events.csv", EVENT_COLUMNS, make_event_rows(index.events))
    write_table(folder / "records.csv", RECORD_COLUMNS, make_record_rows(index.events, after_s, compared_to))


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("compared_to", ["last-record", "last-independent-record"])
def test_counts_of_events_and_records_are_those_of_camtraptor(script, tmp_path, capsys, boxes, compared_to):
    rows, times = make_project(random.Random(int(boxes)), boxes=boxes)
    write_all(tmp_path, rows, times, 1800, compared_to)
    theirs = {"last-record": "lastRecord", "last-independent-record": "lastIndependentRecord"}[compared_to]
    tables = ["--events", str(tmp_path / "events.csv"), "--records", str(tmp_path / "records.csv")]
    assert script.main([str(tmp_path), *tables, "--compared-to", theirs]) == 0
    assert "all equal" in capsys.readouterr().out
    # Without boxes nobody knows how many animals there were.
    assert any(script.Package(tmp_path).get_n_individuals().values()) == boxes
    assert sum(script.Package(tmp_path).get_n_obs().values()) > 20


def test_a_missing_event_is_found(script, tmp_path, capsys):
    rows, times = make_project(random.Random(3), boxes=True)
    write_all(tmp_path, rows, times, 1800, "last-record")
    with open(tmp_path / "events.csv", newline="", encoding="utf-8") as handle:
        events = list(csv.DictReader(handle))
    named = next(row for row in events if row["name"])
    write_table(tmp_path / "events.csv", EVENT_COLUMNS, [row for row in events if row is not named])
    tables = ["--events", str(tmp_path / "events.csv"), "--records", str(tmp_path / "records.csv")]
    assert script.main([str(tmp_path), *tables]) == 1
    assert "get_n_obs" in capsys.readouterr().out
