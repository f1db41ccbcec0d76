"""A mean-field model as data: nodes, what connects them, how it is solved. `meanfield.equations` has the equations."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Node:
    """A population, a plant, a nutrient or a pool of dead matter."""

    name: str
    "unique in its model"
    start: float | tuple[float, ...] = 0.0
    "density at time 0; one value for each cell of a lattice"
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
    "time lost to interference within the species, per density"
    turnover: float = 0.0
    "of a nutrient: exchange with the inflow, per time"
    supply: float = 0.0
    "of a nutrient: concentration in the inflow"
    diffusion: float = 0.0
    "diffusion coefficient, area per time"
    remains: str = ""
    "pool that receives the individuals that die of `mortality`"
    waste: str = ""
    "pool that receives the food that is eaten and not assimilated"
    noise: float = 0.0
    "standard deviation of the yearly change of the logarithm by the environment (maps only)"
    demographic: float = 0.0
    "standard deviation of the same by chance among individuals, for one individual (maps only)"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A predator's feeding on a prey."""

    predator: str
    "node that eats"
    prey: str
    "node that is eaten"
    attack: float
    "a: prey density eaten per predator, per prey density to the power `hill` and per time, while prey is scarce"
    handling: float = 0.0
    "h: time for one unit of prey; 0 is Holling's type I"
    hill: float = 1.0
    "q: 1 is Holling's type II, 2 type III"
    efficiency: float = 1.0
    "e: share of the eaten prey that becomes predator"
    respired: float = 0.0
    "share of the eaten prey that is respired at once; the rest is waste"
    preference: float = 1.0
    "w: weight of this food"


@dataclass(frozen=True, kw_only=True)
class Uptake:
    """A plant's use of a nutrient; the scarcest of its nutrients limits its growth (Liebig)."""

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
    """A disease of one node, whose density divides into susceptible, ill and immune; the newborn are susceptible."""

    host: str
    "node that falls ill"
    contact: float
    "infections that one ill individual causes among susceptible ones, per time (per density and time if `by_density`)"
    recovery: float
    "share of the ill that recover and become immune, per time"
    mortality: float = 0.0
    "share of the ill that die of the disease, per time"
    waning: float = 0.0
    "share of the immune that become susceptible, per time"
    by_density: bool = False
    "whether contacts grow with density; else an individual has the same number in a dense herd and a thin one"
    ill: float = 0.0
    "share ill at time 0"
    immune: float = 0.0
    "share immune at time 0, for example vaccinated"


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """A line (one number in `shape`) or a grid of cells over which nodes diffuse."""

    shape: tuple[int, ...]
    "cells along each axis"
    spacing: float = 1.0
    "side of a cell"
    torus: bool = False
    "whether opposite edges are joined; else nothing crosses an edge"

    @property
    def n_cells(self) -> int:
        """The number of cells."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class MeanFieldModel:
    """A mean-field model: its nodes, what connects them, and how it is solved. Checked when it is made."""

    nodes: tuple[Node, ...]
    "populations, plants, nutrients, pools"
    links: tuple[Link, ...] = ()
    "who eats whom"
    uptakes: tuple[Uptake, ...] = ()
    "which plant uses which nutrient"
    diseases: tuple[HostDisease, ...] = ()
    "at most one for each host"
    space: Lattice | None = None
    "cells to diffuse over; None for one well-mixed place"
    extinct_below: float = 0.0
    "total density below which a node is extinct and set to 0"
    method: str = "DOP853"
    "method of scipy's solve_ivp; LSODA where rates differ by orders of magnitude"
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


_REFERENCES = ("predator", "prey", "plant", "nutrient", "host", "remains", "waste")


def check_model(model: MeanFieldModel) -> None:
    """Raise ValueError for the first value of a model that is impossible."""
    names = model.names
    if not names or len(set(names)) < len(names):
        raise ValueError(f"nodes {', '.join(names) or 'none'}: a model needs nodes, each with a name of its own")
    parts = [(f"node {one.name}", one) for one in model.nodes]
    parts += [(f"link {one.predator} eats {one.prey}", one) for one in model.links]
    parts += [(f"uptake of {one.nutrient} by {one.plant}", one) for one in model.uptakes]
    parts += [(f"disease of {one.host}", one) for one in model.diseases]
    for what, one in parts:
        _check_values(one, names, what)
    _check_nodes(model)
    _check_links(model)
    _check_diseases(model)


def _check_values(part: Node | Link | Uptake | HostDisease, names: tuple[str, ...], what: str) -> None:
    """Raise ValueError for a negative number or a reference to an unknown node."""
    for entry in fields(part):
        value = getattr(part, entry.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float | int) and not number >= 0:
                raise ValueError(f"{what}: {entry.name} {number} is impossible; write a number from 0 up")
        if entry.name in _REFERENCES and value not in ("", *names):
            raise ValueError(f"{what}: unknown node {value!r}; known are {', '.join(names)}")


def _check_nodes(model: MeanFieldModel) -> None:
    n_cells = model.space.n_cells if model.space else 1
    for node in model.nodes:
        if node.capacity == 0:
            raise ValueError(f"node {node.name}: capacity 0 is impossible; write a positive one or leave the node out")
        if isinstance(node.start, tuple) and (model.space is None or len(node.start) != n_cells):
            raise ValueError(
                f"node {node.name}: {len(node.start)} densities for {n_cells} cells; give one number or one a cell"
            )


def _check_links(model: MeanFieldModel) -> None:
    for link in model.links:
        if link.efficiency + link.respired > 1 + 1e-12 or link.hill < 1:
            raise ValueError(
                f"link {link.predator} eats {link.prey}: efficiency {link.efficiency:g} and respired {link.respired:g} "
                f"must be at most 1 together, and hill {link.hill:g} at least 1"
            )


def _check_diseases(model: MeanFieldModel) -> None:
    for disease in model.diseases:
        if disease.ill + disease.immune > 1:
            raise ValueError(
                f"disease of {disease.host}: ill {disease.ill} and immune {disease.immune} must be at most 1 together"
            )
    hosts = [disease.host for disease in model.diseases]
    if len(set(hosts)) < len(hosts):
        raise ValueError(f"diseases of {', '.join(hosts)}: a host has at most one; remove the others")
