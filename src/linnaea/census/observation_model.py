"""The observation model: from visits and sightings to counts, and to the densities that make such counts likely.

In a window of time, the sensors of one group (one set of cameras, one set of lines) reported y_r animals under the
name r. The expected number is

    mu_r = Σ_s D_s f_gs Σ_v e_v h_vs C_sr

with the density D_s (animals per km²), the effort e_v of each visit, the animals h_vs that a unit of effort detects at
density 1 (the width of a camera's view times the path of a day; the share of a strip's animals that is available and
noticed), the classifier's confusion C_sr, and a factor f_gs around 1 for what is not known of h. Counts scatter around
it as a negative binomial, because animals clump: variance mu + mu² / k, with k estimated from the differences among
sites.

Shape suffixes: s species, r reported names, v visits, w windows of time, g groups.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from linnaea.census.animals import AnimalTraits, find_species_within, index_names, select_target_species
from linnaea.census.confusion import CERTAIN, UNIDENTIFIED, Confusion, estimate_confusion
from linnaea.census.detection_rates import DayPath, DetectionRates, estimate_daily_paths
from linnaea.census.georeference import Georeference
from linnaea.census.observations import Observations, Sighting, Visit
from linnaea.census.survey_file import Survey

PRIOR_CLUMPING, PRIOR_WEIGHT = 1.0, 10.0
"""1 / k before the sites are compared, and its weight in squared expected counts"""
LATE_H = 366 * 24.0
"""a survey that starts earlier than this before its first visit may have a wrong start"""


@dataclass(frozen=True, kw_only=True)
class Count:
    """What one group of sensors reported under one name in one window of time."""

    group: str
    "name of the group of sensors"
    name: str
    "reported name"
    y: int
    "animals"
    per_density_s: np.ndarray
    "expected animals for each animal per km² of every species [s]"
    k: float
    "size of the negative binomial"
    stays_s: np.ndarray | float = 0.0
    "relative variance that all windows share: of where the sensors stand, and of the length of a day's path [s]"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of all windows, in order, and what was left out."""

    edges_h: np.ndarray
    "hours of the clock between the windows [w + 1]"
    windows: tuple[tuple[Count, ...], ...]
    "counts of each window"
    groups: tuple[str, ...]
    "names of the groups of sensors"
    rejected: tuple[tuple[str, str], ...] = ()
    "sightings that cannot be used, and why"
    notes: tuple[str, ...] = field(default=())
    "assumptions that were made"


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What the counts of all windows share."""

    found: Observations
    species: Mapping[str, AnimalTraits]
    confusion: Confusion
    hours: Mapping[str, tuple[float, float]]
    "first and last hour of each visit that can be used"
    edges_h: np.ndarray
    targets: Mapping[tuple[str, ...], np.ndarray]
    "species [s] that a visit with these target taxa would have reported"

    @property
    def reported(self) -> tuple[str, ...]:
        """Names that may be reported [r]."""
        return self.confusion.list_names(list(self.species))

    def list_targets(self, visit_id: str) -> np.ndarray:
        """Return the species [s] that a visit would have reported."""
        return self.targets[self.found.visits[visit_id].target_taxa]


class _VisitShare(NamedTuple):
    """The part of a visit that lies in one window."""

    effort_s: np.ndarray
    "detections at density 1 [s]"
    y_r: np.ndarray
    "animals by reported name [r]"
    kind: str
    "kind of the visit"


def describe_no_usable_visit(rejected: Sequence[tuple[str, str]]) -> str:
    """Return an error message for observations without a usable visit, with the first reason."""
    first = (
        f"; first reason: {': '.join(rejected[0])}"
        if rejected
        else "; positions of collars alone do not give numbers of animals"
    )
    return f"no visit with an effort can be used{first}"


def build_counts(found: Observations, survey: Survey, species: Mapping[str, AnimalTraits], window_h: float) -> Counts:
    """Build the counts of windows of `window_h` hours, from the survey's start to the last visit.

    Raise ValueError if no visit can be used.
    """
    geo = survey.georeference
    names = _translate_names(found.sightings, species)
    confusion, notes = _choose_confusion(survey, _select_camera_names(found, names), species)
    hours, rejected = _select_visits(found, geo)
    if not hours:
        raise ValueError(describe_no_usable_visit([*found.rejected, *rejected]))
    notes += _check_first_visit(hours, geo)
    last_h = max(end for _, end in hours.values())
    frame = _Frame(
        found=found,
        species=species,
        confusion=confusion,
        hours=hours,
        edges_h=window_h * np.arange(max(1, math.ceil(last_h / window_h - 1e-9)) + 1),
        targets={
            taxa: select_target_species(taxa, species) for taxa in {found.visits[key].target_taxa for key in hours}
        },
    )
    day_path, path_notes = _choose_day_paths(frame)
    notes += path_notes
    y_vr, stray = _tally_sightings(frame, names, geo, window_h, rejected)
    notes += _check_targets(frame, y_vr, stray)
    shares = _split_visits(frame, DetectionRates(survey=survey, species=species, day_path=day_path), y_vr)
    windows = _count_by_window(frame, shares, day_path, rejected)
    return Counts(
        edges_h=frame.edges_h, windows=windows, groups=tuple(shares), rejected=tuple(rejected), notes=tuple(notes)
    )


def _translate_names(sightings: Sequence[Sighting], species: Mapping[str, AnimalTraits]) -> list[str]:
    """Return the name of each sighting: the short name of a known species, otherwise the name as reported."""
    short = list(species)
    index = index_names(species, short)
    return [short[place] if (place := index.get(one.name.casefold(), -1)) >= 0 else one.name for one in sightings]


def _select_camera_names(found: Observations, names: Sequence[str]) -> list[str]:
    """Return the names of the sightings by cameras."""
    pairs = zip(names, found.sightings, strict=True)
    return [name for name, one in pairs if found.visits[one.visit].kind == "camera"]


def _choose_confusion(
    survey: Survey, names: Sequence[str], species: Mapping[str, AnimalTraits]
) -> tuple[Confusion, list[str]]:
    """Return the survey's confusion table, or an estimate from the names that cameras reported, and notes on it."""
    if survey.confusion.true:
        return survey.confusion, []
    within = find_species_within({name for name in names if name not in species and name != UNIDENTIFIED}, species)
    notes = []
    if UNIDENTIFIED in names:
        share = names.count(UNIDENTIFIED) / len(names)
        notes.append(f"no confusion table: every species is assumed to stay unidentified as often as all, {share:.0%}")
    if within:
        notes.append("no confusion table: " + ", ".join(within) + " may be any of their species in the world")
    return estimate_confusion(names, list(species), within), notes


def _select_visits(
    found: Observations, geo: Georeference
) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """Return the first and last hour of each visit after the survey's start, and the reasons to reject the others."""
    hours, rejected = {}, []
    for key, visit in found.visits.items():
        start_h = geo.parse_hour(visit.start.isoformat())
        if start_h >= -1e-6:
            hours[key] = start_h, geo.parse_hour(visit.end.isoformat())
        else:
            reason = f"it began before the survey's start, {geo.start}; set an earlier start"
            rejected.append((f"visit {key} ({visit.site})", reason))
    return hours, rejected


def _check_first_visit(hours: Mapping[str, tuple[float, float]], geo: Georeference) -> list[str]:
    """Return a note if the first visit is long after the survey's start."""
    first_h = min(start for start, _ in hours.values())
    if first_h <= LATE_H:
        return []
    return [f"the first visit is {first_h / 24:.0f} days after the survey's start, {geo.start}: is that right?"]


def _choose_day_paths(frame: _Frame) -> tuple[dict[str, DayPath], list[str]]:
    """Return the path of a day of each species, from collars or else from the species table, and notes on it."""
    index, names = index_names(frame.species, frame.reported), list(frame.species)
    paths = {
        key: path
        for name, path in estimate_daily_paths(frame.found.fixes).items()
        if (key := index.get(name.casefold(), -1)) >= 0
    }
    by_table = {name: DayPath(km=one.day_range_km, sd=0.0) for name, one in frame.species.items()}
    notes = [
        f"path of a day of {names[place]} from collars: {path.km:.2f} km (its logarithm ± {path.sd:.2f})"
        for place, path in paths.items()
        if place < len(names)
    ]
    return {name: paths.get(place, by_table[name]) for place, name in enumerate(names)}, notes


def _tally_sightings(
    frame: _Frame, names: Sequence[str], geo: Georeference, window_h: float, rejected: list[tuple[str, str]]
) -> tuple[dict[tuple[int, str], np.ndarray], list[str]]:
    """Return the animals by window, visit and reported name [r], and the names that are not known here.

    Adds the sightings that cannot be used to `rejected`.
    """
    reported, stray = frame.reported, []
    index = index_names(frame.species, reported)
    y_vr: dict[tuple[int, str], np.ndarray] = defaultdict(lambda: np.zeros(len(reported)))
    for name, one in zip(names, frame.found.sightings, strict=True):
        place = index.get(name.casefold(), -1)
        if place < 0:
            stray.append(name)
            reason = f"{name!r} is neither in the world nor in the confusion table"
        elif one.visit not in frame.hours:
            reason = "its visit cannot be used"
        elif place < len(frame.species) and not frame.list_targets(one.visit)[place]:
            reason = f"{name!r} is not among the target taxa of its visit"
        else:
            window = min(max(int(geo.parse_hour(one.time.isoformat()) / window_h), 0), len(frame.edges_h) - 2)
            y_vr[window, one.visit][place] += one.count
            continue
        rejected.append((f"sighting at {one.time.isoformat()}", reason))
    return y_vr, stray


def _check_targets(frame: _Frame, y_vr: Mapping[tuple[int, str], np.ndarray], stray: Sequence[str]) -> list[str]:
    """Return a note on species that were never reported. Raise ValueError if the observations are of other animals."""
    if not any(wanted.any() for wanted in frame.targets.values()):
        raise ValueError("no visit looked for an animal of this world; give observations of its species")
    if () not in frame.targets:
        return []
    if stray and not y_vr:
        raise ValueError(
            f"none of the {len(stray)} reported animals lives in this world (first: {stray[0]!r}); give observations "
            "of its own species, or give with --looked-for those of its species that would have been reported"
        )
    seen_s = np.sum([y for y in y_vr.values()] or [np.zeros(len(frame.reported))], axis=0)[: len(frame.species)]
    if not (n_never := int((seen_s == 0).sum())):
        return []
    note = (
        f"{n_never} of the world's {len(frame.species)} animals were never reported; the model assumes that observers "
        "looked for them and did not find them, unless --looked-for leaves them out"
    )
    return [note]


def _split_visits(
    frame: _Frame, rates: DetectionRates, y_vr: Mapping[tuple[int, str], np.ndarray]
) -> dict[str, dict[int, list[_VisitShare]]]:
    """Return the parts of all visits by group of sensors and window."""
    shares: dict[str, dict[int, list[_VisitShare]]] = defaultdict(lambda: defaultdict(list))
    empty_r = np.zeros(len(frame.reported))
    for key, (start_h, end_h) in frame.hours.items():
        visit = frame.found.visits[key]
        sensor = rates.find_sensor(visit)
        rate_s = rates.compute(visit, sensor, start_h) * frame.list_targets(key)
        if not rate_s.any():
            continue
        for window in range(len(frame.edges_h) - 1):
            share = _compute_window_share(visit, start_h, end_h, frame.edges_h, window)
            if share > 0:
                part = _VisitShare(visit.effort * share * rate_s, y_vr.get((window, key), empty_r), visit.kind)
                shares[sensor.name][window].append(part)
    return shares


def _compute_window_share(visit: Visit, start_h: float, end_h: float, edges_h: np.ndarray, window: int) -> float:
    """Return the share 0..1 of a visit that lies in a window: of a camera its time, of a count all or nothing."""
    low, high = edges_h[window], edges_h[window + 1]
    if visit.kind == "camera":
        inside = min(end_h, high) - max(start_h, low)
        return inside / (end_h - start_h) if end_h > start_h else float(low <= start_h < high)
    return float(low <= start_h < high or (start_h == high and window == len(edges_h) - 2))


def _count_by_window(
    frame: _Frame,
    shares: Mapping[str, Mapping[int, list[_VisitShare]]],
    day_path: Mapping[str, DayPath],
    rejected: list[tuple[str, str]],
) -> tuple[tuple[Count, ...], ...]:
    """Return the counts of each window; names that no animal of the world is reported under go to `rejected`."""
    plain_sr, mixed_sr = CERTAIN.build_matrix(list(frame.species)), frame.confusion.build_matrix(list(frame.species))
    # Only cameras have a classifier; observers of counts are assumed to make no errors.
    certain_sr = np.zeros_like(mixed_sr)
    certain_sr[:, : plain_sr.shape[1]] = plain_sr
    windows: list[list[Count]] = [[] for _ in frame.edges_h[1:]]
    for group, by_window in shares.items():
        clumping_r = _estimate_clumping(by_window, len(frame.reported))
        for window, parts in by_window.items():
            of_camera = parts[0].kind == "camera"
            path_s = np.array([day_path[name].sd ** 2 if of_camera else 0.0 for name in frame.species])
            counts = _count_names(frame, group, parts, mixed_sr if of_camera else certain_sr, clumping_r, path_s)
            for count in counts:
                if count.per_density_s.any():
                    windows[window].append(count)
                elif count.y:
                    rejected.append(
                        (f"{count.y} of {count.name!r} by {group}", "these sensors detect no animal of this name")
                    )
    return tuple(map(tuple, windows))


def _count_names(
    frame: _Frame,
    group: str,
    parts: Sequence[_VisitShare],
    share_sr: np.ndarray,
    clumping_r: np.ndarray,
    path_s: np.ndarray,
) -> list[Count]:
    """Return the counts of one group in one window, one for each reported name."""
    effort_vs = np.array([part.effort_s for part in parts])
    y_r = np.sum([part.y_r for part in parts], axis=0)
    total_v = effort_vs.sum(1)
    n_sites = total_v.sum() ** 2 / max((total_v**2).sum(), 1e-300)
    return [
        Count(
            group=group,
            name=name,
            y=int(y_r[r]),
            per_density_s=effort_vs.sum(0) * share_sr[:, r],
            k=float(n_sites / clumping_r[r]),
            stays_s=clumping_r[r] / n_sites + path_s,
        )
        for r, name in enumerate(frame.reported)
    ]


def _estimate_clumping(by_window: Mapping[int, Sequence[_VisitShare]], n_names: int) -> np.ndarray:
    """Return 1 / k of one site [r] from the differences among sites within windows, shrunk towards `PRIOR_CLUMPING`."""
    excess_r = np.full(n_names, PRIOR_CLUMPING * PRIOR_WEIGHT)
    squared_r = np.full(n_names, PRIOR_WEIGHT)
    for parts in by_window.values():
        if len(parts) < 2:
            continue
        effort_v = np.array([effort_s.sum() for effort_s, _, _ in parts])
        y_vr = np.array([y_r for _, y_r, _ in parts])
        mean_vr = effort_v[:, None] / effort_v.sum() * y_vr.sum(0)
        n = len(parts)
        excess_r += ((y_vr - mean_vr) ** 2 * n / (n - 1) - mean_vr).sum(0)
        squared_r += (mean_vr**2).sum(0)
    return np.clip(excess_r / squared_r, 0.01, 50)
