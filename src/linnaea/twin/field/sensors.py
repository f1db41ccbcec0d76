"""Sensors in a simulated world: camera traps, counts along strips from the ground and the air, GPS collars.

A sensor is a rule of the phase `observe`, made from a design in `linnaea.census.sensor_designs`. It changes no animal
and draws from random streams of its own, so that a world with sensors goes the same way as one without. Its records are
kept in the world's arrays: `<name>_records`, with the fields of `SIGHTING` or `FIX`. They are therefore part of a
checkpoint. `truth` is recorded beside the reported name only to judge methods; `survey_tables` never writes it.

Shape suffixes: n slots, m animals, k stations or lines, r reported names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from linnaea.census.confusion import Confusion
from linnaea.census.detection import compute_closest_distance
from linnaea.census.sensor_designs import CameraTrapDesign, CollarDesign, SensorDesign, StripCountDesign
from linnaea.census.survey_file import Survey
from linnaea.store import hash_bytes
from linnaea.twin.engine.agents import HOURS_A_YEAR, Column
from linnaea.twin.engine.rng import CONFUSION, DETECTION, SENSING, normals, uniforms
from linnaea.twin.engine.world import Rule, World

SIGHTING = np.dtype(
    [
        ("time_h", "f8"),
        ("site", "i4"),
        ("truth", "i2"),
        ("reported", "i2"),
        ("animal", "i8"),
        ("distance_m", "f4"),
        ("angle_rad", "f4"),
    ]
)
"""a detected animal: hour of the clock, index of the camera or line, indices of the true and of the reported name"""
FIX = np.dtype([("time_h", "f8"), ("collar", "i4"), ("animal", "i8"), ("species", "i2"), ("x", "f8"), ("y", "f8")])
"""a position of a collar; x and y are nan where the fix failed"""
BEFORE_X = Column(
    name="before_x", dtype=np.float64, help="metres east, where cameras last registered the animal", blank=math.nan
)
BEFORE_Y = Column(name="before_y", dtype=np.float64, help="metres north, the same position", blank=math.nan)
_FIRST_ROOM = 256


def append_records(world: World, name: str, rows: np.ndarray) -> None:
    """Append rows to the records of a sensor."""
    n = world.arrays[f"{name}_n"]
    kept = world.arrays[f"{name}_records"]
    if n[0] + len(rows) > len(kept):
        kept = np.concatenate([kept, np.zeros(max(len(kept), len(rows)), kept.dtype)])
        world.arrays[f"{name}_records"] = kept
    kept[n[0] : n[0] + len(rows)] = rows
    n[0] += len(rows)


def get_records(world: World, name: str) -> np.ndarray:
    """Return the records of a sensor: rows of `SIGHTING` or `FIX`."""
    return world.arrays[f"{name}_records"][: world.arrays[f"{name}_n"][0]]


def draw_keys(name: str, keys: np.ndarray) -> np.ndarray:
    """Return keys for random numbers that differ from sensor to sensor."""
    return keys ^ np.uint64(int(hash_bytes(name), 16))


def draw_reported_names(
    world: World, confusion: Confusion, kinds: np.ndarray, keys: np.ndarray, draw: int
) -> np.ndarray:
    """Return what the classifier reports for animals of these species [m]: indices into `confusion.list_names`."""
    if not confusion.true:
        return kinds
    upto_sr = confusion.build_matrix(world.species).cumsum(1)
    u = uniforms(world.seed, world.step, CONFUSION, keys, draw)
    return np.minimum((upto_sr[kinds] <= u[:, None]).sum(1), upto_sr.shape[1] - 1)


def _prepare_records(rule, world: World, dtype: np.dtype) -> None:
    if f"{rule.name}_records" in world.arrays:
        raise ValueError(f"sensor {rule.name!r} exists already; give each sensor a name of its own")
    world.add_array(f"{rule.name}_records", np.zeros(_FIRST_ROOM, dtype))
    world.add_array(f"{rule.name}_n", np.zeros(1, np.int64))


def _check_points(world: World, name: str, points) -> None:
    for x, y in points:
        if not (0 <= x <= world.space.width_m and 0 <= y <= world.space.height_m):
            raise ValueError(
                f"sensor {name!r}: ({x:g}, {y:g}) m is outside the map of {world.space.width_m:g} by "
                f"{world.space.height_m:g} m; choose a point on it"
            )


@dataclass(frozen=True, kw_only=True)
class CameraTraps(CameraTrapDesign, Rule):
    """Cameras that animals trigger as they walk through the field of view; within a step an animal walks straight.

    After a picture a camera rests. Animals in view at the time of a picture are in it; an animal that comes and leaves
    while the camera rests is missed.
    """

    phase: ClassVar[str] = "observe"

    def prepare(self, world: World) -> None:
        """Add the arrays of the records and the columns of the last positions. Raise ValueError for bad places."""
        _prepare_records(self, world, SIGHTING)
        _check_points(world, self.name, self.places_m)
        world.agents.add_column(BEFORE_X)
        world.agents.add_column(BEFORE_Y)
        world.add_array(f"{self.name}_resting_h", np.full(len(self.places_m), -math.inf))

    def apply(self, world: World) -> None:
        """Take the pictures of this step and register the animals' positions."""
        a = world.agents
        slots = a.slots()
        x1, y1 = a.x[slots].astype(float), a.y[slots].astype(float)
        x0, y0 = a.before_x[slots], a.before_y[slots]
        # Newborn animals, and animals that crossed the border of a torus, have no path yet.
        new = ~((np.abs(x1 - x0) < world.space.width_m / 2) & (np.abs(y1 - y0) < world.space.height_m / 2))
        x0, y0 = np.where(new, x1, x0), np.where(new, y1, y0)
        if self.start_h <= world.now_h < self.end_h and len(slots):
            self._take_pictures(world, slots, x0, y0, x1, y1)
        a.before_x[slots], a.before_y[slots] = x1, y1

    def _take_pictures(self, world: World, slots: np.ndarray, x0, y0, x1, y1) -> None:
        """Take the pictures of all cameras in this step."""
        low_x, high_x = np.minimum(x0, x1) - self.view.range_m, np.maximum(x0, x1) + self.view.range_m
        low_y, high_y = np.minimum(y0, y1) - self.view.range_m, np.maximum(y0, y1) + self.view.range_m
        near = [
            np.flatnonzero((low_x <= cx) & (cx <= high_x) & (low_y <= cy) & (cy <= high_y)) for cx, cy in self.places_m
        ]
        sites = np.repeat(np.arange(len(near)), np.array([len(one) for one in near], int))
        if not len(sites):
            return
        # Paths near any camera are clipped together: most miss the view, and only the others need random numbers.
        index, (cx, cy) = np.concatenate(near), np.array(self.places_m).T[:, sites]
        way = np.array([x0[index] - cx, y0[index] - cy, x1[index] - cx, y1[index] - cy])
        heading = np.array([self.get_heading_rad(site) for site in range(len(near))])[sites]
        enter, leave = self.view.clip(*way, heading)
        inside = (leave >= enter) & (self.view.delay_s / 3600 <= (leave - enter) * world.dt_h + 1e-9)
        for site in np.unique(sites[inside]):
            here = np.flatnonzero(inside & (sites == site))
            self._record_site(world, int(site), slots[index[here]], way[:, here], enter[here], leave[here])

    def _record_site(self, world: World, site: int, slots: np.ndarray, way: np.ndarray, enter, leave) -> None:
        """Take the pictures of one camera in this step, of animals that are in view from `enter` to `leave`."""
        a = world.agents
        keys = draw_keys(self.name, a.key[slots])
        distance = compute_closest_distance(*way, enter, leave)
        hour = (world.now_h + np.clip(enter, 0, 1) * world.dt_h) % 24
        chance = self.detection.compute_probability(distance, a.mass[slots], hour)
        noticed = uniforms(world.seed, world.step, DETECTION, keys, site) < chance
        trigger_h = world.now_h + enter * world.dt_h + self.view.delay_s / 3600
        leave_h = world.now_h + leave * world.dt_h
        seen = np.flatnonzero(noticed & (trigger_h <= leave_h))
        taken_h = self._time_pictures(world, site, trigger_h[seen], leave_h[seen], keys[seen])
        seen, taken_h = seen[np.isfinite(taken_h)], taken_h[np.isfinite(taken_h)]
        if not len(seen):
            return
        share = np.clip((taken_h - world.now_h) / world.dt_h, enter[seen], leave[seen])
        at_x = way[0][seen] + share * (way[2] - way[0])[seen]
        at_y = way[1][seen] + share * (way[3] - way[1])[seen]
        rows = np.zeros(len(seen), SIGHTING)
        rows["time_h"], rows["site"], rows["truth"] = taken_h, site, a.species[slots[seen]]
        rows["reported"] = draw_reported_names(world, self.confusion, a.species[slots[seen]], keys[seen], site)
        rows["animal"], rows["distance_m"] = a.id[slots[seen]], np.hypot(at_x, at_y)
        rows["angle_rad"] = (np.arctan2(at_y, at_x) - self.get_heading_rad(site) + math.pi) % (2 * math.pi) - math.pi
        append_records(world, self.name, rows[np.lexsort((keys[seen], taken_h))])

    def _time_pictures(self, world: World, site: int, trigger_h, leave_h, keys) -> np.ndarray:
        """Return the hour of the first picture of each animal [m]; nan for animals that pass while the camera rests."""
        resting_h = world.arrays[f"{self.name}_resting_h"]
        taken_h, last_h = np.full(len(trigger_h), math.nan), -math.inf
        for i in np.lexsort((keys, trigger_h)):
            if trigger_h[i] <= last_h:
                # It came into view before the camera had rested; if it is still in view, it is in that picture.
                taken_h[i] = last_h if last_h <= leave_h[i] else math.nan
                continue
            now_h = max(trigger_h[i], resting_h[site])
            if now_h <= leave_h[i]:
                taken_h[i] = last_h = now_h
                resting_h[site] = now_h + self.rest_s / 3600
        return taken_h


@dataclass(frozen=True, kw_only=True)
class StripCounts(StripCountDesign, Rule):
    """Counts along lines, on foot or from the air: at regular intervals the animals within the strip may be seen.

    An animal is available with one probability (not hidden below trees or water) and then noticed with another, which
    decreases with the distance from the line.
    """

    phase: ClassVar[str] = "observe"

    def prepare(self, world: World) -> None:
        """Add the arrays of the records. Raise ValueError for bad lines."""
        _prepare_records(self, world, SIGHTING)
        _check_points(world, self.name, [end for x0, y0, x1, y1 in self.lines_m for end in ((x0, y0), (x1, y1))])
        for x0, y0, x1, y1 in self.lines_m:
            if (x0, y0) == (x1, y1):
                raise ValueError(
                    f"sensor {self.name!r}: a line from ({x0:g}, {y0:g}) to itself has no length; move an end"
                )

    def apply(self, world: World) -> None:
        """Count the animals along all lines if a count is due in this step."""
        passed = math.floor((world.now_h - self.start_h) / self.every_h)
        due_h = self.start_h + self.every_h * passed
        if passed < 0 or due_h <= world.now_h - world.dt_h:
            return
        a = world.agents
        slots = a.slots()
        slots = slots[np.argsort(a.key[slots], kind="stable")]
        x, y = a.x[slots].astype(float), a.y[slots].astype(float)
        keys = draw_keys(self.name, a.key[slots])
        if self.together:
            herd = a.herd[slots]
            keys = np.where(herd >= 0, draw_keys(self.name, herd.astype(np.uint64)), keys)
        for site, (x0, y0, x1, y1) in enumerate(self.lines_m):
            length = math.hypot(x1 - x0, y1 - y0)
            ex, ey = (x1 - x0) / length, (y1 - y0) / length
            along, side = (x - x0) * ex + (y - y0) * ey, (y - y0) * ex - (x - x0) * ey
            near = np.flatnonzero((along >= 0) & (along < length) & (np.abs(side) <= self.half_width_m))
            there = slots[near]
            chance = self.available * self.detection.compute_probability(np.abs(side[near]), a.mass[there], due_h % 24)
            seen = uniforms(world.seed, world.step, SENSING, keys[near], site) < chance
            near, there = near[seen], there[seen]
            rows = np.zeros(len(near), SIGHTING)
            rows["time_h"], rows["site"], rows["truth"] = due_h, site, a.species[there]
            rows["reported"] = draw_reported_names(world, self.confusion, a.species[there], keys[near], site)
            rows["animal"], rows["distance_m"] = a.id[there], np.abs(side[near])
            append_records(world, self.name, rows)


@dataclass(frozen=True, kw_only=True)
class Collars(CollarDesign, Rule):
    """GPS collars on some animals of a species, from the first step until the animal or the collar dies."""

    phase: ClassVar[str] = "observe"

    def prepare(self, world: World) -> None:
        """Add the arrays of the records and of the collared animals. Raise ValueError for an unknown species."""
        if self.species not in world.species:
            raise ValueError(
                f"sensor {self.name!r}: species {self.species!r} is not in the world; it has {', '.join(world.species)}"
            )
        _prepare_records(self, world, FIX)
        world.add_array(f"{self.name}_wearers", np.full(self.count, -1, np.int64))

    def apply(self, world: World) -> None:
        """Put on the collars in the first step; later let collars fail and record the fixes that are due."""
        wearers = world.arrays[f"{self.name}_wearers"]
        if world.step == 0:
            self._choose_wearers(world, wearers)
        a, every = world.agents, max(1, round(self.fix_h / world.dt_h))
        numbers = np.arange(self.count, dtype=np.uint64)
        keys = draw_keys(self.name, numbers)
        fails = uniforms(world.seed, world.step, SENSING, keys, 2) < -math.expm1(
            -self.failures_per_y * world.dt_h / HOURS_A_YEAR
        )
        slots = a.slots()
        slots = slots[np.isin(a.id[slots], wearers)]
        wearers[fails | ~np.isin(wearers, a.id[slots])] = -1
        worn = np.flatnonzero(wearers >= 0)
        if world.step % every or not len(worn):
            return
        slots = slots[np.argmax(a.id[slots] == wearers[worn][:, None], axis=1)]
        rows = np.zeros(len(worn), FIX)
        rows["time_h"], rows["collar"], rows["animal"] = world.now_h, worn, wearers[worn]
        rows["species"] = a.species[slots]
        failed = uniforms(world.seed, world.step, SENSING, keys[worn], 3) < self.missed
        for axis, column in enumerate(("x", "y")):
            error = self.error_m * normals(world.seed, world.step, SENSING, keys[worn], axis)
            rows[column] = np.where(failed, math.nan, a.arrays[column][slots] + error)
        append_records(world, self.name, rows)

    def _choose_wearers(self, world: World, wearers: np.ndarray) -> None:
        """Choose the collared animals at random."""
        a = world.agents
        slots = a.slots()
        slots = slots[a.species[slots] == world.species.index(self.species)]
        order = np.argsort(uniforms(world.seed, 0, SENSING, draw_keys(self.name, a.key[slots]), 9), kind="stable")
        chosen = slots[order[: self.count]]
        wearers[: len(chosen)] = a.id[chosen]


_RULES: tuple[tuple[type, type], ...] = (
    (CameraTrapDesign, CameraTraps),
    (StripCountDesign, StripCounts),
    (CollarDesign, Collars),
)


def make_sensor(design: SensorDesign) -> CameraTraps | StripCounts | Collars:
    """Make the rule that lets a sensor of this design work in a world."""
    for kind, rule in _RULES:
        if isinstance(design, kind):
            return rule(**{one.name: getattr(design, one.name) for one in fields(kind)})
    raise TypeError(f"{design!r} must be the design of cameras, counts or collars")


def attach_survey(world: World, survey: Survey) -> None:
    """Add the sensors of a survey to a world that has not begun its run."""
    for design in survey.sensors:
        world.add_rule(make_sensor(design))


def count_reported(world: World, sensor: CameraTrapDesign | StripCountDesign) -> dict[str, int]:
    """Return the animals that a sensor reported so far, by reported name."""
    names = sensor.confusion.list_names(world.species)
    number = np.bincount(get_records(world, sensor.name)["reported"], minlength=len(names))
    return {name: int(count) for name, count in zip(names, number, strict=True)}
