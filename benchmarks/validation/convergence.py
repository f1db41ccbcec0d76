"""The animals approach the equations of the same food web: with numbers, with mixing, with shorter steps.

    python benchmarks/validation/convergence.py

One `MeanField` is solved as equations (`linnaea.twin.meanfield`) and simulated as individuals by the shipped loop and
rules (`linnaea.twin.individuals`). The gap is the root mean square, over time and nodes, of the difference of densities
as a share of the node's mean. Chance alone makes it fall with the square root of the numbers; what is left when it does
not is the difference between animals and equations. Exits with 1 where a line is outside its tolerance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from mean_field import Result

from hardware import describe_hardware, show_command, write_result
from linnaea.twin.individuals import densities, individuals
from linnaea.twin.loop import advance
from linnaea.twin.meanfield import integrate
from linnaea.twin.stability import signs_of_cascade
from linnaea.twin.system import Link, MeanField, Node
from linnaea.twin.textbook import food_chain, rosenzweig_macarthur

# Small prey: handling one is short against all lives.
HARES = {"hare": 0.1}
STEP = 0.04
UNTIL = 20.0


def gap(
    system: MeanField,
    area: float,
    *,
    mass: Mapping[str, float],
    step: float = STEP,
    mixing: float = 1 / 3,
    seeds: int = 1,
) -> float:
    """Root mean square difference of animals and equations, as a share of means, over time, nodes and seeds."""
    every = max(1, round(0.4 / step))
    times = np.arange(1, int(UNTIL / (every * step)) + 1) * every * step
    exact = integrate(system, float(times[-1]), times).state_tsc[:, : len(system.nodes), 0]
    squares = []
    for seed in range(seeds):
        world = individuals(system, area, step, mass=mass, mixing=mixing, seed=seed)
        got = np.empty_like(exact)
        for row in range(len(times)):
            advance(world, every)
            got[row] = densities(world)
        squares.append((((got - exact) / exact.mean(0)) ** 2).mean())
    return float(np.sqrt(np.mean(squares)))


def means(system: MeanField) -> np.ndarray:
    """Mean density of each node over the run, by the equations [n]."""
    return integrate(system, UNTIL).state_tsc[:, : len(system.nodes), 0].mean(0)


def two_hares() -> MeanField:
    """A lynx that prefers one of two hares: a web of three with two links."""
    growth = {"brown hare": 1.0, "white hare": 1.4}
    hares = [Node(name=name, start=0.5, growth=rate, capacity=1.5) for name, rate in growth.items()]
    links = [Link(predator="lynx", prey=name, attack=1.0, handling=0.8, efficiency=0.5, preference=w)
             for name, w in (("brown hare", 0.6), ("white hare", 1.0))]  # fmt: skip
    return MeanField(nodes=(*hares, Node(name="lynx", start=0.6, metabolism=0.25)), links=tuple(links))


def numbers(areas: Sequence[float] = (120, 480, 1920), seeds: int = 6) -> Iterator[Result]:
    """The gap as the area, and so the numbers, grow; its slope on a double logarithmic scale is -1/2."""
    webs = {
        "hare and lynx": (rosenzweig_macarthur(1.5), HARES),
        "two hares and a lynx": (two_hares(), {"brown hare": 0.1, "white hare": 0.1}),
        "a chain of three": (food_chain(3), {"level1": 0.01, "level2": 0.05, "level3": 0.25}),
    }
    for name, (system, mass) in webs.items():
        found = [gap(system, area, mass=mass, seeds=seeds) for area in areas]
        slope = float(np.polyfit(np.log(areas), np.log(found), 1)[0])
        shown = ", ".join(f"{100 * value:.1f} %" for value in found)
        sizes = ", ".join(f"{area:g}" for area in areas)
        claim = f"{name}: gap {shown} at areas {sizes}: slope of its logarithm on the area's"
        yield Result(claim=claim, expected=-0.5, obtained=slope, tolerance=0.2)
        rarest = float((means(system) / [mass.get(one, 1.0) for one in system.names]).min())
        claim = f"{name}: gap at the largest area, tolerance 3 s.e. of the rarest's number"
        yield Result(claim=claim, expected=0, obtained=found[-1], tolerance=3 / float(np.sqrt(rarest * areas[-1])))


def mixing(shares: Sequence[float] = (0.003, 0.01, 0.03, 1 / 3), area: float = 960, seeds: int = 2) -> Iterator[Result]:
    """The gap as individuals go farther in a step."""
    found = [gap(rosenzweig_macarthur(1.5), area, mass=HARES, seeds=seeds, mixing=share) for share in shares]
    shown = ", ".join(f"{100 * value:.1f} %" for value in found)
    ways = ", ".join(f"{share:.3g}" for share in shares)
    falls = sum(after < before for before, after in pairwise(found))
    claim = f"hare and lynx, mixing: gap {shown} with steps of {ways} of the side: times it falls"
    yield Result(claim=claim, expected=len(shares) - 1, obtained=falls, tolerance=0)


def steps(lengths: Sequence[float] = (0.6, 0.2, 0.04), area: float = 960, seeds: int = 2) -> Iterator[Result]:
    """The gap as the step gets shorter, to that of chance."""
    found = [gap(rosenzweig_macarthur(1.5), area, mass=HARES, seeds=seeds, step=step) for step in lengths]
    shown = ", ".join(f"{100 * value:.1f} %" for value in found)
    falls = sum(after < before for before, after in pairwise(found))
    claim = f"hare and lynx, steps of {', '.join(f'{step:g}' for step in lengths)}: gap {shown}: times it falls"
    yield Result(claim=claim, expected=len(lengths) - 1, obtained=falls, tolerance=0)


def cascade(n_seeds: int = 5, area: float = 400, until: float = 80.0, step: float = 0.1) -> Iterator[Result]:
    """A top predator thins the middle of a chain and thickens its foot, animals as equations, in every seed."""
    right, names = 0, ["level1", "level2", "level3"]
    for seed in range(n_seeds):
        means = []
        for levels in (2, 3):
            system = food_chain(levels, seed)
            mass = dict(zip(names[:levels], (0.05, 0.2, 1.0), strict=False))
            world = individuals(system, area, step, mass=mass, seed=seed)
            advance(world, round(until / 2 / step))
            total = np.zeros(levels)
            for _ in range(20):
                advance(world, round(until / 40 / step))
                total += densities(world) / 20
            means.append(dict(zip(names, total, strict=False)))
        right += signs_of_cascade({**means[0], "level3": 0.0}, means[1], names) == [1, -1, 1]
    claim = f"trophic cascade among animals, signs right, of {n_seeds} seeds"
    yield Result(claim=claim, expected=n_seeds, obtained=right, tolerance=0)


def main(argv: list[str] | None = None) -> int:
    """Writes the page; 1 where a line does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder of the page")
    options = parser.parse_args(argv)
    results = [result for part in (numbers(), mixing(), steps(), cascade()) for result in part]
    lines = [
        "# Animals and equations of the same food web",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('validation/convergence', sys.argv[1:] if argv is None else argv)}`",
        f"- {sum(result.holds for result in results)} of {len(results)} hold",
        "- gap: root mean square difference of densities over 20 time units and all nodes, as a share of their means",
        "",
        "| result | expected | obtained | tolerance | holds |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {one.claim} | {one.expected:.7g} | {one.obtained:.7g} | {one.tolerance:.2g} | {'yes' if one.holds else 'no'} |"
          for one in results),
    ]  # fmt: skip
    write_result(options.results, "convergence", lines)
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
