"""Who eats whom: a food web from a table or from body masses, checked, with trophic levels and data to draw it.

A table is a CSV file with the columns predator, prey and grade, and where they are known preference,
max_ingestion_per_y, hill, efficiency and loop. A web that comes back to where it began
(cannibalism, two that eat each other) is refused unless a link of the ring says loop = yes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path

import numpy as np

from linnaea.options import nearest
from linnaea.standards.commented_csv import check_width, parse_rows, read_csv_text
from linnaea.twin.data.allometry import NETWORK, NetworkConstants, compute_capture_success
from linnaea.twin.data.evidence import ALLOMETRIC, check_grade
from linnaea.twin.data.species import EATS, Species

CARCASS = "carcass"
"name of the bodies of the dead, which stand as high as who they were"


@dataclass(frozen=True, kw_only=True)
class Feeding:
    """One arrow of the web; what is nan is computed from body mass where it is needed."""

    predator: str
    "who eats"
    prey: str
    "what is eaten"
    preference: float = 1.0
    "weight of this food among all of the predator's at equal biomass"
    max_ingestion_per_y: float = math.nan
    "most food a year as multiples of the predator's mass"
    hill: float = 1.0
    "exponent of the functional response: 1 is type II, 2 type III"
    efficiency: float = math.nan
    "share of the food that becomes body"
    loop: bool = False
    "declared part of a ring"
    grade: str = "unverified"
    "how well the link is known"


_RANGES = {
    "preference": (1e-9, 1e9),
    "max_ingestion_per_y": (1e-6, 1e5),
    "hill": (1, 3),
    "efficiency": (1e-6, 1),
}


@dataclass(frozen=True, kw_only=True)
class FoodWeb:
    """Species by name and the links between them; checked when it is made."""

    species: Mapping[str, Species]
    links: tuple[Feeding, ...]

    def __post_init__(self) -> None:
        check_web(self.species, self.links)

    def diet(self, name: str) -> tuple[Feeding, ...]:
        """The links of a predator."""
        return tuple(link for link in self.links if link.predator == name)

    def without(self, *names: str) -> FoodWeb:
        """The web after these species are gone, and all that starve for it."""
        for name in names:
            _get_species(name, self.species, "remove")
        gone = set(names) | set(find_starving(self, names))
        return FoodWeb(
            species={name: species for name, species in self.species.items() if name not in gone},
            links=tuple(link for link in self.links if not {link.predator, link.prey} & gone),
        )


def read_web(path: Path | str, species: Mapping[str, Species]) -> FoodWeb:
    """The web of a CSV table, with those of `species` that it names. ValueError in one line for what cannot be."""
    path = Path(path)
    return _select_web(
        parse_links(read_csv_text(path, "food web", "predator, prey, grade"), path.name), species, path.name
    )


def load_bundled_web(world: str, species: Mapping[str, Species]) -> FoodWeb:
    """The web of a bundled world, with those of `species` that it names."""
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
    """The links of a table's text; `where` begins an error."""
    rows = parse_rows(text)
    names = [f.name for f in fields(Feeding)]
    for column in rows.fieldnames or ():
        if column not in names:
            raise ValueError(f"{where}: column {column!r} is unknown; known are {', '.join(names)}")
    for column in ("predator", "prey", "grade"):
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"{where}: column {column!r} is missing; every link needs predator, prey and grade")
    links = []
    for row in rows:
        check_width(row, where)
        given = {key: value.strip() for key, value in row.items() if value.strip()}
        at = f"{where}: {given.get('predator', '?')} eats {given.get('prey', '?')}"
        for key, (low, high) in _RANGES.items():
            if key in given:
                given[key] = _parse_number(given[key], key, low, high, at)
        given["grade"] = check_grade(given.get("grade", ""), at)
        given["loop"] = {"": False, "no": False, "yes": True}.get(given.get("loop", ""))
        if given["loop"] is None:
            raise ValueError(f"{at}: loop {row['loop']!r} is neither yes nor no; write yes for a declared ring")
        if not given.get("predator") or not given.get("prey"):
            raise ValueError(f"{at}: a link needs predator and prey; fill both cells")
        links.append(Feeding(**given))
    return tuple(links)


def build_web_from_masses(species: Mapping[str, Species], constants: NetworkConstants = NETWORK) -> FoodWeb:
    """The web in which an animal eats the animals that it would catch by mass, and basal species by its diet.

    Catching follows `compute_capture_success`; the preference is its value. `constants.optimal_ratio` is 100 after Schneider
    and Brose; large carnivores of mammals live nearer 1. Rings are kept and declared.
    """
    links = []
    for eater in species.values():
        for food in species.values():
            if eater.basal or food.kind not in EATS[eater.diet]:
                continue
            share = (
                1.0 if food.basal else float(compute_capture_success(eater.body_mass_kg, food.body_mass_kg, constants))
            )
            if share >= constants.cutoff:
                links.append(
                    Feeding(predator=eater.name, prey=food.name, preference=share, grade=f"{ALLOMETRIC} capture")
                )
    rings = {pair for ring in find_rings(links) for pair in list_ring_links(ring)}
    while rings:
        links = [replace(link, loop=link.loop or (link.predator, link.prey) in rings) for link in links]
        rings = {pair for ring in find_rings(link for link in links if not link.loop) for pair in list_ring_links(ring)}
    return FoodWeb(species=species, links=tuple(links))


def check_web(species: Mapping[str, Species], links: Iterable[Feeding]) -> None:
    """Nothing; ValueError in one line for the first unknown species, impossible link, starving animal or undeclared
    ring.
    """
    links = tuple(links)
    seen: set[tuple[str, str]] = set()
    for link in links:
        at = f"{link.predator} eats {link.prey}"
        eater, food = _get_species(link.predator, species, at), _get_species(link.prey, species, at)
        if (link.predator, link.prey) in seen:
            raise ValueError(f"food web: {at} stands there twice; remove one of the links")
        seen.add((link.predator, link.prey))
        if eater.basal:
            raise ValueError(
                f"food web: {at}, but its diet {eater.diet!r} is that of one that eats nothing; remove the link"
            )
        if food.kind not in EATS[eater.diet]:
            what = "animals" if food.kind == "animal" else food.kind
            raise ValueError(
                f"food web: {at}, but a {eater.diet} does not eat {what}; remove the link or change its diet"
            )
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
            f"food web: a ring, {path}; write loop = yes at one of these links if it is meant, or remove one"
        )


def _get_species(name: str, species: Mapping[str, Species], at: str) -> Species:
    if name not in species:
        hint = nearest(name, species, otherwise="add it to the species table", n=1)
        raise ValueError(f"food web: {at}: species {name!r} is unknown{hint}")
    return species[name]


def _find_unreached(species: Mapping[str, Species], links: Iterable[Feeding], gone: Iterable[str] = ()) -> list[str]:
    """Animals that no chain of food joins to a basal species."""
    gone = set(gone)
    alive = {name for name, one in species.items() if one.basal and name not in gone}
    links, grew = [link for link in links if link.predator not in gone], True
    while grew:
        new = {link.predator for link in links if link.prey in alive} - alive
        alive |= new
        grew = bool(new)
    return [name for name in species if name not in alive and name not in gone]


def find_starving(web: FoodWeb, gone: Iterable[str]) -> list[str]:
    """Species that lose all food when those of `gone` are missing, without them."""
    return _find_unreached(web.species, web.links, gone)


def find_rings(links: Iterable[Feeding]) -> list[list[str]]:
    """Rings of the links, the shortest through each species that is in one, each once: names, eater before eaten."""
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
    """(predator, prey) of every link of a ring."""
    return list(zip(ring, [*ring[1:], ring[0]], strict=True))


def compute_trophic_levels(web: FoodWeb, flows: Mapping[tuple[str, str], float] | None = None) -> dict[str, float]:
    """Level of each species: 1 for basal ones, else 1 + the mean of its food, by preference or by flows (predator,
    prey). Carcasses, which are animals, stand at the mean level of the animals that do not feed on them.
    """
    names = list(web.species)
    place = {name: index for index, name in enumerate(names)}
    share_ij = np.zeros((len(names), len(names)))
    for link in web.links:
        weight = link.preference if flows is None else flows.get((link.predator, link.prey), 0.0)
        share_ij[place[link.predator], place[link.prey]] = weight
    total_i = share_ij.sum(1)
    # A predator that ate nothing keeps the level of its diet.
    for link in web.links:
        if total_i[place[link.predator]] == 0:
            share_ij[place[link.predator], place[link.prey]] = link.preference
    above_i = np.ones(len(names))
    scavengers = {link.predator for link in web.links if link.prey == CARCASS}
    bodies = [place[name] for name, one in web.species.items() if not one.basal and name not in scavengers]
    if scavengers and bodies:
        share_ij[place[CARCASS], bodies] = 1.0
        above_i[place[CARCASS]] = 0.0
    total_i = share_ij.sum(1)
    share_ij /= np.where(total_i > 0, total_i, 1)[:, None]
    level_i = np.linalg.solve(np.eye(len(names)) - share_ij, above_i)
    return {name: float(level_i[place[name]]) for name in names}


def lay_out_web(
    web: FoodWeb,
    flows: Mapping[tuple[str, str], float] | None = None,
    biomass: Mapping[str, float] | None = None,
) -> dict[str, list[dict]]:
    """Positions, sizes and widths to draw the web with: {"nodes": [...], "edges": [...]}.

    A node has name, kind, level, x and y (both 0..1, basal species below) and size 0..1, the square root of its share
    of the greatest biomass; an edge has prey, predator, flow and width 0..1 in the same way, from the greatest flow.
    """
    level = compute_trophic_levels(web, flows)
    top = max(level.values())
    bands: dict[int, list[str]] = {}
    for name in web.species:
        bands.setdefault(round(level[name]), []).append(name)
    x: dict[str, float] = {}
    for band in sorted(bands):
        prey_x = {name: [x[link.prey] for link in web.diet(name) if link.prey in x] for name in bands[band]}
        # Each above the middle of its food, so that few arrows cross.
        ordered = sorted(bands[band], key=lambda name: float(np.mean(prey_x[name])) if prey_x[name] else 0.0)
        x |= {name: (index + 0.5) / len(ordered) for index, name in enumerate(ordered)}
    most = max(biomass.values(), default=0.0) if biomass else 0.0
    flow_of = {
        (link.predator, link.prey): (link.preference if flows is None else flows.get((link.predator, link.prey), 0.0))
        for link in web.links
    }
    widest = max(flow_of.values(), default=0.0)
    nodes = [
        {
            "name": name,
            "kind": one.kind,
            "level": level[name],
            "x": x[name],
            "y": (level[name] - 1) / (top - 1) if top > 1 else 0.0,
            "size": math.sqrt(max(biomass.get(name, 0.0), 0.0) / most) if most > 0 else 1.0,
        }
        for name, one in web.species.items()
    ]
    edges = [
        {
            "prey": prey,
            "predator": eater,
            "flow": flow,
            "width": math.sqrt(max(flow, 0.0) / widest) if widest > 0 else 0.0,
        }
        for (eater, prey), flow in flow_of.items()
    ]
    return {"nodes": nodes, "edges": edges}


def _parse_number(text: str, key: str, low: float, high: float, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{at}: {key} {text!r} is no number") from None
    if not low <= value <= high:
        raise ValueError(f"{at}: {key} {text} is impossible; write a value of {low:g} to {high:g}")
    return value
