"""Coordinates that are a place, and photographs of one place."""

import pytest

from linnaea.standards.capture.places import PlaceGroups, is_null_island, measure_distance_m, parse_coordinate

NAN = float("nan")


@pytest.mark.parametrize(
    ("parts", "letter", "limit", "expected"),
    [
        ((2.0, 19.0, 48.0), "S", 90, -2.33),
        ((34.0, 49.0, 48.0), "E\0", 180, 34.83),
        ((34.5,), b"W", 180, -34.5),
        (34.5, "West", 180, -34.5),
        ((50.0, 30.0), "n", 90, 50.5),
    ],
)
def test_degrees_minutes_and_seconds_give_degrees(parts, letter, limit, expected):
    assert parse_coordinate(parts, letter, limit) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parts", "letter", "limit"),
    [
        ((95.0, 0.0, 0.0), "N", 90),
        ((2.0, 19.0, 48.0), None, 90),
        ((2.0, 19.0, 48.0), "E", 90),
        ((NAN, NAN, NAN), "N", 90),
        ((2.0, 75.0, 0.0), "N", 90),
        ((-2.0, 0.0, 0.0), "N", 90),
        (None, "N", 90),
        ("2° 19'", "N", 90),
        ((), "N", 90),
    ],
)
def test_what_is_no_coordinate_is_refused(parts, letter, limit):
    with pytest.raises(ValueError, match=r"^(no N, S, E or W|no number|.* degrees)$"):
        parse_coordinate(parts, letter, limit)


def test_zero_and_nearly_zero_are_no_place():
    assert is_null_island(0.0, 0.0)
    assert is_null_island(0.004, -0.009)
    assert not is_null_island(0.0, 32.5)
    assert not is_null_island(51.5, 0.0)


def test_distances_are_those_of_a_sphere():
    assert measure_distance_m((0, 0), (0, 1)) == pytest.approx(111_195, rel=1e-4)
    assert measure_distance_m((50.5, 4.5), (-2.5, 34.5)) == pytest.approx(6_548_000, rel=1e-3)
    assert measure_distance_m((0, 179.9995), (0, -179.9995)) == pytest.approx(111.2, rel=1e-3)


def test_a_place_within_the_noise_is_the_first_one_and_never_a_mean():
    groups = PlaceGroups()
    # 0.0017 degrees of latitude are 189 m, 0.0019 are 211 m.
    numbers = [groups.add((50.0 + north, 4.0)) for north in (0, 0.0017, -0.0017, 0.0019, 1)]
    assert numbers == [0, 0, 0, 1, 2]
    assert groups.places == [(50.0, 4.0), (50.0019, 4.0), (51.0, 4.0)]


def test_places_meet_across_the_date_line_and_at_the_pole():
    groups = PlaceGroups()
    assert [groups.add(place) for place in ((0, 179.9995), (0, -179.9995), (90, 0), (89.9999, 180))] == [0, 0, 1, 1]
