"""`linnaea twin observe`: watch a world with simulated sensors and write the tables of a field study."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnaea.store import write_artifact

if TYPE_CHECKING:
    from linnaea.twin.engine.world import World

logger = logging.getLogger(__name__)

KIND = "twin-survey"


@dataclass(frozen=True, kw_only=True)
class ObserveConfig:
    """Watch a world with camera traps, counts and collars, and write Camtrap DP, Darwin Core and Movebank tables."""

    world: str = field(metadata={"positional": True, "metavar": "WORLD"})
    "a bundled world (linnaea twin worlds lists them), or the TOML file of your own"
    survey: Path = field(metadata={"metavar": "FILE"})
    "the sensors, see docs/observations.md"
    out: Path = field(metadata={"short": "-o", "metavar": "DIR"})
    "folder for the tables; truth.csv in it holds the true numbers, day by day"
    years: float = 1.0
    "years to watch"
    seed: int = 0
    "seed of all random numbers"
    animals: int = field(default=0, metadata={"metavar": "N"})
    "number of animals, on a smaller or larger ground with the same densities; 0: as in the world's file"
    quiet: bool = False
    "show no progress and no summary"

    def __post_init__(self) -> None:
        if not self.years > 0:
            raise ValueError(f"--years {self.years:g}: give a number above 0")


def main(config: ObserveConfig) -> int:
    """Run the world with its sensors and write the tables; return 0."""
    from linnaea.census.survey_file import read_survey
    from linnaea.standards.tables import write_table
    from linnaea.twin.assembly.world_builder import build_world
    from linnaea.twin.data.world_file import load_world
    from linnaea.twin.field.sensors import attach_survey
    from linnaea.twin.field.survey_tables import DatasetMetadata, write_survey

    data = load_world(config.world)
    world = build_world(data, seed=config.seed, n_animals=config.animals or None)
    survey = read_survey(config.survey, world.space)
    attach_survey(world, survey)
    truth = _watch(world, config)
    scientific = {name: one.scientific_name for name, one in data.web.species.items()}
    metadata = DatasetMetadata(
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
    with write_artifact(config.out, manifest) as directory:
        written = write_survey(world, survey, directory, metadata)
        write_table(directory / "truth.csv", ("day", *world.species), truth)
    logger.info(f"{config.out}: " + ", ".join(f"{count} records of {name}" for name, count in written.items()))
    return 0


def _watch(world: World, config: ObserveConfig) -> list[dict]:
    """Run the world for the years of the config; return the true number of each species, day by day."""
    from linnaea.terminal import Progress
    from linnaea.twin.engine.agents import HOURS_A_YEAR
    from linnaea.twin.engine.step import advance

    steps, steps_a_day = max(1, round(config.years * HOURS_A_YEAR / world.dt_h)), max(1, round(24 / world.dt_h))
    progress = Progress(steps, "steps", quiet=config.quiet)
    truth = []

    def note(one: World) -> None:
        if one.step % steps_a_day == 0:
            progress.advance(steps_a_day)
            truth.append({"day": one.now_h / 24} | dict(zip(one.species, map(int, one.counts()), strict=True)))

    try:
        advance(world, steps, each=note)
    finally:
        progress.close()
    return truth
