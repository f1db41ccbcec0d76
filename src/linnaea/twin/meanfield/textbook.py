"""Classic models of ecology as configurations of the mean-field model, to learn from and to check the program with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linnaea.twin.meanfield.model import HostDisease, Lattice, Link, MeanFieldModel, Node, Uptake


def make_logistic(start: float = 0.1, growth: float = 0.7, capacity: float = 3.0) -> MeanFieldModel:
    """Grass that grows to its capacity: K / (1 + ((K − N0) / N0) e^(−rt)); as a map, Ricker's."""
    return MeanFieldModel(nodes=(Node(name="grass", start=start, growth=growth, capacity=capacity),))


def make_lotka_volterra(
    prey: float, predator: float, growth: float = 1.0, attack: float = 1.0, gain: float = 1.0, death: float = 1.0
) -> MeanFieldModel:
    """Hare and lynx that circle around (death / gain, growth / attack) and keep gain x − death ln x + attack y − growth
    ln y.
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
    """Hare with a capacity and lynx that are sated: enrichment makes the equilibrium turn into a cycle."""
    link = Link(predator="lynx", prey="hare", attack=attack, handling=handling, efficiency=efficiency)
    hare = Node(name="hare", start=0.6, growth=growth, capacity=capacity)
    return MeanFieldModel(nodes=(hare, Node(name="lynx", start=0.9, metabolism=death)), links=(link,))


def make_ricker(growth: float) -> MeanFieldModel:
    """Salmon whose map doubles its period at 2, 2.5264, 2.6563 … and has a window of three at 3.12; to `iterate`."""
    return MeanFieldModel(nodes=(Node(name="salmon", start=0.7, growth=growth, capacity=1.0),))


def make_epidemic(reproduction: float, ill: float = 1e-9, immune: float = 0.0) -> MeanFieldModel:
    """A herd of density 1 with a disease of this basic reproduction number, times in mean illnesses."""
    disease = HostDisease(host="zebra", contact=reproduction, recovery=1.0, ill=ill, immune=immune)
    return MeanFieldModel(nodes=(Node(name="zebra", start=1.0),), diseases=(disease,))


def make_invasion(
    spacing: float = 0.25, length: float = 200.0, growth: float = 1.0, diffusion: float = 1.0
) -> MeanFieldModel:
    """Rabbits let loose at one end of a line, which they take at Fisher's speed 2 √(r D)."""
    n_cells = round(length / spacing)
    start = tuple(((np.arange(n_cells) + 0.5) * spacing < 5).astype(float))
    node = Node(name="rabbit", start=start, growth=growth, capacity=1.0, diffusion=diffusion)
    return MeanFieldModel(nodes=(node,), space=Lattice(shape=(n_cells,), spacing=spacing), rtol=1e-6, atol=1e-9)


def make_competition(
    growth: Sequence[float], half_saturation: Sequence[float], death: Sequence[float]
) -> MeanFieldModel:
    """Plants p0, p1 … on one nutrient: the one with the lowest R* = m K / (r − m) is left."""
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
    """Grazers g0, g1 … on one grass: the one with the lowest R* = m K / (r − m) is left, as long as none makes a cycle.

    `loss` is m; e / h is the r and 1 / (a h) the K of Tilman's formula, for attack a, handling h, efficiency e.
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
    """A chain of level1 (plant) to level2, 3 or 4 in which all live; rates vary by e^±spread with the seed."""
    if not 2 <= n_levels <= 4:
        raise ValueError(f"{n_levels} levels: a chain has 2 to 4")
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
    """A herbivore on a pasture that is the same for all masses, kg/km2 and years.

    `cost` is what it spends and `most` what it eats at most, as multiples of its mass a year; half of that it has at a
    tenth of the pasture's capacity, divided by `attack`. Its density is its biomass over its mass.
    """
    capacity, half = 1e5, 1e4 / attack
    link = Link(predator="grazer", prey="grass", attack=most / half, handling=1 / most, efficiency=0.45)
    food = half * cost / (0.45 * most - cost)
    if not 0 < food < capacity:
        raise ValueError(f"mass {mass_kg:g} kg: cost {cost:g} cannot be paid by 0.45 of {most:g}; lower it")
    grass = Node(name="grass", start=food, growth=2.0, capacity=capacity)
    eater = Node(name="grazer", start=0.45 * 2.0 * (1 - food / capacity) * food / cost, metabolism=cost)
    return MeanFieldModel(nodes=(grass, eater), links=(link,), time_unit="y", density_unit="kg/km2")
