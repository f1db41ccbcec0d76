"""Time, place, station and deployment of the photographs of a run, and what is told about the unknown ones."""

import logging

from linnaea.standards.capture.clocks import parse_zone
from linnaea.standards.capture.deployment_table import read_deployments
from linnaea.standards.captures import CaptureIndex
from linnaea.standards.exif import PhotoMetadata

BELGIUM, SERENGETI = {"latitude": 50.5, "longitude": 4.5}, {"latitude": -2.5, "longitude": 34.5}
MAY = "2024-05-01T10:00:00"


def index(photos, **options):
    return CaptureIndex(list(photos), lambda path: PhotoMetadata(**photos[path]), **options)


def log_of(captures, caplog):
    caplog.set_level(logging.WARNING)
    captures.log_unknown()
    return caplog.messages


def test_roll_over_folders_are_one_deployment_at_the_place_of_its_first_photograph(caplog):
    near = {"latitude": 50.5009, "longitude": 4.5}
    photos = {
        "c7/DCIM/100RECNX/1.jpg": {"event_date": MAY, **BELGIUM},
        "c7/DCIM/101RECNX/1.jpg": {"event_date": MAY, **near},
        "c7/DCIM/101RECNX/2.jpg": {"event_date": MAY},
    }
    captures = index(photos)
    first, second, third = (captures.find(path) for path in photos)
    assert first.deployment == second.deployment == third.deployment
    assert (first.station, first.deployment.place) == ("c7", (50.5, 4.5))
    assert (second.latitude, third.latitude) == (50.5009, None)
    assert log_of(captures, caplog) == []


def test_two_places_of_a_folder_are_two_stations_and_told(caplog):
    photos = {"phone/a.jpg": BELGIUM, "phone/b.jpg": SERENGETI, "phone/c.jpg": {}}
    photos = {path: {"event_date": MAY, **place} for path, place in photos.items()}
    captures = index(photos)
    found = [captures.find(path) for path in photos]
    assert [capture.deployment.place for capture in found] == [(50.5, 4.5), (-2.5, 34.5), None]
    assert [capture.station for capture in found] == ["phone @ 50.50000,4.50000", "phone @ -2.50000,34.50000", "phone"]
    assert len({capture.deployment.id for capture in found}) == 3
    (line,) = log_of(captures, caplog)
    assert line == (
        "phone: its photographs were taken at 2 places more than 200 m apart (up to 6,548 km from the first); each "
        "place is a station of its own"
    )


def test_unknown_times_and_places_are_counted_and_named(caplog):
    photos = {f"a/{number}.jpg": {} for number in range(12)}
    photos["a/line\nbreak.jpg"] = {"rejected_date": "1970-01-01T00:00:10", "rejected_place": "0,0"}
    captures = index(photos)
    assert {captures.find(path).captured_at for path in photos} == {""}
    assert log_of(captures, caplog) == [
        "12 photographs have no capture time: a/0.jpg, a/1.jpg, a/2.jpg, …",
        "1 photograph has an implausible clock: a/line·break.jpg (1970-01-01 00:00:10)",
        "1 photograph has coordinates that are no place: a/line·break.jpg (0,0)",
    ]


def test_a_zone_applies_to_clocks_without_one_only():
    photos = {"a.jpg": {"event_date": MAY}, "b.jpg": {"event_date": f"{MAY}+05:00"}}
    assert [index(photos).find(path).captured_at for path in photos] == [MAY, f"{MAY}+05:00"]
    captures = index(photos, zone=parse_zone("", "Europe/Brussels"))
    assert [captures.find(path).captured_at for path in photos] == [f"{MAY}+02:00", f"{MAY}+05:00"]


def test_a_table_overrides_folders_places_and_clocks_and_names_what_does_not_match(tmp_path, caplog):
    path = tmp_path / "d.csv"
    path.write_text(
        "station,latitude,longitude,start,end,offset\nA,-2.33,34.83,2024-05-01,2024-05-31,-1h\nD,1,2,,,\nE,,,,,\n",
        encoding="utf-8",
    )
    photos = {
        "x/A/DCIM/100RECNX/1.jpg": {"event_date": MAY, **BELGIUM},
        "x/A/late.jpg": {"event_date": "2024-08-01T10:00:00"},
        "x/C/1.jpg": {"event_date": MAY},
        "x/E/1.jpg": {"event_date": MAY, **BELGIUM},
        "x/E/2.jpg": {"event_date": MAY, **SERENGETI},
    }
    captures = index(photos, table=read_deployments(path))
    first, late, other, *wandering = (captures.find(path) for path in photos)
    assert first[:3] == ("2024-05-01T09:00:00", -2.33, 34.83)
    assert (first.station, late.station, other.station) == ("A", "x/A", "x/C")
    assert [capture.latitude for capture in wandering] == [50.5, -2.5]
    assert {capture.deployment.place for capture in wandering} == {None}
    places, unmatched, unused = log_of(captures, caplog)
    assert places.startswith("E: its photographs were taken at 2 places")
    assert places.endswith("the deployment has no place")
    assert unmatched == (
        "2 photographs match no deployment and keep their folders: x/A/late.jpg (taken outside the dates of its "
        "deployments), x/C/1.jpg (no deployment of this station)"
    )
    assert unused == f"{path}: 1 deployment has no photographs: D (line 3)"
