"""`linnaea twin assimilate`: correct an ensemble of a world with observations, and show what they leave uncertain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnaea.census.georeference import Georeference
    from linnaea.census.observation_model import Counts
    from linnaea.census.observations import Observations
    from linnaea.census.survey_file import Survey
    from linnaea.twin.data.species import Species
    from linnaea.twin.data.world_data import WorldData
    from linnaea.twin.inference.ensemble_filter import AssimilationResult
    from linnaea.twin.inference.ensemble_members import DiscreteModelMembers, WorldMembers

KIND = "twin-assimilation"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
INTERVAL = (0.05, 0.5, 0.95)
LEARNED_SHARE = 0.2
"""least decrease of a parameter's spread that counts as a validation"""
SURPRISING = 2.0
"""surprise from which intervals are reported as too narrow"""


@dataclass(frozen=True, kw_only=True)
class AssimilateConfig:
    """Correct an ensemble of a world with observations: numbers with intervals, parameters, and a forecast."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    observations: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "OBSERVATIONS"})
    "Camtrap DP folders, tables of linnaea identify, Darwin Core or Movebank, or folders of these"
    out: Path | None = field(default=None, metadata={"short": "-o", "metavar": "DIR"})
    "folder for states, parameters, observations, rejected.csv and report.html; without it, numbers are only printed"
    survey: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "how well the sensors detect, and what the classifier confuses; see docs/observations.md"
    ensemble: int = field(default=200, metadata={"metavar": "M"})
    "number of members; with `--members map`, for each of four levels of noise, which the counts weigh"
    members: str = field(default="map", metadata={"choices": ("map", "worlds")})
    "`map`: runs of the food web's equations with noise; `worlds`: worlds of single animals, for small ones"
    animals: int = field(default=0, metadata={"metavar": "N"})
    "with `--members worlds`: animals on a smaller ground with the same densities; 0: as in the world's file"
    area_km2: float = 0.0
    "ground whose animals were counted: the smaller it is, the more chance there is in the numbers; 0: the world's own"
    window_days: float = 30.0
    "days whose counts are taken together"
    forecast_days: float = 0.0
    "days to go on after the last observation"
    camera_days: float = 0.0
    "effort of a camera whose data do not give the days that it stood; 0 leaves it out"
    looked_for: tuple[str, ...] = field(default=(), metadata={"metavar": "NAMES"})
    "species or higher taxa that observers would have reported, where the data do not state them (a,b,c)"
    start_sd: float = 0.5
    "uncertainty of each density at the beginning: s.d. of its logarithm"
    parameter_sd: float = 0.2
    "uncertainty of each parameter around the tables' value: s.d. of its logarithm"
    noise: float = 0.4
    "s.d. of the logarithm of what the web leaves out (season, weather), in the time 1 / growth_per_y of a species"
    detection_sd: float = 0.2
    "uncertainty of each sensor's detection of each species: s.d. of its logarithm"
    reach: float = 2.0
    "links of the food web beyond which a count does not move a species"
    seed: int = 0
    "seed of all random numbers"
    quiet: bool = False
    "show no progress and no summary"

    def __post_init__(self) -> None:
        if self.ensemble < 8:
            raise ValueError(f"--ensemble {self.ensemble} is too few to show a spread; give at least 8")
        for name in ("window_days", "forecast_days", "camera_days"):
            value = getattr(self, name)
            if not (value > 0 or (value == 0 and name != "window_days")):
                raise ValueError(f"--{name.replace('_', '-')} {value:g}: give a number of days above 0")


def main(config: AssimilateConfig) -> int:
    """Read the observations, correct the ensemble, write and print the result; return 0."""
    from linnaea.census.observation_model import build_counts
    from linnaea.twin.data.world_file import load_world

    data = load_world(config.world)
    members = _make_members(config, data)
    species = {name: data.web.species[name] for name in members.animals}
    found = _read_observations(config, species)
    survey = _choose_survey(config, data, found)
    counts = build_counts(found, survey, species, 24 * config.window_days)
    done = _assimilate(config, data, members, counts)
    rejected = [*found.rejected, *counts.rejected]
    if config.out:
        _write_artifact(config, data, survey, found, counts, done)
    if not config.quiet:
        _show_observations(found, counts, rejected)
        _show_densities(done, len(counts.windows))
        _show_fit(config, counts, done)
    return 0


def _read_observations(config: AssimilateConfig, species: Mapping[str, Species]) -> Observations:
    """Read all observations. Raise ValueError for a name in --looked-for that is not in the world."""
    from linnaea.census.animals import select_target_species
    from linnaea.census.observations import Observations
    from linnaea.census.readers.dispatch import read_observations

    taxa = tuple(name.strip() for given in config.looked_for for name in given.split(",") if name.strip())
    for name in taxa:
        if not select_target_species((name,), species).any():
            raise ValueError(
                f"--looked-for {name!r} must be an animal of this world or a taxon of one; give some of "
                f"{', '.join(species)}"
            )
    found = Observations()
    for path in config.observations:
        found.add(read_observations(path, config.camera_days))
    found.set_target_taxa(taxa)
    return found


def _make_members(config: AssimilateConfig, data: WorldData) -> DiscreteModelMembers | WorldMembers:
    from linnaea.twin.assembly.world_builder import build_world
    from linnaea.twin.data.world_data import compute_start_counts
    from linnaea.twin.inference.ensemble_members import NOISE_LEVELS, DiscreteModelMembers, Spread, WorldMembers

    spread = Spread(start=config.start_sd, parameter=config.parameter_sd, noise=config.noise)
    if config.members == "worlds":
        worlds = [
            build_world(data, seed=config.seed + member, n_animals=config.animals or None)
            for member in range(config.ensemble)
        ]
        return WorldMembers(worlds, spread, config.seed)
    area = data.ground.width_km * data.ground.height_km
    start = {name: count / area for name, count in compute_start_counts(data).items() if count}
    return DiscreteModelMembers(
        data.web, config.ensemble, spread, config.seed, start, config.area_km2 or area, NOISE_LEVELS
    )


def _choose_survey(config: AssimilateConfig, data: WorldData, found: Observations) -> Survey:
    """Return the survey of the file; without a file, one whose clock begins with the year of the first visit."""
    from linnaea.census.georeference import Georeference
    from linnaea.census.observation_model import describe_no_usable_visit
    from linnaea.census.survey_file import Survey, read_survey
    from linnaea.twin.engine.neighbours import Space

    if config.survey:
        space = Space(width_m=1000 * data.ground.width_km, height_m=1000 * data.ground.height_km)
        return read_survey(config.survey, space)
    if not found.visits:
        raise ValueError(describe_no_usable_visit(found.rejected))
    first = min(visit.start for visit in found.visits.values())
    return Survey(georeference=Georeference(start=f"{first.year}-01-01T00:00:00+00:00"))


def _assimilate(
    config: AssimilateConfig, data: WorldData, members: DiscreteModelMembers | WorldMembers, counts: Counts
) -> AssimilationResult:
    """Correct the members with the counts, with progress."""
    from linnaea.terminal import Progress
    from linnaea.twin.inference.ensemble_filter import FilterConfig, assimilate

    n_forecast = round(config.forecast_days / config.window_days + 0.499)
    progress = Progress(len(counts.windows) + n_forecast, "windows", quiet=config.quiet)
    try:
        return assimilate(
            members,
            counts.windows,
            counts.edges_h,
            counts.groups,
            data.web,
            FilterConfig(reach=config.reach, detection=config.detection_sd),
            seed=config.seed,
            n_forecast=n_forecast,
            progress=progress,
        )
    finally:
        progress.close()


def make_state_rows(done: AssimilationResult, georeference: Georeference, n_windows: int) -> Iterator[dict]:
    """Yield the rows of states.csv: each species' density at the end of each window, before and after its counts."""
    import numpy as np

    columns = [f"q{round(100 * q):02d}" for q in QUANTILES]
    for window, hour in enumerate(done.edges_h[1:]):
        for stage, density_sm in (("forecast", done.before_wsm[window]), ("corrected", done.after_wsm[window])):
            if stage == "corrected" and window >= n_windows:
                continue
            quantiles_qs = np.quantile(density_sm, QUANTILES, axis=1)
            for s, name in enumerate(done.animals):
                yield {
                    "time": georeference.format_time(hour),
                    "day": hour / 24,
                    "stage": stage,
                    "species": name,
                    "mean_per_km2": float(density_sm[s].mean()),
                    **dict(zip(columns, map(float, quantiles_qs[:, s]), strict=True)),
                }


def make_parameter_rows(done: AssimilationResult, groups: Sequence[str]) -> Iterator[dict]:
    """Yield the rows of parameters.csv: factors on the tables' values before and after the counts."""
    for index, name in enumerate(done.parameters):
        yield _make_parameter_row(name, done.first_pm[index], done.last_pm[index])
    for g, group in enumerate(groups):
        for s, name in enumerate(done.animals):
            first_m, last_m = done.first_detection_gsm[g, s], done.detection_gsm[g, s]
            yield _make_parameter_row(f"detection of {name} by {group}", first_m, last_m)


def _make_parameter_row(name: str, first_m, last_m) -> dict:
    import numpy as np

    low, middle, high = np.exp(np.quantile(last_m, INTERVAL))
    learned = 1 - float(np.std(last_m) / max(float(np.std(first_m)), 1e-12))
    return {
        "parameter": name,
        "factor_q05": float(low),
        "factor": float(middle),
        "factor_q95": float(high),
        "spread_before": float(np.std(first_m)),
        "spread_after": float(np.std(last_m)),
        # A spread that hardly shrank is the prior: no observation has tested the value.
        "validated": "by these observations in part" if learned > LEARNED_SHARE else "never",
    }


def _write_artifact(
    config: AssimilateConfig,
    data: WorldData,
    survey: Survey,
    found: Observations,
    counts: Counts,
    done: AssimilationResult,
) -> None:
    """Write the folder of tables, members and report."""
    import numpy as np

    from linnaea.census.observations import COLUMNS
    from linnaea.standards.tables import write_table
    from linnaea.store import write_artifact
    from linnaea.twin.reports.assimilation_report import write_assimilation

    manifest = {
        "kind": KIND,
        "world": data.name,
        "config": {key: str(value) for key, value in asdict(config).items()},
        "notes": list(counts.notes),
        "surprise": [None if math.isnan(one) else float(one) for one in done.surprise_w],
        "noise_levels": {
            f"{level:g}": float(share) for level, share in zip(done.levels, done.weight_wl[-1], strict=True)
        },
        "parameters_without_source": list(data.unmeasured()),
    }
    states = list(make_state_rows(done, survey.georeference, len(counts.windows)))
    parameters = list(make_parameter_rows(done, counts.groups))
    rejected = [{"where": where, "reason": reason} for where, reason in (*found.rejected, *counts.rejected)]
    with write_artifact(config.out, manifest) as directory:
        write_table(directory / "states.csv", tuple(states[0]), states)
        write_table(directory / "parameters.csv", tuple(parameters[0]), parameters)
        write_table(directory / "observations.csv", COLUMNS, found.to_rows())
        write_table(directory / "rejected.csv", ("where", "reason"), rejected)
        np.savez_compressed(
            directory / "members.npz", edges_h=done.edges_h, forecast_wsm=done.before_wsm, corrected_wsm=done.after_wsm
        )
        start = survey.georeference.format_time(0.0)
        write_assimilation(directory, data, done, counts.windows, start, counts.notes, parameters)


def _show_observations(found: Observations, counts: Counts, rejected: Sequence[tuple[str, str]]) -> None:
    """Print what was read and what was assumed."""
    n_animals = sum(one.count for one in found.sightings)
    first = f" (first: {': '.join(rejected[0])})" if rejected else ""
    print(f"{len(found.visits)} visits, {n_animals} animals reported, {len(rejected)} rows left out{first}")
    for note in counts.notes:
        print(note)


def _show_densities(done: AssimilationResult, n_windows: int) -> None:
    """Print the density of each species at the last count, and at the end of the forecast."""
    import numpy as np

    from linnaea.terminal import format_table

    def make_row(name: str, density_m: np.ndarray, *more: str) -> tuple[str, ...]:
        low, middle, high = np.quantile(density_m, INTERVAL)
        return name, f"{middle:.4g}", f"{low:.4g} – {high:.4g}", *more

    rows = [
        make_row(name, done.after_wsm[n_windows - 1, s], f"{np.median(done.before_wsm[0, s]):.4g}")
        for s, name in enumerate(done.animals)
    ]
    head = ("animals per km² at the last count", "median", "90 % interval", "before any count")
    print("\n".join(format_table(head, rows, "lrrr")))
    if len(done.edges_h) - 1 > n_windows:
        days = float(done.edges_h[-1] - done.edges_h[n_windows]) / 24
        rows = [make_row(name, done.before_wsm[-1, s]) for s, name in enumerate(done.animals)]
        head = (f"the forecast, {days:g} days later", "median", "90 % interval")
        print("\n".join(format_table(head, rows, "lrr")))


def _show_fit(config: AssimilateConfig, counts: Counts, done: AssimilationResult) -> None:
    """Print how much noise the counts suggest, how surprising they were, and how many parameters they tested."""
    import numpy as np

    if len(done.levels) > 1:
        noise = float(done.weight_wl[-1] @ done.levels)
        tried = f"{min(done.levels):g} to {max(done.levels):g} times were tried"
        print(f"the counts suggest a noise of {noise * config.noise:.2g}, {noise:.2g} times --noise ({tried})")
    surprise = float(np.nanmean(done.surprise_w))
    if surprise > SURPRISING:
        print(
            f"counts differ from their forecasts {surprise:.1f} times as much as the spread allows: intervals are too "
            "narrow; raise --noise, --parameter-sd or --detection-sd"
        )
    rows = list(make_parameter_rows(done, counts.groups))
    n_never = sum(row["validated"] == "never" for row in rows)
    print(f"{n_never} of {len(rows)} parameters were never validated by these observations (parameters.csv)")
    if config.out:
        print(f"written: {config.out}")
