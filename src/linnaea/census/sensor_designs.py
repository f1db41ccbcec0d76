"""Designs of sensors: where and when camera traps, strip counts and GPS collars work, and how well they detect.

A design says nothing about a simulation. The rules of `linnaea.twin.field.sensors` make one work in a simulated world,
and the observation model uses it to say what a real count means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from linnaea.census.confusion import CERTAIN, Confusion
from linnaea.census.detection import DetectionFunction, FieldOfView

COUNT_KINDS = ("strip", "line", "aerial")


@dataclass(frozen=True, kw_only=True)
class CameraTrapDesign:
    """A set of camera traps with the same field of view."""

    name: str = "camera"
    "name of the sensor"
    places_m: tuple[tuple[float, float], ...] = ()
    "where each camera stands, metres east and north"
    headings_rad: tuple[float, ...] = ()
    "direction in which each camera looks, counter-clockwise from east; empty: evenly spread directions"
    view: FieldOfView = field(default_factory=FieldOfView)
    "field of view"
    detection: DetectionFunction = field(default_factory=DetectionFunction)
    "probability of a picture"
    rest_s: float = 1.0
    "least seconds between two pictures"
    start_h: float = 0.0
    "hour at which the cameras are set up"
    end_h: float = math.inf
    "hour at which they are taken down"
    confusion: Confusion = CERTAIN
    "confusion of the classifier that names the pictures"

    def get_heading_rad(self, site: int) -> float:
        """Return the direction in which a camera looks, radians from east."""
        # The golden angle spreads any number of directions evenly.
        return self.headings_rad[site] if self.headings_rad else site * math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True, kw_only=True)
class StripCountDesign:
    """Repeated counts of the animals within a strip along lines, on foot or from the air."""

    name: str = "strip"
    "name of the sensor"
    kind: str = "strip"
    "strip, line or aerial, as in the tables"
    lines_m: tuple[tuple[float, float, float, float], ...] = ()
    "x and y of both ends of each line, metres"
    half_width_m: float = 100.0
    "distance to each side within which animals are counted"
    detection: DetectionFunction = field(default_factory=DetectionFunction)
    "probability of noticing an available animal"
    available: float = 1.0
    "share of the animals that can be seen at all"
    together: bool = False
    "whether the animals of a herd are seen or missed together"
    every_h: float = 24.0 * 30
    "hours between two counts"
    start_h: float = 12.0
    "hour of the first count"
    confusion: Confusion = CERTAIN
    "confusion of the observers"

    def __post_init__(self) -> None:
        if self.kind not in COUNT_KINDS:
            raise ValueError(f"sensor {self.name!r}: kind {self.kind!r} is unknown; write strip, line or aerial")
        if not 0 <= self.available <= 1 or not self.half_width_m > 0 or not self.every_h > 0:
            raise ValueError(
                f"sensor {self.name!r}: available {self.available}, half_width_m {self.half_width_m}, every_h "
                f"{self.every_h}: give a share, and lengths and hours above 0"
            )

    def compute_length_km(self, site: int) -> float:
        """Return the length of a line."""
        x0, y0, x1, y1 = self.lines_m[site]
        return math.hypot(x1 - x0, y1 - y0) / 1000

    def list_hours(self, until_h: float) -> np.ndarray:
        """Return the hours of the counts before `until_h`."""
        return np.arange(self.start_h, until_h, self.every_h)


@dataclass(frozen=True, kw_only=True)
class CollarDesign:
    """GPS collars on some animals of one species."""

    name: str = "collar"
    "name of the sensor"
    species: str = ""
    "species that wears the collars"
    count: int = 5
    "animals with a collar"
    fix_h: float = 4.0
    "hours between two fixes"
    error_m: float = 10.0
    "standard deviation of a position's error in each direction, metres"
    missed: float = 0.05
    "share of the fixes that fail"
    failures_per_y: float = 0.2
    "rate at which collars fail permanently"

    def __post_init__(self) -> None:
        if not (
            self.fix_h > 0
            and self.error_m >= 0
            and 0 <= self.missed <= 1
            and self.failures_per_y >= 0
            and self.count > 0
        ):
            raise ValueError(
                f"sensor {self.name!r}: count and fix_h must be above 0, error_m and failures_per_y from 0 up, and "
                "missed from 0 to 1"
            )


SensorDesign = CameraTrapDesign | StripCountDesign | CollarDesign
