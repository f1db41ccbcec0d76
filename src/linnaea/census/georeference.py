"""Where on earth a world lies and when its clock began, so that its tables read like those of a real place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

METRES_PER_DEGREE = 111_320.0
"""of latitude, and of longitude at the equator"""


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """The south-western corner of the map and hour 0 of the clock. Degrees are treated as plane coordinates."""

    latitude: float = 0.0
    "latitude of the south-western corner, degrees north"
    longitude: float = 0.0
    "longitude of that corner, degrees east"
    start: str = "2000-01-01T00:00:00+00:00"
    "hour 0 of the world's clock, ISO 8601; in January, because the world's year begins there"

    def __post_init__(self) -> None:
        if not -89 < self.latitude < 89 or not -180 <= self.longitude <= 180:
            raise ValueError(
                f"({self.latitude}, {self.longitude}) cannot be the corner of a map; give degrees north and east"
            )
        self.parse_start()

    def parse_start(self) -> datetime:
        """Return hour 0 with its offset from UTC; without an offset it is in UTC."""
        return parse_time(self.start)

    def to_degrees(self, x_m, y_m) -> tuple[np.ndarray, np.ndarray]:
        """Return the latitudes and longitudes of positions in metres."""
        latitude = self.latitude + np.asarray(y_m, float) / METRES_PER_DEGREE
        return latitude, self.longitude + np.asarray(x_m, float) / self._get_metres_east()

    def to_metres(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Return the metres east and north of the corner."""
        return (longitude - self.longitude) * self._get_metres_east(), (latitude - self.latitude) * METRES_PER_DEGREE

    def _get_metres_east(self) -> float:
        """Metres of one degree of longitude at the corner's latitude."""
        return METRES_PER_DEGREE * math.cos(math.radians(self.latitude))

    def format_time(self, hour: float) -> str:
        """Return an hour of the clock as ISO 8601 in UTC, to the second."""
        when = self.parse_start().astimezone(UTC) + timedelta(hours=float(hour))
        return when.isoformat(timespec="seconds").replace("+00:00", "Z")

    def parse_hour(self, text: str) -> float:
        """Return the hour of the clock at an ISO 8601 time. Raise ValueError for other text."""
        return (parse_time(text) - self.parse_start()).total_seconds() / 3600


def parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time; without an offset it is in UTC. Raise ValueError for other text."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} must be a time such as 2024-06-30T18:05:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
