"""`linnaea twin observe`: a world is watched by sensors, and what they record is written as a field study's tables."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from linnaea.store import write_artifact

KIND = "twin-survey"


@dataclass(frozen=True, kw_only=True)
class ObserveConfig:
    """Watches a world with camera traps, counts and collars, and writes Camtrap DP, Darwin Core and Movebank tables."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds), or the TOML file of one"
    survey: Path = field(metadata={"metavar": "FILE"})
    "the sensors, see docs/observations.md"
    out: Path = field(metadata={"short": "-o", "metavar": "DIR"})
    "folder for the tables; truth.csv in it holds the true numbers, day by day"
    years: float = 1.0
    "years to watch"
    seed: int = 0
    "of all random numbers"
    animals: int = field(default=0, metadata={"metavar": "N"})
    "animals of a smaller or larger ground with the same densities; 0: the world's own"
    quiet: bool = False
    "no progress and no summary"


def main(config: ObserveConfig) -> int:
    """Runs the world with its sensors and writes the tables: 0."""
    from linnaea.census.survey_file import read_survey
    from linnaea.standards.tables import write_table
    from linnaea.twin.assembly.world_builder import build_world
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.engine.agents import HOURS_A_YEAR
    from linnaea.twin.engine.step import advance
    from linnaea.twin.field.sensors import attach_survey
    from linnaea.twin.field.survey_tables import DatasetMetadata, write_survey

    if not config.years > 0:
        raise ValueError(f"--years {config.years:g} is no time; give a number above 0")
    data = load_world(config.world)
    world = build_world(data, seed=config.seed, n_animals=config.animals or None)
    survey = read_survey(config.survey, world.space)
    attach_survey(world, survey)

    def say(line: str) -> None:
        if not config.quiet:
            print(line, file=sys.stderr, flush=True)

    truth, a_day = [], max(1, round(24 / world.dt_h))

    def note(one) -> None:
        if one.step % a_day == 0:
            truth.append({"day": one.now_h / 24} | dict(zip(one.species, map(int, one.counts()), strict=True)))

    advance(world, max(1, round(config.years * HOURS_A_YEAR / world.dt_h)), each=note)
    scientific = {name: one.scientific_name for name, one in data.web.species.items()}
    published = DatasetMetadata(
        title=f"Linnaea's simulated {data.name}", scientific=scientific, georeference=survey.georeference
    )
    manifest = {
        "kind": KIND,
        "world": data.name,
        "seed": config.seed,
        "years": config.years,
        "hours": world.now_h,
        "area_km2": world.space.width_m * world.space.height_m / 1e6,
    }
    with write_artifact(config.out, manifest) as folder:
        written = write_survey(world, survey, folder, published)
        write_table(folder / "truth.csv", ("day", *world.species), truth)
    say(f"{config.out}: " + ", ".join(f"{count} records of {name}" for name, count in written.items()))
    return 0
