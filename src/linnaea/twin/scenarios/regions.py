"""Where on the map something happens: everywhere, in a box, circle or polygon, at points, along a line.

In a scenario a place is one key, its name the form and the unit: `box_km = [x0, y0, x1, y1]`, `circle_km = [x, y, radius]`,
`polygon_km = [[x, y], …]`, `points_km = [[x, y], …]`, `line_km = [[x, y], …]`; in small worlds `box_m` and so on. x goes
east and y north from the south-western corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linnaea.twin.engine.neighbours import Space

UNITS = {"km": 1000.0, "m": 1.0}
AREAS = ("box", "circle", "polygon")
FORMS = {
    "box": "[x0, y0, x1, y1], two corners",
    "circle": "[x, y, radius]",
    "polygon": "[[x, y], [x, y], [x, y], …], at least three corners",
    "points": "[[x, y], …]",
    "line": "[[x, y], [x, y], …], at least two ends",
}
_LEAST = {"polygon": 3, "points": 1, "line": 2}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the map, in metres from its south-western corner."""

    form: str = ""
    "one of FORMS, or empty for everywhere"
    points_m: tuple[tuple[float, float], ...] = ()
    "corners, ends or points; of a circle its centre"
    radius_m: float = 0.0
    "of a circle"

    def __repr__(self) -> str:
        """Return the text by which checkpoints know a region, with the former name of the class."""
        return f"Place(form={self.form!r}, points_m={self.points_m!r}, radius_m={self.radius_m!r})"

    def check(self, space: Space, at: str) -> None:
        """Nothing; ValueError that begins with `at` when a point lies outside the map."""
        for x, y in self.points_m:
            if not (0 <= x <= space.width_m and 0 <= y <= space.height_m):
                km = space.width_m >= 1000
                scale, unit = (1000, "km") if km else (1, "m")
                raise ValueError(
                    f"{at}: ({x / scale:g}, {y / scale:g}) {unit} lies outside the map, which goes from (0, 0) to "
                    f"({space.width_m / scale:g}, {space.height_m / scale:g}) {unit}; choose a point on it"
                )

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points (metres, any shape) lie in the area: bool of that shape."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if self.form == "box":
            (x0, y0), (x1, y1) = self.points_m
            return (min(x0, x1) <= x) & (x <= max(x0, x1)) & (min(y0, y1) <= y) & (y <= max(y0, y1))
        if self.form == "circle":
            ((cx, cy),) = self.points_m
            return (x - cx) ** 2 + (y - cy) ** 2 <= self.radius_m**2
        if self.form == "polygon":
            return _contains_in_polygon(x, y, self.points_m)
        return np.ones(x.shape, bool)

    def mask(self, space: Space, shape: tuple[int, int]) -> np.ndarray:
        """The cells of a layer [r, c] whose centres lie in the area, and those that hold one of its points if none does."""
        rows, columns = shape
        x = (np.arange(columns) + 0.5) * (space.width_m / columns)
        y = (np.arange(rows) + 0.5) * (space.height_m / rows)
        if self.form in ("", *AREAS):
            inside = self.contains(*np.broadcast_arrays(x[None, :], y[:, None]))
            if inside.any():
                return inside.copy()
        mask = np.zeros(shape, bool)
        for px, py in self.points_m:
            row = min(int(py / space.height_m * rows), rows - 1)
            mask[row, min(int(px / space.width_m * columns), columns - 1)] = True
        return mask

    def bounds(self, space: Space) -> tuple[float, float, float, float]:
        """The smallest box around the area on the map: x0, y0, x1, y1 in metres."""
        if not self.points_m:
            return 0.0, 0.0, space.width_m, space.height_m
        x, y = zip(*self.points_m, strict=True)
        r = self.radius_m
        low = max(min(x) - r, 0.0), max(min(y) - r, 0.0)
        return *low, min(max(x) + r, space.width_m), min(max(y) + r, space.height_m)


EVERYWHERE = Region()


def _contains_in_polygon(x: np.ndarray, y: np.ndarray, corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Whether a ray to the east crosses the border an odd number of times."""
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if ay == by:
            continue
        inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def read_region(form: str, unit: str, value: object, at: str) -> Region:
    """The place of a scenario's key, e.g. "box", "km", [0, 0, 5, 5]. ValueError that begins with `at`."""
    wrong = ValueError(f"{at}: {value!r} is no {form}; write {form}_{unit} = {FORMS[form]}")
    scale = UNITS[unit]
    if not isinstance(value, list):
        raise wrong
    if form in ("box", "circle"):
        if len(value) != (4 if form == "box" else 3) or not all(map(_is_number, value)):
            raise wrong
        numbers = [number * scale for number in value]
        if form == "circle":
            if numbers[2] <= 0:
                raise ValueError(f"{at}: radius {value[2]} is not above 0")
            return Region(form=form, points_m=((numbers[0], numbers[1]),), radius_m=numbers[2])
        if numbers[0] == numbers[2] or numbers[1] == numbers[3]:
            raise ValueError(f"{at}: {value} has no area; its corners must differ in x and in y")
        return Region(form=form, points_m=((numbers[0], numbers[1]), (numbers[2], numbers[3])))
    pairs = all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value)
    if not pairs or len(value) < _LEAST[form]:
        raise wrong
    points = [(x * scale, y * scale) for x, y in value]
    if form == "line" and (same := [a for a, b in pairwise(value) if a == b]):
        raise ValueError(
            f"{at}: {same[0]} follows upon itself, a line without length; leave one of them out or move it"
        )
    if form == "polygon":
        _check_polygon(points, value, at)
    return Region(form=form, points_m=tuple(points))


def _check_polygon(points: list[tuple[float, float]], value: list, at: str) -> None:
    """Nothing; ValueError for a polygon without area, or whose border crosses itself. The first corner may close it."""
    corners = points[:-1] if points[0] == points[-1] else points
    sides = list(zip(corners, (*corners[1:], corners[0]), strict=True))
    for i, one in enumerate(sides):
        for j in range(i + 2, len(sides) - (i == 0)):
            if _segments_cross(*one, *sides[j]):
                raise ValueError(
                    f"{at}: side {i + 1} crosses side {j + 1}; give the corners in the order of the border"
                )
    if sum(ax * by - bx * ay for (ax, ay), (bx, by) in sides) == 0:
        raise ValueError(f"{at}: {value} has no area; its corners must not lie on one line")


def _segments_cross(a: tuple, b: tuple, c: tuple, d: tuple) -> bool:
    """Whether the lines from a to b and from c to d cross within both."""

    def side(p: tuple, q: tuple, r: tuple) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
