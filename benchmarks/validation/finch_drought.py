"""Do droughts select beaks on the galapagos, as in 1977 on Daphne Major, and do the young inherit the change?

Pairs of runs with and without a drought share their random numbers. For the medium ground finches that are alive when
it begins, the page gives: how many are left when it ends; how much deeper their beaks are than all had been (selection
differential S); and how much deeper the beaks of the young born after it are (response R). S and R are in standard
deviations.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]

from hardware import describe_hardware, show_command, write_result
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import World
from linnaea.twin.scenarios.interventions import Drought, Intervene

FINCH = 0


def beaks(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Return ids [n] and beak depths [n] (mm) of the living medium ground finches."""
    a = world.agents
    slots = a.slots()[a.species[a.slots()] == FINCH]
    return a.id[slots], a.traits[slots, 0].astype(float)


def selection(
    seed: int, dt_h: float, rain: float, start_y: float, end_y: float, until_y: float
) -> tuple[int, int, float, float]:
    """Return (finches when the drought begins, those of them alive at its end, S, R).

    S and R are in standard deviations; rain 1 means no drought.
    """
    world = build_world("galapagos", seed=seed, dt_h=dt_h)
    dry = Drought(start_h=start_y * HOURS_A_YEAR, end_h=end_y * HOURS_A_YEAR, rain=rain)
    world.add_rule(Intervene(interventions=(dry,)))
    while world.now_h < start_y * HOURS_A_YEAR:
        step(world)
    ids, before = beaks(world)
    while world.now_h < end_y * HOURS_A_YEAR:
        step(world)
    last = world.agents.next_id
    left = before[np.isin(ids, beaks(world)[0])]
    while world.now_h < until_y * HOURS_A_YEAR:
        step(world)
    after, young = beaks(world)
    mean, sd = before.mean(), before.std()
    return len(before), len(left), (left.mean() - mean) / sd, (young[after >= last].mean() - mean) / sd


def main(argv: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="pairs of runs, at least 2")
    parser.add_argument("--dt-h", type=float, default=6.0, help="hours per step")
    parser.add_argument("--rain", type=float, default=0.1, help="rain of the drought as a share of the usual rain")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: one pair has no standard error; give 2 or more")
    rows = []
    for seed in range(options.seeds):
        dry, usual = (selection(seed, options.dt_h, rain, 3.4, 5.0, 6.5) for rain in (options.rain, 1.0))
        rows.append((*dry, *usual))
        print(f"seed {seed}: {rows[-1]}", flush=True)
    more = np.array(rows)[:, [2, 3]] - np.array(rows)[:, [6, 7]]
    mean, error = more.mean(0), more.std(0, ddof=1) / np.sqrt(len(rows))
    found = f"S {mean[0]:+.2f} ± {error[0]:.2f}, R {mean[1]:+.2f} ± {error[1]:.2f}"
    lines = [
        "# A drought and the beaks of the medium ground finch",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('validation/finch_drought', sys.argv[1:] if argv is None else argv)}`",
        f"- world galapagos, steps of {options.dt_h:g} h; {options.rain:g} of the usual rain from year 3.4 to 5.0,",
        "  the young are measured in year 6.5",
        "- S: how much deeper the beaks of the survivors are; R: those of the young born after it; in standard",
        "  deviations before it",
        "- the strength of selection by a drought was adjusted with knowledge of 1977; this page is not a forecast",
        "",
        "| seed | finches, drought | S | R | finches, usual rain | S | R |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {seed} | {a} → {b} | {c:+.2f} | {d:+.2f} | {e} → {f} | {g:+.2f} | {h:+.2f} |"
            for seed, (a, b, c, d, e, f, g, h) in enumerate(rows)
        ),
        "",
        f"Drought against usual rain, mean of {len(rows)} pairs ± standard error: {found}.",
    ]
    write_result(options.results, "finch_drought", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
