"""Detections per unit of effort: what a visit's sensor detects of each species at a density of 1 animal per km².

Shape suffixes: s species.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from linnaea.census.animals import AnimalTraits
from linnaea.census.detection import DetectionFunction, FieldOfView, compute_effective_half_width_m
from linnaea.census.observations import CollarFix, Visit
from linnaea.census.sensor_designs import CameraTrapDesign, StripCountDesign
from linnaea.census.survey_file import Survey

USUAL_SIGMA = 0.6
"""σ of an unknown camera as a share of its range"""
UNKNOWN_CAMERA = DetectionFunction(mass_exponent=0.25, least_kg=0.2)
UNKNOWN_COUNT = DetectionFunction(least_kg=2.0)
"""what sensors that the survey does not describe notice: no insects; assumptions, not measurements"""
UNKNOWN_HALF_WIDTH_M = 100.0
MOST_GAP_H = 2.0
"""fixes further apart say too little of the path between them"""


@dataclass(frozen=True, kw_only=True)
class DayPath:
    """Length of the path that animals of a name walk in a day."""

    km: float
    "kilometres"
    sd: float
    "standard deviation of its logarithm"


def estimate_daily_paths(fixes: Sequence[CollarFix]) -> dict[str, DayPath]:
    """Estimate the path of a day of collared animals, by reported name, from fixes at most 2 h apart.

    Nobody walks straight from fix to fix, so the path through all fixes is a lower bound. It is r times as long as the
    path through every second fix. Twice as many fixes would lengthen it by about r^1/2, twice as many again by r^1/4 …,
    which adds up to r as long as the path bends smoothly. The estimate takes the middle, r^1/2, with half of log r as
    its standard deviation.
    """
    length, time, both, across = (defaultdict(float) for _ in range(4))
    ordered = sorted(fixes, key=lambda fix: (fix.animal, fix.time))
    before = None
    for a, b in itertools.pairwise(ordered):
        hours = (b.time - a.time).total_seconds() / 3600
        if a.animal != b.animal or not 0 < hours <= MOST_GAP_H:
            before = None
            continue
        length[a.name] += _measure_distance_km(a, b)
        time[a.name] += hours / 24
        if before is None:
            before = a
        else:
            both[a.name] += _measure_distance_km(before, a) + _measure_distance_km(a, b)
            across[a.name] += _measure_distance_km(before, b)
            before = None
    found = {}
    for name in length:
        # Even fixes in random order would only double the path; a larger ratio is chance.
        log_r = math.log(min(both[name] / across[name], 2.0)) if across[name] > 0 else 0.0
        found[name] = DayPath(km=length[name] / time[name] * math.exp(log_r / 2), sd=log_r / 2)
    return found


def _measure_distance_km(a: CollarFix, b: CollarFix) -> float:
    east = (b.longitude - a.longitude) * math.cos(math.radians(a.latitude))
    return 111.32 * math.hypot(east, b.latitude - a.latitude)


def compute_camera_rate(camera: CameraTrapDesign, one: AnimalTraits, view: FieldOfView, day_km: float) -> float:
    """Return the animals that a camera pictures in a day at 1 animal per km².

    It is the width of the view times the path of a day, km² (Rowcliffe et al. 2008, Journal of Applied Ecology 45,
    1228-1236).
    """
    detection = replace(camera.detection, by_day=1.0, by_night=1.0)
    width_m = view.compute_width_m(detection, one.body_mass_kg, one.walk_speed_km_h / 3.6)
    return width_m / 1000 * day_km * camera.detection.compute_mean_light(one.activity)


def compute_strip_rate(sensor: StripCountDesign, one: AnimalTraits, hour: float) -> float:
    """Return the share 0..1 of the animals within the strip that is counted at a time of day."""
    sigma = float(sensor.detection.compute_sigma_m(one.body_mass_kg))
    light = float(sensor.detection.compute_probability(0.0, one.body_mass_kg, hour))
    effective_m = compute_effective_half_width_m(sigma, sensor.half_width_m)
    return sensor.available * light * effective_m / sensor.half_width_m


@dataclass(kw_only=True)
class DetectionRates:
    """Detections per unit of effort, kept by what they depend on."""

    survey: Survey
    species: Mapping[str, AnimalTraits]
    day_path: Mapping[str, DayPath]
    "path of a day of each species"
    kept: dict = field(default_factory=dict)
    "rates that were computed already"

    def find_sensor(self, visit: Visit) -> CameraTrapDesign | StripCountDesign:
        """Return the design of the sensor that made a visit.

        It is the survey's sensor with the name of the site, otherwise the first one of the same kind, otherwise an
        assumed one.
        """
        known = self.survey.cameras if visit.kind == "camera" else self.survey.counts
        for sensor in known:
            if Path(visit.site).name.startswith(f"{sensor.name}-"):
                return sensor
        for sensor in known:
            if isinstance(sensor, CameraTrapDesign) or visit.kind == sensor.kind:
                return sensor
        if visit.kind == "camera":
            reach = FieldOfView().range_m if math.isnan(visit.range_m) else visit.range_m
            return CameraTrapDesign(
                name="camera",
                view=FieldOfView(range_m=reach),
                detection=replace(UNKNOWN_CAMERA, sigma_m=USUAL_SIGMA * reach),
            )
        has_length = not math.isnan(visit.length_km)
        width = 1000 * visit.effort / visit.length_km / 2 if has_length else UNKNOWN_HALF_WIDTH_M
        return StripCountDesign(name=visit.kind, kind=visit.kind, half_width_m=width, detection=UNKNOWN_COUNT)

    def compute(self, visit: Visit, sensor: CameraTrapDesign | StripCountDesign, hour: float) -> np.ndarray:
        """Return the animals detected per unit of effort at density 1: float64 [s]."""
        if isinstance(sensor, CameraTrapDesign):
            view = FieldOfView(
                range_m=sensor.view.range_m if math.isnan(visit.range_m) else visit.range_m,
                angle_deg=sensor.view.angle_deg if math.isnan(visit.angle_deg) else visit.angle_deg,
                delay_s=sensor.view.delay_s,
            )
            key = (sensor.name, view)
            if key not in self.kept:
                self.kept[key] = np.array(
                    [
                        compute_camera_rate(sensor, one, view, self.day_path[name].km)
                        for name, one in self.species.items()
                    ]
                )
            return self.kept[key]
        key = (sensor.name, hour % 24)
        if key not in self.kept:
            rates = [compute_strip_rate(sensor, one, hour % 24) for one in self.species.values()]
            self.kept[key] = np.array(rates)
        return self.kept[key]
