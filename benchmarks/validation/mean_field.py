"""Compare the program's equations with textbook results: expected, obtained, tolerance, one line each.

    python benchmarks/validation/mean_field.py

Every line is a configuration of `linnaea.twin.meanfield.equations`, integrated or iterated by the program. Only the
expected value is computed here. The exit code is 1 if a result is outside its tolerance.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

from checks import Result, page_options, write_page

from linnaea.twin.data.allometry import compute_mass_specific_ingestion, compute_mass_specific_metabolism, fit_power_law
from linnaea.twin.data.foodweb import load_bundled_web
from linnaea.twin.data.life_table import compute_growth_factor, make_leslie_matrix, make_life_table
from linnaea.twin.data.species import load_bundled_species
from linnaea.twin.meanfield.equations import Rates, compute_flows, integrate
from linnaea.twin.meanfield.from_foodweb import build_balanced_model
from linnaea.twin.meanfield.model import Link, MeanFieldModel, Node
from linnaea.twin.meanfield.stability import (
    compute_cascade_signs,
    find_crossings,
    find_equilibrium,
    find_extremes,
    find_map_period,
    find_period_doubling,
    find_stability_change,
    integrate_to_attractor,
    measure_front_speed,
)
from linnaea.twin.meanfield.textbook import (
    make_competition,
    make_epidemic,
    make_food_chain,
    make_invasion,
    make_logistic,
    make_lotka_volterra,
    make_mass_grazer,
    make_ricker,
    make_rosenzweig_macarthur,
)
from linnaea.twin.reference_models.metapopulation import make_island, make_levins


def growth() -> Iterator[Result]:
    """Compare logistic growth."""
    trajectory = integrate(make_logistic(), 20)
    exact = 3 / (1 + (3 - 0.1) / 0.1 * np.exp(-0.7 * trajectory.time_t))
    worst = float(np.abs(trajectory.get_density("grass") / exact - 1).max())
    yield Result(claim="logistic growth, largest relative error", expected=0, obtained=worst, tolerance=1e-6)


def circles() -> Iterator[Result]:
    """Compare Lotka–Volterra."""
    for start, period in ((1.0001, 2 * math.pi), (2.0, 6.60848), (5.0, 8.96586)):
        trajectory = integrate(make_lotka_volterra(start, 1), 40)
        x, y = trajectory.get_density("hare"), trajectory.get_density("lynx")
        turn = float(np.diff(find_crossings(trajectory, "hare", 1.0)).mean())
        yield Result(
            claim=f"Lotka–Volterra from ({start:g}, 1), period", expected=period, obtained=turn, tolerance=1e-5
        )
        drift = float(np.ptp(x - np.log(x) + y - np.log(y)))
        yield Result(claim=f"Lotka–Volterra from ({start:g}, 1), drift", expected=0, obtained=drift, tolerance=1e-8)
    trajectory = integrate(make_lotka_volterra(33.956, 5.933, 0.55, 0.028, 0.024, 0.80), 60)
    turn = float(np.diff(find_crossings(trajectory, "hare", 30.0)).mean())
    yield Result(claim="Lotka–Volterra of hare and lynx, period", expected=10.1486, obtained=turn, tolerance=1e-4)


def enrichment() -> Iterator[Result]:
    """Compare Rosenzweig–MacArthur."""
    at = find_equilibrium(make_rosenzweig_macarthur(2.0))["hare"]
    yield Result(claim="Rosenzweig–MacArthur, prey at equilibrium", expected=2 / 3, obtained=at, tolerance=1e-9)
    turn = find_stability_change(make_rosenzweig_macarthur, 1.5, 3.0)
    yield Result(
        claim="Rosenzweig–MacArthur, capacity of the Hopf bifurcation", expected=7 / 3, obtained=turn, tolerance=1e-6
    )
    for capacity, *ends in ((3.0, 0.0916, 2.1167), (5.0, 0.00104, 4.611)):
        found = integrate_to_attractor(make_rosenzweig_macarthur(capacity), 600, 60)[1]["hare"]
        for what, expected, obtained in zip(("minimum", "maximum"), ends, found, strict=True):
            yield Result(
                claim=f"Rosenzweig–MacArthur, capacity {capacity:g}, {what} prey",
                expected=expected,
                obtained=obtained,
                tolerance=0.01 * expected,
            )


def responses() -> Iterator[Result]:
    """Compare Holling's second and third type: their curve in the middle and the limits at both ends."""
    attack, handling = 2.0, 0.5
    nodes = (Node(name="prey", start=1.0), Node(name="eater", start=1.0))
    for hill, name in ((1, "II"), (2, "III")):
        link = Link(predator="eater", prey="prey", attack=attack, handling=handling, hill=hill)
        model = MeanFieldModel(nodes=nodes, links=(link,))
        for where, prey, expected in (
            ("few prey, a x^q", 1e-6, attack * 1e-6**hill),
            ("3 prey, ax^q/(1 + ahx^q)", 3.0, attack * 3**hill / (1 + attack * handling * 3**hill)),
            ("many prey, 1/h", 1e9, 1 / handling),
        ):
            got = compute_flows(model, {"prey": prey, "eater": 1.0})["eater", "prey"]
            claim = f"Holling {name}, {where}, q = {hill}"
            yield Result(claim=claim, expected=expected, obtained=got, tolerance=1e-5 * expected)


def maps() -> Iterator[Result]:
    """Compare Ricker's map."""
    for period, low, high, expected in ((1, 1.5, 2.2, 2.0), (2, 2.2, 2.6, 2.5264), (4, 2.55, 2.67, 2.6563)):
        at = find_period_doubling(make_ricker, period, low, high)
        yield Result(
            claim=f"Ricker, r at which period {period} doubles", expected=expected, obtained=at, tolerance=1e-4
        )
    yield Result(
        claim="Ricker, period at r = 3.12", expected=3, obtained=find_map_period(make_ricker(3.12)), tolerance=0
    )


def epidemics() -> Iterator[Result]:
    """Compare final sizes and peaks."""
    for number, size, peak in ((1.5, 0.582812, 0.063023), (2.0, 0.796812, 0.153426), (3.0, 0.940480, 0.300463)):
        trajectory = integrate(make_epidemic(number), 150)
        got = float(trajectory.get_density("zebra", "immune")[-1]), find_extremes(trajectory, "zebra", "ill")[1]
        yield Result(claim=f"SIR, R0 = {number:g}, final size", expected=size, obtained=got[0], tolerance=1e-6)
        yield Result(claim=f"SIR, R0 = {number:g}, peak", expected=peak, obtained=got[1], tolerance=1e-6)


def fronts() -> Iterator[Result]:
    """Compare Fisher's wave, on finer and finer lines."""
    for spacing in (0.5, 0.25, 0.125):
        trajectory = integrate(make_invasion(spacing), 70, np.linspace(0, 70, 71))
        speed = measure_front_speed(trajectory, "rabbit", 0.5, since=40)
        yield Result(
            claim=f"Fisher's wave, times 40 to 70, cells of {spacing:g}", expected=2, obtained=speed, tolerance=0.06
        )


def winners(n_seeds: int) -> Iterator[Result]:
    """Compare Tilman's competition and the trophic cascade, over seeds."""
    right = cascades = 0
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        rates = rng.uniform(0.6, 1.5, 3), rng.uniform(0.2, 2.0, 3), rng.uniform(0.1, 0.4, 3)
        last = integrate(make_competition(*rates), 4000, [4000]).state_tsc[-1, :, 0]
        right += int(np.argmax(last[1:])) == int(np.argmin(rates[2] * rates[1] / (rates[0] - rates[2])))
        two, three = (integrate(make_food_chain(n, seed), 1500, [1500]).interpolate(1500) for n in (2, 3))
        signs = compute_cascade_signs({**two, "level3": 0.0}, three, ["level1", "level2", "level3"])
        cascades += signs == [1, -1, 1]
    yield Result(claim=f"the lowest R* wins, of {n_seeds} seeds", expected=n_seeds, obtained=right, tolerance=0)
    yield Result(
        claim=f"trophic cascade, signs right, of {n_seeds} seeds", expected=n_seeds, obtained=cascades, tolerance=0
    )


def patches() -> Iterator[Result]:
    """Compare Levins and the species of an island."""
    share = float(integrate(make_levins(0.5, 0.2), 200).get_density("occupied")[-1])
    yield Result(claim="Levins, occupied share, 1 − e/c", expected=0.6, obtained=share, tolerance=1e-8)
    number = float(integrate(make_island(100, 4.0, 6.0), 300).get_density("species")[-1])
    yield Result(claim="island biogeography, IP/(I + E)", expected=40, obtained=number, tolerance=1e-6)


def life_tables() -> Iterator[Result]:
    """Compare the dominant eigenvalue with Euler's equation, for every bundled animal with a yearly table and young."""
    worst = 0.0
    for species in load_bundled_species().values():
        if species.basal or species.life_span_y < 2 or not species.births_per_y:
            continue
        fertility, survival = make_life_table(species)
        factor = compute_growth_factor(make_leslie_matrix(fertility, survival))
        lived = np.concatenate([[1], np.cumprod(survival)])
        worst = max(worst, abs(float((fertility * lived * factor ** -np.arange(1.0, len(lived) + 1)).sum()) - 1))
    yield Result(
        claim="Leslie matrices, largest residual of Euler's equation", expected=0, obtained=worst, tolerance=1e-10
    )


def scaling(n_species: int = 60) -> Iterator[Result]:
    """Compare Kleiber and Damuth: the middle of the 95 % interval, with half of its width as tolerance."""
    rng = np.random.default_rng(1)
    masses, food, density = 10 ** rng.uniform(-2, 3.5, n_species), [], []
    for mass in masses:
        vary = np.exp(rng.normal(0, 0.2, 3))
        cost, most = (
            0.25 * compute_mass_specific_metabolism(mass) * vary[0],
            compute_mass_specific_ingestion(mass) * vary[1],
        )
        model = make_mass_grazer(mass, cost, most, vary[2])
        biomass = find_equilibrium(model)
        density.append(biomass["grazer"] / mass)
        food.append(compute_flows(model, biomass)["grazer", "grass"] / density[-1])
    for claim, expected, values in (
        ("Kleiber, food of an animal", 0.75, food),
        ("Damuth, animals per area", -0.75, density),
    ):
        fit = fit_power_law(masses, values)
        yield Result(
            claim=f"{claim}: slope on mass, 95 % interval",
            expected=expected,
            obtained=fit.slope,
            tolerance=(fit.high - fit.low) / 2,
        )


def balance() -> Iterator[Result]:
    """Check that the bundled webs rest at their usual densities."""
    for world in ("savanna", "island", "galapagos", "post", "tutorial"):
        rates = Rates(build_balanced_model(load_bundled_web(world, load_bundled_species())))
        worst = float(np.abs(rates(rates.make_start()) / rates.make_start()).max())
        yield Result(
            claim=f"{world}: largest relative change per year at the usual densities",
            expected=0,
            obtained=worst,
            tolerance=1e-7,
        )


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 1 if a line does not hold."""
    parser = page_options(__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="seeds of the lines that must hold for every seed")
    options = parser.parse_args(argv)
    parts = (
        growth(),
        circles(),
        enrichment(),
        responses(),
        maps(),
        epidemics(),
        fronts(),
        winners(options.seeds),
        patches(),
        life_tables(),
    )
    results = [result for part in (*parts, scaling(), balance()) for result in part]
    return write_page(
        "mean_field",
        "Mean field: the known results, and those of the program's equations",
        results,
        options.results,
        argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
