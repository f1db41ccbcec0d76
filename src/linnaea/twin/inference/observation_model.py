"""What counts mean: from visits and sightings to, for each span of time, what density of animals makes such counts
likely.

In a span, the sensors of one group (one set of cameras, one set of lines) reported y_r animals under the name r.
Expected are

    mu_r = Σ_s D_s f_gs Σ_v e_v h_vs C_sr

for densities D_s (animals a km²), the effort e_v of each visit, the animals h_vs that a unit of effort detects at
density 1 (the width of a camera's view times the path of a day; the share of a strip's animals that is available and
noticed), the classifier's confusion C_sr, and factors f_gs around 1 for what is not known of h. Counts scatter around
it as a negative binomial, because animals clump: variance mu + mu² / k, with k found from the differences among sites.

Shape suffixes: s species, r reported names, v visits, w spans of time (windows), g groups.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from linnaea.census.confusion import CERTAIN, UNIDENTIFIED, Confusion, estimate_confusion
from linnaea.census.detection import DetectionFunction, FieldOfView, effective_half_width_m
from linnaea.census.observations import CollarFix, Observations, Visit
from linnaea.twin.data.species import Species
from linnaea.twin.field.sensors import CameraTraps, StripCounts
from linnaea.twin.field.survey_file import Survey
from linnaea.twin.inference.higher_taxa import find_species_within

USUAL_SIGMA = 0.6
"""σ of an unknown camera as a share of its range"""
UNKNOWN_CAMERA = DetectionFunction(mass_exponent=0.25, least_kg=0.2)
UNKNOWN_COUNT = DetectionFunction(least_kg=2.0)
"""what sensors notice of which the survey says nothing: no insects; assumptions, not measurements"""
PRIOR_CLUMPING, PRIOR_WEIGHT = 1.0, 10.0
"""1 / k before the sites are compared, and how many expected counts squared it weighs"""
LATE_H = 366 * 24.0
"""a survey that starts so long before its first visit may have a wrong start"""
MOST_GAP_H = 2.0
"""fixes further apart say too little of the path between them"""


@dataclass(frozen=True, kw_only=True)
class Count:
    """What one group of sensors reported under one name in one span of time."""

    group: str
    "of sensors"
    name: str
    "reported"
    y: int
    "animals"
    per_density_s: np.ndarray
    "expected animals for each animal a km² of every species [s]"
    k: float
    "size of the negative binomial"
    stays_s: np.ndarray | float = 0.0
    "relative variance that all spans share: of where the sensors stand, and of how far animals walk in a day [s]"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of all spans, in order, and what was left out."""

    edges_h: np.ndarray
    "hours of the clock between the spans [w + 1]"
    windows: tuple[tuple[Count, ...], ...]
    "counts of each span"
    groups: tuple[str, ...]
    "of sensors"
    rejected: tuple[tuple[str, str], ...] = ()
    "sightings that cannot be used, and why"
    notes: tuple[str, ...] = field(default=())
    "what was taken for granted"


def compute_camera_rate(camera: CameraTraps, one: Species, view: FieldOfView, day_km: float) -> float:
    """Animals that a camera pictures in a day at 1 animal a km²: width of the view times the path of a day, km²."""
    sight = replace(camera.sight, by_day=1.0, by_night=1.0)
    width_m = view.width_m(sight, one.body_mass_kg, one.walk_speed_km_h / 3.6)
    return width_m / 1000 * day_km * camera.sight.mean_light_probability(one.activity)


def compute_strip_rate(sensor: StripCounts, one: Species, hour: float) -> float:
    """Share 0..1 of the animals within the strip that is counted at a time of day."""
    sigma = float(sensor.sight.sigma_of(one.body_mass_kg))
    light = float(sensor.sight.probability(0.0, one.body_mass_kg, hour))
    return sensor.available * light * effective_half_width_m(sigma, sensor.half_width_m) / sensor.half_width_m


@dataclass(frozen=True, kw_only=True)
class DayPath:
    """How far animals of a name walk in a day."""

    km: float
    "kilometres"
    sd: float
    "standard deviation of its logarithm"


def estimate_daily_paths(fixes: Sequence[CollarFix]) -> dict[str, DayPath]:
    """Paths of a day of collared animals, by reported name, from fixes at most 2 h apart.

    Nobody walks straight from fix to fix, so that the way through all fixes is the least. It is r times as long as that through
    every second one; twice as many fixes would lengthen it by about r^1/2, twice as many again by r^1/4 …, which adds up to r
    while the path bends smoothly. The middle is taken, r^1/2, and so is half of log r for its standard deviation.
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
        # Fixes drawn anew each time would double the way; more than that is chance.
        log_r = math.log(min(both[name] / across[name], 2.0)) if across[name] > 0 else 0.0
        found[name] = DayPath(km=length[name] / time[name] * math.exp(log_r / 2), sd=log_r / 2)
    return found


def _measure_distance_km(a: CollarFix, b: CollarFix) -> float:
    east = (b.longitude - a.longitude) * math.cos(math.radians(a.latitude))
    return 111.32 * math.hypot(east, b.latitude - a.latitude)


@dataclass(kw_only=True)
class _Rates:
    """Detections per unit of effort, kept by what they depend on."""

    survey: Survey
    species: Mapping[str, Species]
    day_path: Mapping[str, DayPath]
    kept: dict = field(default_factory=dict)

    def sensor(self, visit: Visit) -> CameraTraps | StripCounts:
        """The survey's sensor that made a visit: by the site's name, else the first of its kind, else a usual one."""
        known = self.survey.cameras if visit.kind == "camera" else self.survey.counts
        for sensor in known:
            if Path(visit.site).name.startswith(f"{sensor.name}-"):
                return sensor
        for sensor in known:
            if isinstance(sensor, CameraTraps) or visit.kind == sensor.kind:
                return sensor
        if visit.kind == "camera":
            reach = FieldOfView().range_m if math.isnan(visit.range_m) else visit.range_m
            return CameraTraps(
                name="camera",
                view=FieldOfView(range_m=reach),
                sight=replace(UNKNOWN_CAMERA, sigma_m=USUAL_SIGMA * reach),
            )
        width = 100.0 if math.isnan(visit.length_km) else 1000 * visit.effort / visit.length_km / 2
        return StripCounts(name=visit.kind, kind=visit.kind, half_width_m=width, sight=UNKNOWN_COUNT)

    def of(self, visit: Visit, sensor: CameraTraps | StripCounts, hour: float) -> np.ndarray:
        """Animals detected per unit of effort at density 1 [s]."""
        if isinstance(sensor, CameraTraps):
            view = FieldOfView(
                range_m=sensor.view.range_m if math.isnan(visit.range_m) else visit.range_m,
                angle_deg=sensor.view.angle_deg if math.isnan(visit.angle_deg) else visit.angle_deg,
                delay_s=sensor.view.delay_s,
            )
            key = (sensor.name, view)
            if key not in self.kept:
                rates = [
                    compute_camera_rate(sensor, one, view, self.day_path[one.name].km) for one in self.species.values()
                ]
                self.kept[key] = np.array(rates)
            return self.kept[key]
        key = (sensor.name, hour % 24)
        if key not in self.kept:
            self.kept[key] = np.array([compute_strip_rate(sensor, one, hour % 24) for one in self.species.values()])
        return self.kept[key]


def index_names(species: Mapping[str, Species], reported: Sequence[str]) -> dict[str, int]:
    """Position among `reported` of a name however it is written: common or scientific, in any case."""
    index = {name.casefold(): place for place, name in enumerate(reported)}
    for name, one in species.items():
        if name in reported:
            index.setdefault(one.scientific_name.casefold(), reported.index(name))
    return index


def _choose_confusion(
    survey: Survey, names: Sequence[str], species: Mapping[str, Species]
) -> tuple[Confusion, list[str]]:
    """The survey's confusion table, or what the names that cameras reported [one each] say of their classifier."""
    if survey.confusion.true:
        return survey.confusion, []
    within = find_species_within({name for name in names if name not in species and name != UNIDENTIFIED}, species)
    notes = []
    if UNIDENTIFIED in names:
        share = names.count(UNIDENTIFIED) / len(names)
        notes.append(f"no confusion table: every species is taken to stay unidentified as often as all, {share:.0%}")
    if within:
        notes.append("no confusion table: " + ", ".join(within) + " may be any of their species in the world")
    return estimate_confusion(names, list(species), within), notes


def select_target_species(taxa: Sequence[str], species: Mapping[str, Species]) -> np.ndarray:
    """Which species of the world [s] are among taxa, named by a common, a scientific or a higher name; all if none is given."""
    if not taxa:
        return np.ones(len(species), bool)
    index, inside = index_names(species, list(species)), find_species_within(taxa, species)
    wanted = {index[name.casefold()] for name in taxa if name.casefold() in index}
    wanted |= {list(species).index(one) for within in inside.values() for one in within}
    return np.isin(np.arange(len(species)), list(wanted))


def describe_no_usable_visit(rejected: Sequence[tuple[str, str]]) -> str:
    """A line for observations of which no visit can be used, with the first reason."""
    first = f"; first reason: {': '.join(rejected[0])}" if rejected else "; positions of collars alone say no numbers"
    return f"no visit with an effort can be used{first}"


def build_counts(found: Observations, survey: Survey, species: Mapping[str, Species], window_h: float) -> Counts:
    """Counts of spans of `window_h` hours from the survey's start to the last visit. ValueError without usable visit."""
    geo, names = survey.georeference, list(species)
    index = index_names(species, names)
    canonical = [
        names[place] if (place := index.get(one.name.casefold(), -1)) >= 0 else one.name for one in found.sightings
    ]
    of_camera = [
        name for name, one in zip(canonical, found.sightings, strict=True) if found.visits[one.visit].kind == "camera"
    ]
    confusion, notes = _choose_confusion(survey, of_camera, species)
    reported = confusion.list_names(names)
    index = index_names(species, reported)
    spans = {v.id: (geo.hour(v.start.isoformat()), geo.hour(v.end.isoformat())) for v in found.visits.values()}
    late = [key for key, (start, end) in spans.items() if start >= -1e-6]
    rejected = [
        (
            f"visit {v} ({found.visits[v].site})",
            f"it began before the survey's start, {geo.start}; set an earlier start",
        )
        for v in spans
        if v not in late
    ]
    if not late:
        raise ValueError(describe_no_usable_visit([*found.rejected, *rejected]))
    first_h = min(spans[key][0] for key in late)
    if first_h > LATE_H:
        notes.append(
            f"the first visit is {first_h / 24:.0f} days after the survey's start, {geo.start}: is that right?"
        )
    last_h = max(spans[key][1] for key in late)
    edges_h = window_h * np.arange(max(1, math.ceil(last_h / window_h - 1e-9)) + 1)
    paths = {
        key: path
        for name, path in estimate_daily_paths(found.fixes).items()
        if (key := index.get(name.casefold(), -1)) >= 0
    }
    by_table = {name: DayPath(km=one.day_range_km, sd=0.0) for name, one in species.items()}
    day_path = {name: paths.get(place, by_table[name]) for place, name in enumerate(species)}
    notes += [
        f"path of a day of {names[place]} from collars: {path.km:.2f} km (its logarithm ± {path.sd:.2f})"
        for place, path in paths.items()
        if place < len(names)
    ]
    rates, strange = _Rates(survey=survey, species=species, day_path=day_path), []
    wanted_of = {taxa: select_target_species(taxa, species) for taxa in {found.visits[key].looked_for for key in late}}
    y_vr: dict[tuple[int, str], np.ndarray] = defaultdict(lambda: np.zeros(len(reported)))
    for name, one in zip(canonical, found.sightings, strict=True):
        place = index.get(name.casefold(), -1)
        if one.visit not in late or place < 0:
            why = (
                "its visit cannot be used"
                if place >= 0
                else f"{name!r} is neither in the world nor in the confusion table"
            )
            rejected.append((f"sighting at {one.time.isoformat()}", why))
            strange += [name] if place < 0 else []
            continue
        taxa = found.visits[one.visit].looked_for
        if place < len(names) and not wanted_of[taxa][place]:
            rejected.append((f"sighting at {one.time.isoformat()}", f"{name!r} is not among what its visit looked for"))
            continue
        window = min(max(int(geo.hour(one.time.isoformat()) / window_h), 0), len(edges_h) - 2)
        y_vr[window, one.visit][place] += one.count
    if not any(wanted.any() for wanted in wanted_of.values()):
        raise ValueError("no visit looked for an animal of this world; give observations of its species")
    if strange and not y_vr and () in wanted_of:
        raise ValueError(
            f"not one of the {len(strange)} animals reported lives in this world (first: {strange[0]!r}); give observations "
            "of its own, or say with --looked-for which of its species would have been reported"
        )
    seen_s = np.sum([y for y in y_vr.values()] or [np.zeros(len(reported))], axis=0)[: len(names)]
    if () in wanted_of and (n_never := int((seen_s == 0).sum())):
        notes.append(
            f"{n_never} of the world's {len(names)} animals were never reported; they count as looked for and not there, unless "
            "--looked-for leaves them out"
        )
    return _assemble(found, rates, wanted_of, confusion, reported, spans, late, edges_h, y_vr, rejected, notes)


def _assemble(found, rates, wanted_of, confusion, reported, spans, late, edges_h, y_vr, rejected, notes) -> Counts:
    """Visits and counts by span and group."""
    plain_sr, mixed_sr = CERTAIN.build_matrix(list(rates.species)), confusion.build_matrix(list(rates.species))
    cells: dict[str, dict[int, list]] = defaultdict(lambda: defaultdict(list))
    for key in late:
        visit, (start, end) = found.visits[key], spans[key]
        sensor = rates.sensor(visit)
        rate_s = rates.of(visit, sensor, start) * wanted_of[visit.looked_for]
        for window in range(len(edges_h) - 1):
            low, high = edges_h[window], edges_h[window + 1]
            inside = min(end, high) - max(start, low)
            if visit.kind == "camera":
                share = inside / (end - start) if end > start else float(low <= start < high)
            else:
                share = float(low <= start < high or (start == high and window == len(edges_h) - 2))
            if share > 0 and rate_s.any():
                cells[sensor.name][window].append((visit.effort * share * rate_s, y_vr[window, key], visit.kind))
    windows: list[list[Count]] = [[] for _ in edges_h[1:]]
    for group, by_window in cells.items():
        clumping_r = _estimate_clumping(by_window, len(reported))
        for window, visits in by_window.items():
            effort_vs = np.array([e for e, _, _ in visits])
            y_r = np.sum([y for _, y, _ in visits], axis=0)
            of_camera = visits[0][2] == "camera"
            if of_camera:
                share_sr = mixed_sr
            else:
                share_sr = np.zeros_like(mixed_sr)
                share_sr[:, : plain_sr.shape[1]] = plain_sr
            total_v = effort_vs.sum(1)
            n_sites = total_v.sum() ** 2 / max((total_v**2).sum(), 1e-300)
            path_s = np.array([rates.day_path[name].sd ** 2 if of_camera else 0.0 for name in rates.species])
            for r, name in enumerate(reported):
                per_density_s = effort_vs.sum(0) * share_sr[:, r]
                if per_density_s.any():
                    windows[window].append(
                        Count(
                            group=group,
                            name=name,
                            y=int(y_r[r]),
                            per_density_s=per_density_s,
                            k=float(n_sites / clumping_r[r]),
                            stays_s=clumping_r[r] / n_sites + path_s,
                        )
                    )
                elif y_r[r]:
                    rejected.append((f"{int(y_r[r])} of {name!r} by {group}", "no animal of the world is reported so"))
    return Counts(
        edges_h=edges_h,
        windows=tuple(map(tuple, windows)),
        groups=tuple(cells),
        rejected=tuple(rejected),
        notes=tuple(notes),
    )


def _estimate_clumping(by_window: Mapping[int, list], n_names: int) -> np.ndarray:
    """1 / k of one site [r], from how counts of sites differ within spans; drawn towards `PRIOR_CLUMPING`."""
    excess_r = np.full(n_names, PRIOR_CLUMPING * PRIOR_WEIGHT)
    squared_r = np.full(n_names, PRIOR_WEIGHT)
    for visits in by_window.values():
        if len(visits) < 2:
            continue
        effort_v = np.array([e.sum() for e, _, _ in visits])
        y_vr = np.array([y for _, y, _ in visits])
        mean_vr = effort_v[:, None] / effort_v.sum() * y_vr.sum(0)
        n = len(visits)
        excess_r += ((y_vr - mean_vr) ** 2 * n / (n - 1) - mean_vr).sum(0)
        squared_r += (mean_vr**2).sum(0)
    return np.clip(excess_r / squared_r, 0.01, 50)
