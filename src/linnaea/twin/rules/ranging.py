"""Where animals go: herds choose goals, members follow, keep together, flee, and fences stop them.

Shape suffixes: n slots, m live animals in the order of the cells, h herds, s species, l foods, k cells of the layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numba
import numpy as np

from linnaea.twin.engine.agents import Column
from linnaea.twin.engine.jit import kernel, scalar, serial
from linnaea.twin.engine.layers import crosses, fenced, layer_cell, layer_grid
from linnaea.twin.engine.neighbours import cell_index, offset, reach, span, wrap
from linnaea.twin.engine.rng import MIGRATION, MOVEMENT, uniform, uniform2, uniform4
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.rules.motion import arrive, towards, turned
from linnaea.twin.rules.weather import due

CANDIDATES = 8
GREEN_HALF_MM = 40.0
# Who is astray by so many hours of walking, or by the goal's own radius, heeds goal and group as much as its heading.
ASTRAY_H = 1.0


@serial
def _census(order, species, x, y, grid, counts):
    n_columns, n_rows, cell_w, cell_h = grid
    counts[:] = 0.0
    for k in range(len(order)):
        i = order[k]
        counts[species[i], layer_cell(x[i], y[i], cell_w, cell_h, n_columns, n_rows)] += 1.0


@dataclass(frozen=True, kw_only=True)
class Census(Rule):
    """What hunters know of their land: how many animals of each species are in each cell of the layers, once a day."""

    phase: ClassVar[str] = "index"
    every_h: float = 24.0
    "hours between two counts"

    def prepare(self, world: World) -> None:
        world.add_array("census", np.zeros((len(world.species), world.fields["elevation_m"].size)))

    def apply(self, world: World) -> None:
        if due(world, self.every_h):
            a = world.agents
            _census(world.cells.order, a.species, a.x, a.y, layer_grid(world), world.arrays["census"])


@scalar
def attraction(
    s,
    c,
    hunting,
    food,
    foods,
    n_foods,
    weight,
    half,
    green,
    moisture,
    prey_weight,
    census,
    usual_prey,
    to_water,
    drink_km,
):
    """How good a cell is for a species, 0 to 2: food as its intake sees it, greenness, prey, and water within reach."""
    there = 0.0
    for f in range(n_foods[s]):
        there += weight[s, f] * food[foods[s, f], c]
    score = 0.0
    if n_foods[s] > 0:
        score = there / (there + half[s]) * (1.0 - green[s] + green[s] * moisture[c] / (moisture[c] + GREEN_HALF_MM))
    if hunting and usual_prey[s] > 0.0:
        prey = 0.0
        for p in range(len(census)):
            if prey_weight[s, p] > 0.0:
                prey += prey_weight[s, p] * census[p, c]
        score += prey / (prey + usual_prey[s])
    return score * math.exp(-to_water[c] / drink_km[s]) if drink_km[s] > 0.0 else score


@kernel
def _plan(
    herd_key,
    herd_species,
    size,
    home,
    goal,
    middle,
    filled,
    hunts,
    hunger,
    beyond,
    search_m,
    goal_m,
    resident,
    range_m,
    plan_steps,
    food,
    foods,
    n_foods,
    weight,
    half,
    green,
    moisture,
    prey_weight,
    census,
    usual_prey,
    to_water,
    drink_km,
    fences,
    grid,
    width,
    height,
    torus,
    seed,
    step,
):
    n_columns, n_rows, cell_w, cell_h = grid
    for h in numba.prange(len(herd_species)):
        s = herd_species[h]
        if s < 0 or size[h] == 0 or (np.int64(herd_key[h] % np.uint64(1 << 20)) + step) % plan_steps[s] != 0:
            continue
        if resident[s]:
            base_x, base_y = home[h, 0], home[h, 1]
        else:
            base_x, base_y = middle[h, 0], middle[h, 1]
        best_x, best_y, far, hunting = goal[h, 0], goal[h, 1], range_m[s], True
        if hunts[s] and filled[h] < hunger:
            far *= beyond
            # Where it has come to and is hungry still, only what lies there keeps it, not prey that it did not get.
            hunting = math.hypot(best_x - middle[h, 0], best_y - middle[h, 1]) > goal_m[s] + search_m[s]
        c = layer_cell(best_x, best_y, cell_w, cell_h, n_columns, n_rows)
        # The goal at hand counts a tenth more, so that herds do not dither.
        best = 1.1 * attraction(
            s,
            c,
            hunting,
            food,
            foods,
            n_foods,
            weight,
            half,
            green,
            moisture,
            prey_weight,
            census,
            usual_prey,
            to_water,
            drink_km,
        )
        at_x, at_y = middle[h, 0], middle[h, 1]
        # A herd knows the fences of its land: the fewer pass one, the seldomer it plans across it.
        venture = 0.0 if len(fences) == 0 else uniform(seed, step, MIGRATION, herd_key[h], CANDIDATES + 1)
        if len(fences) > 0 and fenced(at_x, at_y, best_x, best_y, fences, venture):
            best_x, best_y, best = at_x, at_y, 0.0
        for t in range(CANDIDATES):
            u, v = uniform2(seed, step, MIGRATION, herd_key[h], t)
            angle, distance = 2.0 * math.pi * u, far * math.sqrt(v)
            x, _ = arrive(base_x + distance * math.cos(angle), 0.0, width, torus)
            y, _ = arrive(base_y + distance * math.sin(angle), 0.0, height, torus)
            if len(fences) > 0 and fenced(at_x, at_y, x, y, fences, venture):
                continue
            c = layer_cell(x, y, cell_w, cell_h, n_columns, n_rows)
            score = attraction(
                s,
                c,
                True,
                food,
                foods,
                n_foods,
                weight,
                half,
                green,
                moisture,
                prey_weight,
                census,
                usual_prey,
                to_water,
                drink_km,
            )
            if score > best:
                best_x, best_y, best = x, y, score
        goal[h, 0], goal[h, 1] = best_x, best_y


@dataclass(frozen=True, kw_only=True)
class ChooseGoals(Rule):
    """Now and then a herd looks at places within its range and makes the best its goal.

    Residents look around their home, free-ranging herds around where they stand: so they follow the rain, whose green the
    migratory ones weigh more than the mass of old grass. Hungry hunters look farther, and do not stay where they hunted in vain. Nobody
    plans a way that a fence bars, and what lies behind a new one is given up.
    """

    phase: ClassVar[str] = "index"
    stored_name: ClassVar[str] = "Plan"
    leaves_out: ClassVar[tuple[str, ...]] = (
        "Herds look for a straight way only: nobody finds a way around the end of a fence but by coming near it by chance.",
    )
    hunger: float = 0.6
    "filling of a group's stores, on average, below which hunters are hungry"
    beyond: float = 2.0
    "how far hungry hunters look, as a multiple of their range"

    def apply(self, world: World) -> None:
        a, p = world.arrays, world.parameters
        n_cells = world.fields["elevation_m"].size
        _plan(
            a["herd_key"],
            a["herd_species"],
            a["herd_size"],
            a["herd_home"],
            a["herd_goal"],
            a["herd_middle"],
            a["herd_store"],
            p["hunts"],
            self.hunger,
            self.beyond,
            p["search_m"],
            p["goal_m"],
            p["resident"],
            p["range_m"],
            p["plan_steps"],
            a["food"].reshape(-1, n_cells),
            p["graze_foods"],
            p["graze_n"],
            p["graze_weight"],
            p["graze_half_kj"],
            p["green"],
            world.fields["moisture_mm"].ravel(),
            p["prey_weight"],
            a["census"],
            p["usual_prey"],
            world.fields["to_water_km"].ravel(),
            p["drink_km"],
            a["fences"],
            layer_grid(world),
            world.space.width_m,
            world.space.height_m,
            world.space.torus,
            world.seed64,
            world.step,
        )


@scalar
def box(x, y, radius, grid):
    """First and last row and column of the cells that a circle can touch; to be put through `wrap` on a torus."""
    n_columns, n_rows, cell_w, cell_h, _, _, torus = grid
    if torus:
        y_lo, y_hi = span(cell_index(y, cell_h, n_rows), reach(radius, cell_h), n_rows, torus)
        x_lo, x_hi = span(cell_index(x, cell_w, n_columns), reach(radius, cell_w), n_columns, torus)
        return y_lo, y_hi, x_lo, x_hi
    # The circle's own box: mostly one or two cells where it is small against them.
    y_lo, y_hi = cell_index(y - radius, cell_h, n_rows), cell_index(y + radius, cell_h, n_rows)
    return y_lo, y_hi, cell_index(x - radius, cell_w, n_columns), cell_index(x + radius, cell_w, n_columns)


@serial
def _hunters(order, species, cell_of, hunts, start, hunter):
    """Lists the animals that hunt by neighbour cell: `start` [c + 1], `hunter` [m]; returns how many there are."""
    n = 0
    start[:] = 0
    for k in range(len(order)):
        i = order[k]
        if hunts[species[i]]:
            hunter[n] = i
            n += 1
            start[cell_of[i] + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    return n


@scalar
def in_disc(radius, u, v):
    """A place in a disc around (0, 0), all parts alike, of two uniform numbers."""
    distance, angle = radius * math.sqrt(u), 2.0 * math.pi * v
    return distance * math.cos(angle), distance * math.sin(angle)


@kernel
def _roam(
    order,
    species,
    key,
    x,
    y,
    dir_x,
    dir_y,
    herd,
    herd_key,
    until_h,
    now_h,
    speed,
    pace,
    keep,
    net,
    area,
    spacing,
    goal,
    middle,
    size,
    eats,
    flight_m,
    flight_speed,
    start,
    hunter,
    grid,
    dt,
    flight_h,
    spread,
    seed,
    step,
    pull_x,
    pull_y,
    speed_m_h,
    way_m,
):
    n_columns, n_rows, _, _, width, height, torus = grid
    for k in numba.prange(len(order)):
        i = order[k]
        s, h = species[i], herd[i]
        u, v, w, z = uniform4(seed, step, MOVEMENT, key[i], 0)
        # The hours of a long step add up to a path that varies less than one of them.
        going = speed[s] * pace[s] * (1.0 + spread * (-math.log(1.0 - 0.999 * v) - 1.0))
        if until_h[i] > now_h:
            going *= 0.1
        way = going * dt * net
        astray_m = min(ASTRAY_H * speed[s], area[s])
        gx, gy, distance = towards(x[i], y[i], goal[h, 0], goal[h, 1], width, height, torus)
        group_m = spacing[s] * math.sqrt(np.float64(size[h]))
        if way >= distance + area[s]:
            # In a step this long it comes to its goal and walks about there, with its group: it may end anywhere, and
            # astray by some of the way that would turn it back.
            group_m = min(group_m, area[s])
            q, t = uniform2(seed, step, MIGRATION, herd_key[h], CANDIDATES)
            ax, ay = in_disc(area[s] - group_m, q, t)
            bx, by = in_disc(group_m + astray_m, w, z)
            px, py = distance * gx + ax + bx, distance * gy + ay + by
            way = math.sqrt(px * px + py * py)
            px, py = px / max(way, 1e-9), py / max(way, 1e-9)
        else:
            # An own heading, the herd's goal and the herd's middle: weights against 1 for the heading.
            px, py = turned(dir_x[i], dir_y[i], keep, u)
            # A goal is an area: within it there is nothing to go to; far away it weighs up to twice the heading.
            weight = min(max(distance - area[s], 0.0) / astray_m, 2.0)
            px += weight * gx
            py += weight * gy
            if size[h] > 1:
                # The goal is common: only near it need they look for each other.
                mx, my, loose = towards(x[i], y[i], middle[h, 0], middle[h, 1], width, height, torus)
                if loose > group_m:
                    weight = min((loose - group_m) / astray_m, 2.0) * (1.0 - 0.5 * weight)
                    px += weight * mx
                    py += weight * my
        if flight_m[s] > 0.0:
            away_x, away_y = 0.0, 0.0
            y_lo, y_hi, x_lo, x_hi = box(x[i], y[i], flight_m[s], grid)
            for row in range(y_lo, y_hi + 1):
                for column in range(x_lo, x_hi + 1):
                    c = wrap(row, n_rows) * n_columns + wrap(column, n_columns)
                    for q in range(start[c], start[c + 1]):
                        j = hunter[q]
                        if not eats[species[j], s]:
                            continue
                        dx, dy = offset(x[i] - x[j], width, torus), offset(y[i] - y[j], height, torus)
                        squared = dx * dx + dy * dy
                        if 0.0 < squared <= flight_m[s] * flight_m[s]:
                            away_x += dx / squared
                            away_y += dy / squared
            norm = math.sqrt(away_x * away_x + away_y * away_y)
            if norm > 0.0:
                px += 10.0 * away_x / norm
                py += 10.0 * away_y / norm
                # A flight is over within the hour, however long the step.
                going = max(going, flight_speed[s] * min(1.0, flight_h / dt))
                way = max(way, flight_speed[s] * min(dt, flight_h))
        pull_x[i] += px
        pull_y[i] += py
        speed_m_h[i] = going
        way_m[i] = way


@dataclass(frozen=True, kw_only=True)
class Roam(Rule):
    """A correlated walk, drawn to the herd's goal and to its middle, and away from near predators.

    The path of a day is the species', shared over the hours by its activity; the length of an hour's way is exponential.
    Within long steps an animal winds, so that it gets less far than its path is long, and where it has time to come to its
    herd's goal it ends anywhere about it.
    """

    phase: ClassVar[str] = "decide"
    persistence_h: float = 3.0
    "hours after which an animal has forgotten its heading"
    flight_h: float = 1.0
    "longest flight from a predator, hours"

    def apply(self, world: World) -> None:
        a, p, cells, arrays = world.agents, world.parameters, world.cells, world.arrays
        start, hunter = np.zeros(cells.n_cells + 1, np.int64), np.empty(cells.m, np.int64)
        _hunters(cells.order, a.species, cells.cell_of, p["hunts"], start, hunter)
        _roam(
            cells.order,
            a.species,
            a.key,
            a.x,
            a.y,
            a.dir_x,
            a.dir_y,
            a.herd,
            arrays["herd_key"],
            a.until_h,
            world.now_h,
            p["speed_m_h"],
            pace_now(world),
            math.exp(-world.dt_h / self.persistence_h),
            net_share(world.dt_h, self.persistence_h),
            p["goal_m"],
            p["herd_spacing_m"],
            arrays["herd_goal"],
            arrays["herd_middle"],
            arrays["herd_size"],
            p["eats"],
            p["flight_m"],
            p["flight_m_h"],
            start,
            hunter,
            cells.grid(),
            world.dt_h,
            self.flight_h,
            1.0 / math.sqrt(max(world.dt_h, 1.0)),
            world.seed64,
            world.step,
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
            a.way_m,
        )


def net_share(hours: float, persistence_h: float) -> float:
    """How far a winding animal gets in some hours, as a share of its path: root mean square, 0 to 1."""
    ratio = hours / persistence_h
    return math.sqrt(2 / ratio * (1 - -math.expm1(-ratio) / ratio))


def pace_now(world: World) -> np.ndarray:
    """Activity of each species in this step against its mean over the day: float64 [s]."""
    table = world.parameters["activity_by_hour"]
    if world.dt_h >= 24:
        return np.ones(len(table))
    hours = np.floor(world.now_h + np.arange(0, world.dt_h, 1.0)).astype(np.int64) % 24
    return table[:, hours].mean(1)


@kernel
def _travel(
    order,
    key,
    x,
    y,
    dir_x,
    dir_y,
    pull_x,
    pull_y,
    speed_m_h,
    way_m,
    dt_h,
    fences,
    width,
    height,
    torus,
    seed,
    step,
    moved_m,
):
    for k in numba.prange(len(order)):
        i = order[k]
        px, py = np.float64(pull_x[i]), np.float64(pull_y[i])
        norm = math.sqrt(px * px + py * py)
        if norm < 1e-12:
            continue
        px, py = px / norm, py / norm
        distance = np.float64(speed_m_h[i]) * dt_h
        moved_m[i] = distance
        old_x, old_y = np.float64(x[i]), np.float64(y[i])
        way = min(distance, np.float64(way_m[i]))
        new_x, new_dx = arrive(old_x + px * way, px, width, torus)
        new_y, new_dy = arrive(old_y + py * way, py, height, torus)
        stopped = False
        for f in range(len(fences)):
            met = crosses(old_x, old_y, new_x, new_y, fences[f, 0], fences[f, 1], fences[f, 2], fences[f, 3])
            if met and uniform(seed, step, MOVEMENT, key[i], 1 + f) >= fences[f, 4]:
                stopped = True
        if stopped:
            # It turns back and has walked half of its way for nothing.
            moved_m[i] = 0.5 * distance
            dir_x[i], dir_y[i] = -px, -py
        else:
            x[i], y[i], dir_x[i], dir_y[i] = new_x, new_y, new_dx, new_dy


@dataclass(frozen=True, kw_only=True)
class Travel(Rule):
    """Every animal turns into the direction of its pull and goes, unless a fence stops it; borders turn it back."""

    phase: ClassVar[str] = "move"

    def prepare(self, world: World) -> None:
        world.agents.add_column(
            Column(name="moved_m", dtype=np.float32, help="path of the step, metres", proposal=True)
        )
        world.agents.add_column(
            Column(
                name="way_m", dtype=np.float32, help="how far it gets in the step, metres", proposal=True, blank=np.inf
            )
        )

    def apply(self, world: World) -> None:
        a, space = world.agents, world.space
        _travel(
            world.cells.order,
            a.key,
            a.x,
            a.y,
            a.dir_x,
            a.dir_y,
            a.pull_x,
            a.pull_y,
            a.speed_m_h,
            a.way_m,
            world.dt_h,
            world.arrays["fences"],
            space.width_m,
            space.height_m,
            space.torus,
            world.seed64,
            world.step,
            a.moved_m,
        )
