"""Textbook models of ecology as mean-field models, to learn from and to check the program with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnaea.twin.meanfield.model import HostDisease, Lattice, Link, MeanFieldModel, Node, Uptake


def make_logistic(start: float = 0.1, growth: float = 0.7, capacity: float = 3.0) -> MeanFieldModel:
    """Return logistic growth of grass: K / (1 + ((K − N0) / N0) e^(−rt)). As a map it is Ricker's."""
    return MeanFieldModel(nodes=(Node(name="grass", start=start, growth=growth, capacity=capacity),))


def make_lotka_volterra(
    prey: float, predator: float, growth: float = 1.0, attack: float = 1.0, gain: float = 1.0, death: float = 1.0
) -> MeanFieldModel:
    """Return the Lotka-Volterra model of hares (x) and lynxes (y).

    The densities circle around (death / gain, growth / attack); gain x − death ln x + attack y − growth ln y is
    constant.
    """
    link = Link(predator="lynx", prey="hare", attack=attack, efficiency=gain / attack)
    nodes = (Node(name="hare", start=prey, growth=growth), Node(name="lynx", start=predator, metabolism=death))
    return MeanFieldModel(nodes=nodes, links=(link,), rtol=1e-12, atol=1e-13)


def make_rosenzweig_macarthur(
    capacity: float,
    growth: float = 1.0,
    attack: float = 1.0,
    handling: float = 1.0,
    efficiency: float = 0.5,
    death: float = 0.2,
) -> MeanFieldModel:
    """Return the Rosenzweig-MacArthur model: prey with a capacity, predators with saturation.

    Enrichment (a larger capacity) turns the equilibrium into a cycle.
    """
    link = Link(predator="lynx", prey="hare", attack=attack, handling=handling, efficiency=efficiency)
    hare = Node(name="hare", start=0.6, growth=growth, capacity=capacity)
    return MeanFieldModel(nodes=(hare, Node(name="lynx", start=0.9, metabolism=death)), links=(link,))


def make_ricker(growth: float) -> MeanFieldModel:
    """Return Ricker's map of salmon, for `iterate`.

    Its period doubles at growth rates of 2, 2.5264, 2.6563 …; near 3.12 there is a window of period 3.
    """
    return MeanFieldModel(nodes=(Node(name="salmon", start=0.7, growth=growth, capacity=1.0),))


def make_epidemic(reproduction: float, ill: float = 1e-9, immune: float = 0.0) -> MeanFieldModel:
    """Return a SIR epidemic with this basic reproduction number in a herd of density 1; time in mean illnesses."""
    disease = HostDisease(host="zebra", contact=reproduction, recovery=1.0, ill=ill, immune=immune)
    return MeanFieldModel(nodes=(Node(name="zebra", start=1.0),), diseases=(disease,))


def make_invasion(
    spacing: float = 0.25, length: float = 200.0, growth: float = 1.0, diffusion: float = 1.0
) -> MeanFieldModel:
    """Return an invasion along a line from one end, which advances at Fisher's speed 2 √(r D)."""
    n_cells = round(length / spacing)
    start = tuple(((np.arange(n_cells) + 0.5) * spacing < 5).astype(float))
    node = Node(name="rabbit", start=start, growth=growth, capacity=1.0, diffusion=diffusion)
    return MeanFieldModel(nodes=(node,), space=Lattice(shape=(n_cells,), spacing=spacing), rtol=1e-6, atol=1e-9)


def make_competition(
    growth: Sequence[float], half_saturation: Sequence[float], death: Sequence[float]
) -> MeanFieldModel:
    """Return plants p0, p1 … on one nutrient: the plant with the lowest R* = m K / (r − m) remains."""
    nodes = [Node(name="nitrogen", start=10.0, turnover=0.5, supply=10.0)]
    nodes += [
        Node(name=f"p{i}", start=0.1, growth=r, metabolism=m)
        for i, (r, m) in enumerate(zip(growth, death, strict=True))
    ]
    uptakes = [Uptake(plant=f"p{i}", nutrient="nitrogen", half_saturation=k) for i, k in enumerate(half_saturation)]
    return MeanFieldModel(nodes=tuple(nodes), uptakes=tuple(uptakes), method="LSODA", rtol=1e-9, atol=1e-12)


def make_grazers(
    attack: Sequence[float], handling: Sequence[float], loss: Sequence[float], efficiency: float = 0.5
) -> MeanFieldModel:
    """Return grazers g0, g1 … on one grass: the grazer with the lowest R* = m K / (r − m) remains, unless one cycles.

    In Tilman's formula m is `loss`, r is e / h and K is 1 / (a h), for attack a, handling h and efficiency e.
    """
    names = [f"g{i}" for i in range(len(attack))]
    nodes = [Node(name="grass", start=1.0, growth=1.0, capacity=1.0)]
    nodes += [Node(name=name, start=0.1, metabolism=m) for name, m in zip(names, loss, strict=True)]
    links = [
        Link(predator=name, prey="grass", attack=a, handling=h, efficiency=efficiency)
        for name, a, h in zip(names, attack, handling, strict=True)
    ]
    return MeanFieldModel(nodes=tuple(nodes), links=tuple(links))


def make_food_chain(n_levels: int, seed: int = 0, spread: float = 0.3) -> MeanFieldModel:
    """Return a food chain of 2 to 4 levels in which all persist; the seed varies rates by factors up to e^±spread."""
    if not 2 <= n_levels <= 4:
        raise ValueError(f"{n_levels} levels: a chain must have 2 to 4")
    vary = np.exp(spread * np.random.default_rng(seed).uniform(-1, 1, 7))
    attacks, losses = np.array([2.0, 4.0, 6.0]) * vary[1:4], np.array([0.15, 0.06, 0.02]) * vary[4:]
    nodes = [Node(name="level1", start=0.5, growth=float(vary[0]), capacity=1.0)]
    links = []
    for index in range(n_levels - 1):
        nodes.append(Node(name=f"level{index + 2}", start=0.1, metabolism=float(losses[index]), interference=0.2))
        links.append(
            Link(
                predator=f"level{index + 2}",
                prey=f"level{index + 1}",
                attack=float(attacks[index]),
                efficiency=0.3,
                handling=0.3,
            )
        )
    return MeanFieldModel(nodes=tuple(nodes), links=tuple(links))


def make_mass_grazer(mass_kg: float, cost: float, most: float, attack: float = 1.0) -> MeanFieldModel:
    """Return a herbivore on a pasture that is the same for all masses, in kg/km2 and years.

    `cost` is its expenditure and `most` its greatest intake, in a year and as multiples of its mass. Intake is half of
    the greatest at a tenth of the pasture's capacity, divided by `attack`. Its density is its biomass divided by its
    mass.
    """
    capacity, half = 1e5, 1e4 / attack
    link = Link(predator="grazer", prey="grass", attack=most / half, handling=1 / most, efficiency=0.45)
    food = half * cost / (0.45 * most - cost)
    if not 0 < food < capacity:
        raise ValueError(f"mass {mass_kg:g} kg: cost {cost:g} must be below 0.45 of the intake {most:g}; lower it")
    grass = Node(name="grass", start=food, growth=2.0, capacity=capacity)
    eater = Node(name="grazer", start=0.45 * 2.0 * (1 - food / capacity) * food / cost, metabolism=cost)
    return MeanFieldModel(nodes=(grass, eater), links=(link,), time_unit="y", density_unit="kg/km2")
