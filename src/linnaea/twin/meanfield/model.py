"""A mean-field model as data: its nodes, what joins them, how it is solved. `linnaea.twin.meanfield.equations` has the equations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Node:
    """A population, a plant, a nutrient or a pool of dead matter."""

    name: str
    "unique in its model"
    start: float | tuple[float, ...] = 0.0
    "density at time 0; one a cell where there is space"
    growth: float = 0.0
    "intrinsic rate of increase, per time"
    capacity: float = math.inf
    "density at which growth ends"
    immigration: float = 0.0
    "density that arrives per time"
    metabolism: float = 0.0
    "share of the density that is respired per time"
    mortality: float = 0.0
    "share of the density that dies or decays per time"
    interference: float = 0.0
    "time lost to one's own kind, per density"
    turnover: float = 0.0
    "of a nutrient: exchange with the inflow, per time"
    supply: float = 0.0
    "of a nutrient: concentration in the inflow"
    diffusion: float = 0.0
    "area per time"
    remains: str = ""
    "pool that receives those that die of `mortality`"
    waste: str = ""
    "pool that receives what it eats and does not assimilate"
    noise: float = 0.0
    "s.d. of the logarithm's yearly change by the environment (maps only)"
    demographic: float = 0.0
    "s.d. by chance among individuals, of one animal (maps only)"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A predator's feeding on a prey."""

    predator: str
    "who eats"
    prey: str
    "what is eaten"
    attack: float
    "a: prey density eaten per predator, prey^hill and time where prey is scarce"
    handling: float = 0.0
    "h: time for one unit of prey; 0 is Holling's type I"
    hill: float = 1.0
    "q: 1 is Holling's type II, 2 type III"
    efficiency: float = 1.0
    "e: share of the eaten that becomes predator"
    respired: float = 0.0
    "share of the eaten that is respired at once; what is neither becomes waste"
    preference: float = 1.0
    "w: weight of this food"


@dataclass(frozen=True, kw_only=True)
class Uptake:
    """A plant's use of a nutrient; the scarcest of its nutrients sets its growth (Liebig)."""

    plant: str
    "a node with growth"
    nutrient: str
    "a node with turnover"
    half_saturation: float
    "concentration at half the growth"
    content: float = 1.0
    "nutrient in a unit of plant"


@dataclass(frozen=True, kw_only=True)
class HostDisease:
    """Susceptible, ill, immune within a host's density; newborn are susceptible."""

    host: str
    "the node that falls ill"
    contact: float
    "infections of one ill among susceptibles, per time (per density and time with `by_density`)"
    recovery: float
    "share of the ill that recover, immune, per time"
    mortality: float = 0.0
    "share of the ill that die of it, per time"
    waning: float = 0.0
    "share of the immune that become susceptible, per time"
    by_density: bool = False
    "contacts grow with density; else each animal has as many in a dense herd as in a thin one"
    ill: float = 0.0
    "share ill at time 0"
    immune: float = 0.0
    "share immune at time 0, vaccinated for example"


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """A line (one number in `shape`) or a grid of cells that nodes diffuse over."""

    shape: tuple[int, ...]
    "cells along each axis"
    spacing: float = 1.0
    "side of a cell"
    torus: bool = False
    "edges meet; else nothing crosses them"

    @property
    def n_cells(self) -> int:
        """Cells in all."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class MeanFieldModel:
    """A model: its nodes, what joins them, and how it is solved."""

    nodes: tuple[Node, ...]
    "populations, plants, nutrients, pools"
    links: tuple[Link, ...] = ()
    "who eats whom"
    uptakes: tuple[Uptake, ...] = ()
    "plants on nutrients"
    diseases: tuple[HostDisease, ...] = ()
    "one at most a host"
    space: Lattice | None = None
    "cells to diffuse over; none is one well-mixed place"
    extinct_below: float = 0.0
    "density at which a node with neither growth nor inflow in sight is set to 0"
    method: str = "DOP853"
    "of scipy's solve_ivp; LSODA where rates differ by orders"
    rtol: float = 1e-10
    "relative tolerance"
    atol: float = 1e-12
    "absolute tolerance, in density"
    time_unit: str = "time"
    "unit of times"
    density_unit: str = "density"
    "unit of densities"

    def __post_init__(self) -> None:
        check_model(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the nodes, in their order."""
        return tuple(node.name for node in self.nodes)


def check_model(model: MeanFieldModel) -> None:
    """Nothing; ValueError in one line for the first value that cannot be."""
    names = model.names
    if not names or len(set(names)) < len(names):
        raise ValueError(f"nodes {', '.join(names) or 'none'}: a model needs nodes, each with a name of its own")
    parts = [(f"node {one.name}", one) for one in model.nodes]
    parts += [(f"link {one.predator} eats {one.prey}", one) for one in model.links]
    parts += [(f"uptake of {one.nutrient} by {one.plant}", one) for one in model.uptakes]
    parts += [(f"disease of {one.host}", one) for one in model.diseases]
    for what, one in parts:
        for entry in fields(one):
            value = getattr(one, entry.name)
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, float | int) and not number >= 0:
                    raise ValueError(f"{what}: {entry.name} {number} is impossible; write a number from 0 up")
            if entry.name in ("predator", "prey", "plant", "nutrient", "host", "remains", "waste") and value not in (
                "",
                *names,
            ):
                raise ValueError(f"{what}: {value!r} is no node; known are {', '.join(names)}")
    for node in model.nodes:
        if node.capacity == 0:
            raise ValueError(f"node {node.name}: capacity 0 holds nothing; write a positive one or leave the node out")
        if isinstance(node.start, tuple) and (model.space is None or len(node.start) != model.space.n_cells):
            n_cells = model.space.n_cells if model.space else 1
            raise ValueError(
                f"node {node.name}: {len(node.start)} densities for {n_cells} cells; give one number or one a cell"
            )
    for link in model.links:
        if link.efficiency + link.respired > 1 + 1e-12 or link.hill < 1:
            raise ValueError(
                f"link {link.predator} eats {link.prey}: efficiency {link.efficiency:g} and respired {link.respired:g} are "
                f"at most 1 together, and hill {link.hill:g} at least 1; change what is not so"
            )
    for disease in model.diseases:
        if disease.ill + disease.immune > 1:
            raise ValueError(
                f"disease of {disease.host}: ill {disease.ill} and immune {disease.immune} are more than all"
            )
    hosts = [disease.host for disease in model.diseases]
    if len(set(hosts)) < len(hosts):
        raise ValueError(f"diseases of {', '.join(hosts)}: a host has one at most; remove the others")
