"""Compare WolfSheep, Flocking and Schelling with Mesa, first their populations, then speed; time a step of many birds.

    python benchmarks/twin_speed.py --mesa DIR

Mesa (version in mesa_peer.py) runs the same rules (mesa_models.py) in its own process, in turns with ours. A run is 100
steps (20 of Schelling's). Set-up counts for ours but not for Mesa. Compiling is not counted, and reported. The
configurations are those of ABMFrameworksComparison.

There are three ways of ours: in Mesa's order (agents act one after another in a random order) and synchronous, both
compiled whole (`linnaea.twin.reference_models.update_order`); and, for the flock, the general loop with its rules
(`linnaea.twin.engine.world`, synchronous). Ratios are medians of rounds, with minimum and maximum. DIR is made if it is
missing.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from hardware import describe_hardware, show_command, write_result
from mesa_peer import MESA, Mesa

import_start = time.perf_counter()
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import World
from linnaea.twin.reference_models.boids import Flocking
from linnaea.twin.reference_models.flocking_rules import Flock, compute_order_parameter
from linnaea.twin.reference_models.schelling import Segregation
from linnaea.twin.reference_models.update_order import ORDERS
from linnaea.twin.reference_models.wolf_sheep import WolfSheep
from linnaea.twin.rules.motion import Move

IMPORT_S = time.perf_counter() - import_start
STEPS, TOWN_STEPS = 100, 20
WARMING_STEPS = 5
# Untimed runs of each configuration, so that both sides' means of populations are known well.
MESA_RUNS, OUR_RUNS = 30, 200
SMALL_SHEEP = WolfSheep(side=25, n_sheep=60, n_wolves=40, sheep_reproduce=0.2, wolf_reproduce=0.1, regrowth=20)
CONFIGURATIONS = {
    "WolfSheep small": SMALL_SHEEP,
    "WolfSheep large": WolfSheep(),
    "Flocking small": Flocking(side=100.0, n_birds=200, radius=5.0),
    "Flocking large": Flocking(),
    "Schelling small": Segregation(side=40, n_households=1000, radius=1, need=3),
    "Schelling large": Segregation(),
}
Model = WolfSheep | Flocking | Segregation
# Values in `populations` of all configurations: sheep and wolves at 4 steps, order at 3, two shares at 3.
VALUES = 2 * (8 + 3 + 6)
TARGETS = {
    ("WolfSheep large", "sequential"): 150,
    ("Flocking large", "sequential"): 120,
    ("WolfSheep large", "synchronous"): 80,
    ("Flocking large", "synchronous"): 300,
}


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Return (seconds, result), with the garbage collector off."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    gc.enable()
    return seconds, result


def flock_world(flock: Flocking) -> World:
    """Return the same flock in the general loop."""
    rules = [
        Flock(
            radius_m=flock.radius,
            speed_m_h=flock.speed,
            cohere=flock.cohere,
            separate=flock.separate,
            match=flock.match,
            separation_m=flock.separation,
        ),
        Move(),
    ]
    space = Space(width_m=flock.side, height_m=flock.side, torus=True, cell_m=flock.radius)
    world = World(space=space, rules=rules, capacity=flock.n_birds, seed=flock.seed)
    x, y, u, v = flock.found()
    world.agents.add(flock.n_birds, x=x, y=y, dir_x=u, dir_y=v)
    return world


def loop_series(flock: Flocking) -> np.ndarray:
    """Return the order parameter after each step of the general loop."""
    world = flock_world(flock)
    series = []
    for _ in range(STEPS):
        step(world)
        series.append(compute_order_parameter(world))
    return np.array(series)


def loop_run(flock: Flocking) -> None:
    """Do a run of the general loop."""
    world = flock_world(flock)
    for _ in range(STEPS):
        step(world)


def steps_of(model: Model) -> int:
    """Return the number of steps of a run."""
    return TOWN_STEPS if isinstance(model, Segregation) else STEPS


def series_of(model: Model, result: object) -> np.ndarray:
    """Return sheep and wolves, or shares content and alike [steps + 1, 2], or the order parameter [steps]."""
    return np.asarray(result[1] if isinstance(model, Flocking) else result, float)


def settings_of(model: Model) -> dict:
    """Return the settings for Mesa's model."""
    return {name: value for name, value in asdict(model).items() if name not in ("order", "seed")}


def differences(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return z values [...] of the difference of two means over runs [r, ...].

    The difference is ours minus theirs, in units of the standard error of the difference.
    """
    error = np.sqrt(ours.var(0, ddof=1) / len(ours) + theirs.var(0, ddof=1) / len(theirs))
    return (ours.mean(0) - theirs.mean(0)) / np.maximum(error, 1e-9)


def by_chance(n: int) -> float:
    """Return the |z| that the largest of `n` independent z values exceeds in one case of 20 under no difference."""
    return statistics.NormalDist().inv_cdf(1 - (1 - 0.95 ** (1 / n)) / 2)


def at(model: Model, series: np.ndarray) -> np.ndarray:
    """Return the series at steps far enough apart to be compared."""
    rows = {WolfSheep: [10, 20, 50, -1], Flocking: [9, 49, -1], Segregation: [1, 3, -1]}[type(model)]
    return series[:, rows]


def ways_of(model: Model) -> dict[str, Callable[[int], object]]:
    """Return our ways of a run that the page compares, each as a function of a seed."""
    return {
        order: lambda seed, order=order: replace(model, order=order, seed=seed).run(steps_of(model)) for order in ORDERS
    }


def populations(name: str, model: Model, mesa: Mesa) -> list[str]:
    """Return lines of the table of populations for one configuration, from untimed runs."""
    kind, steps, settings = type(model).__name__, steps_of(model), settings_of(model)
    theirs = at(model, np.array([mesa.run(kind, steps, seed, settings)[1] for seed in range(MESA_RUNS)], float))
    series = {way: lambda seed, run=run: series_of(model, run(seed)) for way, run in ways_of(model).items()}
    if isinstance(model, Flocking):
        series["loop"] = lambda seed: loop_series(replace(model, seed=seed))
    lines = []
    for way, run in series.items():
        ours = at(model, np.array([run(1000 + seed) for seed in range(OUR_RUNS)]))
        means = [" / ".join(f"{value:.4g}" for value in np.ravel(found.mean(0))) for found in (theirs, ours)]
        z = np.ravel(differences(ours, theirs))
        shown = " / ".join(f"{value:.1f}" for value in z)
        lines.append(
            f"| {name} | {way} | {means[0]} | {means[1]} | {shown} | {np.abs(z).max():.1f} | {by_chance(len(z)):.1f} |"
        )
    return lines


def speeds(name: str, model: Model, folder: Path, rounds: int, repeats: int) -> list[str]:
    """Return lines of the table of speeds for one configuration, in turns with Mesa.

    Mesa gets a new process each time. Its garbage collector is on, as Mesa's users have it; after many runs in one
    process it takes twice as long or no time at all.
    """
    runs = ways_of(model)
    if isinstance(model, Flocking):
        runs["loop"] = lambda seed: loop_run(replace(model, seed=seed))
    seconds: dict[str, list] = {way: [] for way in (*runs, "mesa")}
    ratios: dict[str, list] = {way: [] for way in runs}
    for seed in range(rounds):
        mesa = Mesa(folder)
        mesa.run(type(model).__name__, WARMING_STEPS, seed, settings_of(model))
        mesa_s, _ = mesa.run(type(model).__name__, steps_of(model), seed, settings_of(model))
        mesa.close()
        seconds["mesa"].append(mesa_s)
        for way, run in runs.items():
            times = [timed(lambda run=run, i=i, seed=seed: run(seed * repeats + i))[0] for i in range(repeats)]
            seconds[way].append(statistics.median(times))
            ratios[way].append(mesa_s / seconds[way][-1])
    lines = []
    for way, found in ratios.items():
        target = TARGETS.get((name, way))
        lines.append(
            f"| {name} | {way} | {1e3 * statistics.median(seconds['mesa']):.0f} |"
            f" {1e3 * statistics.median(seconds[way]):.2f} | **{statistics.median(found):.0f}** |"
            f" {min(found):.0f}–{max(found):.0f} | {f'≥ {target}' if target else ''} |"
        )
    return lines


def boids(n: int, steps: int) -> str:
    """Return a line on a step of `n` birds at a density of 1 in 2 square metres, radius 5."""
    flock = Flocking(side=float(np.sqrt(2.0 * n)), n_birds=n, radius=5.0)
    world = flock_world(flock)
    for _ in range(3):
        step(world)
    times = [timed(lambda: step(world))[0] for _ in range(steps)]
    quarters = [1e3 * q for q in np.quantile(times, [0.25, 0.75])]
    middle, least = 1e3 * statistics.median(times), 1e3 * min(times)
    return f"| {n:,} | {middle:.1f} | {quarters[0]:.1f}–{quarters[1]:.1f} | {least:.1f} |"


def compile_all() -> float:
    """Return the seconds until every way has run once."""
    start = time.perf_counter()
    for model in (SMALL_SHEEP, CONFIGURATIONS["Flocking small"], CONFIGURATIONS["Schelling small"]):
        for order in ORDERS:
            replace(model, order=order).run(1)
    step(flock_world(CONFIGURATIONS["Flocking small"]))
    return time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--mesa", type=Path, required=True, metavar="DIR", help="folder of Mesa's environment, made if it is missing"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="timed runs of Mesa for each configuration; 0: populations alone"
    )
    parser.add_argument("--repeats", type=int, default=9, help="runs of ours in each round")
    parser.add_argument("--only", help="only configurations whose name contains this")
    parser.add_argument(
        "--birds", type=int, nargs="*", default=[80_000, 1_000_000], help="flock sizes for the timed step"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    compiling_s = compile_all()
    mesa = Mesa(options.mesa)
    chosen = {name: model for name, model in CONFIGURATIONS.items() if options.only is None or options.only in name}
    compared = [line for name, model in chosen.items() for line in populations(name, model, mesa)]
    timings = [
        line
        for name, model in chosen.items()
        if options.rounds
        for line in speeds(name, model, options.mesa, options.rounds, options.repeats)
    ]
    mesa.close()
    lines = [
        f"# Wolves and sheep, flocks and towns, compared with {MESA.replace('==', ' ')}",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('twin_speed', sys.argv[1:] if argv is None else argv)}`",
        (
            f"- imports {IMPORT_S:.1f} s; first calls of all ways (compiling, or reading compiled code) "
            f"{compiling_s:.1f} s"
        ),
        f"- a run is {STEPS} steps, of a town {TOWN_STEPS}; the classic models run on one thread, as Mesa does",
        f"- each timed run of Mesa is the second of a process (after {WARMING_STEPS} steps), with garbage collection",
        "- the general loop uses all threads for more than some thousand animals, else one",
        "",
        "## Populations",
        "",
        f"Means over {MESA_RUNS} runs of Mesa and {OUR_RUNS} of ours, all untimed. WolfSheep: sheep / wolves after",
        "10, 20, 50, 100 steps; Flocking: order parameter after 10, 50, 100; Schelling: share content / share of like",
        "neighbours after 1, 3, 20. Mesa's animals act one after another, so only `sequential` is the same process: in",
        "a synchronous town all households that are not content leave at once, and in a synchronous flock no bird",
        "follows a turn of the same step.",
        "z is ours minus Mesa's in standard errors. Of many z values some are large. The last column is the value that",
        "the largest of a row exceeds by chance alone in one row of 20. The largest of all values of the sequential",
        f"rows of a page exceeds {by_chance(VALUES):.1f} on one page of 20 (less often, because values of one row are",
        "correlated).",
        "",
        "| configuration | order | Mesa | ours | z | largest | by chance |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *compared,
        "",
        "## Speed",
        "",
        "| configuration | way | Mesa, ms per run | ours, ms per run | speed-up | minimum–maximum | target |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *timings,
        "",
        "## One step of many birds",
        "",
        "The general loop, torus, radius 5, one bird in 2 m². Targets: 80,000 ≤ 40 ms, 1,000,000 ≤ 1,000 ms.",
        "",
        "| birds | ms per step, median | quartiles | minimum |",
        "| --- | --- | --- | --- |",
        *(boids(n, 30 if n < 500_000 else 9) for n in options.birds),
    ]
    write_result(options.results, "twin_speed", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
