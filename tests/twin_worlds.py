"""Small worlds for tests, and a slow NumPy oracle of their step."""

from __future__ import annotations

import numpy as np

from linnaea.twin.engine import rng as philox
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.world import World
from linnaea.twin.reference_models.birth_death import BirthDeath, DeliverLitters, Expose, Infect
from linnaea.twin.reference_models.flocking_rules import Align, Flock
from linnaea.twin.reference_models.functional_response import Hunt, Kill
from linnaea.twin.rules.motion import Flee, HomeRange, Move, Walk

PREY, PREDATOR = 0, 1


def busy_world(
    *, n_prey: int = 300, n_predators: int = 20, torus: bool = True, side: float = 60.0, **settings
) -> World:
    """A world in which the shipped rules all have something to do."""
    rules = [
        Walk(speed_m_h=1.5, mean_cosine=0.7, exponential=True),
        Flock(radius_m=4.0, speed_m_h=1.0),
        HomeRange(range_m=20.0, weight=0.2),
        Flee(prey=(PREY,), predators=(PREDATOR,), radius_m=6.0, flight_m_h=3.0),
        Hunt(predator=PREDATOR, prey=(PREY,), radius_m=3.0, success=0.6, full_density=0.1, awareness_m=8.0),
        Expose(radius_m=3.0),
        Kill(predator=PREDATOR, handling_h=3.0, gain_kj_kg=2.0),
        Move(),
        Infect(infection_per_h=0.1, recovery_per_h=0.2, lethality=0.3),
        BirthDeath(birth_per_h=0.06, death_per_h=0.01, carrying_capacity=400, species=PREY),
        DeliverLitters(),
    ]
    space = Space(width_m=side, height_m=side * 0.75, torus=torus, cell_m=4.0)
    settings = {"seed": 7, "traits": ("boldness",), "capacity": 64, "resort_every": 5} | settings
    world = World(space=space, rules=rules, species=("prey", "predator"), **settings)
    found(world, n_prey, PREY)
    found(world, n_predators, PREDATOR)
    return world


def found(world: World, count: int, species: int) -> np.ndarray:
    """Founders at random places of the ground; every tenth is infectious."""
    rng = np.random.default_rng([world.seed, species])
    angle = rng.uniform(0, 2 * np.pi, count)
    place = rng.uniform(0, 1, (2, count)) * [[world.space.width_m], [world.space.height_m]]
    return world.agents.add(
        count,
        species=species,
        x=place[0],
        y=place[1],
        home_x=place[0],
        home_y=place[1],
        dir_x=np.cos(angle),
        dir_y=np.sin(angle),
        mass=10.0,
        energy=100.0,
        health=np.arange(count) % 10 == 0,
        born_h=-100.0,
        traits=rng.uniform(size=(count, 1)).repeat(len(world.traits), 1),
    )


def by_key(world: World) -> dict[str, np.ndarray]:
    """The live animals' state in the order of their keys: what may not depend on slots."""
    live = world.agents.slots()
    order = live[np.argsort(world.agents.key[live])]
    return {name: values[order] for name, values in world.agents.state_arrays().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], *, but: tuple[str, ...] = ()) -> bool:
    """Whether two worlds' animals are the same, bit for bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a if name not in but)


def oracle_step(world: World) -> dict[str, np.ndarray]:
    """What `by_key` should return after a step of Walk, Flock or Align, Expose, Move and Infect: all pairs, float64."""
    s = by_key(world)
    n, seed, now = len(s["x"]), world.seed, world.step
    x, y, u, v = (s[name].astype(np.float64) for name in ("x", "y", "dir_x", "dir_y"))
    dx, dy = x[None] - x[:, None], y[None] - y[:, None]
    width, height, torus = world.space.width_m, world.space.height_m, world.space.torus
    if torus:
        dx, dy = dx - width * np.round(dx / width), dy - height * np.round(dy / height)
    distance = np.hypot(dx, dy)
    pull, speed, exposure = np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    health = s["health"].copy()
    for rule in world.rules:
        if isinstance(rule, Walk):
            words = philox.blocks(seed, now, philox.MOVEMENT, s["key"]).astype(np.uint64)
            turn, length = (unit(words[:, i], words[:, i + 1]) for i in (0, 2))
            c = rule.mean_cosine
            angle = 2 * np.arctan((1 - c) / (1 + c) * np.tan(np.pi * (turn - 0.5)))
            pull += np.stack([u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)], 1)
            speed[:] = -rule.speed_m_h * np.log(1 - length) if rule.exponential else rule.speed_m_h
        if isinstance(rule, Flock):
            seen = (distance <= rule.radius_m) & ~np.eye(n, dtype=bool)
            near = (distance < rule.separation_m) & seen
            for axis, (d, own) in enumerate(((dx, u), (dy, v))):
                wish = rule.cohere * (d * seen).sum(1) - rule.separate * (d * near).sum(1) + rule.match * seen @ own
                pull[:, axis] += own + wish / np.maximum(1, seen.sum(1))
            speed[:] = rule.speed_m_h
        if isinstance(rule, Align):
            seen = distance <= rule.radius_m
            angle = np.arctan2(seen @ v, seen @ u)
            angle += rule.noise_rad * (philox.uniforms(seed, now, philox.HERDING, s["key"]) - 0.5)
            pull += np.stack([np.cos(angle), np.sin(angle)], 1)
            speed[:] = rule.speed_m_h
        if isinstance(rule, Expose):
            ill = s["health"] == 1
            exposure = (distance <= rule.radius_m) @ ill.astype(float) if rule.radius_m else np.full(n, ill.mean())
        if isinstance(rule, Infect):
            falls = philox.uniforms(seed, now, philox.INFECTION, s["key"]) < -np.expm1(-rule.infection_per_h * exposure)
            heals = philox.uniforms(seed, now, philox.RECOVERY, s["key"]) < -np.expm1(-rule.recovery_per_h)
            health[(s["health"] == 0) & falls] = 1
            health[(s["health"] == 1) & heals] = 2
        if isinstance(rule, Move):
            pull /= np.linalg.norm(pull, axis=1, keepdims=True)
            x, y, u, v = x + pull[:, 0] * speed, y + pull[:, 1] * speed, pull[:, 0], pull[:, 1]
            if torus:
                x, y = x % width, y % height
            else:
                u, v = np.where((x < 0) | (x >= width), -u, u), np.where((y < 0) | (y >= height), -v, v)
                x, y = reflect(x, width), reflect(y, height)
    return {"x": x, "y": y, "dir_x": u, "dir_y": v, "health": health}


def unit(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """A number in [0, 1) from two words of 32 bits."""
    return ((high >> np.uint64(5)) * 67108864.0 + (low >> np.uint64(6))) / 2.0**53


def reflect(position: np.ndarray, length: float) -> np.ndarray:
    """Coordinates thrown back by walls at 0 and `length`."""
    return np.where(position < 0, -position, np.where(position >= length, 2 * length - position, position))
