"""Where on earth a world lies and when its clock began, so that its tables can be read as those of a real place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

METRES_PER_DEGREE = 111_320.0
"""of latitude, and of longitude at the equator"""


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """The south-western corner of the map and the first hour of the clock; degrees are taken as straight lines."""

    latitude: float = 0.0
    "degrees north of the south-western corner"
    longitude: float = 0.0
    "degrees east of it"
    start: str = "2000-01-01T00:00:00+00:00"
    "hour 0 of the world's clock, ISO 8601; January, because the world's year begins there"

    def __post_init__(self) -> None:
        if not -89 < self.latitude < 89 or not -180 <= self.longitude <= 180:
            raise ValueError(f"({self.latitude}, {self.longitude}) is no corner of a map; give degrees north and east")
        self.parse_start()

    def parse_start(self) -> datetime:
        """Hour 0 with its offset from UTC; UTC where none is written."""
        return parse_time(self.start)

    def degrees(self, x_m, y_m) -> tuple[np.ndarray, np.ndarray]:
        """Latitudes and longitudes of places in metres."""
        latitude = self.latitude + np.asarray(y_m, float) / METRES_PER_DEGREE
        return latitude, self.longitude + np.asarray(x_m, float) / self._metres_east()

    def metres(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Metres east and north of the corner."""
        return (longitude - self.longitude) * self._metres_east(), (latitude - self.latitude) * METRES_PER_DEGREE

    def _metres_east(self) -> float:
        return METRES_PER_DEGREE * math.cos(math.radians(self.latitude))

    def time(self, hour: float) -> str:
        """The hour as ISO 8601 in UTC, to the second."""
        when = self.parse_start().astimezone(UTC) + timedelta(hours=float(hour))
        return when.isoformat(timespec="seconds").replace("+00:00", "Z")

    def hour(self, text: str) -> float:
        """The hour of the world's clock at an ISO 8601 time. ValueError for what is none."""
        return (parse_time(text) - self.parse_start()).total_seconds() / 3600


def parse_time(text: str) -> datetime:
    """An ISO 8601 time with its offset, UTC where none is written. ValueError for what is none."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time; write it as 2024-06-30T18:05:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
