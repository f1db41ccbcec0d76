"""The events of a run, and the columns they add to its rows."""

import random

from linnaea.identify.output.event_index import make_event_cells
from linnaea.records import Box, Prediction
from made_events import index_rows

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
DEER = ("Animalia", "Chordata", "Mammalia", "Artiodactyla", "Cervidae", "Cervus", "Cervus elaphus")


def see(path, lineage=CAT, box=None, position=1):
    return path, Prediction(
        file=path,
        status="identified",
        rank="species",
        name=lineage[-1],
        confidence=0.9,
        lineage=lineage,
        box=box,
        position=position,
    )


def blank(path):
    return path, Prediction(file=path, status="unidentified", outcome="no_organism", reason="nothing")


def index(rows, times, gap_s=60):
    """The index of rows whose photographs are named STATION/NUMBER, with the time of each in seconds."""

    def find(path):
        second = times[path]
        return path.partition("/")[0], "" if second is None else f"2024-05-01T00:{second // 60:02}:{second % 60:02}"

    return index_rows(rows, gap_s, find_capture=find)


def test_each_row_has_its_event_and_the_name_of_all_its_photographs():
    rows = [see("A/1"), blank("A/2"), see("B/1", DEER), see("A/3"), blank("A/4")]
    made = index(rows, {"A/1": 0, "A/2": 5, "B/1": 5, "A/3": 10, "A/4": 600})
    cells = [make_event_cells(event, seen) for _path, _row, event, seen in made.join(rows)]
    assert [cell["event_name"] for cell in cells] == ["Felis catus", "Felis catus", "Cervus elaphus", "Felis catus", ""]
    assert len({cell["event"] for cell in cells}) == 3
    assert cells[0] == {
        "event": cells[1]["event"],
        "event_rank": "species",
        "event_name": "Felis catus",
        "event_confidence": 0.9,
        "event_count": None,
    }
    first = made.events[0]
    assert (first.station, first.start, first.end, first.n_photographs) == (
        "A",
        "2024-05-01T00:00:00",
        "2024-05-01T00:00:10",
        3,
    )


def test_a_box_has_the_observation_of_its_own_taxon():
    boxes = [Box(left=x, top=0, right=x + 10, bottom=10) for x in (0, 20, 40)]
    rows = [
        see("A/1", DEER, boxes[0]),
        see("A/1", DEER, boxes[0], position=2),
        see("A/1", CAT, boxes[1]),
        see("A/1", DEER, boxes[2]),
        blank("A/2"),
    ]
    made = index(rows, {"A/1": 0, "A/2": 1})
    found = [(make_event_cells(event, seen)["event_name"], seen.count) for _p, _row, event, seen in made.join(rows)]
    assert found == [
        ("Cervus elaphus", 2),
        ("Cervus elaphus", 2),
        ("Felis catus", 1),
        ("Cervus elaphus", 2),
        ("Cervus elaphus", 2),
    ]


def test_the_order_of_the_photographs_does_not_change_the_events():
    rows = [see(f"{station}/{number}") for station in "AB" for number in range(8)]
    times = {path: int(path[2:]) ** 2 * 5 for path, _row in rows}
    expected = {event.id: event for event in index(rows, times).events}
    random.Random(1).shuffle(rows)
    assert {event.id: event for event in index(rows, times).events} == expected
    assert len(expected) == 4


def test_the_two_cameras_of_a_station_have_events_of_their_own():
    rows = [see("A/1"), see("A/2"), see("A/3")]
    cameras = {"A/1": "left", "A/2": "right", "A/3": "left"}
    made = index_rows(rows, find_capture=lambda path: (cameras[path], "A", f"2024-05-01T00:00:0{path[2:]}"))
    assert [(event.station, event.n_photographs) for event in made.events] == [("A", 2), ("A", 1)]


def test_photographs_without_a_time_are_not_put_together():
    rows = [see("A/1"), see("A/2")]
    made = index(rows, {"A/1": None, "A/2": None})
    assert [(event.start, event.end, event.n_photographs) for event in made.events] == [("", "", 1)] * 2


def test_an_empty_run_has_no_events():
    made = index([], {})
    assert made.events == []
    assert list(made.join([])) == []
