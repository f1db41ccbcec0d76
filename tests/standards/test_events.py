"""Events of photographs, and the independent records among them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaea.records import Prediction
from linnaea.standards.events import (
    Event,
    EventObservation,
    group_events,
    make_event_rows,
    make_record_rows,
    parse_duration,
    parse_seconds,
)

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60", 60), ("0", 0), ("90s", 90), ("2m", 120), ("2 min", 120), ("1.5h", 5400), ("1d", 86400), (60, 60)],
)
def test_a_duration_has_a_unit_or_is_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "two minutes", "-5", "5 weeks", "1e3", "nan"])
def test_a_text_that_is_not_a_duration_is_refused_with_the_option(text):
    with pytest.raises(ValueError, match=r"--event-gap .* is not a duration; give seconds"):
        parse_duration(text, "--event-gap")


def test_a_capture_time_counts_as_utc_without_a_zone():
    assert parse_seconds("2024-05-01T10:00:00") == parse_seconds("2024-05-01T10:00:00Z") == 1714557600
    assert parse_seconds("2024-05-01T10:00:00+02:00") == 1714557600 - 7200
    assert math.isnan(parse_seconds(""))


def test_photographs_within_the_gap_of_the_one_before_are_one_event():
    # The chain may be longer than the gap; exactly the gap still belongs together.
    event, order = group_events([0] * 5, [0.0, 60.0, 120.0, 181.0, 400.0], 60)
    assert event.tolist() == [0, 0, 0, 1, 2]
    assert order.tolist() == [0, 1, 2, 3, 4]


def test_stations_are_never_mixed_and_the_order_of_the_input_does_not_matter():
    event, order = group_events([0, 1, 0, 1, 0], [100.0, 101.0, 10.0, 99.0, 130.0], 60)
    # Station 0: 10 | 100, 130. Station 1: 99, 101.
    assert event.tolist() == [0, 1, 2, 1, 0]
    assert [order.tolist().index(i) for i in (2, 0, 4)] == [0, 1, 2]


def test_a_photograph_without_a_time_is_an_event_of_its_own():
    event, _order = group_events([0, 0, 0, 0], [math.nan, 5.0, math.nan, 6.0], 60)
    assert event.tolist() == [0, 1, 2, 1]


def test_without_a_gap_each_photograph_is_an_event_even_in_one_second():
    assert group_events([0, 0, 0], [5.0, 5.0, 5.0], 0)[0].tolist() == [0, 1, 2]
    assert group_events([0, 0, 0], [5.0, 5.0, 5.0], 1)[0].tolist() == [0, 0, 0]


def test_no_photographs_give_no_events():
    assert [len(part) for part in group_events([], [], 60)] == [0, 0]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.one_of(st.just(math.nan), st.integers(0, 500).map(float))), max_size=30),
    st.integers(0, 100),
)
def test_events_are_the_connected_parts_of_the_photographs_that_are_close(photographs, gap_s):
    """Compared with a slow definition: two photographs are joined if they are of one station and within the gap."""
    n = len(photographs)
    part = list(range(n))
    for _round in range(n):
        for i in range(n):
            for j in range(n):
                (one, start), (other, end) = photographs[i], photographs[j]
                if gap_s and one == other and abs(start - end) <= gap_s:
                    part[i] = part[j] = min(part[i], part[j])
    event, order = group_events([s for s, _ in photographs], [t for _, t in photographs], gap_s)
    same = np.array([[a == b for a in part] for b in part]).reshape(n, n)
    assert (np.equal.outer(event, event) == same).all()
    assert sorted(order.tolist()) == list(range(n))
    first = [event.tolist().index(k) for k in range(int(event.max(initial=-1)) + 1)]
    assert first == sorted(first)


def observe(minute, name="Felis catus", station="A", *, minutes=0, count=None, n=1, outcome="named"):
    start, end = f"2024-05-01T10:{minute:02}:00", f"2024-05-01T10:{minute + minutes:02}:00"
    lineage = (*CAT[:6], name)
    if outcome == "named":
        one = Prediction(file="", status="identified", rank="species", name=name, confidence=0.9, lineage=lineage)
    else:
        one = Prediction(file="", status="unidentified", outcome=outcome, reason="nothing")
    seen = EventObservation(prediction=one, count=count, n_photographs=n)
    return Event(
        id=f"{station}{minute}{name}", station=station, start=start, end=end, n_photographs=n, observations=(seen,)
    )


def starts(rows):
    return [(row["station"], row["name"], row["start"][14:16]) for row in rows]


def test_a_record_is_independent_of_the_last_record_or_of_the_last_independent_one():
    # Photographs at minutes 0, 20, 40: each is 20 minutes after the last record.
    events = [observe(minute) for minute in (0, 20, 40)]
    cat = "Felis catus"
    assert starts(make_record_rows(events, 1800)) == [("A", cat, "00")]
    assert starts(make_record_rows(events, 1800, "last-independent-record")) == [("A", cat, "00"), ("A", cat, "40")]
    # Exactly the threshold is independent, one second less is not.
    assert len(make_record_rows(events, 1200)) == 3
    assert len(make_record_rows(events, 1201)) == 1
    assert len(make_record_rows(events, 1201, "last-independent-record")) == 2


def test_the_time_since_the_last_record_counts_from_its_end():
    events = [observe(0, minutes=15), observe(35)]
    assert len(make_record_rows(events, 1800)) == 1
    assert len(make_record_rows(events, 1800, "last-independent-record")) == 2


def test_records_of_other_species_and_stations_are_independent():
    events = [observe(0), observe(1, "Felis silvestris"), observe(2, station="B"), observe(3)]
    assert starts(make_record_rows(events, 1800)) == [
        ("A", "Felis catus", "00"),
        ("A", "Felis silvestris", "01"),
        ("B", "Felis catus", "02"),
    ]


def test_a_dependent_record_adds_to_the_row_before_it():
    rows = make_record_rows([observe(0, count=1, n=3), observe(5, count=4, n=2), observe(50, n=1)], 1800)
    assert [(row["count"], row["n_events"], row["n_photographs"], row["seconds_since_last"]) for row in rows] == [
        (4, 2, 5, None),
        (None, 1, 1, 3000.0),
    ]
    assert rows[0]["end"] == "2024-05-01T10:05:00"


def test_events_without_a_name_or_a_time_have_no_record():
    untimed = Event(id="x", station="A", start="", end="", n_photographs=1, observations=observe(0).observations)
    assert make_record_rows([observe(0, outcome="no_organism"), untimed], 1800) == []


def test_a_table_of_events_has_one_row_for_each_observation():
    event = observe(0, count=2, n=3)
    rows = list(make_event_rows([event, observe(9, outcome="no_organism")]))
    assert [(row["outcome"], row["name"], row["family"], row["count"], row["n_photographs"]) for row in rows] == [
        ("named", "Felis catus", "Felidae", 2, 3),
        ("no_organism", "", "", None, 1),
    ]
