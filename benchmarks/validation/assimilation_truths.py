"""Make truths for the twin experiments of `assimilation.py` and counts of them, and score the intervals.

Shape suffixes: s species, w months, m members, r reported names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linnaea.census.confusion import UNIDENTIFIED, Confusion
from linnaea.census.detection import DetectionFunction
from linnaea.census.georeference import Georeference
from linnaea.census.observation_model import Count, build_counts
from linnaea.census.readers.dispatch import read_observations
from linnaea.census.sensor_designs import CameraTrapDesign, CollarDesign, StripCountDesign
from linnaea.census.survey_file import Survey
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.foodweb import load_bundled_web
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.data.world_data import select_animals
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.step import advance
from linnaea.twin.field.sensors import attach_survey
from linnaea.twin.field.survey_tables import DatasetMetadata, write_survey
from linnaea.twin.inference.ensemble_filter import AssimilationResult, FilterConfig, assimilate
from linnaea.twin.inference.ensemble_members import NOISE_LEVELS, DiscreteModelMembers, Spread
from linnaea.twin.inference.forecast_scores import coverage, crps

MONTH_H = 730.5
WRONG = 0.7
SPREAD, FILTER = Spread(), FilterConfig()
COUNTED, A_THIRD, NEVER_COUNTED = (
    "as drawn",
    "a third of the species counted: they",
    "the two thirds that nobody counted",
)
TABLES = "as in the tables"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One experiment of one seed: means over species and months."""

    crps: float
    "CRPS of densities divided by the usual ones"
    crps_log: float
    "CRPS of the logarithms of densities"
    free: float
    "CRPS of the free run's densities"
    free_log: float
    "CRPS of the logarithms of the free run's densities"
    held: float
    "share of the truth within the 90 % intervals"
    held_ahead: float
    "the same for forecasts a month ahead"
    held_free: float
    "the same for the free run"
    surprise: float
    "mean squared standardised difference of counts and forecasts"
    noise: float
    "mean multiple of the configured noise after the last counts"


def score(
    done: AssimilationResult,
    free: AssimilationResult,
    truth_sw: np.ndarray,
    usual_s: np.ndarray,
    which: np.ndarray | slice = slice(None),
) -> Score:
    """Score the ensemble and the free run against the truth [s, w], over the species `which`."""
    rows, truth_sw, usual_s = [], truth_sw[which], usual_s[which]
    for run in (done.after_wsm, done.before_wsm, free.after_wsm):
        members = np.maximum(run[: truth_sw.shape[1]].transpose(1, 2, 0)[which], 1e-9)
        # A true number of 0 must not weigh infinitely.
        floor_s = usual_s * 1e-3
        rows.append(
            [
                np.mean([crps(m, t).mean() / u for m, t, u in zip(members, truth_sw, usual_s, strict=True)]),
                np.mean(
                    [
                        crps(np.log(np.maximum(m, f)), np.log(np.maximum(t, f))).mean()
                        for m, t, f in zip(members, truth_sw, floor_s, strict=True)
                    ]
                ),
                np.mean([coverage(m, t) for m, t in zip(members, truth_sw, strict=True)]),
            ]
        )
    (crps_, log_, held), (_, _, ahead), (free_, free_log, held_free) = rows
    return Score(
        crps=crps_,
        crps_log=log_,
        free=free_,
        free_log=free_log,
        held=held,
        held_ahead=ahead,
        held_free=held_free,
        surprise=float(np.nanmean(done.surprise_w)),
        noise=float(done.weight_wl[-1] @ done.levels),
    )


def drawn_counts(
    truth: DiscreteModelMembers, usual_s: np.ndarray, months: int, counted_s: np.ndarray, rng
) -> tuple[list, np.ndarray]:
    """Return the counts of each month of the counted species, and the true densities [s, w] of all species."""
    n = len(truth.animals)
    effort_s = rng.uniform(5, 100, n) / usual_s * counted_s
    k_s = rng.uniform(2, 30, n)
    detected_s = np.exp(FILTER.detection * rng.standard_normal(n))
    mixed_sr = 0.8 * np.eye(n, n + 1) + np.concatenate([np.full((n, n), 0.1 / n), np.full((n, 1), 0.1)], axis=1)
    windows, there = [], []
    for _ in range(months):
        density_s = truth.advance(MONTH_H)[:, 0]
        there.append(truth.get_density()[:, 0])
        span = []
        for r, name in enumerate((*truth.animals, UNIDENTIFIED)):
            expected_s = effort_s * mixed_sr[:, r]
            k = float(k_s[min(r, n - 1)])
            mean = float(expected_s @ (density_s * detected_s))
            y = int(rng.poisson(mean * rng.gamma(k, 1 / k)))
            span.append(Count(group="sensors", name=name, y=y, per_density_s=expected_s, k=k))
        windows.append(tuple(span))
    return windows, np.array(there).T


def told_and_free(
    members, windows, edges_h: np.ndarray, groups, web, seed: int, offset: Mapping[str, float | None]
) -> tuple[AssimilationResult, AssimilationResult]:
    """Return the ensemble that gets the counts, and one that gets none; `members(levels)` makes them.

    `offset` moves a parameter of every member; None sets it to the tables' value in all members. The free run has only
    the configured noise, because only counts could choose among levels of noise.
    """
    runs = []
    for told, levels in ((windows, NOISE_LEVELS), ([()] * len(windows), (1.0,))):
        ensemble = members(levels)
        for name, value in offset.items():
            row = ensemble.parameters.index(name)
            ensemble.factor_pm[row] = 0 if value is None else ensemble.factor_pm[row] + value
        runs.append(assimilate(ensemble, told, edges_h, groups, web, FILTER, seed))
    return runs[0], runs[1]


def map_experiment(
    seed: int, months: int, size: int, world: str, wrong: str = "", known: bool = False, share: float = 1.0
) -> dict[str, Score]:
    """Do one truth of the map; `wrong` is the parameter that is wrong in the tables.

    `known` fixes the tables' value of that parameter in all members. Only a `share` of the species is counted; those
    that are never counted are scored as well.
    """
    web = load_bundled_web(world, load_bundled_species())
    truth = DiscreteModelMembers(web, 1, SPREAD, seed=10_000 + seed)
    if wrong:
        truth.factor_pm[truth.parameters.index(wrong)] = WRONG
    usual_s = np.array([web.species[name].density_per_km2 for name in truth.animals])
    rng = np.random.default_rng(seed)
    counted_s = rng.permutation(len(usual_s)) < max(1, round(share * len(usual_s)))
    windows, truth_sw = drawn_counts(truth, usual_s, months, counted_s, rng)

    def members(levels) -> DiscreteModelMembers:
        return DiscreteModelMembers(web, size, SPREAD, seed=seed, levels=levels)

    edges_h = MONTH_H * np.arange(months + 1)
    runs = told_and_free(members, windows, edges_h, ("sensors",), web, seed, {wrong: None} if known else {})
    if share < 1:
        return {
            A_THIRD: score(*runs, truth_sw, usual_s, counted_s),
            NEVER_COUNTED: score(*runs, truth_sw, usual_s, ~counted_s),
        }
    what = f"{wrong} doubled" + (", and held for known" if known else "") if wrong else COUNTED
    return {what: score(*runs, truth_sw, usual_s)}


def field_survey(world) -> Survey:
    """Place twenty cameras, four flight lines every second month and three collars."""
    x, y = (np.arange(1, 6) / 6 * world.space.width_m, np.arange(1, 5) / 5 * world.space.height_m)
    mixed = Confusion(
        true=("rabbit", "red fox"),
        reported=("rabbit", "red fox", "hare", UNIDENTIFIED),
        share=((0.85, 0.01, 0.06, 0.08), (0.02, 0.88, 0.0, 0.1)),
    )
    lines = tuple((float(a), 0.0, float(a), world.space.height_m) for a in x[:4])
    return Survey(
        georeference=Georeference(latitude=51.0, longitude=0.2, start="2024-01-01T00:00:00+00:00"),
        cameras=(
            CameraTrapDesign(
                places_m=tuple((float(a), float(b)) for a in x for b in y),
                detection=DetectionFunction(sigma_m=8, by_night=0.8),
                confusion=mixed,
            ),
        ),
        counts=(
            StripCountDesign(name="flight", kind="aerial", lines_m=lines, half_width_m=60, available=0.7, every_h=1461),
        ),
        collars=(CollarDesign(species="red fox", count=3, fix_h=2),),
        confusion=mixed,
    )


def misjudged(survey: Survey, factor: float) -> Survey:
    """Return the survey with the detection of all its sensors misjudged by a factor."""
    camera, flight = survey.cameras[0], survey.counts[0]
    detection = replace(camera.detection, sigma_m=factor * camera.detection.sigma_m)
    flight = replace(flight, available=min(factor * flight.available, 1.0))
    return replace(survey, cameras=(replace(camera, detection=detection),), counts=(flight,))


def told_roughly(windows: Sequence[Sequence[Count]], seed: int) -> list[tuple[Count, ...]]:
    """Return the counts with errors in each sensor's detection of each species.

    The errors are factors drawn from the filter's prior.
    """
    rng, wrong = np.random.default_rng(seed), {}
    for group in sorted({one.group for counts in windows for one in counts}):
        wrong[group] = np.exp(FILTER.detection * rng.standard_normal(len(windows[0][0].per_density_s)))
    return [
        tuple(replace(one, per_density_s=one.per_density_s * wrong[one.group]) for one in counts) for counts in windows
    ]


def watched_animals(seed: int, months: int, n_animals: int, folder: Path) -> tuple[Survey, np.ndarray, float]:
    """Let a world of single animals live and write its sensors' tables; return survey, true densities [s, w], km²."""
    data = load_world("tutorial")
    world = build_world(data, seed=seed, n_animals=n_animals)
    survey = field_survey(world)
    attach_survey(world, survey)
    area_km2 = world.space.width_m * world.space.height_m / 1e6
    there = []
    for month in range(months):
        advance(world, round((month + 1) * MONTH_H / world.dt_h) - world.step)
        there.append(world.counts() / area_km2)
    names = {name: data.web.species[name].scientific_name for name in world.species}
    write_survey(world, survey, folder, DatasetMetadata(scientific=names, georeference=survey.georeference))
    return survey, np.array(there).T, area_km2


def judge_animals(survey: Survey, truth_sw, area_km2: float, folder: Path, seed: int, size: int) -> dict[str, Score]:
    """Filter the tables: as they are, with the foxes' loss wrong, and with both sensors misjudged alike.

    Nobody knows exactly how well sensors see: in the first two cases the detection of each has a random error.
    """
    data = load_world("tutorial")
    species = select_animals(data)
    usual_s = np.array([one.density_per_km2 for one in species.values()])
    months, observations = truth_sw.shape[1], read_observations(folder)
    edges_h = MONTH_H * np.arange(months + 1)
    plain, badly = (build_counts(observations, told, species, MONTH_H) for told in (survey, misjudged(survey, 1.3)))
    roughly = told_roughly(plain.windows[:months], seed)
    cases = (
        (TABLES, 0.0, roughly),
        ("loss of red fox halved", -WRONG, roughly),
        ("sensors said to see 1.3 times as well", 0.0, badly.windows[:months]),
    )

    def members(levels) -> DiscreteModelMembers:
        return DiscreteModelMembers(data.web, size, SPREAD, seed=seed, area_km2=area_km2, levels=levels)

    found = {}
    for what, offset, windows in cases:
        fox = {"loss of red fox": offset}
        runs = told_and_free(members, windows, edges_h, plain.groups, data.web, seed, fox)
        found[what] = score(*runs, truth_sw, usual_s)
    return found


def animal_experiment(seed: int, months: int, size: int, n_animals: int) -> dict[str, Score]:
    """Do one world of single animals: observe and score it."""
    with tempfile.TemporaryDirectory() as folder:
        survey, truth_sw, area_km2 = watched_animals(seed, months, n_animals, Path(folder))
        return judge_animals(survey, truth_sw, area_km2, Path(folder), seed, size)
