"""Compare the program's animals with textbook results: expected, obtained, tolerance, one line each.

    python benchmarks/validation/agents.py

Every line is a configuration of the program's rules, run by the program's loop (`linnaea.twin.engine.world`). Only the
expected value is computed here. Most rules are for populations as textbooks describe them. Lines on the rules of the
worlds of `linnaea twin run` say so; they are in `world_rules.py`. The exit code is 1 if a result is outside its
tolerance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from checks import Result, mean_over, page_options, write_page
from world_rules import cascade, contagion, grazing, kills

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.allometry import fit_power_law
from linnaea.twin.data.life_table import compute_growth_factor, compute_stable_ages, make_leslie_matrix, make_life_table
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.step import advance, step
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.meanfield.stability import find_map_cycle
from linnaea.twin.meanfield.textbook import make_ricker
from linnaea.twin.reference_models.birth_death import (
    INFECTIOUS,
    RECOVERED,
    BirthDeath,
    DeliverLitters,
    Expose,
    Generation,
    Infect,
)
from linnaea.twin.reference_models.flocking_rules import Align, compute_order_parameter
from linnaea.twin.reference_models.functional_response import Hunt, Kill, Restock
from linnaea.twin.reference_models.metapopulation import Colonise, Settle, place_animals
from linnaea.twin.reference_models.patch_foraging import ChoosePatch, ForagePatches, GoToPatch
from linnaea.twin.rules.mortality import BackgroundMortality, death_rate
from linnaea.twin.rules.motion import Move, Walk
from linnaea.twin.rules.reproduction import FEMALE, MALE, GiveBirth, Mate

# All animals at one place: everyone meets everyone, so places have no effect.
NOWHERE = Space(width_m=1, height_m=1)


def run_of(rules: Sequence[Rule], *, space: Space = NOWHERE, **settings) -> World:
    """Return an empty world with these rules."""
    return World(space=space, rules=list(rules), **({"capacity": 4096} | settings))


def scattered(world: World, count: int, **values) -> np.ndarray:
    """Put `count` animals at uniform places with random headings; return their slots."""
    rng = np.random.default_rng([world.seed, count])
    angle = rng.uniform(0, 2 * np.pi, count)
    x, y = rng.uniform(0, world.space.width_m, count), rng.uniform(0, world.space.height_m, count)
    return world.agents.add(count, x=x, y=y, dir_x=np.cos(angle), dir_y=np.sin(angle), **values)


def logistic_growth(n_seeds: int = 40) -> Iterator[Result]:
    """Compare the mean of stochastic populations with the logistic curve."""
    start, capacity, rate, dt = 50, 500, 0.7, 0.02
    hours = (2, 4, 6, 10)
    counts = np.zeros((n_seeds, len(hours)))
    for seed in range(n_seeds):
        rules = [BirthDeath(birth_per_h=1.0, death_per_h=1.0 - rate, carrying_capacity=capacity), DeliverLitters()]
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
    """Refit attack rate and handling time from the meals of predators at seven densities."""
    from scipy.optimize import curve_fit

    side, strike, handling, full = 100.0, 0.2, 60.0, 0.6
    density = np.array([0.01, 0.02, 0.04, 0.08, 0.16, 0.25, 0.35])
    area = math.pi * strike**2
    for power, name, settings in (
        (1, "II", {}),
        (2, "III", {"full_density": full, "awareness_m": 8.0}),
    ):
        rate = np.array(
            [eaten_per_hour(n_predators, int(x * side**2), side, strike, handling, steps, **settings) for x in density]
        )
        fit, _ = curve_fit(
            lambda x, a, h, power=power: a * x**power / (1 + a * h * x**power),
            density,
            rate,
            p0=(area, handling),
            sigma=np.sqrt(rate),
        )
        attack = area if power == 1 else area / full
        for what, expected, obtained in (("attack rate", attack, fit[0]), ("handling time", handling, fit[1])):
            claim = f"Holling {name} refitted from encounters, {what}"
            yield Result(claim=claim, expected=expected, obtained=obtained, tolerance=0.05 * expected)


def eaten_per_hour(
    n_predators: int, n_prey: int, side: float, strike: float, handling: float, steps: int, **settings
) -> float:
    """Return the prey that a predator eats in an hour among `n_prey`, which are replaced when eaten."""
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
    before = world.tallies.eaten[1, 0]
    advance(world, steps)
    return (world.tallies.eaten[1, 0] - before) / (n_predators * steps)


def epidemics(n: int = 20_000, ratios: Sequence[float] = (1.5, 2.0, 3.0)) -> Iterator[Result]:
    """Compare an infection among animals that all meet with the final size and the peak of the equations."""
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
    """Compute the share of families of three that die out when births are twice as likely as deaths."""
    rules = [BirthDeath(birth_per_h=1.0, death_per_h=0.5), DeliverLitters()]
    world = run_of(rules, capacity=1 << 16, dt_h=0.5)
    world.agents.add(3 * n_lines, herd=np.repeat(np.arange(n_lines), 3))
    safe = np.zeros(n_lines, bool)
    while len(world.agents):
        advance(world, 2)
        live = world.agents.slots()
        # A family of 40 dies out with probability 2^-40.
        safe |= np.bincount(world.agents.herd[live], minlength=n_lines) >= 40
        world.agents.remove(live[safe[world.agents.herd[live]]])
    error = math.sqrt(0.125 * 0.875 / n_lines)
    claim = f"birth–death extinction, b = 1, d = 0.5, n = 3 ({n_lines:,} families; tolerance 3 s.e.)"
    yield Result(claim=claim, expected=0.125, obtained=1 - safe.mean(), tolerance=3 * error)


def random_walk(n: int = 100_000) -> Iterator[Result]:
    """Compute the squared displacement of correlated random walkers."""
    space = Space(width_m=4000, height_m=4000, cell_m=100)
    world = run_of([Walk(speed_m_h=1.0, mean_cosine=0.6, exponential=True), Move()], space=space, capacity=n, seed=1)
    world.agents.add(n, x=2000.0, y=2000.0)
    advance(world, 100)
    a = world.agents
    squared = (a.x[:n].astype(float) - 2000) ** 2 + (a.y[:n].astype(float) - 2000) ** 2
    claim = "correlated random walk, c = 0.6, 100 exponential steps, mean squared displacement"
    yield Result(claim=claim, expected=492.5, obtained=squared.mean(), tolerance=0.02 * 492.5)


def alignment(widths: Sequence[int] = (1, 2, 3, 4, 5), n_seeds: int = 4, steps: int = 4000) -> Iterator[Result]:
    """Compute the order of Vicsek's particles under noise."""
    table = {1: 0.951, 2: 0.814, 3: 0.602, 4: 0.320, 5: 0.123}
    for width in widths:
        orders: list[float] = []
        for seed in range(n_seeds):
            rules = [Align(radius_m=1.0, speed_m_h=0.03, noise_rad=float(width)), Move()]
            world = run_of(rules, space=Space(width_m=5, height_m=5, torus=True, cell_m=1), seed=seed)
            scattered(world, 100)
            advance(world, 1000)
            advance(world, steps, each=lambda world, orders=orders: orders.append(compute_order_parameter(world)))
        claim = f"Vicsek, N = 100, L = 5, v = 0.03, noise width {width}, order"
        yield Result(claim=claim, expected=table[width], obtained=float(np.mean(orders)), tolerance=0.03)


def free_distribution(n: int = 3000) -> Iterator[Result]:
    """Distribute foragers over patches of unequal richness."""
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
    yield Result(
        claim=f"ideal free distribution over 12 patches, χ² (5 % bound {bound:.3g})",
        expected=0,
        obtained=statistic,
        tolerance=bound,
    )


def marginal_value(hours: float = 5_000) -> Iterator[Result]:
    """Find the stay in a patch with the largest gain rate: gain t / (t + 4), travel 9."""
    stay = np.arange(1.0, 14.01, 0.25)
    for dt in (1.0, 0.3):
        world = run_of([ForagePatches(half_h=4.0, travel_h=9.0)], traits=("stay_h",), dt_h=dt)
        world.agents.add(len(stay), traits=stay[:, None])
        advance(world, round(hours / dt))
        best = float(stay[np.argmax(world.agents.energy[: len(stay)])])
        claim = f"marginal value, gain t/(t+4), travel 9, best stay, step {dt:g} h"
        yield Result(claim=claim, expected=6.0, obtained=best, tolerance=0.25)


def metabolic_scaling(days: int = 30, area_share: float = 0.05) -> Iterator[Result]:
    """Fit the respiration of grown animals of the savanna to their mass; Kleiber's slope must lie in the interval.

    The young are left out: a mean mass of all ages to the power 0.75 is not the mean of the powers. This moves the
    slope by 0.001, about the width of the interval.
    """
    world = build_world("savanna", seed=1, area_share=area_share, dt_h=24.0)
    animals, mass, respired = np.zeros((3, len(world.species)))
    for _ in range(days):
        step(world)
        a = world.agents
        grown = a.slots()
        grown = grown[
            (a.mass[grown] >= 0.98 * world.parameters.bodies.adult_kg[a.species[grown]]) & (a.spent[grown] > 0)
        ]
        for total, values in ((animals, None), (mass, a.mass[grown]), (respired, a.spent[grown])):
            total += np.bincount(a.species[grown], values, minlength=len(total))
    seen = animals >= 10 * days
    fit = fit_power_law(mass[seen] / animals[seen], respired[seen] / animals[seen])
    claim = (
        f"Kleiber, respiration of a grown animal of {seen.sum()} species of the savanna: slope on mass, 95 % interval"
    )
    yield Result(claim=claim, expected=0.75, obtained=fit.slope, tolerance=(fit.high - fit.low) / 2)


def generations(capacity: int = 15_000, settle: int = 40, last: int = 60, n_seeds: int = 8) -> Iterator[Result]:
    """Ricker: non-overlapping generations rest, or alternate between two or four numbers, as the map does."""
    for rate, period in ((1.8, 1), (2.3, 2), (2.6, 4)):
        share = np.zeros((n_seeds, last))
        for seed in range(n_seeds):
            world = run_of([Generation(fertility=(math.exp(rate),), crowding=rate / capacity)], seed=seed)
            world.agents.add(round(0.7 * capacity))
            advance(world, settle)
            for row in range(last):
                advance(world, 1)
                share[seed, row] = len(world.agents) / capacity
        # After one cycle numbers are the same except for chance, which is far below a tenth of the capacity.
        apart = [float(np.sqrt(np.mean((share[:, lag:] - share[:, :-lag]) ** 2))) for lag in range(1, 9)]
        found = next((lag for lag, value in enumerate(apart, 1) if value < 0.1), 0)
        claim = f"Ricker, r = {rate:g}, animals around {capacity:,}:"
        yield Result(claim=f"{claim} generations until numbers repeat", expected=period, obtained=found, tolerance=0)
        phases = np.sort([[one[k::period].mean() for k in range(period)] for one in share], axis=1)
        for k, expected in enumerate(np.sort(find_map_cycle(make_ricker(rate), period)[:, 0])):
            yield mean_over(f"{claim} number as a share, {k + 1} of {period}", float(expected), phases[:, k])


def invasions(numbers: Sequence[int] = (100, 1000), dt: float = 0.1, n_seeds: int = 6) -> Iterator[Result]:
    """Measure Fisher's wave of animals that walk and breed, times 12 to 30.

    Finite numbers slow the wave. Its speed lies between that of densities, and that of densities which grow only where
    there is at least one animal per length of √(D/r).
    """
    since, until = 12.0, 30.0
    fastest, speeds = front_of_densities(dt, since, until), []
    # Steps of this length in any direction spread with D = 1.
    walk = Walk(speed_m_h=2 / math.sqrt(dt))
    for number in numbers:
        breed = BirthDeath(birth_per_h=1.0, death_per_h=0.0, carrying_capacity=number, local=True)
        rules, found = [walk, Move(), breed, DeliverLitters()], []
        for seed in range(n_seeds):
            world = run_of(rules, space=Space(width_m=80, height_m=1, cell_m=1), seed=seed, dt_h=dt)
            rng = np.random.default_rng(seed)
            world.agents.add(5 * number, x=rng.uniform(0, 5, 5 * number), y=rng.uniform(0, 1, 5 * number))
            advance(world, round(since / dt))
            before = len(world.agents)
            advance(world, round((until - since) / dt))
            found.append((len(world.agents) - before) / number / (until - since))
        slowest, error = (
            front_of_densities(dt, since, until, 1 / number),
            float(np.std(found, ddof=1)) / math.sqrt(n_seeds),
        )
        claim = f"Fisher's wave, {number:,} animals per length, {n_seeds} seeds: speed"
        yield Result(
            claim=f"{claim} between {slowest:.3f} (cut off at one) and {fastest:.3f} (densities), or 3 s.e. off",
            expected=(slowest + fastest) / 2,
            obtained=float(np.mean(found)),
            tolerance=(fastest - slowest) / 2 + 3 * error,
        )
        speeds.append(float(np.mean(found)))
    claim = f"Fisher's wave: how often more animals are faster ({', '.join(f'{speed:.3f}' for speed in speeds)})"
    yield Result(claim=claim, expected=len(speeds) - 1, obtained=int((np.diff(speeds) > 0).sum()), tolerance=0)


def front_of_densities(dt: float, since: float, until: float, least: float = 0.0) -> float:
    """Return the speed of Fisher's wave in the same steps of walking and breeding; densities above `least` grow."""
    x = np.arange(0.05, 80, 0.1)
    ways = 2 * math.sqrt(dt) * np.cos(np.pi * (np.arange(16) + 0.5) / 16)
    density, grown = (x < 5).astype(float), []
    for _ in range(round(until / dt)):
        density = np.mean([np.interp(np.abs(x - way), x, density) for way in ways], axis=0)
        density *= np.where(density > least, np.exp((1 - density) * dt), 1.0)
        grown.append(0.1 * density.sum())
    return (grown[-1] - grown[round(since / dt) - 1]) / (until - since)


def patches(n_seeds: int = 8, dt: float = 0.01) -> Iterator[Result]:
    """Levins: the occupied share of patches when young go anywhere; island biogeography: the species of an island."""
    colonise, die, n = 0.5, 0.2, 1600
    rules = [BirthDeath(birth_per_h=colonise, death_per_h=die), DeliverLitters(), Settle()]
    taken = []
    for seed in range(n_seeds):
        world = run_of(rules, space=Space(width_m=40, height_m=40, cell_m=1), seed=seed, dt_h=dt)
        place_animals(world, world.agents.add(n // 2), np.arange(n // 2))
        taken.append(mean_number(world, 20, 30) / n)
    yield mean_over("Levins, animals on 1,600 patches, occupied share, 1 − e/c", 1 - die / colonise, taken)
    pool, arrive, vanish, islands = 100, 4.0, 6.0, 36
    species = tuple(f"species {row}" for row in range(pool))
    rules = [BirthDeath(birth_per_h=0.0, death_per_h=vanish / pool, species=-1), Colonise(rate_per_h=arrive / pool)]
    found = []
    for seed in range(n_seeds):
        world = run_of(rules, space=Space(width_m=6, height_m=6, cell_m=1), seed=seed, dt_h=5 * dt, species=species)
        found.append(mean_number(world, 60, 60) / islands)
    yield mean_over("island biogeography, species per island, IP/(I + E)", pool * arrive / (arrive + vanish), found)


def mean_number(world: World, settle_h: float, hours: float) -> float:
    """Return the mean number of animals over some hours, after a number of other hours."""
    advance(world, round(settle_h / world.dt_h))
    numbers: list[int] = []
    advance(world, round(hours / world.dt_h), each=lambda world: numbers.append(len(world.agents)))
    return float(np.mean(numbers))


def ages(n_seeds: int = 12, start: int = 3000, years: int = 12) -> Iterator[Result]:
    """Leslie: populations of animals of all ages grow by the dominant eigenvalue of their life table's matrix."""
    tables = {"four ages": (np.array([0, 1.2, 1.5, 0.7]), np.array([0.5, 0.8, 0.3]))}
    tables |= {name: make_life_table(load_bundled_species()[name]) for name in ("wildebeest", "impala")}
    for name, (fertility, survival) in tables.items():
        matrix, found = make_leslie_matrix(fertility, survival), []
        numbers = np.rint(start * compute_stable_ages(matrix)).astype(int)
        rule = Generation(fertility=tuple(map(float, fertility)), survival=tuple(map(float, survival)))
        for seed in range(n_seeds):
            world = run_of([rule], seed=seed)
            world.agents.add(numbers.sum(), born_h=-np.repeat(np.arange(len(numbers)), numbers))
            advance(world, years)
            found.append((len(world.agents) / numbers.sum()) ** (1 / years))
        yield mean_over(
            f"Leslie, {name}, animals: growth per year, dominant eigenvalue", compute_growth_factor(matrix), found
        )


def life_histories(
    n_seeds: int = 12, start: int = 2000, steps: int = 72, dt: float = HOURS_A_YEAR / 24
) -> Iterator[Result]:
    """Rabbits that age, mate, bear and die by the rules of the bundled worlds, always fed, grow as those rates say."""
    built = build_world("tutorial", n_animals=50)
    kind = built.species.index("rabbit")
    # Young arrive at any time of the year, in any burrow, an hour after mating.
    p = built.parameters
    p.life.birth_season[:], p.groups.resident[:], p.life.gestation_h[:] = True, False, 1.0
    p.life.conceive_per_h[kind] = 2 / HOURS_A_YEAR
    age = np.arange(math.ceil(1.4 * p.life.life_h[kind] / dt)) * dt
    rate = [
        death_rate.py_func(one, HOURS_A_YEAR, *(p[name][kind] for name in ("life_h", "young_death_h", "adult_death_h")))
        for one in age
    ]
    survival = np.exp(-dt * np.array(rate))
    # A mother that dies in a step bears no young at its end; half of the young are daughters.
    daughters = -math.expm1(-dt * p.life.conceive_per_h[kind]) * p.life.litter_size[kind] / 2
    matrix = make_leslie_matrix(survival * daughters * (age >= p.life.mature_h[kind]), survival[:-1])
    numbers, found = np.rint(start / 2 * compute_stable_ages(matrix)).astype(int), []
    born = -np.repeat(age, numbers)
    for seed in range(n_seeds):
        rules = [BackgroundMortality(every_h=dt), Mate(every_h=dt), GiveBirth()]
        world = World(
            space=built.space,
            rules=rules,
            seed=seed,
            dt_h=dt,
            species=built.species,
            parameters=p,
            fields=built.fields,
            arrays=built.arrays,
        )
        for sex in (FEMALE, MALE):
            world.agents.add(len(born), species=kind, sex=sex, born_h=born, mass=1.0, energy=1e9)
        advance(world, steps, each=lambda world: world.agents.energy.fill(1e9))
        found.append((len(world.agents) / (2 * len(born))) ** (HOURS_A_YEAR / (steps * dt)))
    claim = f"rabbits that age, mate, bear and die by the worlds' rules: growth per year, eigenvalue of {len(age)} ages"
    yield mean_over(claim, compute_growth_factor(matrix) ** (HOURS_A_YEAR / dt), found)


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 1 if a line does not hold."""
    options = page_options(__doc__).parse_args(argv)
    parts = (
        logistic_growth(),
        functional_responses(),
        epidemics(),
        extinction(),
        random_walk(),
        alignment(),
        free_distribution(),
        marginal_value(),
        generations(),
        invasions(),
        patches(),
        ages(),
        life_histories(),
        metabolic_scaling(),
        grazing(),
        kills(),
        contagion(),
        cascade(),
    )
    results = [result for part in parts for result in part]
    return write_page(
        "agents", "Agents: the known results, and those of the program's animals", results, options.results, argv
    )


if __name__ == "__main__":
    raise SystemExit(main())
