"""A survey as a file: where the sensors stand, how well they detect, and where on earth the map lies.

    version = 1
    latitude = -2.3
    longitude = 34.8
    start = "2024-01-01T00:00:00Z"
    confusion = "confusion.csv"

    [[camera]]
    grid = [4, 5]
    range_m = 12
    sigma_m = 8

    [[count]]
    kind = "aerial"
    n_lines = 6
    half_width_m = 150
    available = 0.8
    every_days = 91

    [[collar]]
    species = "lion"
    count = 4

The same file defines the sensors of a simulated world (`twin observe`) and says what real counts mean (`twin
assimilate`). Places are `points_km` or a `grid` of rows and columns; lines are `lines_km`, or `n_lines` from south to
north. `KEYS` lists the other keys.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Protocol

from linnaea.census.confusion import CERTAIN, Confusion, read_confusion
from linnaea.census.detection import DetectionFunction, FieldOfView
from linnaea.census.georeference import Georeference
from linnaea.census.sensor_designs import CameraTrapDesign, CollarDesign, SensorDesign, StripCountDesign
from linnaea.options import nearest
from linnaea.standards.typed_values import are_numbers, check_type, is_number

VERSION = 1
_DETECTION = tuple(one.name for one in fields(DetectionFunction))
_VIEW = tuple(one.name for one in fields(FieldOfView))
KEYS = {
    "camera": ("name", "points_km", "grid", *_VIEW, *_DETECTION, "rest_s", "from_day", "to_day"),
    "count": (
        "name",
        "kind",
        "lines_km",
        "n_lines",
        "half_width_m",
        *_DETECTION,
        "available",
        "together",
        "every_days",
        "from_day",
    ),
    "collar": tuple(one.name for one in fields(CollarDesign)),
}
_CLASSES: Mapping[str, tuple[type, ...]] = {
    "camera": (FieldOfView, DetectionFunction, CameraTrapDesign),
    "count": (DetectionFunction, StripCountDesign),
    "collar": (CollarDesign,),
}
_DAYS = ("from_day", "to_day", "every_days")
MOST_SITES = 5000
"""most cameras of a grid or a list, lines or collars: with more, one simulated year would take hours"""
TOP_KEYS = ("version", "latitude", "longitude", "start", "confusion", *KEYS)


class MapExtent(Protocol):
    """The size of a map; the ground of a simulated world has one."""

    @property
    def width_m(self) -> float:
        """From west to east, metres."""

    @property
    def height_m(self) -> float:
        """From south to north, metres."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """All sensors of a survey, with the map's georeference and the classifier's confusion."""

    georeference: Georeference = field(default_factory=Georeference)
    "where the map lies"
    cameras: tuple[CameraTrapDesign, ...] = ()
    "camera traps"
    counts: tuple[StripCountDesign, ...] = ()
    "strips, lines, flights"
    collars: tuple[CollarDesign, ...] = ()
    "collars"
    confusion: Confusion = CERTAIN
    "confusion of the classifier that names the cameras' pictures"

    def __post_init__(self) -> None:
        names = [sensor.name for sensor in self.sensors]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"survey: two sensors are called {name!r}; give each a name of its own")

    @property
    def sensors(self) -> tuple[SensorDesign, ...]:
        """All sensors: cameras, counts, collars."""
        return (*self.cameras, *self.counts, *self.collars)


def read_survey(path: Path | str, extent: MapExtent) -> Survey:
    """Read the survey of a TOML file for a map of this size.

    Raise ValueError in one line that names the file, the key and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: file not found; give the TOML file of a survey, see docs/observations.md")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not valid TOML: {error}; correct it there") from None
    try:
        return parse_survey(content, extent, path.parent)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def parse_survey(content: Mapping, extent: MapExtent, survey_dir: Path = Path()) -> Survey:
    """Build the survey of a file's content. The file of the confusion table is relative to `survey_dir`."""
    _check_keys(content, TOP_KEYS, "the survey")
    if content.get("version") != VERSION:
        raise ValueError(f"version {content.get('version')!r} is unknown; write version = {VERSION}")
    place = {key: content[key] for key in ("latitude", "longitude", "start") if key in content}
    _check_types(place, (Georeference,), "the survey")
    if not isinstance(content.get("confusion", ""), str):
        raise ValueError(f"confusion {content['confusion']!r} must be the name of a file, in quotation marks")  # noqa: TRY004
    confusion = read_confusion(survey_dir / content["confusion"]) if "confusion" in content else CERTAIN
    tables = {}
    for kind, keys in KEYS.items():
        tables[kind] = content.get(kind, [])
        if not isinstance(tables[kind], list) or not all(isinstance(table, Mapping) for table in tables[kind]):
            raise ValueError(f"{kind} must be a list of tables; begin each with [[{kind}]]")
        for number, table in enumerate(tables[kind], 1):
            _check_keys(table, keys, f"{kind} {number}")
            _check_types(table, _CLASSES[kind], f"{kind} {number}")
    return Survey(
        georeference=Georeference(**place),
        cameras=tuple(_read_camera(t, n, extent, confusion) for n, t in enumerate(tables["camera"], 1)),
        counts=tuple(_read_count(t, n, extent) for n, t in enumerate(tables["count"], 1)),
        collars=tuple(CollarDesign(**{"name": f"collar{n}"} | dict(t)) for n, t in enumerate(tables["collar"], 1)),
        confusion=confusion,
    )


def _check_keys(table: Mapping, known: tuple[str, ...], at: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{at}: key {key!r} is unknown{nearest(key, known)}")


def _check_types(table: Mapping, classes: tuple[type, ...], at: str) -> None:
    own = {one.name: one for cls in classes for one in fields(cls)}
    for key, value in table.items():
        if key in own:
            check_type(own[key], value, f"{at}: {key}")
        if key in _DAYS and not is_number(value):
            raise ValueError(f"{at}: {key} {value!r} must be a number, without quotation marks")
    if "count" in table and not table["count"] <= MOST_SITES:
        raise ValueError(f"{at}: count {table['count']} must be a whole number from 1 to {MOST_SITES}")


def _select_keys(table: Mapping, names: tuple[str, ...]) -> dict:
    return {name: table[name] for name in names if name in table}


def _check_lists(values: object, length: int, at: str, form: str) -> None:
    fits = isinstance(values, list) and all(are_numbers(one, length) for one in values)
    if not fits or not 1 <= len(values) <= MOST_SITES:
        shown = repr(values) if len(repr(values)) < 60 else f"with {len(values)} entries"
        raise ValueError(f"{at} {shown} must be {form} with 1 to {MOST_SITES} entries")


def _read_camera(table: Mapping, number: int, extent: MapExtent, confusion: Confusion) -> CameraTrapDesign:
    if ("grid" in table) == ("points_km" in table):
        raise ValueError(f"camera {number}: give either grid = [rows, columns] or points_km = [[x, y], …]")
    if "grid" in table:
        grid = table["grid"]
        whole = are_numbers(grid, 2) and all(is_number(one, whole=True) and one >= 1 for one in grid)
        if not whole or math.prod(grid) > MOST_SITES:
            raise ValueError(
                f"camera {number}: grid {grid!r} must be [rows, columns], whole numbers from 1, with at most "
                f"{MOST_SITES} cameras"
            )
        rows, columns = grid
        places = tuple(
            ((c + 0.5) / columns * extent.width_m, (r + 0.5) / rows * extent.height_m)
            for r in range(rows)
            for c in range(columns)
        )
    else:
        _check_lists(table["points_km"], 2, f"camera {number}: points_km", "[[x, y], …]")
        places = tuple((1000 * x, 1000 * y) for x, y in table["points_km"])
    return CameraTrapDesign(
        name=table.get("name", f"camera{number}"),
        places_m=places,
        view=FieldOfView(**_select_keys(table, _VIEW)),
        detection=DetectionFunction(**_select_keys(table, _DETECTION)),
        start_h=24 * table.get("from_day", 0.0),
        end_h=24 * table.get("to_day", math.inf),
        confusion=confusion,
        **_select_keys(table, ("rest_s",)),
    )


def _read_count(table: Mapping, number: int, extent: MapExtent) -> StripCountDesign:
    if ("n_lines" in table) == ("lines_km" in table):
        raise ValueError(f"count {number}: give either n_lines = 6 or lines_km = [[x0, y0, x1, y1], …]")
    if "n_lines" in table:
        n_lines = table["n_lines"]
        if not is_number(n_lines, whole=True) or not 1 <= n_lines <= MOST_SITES:
            raise ValueError(f"count {number}: n_lines {n_lines!r} must be a whole number from 1 to {MOST_SITES}")
        across = [(n + 0.5) / n_lines * extent.width_m for n in range(n_lines)]
        lines = tuple((x, 0.0, x, extent.height_m) for x in across)
    else:
        _check_lists(table["lines_km"], 4, f"count {number}: lines_km", "[[x0, y0, x1, y1], …]")
        lines = tuple(tuple(1000 * one for one in line) for line in table["lines_km"])
    return StripCountDesign(
        name=table.get("name", f"count{number}"),
        lines_m=lines,
        detection=DetectionFunction(**_select_keys(table, _DETECTION)),
        every_h=24 * table.get("every_days", 30.0),
        start_h=24 * table.get("from_day", 0.0) + 12,
        **_select_keys(table, ("kind", "half_width_m", "available", "together")),
    )
