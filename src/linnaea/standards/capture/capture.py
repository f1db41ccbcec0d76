"""A capture: when and where a photograph was taken, and by which deployment of a camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A camera at a place; `start` and `end` (ISO 8601) are "" if they are those of its photographs."""

    id: str
    station: str
    latitude: float | None = None
    longitude: float | None = None
    start: str = ""
    end: str = ""
    camera: str = ""
    camera_model: str = ""
    has_corrected_clock: bool = False

    @property
    def place(self) -> tuple[float, float] | None:
        """Latitude and longitude, None if they are unknown."""
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


class Capture(NamedTuple):
    """A photograph in the field: ISO 8601 time ("" if unknown), its place (None if unknown), and its deployment."""

    captured_at: str
    latitude: float | None
    longitude: float | None
    deployment: Deployment

    @property
    def station(self) -> str:
        """The name of the station."""
        return self.deployment.station
