"""Places in photographs: coordinates that are a place, and photographs that were taken at the same one."""

from __future__ import annotations

import math
from itertools import product

from linnaea.standards.capture.clocks import clean_text

EARTH_RADIUS_M = 6_371_000.0
# Places of one station that are at most this far from its first one are the same: the error of a receiver under trees.
PLACE_NOISE_M = 200.0
# Coordinates this close to 0,0 (degrees) are those of a receiver without a fix; there is only sea.
NULL_ISLAND_DEG = 0.01


def parse_coordinate(parts: object, reference: object, limit: int) -> float:
    """Degrees from EXIF's degrees, minutes and seconds and the letter N, S, E or W; `limit` is 90 or 180.

    Raise ValueError if they give none: a missing letter, a division by zero, a value outside the range.
    """
    letter = clean_text(reference)[:1].upper()
    if not letter or letter not in ("NS" if limit == 90 else "EW"):
        raise ValueError("no N, S, E or W")
    numbers = _parse_numbers(parts)
    value = sum(number / 60**power for power, number in enumerate(numbers))
    # Some programs write 60 seconds for a full minute.
    if value > limit or any(number > 60 for number in numbers[1:]):
        raise ValueError(f"{value:g} degrees")
    return round(-value if letter in "SW" else value, 6)


def _parse_numbers(parts: object) -> list[float]:
    """Degrees, minutes and seconds. Raise ValueError if one of them is no number or below 0."""
    try:
        numbers = [float(part) for part in (parts if isinstance(parts, tuple | list) else (parts,))]
    except (TypeError, ValueError, ZeroDivisionError):
        numbers = []
    if not 1 <= len(numbers) <= 3 or not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("no number")
    return numbers


def is_null_island(latitude: float, longitude: float) -> bool:
    """Whether coordinates are 0,0 or nearly so."""
    return abs(latitude) < NULL_ISLAND_DEG and abs(longitude) < NULL_ISLAND_DEG


def measure_distance_m(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The distance in metres between two places (latitude, longitude in degrees) on a sphere."""
    chord = math.dist(_project(first), _project(second)) / EARTH_RADIUS_M
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, chord / 2))


def _project(place: tuple[float, float]) -> tuple[float, float, float]:
    """The point on a sphere in metres from its centre."""
    latitude, longitude = map(math.radians, place)
    across = EARTH_RADIUS_M * math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), EARTH_RADIUS_M * math.sin(latitude)


class PlaceGroups:
    """The distinct places of a station: a place within PLACE_NOISE_M of an earlier one is that one.

    Places are never averaged; the first one stands for those near it.
    """

    def __init__(self):
        self.places: list[tuple[float, float]] = []
        self._cells: dict[tuple[int, ...], list[int]] = {}

    def add(self, place: tuple[float, float]) -> int:
        """The number of the group to which a place belongs."""
        cell = tuple(math.floor(metres / PLACE_NOISE_M) for metres in _project(place))
        for step in product((0, -1, 1), repeat=3):
            for number in self._cells.get(tuple(c + s for c, s in zip(cell, step, strict=True)), ()):
                if measure_distance_m(place, self.places[number]) <= PLACE_NOISE_M:
                    return number
        self.places.append(place)
        self._cells.setdefault(cell, []).append(len(self.places) - 1)
        return len(self.places) - 1
