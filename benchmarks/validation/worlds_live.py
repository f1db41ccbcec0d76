"""Do the bundled worlds keep their species? Run each for years with several seeds, and report the numbers.

    python benchmarks/validation/worlds_live.py --work DIR

Nothing is compared with nature: the page shows what a user of these worlds gets. DIR keeps the result of each seed, so
that the same command continues after a stop. It takes half an hour on two cores.

Shape suffixes: k records, s species.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]

from hardware import describe_hardware, show_command, write_result
from linnaea.store import write_json
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_file import list_bundled_worlds
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.rules.vegetation import food_kg_km2


@dataclass(frozen=True, kw_only=True)
class Lived:
    """How a world is run: years, share of its ground, hours per step, seeds, and years between two counts."""

    years: float
    area: float = 1.0
    step_h: float
    seeds: tuple[int, ...]
    every_y: float = 1 / 12


RUNS = {
    "tutorial": Lived(years=20, step_h=6, seeds=(0, 1, 2, 3, 4)),
    "savanna": Lived(years=20, area=0.1, step_h=24, seeds=(1,)),
    "island": Lived(years=30, step_h=24, seeds=(0, 1, 2, 3, 4)),
    "galapagos": Lived(years=30, step_h=1, seeds=(0, 1)),
    "post": Lived(years=1, step_h=1, seeds=(0, 1, 2), every_y=1 / 365.25),
}


def live(name: str, run: Lived, seed: int) -> dict:
    """Run one seed; return `species`, `start` [s], `counts` [k, s], and the range of each plant.

    The range is the minimum and maximum in kg/km² of the mean over the ground.
    """
    world = build_world(name, seed=seed, area_share=run.area, dt_h=float(run.step_h))
    start, counts, plants = world.counts().tolist(), [], {}
    foods = [
        food
        for food, kind in zip(world.parameters.foods.names.tolist(), world.parameters.foods.kind, strict=True)
        if kind <= 1
    ]
    for k in range(1, round(run.years / run.every_y) + 1):
        while world.now_h < k * run.every_y * HOURS_A_YEAR - 1e-6:
            step(world)
        counts.append(world.counts().tolist())
        for food in foods:
            plants.setdefault(food, []).append(float(food_kg_km2(world, food).mean()))
    burned = float(world.fields.burned_times.mean() / run.years) if "burned_times" in world.fields else 0.0
    return {
        "species": list(world.species),
        "start": start,
        "counts": counts,
        "burned_share_a_year": burned,
        "plants": {food: (min(mean), max(mean)) for food, mean in plants.items()},
    }


def lived(work: Path, name: str, seed: int) -> dict:
    """Return the result of `live`, from `work` if it is there already."""
    path = work / f"{name}-{seed}.json"
    if not path.exists():
        print(f"{name}, seed {seed}", flush=True)
        write_json(path, live(name, RUNS[name], seed))
    return json.loads(path.read_text(encoding="utf-8"))


def rows(name: str, found: list[dict]) -> list[str]:
    """Return lines of a world's table: start, minimum and maximum of each species, and how often it was gone."""
    start = np.array(found[0]["start"])
    counts = np.concatenate([np.array(one["counts"]) for one in found])
    ends = np.array([one["counts"][-1] for one in found])
    lines = [
        "| species | at the start | minimum | maximum | at the ends | counts at which it was gone |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for s, species in enumerate(found[0]["species"]):
        gone = int((counts[:, s] == 0).sum())
        lines.append(
            f"| {species} | {start[s]:,} | {counts[:, s].min():,} | {counts[:, s].max():,} | "
            f"{', '.join(f'{n:,}' for n in ends[:, s])} | {gone:,} of {len(counts):,} |"
        )
    plants = ", ".join(
        f"{food} {min(one['plants'][food][0] for one in found):,.3g} "
        f"to {max(one['plants'][food][1] for one in found):,.3g}"
        for food in found[0]["plants"]
    )
    lines += ["", f"Plants, kg/km², mean of the ground: {plants}."] if plants else []
    burned = np.mean([one["burned_share_a_year"] for one in found])
    return [*lines, *([f"Share of the ground that burns in a year: {burned:.3f}."] if burned else []), ""]


def main(argv: list[str] | None = None) -> int:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder for the results of each seed")
    parser.add_argument("--only", choices=list(list_bundled_worlds()), help="run one world and write no page")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    lines = [
        "# The bundled worlds, left to themselves",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('validation/worlds_live', sys.argv[1:] if argv is None else argv)}`",
        "- newcomers from outside as in each world's file; counts at even times, from the first such time on",
        "",
    ]
    for name, run in RUNS.items():
        if options.only in (None, name):
            seeds = ", ".join(map(str, run.seeds))
            about = f"{run.years:g} years in steps of {run.step_h:g} h, {run.area:g} of the ground, seeds {seeds}, "
            lines += [f"## {name}", "", about + f"a count every {run.every_y * 365.25:.3g} days", ""]
            lines += rows(name, [lived(options.work, name, seed) for seed in run.seeds])
    if options.only:
        print("\n".join(lines))
    else:
        write_result(options.results, "worlds_live", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
