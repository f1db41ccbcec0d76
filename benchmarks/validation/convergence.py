"""Do the animals approach the equations of the same food web, with numbers, with mixing, with shorter steps?

    python benchmarks/validation/convergence.py

One `MeanFieldModel` is solved as equations (`linnaea.twin.meanfield.equations`) and simulated as individuals by the
program's loop and rules (`linnaea.twin.reference_models.meanfield_as_agents`). The gap is the root mean square, over
time and nodes, of the difference of densities as a share of the node's mean. If chance is the only cause, the gap falls
with the square root of the numbers; what remains otherwise is a difference between animals and equations. Cycles are
compared over one turn, competitors at the end. The exit code is 1 if a line is outside its tolerance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from checks import Result, mean_over, page_options, write_page

from linnaea.twin.engine.step import advance
from linnaea.twin.engine.world import World
from linnaea.twin.meanfield.equations import integrate
from linnaea.twin.meanfield.model import Link, MeanFieldModel, Node
from linnaea.twin.meanfield.stability import compute_cascade_signs, find_equilibrium, integrate_to_attractor
from linnaea.twin.meanfield.textbook import (
    make_food_chain,
    make_grazers,
    make_lotka_volterra,
    make_rosenzweig_macarthur,
)
from linnaea.twin.reference_models.meanfield_as_agents import build_agent_world, compute_densities

# Small prey: its handling time is short against all lifetimes.
HARES = {"hare": 0.1}
STEP = 0.04
UNTIL = 20.0


def gap(
    model: MeanFieldModel,
    area: float,
    *,
    mass: Mapping[str, float],
    step: float = STEP,
    mixing: float = 1 / 3,
    seeds: int = 1,
) -> float:
    """Return the root mean square difference of animals and equations, as a share of means, over all values."""
    every = max(1, round(0.4 / step))
    times = np.arange(1, int(UNTIL / (every * step)) + 1) * every * step
    exact = integrate(model, float(times[-1]), times).state_tsc[:, : len(model.nodes), 0]
    squares = []
    for seed in range(seeds):
        world = build_agent_world(model, area, step, mass=mass, mixing=mixing, seed=seed)
        got = np.empty_like(exact)
        for row in range(len(times)):
            advance(world, every)
            got[row] = compute_densities(world)
        squares.append((((got - exact) / exact.mean(0)) ** 2).mean())
    return float(np.sqrt(np.mean(squares)))


def means(model: MeanFieldModel) -> np.ndarray:
    """Return the mean density [n] of each node over the run, by the equations."""
    return integrate(model, UNTIL).state_tsc[:, : len(model.nodes), 0].mean(0)


def two_hares() -> MeanFieldModel:
    """Return a lynx that prefers one of two hares: a web of three nodes with two links."""
    growth = {"brown hare": 1.0, "white hare": 1.4}
    hares = [Node(name=name, start=0.5, growth=rate, capacity=1.5) for name, rate in growth.items()]
    links = [
        Link(predator="lynx", prey=name, attack=1.0, handling=0.8, efficiency=0.5, preference=w)
        for name, w in (("brown hare", 0.6), ("white hare", 1.0))
    ]
    return MeanFieldModel(nodes=(*hares, Node(name="lynx", start=0.6, metabolism=0.25)), links=tuple(links))


def numbers(areas: Sequence[float] = (120, 480, 1920), seeds: int = 6) -> Iterator[Result]:
    """Compute the gap for growing areas, and so numbers; its slope on a double logarithmic scale is -1/2."""
    webs = {
        "hare and lynx": (make_rosenzweig_macarthur(1.5), HARES),
        "two hares and a lynx": (two_hares(), {"brown hare": 0.1, "white hare": 0.1}),
        "a chain of three": (make_food_chain(3), {"level1": 0.01, "level2": 0.05, "level3": 0.25}),
    }
    for name, (model, mass) in webs.items():
        found = [gap(model, area, mass=mass, seeds=seeds) for area in areas]
        slope = float(np.polyfit(np.log(areas), np.log(found), 1)[0])
        shown = ", ".join(f"{100 * value:.1f} %" for value in found)
        sizes = ", ".join(f"{area:g}" for area in areas)
        claim = f"{name}: gap {shown} at areas {sizes}: slope of its logarithm on the area's"
        yield Result(claim=claim, expected=-0.5, obtained=slope, tolerance=0.2)
        rarest = float((means(model) / [mass.get(one, 1.0) for one in model.names]).min())
        claim = f"{name}: gap at the largest area, tolerance 3 s.e. of the rarest node's number"
        yield Result(claim=claim, expected=0, obtained=found[-1], tolerance=3 / float(np.sqrt(rarest * areas[-1])))


def mixing(shares: Sequence[float] = (0.003, 0.01, 0.03, 1 / 3), area: float = 960, seeds: int = 2) -> Iterator[Result]:
    """Compute the gap for individuals that go farther in a step."""
    found = [gap(make_rosenzweig_macarthur(1.5), area, mass=HARES, seeds=seeds, mixing=share) for share in shares]
    shown = ", ".join(f"{100 * value:.1f} %" for value in found)
    ways = ", ".join(f"{share:.3g}" for share in shares)
    falls = sum(after < before for before, after in pairwise(found))
    claim = f"hare and lynx, mixing: gap {shown} with steps of {ways} of the side: factor of decrease"
    yield Result(claim=claim, expected=len(shares) - 1, obtained=falls, tolerance=0)


def steps(lengths: Sequence[float] = (0.6, 0.2, 0.04), area: float = 960, seeds: int = 2) -> Iterator[Result]:
    """Compute the gap for shorter steps, down to that of chance."""
    found = [gap(make_rosenzweig_macarthur(1.5), area, mass=HARES, seeds=seeds, step=step) for step in lengths]
    shown = ", ".join(f"{100 * value:.1f} %" for value in found)
    falls = sum(after < before for before, after in pairwise(found))
    claim = f"hare and lynx, steps of {', '.join(f'{step:g}' for step in lengths)}: gap {shown}: factor of decrease"
    yield Result(claim=claim, expected=len(lengths) - 1, obtained=falls, tolerance=0)


def cascade(n_seeds: int = 5, area: float = 400, until: float = 80.0, step: float = 0.1) -> Iterator[Result]:
    """Test that a top predator thins the middle of a chain and thickens its foot, in every seed."""
    right, names = 0, ["level1", "level2", "level3"]
    for seed in range(n_seeds):
        means = []
        for levels in (2, 3):
            model = make_food_chain(levels, seed)
            mass = dict(zip(names[:levels], (0.05, 0.2, 1.0), strict=False))
            world = build_agent_world(model, area, step, mass=mass, seed=seed)
            advance(world, round(until / 2 / step))
            total = np.zeros(levels)
            for _ in range(20):
                advance(world, round(until / 40 / step))
                total += compute_densities(world) / 20
            means.append(dict(zip(names, total, strict=False)))
        right += compute_cascade_signs({**means[0], "level3": 0.0}, means[1], names) == [1, -1, 1]
    claim = f"trophic cascade among animals, signs right, of {n_seeds} seeds"
    yield Result(claim=claim, expected=n_seeds, obtained=right, tolerance=0)


def starting_at(model: MeanFieldModel, density: Mapping[str, float]) -> MeanFieldModel:
    """Return the same model with other initial densities."""
    return replace(model, nodes=tuple(replace(node, start=float(density[node.name])) for node in model.nodes))


def first_turn(world: World, middle: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the period [2] of two densities around a middle, and the densities [t, 2] after every step until then.

    The period is NaN if one of the two dies out.
    """
    rows, turned = [compute_densities(world)], 0.0
    while True:
        advance(world, 1)
        rows.append(compute_densities(world))
        if not rows[-1].all():
            return math.nan, np.array(rows[1:])
        (x0, y0), (x1, y1) = np.log(np.array(rows[-2:]) / middle)
        part = math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
        if turned + part >= 2 * math.pi:
            return (len(rows) - 1 - (turned + part - 2 * math.pi) / part) * world.dt_h, np.array(rows[1:])
        turned += part


def circles(n_seeds: int = 8) -> Iterator[Result]:
    """Lotka–Volterra: individuals cycle with the equations' period; their mean is the equations' equilibrium."""
    fur = make_lotka_volterra(33.956, 5.933, 0.55, 0.028, 0.024, 0.80)
    for name, model, middle, period, area, step in (
        ("from (2, 1)", make_lotka_volterra(2, 1), (1.0, 1.0), 6.60848, 1500, 0.0025),
        ("from (5, 1)", make_lotka_volterra(5, 1), (1.0, 1.0), 8.96586, 1500, 0.0025),
        ("of hare and lynx", fur, (0.80 / 0.024, 0.55 / 0.028), 10.1486, 100, 0.005),
    ):
        turns = [
            first_turn(build_agent_world(model, area, step, seed=seed), np.array(middle)) for seed in range(n_seeds)
        ]
        yield mean_over(f"Lotka–Volterra {name}, animals: period", period, [time for time, _ in turns])
        mean = [float(rows[:, 0].mean()) for _, rows in turns]
        yield mean_over(f"Lotka–Volterra {name}, animals: mean prey over a turn", middle[0], mean)


def enrichment(n_seeds: int = 8) -> Iterator[Result]:
    """Rosenzweig–MacArthur: below the Hopf bifurcation animals come to rest, beyond it they stay in the cycle."""
    poor = starting_at(make_rosenzweig_macarthur(1.5), {"hare": 1.2, "lynx": 0.9})
    every, times = 5, np.arange(1, 301) * 0.2
    exact = integrate(poor, 60.0, times).get_density("hare")
    prey = np.empty((n_seeds, len(times)))
    for seed in range(n_seeds):
        world = build_agent_world(poor, 300, 0.04, mass=HARES, seed=seed)
        for row in range(len(times)):
            advance(world, every)
            prey[seed, row] = compute_densities(world)[0]
    low = int(exact.argmin())
    claim = "Rosenzweig–MacArthur, capacity 1.5, animals: prey"
    yield mean_over(f"{claim} at its first low, time {times[low]:.3g}", float(exact[low]), prey[:, low])
    yield mean_over(f"{claim} at equilibrium, times 40 to 60", 2 / 3, prey[:, times > 40].mean(1))
    rich, found = make_rosenzweig_macarthur(3.0), []
    rest = find_equilibrium(rich)
    trajectory, _ = integrate_to_attractor(rich, 600, 60)
    at = trajectory.time_t[np.flatnonzero(np.diff(trajectory.get_density("hare") > rest["hare"]))[0]]
    for seed in range(n_seeds):
        world = build_agent_world(
            starting_at(rich, trajectory.interpolate(at)), 400, 0.01, mass={"hare": 0.05}, seed=seed
        )
        time, rows = first_turn(world, np.array(list(rest.values())))
        found.append((time, *(extreme(rows[:, 0], sign, round(1.5 / world.dt_h)) for sign in (1, -1))))
    expected = {"period": 24.9463, "minimum prey": 0.0916, "maximum prey": 2.1167}
    for (what, value), obtained in zip(expected.items(), zip(*found, strict=True), strict=True):
        yield mean_over(f"Rosenzweig–MacArthur, capacity 3, animals: {what}", value, obtained)


def extreme(value_t: np.ndarray, sign: int, half: int) -> float:
    """Return the minimum (sign 1) or maximum (-1) of noisy positive values, by a parabola through their logarithms."""
    at = int(np.argmin(sign * value_t))
    near = np.arange(max(at - half, 0), min(at + half, len(value_t) - 1) + 1)
    curve, slope, level = np.polyfit(near - at, np.log(value_t[near]), 2)
    return math.exp(level - slope**2 / (4 * curve))


def competitors(n_seeds: int = 10, area: float = 50.0, dt: float = 0.1, until: float = 120.0) -> Iterator[Result]:
    """Tilman: of three grazers with any kind of rates the one with the lowest R* remains, and the grass at its R*."""
    efficiency, mass, right, grass = 0.5, {"grass": 0.02, "g0": 0.1, "g1": 0.1, "g2": 0.1}, 0, []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        needs = rng.permutation([0.2, 0.26, 0.34])
        attack, handling = rng.uniform(1, 2, 3), rng.uniform(0.1, 0.4, 3)
        loss = efficiency * attack * needs / (1 + attack * handling * needs)
        world = build_agent_world(make_grazers(attack, handling, loss, efficiency), area, dt, mass=mass, seed=seed)
        advance(world, round(0.75 * until / dt))
        rows: list[np.ndarray] = []
        advance(world, round(0.25 * until / dt), each=lambda world, rows=rows: rows.append(compute_densities(world)))
        right += int(np.argmax(rows[-1][1:])) == int(np.argmin(needs))
        grass.append(float(np.mean(rows, axis=0)[0]))
    claim = f"Tilman, three grazers with R* 0.2, 0.26, 0.34: the lowest wins, of {n_seeds} seeds"
    yield Result(claim=claim, expected=n_seeds, obtained=right, tolerance=0)
    yield mean_over("Tilman, grass that remains", 0.2, grass)


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 1 if a line does not hold."""
    options = page_options(__doc__).parse_args(argv)
    parts = (numbers(), mixing(), steps(), cascade(), circles(), enrichment(), competitors())
    results = [result for part in parts for result in part]
    note = "gap: root mean square difference of densities over 20 time units and all nodes, as a share of their means"
    title = "Animals and equations of the same food web"
    return write_page("convergence", title, results, options.results, argv, [note])


if __name__ == "__main__":
    raise SystemExit(main())
