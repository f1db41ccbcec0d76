"""Spellings of capture times, implausible clocks, zones and corrections."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from linnaea.standards.capture.clocks import (
    format_time,
    is_plausible,
    parse_clock,
    parse_correction,
    parse_offset,
    parse_zone,
)

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "offset", "fraction", "expected"),
    [
        ("2024:05:01 10:00:00", "", "", "2024-05-01T10:00:00"),
        ("2024/05/01 10:00:00", "", "", "2024-05-01T10:00:00"),
        ("2024-05-01 10:00:00", "", "", "2024-05-01T10:00:00"),
        ("2024.05.01 10:00", "", "", "2024-05-01T10:00:00"),
        ("2024:05:01 10:00:00\0", "+02:00\0", "", "2024-05-01T10:00:00+02:00"),
        (b"2024:05:01 10:00:00 \0\0", b"-0330", "", "2024-05-01T10:00:00-03:30"),
        ("2024-05-01T10:00:00+02:00", "", "", "2024-05-01T10:00:00+02:00"),
        ("2024-05-01T10:00:00Z", "+05:00", "", "2024-05-01T10:00:00+00:00"),
        ("2024:05:01 10:00:00", "CEST", "", "2024-05-01T10:00:00"),
        ("2024:05:01 10:00:00", "+99:00", "", "2024-05-01T10:00:00"),
        ("2024:05:01 10:00:00", "", "370", "2024-05-01T10:00:00.370"),
        ("2024-05-01T10:00:00.5Z", "", "", "2024-05-01T10:00:00.500+00:00"),
    ],
)
def test_usual_spellings_give_the_time(text, offset, fraction, expected):
    assert format_time(parse_clock(text, offset, fraction)) == expected


@pytest.mark.parametrize("text", ["", None, "    :  :     :  :  ", "0000:00:00 00:00:00", "\0" * 19])
def test_a_field_of_blanks_or_zeros_is_not_set(text):
    assert parse_clock(text) is None


@pytest.mark.parametrize("text", ["2024:02:30 10:00:00", "2024:05:01 24:00:00", "2024:13:01 10:00:00", "May 2024"])
def test_a_date_that_does_not_exist_is_refused(text):
    with pytest.raises(ValueError, match="is not a date and a time"):
        parse_clock(text)


@pytest.mark.parametrize(
    ("when", "plausible"),
    [
        ("1970-01-01T00:00:10", False),
        ("1979-12-31T23:59:59", False),
        ("1980-01-01T00:03:12", False),
        ("1980-01-02T00:00:00", True),
        ("2000-01-01T00:00:00", False),
        ("2000-01-02T00:00:00", True),
        ("2024-01-01T00:00:00", True),
        ("2025-06-02T12:00:00", True),
        ("2025-06-02T12:00:01", False),
        ("2025-06-02T14:00:00+02:00", True),
        ("2099-01-01T00:00:10", False),
    ],
)
def test_a_clock_is_plausible_from_1980_to_tomorrow_unless_it_was_reset(when, plausible):
    assert is_plausible(datetime.fromisoformat(when), NOW) is plausible


def test_a_zone_has_summer_time_and_an_offset_has_none():
    brussels, fixed = parse_zone("", "Europe/Brussels"), parse_zone("+01:00", "")
    for month, hours in ((1, 1), (7, 2)):
        when = datetime(2024, month, 1, 12)
        assert when.replace(tzinfo=brussels).utcoffset() == timedelta(hours=hours)
        assert when.replace(tzinfo=fixed).utcoffset() == timedelta(hours=1)
    assert parse_zone("", "") is None
    assert parse_offset("UTC-3") == timezone(timedelta(hours=-3))


@pytest.mark.parametrize(
    ("offset", "zone", "message"),
    [
        ("+02:00", "Europe/Brussels", "leave one of the two out"),
        ("CEST", "", r"--utc-offset 'CEST' is not an offset from UTC; give for example \+02:00"),
        ("+15:00", "", "is not an offset"),
        ("", "Europe/Brusels", "did you mean Europe/Brussels"),
        ("", "../etc/passwd", "unknown --time-zone"),
    ],
)
def test_a_wrong_zone_is_refused_with_a_remedy(offset, zone, message):
    with pytest.raises(ValueError, match=message):
        parse_zone(offset, zone)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("+1h", 3600),
        ("-3:00", -10800),
        ("0:00:30", 30),
        ("90", 90),
        ("-90", -90),
        ("2d", 172800),
        ("1d 3h", 97200),
        ("1.5 hours", 5400),
        ("−10 min", -600),
    ],
)
def test_a_correction_is_a_duration_with_a_sign(text, seconds):
    assert parse_correction(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "+", "1d 3", "1y", "3:0"])
def test_any_other_correction_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a time to add|without a unit"):
        parse_correction(text)
