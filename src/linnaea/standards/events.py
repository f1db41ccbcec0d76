"""Events: the photographs of one station that lie close together in time, and which of their records are independent.

An event is a sequence of photographs of one station in which each is at most a gap after the one before, as in Camtrap
DP ("an event, comprising a collection of media files"). A photograph without a capture time is an event of its own.

Shape suffixes: n photographs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from linnaea.records import RANKS, Prediction

UNITS_S = {"": 1, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
COMPARED_TO = ("last-record", "last-independent-record")
# Tables of events, and of the independent records among them.
EVENT_COLUMNS = (
    "event",
    "station",
    "start",
    "end",
    "n_photographs",
    "outcome",
    "rank",
    "name",
    "common_name",
    "confidence",
    "count",
    *RANKS,
)
RECORD_COLUMNS = (
    "station",
    "name",
    "rank",
    "common_name",
    "start",
    "end",
    "count",
    "n_events",
    "n_photographs",
    "seconds_since_last",
    "event",
    *RANKS,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventObservation:
    """What was observed in an event: one name (or the outcome without a name) from `n_photographs` of its photographs.

    `count` is the largest number of animals in one photograph, None if no detector counted them.
    """

    prediction: Prediction
    count: int | None
    n_photographs: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An event: `start` and `end` are capture times (ISO 8601), "" if they are unknown.

    The first of the `observations` is the main one.
    """

    id: str
    station: str
    start: str
    end: str
    n_photographs: int
    observations: tuple[EventObservation, ...]


def parse_duration(text: str | float, option: str = "a duration") -> float:
    """The seconds in a text such as "60", "90s", "2m", "1.5 h" or "1d". Raise ValueError for any other text."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", str(text).casefold())
    if not found or found[2] not in UNITS_S:
        raise ValueError(f"{option} {text!r} is not a duration; give seconds, or a number with s, m, h or d, e.g. 2m")
    return float(found[1]) * UNITS_S[found[2]]


def parse_seconds(captured_at: str) -> float:
    """Seconds since 1970 of a capture time (ISO 8601), nan for "". A time without a zone counts as UTC."""
    if not captured_at:
        return math.nan
    when = datetime.fromisoformat(captured_at)
    return (when.replace(tzinfo=UTC) if when.tzinfo is None else when).timestamp()


def group_events(station_n: Sequence[int], time_n: Sequence[float], gap_s: float) -> tuple[np.ndarray, np.ndarray]:
    """The event of each photograph, int32 [n], and the order of the photographs by event and time, int64 [n].

    `station_n` numbers the stations; `time_n` are seconds, nan for an unknown time. Photographs of one station belong
    together if each is at most `gap_s` after the one before; with `gap_s` 0 each photograph is an event. Events are
    numbered in the order of their first photograph in the input.
    """
    station, time = np.asarray(station_n, np.int64), np.asarray(time_n, np.float64)
    n = len(station)
    order = np.lexsort((np.arange(n), time, station))
    starts = np.ones(n, bool)
    if gap_s > 0 and n > 1:
        before, after = order[:-1], order[1:]
        # A comparison with nan is False.
        starts[1:] = (station[before] != station[after]) | ~(time[after] - time[before] <= gap_s)
    sorted_event = np.cumsum(starts) - 1
    event = np.empty(n, np.int64)
    event[order] = sorted_event
    # Renumber by first appearance, so that the numbers do not depend on the names of stations.
    _values, first = np.unique(event, return_index=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[event].astype(np.int32), order


def make_event_rows(events: Iterable[Event]) -> Iterator[dict]:
    """Yield one row (`EVENT_COLUMNS`) for each observation of each event."""
    for event in events:
        for observation in event.observations:
            prediction = observation.prediction
            yield {
                "event": event.id,
                "station": event.station,
                "start": event.start,
                "end": event.end,
                "n_photographs": event.n_photographs,
                "outcome": prediction.outcome,
                "rank": prediction.rank,
                "name": prediction.name,
                "common_name": prediction.common_name,
                "confidence": prediction.confidence,
                "count": observation.count,
                **dict(zip(RANKS, prediction.lineage, strict=True)),
            }


@dataclass(kw_only=True, slots=True)
class _Record:
    """An independent record that may still grow by dependent ones."""

    event: Event
    prediction: Prediction
    since_s: float | None
    end: str
    count: int | None
    n_events: int
    n_photographs: int

    def add(self, event: Event, observation: EventObservation) -> None:
        self.end = max(self.end, event.end, key=parse_seconds)
        counts = [count for count in (self.count, observation.count) if count is not None]
        self.count = max(counts, default=None)
        self.n_events += 1
        self.n_photographs += observation.n_photographs


def make_record_rows(events: Iterable[Event], after_s: float, compared_to: str = COMPARED_TO[0]) -> list[dict]:
    """The independent records of each name at each station, as rows (`RECORD_COLUMNS`), by station, name and time.

    A record is an observation with a name in an event. It is independent if it starts at least `after_s` seconds after
    the end of the last record of the same name at the same station, or (`last-independent-record`) after the start of
    the last independent one; these are the definitions of camtrapR's `recordTable` (`deltaTimeComparedTo`). A dependent
    record adds to the row of the independent record before it: the count is the largest of theirs. Events without a
    time cannot be judged and have no row.
    """
    sightings = sorted(
        (
            (event.station, observation.prediction.name, parse_seconds(event.start), number, event, observation)
            for number, event in enumerate(events)
            for observation in event.observations
            if event.start and observation.prediction.outcome == "named"
        ),
        key=lambda sighting: sighting[:4],
    )
    records: list[_Record] = []
    last: tuple[str, str] | None = None
    reference_s = independent_s = 0.0
    for station, name, start_s, _number, event, observation in sightings:
        is_first = (station, name) != last
        if is_first or start_s - reference_s >= after_s:
            since_s = None if is_first else start_s - independent_s
            records.append(
                _Record(
                    event=event,
                    prediction=observation.prediction,
                    since_s=since_s,
                    end=event.end,
                    count=observation.count,
                    n_events=1,
                    n_photographs=observation.n_photographs,
                )
            )
            independent_s, reference_s = start_s, start_s
        else:
            records[-1].add(event, observation)
        if compared_to == "last-record":
            reference_s = max(reference_s, parse_seconds(event.end))
        last = (station, name)
    return [_make_record_row(record) for record in records]


def _make_record_row(record: _Record) -> dict:
    prediction = record.prediction
    return {
        "station": record.event.station,
        "name": prediction.name,
        "rank": prediction.rank,
        "common_name": prediction.common_name,
        "start": record.event.start,
        "end": record.end,
        "count": record.count,
        "n_events": record.n_events,
        "n_photographs": record.n_photographs,
        "seconds_since_last": record.since_s,
        "event": record.event.id,
        **dict(zip(RANKS, prediction.lineage, strict=True)),
    }
