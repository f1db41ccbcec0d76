"""Textbook results from the very rules of `linnaea twin run`, in worlds that `build_world` made; lines of agents.py's page.

Where a line is about some of the rules, the world's others are switched off (`only`): its animals, parameters, landscape
and the loop are what every run has.
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
    """The world with those of its rules that have these names, as they are; all others are switched off."""
    world.rules[:] = [rule for rule in world.rules if type(rule).__name__ in names]
    world.by_phase = {phase: [rule for rule in world.rules if rule.phase == phase] for phase in PHASES}
    return world


def scatter(world: World, slots: np.ndarray, rng: np.random.Generator) -> None:
    """These animals stand anywhere on the ground."""
    world.agents.x[slots] = rng.uniform(0, world.space.width_m, len(slots))
    world.agents.y[slots] = rng.uniform(0, world.space.height_m, len(slots))


def grazing(days: int = 2, area_share: float = 2.0) -> Iterator[Result]:
    """Rabbits that roam and graze among so much clover everywhere: Holling's second type, refitted to what they took.

    Herds, activity and whatever tells one animal's appetite from another's are as a run has them: the mean is over all.
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
        """The same food in every cell, and nobody full."""
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
    yield Result(claim=f"{claim} most, kJ an hour", expected=expected, obtained=float(most), tolerance=0.05 * expected)
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
    """Foxes that are always hungry and idle, each alone, among few rabbits: kills as the attack rate says.

    Rabbits are grown, well fed, of one herd, and stand anywhere anew in every step; those that are killed are replaced.
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
        """A number of rabbits anywhere; the foxes are hungry and have digested their last meal."""
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
            claim=f"{claim}, {density:g} a km²: kills of one a day (tolerance 3 s.e.)",
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
    """How far a herd's eyes lower a hunter's success, of the world's own rule."""
    return next(rule.care for rule in world.rules if type(rule).__name__ == "SearchPrey")


def hunters_apart(world: World, kind: int) -> int:
    """Puts grown hunters so far from each other and the border that none sees a rival or less ground; how many: others go."""
    a, reach = world.agents, float(world.parameters.hunting.search_m[kind])
    there = a.slots()[a.species[a.slots()] == kind]
    axes = [np.arange(1.05 * reach, side - reach, 2.05 * reach) for side in (world.space.width_m, world.space.height_m)]
    x, y = (part.ravel() for part in np.meshgrid(*axes))
    n = min(len(there), len(x))
    a.remove(there[n:])
    a.x[there[:n]], a.y[there[:n]], a.mass[there[:n]] = x[:n], y[:n], world.parameters.bodies.adult_kg[kind]
    return n


def contagion(n: int = 5_000, first: float = 0.1, n_seeds: int = 30) -> Iterator[Result]:
    """Rabbits that stand anywhere anew in every step: the final size that SIR has for the R0 of the first ill ones.

    R0 is what those that were ill at first infect, counted in the same run: who has several carriers about is shared among
    them, and the susceptible who are gone by then are made up for. One run has it to 5 %, as few cause many and many
    none, and so the size to .02; only the mean over runs is compared. In long steps several carriers may infect one animal once,
    which lowers that R0 (by a half of what a step infects).
    """
    sizes, expected, ratios = [], [], []
    for seed in range(n_seeds):
        size, ratio = outbreak(n, first, seed)
        sizes.append(size)
        ratios.append(ratio)
        expected.append(final_size(ratio, first))
    off = np.array(sizes) - np.array(expected)
    claim = f"{OWN}CountContacts and ProgressDisease, {n:,} well-mixed rabbits, final size of SIR for the R0 measured in the same run"
    yield Result(
        claim=f"{claim}, {np.mean(ratios):.2f} ({n_seeds} seeds; tolerance 3 s.e.)",
        expected=float(np.mean(expected)),
        obtained=float(np.mean(sizes)),
        tolerance=3 * float(off.std(ddof=1)) / math.sqrt(n_seeds),
    )


def outbreak(
    n: int, first: float, seed: int, illness_d: float = 3.0, infections_per_h: float = 0.018
) -> tuple[float, float]:
    """(share ever ill, R0 of the first ill ones) of one outbreak among rabbits that all mix."""
    from scipy.spatial import cKDTree

    world = only(build_world("tutorial", seed=seed, n_animals=n, dt_h=2.0), "CountContacts", "ProgressDisease")
    a, rng, radius = world.agents, np.random.default_rng(seed), world.rules[0].radius_m
    a.remove(a.slots()[a.species[a.slots()] != world.species.index("rabbit")])
    rabbits = a.slots()
    world.resort_every = 0  # Slots stay, so that who was ill at first is known.
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
    """The share that is ever ill where a share is at first: z = 1 − (1 − first) exp(−R0 z)."""
    from scipy.optimize import brentq

    return float(brentq(lambda z: z - 1 + (1 - first) * math.exp(-ratio * z), first, 1.0))


def cascade(n_seeds: int = 6, years: float = 2.0, area_share: float = 0.5) -> Iterator[Result]:
    """The tutorial without its foxes against the same seeds with them: more rabbits, less clover, in every pair.

    Two years are early: later the clover holds the rabbits back, and a pair may have no more of them than with foxes (in the
    second half of three years on .3 of the ground 5 of 6 pairs had more, 6 of 6 less clover).
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
    claim = f"{OWN}all of the tutorial's, foxes removed, mean of the second half of {years:g} years, of {n_seeds} paired seeds with"
    yield Result(
        claim=f"{claim} more rabbits (on average {rabbits:.2f} times)", expected=n_seeds, obtained=more, tolerance=0
    )
    yield Result(
        claim=f"{claim} less clover (on average {clover:.2f} times)", expected=n_seeds, obtained=less, tolerance=0
    )
