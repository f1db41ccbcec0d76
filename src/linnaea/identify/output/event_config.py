"""The options of `linnaea identify` about events and sorted folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from linnaea.options import nearest
from linnaea.standards.events import COMPARED_TO, parse_duration
from linnaea.standards.tables import SUFFIXES

SORT_BY = ("event", "photograph")
SORT_WITH = ("copy", "hardlink", "symlink")


@dataclass(frozen=True, kw_only=True)
class EventConfig:
    """Which photographs are one event, and what is written about events."""

    event_gap: str = field(default="60", metadata={"metavar": "TIME"})
    "photographs of one station at most this long after the one before are one event: seconds, or 2m, 1h; 0: each "
    "photograph is an event"
    events: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "also write a table of events, with one name and one count for all photographs of an event"
    independent_events: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "also write a table of independent records: one row for each species, station and visit"
    independent_after: str = field(default="30m", metadata={"metavar": "TIME"})
    "a record is independent if no other of its species and station was made in this time before it"
    independent_of: str = field(default=COMPARED_TO[0], metadata={"choices": COMPARED_TO})
    "whether that time is counted from the end of the last record, or from the start of the last independent one"
    sort_into: Path | None = field(default=None, metadata={"metavar": "DIR"})
    "also sort the photographs into folders of DIR by their names; photographs are copied, nothing is overwritten"
    sort_by: str = field(default="event", metadata={"choices": SORT_BY})
    "whether --sort-into uses the name of the event or that of the photograph alone"
    sort_with: str = field(default="copy", metadata={"choices": SORT_WITH})
    "whether --sort-into copies photographs or makes links to them"

    def __post_init__(self):
        parse_duration(self.event_gap, "--event-gap")
        parse_duration(self.independent_after, "--independent-after")
        choices = (("independent_of", COMPARED_TO), ("sort_by", SORT_BY), ("sort_with", SORT_WITH))
        for name, allowed in choices:
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"unknown --{name.replace('_', '-')} {value!r}{nearest(value, allowed)}")
        for option, path in (("--events", self.events), ("--independent-events", self.independent_events)):
            if path is not None and path.suffix.lower() not in SUFFIXES:
                raise ValueError(
                    f"{option} {path}: unknown kind of table {path.suffix!r}; choose one of {', '.join(SUFFIXES)}"
                )

    @property
    def event_gap_s(self) -> float:
        """The gap of events in seconds."""
        return parse_duration(self.event_gap)

    @property
    def writes_event_files(self) -> bool:
        """Whether a file about events, or sorted folders, was asked for."""
        return any(path is not None for path in (self.events, self.independent_events, self.sort_into))
