"""How animals of whole worlds go: to the goal of their herd, with it, away from hunters; and the fences that stop them.

Shape suffixes: n slots, m live animals in the order of the cells, h herds, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.jit import kernel, scalar
from linnaea.twin.engine.layers import crosses
from linnaea.twin.engine.rng import MIGRATION, MOVEMENT, uniform, uniform2, uniform4
from linnaea.twin.engine.world import Rule, World, name_state
from linnaea.twin.rules.goals import CANDIDATES
from linnaea.twin.rules.motion import direction_to, go_straight, pull_away, pull_of, turn_heading

ASTRAY_H = 1.0
"hours of walking, within the radius of the goal, after which an animal heeds goal and group as much as its heading"
FLIGHT_WEIGHT = 10.0
"weight of a flight, against 1 for the animal's own heading"


class StepPace(NamedTuple):
    """How far animals get in a step."""

    activity: np.ndarray
    "of each species, against its mean over the day [s]"
    keep: float
    "mean cosine between the headings of two steps"
    net: float
    "distance as a share of the path"
    spread: float
    "how much the path of a step varies, 1 for one of an hour"
    flight_h: float
    "longest flight"


@scalar
def place_in_disc(radius, u, v):
    """A place in a disc around (0, 0), all parts alike, from two uniform numbers."""
    distance, angle = radius * math.sqrt(u), 2.0 * math.pi * v
    return distance * math.cos(angle), distance * math.sin(angle)


@scalar
def wish_beyond_goal(to_goal, distance, area_m, group_m, astray_m, own_draws, group_draws):
    """The direction and length of the way of an animal that reaches its goal in this step and walks about there.

    It may end anywhere in the goal's area, with its group, and astray by some of the way that would turn it back. The
    draws are pairs of uniform numbers.
    """
    gx, gy = to_goal
    group_m = min(group_m, area_m)
    ax, ay = place_in_disc(area_m - group_m, group_draws[0], group_draws[1])
    bx, by = place_in_disc(group_m + astray_m, own_draws[0], own_draws[1])
    px, py = distance * gx + ax + bx, distance * gy + ay + by
    way = math.sqrt(px * px + py * py)
    return px / max(way, 1e-9), py / max(way, 1e-9), way


@scalar
def wish_on_the_way(px, py, to_goal, outside_m, to_group, loose_m, astray_m):
    """The pull of goal and group, with weights against 1 for the animal's own heading (px, py).

    `outside_m` metres from the goal's area and `loose_m` metres from the group (0 or less: within it).
    """
    # A goal is an area: within it there is nothing to go to; far away it weighs up to twice the heading.
    weight = min(max(outside_m, 0.0) / astray_m, 2.0)
    px += weight * to_goal[0]
    py += weight * to_goal[1]
    if loose_m > 0.0:
        # The goal is common: only near it do they need to look for each other.
        weight = min(loose_m / astray_m, 2.0) * (1.0 - 0.5 * weight)
        px += weight * to_group[0]
        py += weight * to_group[1]
    return px, py


class Roamers(NamedTuple):
    """The columns of animals that `Roam` reads."""

    species: np.ndarray
    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    dir_x: np.ndarray
    dir_y: np.ndarray
    herd: np.ndarray
    until_h: np.ndarray


class Ways(NamedTuple):
    """The columns in which `Roam` proposes where an animal goes, how fast, and how far it gets."""

    pull_x: np.ndarray
    pull_y: np.ndarray
    speed_m_h: np.ndarray
    way_m: np.ndarray


@kernel
def _roam(order, roamers, herds, movement, spacing_m, hunters, eats, pace, grid, clock, ways):
    species, key, x, y, dir_x, dir_y, herd, until_h = roamers
    pull_x, pull_y, speed_m_h, way_m = ways.pull_x, ways.pull_y, ways.speed_m_h, ways.way_m
    seed, step, dt = clock.seed, clock.step, clock.dt_h
    for k in numba.prange(len(order)):
        i = order[k]
        s, h = species[i], herd[i]
        u, v, w, z = uniform4(seed, step, MOVEMENT, key[i], 0)
        # The hours of a long step add up to a path that varies less than one of them.
        going = movement.speed_m_h[s] * pace.activity[s] * (1.0 + pace.spread * (-math.log(1.0 - 0.999 * v) - 1.0))
        if until_h[i] > clock.now_h:
            going *= 0.1
        way, area = going * dt * pace.net, movement.goal_m[s]
        astray_m = min(ASTRAY_H * movement.speed_m_h[s], area)
        gx, gy, distance = direction_to(x[i], y[i], herds.goal[h, 0], herds.goal[h, 1], grid)
        group_m = spacing_m[s] * math.sqrt(np.float64(herds.size[h]))
        if way >= distance + area:
            draws = uniform2(seed, step, MIGRATION, herds.key[h], CANDIDATES)
            px, py, way = wish_beyond_goal((gx, gy), distance, area, group_m, astray_m, (w, z), draws)
        else:
            px, py = turn_heading(dir_x[i], dir_y[i], pace.keep, u)
            mx, my, loose = 0.0, 0.0, group_m
            if herds.size[h] > 1:
                mx, my, loose = direction_to(x[i], y[i], herds.centre[h, 0], herds.centre[h, 1], grid)
            px, py = wish_on_the_way(px, py, (gx, gy), distance - area, (mx, my), loose - group_m, astray_m)
        radius, flight_m_h = movement.flight_m[s], movement.flight_m_h[s]
        if radius > 0.0:
            away_x, away_y, _ = pull_away(x[i], y[i], s, radius, FLIGHT_WEIGHT, hunters, species, eats, grid)
            if away_x != 0.0 or away_y != 0.0:
                px += away_x
                py += away_y
                # A flight is over within the hour, however long the step.
                going = max(going, flight_m_h * min(1.0, pace.flight_h / dt))
                way = max(way, flight_m_h * min(dt, pace.flight_h))
        pull_x[i] += px
        pull_y[i] += py
        speed_m_h[i] = going
        way_m[i] = way


@dataclass(frozen=True, kw_only=True)
class Roam(Rule):
    """A correlated walk, drawn to the herd's goal and to its centre, and away from near predators.

    The path of a day is the species', shared over the hours by its activity; the length of an hour's way is
    exponential. In a long step an animal winds, so that it gets less far than its path is long. Where it has time to
    come to its herd's goal, it ends anywhere about the goal.
    """

    phase: ClassVar[str] = "decide"
    reads: ClassVar[frozenset[str]] = name_state(
        agents="species key x y dir_x dir_y herd until_h pull_x pull_y", herds="key goal size centre"
    )
    writes: ClassVar[frozenset[str]] = name_state(agents="pull_x pull_y speed_m_h way_m")
    persistence_h: float = 3.0
    "hours after which an animal has forgotten its heading"
    flight_h: float = 1.0
    "longest flight from a predator, hours"

    def apply(self, world: World) -> None:
        """Adds the wishes of all animals."""
        a, p, cells = world.agents, world.parameters, world.cells
        pace = StepPace(
            activity=activity_now(world),
            keep=math.exp(-world.dt_h / self.persistence_h),
            net=net_share(world.dt_h, self.persistence_h),
            spread=1.0 / math.sqrt(max(world.dt_h, 1.0)),
            flight_h=float(self.flight_h),
        )
        _roam(
            cells.order,
            a.view(Roamers),
            world.herds.arrays,
            p.movement,
            p.groups.herd_spacing_m,
            cells.select(a.species, p.hunting.hunts),
            p.hunting.eats,
            pace,
            cells.grid,
            world.clock,
            a.view(Ways),
        )


def net_share(hours: float, persistence_h: float) -> float:
    """How far a winding animal gets in some hours, as a share of its path: root mean square, 0 to 1."""
    ratio = hours / persistence_h
    return math.sqrt(2 / ratio * (1 - -math.expm1(-ratio) / ratio))


def activity_now(world: World) -> np.ndarray:
    """Activity of each species in this step against its mean over the day: float64 [s]."""
    table = world.parameters.movement.activity_by_hour
    if world.dt_h >= 24:
        return np.ones(len(table))
    hours = np.floor(world.now_h + np.arange(0, world.dt_h, 1.0)).astype(np.int64) % 24
    return table[:, hours].mean(1)


class Travellers(NamedTuple):
    """The columns of animals that `Travel` reads and changes."""

    key: np.ndarray
    x: np.ndarray
    y: np.ndarray
    dir_x: np.ndarray
    dir_y: np.ndarray
    moved_m: np.ndarray


@scalar
def is_stopped(x0, y0, x1, y1, fences, seed, step, key):
    """Whether an animal on the way from (x0, y0) to (x1, y1) fails to pass a fence [f, 5], each by its chance."""
    stopped = False
    for f in range(len(fences)):
        met = crosses(x0, y0, x1, y1, fences[f, 0], fences[f, 1], fences[f, 2], fences[f, 3])
        if met and uniform(seed, step, MOVEMENT, key, 1 + f) >= fences[f, 4]:
            stopped = True
    return stopped


@kernel
def _travel(order, travellers, ways, fences, grid, clock):
    key, moved_m = travellers.key, travellers.moved_m
    x, y, dir_x, dir_y = travellers.x, travellers.y, travellers.dir_x, travellers.dir_y
    for k in numba.prange(len(order)):
        i = order[k]
        px, py, pulled = pull_of(ways, i)
        if not pulled:
            continue
        distance = np.float64(ways.speed_m_h[i]) * clock.dt_h
        moved_m[i] = distance
        old_x, old_y = np.float64(x[i]), np.float64(y[i])
        way = min(distance, np.float64(ways.way_m[i]))
        new_x, new_y, new_dx, new_dy = go_straight(old_x, old_y, px, py, way, grid)
        if is_stopped(old_x, old_y, new_x, new_y, fences, clock.seed, clock.step, key[i]):
            # It turns back and has walked half of its way for nothing.
            moved_m[i] = 0.5 * distance
            dir_x[i], dir_y[i] = -px, -py
        else:
            x[i], y[i], dir_x[i], dir_y[i] = new_x, new_y, new_dx, new_dy


@dataclass(frozen=True, kw_only=True)
class Travel(Rule):
    """Every animal turns into the direction of its pull and goes, unless a fence stops it; borders turn it back."""

    phase: ClassVar[str] = "move"
    reads: ClassVar[frozenset[str]] = name_state(agents="key x y pull_x pull_y speed_m_h way_m", arrays="fences")
    writes: ClassVar[frozenset[str]] = name_state(agents="x y dir_x dir_y moved_m")

    def prepare(self, world: World) -> None:
        """Adds the path and the way of a step."""
        world.agents.add_column(
            Column(name="moved_m", dtype=np.float32, help="path of the step, metres", proposal=True)
        )
        world.agents.add_column(
            Column(
                name="way_m", dtype=np.float32, help="how far it gets in the step, metres", proposal=True, blank=np.inf
            )
        )

    def apply(self, world: World) -> None:
        """Moves all animals."""
        a = world.agents
        _travel(world.cells.order, a.view(Travellers), a.view(Ways), world.arrays.fences, world.cells.grid, world.clock)
