"""Check what must hold in every run of a world with all its rules: balances, and independence of slots, threads, stops.

    python benchmarks/validation/invariants.py

Every line is a bundled world run by the program's loop. The exit code is 1 if a line does not hold. `convergence.py`
tests convergence with the step and with numbers, `mean_field.py` with the grid of a front.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from checks import Result, page_options, write_page

from hardware import n_cores
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.checkpoint import load_checkpoint, save_checkpoint
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance, step
from linnaea.twin.engine.world import CAUSE, World
from linnaea.twin.rules.energy_budget import balance_kj, total_kj
from linnaea.twin.scenarios.interventions import Intervene, Poaching

# Enough animals of the savanna that kernels use all threads.
SHARE = 0.04


def by_key(world: World) -> dict[str, np.ndarray]:
    """Return all properties of the live animals in the order of their keys, and layers, rules' arrays and tallies."""
    a = world.agents
    slots = a.slots()
    slots = slots[np.argsort(a.key[slots], kind="stable")]
    animals = {name: values[slots] for name, values in a.state_arrays().items()}
    return animals | world.fields | world.arrays | world.tallies


def differing(one: World, other: World) -> list[str]:
    """Return the names of the arrays that are not the same to the last bit."""
    ours, theirs = by_key(one), by_key(other)
    same = (np.array_equal(ours[name], theirs[name], equal_nan=ours[name].dtype.kind == "f") for name in ours)
    return [name for name, is_same in zip(ours, same, strict=True) if not is_same]


def kept(name: str, steps: int, **options) -> Iterator[Result]:
    """Check numbers and energy over a run."""
    world = build_world(name, **options)
    start, energy = world.counts(), total_kj(world)
    advance(world, steps)
    tally = world.tallies
    off = world.counts() - (start + tally["born"] + tally["introduced"] - tally["died"].sum(1))
    days = steps * world.dt_h / 24
    claim = f"{name}, {days:g} days, {start.sum():,} animals: animals unaccounted for"
    yield Result(claim=claim, expected=0, obtained=int(np.abs(off).sum()), tolerance=0)
    turned_over = float(tally["energy_kj"].sum())
    gap = (total_kj(world) - balance_kj(world) - energy) / max(energy, turned_over)
    yield Result(
        claim=f"{name}, {days:g} days: energy unaccounted for, share", expected=0, obtained=gap, tolerance=1e-11
    )


def pair(claim: str, change: Callable[[World, int], None], steps: int = 60, **options) -> Result:
    """Count the arrays that differ between a savanna and one with a change that must have no consequence.

    The expected count is 0.
    """
    plain, other = (build_world("savanna", seed=4, area_share=SHARE, dt_h=6.0, **options) for _ in range(2))
    for turn in range(steps):
        change(other, turn)
        step(plain)
        step(other)
    found = differing(plain, other)
    shown = f" ({', '.join(found[:4])})" if found else ""
    claim = f"{claim}: arrays that differ after {steps} steps{shown}"
    return Result(claim=claim, expected=0, obtained=len(found), tolerance=0)


def shuffled(world: World, turn: int) -> None:
    """Move the animals to other slots."""
    if turn % 7 == 3:
        world.agents.sort(np.random.default_rng(turn).permutation(world.agents.slots()))


def one_thread(world: World, turn: int) -> None:
    """Let the kernels use one thread."""
    world.threads = 1


def resumed(world: World, turn: int) -> None:
    """Write the state to disk and read it back."""
    if turn == 30:
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(world, Path(folder) / "kept")
            load_checkpoint(world, Path(folder) / "kept")


def no_look_ahead(steps: int = 30) -> Result:
    """Find rules that change a state while animals decide; the strict loop stops at the first."""
    world = build_world("savanna", seed=4, area_share=0.004, dt_h=6.0, strict=True)
    try:
        advance(world, steps)
        broken = 0
    except AssertionError:
        broken = 1
    claim = f"no look-ahead: rules that change a state while animals decide, {steps} steps of all rules"
    return Result(claim=claim, expected=0, obtained=broken, tolerance=0)


def poached(share: float = 0.3, n: int = 20_000, days: int = 60) -> Iterator[Result]:
    """Poach for a year: by a scenario, among animals that do nothing else; by the landscape, among living rabbits."""
    rules = [Intervene(interventions=(Poaching(start_h=0, species=("animal",), share_per_year=share),))]
    still = World(space=Space(width_m=1000, height_m=1000), rules=rules, dt_h=24.0, capacity=n)
    still.agents.add(n)
    advance(still, 365)
    left = (1 - share) ** (365 / 365.25)
    claim = f"poaching of {share:.0%} per year, by a scenario: share alive after 365 days, tolerance 4 s.e."
    error = 4 * float(np.sqrt(left * (1 - left) / n))
    yield Result(claim=claim, expected=left, obtained=len(still.agents) / n, tolerance=error)
    world = build_world("tutorial", seed=3, dt_h=24.0, area_share=4.0)
    row = world.species.index("rabbit")
    rate = world.arrays.poaching_per_h[row] = -np.log1p(-share) / HOURS_A_YEAR
    expected = 0.0
    for _ in range(days):
        expected += float(world.counts()[row]) * -np.expm1(-24 * rate)
        step(world)
    got = int(world.tallies.died[row, CAUSE["poaching"]])
    claim = f"poaching of {share:.0%} per year, by the landscape: rabbits poached in {days} days, tolerance 4 s.e."
    yield Result(claim=claim, expected=expected, obtained=got, tolerance=4 * float(np.sqrt(expected)))


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 1 if a line does not hold."""
    options = page_options(__doc__).parse_args(argv)
    worlds = {"savanna": (0.02, 6.0), "island": (0.3, None), "galapagos": (0.3, 6.0), "post": (0.3, None)}
    worlds["tutorial"] = (1.0, 6.0)
    results = [
        line for name, (share, dt_h) in worlds.items() for line in kept(name, 200, seed=2, area_share=share, dt_h=dt_h)
    ]
    results += [no_look_ahead(), pair("savanna, animals in other slots", shuffled), *poached()]
    results.append(pair("savanna, state written to disk and read back", resumed))
    if n_cores() > 1:
        results.append(pair(f"savanna, 1 thread against {n_cores()}", one_thread))
    return write_page("invariants", "Invariants of worlds with all their rules", results, options.results, argv)


if __name__ == "__main__":
    raise SystemExit(main())
