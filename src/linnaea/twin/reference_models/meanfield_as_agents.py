"""A mean-field model as individuals: the same food web, whose members meet, eat, breed and die one by one.

The world of `build_agent_world` has the engine's own rules. If many individuals mix fast and steps are short, it has
the densities of the equations. Each link is a search for the nearest prey within reach and a time to handle it.
Assimilated food becomes young at once. Growth and losses are chances of a birth-death process. One unit of the model's
area is a square metre and one unit of its time an hour.

Shape suffixes: s nodes of the model, species of the world.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.meanfield.model import MeanFieldModel, Node
from linnaea.twin.reference_models.birth_death import BirthDeath, DeliverLitters
from linnaea.twin.reference_models.functional_response import Hunt, Kill
from linnaea.twin.rules.motion import Move, Walk

MASS = "mass_of_one"
"name of the array [s] of the world: density that one individual in a square metre stands for"


def build_agent_world(
    model: MeanFieldModel,
    area: float,
    step: float,
    *,
    mass: Mapping[str, float] | None = None,
    mixing: float = 1 / 3,
    seed: int = 0,
) -> World:
    """Return a world of the model on a torus of this area, with steps of this time; it starts with whole individuals.

        Args: model: it must not have a lattice, diseases, nutrients, pools, immigration or responses of type III. area:
        of the torus. step: length of a step. It should be short against handling times. mass: node -> density times
        area of one individual, 1 unless given. Small prey make handling short against lives, as the equations assume.
        mixing: distance that each individual moves in a step, and at birth, as a share of the side of the area. seed:
        of every random number.

    Raises:
        ValueError: for a model or a size that is impossible.
    """
    check_supported(model)
    if not (area > 0 and math.isfinite(area) and step > 0 and math.isfinite(step)):
        raise ValueError(f"area {area:g} and step {step:g} must be numbers above 0")
    mass_s = np.array([float((mass or {}).get(name, 1.0)) for name in model.names])
    if unknown := set(mass or {}) - set(model.names):
        raise ValueError(f"mass of {', '.join(sorted(unknown))}: unknown node; known are {', '.join(model.names)}")
    if not (mass_s > 0).all():
        raise ValueError(f"mass {mass_s.min():g} of an individual must be above 0")
    counts_s = np.rint(np.array([float(node.start) for node in model.nodes]) * area / mass_s).astype(int)
    side = math.sqrt(area)
    way = mixing * side
    rules = [Walk(speed_m_h=way / step), *make_feeding_rules(model, mass_s, area, step), Move()]
    rules += [make_birth_death_rule(node, row, area / mass_s[row]) for row, node in enumerate(model.nodes)]
    # About two individuals in a cell of the search.
    space = Space(width_m=side, height_m=side, torus=True, cell_m=side / max(1.0, math.sqrt(counts_s.sum() / 2)))
    world = World(
        space=space,
        rules=[*rules, DeliverLitters(away_m=way)],
        seed=seed,
        dt_h=step,
        species=model.names,
        capacity=max(64, 2 * int(counts_s.sum())),
        arrays={MASS: mass_s},
    )
    place = np.random.default_rng([seed, 0])
    for row, count in enumerate(counts_s):
        x, y = place.uniform(0, side, (2, count))
        world.agents.add(count, species=row, x=x, y=y)
    for row in range(len(model.nodes)):
        start_handling(world, model, row, place)
    return world


def start_handling(world: World, model: MeanFieldModel, row: int, rng: np.random.Generator) -> None:
    """Let as many predators of this row start in the middle of handling as handle prey in the equations.

    If all started to search they would eat more at first than later.
    """
    node, mass_s = model.nodes[row], world.arrays[MASS]
    links = [link for link in model.links if link.predator == node.name]
    now = dict(zip(model.names, compute_densities(world), strict=True))
    spent = np.array([link.preference * link.attack * link.handling * now[link.prey] for link in links])
    share = spent / (1 + node.interference * now[node.name] + spent.sum())
    a = world.agents
    mine = np.flatnonzero(a.species[: a.n] == row)
    u, v = rng.uniform(size=(2, len(mine)))
    which = np.searchsorted(np.cumsum(share), u, side="right")
    for index, link in enumerate(links):
        at_it = which == index
        handling = link.handling * mass_s[model.names.index(link.prey)] / mass_s[row]
        # The next search begins with the step that is nearest to the end of handling.
        a.until_h[mine[at_it]] = v[at_it] * handling - world.dt_h / 2


def compute_densities(world: World) -> np.ndarray:
    """Return the densities of the nodes now: float64 [s]."""
    return world.counts() * world.arrays[MASS] / (world.space.width_m * world.space.height_m)


def make_feeding_rules(model: MeanFieldModel, mass_s: np.ndarray, area: float, step: float) -> list[Rule]:
    """Return the rules of feeding: for each link a search and, in the phase `resolve`, a kill."""
    rules: list[Rule] = []
    row = {name: index for index, name in enumerate(model.names)}
    for link in model.links:
        i, j = row[link.predator], row[link.prey]
        # In a step a predator searches the area that follows from the attack rate.
        ground = link.attack * link.preference * mass_s[i] * step
        bodies = mass_s[j] / mass_s[i]
        # A kill falls on average into the middle of its step; handling begins at the end of the step.
        handling = max(link.handling * bodies - step / 2, 0.0)
        interference = model.nodes[i].interference * mass_s[i] / area
        rules.append(Hunt(predator=i, prey=(j,), radius_m=math.sqrt(ground / math.pi), interference=interference))
        rules.append(Kill(predator=i, prey=(j,), handling_h=handling, young=link.efficiency * bodies))
    return rules


def make_birth_death_rule(node: Node, row: int, per_density: float) -> BirthDeath:
    """Return the rule of a node's own growth and losses; `per_density` is the individuals of density 1 in the area."""
    lost = node.metabolism + node.mortality
    if math.isinf(node.capacity) or not node.growth:
        return BirthDeath(species=row, birth_per_h=node.growth, death_per_h=lost)
    if lost >= node.growth:
        raise ValueError(
            f"node {node.name}: losses {lost:g} exceed growth {node.growth:g}, so that it has no capacity; lower them"
        )
    capacity = node.capacity * (1 - lost / node.growth) * per_density
    return BirthDeath(species=row, birth_per_h=node.growth, death_per_h=lost, carrying_capacity=capacity)


def check_supported(model: MeanFieldModel) -> None:
    """Raise ValueError for the first part of the model that individuals do not have."""
    unknown = [name for name in ("space", "diseases", "uptakes") if getattr(model, name)]
    unknown += [
        f"{name} of {node.name}"
        for node in model.nodes
        for name in ("immigration", "turnover", "remains", "waste")
        if getattr(node, name)
    ]
    unknown += [f"hill {link.hill:g} of {link.predator} on {link.prey}" for link in model.links if link.hill != 1]
    if unknown:
        raise ValueError(f"individuals have no {unknown[0]}; leave it out of the model, or integrate it")
