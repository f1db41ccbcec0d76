"""Capture times: the spellings in which cameras write them, clocks that cannot be right, and time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from linnaea.options import nearest

CLOCK = re.compile(
    r"(\d{4})[:/.\-](\d{1,2})[:/.\-](\d{1,2})[T _]+(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,](\d{1,9}))?)?\s*(.*)"
)
OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)
# What cameras write if they do not know the time: blanks, zeros, separators.
UNSET = re.compile(r"[\s0:/.\-T]*")
# No camera that writes EXIF (1995) has an older clock; scans of older pictures may be dated by people.
EARLIEST_YEAR = 1980
# Clocks without power start again on 1 January of these years.
RESET_YEARS = (1980, 1990, 2000)
MOST_OFFSET_H = 14
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(days?|d|hours?|h|minutes?|min|m|seconds?|sec|s)?", re.IGNORECASE)
UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}


def parse_clock(text: object, offset: object = "", fraction: object = "") -> datetime | None:
    """The time in a date field, None if the field is not set; `offset` and `fraction` are fields of their own.

    Colons, slashes and dashes separate the date; an offset from UTC may follow. A text that gives no time (an unknown
    zone such as CEST in `offset`) leaves the time without zone. Raise ValueError for a date that does not exist.
    """
    text = clean_text(text)
    if UNSET.fullmatch(text):
        return None
    found = CLOCK.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a date and a time")
    *parts, within_second, zone = found.groups()
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    digits = re.match(r"\d*", within_second or clean_text(fraction))[0]
    try:
        when = datetime(year, month, day, hour, minute, second, int(f"{digits:0<6.6}"))
    except ValueError:
        raise ValueError(f"{text!r} is not a date and a time") from None
    return when.replace(tzinfo=parse_offset(zone) or parse_offset(offset))


def clean_text(value: object) -> str:
    """The text of a field without the blanks and zero bytes with which cameras fill it."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return text.split("\0")[0].strip()


def parse_offset(text: object) -> timezone | None:
    """The zone in a text such as +02:00, +0200, UTC+2 or Z; None for any other."""
    text = clean_text(text)
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    found = OFFSET.fullmatch(text)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    if minutes > MOST_OFFSET_H * 60 or int(found[3] or 0) > 59:
        return None
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))


def is_plausible(when: datetime, now: datetime | None = None) -> bool:
    """Whether a camera's clock may be right: not before 1980, not a reset clock's first day, not after tomorrow.

    `now` has a zone; it is the present by default.
    """
    if when.year < EARLIEST_YEAR or (when.year in RESET_YEARS and (when.month, when.day) == (1, 1)):
        return False
    latest = (now or datetime.now(UTC)) + timedelta(days=1)
    return (when.replace(tzinfo=UTC) if when.tzinfo is None else when) <= latest


def format_time(when: datetime) -> str:
    """ISO 8601, with milliseconds if the time has a fraction of a second."""
    return when.isoformat(timespec="milliseconds" if when.microsecond else "auto")


def parse_zone(utc_offset: str, time_zone: str) -> tzinfo | None:
    """The zone of clocks without one, from --utc-offset or --time-zone; None without either.

    Raise ValueError for a value that is neither an offset nor a name of the IANA time zone database.
    """
    if utc_offset and time_zone:
        raise ValueError("--utc-offset and --time-zone both give the zone of the cameras; leave one of the two out")
    if utc_offset:
        zone = parse_offset(utc_offset)
        if zone is None:
            raise ValueError(f"--utc-offset {utc_offset!r} is not an offset from UTC; give for example +02:00")
        return zone
    if not time_zone:
        return None
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(time_zone)
    except (LookupError, ValueError, OSError):
        known = sorted(available_timezones())
        hint = nearest(time_zone, known) if known else "; this computer has no time zones, so give --utc-offset"
        raise ValueError(f"unknown --time-zone {time_zone!r}{hint or '; give for example Europe/Brussels'}") from None


def parse_correction(text: str) -> timedelta:
    """What must be added to a camera's clock: seconds, "+1h", "-3:00", "-3:00:30", "2d" or "1d 3h".

    Raise ValueError for any other text.
    """
    stripped = text.strip().replace("−", "-")
    sign = -1 if stripped.startswith("-") else 1
    amount = stripped.lstrip("+-").strip()
    clock = re.fullmatch(r"(\d{1,5}):(\d{2})(?::(\d{2}))?", amount)
    if clock:
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3] or 0)
    elif amount and re.fullmatch(rf"(?:{DURATION_PART.pattern}[\s,]*)+", amount, re.IGNORECASE):
        parts = DURATION_PART.findall(amount)
        if len(parts) > 1 and not all(unit for _number, unit in parts):
            raise ValueError(f"{text!r} has a number without a unit")
        seconds = sum(float(number) * UNITS_S[unit[:1].lower()] for number, unit in parts)
    else:
        raise ValueError(f"{text!r} is not a time to add")
    return timedelta(seconds=sign * seconds)
