"""Compare the rules of `linnaea twin run` with textbook results, in worlds of `build_world`; lines of agents.py's page.

If a line is about some of the rules, all other rules of the world are switched off (`only`). Its animals, parameters,
landscape and loop are those of every run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from checks import Result

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.engine.agents import HOURS_A_YEAR, INFECTIOUS, SUSCEPTIBLE
from linnaea.twin.engine.step import advance, step
from linnaea.twin.engine.world import PHASES, World
from linnaea.twin.rules.disease import set_disease
from linnaea.twin.rules.foraging import head_up_share, herd_notices
from linnaea.twin.scenarios.scenario_file import attach, parse_scenario

OWN = "the worlds' own rules: "


def only(world: World, *names: str) -> World:
    """Return the world with only the rules of these names, unchanged; all others are switched off."""
    world.rules[:] = [rule for rule in world.rules if type(rule).__name__ in names]
    world.by_phase = {phase: [rule for rule in world.rules if rule.phase == phase] for phase in PHASES}
    return world


def scatter(world: World, slots: np.ndarray, rng: np.random.Generator) -> None:
    """Put these animals at random places on the ground."""
    world.agents.x[slots] = rng.uniform(0, world.space.width_m, len(slots))
    world.agents.y[slots] = rng.uniform(0, world.space.height_m, len(slots))


def grazing(days: int = 2, area_share: float = 2.0) -> Iterator[Result]:
    """Refit Holling's second type to the intake of rabbits that roam and graze among equal clover everywhere.

    Herds, activity and differences of appetite among animals are as in a run; the mean is over all animals.
    """
    from scipy.optimize import curve_fit

    world = only(
        build_world("tutorial", seed=1, area_share=area_share), "UpdateHerds", "Roam", "Graze", "Eat", "Travel"
    )
    a, p, kind = world.agents, world.parameters, world.species.index("rabbit")
    rabbits = a.slots()[a.species[a.slots()] == kind]
    a.mass[rabbits] = p.bodies.adult_kg[kind]
    half_kj, taken = float(p.diet.half_kj[kind]), []
    amounts = half_kj * np.array([0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])

    def as_before(world: World) -> None:
        """Put the same food in every cell, and empty all stomachs."""
        world.arrays.food[...] = amounts[len(taken)]
        a.energy[rabbits] = 0.2 * p.bodies.store_kj_kg[kind] * a.mass[rabbits]

    for _ in amounts:
        as_before(world)
        before = world.tallies.grazed_kj[kind].sum()
        advance(world, round(24 * days / world.dt_h), each=as_before)
        taken.append((world.tallies.grazed_kj[kind].sum() - before) / len(rabbits) / (24 * days))
    most, half = curve_fit(
        lambda food, most, half: most * food / (half + food), amounts, taken, p0=(max(taken), half_kj)
    )[0]
    watching = np.mean([head_up_share(float(size)) for size in world.herds.size[a.herd[rabbits]]])
    usual = float(p.bodies.most_kj_h[kind]) * float(p.bodies.adult_kg[kind]) ** 0.75 / float(p.foods.efficiency[0])
    expected = usual * (1 - watching) / float(p.diet.usual_feeding[kind])
    claim = f"{OWN}Graze and Eat, {len(rabbits):,} rabbits, Holling II refitted to intake at seven amounts of clover,"
    yield Result(claim=f"{claim} maximum, kJ/h", expected=expected, obtained=float(most), tolerance=0.05 * expected)
    per_kg_km2 = float(p.foods.kj_kg[0] * p.cell_km2)
    yield Result(
        claim=f"{claim} half saturation, kg/km²",
        expected=half_kj / per_kg_km2,
        obtained=float(half) / per_kg_km2,
        tolerance=0.05 * half_kj / per_kg_km2,
    )


def kills(
    densities: tuple[float, ...] = (5.0, 10.0, 20.0), days: int = 60, area_share: float = 16.0
) -> Iterator[Result]:
    """Count the kills of hungry, idle foxes, each alone among few rabbits, and compare with the attack rate.

    Rabbits are grown, well fed, of one herd, and get new random places in every step; killed ones are replaced.
    """
    world = only(
        build_world("tutorial", seed=1, area_share=area_share),
        "UpdateHerds",
        "Census",
        "SearchPrey",
        "ResolveKills",
        "DepositCarcass",
    )
    a, p = world.agents, world.parameters
    prey, hunter = world.species.index("rabbit"), world.species.index("red fox")
    rng, herd = np.random.default_rng(1), int(a.herd[a.slots()[a.species[a.slots()] == prey][0]])
    n_foxes = hunters_apart(world, hunter)
    a.remove(a.slots()[a.species[a.slots()] == prey])
    area_km2 = world.space.width_m * world.space.height_m / 1e6

    def as_before(world: World) -> None:
        """Put a number of rabbits at random places; the foxes are hungry and have digested their last meal."""
        now = world.agents
        there = now.slots()[now.species[now.slots()] == prey]
        now.remove(there[number:])
        if number > len(there):
            now.add(number - len(there), species=prey, herd=herd)
        there = now.slots()[now.species[now.slots()] == prey]
        scatter(world, there, rng)
        now.mass[there], now.energy[there] = (
            p.bodies.adult_kg[prey],
            p.bodies.store_kj_kg[prey] * p.bodies.adult_kg[prey],
        )
        now.born_h[there] = world.now_h - 0.4 * p.life.life_h[prey]
        mine = now.slots()[now.species[now.slots()] == hunter]
        now.energy[mine], now.until_h[mine] = 0.1 * p.bodies.store_kj_kg[hunter] * now.mass[mine], 0.0

    hours, attack = n_foxes * 24 * days, float(p.hunting.attack_km2_h[hunter])
    total, sought, claim = 0, 0.0, f"{OWN}SearchPrey and ResolveKills, {n_foxes} hungry foxes among few rabbits"
    for density in densities:
        number = round(density * area_km2)
        as_before(world)
        before = int(world.tallies.killed[hunter, prey])
        advance(world, round(24 * days / world.dt_h), each=as_before)
        found = int(world.tallies.killed[hunter, prey]) - before
        weight = (
            p.hunting.prey_weight[hunter, prey]
            * p.hunting.prime[prey]
            * (1 - care_of(world) * herd_notices(float(number)))
        )
        seen = float(weight) * number / area_km2
        total, sought, a_day = total + found, sought + hours * seen, hours / 24
        yield Result(
            claim=f"{claim}, {density:g} per km²: kills per fox and day (tolerance 3 s.e.)",
            expected=24 * attack * seen,
            obtained=found / a_day,
            tolerance=3 * math.sqrt(24 * attack * seen / a_day),
        )
    yield Result(
        claim=f"{claim}, {total:,} kills: attack rate, km²/h (tolerance 3 s.e.)",
        expected=attack,
        obtained=total / sought,
        tolerance=3 * math.sqrt(attack / sought),
    )


def care_of(world: World) -> float:
    """Return how far a herd's eyes lower a hunter's success, by the world's own rule."""
    return next(rule.care for rule in world.rules if type(rule).__name__ == "SearchPrey")


def hunters_apart(world: World, kind: int) -> int:
    """Put grown hunters so far from each other and the border that none sees a rival or less ground.

    Return their number; the other hunters are removed.
    """
    a, reach = world.agents, float(world.parameters.hunting.search_m[kind])
    there = a.slots()[a.species[a.slots()] == kind]
    axes = [np.arange(1.05 * reach, side - reach, 2.05 * reach) for side in (world.space.width_m, world.space.height_m)]
    x, y = (part.ravel() for part in np.meshgrid(*axes))
    n = min(len(there), len(x))
    a.remove(there[n:])
    a.x[there[:n]], a.y[there[:n]], a.mass[there[:n]] = x[:n], y[:n], world.parameters.bodies.adult_kg[kind]
    return n


def contagion(n: int = 5_000, first: float = 0.1, n_seeds: int = 30) -> Iterator[Result]:
    """Compare the final size of an outbreak with that of SIR for the R0 of the first ill rabbits.

    Rabbits get new random places in every step. R0 is the number that the first ill rabbits infect, counted in the same
    run. An infection with several possible carriers is shared among them, and susceptible rabbits that are gone by then
    are compensated for. One run gives R0 to 5 %, because few rabbits cause many infections and many cause none, and so
    the size to 0.02; only the mean over runs is compared. In long steps several carriers may infect one animal once,
    which lowers that R0 (by half of what a step infects).
    """
    sizes, expected, ratios = [], [], []
    for seed in range(n_seeds):
        size, ratio = outbreak(n, first, seed)
        sizes.append(size)
        ratios.append(ratio)
        expected.append(final_size(ratio, first))
    off = np.array(sizes) - np.array(expected)
    claim = f"{OWN}CountContacts and ProgressDisease, {n:,} well-mixed rabbits, final size of SIR for the R0 of the run"
    yield Result(
        claim=f"{claim}, {np.mean(ratios):.2f} ({n_seeds} seeds; tolerance 3 s.e.)",
        expected=float(np.mean(expected)),
        obtained=float(np.mean(sizes)),
        tolerance=3 * float(off.std(ddof=1)) / math.sqrt(n_seeds),
    )


def outbreak(
    n: int, first: float, seed: int, illness_d: float = 3.0, infections_per_h: float = 0.018
) -> tuple[float, float]:
    """Return (share ever ill, R0 of the first ill rabbits) of one outbreak among well-mixed rabbits."""
    from scipy.spatial import cKDTree

    world = only(build_world("tutorial", seed=seed, n_animals=n, dt_h=2.0), "CountContacts", "ProgressDisease")
    a, rng, radius = world.agents, np.random.default_rng(seed), world.rules[0].radius_m
    a.remove(a.slots()[a.species[a.slots()] != world.species.index("rabbit")])
    rabbits = a.slots()
    world.resort_every = 0  # Slots stay, so that the first ill rabbits are known.
    set_disease(world, {"rabbit": 1.0}, infection_per_h=infections_per_h, illness_d=illness_d, lethality=0.0)
    primary = np.zeros(len(a.health), bool)
    primary[rng.choice(rabbits, round(first * len(rabbits)), replace=False)] = True
    a.health[primary] = INFECTIOUS
    caused = 0.0
    while (a.health[rabbits] == INFECTIOUS).any():
        scatter(world, rabbits, rng)
        before = a.health.copy()
        step(world)
        new = rabbits[(before[rabbits] == SUSCEPTIBLE) & (a.health[rabbits] == INFECTIOUS)]
        if len(new) and (before[primary] == INFECTIOUS).any():
            carriers = rabbits[before[rabbits] == INFECTIOUS]
            places = np.column_stack([a.x, a.y])
            near = cKDTree(places[carriers]).query_ball_point(places[new], radius)
            shares = [primary[carriers[one]].mean() for one in near if one]
            caused += sum(shares) * len(rabbits) / np.count_nonzero(before[rabbits] == SUSCEPTIBLE)
    return np.count_nonzero(a.health[rabbits] != SUSCEPTIBLE) / len(rabbits), caused / np.count_nonzero(primary)


def final_size(ratio: float, first: float) -> float:
    """Return the share that is ever ill, from the share ill at first: z = 1 − (1 − first) exp(−R0 z)."""
    from scipy.optimize import brentq

    return float(brentq(lambda z: z - 1 + (1 - first) * math.exp(-ratio * z), first, 1.0))


def cascade(n_seeds: int = 6, years: float = 2.0, area_share: float = 0.5) -> Iterator[Result]:
    """Compare the tutorial without its foxes and with them on the same seeds: more rabbits, less clover, in every pair.

    Two years are early. Later the clover limits the rabbits, and a pair may have no more of them than with foxes (in
    the second half of three years on 0.3 of the ground 5 of 6 pairs had more rabbits, 6 of 6 less clover).
    """
    gone = parse_scenario({"version": 1, "intervention": [{"kind": "remove", "species": "red fox", "from_day": 0}]})
    more, less, ratios = 0, 0, []
    for seed in range(n_seeds):
        means = []
        for scenario in (None, gone):
            world = build_world("tutorial", seed=seed, area_share=area_share, dt_h=24.0)
            if scenario:
                attach(world, scenario, years * HOURS_A_YEAR)
            kept: list[tuple[float, float]] = []
            steps = round(years * HOURS_A_YEAR / world.dt_h)
            advance(
                world, steps, each=lambda world, kept=kept: kept.append((world.counts()[0], world.arrays.food.sum()))
            )
            means.append(np.mean(kept[steps // 2 :], axis=0))
        ratios.append(means[1] / means[0])
        more, less = more + int(ratios[-1][0] > 1), less + int(ratios[-1][1] < 1)
    rabbits, clover = np.mean(ratios, axis=0)
    claim = f"{OWN}all of the tutorial's, foxes removed, second half of {years:g} years, {n_seeds} paired seeds:"
    yield Result(
        claim=f"{claim} more rabbits (on average {rabbits:.2f} times)", expected=n_seeds, obtained=more, tolerance=0
    )
    yield Result(
        claim=f"{claim} less clover (on average {clover:.2f} times)", expected=n_seeds, obtained=less, tolerance=0
    )
