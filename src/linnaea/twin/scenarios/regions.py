"""Regions of the map: everywhere, a box, a circle, a polygon, points or a line.

In a scenario a region is one key, named by its form and unit: `box_km = [x0, y0, x1, y1]`, `circle_km = [x, y,
radius]`, `polygon_km = [[x, y], …]`, `points_km = [[x, y], …]`, `line_km = [[x, y], …]`; in small worlds `box_m` and so
on. x goes east and y north from the south-western corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linnaea.standards.typed_values import are_numbers
from linnaea.twin.engine.neighbours import Space

UNITS = {"km": 1000.0, "m": 1.0}
AREAS = ("box", "circle", "polygon")
FORMS = {
    "box": "[x0, y0, x1, y1], two opposite corners",
    "circle": "[x, y, radius]",
    "polygon": "[[x, y], [x, y], [x, y], …], at least three corners",
    "points": "[[x, y], …]",
    "line": "[[x, y], [x, y], …], at least two ends",
}
_LENGTHS = {"box": 4, "circle": 3}
_LEAST = {"polygon": 3, "points": 1, "line": 2}


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the map, in metres from the south-western corner."""

    form: str = ""
    "one of FORMS, or empty for everywhere"
    points_m: tuple[tuple[float, float], ...] = ()
    "corners, ends or points; the centre of a circle"
    radius_m: float = 0.0
    "radius of a circle"

    def __repr__(self) -> str:
        """Return the text by which checkpoints know a region, with the former name of the class."""
        return f"Place(form={self.form!r}, points_m={self.points_m!r}, radius_m={self.radius_m!r})"

    def check(self, space: Space, at: str) -> None:
        """Raise ValueError, beginning with `at`, if a point lies outside the map."""
        for x, y in self.points_m:
            if not (0 <= x <= space.width_m and 0 <= y <= space.height_m):
                km = space.width_m >= 1000
                scale, unit = (1000, "km") if km else (1, "m")
                raise ValueError(
                    f"{at}: ({x / scale:g}, {y / scale:g}) {unit} lies outside the map, which extends from (0, 0) to "
                    f"({space.width_m / scale:g}, {space.height_m / scale:g}) {unit}; choose a point on it"
                )

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return whether points (metres, arrays of any shape) lie in the region: bool of that shape."""
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

    def make_mask(self, space: Space, shape: tuple[int, int]) -> np.ndarray:
        """Return the cells [r, c] whose centres lie in the region; if there are none, the cells of its points."""
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

    def find_bounds(self, space: Space) -> tuple[float, float, float, float]:
        """Return the smallest box on the map around the region: x0, y0, x1, y1 in metres."""
        if not self.points_m:
            return 0.0, 0.0, space.width_m, space.height_m
        x, y = zip(*self.points_m, strict=True)
        r = self.radius_m
        low = max(min(x) - r, 0.0), max(min(y) - r, 0.0)
        return *low, min(max(x) + r, space.width_m), min(max(y) + r, space.height_m)


EVERYWHERE = Region()


def _contains_in_polygon(x: np.ndarray, y: np.ndarray, corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Return whether a ray to the east crosses the border of the polygon an odd number of times."""
    inside = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if ay == by:
            continue
        inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def read_region(form: str, unit: str, value: object, at: str) -> Region:
    """Return the region of a scenario's key, for example "box", "km", [0, 0, 5, 5].

    Raise ValueError, beginning with `at`, for a value that does not have the form.
    """
    wrong = ValueError(f"{at}: {value!r} must be a {form}; write {form}_{unit} = {FORMS[form]}")
    if not isinstance(value, list):
        raise wrong
    if form in _LENGTHS:
        if not are_numbers(value, _LENGTHS[form]) or not all(map(math.isfinite, value)):
            raise wrong
        return (_read_box if form == "box" else _read_circle)(value, UNITS[unit], at)
    if not all(are_numbers(pair, 2) and all(map(math.isfinite, pair)) for pair in value) or len(value) < _LEAST[form]:
        raise wrong
    return _read_points(form, value, UNITS[unit], at)


def _read_box(value: list[float], scale: float, at: str) -> Region:
    x0, y0, x1, y1 = (number * scale for number in value)
    if x0 == x1 or y0 == y1:
        raise ValueError(f"{at}: {value} has no area; its corners must differ in x and in y")
    return Region(form="box", points_m=((x0, y0), (x1, y1)))


def _read_circle(value: list[float], scale: float, at: str) -> Region:
    x, y, radius = (number * scale for number in value)
    if radius <= 0:
        raise ValueError(f"{at}: radius {value[2]} must be above 0")
    return Region(form="circle", points_m=((x, y),), radius_m=radius)


def _read_points(form: str, value: list[list[float]], scale: float, at: str) -> Region:
    points = [(x * scale, y * scale) for x, y in value]
    if form == "line" and (same := [a for a, b in pairwise(value) if a == b]):
        raise ValueError(f"{at}: {same[0]} follows itself, a line without length; leave one of them out or move it")
    if form == "polygon":
        _check_polygon(points, value, at)
    return Region(form=form, points_m=tuple(points))


def _check_polygon(points: list[tuple[float, float]], value: list, at: str) -> None:
    """Raise ValueError for a polygon without area or with a border that crosses itself.

    The last corner may repeat the first.
    """
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
    """Return whether the segments from a to b and from c to d cross inside both."""

    def get_side(p: tuple, q: tuple, r: tuple) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return get_side(a, b, c) * get_side(a, b, d) < 0 and get_side(c, d, a) * get_side(c, d, b) < 0
