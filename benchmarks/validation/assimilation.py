"""Twin experiments: a known world is counted with all errors of the field; what does assimilation make of the counts?

    python benchmarks/validation/assimilation.py

A true run is drawn, its animals are counted by imperfect sensors, the ensemble is given the counts and nothing else,
and its intervals are compared with the truth; the same ensemble without counts is the free run. Three kinds of truth:

- *map*: a run of the food web's map with a start, parameters and noise of its own, drawn as the members' are; counts are
  drawn with unknown detection, confusion among species, unidentified animals and clumping;
- *map, one parameter wrong*: in the truth one species loses twice as much as in the tables (e^0.7, 3.5 standard deviations
  of the prior), once where the filter may learn it and once where all members hold the tables' value for known;
- *animals*: the world of single animals of `linnaea twin observe`, with camera traps, flights and collars in it, whose
  tables are written and read again. The map knows neither seasons nor places nor single animals: everything is a little
  wrong.

Exits with 1 where a measure is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]

from hardware import describe_hardware, n_cores, show_command, write_result
from linnaea.twin.assimilation import FilterConfig, assimilate
from linnaea.twin.confusion import UNIDENTIFIED, Confusion
from linnaea.twin.detection import Sight
from linnaea.twin.foodweb import bundled_web
from linnaea.twin.georeference import Georeference
from linnaea.twin.loop import advance
from linnaea.twin.members import MapMembers, Spread
from linnaea.twin.observation_model import Count, gather
from linnaea.twin.observations import read_observations
from linnaea.twin.scores import coverage, crps
from linnaea.twin.sensors import CameraTraps, Collars, StripCounts
from linnaea.twin.species import bundled_species
from linnaea.twin.survey import Survey, attach_survey
from linnaea.twin.survey_tables import Published, write_survey
from linnaea.twin.world import build_world
from linnaea.twin.world_data import animal_species, load_world

MONTH_H = 730.5
WRONG = 0.7
LEAST, MOST, GAIN = 0.80, 0.97, 0.30
SPREAD, FILTER = Spread(), FilterConfig()


@dataclass(frozen=True, kw_only=True)
class Score:
    """One experiment of one seed: means over species and months."""

    crps: float
    "of densities divided by the usual ones"
    crps_log: float
    "of the logarithms of densities"
    free: float
    "of the free run"
    free_log: float
    "the same of logarithms"
    held: float
    "share of the truth within the 90 % intervals"
    held_ahead: float
    "the same of the forecasts, a month ahead"
    held_free: float
    "the same of the free run"
    surprise: float
    "mean squared standardised difference of counts and forecasts"


def score(done, free, truth_sw: np.ndarray, usual_s: np.ndarray, which: np.ndarray | slice = slice(None)) -> Score:
    """The ensemble and the free run against the truth [s, w], over the species `which`."""
    rows, truth_sw, usual_s = [], truth_sw[which], usual_s[which]
    for run in (done.after_wsm, done.before_wsm, free.after_wsm):
        members = np.maximum(run[: truth_sw.shape[1]].transpose(1, 2, 0)[which], 1e-9)
        # A true number of none is not to weigh infinitely.
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
    )


def drawn_counts(
    truth: MapMembers, usual_s: np.ndarray, months: int, counted_s: np.ndarray, rng
) -> tuple[list, np.ndarray]:
    """Counts of each month of the species that are counted at all, and the true densities [s, w] of all."""
    n = len(truth.animals)
    effort_s = rng.uniform(5, 100, n) / usual_s * counted_s
    k_s = rng.uniform(2, 30, n)
    detected_s = np.exp(FILTER.detection * rng.standard_normal(n))
    mixed_sr = 0.8 * np.eye(n, n + 1) + np.concatenate([np.full((n, n), 0.1 / n), np.full((n, 1), 0.1)], axis=1)
    windows, there = [], []
    for _ in range(months):
        density_s = truth.advance(MONTH_H)[:, 0]
        there.append(truth.density()[:, 0])
        span = []
        for r, name in enumerate((*truth.animals, UNIDENTIFIED)):
            expected_s = effort_s * mixed_sr[:, r]
            k = float(k_s[min(r, n - 1)])
            mean = float(expected_s @ (density_s * detected_s))
            y = int(rng.poisson(mean * rng.gamma(k, 1 / k)))
            span.append(Count(group="sensors", name=name, y=y, per_density_s=expected_s, k=k))
        windows.append(tuple(span))
    return windows, np.array(there).T


def map_experiment(
    world: str,
    seed: int,
    months: int,
    size: int,
    wrong: str = "",
    known: bool = False,
    share: float = 1.0,
    others: bool = False,
) -> Score:
    """One truth of the map; `wrong` is the parameter that the tables have wrong, `known` whether no member doubts it.

    A `share` of the species is counted at all; the score is theirs, or with `others` that of those never counted.
    """
    web = bundled_web(world, bundled_species())
    truth = MapMembers(web, 1, SPREAD, seed=10_000 + seed)
    if wrong:
        truth.factor_pm[truth.parameters.index(wrong)] = WRONG
    usual_s = np.array([web.species[name].density_per_km2 for name in truth.animals])
    rng = np.random.default_rng(seed)
    counted_s = rng.permutation(len(usual_s)) < max(1, round(share * len(usual_s)))
    windows, truth_sw = drawn_counts(truth, usual_s, months, counted_s, rng)
    runs = []
    for told in (windows, [()] * months):
        members = MapMembers(web, size, SPREAD, seed=seed)
        if known:
            members.factor_pm[members.parameters.index(wrong)] = 0
        runs.append(assimilate(members, told, MONTH_H * np.arange(months + 1), ("sensors",), web, FILTER, seed))
    return score(*runs, truth_sw, usual_s, ~counted_s if others else counted_s)


def field_survey(world) -> Survey:
    """Twenty cameras, four flight lines every second month, three collars."""
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
            CameraTraps(
                places_m=tuple((float(a), float(b)) for a in x for b in y),
                sight=Sight(sigma_m=8, by_night=0.8),
                confusion=mixed,
            ),
        ),
        counts=(
            StripCounts(name="flight", kind="aerial", lines_m=lines, half_width_m=60, available=0.7, every_h=1461),
        ),
        collars=(Collars(species="red fox", count=3, fix_h=2),),
        confusion=mixed,
    )


def misjudged(survey: Survey, camera_factor: float, flight_factor: float) -> Survey:
    """The survey as somebody tells it who takes the sensors' sight for so many times what it is."""
    camera, flight = survey.cameras[0], survey.counts[0]
    sight = replace(camera.sight, sigma_m=camera_factor * camera.sight.sigma_m)
    flight = replace(flight, available=min(flight_factor * flight.available, 1.0))
    return replace(survey, cameras=(replace(camera, sight=sight),), counts=(flight,))


def watched_animals(seed: int, months: int, n_animals: int, folder: Path) -> tuple[Survey, np.ndarray, float]:
    """A world of single animals lives and its sensors' tables are written: survey, true densities [s, w], its km²."""
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
    write_survey(world, survey, folder, Published(scientific=names, georeference=survey.georeference))
    return survey, np.array(there).T, area_km2


def judge_animals(survey: Survey, truth_sw, area_km2: float, folder: Path, seed: int, size: int) -> dict[str, Score]:
    """What the filter makes of the tables: as they are, with the foxes' loss wrong, with both sensors misjudged alike.

    Nobody knows exactly how well sensors see: what the filter is told of each is wrong by a factor drawn from its prior.
    """
    data = load_world("tutorial")
    species = animal_species(data)
    usual_s = np.array([one.density_per_km2 for one in species.values()])
    found, months = {}, truth_sw.shape[1]
    camera, flight = np.exp(FILTER.detection * np.random.default_rng(seed).standard_normal(2))
    roughly, badly = misjudged(survey, camera, flight), misjudged(survey, 1.3, 1.3)
    cases = (
        ("as in the tables", 0.0, roughly),
        ("loss of red fox halved", -WRONG, roughly),
        ("sensors said to see 1.3 times as well", 0.0, badly),
    )
    for what, offset, told_survey in cases:
        counts = gather(read_observations(folder), told_survey, species, MONTH_H)
        runs = []
        for told in (counts.windows[:months], [()] * months):
            members = MapMembers(data.web, size, SPREAD, seed=seed, area_km2=area_km2)
            members.factor_pm[members.parameters.index("loss of red fox")] += offset
            edges_h = MONTH_H * np.arange(months + 1)
            runs.append(assimilate(members, told, edges_h, counts.groups, data.web, FILTER, seed))
        found[what] = score(*runs, truth_sw, usual_s)
    return found


def animal_experiment(seed: int, months: int, size: int, n_animals: int) -> dict[str, Score]:
    """One world of single animals, watched and judged."""
    with tempfile.TemporaryDirectory() as folder:
        survey, truth_sw, area_km2 = watched_animals(seed, months, n_animals, Path(folder))
        return judge_animals(survey, truth_sw, area_km2, Path(folder), seed, size)


def line(truth: str, what: str, scores: list[Score], measured: bool = True) -> tuple[str, bool]:
    """A row of the table, and whether the measures are met where they are asked for (`measured`)."""
    mean = {key: float(np.mean([getattr(one, key) for one in scores])) for key in Score.__dataclass_fields__}
    gains = [1 - mean["crps"] / mean["free"], 1 - mean["crps_log"] / mean["free_log"]]
    better = sum(one.crps < one.free for one in scores)
    fine = LEAST <= mean["held"] <= MOST and min(gains) >= GAIN
    row = (
        f"| {truth} | {what} | {len(scores)} | {mean['held']:.1%} | {mean['held_ahead']:.1%} | {mean['held_free']:.1%} | "
        f"{mean['crps']:.3f} | {mean['free']:.3f} | {gains[0]:.0%} | {gains[1]:.0%} | {better} | {mean['surprise']:.2f} | "
        f"{('yes' if fine else 'NO') if measured else '–'} |"
    )
    return row, fine or not measured


def map_lines(options) -> list[tuple[str, bool]]:
    """All experiments with a truth of the map."""
    cases: list[tuple[str, str, Mapping]] = [
        (f"map, {world}", "as drawn", {"world": world}) for world in ("tutorial", "savanna", "island", "galapagos")
    ]
    for others, what in ((False, "a third of the species counted: they"), (True, "the two thirds that nobody counted")):
        cases.append(("map, savanna", what, {"world": "savanna", "share": 1 / 3, "others": others}))
    for world, wrong in (
        ("tutorial", "loss of red fox"),
        ("savanna", "loss of wildebeest"),
        ("island", "loss of grey wolf"),
    ):
        for known in (False, True):
            what = f"{wrong} doubled" + (", and held for known" if known else "")
            cases.append((f"map, {world}", what, {"world": world, "wrong": wrong, "known": known}))
    rows = []
    for truth, what, case in cases:
        scores = [
            map_experiment(seed=seed, months=options.months, size=options.ensemble, **case)
            for seed in range(options.seeds)
        ]
        rows.append(line(truth, what, scores, measured=not case.get("others")))
        print(rows[-1][0], flush=True)
    return rows


def animal_lines(options) -> list[tuple[str, bool]]:
    """All experiments with a truth of single animals."""
    with ProcessPoolExecutor(n_cores()) as pool:
        asked = [
            pool.submit(animal_experiment, seed, options.animal_months, options.ensemble, options.animals)
            for seed in range(options.animal_seeds)
        ]
        found = [one.result() for one in asked]
    rows = [line(f"{options.animals} animals, tutorial", what, [one[what] for one in found]) for what in found[0]]
    for row, _ in rows:
        print(row, flush=True)
    return rows


def main(argv: list[str] | None = None) -> int:
    """Writes the page: 0, 1 where a measure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=24, help="truths of the map in each row")
    parser.add_argument("--months", type=int, default=24, help="months of counts")
    parser.add_argument("--ensemble", type=int, default=200, help="members")
    parser.add_argument("--animal-seeds", type=int, default=20, help="worlds of single animals; 0 leaves them out")
    parser.add_argument("--animal-months", type=int, default=8, help="months that they are watched")
    parser.add_argument("--animals", type=int, default=300, help="animals at the start")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder of the page")
    options = parser.parse_args(argv)
    start = time.perf_counter()
    rows = map_lines(options)
    if options.animal_seeds:
        rows += animal_lines(options)
    lines = [
        "# Assimilation: twin experiments",
        "",
        f"- hardware: {describe_hardware()}; {time.perf_counter() - start:.0f} s",
        f"- command: `{show_command('validation/assimilation', sys.argv[1:] if argv is None else argv)}`",
        f"- {options.ensemble} members, counts of {options.months} months (of worlds of animals: {options.animal_months})",
        f"- spread before the first count: start {SPREAD.start}, parameters {SPREAD.parameter}, noise {SPREAD.noise}, detection",
        f"  {FILTER.detection} (standard deviations of logarithms); the same for every row; the noise was chosen anew once, after a look at one world of animals",
        f"- expected: 90 % intervals hold the truth in {LEAST:.0%}–{MOST:.0%} of species and months; CRPS at least {GAIN:.0%}",
        "  below the free run's, of densities (as shares of the usual ones) and of their logarithms",
        "- *a month ahead*: intervals of the forecast before that month's counts; *surprise*: mean squared difference of",
        "  counts and forecasts in units of what the ensemble and the counts' own scatter allow, 1 if all is right",
        "",
        "| truth | filter | seeds | held | a month ahead | free run | CRPS | free | gain | gain, logarithms | seeds better | surprise | as expected |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *[row for row, _ in rows],
        "",
        "What these figures do not say: in the rows of the map the filter's model is the truth's, but for the parameter named.",
        "The rows of animals are the harder test, and they are simulated, too; no real population was forecast here.",
    ]
    write_result(options.results, "assimilation", lines)
    return 0 if all(fine for _, fine in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
