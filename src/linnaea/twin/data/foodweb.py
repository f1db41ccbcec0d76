"""Food webs, from a table or from body masses: checks, trophic levels, and a layout to draw them.

A table is a CSV file with the columns predator, prey and grade, and the optional columns preference,
max_ingestion_per_y, hill, efficiency and loop. Cycles (cannibalism, two species that eat each other) are refused unless
one of the links of the cycle is declared with loop = yes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linnaea.options import nearest
from linnaea.standards.commented_csv import check_width, parse_rows, read_csv_text
from linnaea.twin.data.allometry import NETWORK, NetworkConstants, compute_capture_success
from linnaea.twin.data.evidence import ALLOMETRIC, check_grade
from linnaea.twin.data.species import EATS, Species

CARCASS = "carcass"
"name of the species of dead bodies; its trophic level is that of the animals that died"


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """One link of the web; a value that is nan is computed from body mass where it is needed."""

    predator: str
    "species that eats"
    prey: str
    "species that is eaten"
    preference: float = 1.0
    "weight of this food among the predator's foods at equal biomass"
    max_ingestion_per_y: float = math.nan
    "greatest intake in a year as a multiple of the predator's mass"
    hill: float = 1.0
    "exponent of the functional response: 1 for Holling's type II, 2 for type III"
    efficiency: float = math.nan
    "share of the food that becomes body mass"
    loop: bool = False
    "whether the link is a declared part of a cycle"
    grade: str = "unverified"
    "grade: how well the link is known"


_RANGES = {
    "preference": (1e-9, 1e9),
    "max_ingestion_per_y": (1e-6, 1e5),
    "hill": (1, 3),
    "efficiency": (1e-6, 1),
}


@dataclass(frozen=True, kw_only=True)
class FoodWeb:
    """Species and the links between them, checked when the web is made."""

    species: Mapping[str, Species]
    "species by name"
    links: tuple[Feeding, ...]
    "who eats whom"

    def __post_init__(self) -> None:
        check_web(self.species, self.links)

    def get_diet(self, name: str) -> tuple[Feeding, ...]:
        """Return the links of a predator."""
        return tuple(link for link in self.links if link.predator == name)

    def remove_species(self, *names: str) -> FoodWeb:
        """Return the web without these species and without all that starve in consequence."""
        for name in names:
            _get_species(name, self.species, "remove")
        gone = set(names) | set(find_starving(self, names))
        return FoodWeb(
            species={name: species for name, species in self.species.items() if name not in gone},
            links=tuple(link for link in self.links if not {link.predator, link.prey} & gone),
        )


def read_web(path: Path | str, species: Mapping[str, Species]) -> FoodWeb:
    """Return the web of a CSV table with the species that it names. Raise ValueError for an impossible web."""
    path = Path(path)
    return _select_web(
        parse_links(read_csv_text(path, "food web", "predator, prey, grade"), path.name), species, path.name
    )


def load_bundled_web(world: str, species: Mapping[str, Species]) -> FoodWeb:
    """Return the web of a bundled world with the species that it names."""
    table = resources.files("linnaea.twin").joinpath(f"tables/{world}_web.csv")
    if not table.is_file():
        raise ValueError(f"food web {world!r} is not bundled; give the path of a table")
    return _select_web(parse_links(table.read_text("utf-8"), f"{world}_web.csv"), species, f"{world}_web.csv")


def _select_web(links: tuple[Feeding, ...], species: Mapping[str, Species], where: str) -> FoodWeb:
    named = {name for link in links for name in (link.predator, link.prey)}
    for name in sorted(named):
        _get_species(name, species, where)
    return FoodWeb(species={name: one for name, one in species.items() if name in named}, links=links)


def parse_links(text: str, where: str = "food web") -> tuple[Feeding, ...]:
    """Return the links of a table's text. Errors begin with `where`."""
    rows = parse_rows(text)
    names = [f.name for f in fields(Feeding)]
    for column in rows.fieldnames or ():
        if column not in names:
            raise ValueError(f"{where}: column {column!r} is unknown; known are {', '.join(names)}")
    for column in ("predator", "prey", "grade"):
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"{where}: column {column!r} is missing; every link needs predator, prey and grade")
    return tuple(_parse_link(row, where) for row in rows)


def _parse_link(row: Mapping[str, str], where: str) -> Feeding:
    check_width(row, where)
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    at = f"{where}: {given.get('predator', '?')} eats {given.get('prey', '?')}"
    numbers = {
        key: _parse_number(given.pop(key), key, low, high, at) for key, (low, high) in _RANGES.items() if key in given
    }
    given["grade"] = check_grade(given.get("grade", ""), at)
    loop = {"": False, "no": False, "yes": True}.get(given.pop("loop", ""))
    if loop is None:
        raise ValueError(f"{at}: loop must be yes or no, not {row['loop']!r}; write yes for a declared cycle")
    if not given.get("predator") or not given.get("prey"):
        raise ValueError(f"{at}: a link needs predator and prey; fill both cells")
    return Feeding(**given, **numbers, loop=loop)


def _parse_number(text: str, key: str, low: float, high: float, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{at}: {key} must be a number, not {text!r}") from None
    if not low <= value <= high:
        raise ValueError(f"{at}: {key} {text} is impossible; write a value of {low:g} to {high:g}")
    return value


def build_web_from_masses(species: Mapping[str, Species], constants: NetworkConstants = NETWORK) -> FoodWeb:
    """Return the web in which each animal eats the animals that its mass lets it catch, and basal species by its diet.

    An animal is prey if `compute_capture_success` is at least `constants.cutoff`; its value is the preference. The
    optimal mass ratio is 100 after Schneider and Brose; for large mammalian carnivores it is nearer to 1. Cycles are
    kept and declared.
    """
    links = [
        link
        for eater in species.values()
        for food in species.values()
        if (link := _link_by_mass(eater, food, constants)) is not None
    ]
    ring_links = {pair for ring in find_rings(links) for pair in list_ring_links(ring)}
    while ring_links:
        links = [replace(link, loop=link.loop or (link.predator, link.prey) in ring_links) for link in links]
        open_links = (link for link in links if not link.loop)
        ring_links = {pair for ring in find_rings(open_links) for pair in list_ring_links(ring)}
    return FoodWeb(species=species, links=tuple(links))


def _link_by_mass(eater: Species, food: Species, constants: NetworkConstants) -> Feeding | None:
    """Return the link of an animal to a food that it eats and can catch, else None."""
    if eater.basal or food.kind not in EATS[eater.diet]:
        return None
    share = 1.0 if food.basal else float(compute_capture_success(eater.body_mass_kg, food.body_mass_kg, constants))
    if share < constants.cutoff:
        return None
    return Feeding(predator=eater.name, prey=food.name, preference=share, grade=f"{ALLOMETRIC} capture")


def check_web(species: Mapping[str, Species], links: Iterable[Feeding]) -> None:
    """Raise ValueError for the first unknown species, impossible link, starving animal or undeclared cycle."""
    links = tuple(links)
    _check_links(species, links)
    fed = {link.predator for link in links}
    for name, one in species.items():
        if not one.basal and name not in fed:
            raise ValueError(
                f"food web: {name!r} ({one.diet}) has nothing to eat; add a link to its food or leave it out"
            )
    lost = _find_unreached(species, links)
    if lost:
        raise ValueError(
            f"food web: {lost[0]!r} has nothing to eat that leads to a plant or dead matter; add such a link below it"
        )
    for ring in find_rings(link for link in links if not link.loop):
        path = " eats ".join([*ring, ring[0]])
        raise ValueError(
            f"food web: a cycle, {path}; write loop = yes at one of these links if it is meant, or remove one"
        )


def _check_links(species: Mapping[str, Species], links: Iterable[Feeding]) -> None:
    seen: set[tuple[str, str]] = set()
    for link in links:
        at = f"{link.predator} eats {link.prey}"
        eater, food = _get_species(link.predator, species, at), _get_species(link.prey, species, at)
        if (link.predator, link.prey) in seen:
            raise ValueError(f"food web: {at} has two rows; remove one of them")
        seen.add((link.predator, link.prey))
        if eater.basal:
            raise ValueError(f"food web: {at}, but diet {eater.diet!r} means that it eats nothing; remove the link")
        if food.kind not in EATS[eater.diet]:
            what = "animals" if food.kind == "animal" else food.kind
            raise ValueError(
                f"food web: {at}, but a {eater.diet} does not eat {what}; remove the link or change its diet"
            )


def _get_species(name: str, species: Mapping[str, Species], at: str) -> Species:
    if name not in species:
        hint = nearest(name, species, otherwise="add it to the species table", n=1)
        raise ValueError(f"food web: {at}: species {name!r} is unknown{hint}")
    return species[name]


def _find_unreached(species: Mapping[str, Species], links: Iterable[Feeding], gone: Iterable[str] = ()) -> list[str]:
    """Return the animals that no food chain connects to a basal species."""
    gone = set(gone)
    alive = {name for name, one in species.items() if one.basal and name not in gone}
    links, grew = [link for link in links if link.predator not in gone], True
    while grew:
        new = {link.predator for link in links if link.prey in alive} - alive
        alive |= new
        grew = bool(new)
    return [name for name in species if name not in alive and name not in gone]


def find_starving(web: FoodWeb, gone: Iterable[str]) -> list[str]:
    """Return the species that lose all their food when the species of `gone` are missing."""
    return _find_unreached(web.species, web.links, gone)


def find_rings(links: Iterable[Feeding]) -> list[list[str]]:
    """Return the shortest cycle through each species, each cycle once, as names with the eater before the eaten."""
    eaten: dict[str, list[str]] = {}
    for link in links:
        eaten.setdefault(link.predator, []).append(link.prey)
    rings, seen = [], set()
    for start in eaten:
        ring = _find_ring(start, eaten)
        if ring and frozenset(ring) not in seen:
            seen.add(frozenset(ring))
            rings.append(ring)
    return rings


def _find_ring(start: str, eaten: Mapping[str, list[str]]) -> list[str]:
    """Return the shortest cycle through a species by breadth-first search, or an empty list."""
    before: dict[str, str] = {}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for prey in eaten.get(here, ()):
            if prey == start:
                ring = [here]
                while ring[-1] != start:
                    ring.append(before[ring[-1]])
                return ring[::-1]
            if prey not in before:
                before[prey] = here
                queue.append(prey)
    return []


def list_ring_links(ring: list[str]) -> list[tuple[str, str]]:
    """Return (predator, prey) of every link of a cycle."""
    return list(zip(ring, [*ring[1:], ring[0]], strict=True))


def compute_trophic_levels(web: FoodWeb, flows: Mapping[tuple[str, str], float] | None = None) -> dict[str, float]:
    """Return the trophic level of each species: 1 for basal species, else 1 + the mean level of its food.

    The mean is weighted by preference, or by the flow of (predator, prey) if `flows` is given. Carcasses have the mean
    level of the animals that do not feed on them.
    """
    names = list(web.species)
    row = {name: index for index, name in enumerate(names)}
    share_ij = np.zeros((len(names), len(names)))
    for link in web.links:
        weight = link.preference if flows is None else flows.get((link.predator, link.prey), 0.0)
        share_ij[row[link.predator], row[link.prey]] = weight
    total_i = share_ij.sum(1)
    # A predator that ate nothing keeps the level of its diet.
    for link in web.links:
        if total_i[row[link.predator]] == 0:
            share_ij[row[link.predator], row[link.prey]] = link.preference
    above_i = np.ones(len(names))
    scavengers = {link.predator for link in web.links if link.prey == CARCASS}
    bodies = [row[name] for name, one in web.species.items() if not one.basal and name not in scavengers]
    if scavengers and bodies:
        share_ij[row[CARCASS], bodies] = 1.0
        above_i[row[CARCASS]] = 0.0
    total_i = share_ij.sum(1)
    share_ij /= np.where(total_i > 0, total_i, 1)[:, None]
    level_i = np.linalg.solve(np.eye(len(names)) - share_ij, above_i)
    return {name: float(level_i[row[name]]) for name in names}


class WebNode(NamedTuple):
    """A species in a drawing of a food web."""

    name: str
    kind: str
    "kind of basal species, or animal"
    level: float
    "trophic level"
    x: float
    "position from left to right, 0..1"
    y: float
    "position from the basal species upwards, 0..1"
    size: float
    "square root of the share of the greatest biomass, 0..1"


class WebEdge(NamedTuple):
    """A link in a drawing of a food web."""

    prey: str
    predator: str
    flow: float
    "flow along the link, or its preference"
    width: float
    "square root of the share of the greatest flow, 0..1"


class WebLayout(NamedTuple):
    """A food web ready to draw."""

    nodes: list[WebNode]
    edges: list[WebEdge]


def lay_out_web(
    web: FoodWeb,
    flows: Mapping[tuple[str, str], float] | None = None,
    biomass: Mapping[str, float] | None = None,
) -> WebLayout:
    """Return positions and sizes of the species and widths of the links.

    Without `flows` by (predator, prey) the widths follow the preferences, without `biomass` all sizes are 1.
    """
    level = compute_trophic_levels(web, flows)
    top = max(level.values())
    x = _place_in_bands(web, level)
    most = max(biomass.values(), default=0.0) if biomass else 0.0
    flow_of = {
        (link.predator, link.prey): (link.preference if flows is None else flows.get((link.predator, link.prey), 0.0))
        for link in web.links
    }
    widest = max(flow_of.values(), default=0.0)
    nodes = [
        WebNode(
            name=name,
            kind=one.kind,
            level=level[name],
            x=x[name],
            y=(level[name] - 1) / (top - 1) if top > 1 else 0.0,
            size=math.sqrt(max(biomass.get(name, 0.0), 0.0) / most) if most > 0 else 1.0,
        )
        for name, one in web.species.items()
    ]
    edges = [
        WebEdge(prey, eater, flow, math.sqrt(max(flow, 0.0) / widest) if widest > 0 else 0.0)
        for (eater, prey), flow in flow_of.items()
    ]
    return WebLayout(nodes, edges)


def _place_in_bands(web: FoodWeb, level: Mapping[str, float]) -> dict[str, float]:
    """Return the position 0..1 of each species within its trophic level."""
    bands: dict[int, list[str]] = {}
    for name in web.species:
        bands.setdefault(round(level[name]), []).append(name)
    x: dict[str, float] = {}
    for band in sorted(bands):
        prey_x = {name: [x[link.prey] for link in web.get_diet(name) if link.prey in x] for name in bands[band]}
        # Each species stands above the middle of its food, so that few arrows cross.
        ordered = sorted(bands[band], key=lambda name: float(np.mean(prey_x[name])) if prey_x[name] else 0.0)
        x |= {name: (index + 0.5) / len(ordered) for index, name in enumerate(ordered)}
    return x
