"""Dates and places in the headers of photographs, as cameras and programs write them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from linnaea.standards.exif import PhotoMetadata, read_photo_metadata

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "naming" / "stations"
ORIGINAL, DIGITIZED, CHANGED, OFFSET = 0x9003, 0x9004, 0x0132, 0x9011


@pytest.fixture
def read(tmp_path):
    def read(main=None, details=None, gps=None, **save):
        exif = Image.Exif()
        exif[0x0110] = "HC500"
        exif.update(main or {})
        exif.get_ifd(0x8769).update(details or {})
        exif.get_ifd(0x8825).update(gps or {})
        path = tmp_path / "photo.jpg"
        Image.new("RGB", (20, 10)).save(path, exif=exif, **save)
        return read_photo_metadata(path, NOW)

    return read


@pytest.mark.parametrize(
    ("main", "details", "gps", "expected"),
    [
        ({CHANGED: "2024:05:01 10:00:00"}, {}, {}, "2024-05-01T10:00:00"),
        ({}, {DIGITIZED: "2024:05:01 10:00:00", 0x9012: "+02:00"}, {}, "2024-05-01T10:00:00+02:00"),
        ({CHANGED: "2025:01:01 00:00:00"}, {ORIGINAL: "2024:05:01 10:00:00"}, {}, "2024-05-01T10:00:00"),
        ({CHANGED: "2024:05:01 10:00:00"}, {ORIGINAL: "0000:00:00 00:00:00"}, {}, "2024-05-01T10:00:00"),
        ({}, {ORIGINAL: "2024:05:01 10:00:00", 0x9010: "+03:00"}, {}, "2024-05-01T10:00:00+03:00"),
        ({}, {ORIGINAL: "2024:05:01 10:00:00", 0x9291: "37"}, {}, "2024-05-01T10:00:00.370"),
        ({}, {}, {29: "2024:05:01", 7: (10.0, 0.0, 5.0)}, "2024-05-01T10:00:05+00:00"),
        ({CHANGED: "2024:05:01 10:00:00"}, {}, {29: "2024:05:01"}, "2024-05-01T10:00:00"),
    ],
)
def test_the_first_date_field_that_is_set_gives_the_time(read, main, details, gps, expected):
    assert read(main, details, gps).event_date == expected


def test_a_date_may_stand_in_the_xmp_packet_alone(read):
    packet = b'<rdf:Description xmp:CreateDate="2024-05-01T10:00:00+02:00" photoshop:DateCreated="2023-01-01"/>'
    assert read(xmp=packet).event_date == "2024-05-01T10:00:00+02:00"
    element = b"<exif:DateTimeOriginal>2024-05-01T11:00:00</exif:DateTimeOriginal>"
    assert read(xmp=element + packet).event_date == "2024-05-01T11:00:00"


def test_an_implausible_original_is_named_and_no_other_field_takes_its_place(read):
    photo = read({CHANGED: "2024:05:01 10:00:00"}, {ORIGINAL: "1970:01:01 00:00:10"})
    assert (photo.event_date, photo.rejected_date) == ("", "1970-01-01T00:00:10")


def test_the_time_of_the_file_is_never_the_time_of_the_photograph(read):
    photo = read()
    assert (photo.event_date, photo.rejected_date) == ("", "")


@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared")
@pytest.mark.parametrize(
    ("name", "date", "rejected"),
    [
        ("only_datetime", "2024-05-01T10:00:00", ""),
        ("iso_zone", "2024-05-01T10:00:00+02:00", ""),
        ("slashes", "2024-05-01T10:00:00", ""),
        ("dashes", "2024-05-01T10:00:00", ""),
        ("offset", "2024-05-01T10:00:00+02:00", ""),
        ("offset_text", "2024-05-01T10:00:00", ""),
        ("subsec", "2024-05-01T10:00:00.370", ""),
        ("reset1970", "", "1970-01-01T00:00:10"),
        ("future2099", "", "2099-01-01T00:00:10"),
        ("feb30", "", "2024:02:30 10:00:00"),
        ("hour24", "", "2024:05:01 24:00:00"),
        ("zero", "", ""),
        ("blanks", "", ""),
        ("absent", "", ""),
    ],
)
def test_times_of_real_files(name, date, rejected):
    photo = read_photo_metadata(CASES / "times" / f"{name}.jpg", NOW)
    assert (photo.event_date, photo.rejected_date) == (date, rejected)


@pytest.mark.skipif(not CASES.exists(), reason="needs ../shared")
def test_places_of_real_files():
    found = {path.stem: read_photo_metadata(path, NOW) for path in (CASES / "gps").iterdir()}
    assert {name: (photo.latitude, photo.longitude) for name, photo in found.items()} == {
        "ok": (-2.33, 34.83),
        **dict.fromkeys(("lat_95", "noref", "zero_den", "zero_island"), (None, None)),
    }
    assert {name: photo.rejected_place for name, photo in found.items()} == {
        "ok": "",
        "lat_95": "95 degrees",
        "noref": "no N, S, E or W",
        "zero_den": "no number",
        "zero_island": "0,0",
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_says_nothing_and_is_not_waited_for(tmp_path):
    for name in ("pipe.jpg", "pipe.nef", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
        assert read_photo_metadata(tmp_path / name) == PhotoMetadata()
