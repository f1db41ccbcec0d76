"""`linnaea twin assimilate`: observations correct an ensemble of a world, and say what they leave uncertain."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

KIND = "twin-assimilation"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, kw_only=True)
class AssimilateConfig:
    """Corrects an ensemble of a world with observations: numbers with intervals, parameters, and a forecast."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds), or the TOML file of one"
    observations: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "OBSERVATIONS"})
    "Camtrap DP folders, tables of linnaea identify, Darwin Core or Movebank, or folders of these"
    out: Path | None = field(default=None, metadata={"short": "-o", "metavar": "DIR"})
    "folder for states, parameters, observations, rejected.csv and report.html; left out, numbers are only printed"
    survey: Path | None = field(default=None, metadata={"metavar": "FILE"})
    "how well the sensors see, and what the classifier confuses; see docs/observations.md"
    ensemble: int = field(default=200, metadata={"metavar": "M"})
    "members; of the map so many for each of four levels of noise, which the counts weigh"
    members: str = field(default="map", metadata={"choices": ("map", "worlds")})
    "`map`: runs of the food web's equations with noise; `worlds`: worlds of single animals, for small ones"
    animals: int = field(default=0, metadata={"metavar": "N"})
    "with `--members worlds`: animals of a smaller ground with the same densities; 0: the world's own"
    area_km2: float = 0.0
    "ground whose animals were counted, which says how much chance there is in few of them; 0: the world's own"
    window_days: float = 30.0
    "days whose counts are taken together"
    forecast_days: float = 0.0
    "days to go on after the last observation"
    camera_days: float = 0.0
    "effort of a camera whose data do not say how long it stood; 0 leaves it out"
    looked_for: tuple[str, ...] = field(default=(), metadata={"metavar": "NAMES"})
    "species or higher taxa that observations would have reported, where they do not say it themselves (a,b,c)"
    start_sd: float = 0.5
    "how little is known of each density at the beginning: s.d. of its logarithm"
    parameter_sd: float = 0.2
    "the same of each parameter around the tables' value"
    noise: float = 0.4
    "the same of the change by what the web does not hold (season, weather), in the time 1 / growth_per_y of a species"
    detection_sd: float = 0.2
    "the same of each sensor's detection of each species"
    reach: float = 2.0
    "links of the food web beyond which a count tells nothing of a species"
    seed: int = 0
    "of all random numbers"
    quiet: bool = False
    "no progress and no summary"

    def __post_init__(self) -> None:
        if self.ensemble < 8:
            raise ValueError(f"--ensemble {self.ensemble} is too few to show a spread; give at least 8")
        for name in ("window_days", "forecast_days", "camera_days"):
            value = getattr(self, name)
            if not (value > 0 or (value == 0 and name != "window_days")):
                raise ValueError(f"--{name.replace('_', '-')} {value:g} is no time; give days above 0")


def main(config: AssimilateConfig) -> int:
    """Reads, corrects, writes: 0."""
    from linnaea.census.animals import select_target_species
    from linnaea.census.observation_model import build_counts
    from linnaea.census.observations import Observations
    from linnaea.census.readers.dispatch import read_observations
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.inference.ensemble_filter import FilterConfig, assimilate

    data = load_world(config.world)
    found = Observations()
    for path in config.observations:
        found.add(read_observations(path, config.camera_days))
    members = _make_members(config, data)
    species = {name: data.web.species[name] for name in members.animals}
    taxa = tuple(name.strip() for given in config.looked_for for name in given.split(",") if name.strip())
    for name in taxa:
        if not select_target_species((name,), species).any():
            raise ValueError(
                f"--looked-for {name!r} is no animal of this world nor a taxon of one; give some of {', '.join(species)}"
            )
    found.set_target_taxa(taxa)
    survey = _choose_survey(config, data, found)
    counts = build_counts(found, survey, species, 24 * config.window_days)
    n_windows = len(counts.windows)
    forecast = round(config.forecast_days / config.window_days + 0.499)

    def each(window: int) -> None:
        if not config.quiet and sys.stderr.isatty():
            print(
                f"\r{window + 1} of {n_windows + forecast} spans",
                end="\n" if window + 1 == n_windows + forecast else "",
                file=sys.stderr,
                flush=True,
            )

    done = assimilate(
        members,
        counts.windows,
        counts.edges_h,
        counts.groups,
        data.web,
        FilterConfig(reach=config.reach, detection=config.detection_sd),
        config.seed,
        forecast,
        each,
    )
    rejected = [*found.rejected, *counts.rejected]
    if config.out:
        _write_artifact(config, data, survey, found, counts, done, rejected)
    if not config.quiet:
        _show_summary(done, counts, found, rejected, config)
    return 0


def _make_members(config: AssimilateConfig, data):
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


def _choose_survey(config: AssimilateConfig, data, found):
    """The survey of the file; without one its clock begins with the year of the first visit."""
    from linnaea.census.georeference import Georeference
    from linnaea.census.observation_model import describe_no_usable_visit
    from linnaea.census.survey_file import Survey, read_survey
    from linnaea.twin.engine.neighbours import Space

    space = Space(width_m=1000 * data.ground.width_km, height_m=1000 * data.ground.height_km)
    if config.survey:
        return read_survey(config.survey, space)
    if not found.visits:
        raise ValueError(describe_no_usable_visit(found.rejected))
    first = min(visit.start for visit in found.visits.values())
    return Survey(georeference=Georeference(start=f"{first.year}-01-01T00:00:00+00:00"))


def make_state_rows(done, georeference, n_windows: int):
    """Rows of states.csv: density of each species at the end of each span, before and after its counts."""
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


def make_parameter_rows(done, groups):
    """Rows of parameters.csv: factors to the tables' values before and after, with what the counts told of them."""
    import numpy as np

    def row(name: str, first_m, last_m) -> dict:
        low, middle, high = np.exp(np.quantile(last_m, (0.05, 0.5, 0.95)))
        learned = 1 - float(np.std(last_m) / max(float(np.std(first_m)), 1e-12))
        return {
            "parameter": name,
            "factor_q05": float(low),
            "factor": float(middle),
            "factor_q95": float(high),
            "spread_before": float(np.std(first_m)),
            "spread_after": float(np.std(last_m)),
            # A spread that hardly shrank is the prior: no observation has tested the value.
            "validated": "by these observations in part" if learned > 0.2 else "never",
        }

    for index, name in enumerate(done.parameters):
        yield row(name, done.first_pm[index], done.last_pm[index])
    for g, group in enumerate(groups):
        for s, name in enumerate(done.animals):
            yield row(f"detection of {name} by {group}", done.first_detection_gsm[g, s], done.detection_gsm[g, s])


def _write_artifact(config, data, survey, found, counts, done, rejected) -> None:
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
    with write_artifact(config.out, manifest) as folder:
        write_table(folder / "states.csv", tuple(states[0]), states)
        write_table(folder / "parameters.csv", tuple(parameters[0]), parameters)
        write_table(folder / "observations.csv", COLUMNS, found.to_rows())
        write_table(folder / "rejected.csv", ("where", "reason"), ({"where": a, "reason": b} for a, b in rejected))
        np.savez_compressed(
            folder / "members.npz", edges_h=done.edges_h, forecast_wsm=done.before_wsm, corrected_wsm=done.after_wsm
        )
        start = survey.georeference.format_time(0.0)
        write_assimilation(folder, data, done, counts.windows, start, counts.notes, parameters)


def _show_summary(done, counts, found, rejected, config) -> None:
    import numpy as np

    from linnaea.terminal import format_table

    n_visits, n_counted = len(found.visits), sum(one.count for one in found.sightings)
    first = f" (first: {': '.join(rejected[0])})" if rejected else ""
    print(f"{n_visits} visits, {n_counted} animals reported, {len(rejected)} rows left out{first}")
    for note in counts.notes:
        print(note)
    last = len(counts.windows) - 1
    rows = []
    for s, name in enumerate(done.animals):
        low, middle, high = np.quantile(done.after_wsm[last, s], (0.05, 0.5, 0.95))
        first = np.median(done.before_wsm[0, s])
        rows.append((name, f"{middle:.4g}", f"{low:.4g} – {high:.4g}", f"{first:.4g}"))
    head = ("animals per km² at the last count", "median", "90 % interval", "before any count")
    print("\n".join(format_table(head, rows, "lrrr")))
    if len(done.edges_h) - 1 > last + 1:
        days = float(done.edges_h[-1] - done.edges_h[last + 1]) / 24
        rows = []
        for s, name in enumerate(done.animals):
            low, middle, high = np.quantile(done.before_wsm[-1, s], (0.05, 0.5, 0.95))
            rows.append((name, f"{middle:.4g}", f"{low:.4g} – {high:.4g}"))
        head = (f"the forecast, {days:g} days later", "median", "90 % interval")
        print("\n".join(format_table(head, rows, "lrr")))
    noise = float(done.weight_wl[-1] @ done.levels)
    if len(done.levels) > 1:
        weighed = f"{min(done.levels):g} to {max(done.levels):g} times were weighed"
        print(f"the counts speak for a noise of {noise * config.noise:.2g}, {noise:.2g} times --noise ({weighed})")
    surprise = float(np.nanmean(done.surprise_w))
    if surprise > 2:
        print(
            f"counts differ from their forecasts {surprise:.1f} times as much as the spread allows: intervals are too "
            "narrow; raise --noise, --parameter-sd or --detection-sd"
        )
    never = sum(1 for row in make_parameter_rows(done, counts.groups) if row["validated"] == "never")
    n_parameters = len(done.parameters) + len(counts.groups) * len(done.animals)
    print(f"{never} of {n_parameters} parameters were never validated by these observations (parameters.csv)")
    if config.out:
        print(f"written: {config.out}")
