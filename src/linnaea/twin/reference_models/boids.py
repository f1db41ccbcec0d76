"""Boids on a torus: birds that turn towards others, away from near ones, and along with them.

The model is Reynolds' (1987, "Flocks, herds, and schools") as simulators implement it for comparisons. Both orders of
update exist (`reference_models.update_order`); a whole run is one compiled loop.

Shape suffixes: n birds, stored [4, n] as x, y and heading u, v in float32; c cells, counted row by row.

Synchronous birds look into nine cells. Their birds are copied side by side, once for all birds of the middle cell, with
coordinates that need no torus any more, and the sums over them use vector instructions. Birds that turn one after
another cannot share such a copy: they look along three strips of the torus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from linnaea.twin.engine.jit import folding, scalar, serial
from linnaea.twin.engine.rng import HERDING, block
from linnaea.twin.reference_models.update_order import ORDERS, check_order, draw_below

# Copies are filled up to whole vectors with birds that nobody can see.
VECTOR = 16
NOWHERE = np.float32(1e9)


class Vision(NamedTuple):
    """What a bird sees and how it weighs it, in float32; see `Flocking`."""

    side: np.float32
    "side of the torus"
    radius2: np.float32
    "square of the distance at which others are seen"
    near2: np.float32
    "square of the distance below which another is too near"
    cohere: np.float32
    "weight of the offsets to those seen"
    separate: np.float32
    "weight of the offsets to those too near"


@folding
def _look(birds, lo, hi, x, y, vision):
    """Return what is seen from (x, y) of birds lo to hi: their count, the pull (x, y), the sum of headings (u, v)."""
    side, radius2, near2, cohere, separate = vision
    half, zero, one = np.float32(0.5) * side, np.float32(0), np.float32(1)
    count = px = py = mx = my = zero
    for k in range(lo, hi):
        dx, dy = birds[0, k] - x, birds[1, k] - y
        dx = dx - (side if dx > half else zero) + (side if dx < -half else zero)
        dy = dy - (side if dy > half else zero) + (side if dy < -half else zero)
        squared = dx * dx + dy * dy
        seen = one if squared <= radius2 else zero
        weight = seen * cohere - (separate if squared < near2 else zero)
        count += seen
        px += weight * dx
        py += weight * dy
        mx += seen * birds[2, k]
        my += seen * birds[3, k]
    return count, px, py, mx, my


@folding
def _look_near(near, m, x, y, vision):
    """Return the same for the first m of the birds copied to `near` [4, …], m whole vectors."""
    _, radius2, near2, cohere, separate = vision
    zero, one = np.float32(0), np.float32(1)
    count = px = py = mx = my = zero
    for k in range(m):
        dx, dy = near[0, k] - x, near[1, k] - y
        squared = dx * dx + dy * dy
        seen = one if squared <= radius2 else zero
        weight = seen * cohere - (separate if squared < near2 else zero)
        count += seen
        px += weight * dx
        py += weight * dy
        mx += seen * near[2, k]
        my += seen * near[3, k]
    return count, px, py, mx, my


@scalar
def _fly(i, seen, birds, to, side, speed, match):
    """Turn bird i by what it sees, itself included, and move it on: into `to`."""
    count, px, py, mx, my = seen
    u, v = np.float64(birds[2, i]), np.float64(birds[3, i])
    if count > 1.0:
        part = 1.0 / (np.float64(count) - 1.0)
        u, v = u + (px + match * (mx - u)) * part, v + (py + match * (my - v)) * part
        norm = 1.0 / math.sqrt(u * u + v * v)
        u, v = u * norm, v * norm
    to[0, i], to[1, i] = _wrap(birds[0, i] + u * speed, side), _wrap(birds[1, i] + v * speed, side)
    to[2, i], to[3, i] = u, v


@scalar
def _wrap(position, side):
    """Return a coordinate on the torus, from any distance."""
    if 0.0 <= position < side:
        return position
    return position - math.floor(position / side) * side


@scalar
def _find_band(position, scale, bands):
    """Return the row or column of a coordinate; rounding may have put it on the border itself."""
    return min(int(position * scale), bands - 1)


@serial
def _sort(birds, to, name, to_name, cell, side, rows, columns, start):
    """Copy the birds and their numbers to `to`, sorted by cell; fill `start` [c + 1] and each copy's `cell` [n]."""
    n = birds.shape[1]
    scale_x, scale_y = np.float32(columns / side), np.float32(rows / side)
    start[:] = 0
    for i in range(n):
        cell[i] = _find_band(birds[1, i], scale_y, rows) * columns + _find_band(birds[0, i], scale_x, columns)
        start[cell[i] + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    for i in range(n):
        c = cell[i]
        k = start[c]
        start[c] += 1
        to_name[k] = name[i]
        for row in range(4):
            to[row, k] = birds[row, i]
    for c in range(len(start) - 1, 0, -1):
        start[c] = start[c - 1]
    start[0] = 0
    for c in range(len(start) - 1):
        cell[start[c] : start[c + 1]] = c


@scalar
def _copy_around(birds, start, bands, row, column, side, near):
    """Copy the birds of nine cells to where the middle cell sees them; return their number in whole vectors."""
    m = 0
    for q in range(row - 1, row + 2):
        shift_y = side * np.float32((q >= bands) - (q < 0))
        base = (q + bands) % bands * bands
        for p in range(column - 1, column + 2):
            shift_x = side * np.float32((p >= bands) - (p < 0))
            c = base + (p + bands) % bands
            for k in range(start[c], start[c + 1]):
                near[0, m], near[1, m] = birds[0, k] + shift_x, birds[1, k] + shift_y
                near[2, m], near[3, m] = birds[2, k], birds[3, k]
                m += 1
    while m % VECTOR:
        near[0, m] = near[1, m] = NOWHERE
        near[2, m] = near[3, m] = 0
        m += 1
    return m


@serial
def _turn_at_once(birds, to, start, bands, near, vision, speed, match):
    """Turn and move all birds, sorted by cell, by what they see of the old state: into `to`."""
    for row in range(bands):
        for column in range(bands):
            c = row * bands + column
            if start[c] == start[c + 1]:
                continue
            m = _copy_around(birds, start, bands, row, column, vision.side, near)
            for i in range(start[c], start[c + 1]):
                seen = _look_near(near, m, birds[0, i], birds[1, i], vision)
                _fly(i, seen, birds, to, vision.side, speed, match)


@serial
def _turn_one_by_one(birds, to, start, strip, turn, seed, step, vision, speed, match):
    """Turn and move the birds, sorted by strip, in a random order: into `to`, which may be `birds` itself."""
    n, strips = birds.shape[1], len(start) - 1
    for k in range(n):
        word, _, _, _ = block(seed, step, HERDING, k, 0)
        j = k + draw_below(word, n - k)
        i, turn[j] = turn[j], turn[k]
        turn[k] = i
        own, x, y = strip[i], birds[0, i], birds[1, i]
        lo, hi = start[max(own - 1, 0)], start[min(own + 2, strips)]
        seen = _look(birds, lo, hi, x, y, vision)
        if strips > 1 and (own == 0 or own == strips - 1):
            lo, hi = (start[strips - 1], n) if own == 0 else (0, start[1])
            more = _look(birds, lo, hi, x, y, vision)
            seen = (seen[0] + more[0], seen[1] + more[1], seen[2] + more[2], seen[3] + more[3], seen[4] + more[4])
        _fly(i, seen, birds, to, vision.side, speed, match)


@serial
def _run_flock(birds, steps, side, radius, near, speed, cohere, separate, match, seed, synchronous, order_parameter):
    """Run the flock; return the birds in their first order and fill `order_parameter` [steps]."""
    n = birds.shape[1]
    turn, name, last_name, cell = np.arange(n), np.arange(n), np.arange(n), np.zeros(n, np.int64)
    last = birds.copy()
    vision = Vision(
        np.float32(side),
        np.float32(radius * radius),
        np.float32(near * near),
        np.float32(cohere),
        np.float32(separate),
    )
    # As wide as a bird sees and, where others move before it looks, as far as they may have flown since the sorting.
    bands = int(side / (radius if synchronous else radius + speed))
    if synchronous:
        # A cell of a dozen birds: copies serve many, and few birds are looked at in vain.
        bands = min(bands, int(math.sqrt(n / 12)) + 1)
    whole = bands < 4
    bands = 1 if whole else bands
    columns = bands if synchronous else 1
    start = np.zeros(bands * columns + 1, np.int64)
    around = np.empty((4, n + VECTOR), np.float32)
    for step in range(steps):
        last, birds = birds, last
        last_name, name = name, last_name
        _sort(last, birds, last_name, name, cell, side, bands, columns, start)
        if not synchronous:
            _turn_one_by_one(birds, birds, start, cell, turn, seed, step, vision, speed, match)
        elif whole:
            for i in range(n):
                seen = _look(birds, 0, n, birds[0, i], birds[1, i], vision)
                _fly(i, seen, birds, last, side, speed, match)
            last, birds = birds, last
        else:
            _turn_at_once(birds, last, start, bands, around, vision, speed, match)
            last, birds = birds, last
        order_parameter[step] = math.hypot(birds[2].mean(), birds[3].mean())
    back = np.empty_like(birds)
    for i in range(n):
        back[:, name[i]] = birds[:, i]
    return back


@dataclass(frozen=True, kw_only=True)
class Flocking:
    """Birds on a square torus that turn towards those they see, away from near ones, and along with them.

    A run uses one thread; for more than a few thousand birds use `flocking_rules.Flock` in a World.
    """

    side: float = 150.0
    "side of the torus"
    n_birds: int = 400
    "number of birds"
    radius: float = 15.0
    "distance at which others are seen"
    speed: float = 1.0
    "distance flown in a step"
    separation: float = 1.0
    "distance below which another is too near"
    cohere: float = 0.03
    "weight of the mean offset to those seen"
    separate: float = 0.015
    "weight of the offsets to those too near"
    match: float = 0.05
    "weight of the mean heading of those seen"
    order: str = field(default="sequential", metadata={"choices": ORDERS})
    "whether birds turn one after another or all at once"
    seed: int = 0
    "seed of every random number"

    def found(self) -> np.ndarray:
        """Return the birds at the start, float32 [4, n]: x and y uniform, headings u and v in any direction."""
        rng = np.random.default_rng(self.seed)
        angle = rng.uniform(0, 2 * np.pi, self.n_birds)
        place = rng.uniform(0, self.side, (2, self.n_birds))
        return np.stack([*place, np.cos(angle), np.sin(angle)]).astype(np.float32)

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the birds after the last step, float32 [4, n] as in `found`, and the order parameter [steps]."""
        check_order(self.order)
        order_parameter = np.zeros(steps)
        rules = (self.radius, self.separation, self.speed, self.cohere, self.separate, self.match)
        birds = _run_flock(
            self.found(), steps, self.side, *rules, np.uint64(self.seed), self.order == "synchronous", order_parameter
        )
        return birds, order_parameter
