"""Textbook results from the program's animals: expected, obtained, tolerance, one line each.

    python benchmarks/validation/agents.py

Every line is a configuration of the shipped rules, run by the shipped loop (`linnaea.twin.loop`); nothing is computed
beside it but the value to compare with. Exits with 1 where a result is outside its tolerance.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from mean_field import Result

from hardware import describe_hardware, show_command, write_result
from linnaea.twin.allometry import fit_power
from linnaea.twin.cells import Space
from linnaea.twin.demography import INFECTIOUS, RECOVERED, Bear, BirthDeath, Expose, Infect
from linnaea.twin.encounters import Hunt, Kill, Restock
from linnaea.twin.flocks import Align, order_parameter
from linnaea.twin.loop import Rule, World, advance, step
from linnaea.twin.movement import Move, Walk
from linnaea.twin.patches import ChoosePatch, ForagePatches, GoToPatch
from linnaea.twin.world import build_world

# All at one place: where everyone meets everyone, places mean nothing.
NOWHERE = Space(width_m=1, height_m=1)


def run_of(rules: Sequence[Rule], *, space: Space = NOWHERE, **settings) -> World:
    """An empty world of these rules."""
    return World(space=space, rules=list(rules), **({"capacity": 4096} | settings))


def scattered(world: World, count: int, **values) -> np.ndarray:
    """Puts `count` animals at uniform places with headings of any direction; their slots."""
    rng = np.random.default_rng([world.seed, count])
    angle = rng.uniform(0, 2 * np.pi, count)
    x, y = rng.uniform(0, world.space.width_m, count), rng.uniform(0, world.space.height_m, count)
    return world.agents.add(count, x=x, y=y, dir_x=np.cos(angle), dir_y=np.sin(angle), **values)


def logistic_growth(n_seeds: int = 40) -> Iterator[Result]:
    """The mean of stochastic populations against the logistic curve."""
    start, capacity, rate, dt = 50, 500, 0.7, 0.02
    hours = (2, 4, 6, 10)
    counts = np.zeros((n_seeds, len(hours)))
    for seed in range(n_seeds):
        rules = [BirthDeath(birth_per_h=1.0, death_per_h=1.0 - rate, carrying_capacity=capacity), Bear()]
        world = run_of(rules, seed=seed, dt_h=dt)
        world.agents.add(start)
        for k, hour in enumerate(hours):
            advance(world, round(hour / dt) - world.step)
            counts[seed, k] = len(world.agents)
    for k, hour in enumerate(hours):
        exact = capacity / (1 + (capacity - start) / start * math.exp(-rate * hour))
        error = counts[:, k].std(ddof=1) / math.sqrt(n_seeds)
        claim = f"logistic growth, mean number after {hour} h ({n_seeds} runs; tolerance 3 s.e.)"
        yield Result(claim=claim, expected=exact, obtained=counts[:, k].mean(), tolerance=3 * error)


def functional_responses(n_predators: int = 400, steps: int = 2500) -> Iterator[Result]:
    """Attack rate and handling time refitted from what predators ate, at seven densities."""
    from scipy.optimize import curve_fit

    side, strike, handling, full = 100.0, 0.2, 60.0, 0.6
    density = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.35])
    area = math.pi * strike**2
    for power, name, settings in (
        (1, "II", {}),
        (2, "III", {"full_density": full, "awareness_m": 8.0}),
    ):
        rate = np.array([
            eaten_per_hour(n_predators, int(x * side**2), side, strike, handling, steps, **settings) for x in density
        ])  # fmt: skip
        fit, _ = curve_fit(
            lambda x, a, h, power=power: a * x**power / (1 + a * h * x**power), density, rate, p0=(area, handling),
            sigma=np.sqrt(rate),
        )  # fmt: skip
        attack = area if power == 1 else area / full
        for what, expected, obtained in (("attack rate", attack, fit[0]), ("handling time", handling, fit[1])):
            claim = f"Holling {name} refitted from encounters, {what}"
            yield Result(claim=claim, expected=expected, obtained=obtained, tolerance=0.05 * expected)


def eaten_per_hour(
    n_predators: int, n_prey: int, side: float, strike: float, handling: float, steps: int, **settings
) -> float:
    """Prey that a predator eats in an hour among `n_prey`, which are replaced when eaten."""
    rules = [
        Walk(speed_m_h=side / 3, species=1),
        Hunt(predator=1, prey=(0,), radius_m=strike, **settings),
        Kill(predator=1, handling_h=handling),
        Move(),
        Restock(species=0, number=n_prey),
    ]
    space = Space(width_m=side, height_m=side, torus=True, cell_m=max(2.0, settings.get("awareness_m", 0.0) / 2))
    world = run_of(rules, space=space, species=("prey", "predator"), seed=n_prey)
    scattered(world, n_prey, species=0)
    scattered(world, n_predators, species=1)
    advance(world, round(5 * handling))
    before = world.tallies["eaten"][1, 0]
    advance(world, steps)
    return (world.tallies["eaten"][1, 0] - before) / (n_predators * steps)


def epidemics(n: int = 20_000, ratios: Sequence[float] = (1.5, 2.0, 3.0)) -> Iterator[Result]:
    """An infection among animals that all meet, against the final size and peak of the equations."""
    table = {1.5: (0.582812, 0.063023), 2.0: (0.796812, 0.153426), 3.0: (0.940480, 0.300463)}
    recovery = 0.01
    for ratio in ratios:
        rules = [Expose(), Infect(infection_per_h=ratio * recovery, recovery_per_h=recovery)]
        world = run_of(rules, capacity=n, seed=2)
        world.agents.add(n, health=(np.arange(n) < n // 500) * INFECTIOUS)
        peak, infectious = 0, 1
        while infectious:
            advance(world, 10)
            infectious = np.count_nonzero(world.agents.health[:n] == INFECTIOUS)
            peak = max(peak, infectious)
        size = np.count_nonzero(world.agents.health[:n] == RECOVERED) / n
        for what, expected, obtained, tolerance in zip(
            ("final size", "peak"), table[ratio], (size, peak / n), (0.02, 0.01), strict=True
        ):
            claim = f"SIR among {n:,} animals, R0 = {ratio:g}, {what}"
            yield Result(claim=claim, expected=expected, obtained=obtained, tolerance=tolerance)


def extinction(n_lines: int = 10_000) -> Iterator[Result]:
    """The share of families of three that die out when births are twice as likely as deaths."""
    rules = [BirthDeath(birth_per_h=1.0, death_per_h=0.5), Bear()]
    world = run_of(rules, capacity=1 << 16, dt_h=0.5)
    world.agents.add(3 * n_lines, herd=np.repeat(np.arange(n_lines), 3))
    safe = np.zeros(n_lines, bool)
    while len(world.agents):
        advance(world, 2)
        live = world.agents.slots()
        # A family of 40 dies out once in 2^40.
        safe |= np.bincount(world.agents.herd[live], minlength=n_lines) >= 40
        world.agents.remove(live[safe[world.agents.herd[live]]])
    error = math.sqrt(0.125 * 0.875 / n_lines)
    claim = f"birth–death extinction, b = 1, d = .5, n = 3 ({n_lines:,} families; tolerance 3 s.e.)"
    yield Result(claim=claim, expected=0.125, obtained=1 - safe.mean(), tolerance=3 * error)


def random_walk(n: int = 100_000) -> Iterator[Result]:
    """How far correlated random walkers get."""
    space = Space(width_m=4000, height_m=4000, cell_m=100)
    world = run_of([Walk(speed_m_h=1.0, mean_cosine=0.6, exponential=True), Move()], space=space, capacity=n, seed=1)
    world.agents.add(n, x=2000.0, y=2000.0)
    advance(world, 100)
    a = world.agents
    squared = (a.x[:n].astype(float) - 2000) ** 2 + (a.y[:n].astype(float) - 2000) ** 2
    claim = "correlated random walk, c = .6, 100 exponential steps, mean squared displacement"
    yield Result(claim=claim, expected=492.5, obtained=squared.mean(), tolerance=0.02 * 492.5)


def alignment(widths: Sequence[int] = (1, 2, 3, 4, 5), n_seeds: int = 4, steps: int = 4000) -> Iterator[Result]:
    """The order of Vicsek's particles under noise."""
    table = {1: 0.951, 2: 0.814, 3: 0.602, 4: 0.320, 5: 0.123}
    for width in widths:
        orders: list[float] = []
        for seed in range(n_seeds):
            rules = [Align(radius_m=1.0, speed_m_h=0.03, noise_rad=float(width)), Move()]
            world = run_of(rules, space=Space(width_m=5, height_m=5, torus=True, cell_m=1), seed=seed)
            scattered(world, 100)
            advance(world, 1000)
            advance(world, steps, each=lambda world, orders=orders: orders.append(order_parameter(world)))
        claim = f"Vicsek, N = 100, L = 5, v = .03, noise width {width}, order"
        yield Result(claim=claim, expected=table[width], obtained=float(np.mean(orders)), tolerance=0.03)


def free_distribution(n: int = 3000) -> Iterator[Result]:
    """Foragers over patches of unlike richness."""
    from scipy.stats import chi2

    supply = np.array([[1.0, 2.0, 3.0, 4.0], [6.0, 8.0, 1.5, 12.0], [2.5, 5.0, 10.0, 20.0]])
    rules = [ChoosePatch(layer="food", look_per_h=0.05), GoToPatch(layer="food")]
    space = Space(width_m=400, height_m=300)
    world = World(space=space, rules=rules, fields={"food": supply}, capacity=n)
    world.agents.add(n, patch=0)
    advance(world, 1500)
    counts = np.bincount(world.agents.patch[:n], minlength=supply.size)
    expected = n * supply.ravel() / supply.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    bound = float(chi2.ppf(0.95, supply.size - 1))
    yield Result(claim=f"ideal free distribution over 12 patches, χ² (5 % bound {bound:.3g})", expected=0, obtained=statistic,
                 tolerance=bound)  # fmt: skip


def marginal_value(hours: float = 5_000) -> Iterator[Result]:
    """The stay in a patch that gains most, gain t / (t + 4), travel 9."""
    stay = np.arange(1.0, 14.01, 0.25)
    for dt in (1.0, 0.3):
        world = run_of([ForagePatches(half_h=4.0, travel_h=9.0)], traits=("stay_h",), dt_h=dt)
        world.agents.add(len(stay), traits=stay[:, None])
        advance(world, round(hours / dt))
        best = float(stay[np.argmax(world.agents.energy[: len(stay)])])
        claim = f"marginal value, gain t/(t+4), travel 9, best stay, step {dt:g} h"
        yield Result(claim=claim, expected=6.0, obtained=best, tolerance=0.25)


def metabolic_scaling(days: int = 30, area_share: float = 0.05) -> Iterator[Result]:
    """What an animal of the savanna respires, against its mass as it is: Kleiber's slope lies in the interval."""
    world = build_world("savanna", seed=1, area_share=area_share, dt_h=24.0)
    animals, mass = np.zeros((2, len(world.species)))
    for _ in range(days):
        step(world)
        a = world.agents
        live = a.slots()
        animals += world.counts()
        mass += np.bincount(a.species[live], a.mass[live], minlength=len(animals))
    seen = animals >= 10 * days
    fit = fit_power(mass[seen] / animals[seen], world.tallies["respired_kj"][seen] / animals[seen])
    claim = f"Kleiber, respiration of an animal of {seen.sum()} species of the savanna: slope on mass, 95 % interval"
    yield Result(claim=claim, expected=0.75, obtained=fit["slope"], tolerance=(fit["high"] - fit["low"]) / 2)


def main(argv: list[str] | None = None) -> int:
    """Writes the page; 1 where a line does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder of the page")
    options = parser.parse_args(argv)
    parts = (
        logistic_growth(),
        functional_responses(),
        epidemics(),
        extinction(),
        random_walk(),
        alignment(),
        free_distribution(),
        marginal_value(),
        metabolic_scaling(),
    )
    results = [result for part in parts for result in part]
    lines = [
        "# Agents: what is known, and what the program's animals do",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('validation/agents', sys.argv[1:] if argv is None else argv)}`",
        f"- {sum(result.holds for result in results)} of {len(results)} hold",
        "",
        "| result | expected | obtained | tolerance | holds |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {one.claim} | {one.expected:.7g} | {one.obtained:.7g} | {one.tolerance:.2g} | {'yes' if one.holds else 'no'} |"
          for one in results),
    ]  # fmt: skip
    write_result(options.results, "agents", lines)
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
