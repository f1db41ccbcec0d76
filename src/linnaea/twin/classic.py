"""The models by which simulators are compared: wolves, sheep and grass; a flock; a segregating town.

They are small worlds with rules of their own and offer both orders of update. *Sequential*: in each step the agents act
one after another in a fresh random order and see what the earlier ones did, as in Mesa's `shuffle_do`. *Synchronous*: all
read the old state, and random priority settles who gets what. A whole run is one compiled loop.

Wolves and sheep are the same process in both orders: a move depends on nobody, and of those that meet on a cell a random
one comes first. Flocks and towns differ between the orders, as neighbours are seen before or after they moved.

Legend: n agents, c cells of a square grid, counted row by row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from linnaea.twin.compiled import folding, scalar, serial
from linnaea.twin.random import FEEDING, HERDING, HUNTING, INITIAL, MOVEMENT, block, uniform2

ORDERS = ("sequential", "synchronous")
_32 = np.uint64(32)
_TO_UNIT_32 = 1.0 / 4294967296.0


@scalar
def below(word, count):
    """An int in [0, count) from a random word of 32 bits."""
    return np.int64((word * np.uint64(count)) >> _32)


@scalar
def neighbour(cell, side, word):
    """A random cell of the two to four that share an edge with this one on a grid with borders."""
    row, column = cell // side, cell % side
    if 0 < row < side - 1 and 0 < column < side - 1:
        k = below(word, 4)
        if k == 0:
            return cell - side
        if k == 1:
            return cell - 1
        return cell + 1 if k == 2 else cell + side
    k = below(word, (row > 0) + (row < side - 1) + (column > 0) + (column < side - 1))
    if row > 0:
        if k == 0:
            return cell - side
        k -= 1
    if row < side - 1:
        if k == 0:
            return cell + side
        k -= 1
    if column > 0 and k == 0:
        return cell - 1
    return cell + 1


@scalar
def _bear_and_keep(cell, energy, i, kept, births, born, reproduces):
    """Keeps agent i at place `kept`; with `reproduces` its energy is halved and a young noted: the new (kept, births)."""
    e = energy[i]
    if reproduces:
        e *= 0.5
        born[births, 0] = cell[i]
        born[births, 1] = e
        births += 1
    cell[kept], energy[kept] = cell[i], e
    return kept + 1, births


@scalar
def _append(cell, energy, kept, births, born):
    for b in range(births):
        cell[kept + b] = np.int32(born[b, 0])
        energy[kept + b] = born[b, 1]
    return kept + births


@scalar
def _swap(cell, energy, i, j):
    cell[i], cell[j] = cell[j], cell[i]
    energy[i], energy[j] = energy[j], energy[i]


@serial
def _sheep_step(cell, energy, n, side, ready, regrowth, gain, chance, seed, step, synchronous, born, best, best_word):
    """All sheep move, graze, and die or bear; returns their number."""
    if synchronous:
        for i in range(n):
            w0, w1, _, _ = block(seed, step, MOVEMENT, i, 0)
            c = neighbour(cell[i], side, w0)
            cell[i] = c
            if best[c] < 0 or w1 > best_word[c]:
                best[c] = i
                best_word[c] = w1
    kept, births = 0, 0
    for i in range(n):
        w0, w1, w2, _ = block(seed, step, FEEDING, i, 0)
        if not synchronous:
            _swap(cell, energy, i, i + below(w0, n - i))
            cell[i] = neighbour(cell[i], side, w1)
        c = cell[i]
        e = energy[i] - 1.0
        if ready[c] <= step and (not synchronous or best[c] == i):
            e += gain
            ready[c] = step + regrowth
        energy[i] = e
        if synchronous and best[c] == i:
            best[c] = -1
        if e >= 0.0:
            kept, births = _bear_and_keep(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < chance)
    return _append(cell, energy, kept, births, born)


@serial
def _wolf_step(
    cell, energy, n, sheep_cell, sheep_energy, n_sheep, side, gain, chance, seed, step, synchronous, born, head, after
):
    """All wolves move, eat a sheep of their cell each, and die or bear; returns the numbers of wolves and sheep."""
    for i in range(n_sheep):
        after[i] = head[sheep_cell[i]]
        head[sheep_cell[i]] = i
    if synchronous:
        # A random order of arrival settles who eats first where sheep are few: the same as acting in that order.
        for i in range(n):
            w0, _, _, _ = block(seed, step, HERDING, i, 0)
            _swap(cell, energy, i, i + below(w0, n - i))
    kept, births = 0, 0
    for i in range(n):
        w0, w1, w2, w3 = block(seed, step, HUNTING, i, 0)
        if not synchronous:
            _swap(cell, energy, i, i + below(w0, n - i))
        c = neighbour(cell[i], side, w1)
        cell[i] = c
        e = energy[i] - 1.0
        if head[c] >= 0:
            e += gain
            _take(head, after, sheep_energy, c, w3)
        energy[i] = e
        if e >= 0.0:
            kept, births = _bear_and_keep(cell, energy, i, kept, births, born, w2 * _TO_UNIT_32 < chance)
    left = 0
    for i in range(n_sheep):
        head[sheep_cell[i]] = -1
        if sheep_energy[i] >= 0.0:
            sheep_cell[left], sheep_energy[left] = sheep_cell[i], sheep_energy[i]
            left += 1
    return _append(cell, energy, kept, births, born), left


@scalar
def _take(head, after, sheep_energy, c, word):
    """Unlinks a random sheep from the list of cell c and marks it eaten."""
    count = 0
    i = head[c]
    while i >= 0:
        count += 1
        i = after[i]
    k = below(word, count)
    before, i = -1, head[c]
    for _ in range(k):
        before, i = i, after[i]
    if before < 0:
        head[c] = after[i]
    else:
        after[before] = after[i]
    sheep_energy[i] = -1.0


@serial
def _found(cell, energy, n, n_cells, most, seed, kind):
    for i in range(n):
        u, v = uniform2(seed, 0, INITIAL, i, kind)
        cell[i] = int(u * n_cells)
        energy[i] = v * most


@serial
def _run_wolf_sheep(
    seed,
    steps,
    side,
    n_sheep,
    n_wolves,
    sheep_chance,
    wolf_chance,
    sheep_gain,
    wolf_gain,
    regrowth,
    synchronous,
    room,
    counts,
):
    n_cells = side * side
    sheep_cell, wolf_cell = np.empty(room, np.int32), np.empty(room, np.int32)
    sheep_energy, wolf_energy = np.empty(room, np.float64), np.empty(room, np.float64)
    born = np.empty((room, 2), np.float64)
    ready = np.zeros(n_cells, np.int64)
    head, after = np.full(n_cells, -1, np.int32), np.empty(room, np.int32)
    best, best_word = np.full(n_cells, -1, np.int64), np.zeros(n_cells, np.uint64)
    _found(sheep_cell, sheep_energy, n_sheep, n_cells, 2.0 * sheep_gain, seed, 0)
    _found(wolf_cell, wolf_energy, n_wolves, n_cells, 2.0 * wolf_gain, seed, 1)
    for c in range(n_cells):
        u, v = uniform2(seed, 0, INITIAL, c, 2)
        countdown = int(v * regrowth)
        ready[c] = 1 if u < 0.5 or countdown == 0 else countdown + 1
    counts[0, 0], counts[0, 1] = n_sheep, n_wolves
    for step in range(1, steps + 1):
        if 2 * n_sheep > room or 2 * n_wolves > room:
            return step - 1
        n_sheep = _sheep_step(
            sheep_cell, sheep_energy, n_sheep, side, ready, regrowth + 1, sheep_gain, sheep_chance, seed, step, synchronous,
            born, best, best_word,
        )  # fmt: skip
        n_wolves, n_sheep = _wolf_step(
            wolf_cell, wolf_energy, n_wolves, sheep_cell, sheep_energy, n_sheep, side, wolf_gain, wolf_chance, seed, step,
            synchronous, born, head, after,
        )  # fmt: skip
        counts[step, 0], counts[step, 1] = n_sheep, n_wolves
    return steps


def _check_order(order: str) -> None:
    if order not in ORDERS:
        raise ValueError(f"order: {order!r} is none of {', '.join(ORDERS)}")


@dataclass(frozen=True, kw_only=True)
class WolfSheep:
    """Sheep graze, wolves eat sheep, both walk at random on a square grid with borders and split to reproduce.

    Each step first all sheep act, then all wolves. A move to one of the cells that share an edge costs 1 of energy; below 0
    an animal dies; founders hold up to twice what a meal gives. Grass eaten in a step is back `regrowth` + 1 steps later,
    as it is where the regrowth is an event of its own at the end of a step.
    """

    side: int = 100
    "cells along each side"
    n_sheep: int = 1000
    "sheep at the start"
    n_wolves: int = 500
    "wolves at the start"
    sheep_reproduce: float = 0.4
    "chance of a sheep to split in a step"
    wolf_reproduce: float = 0.2
    "chance of a wolf to split in a step"
    sheep_gain: float = 5.0
    "energy of a cell's grass"
    wolf_gain: float = 13.0
    "energy of a sheep"
    regrowth: int = 10
    "steps until grass returns, less one"
    order: str = field(default="sequential", metadata={"choices": ORDERS})
    "whether animals act one after another or all at once"
    seed: int = 0
    "of every random number"

    def run(self, steps: int) -> np.ndarray:
        """Sheep and wolves before the first step and after each: int64 [steps + 1, 2]."""
        _check_order(self.order)
        room = 4 * max(self.side * self.side, self.n_sheep, self.n_wolves)
        while True:
            counts = np.zeros((steps + 1, 2), np.int64)
            done = _run_wolf_sheep(
                np.uint64(self.seed), steps, self.side, self.n_sheep, self.n_wolves, self.sheep_reproduce,
                self.wolf_reproduce, self.sheep_gain, self.wolf_gain, self.regrowth, self.order == "synchronous", room, counts,
            )  # fmt: skip
            if done == steps:
                return counts
            room *= 2


@folding
def _seen(birds, lo, hi, i, side, radius2, near2, out):
    """Adds what bird i sees of birds lo to hi, itself included: count, offsets, near offsets, headings."""
    half, zero, one = np.float32(0.5) * side, np.float32(0), np.float32(1)
    count = cx = cy = sx = sy = mx = my = zero
    x, y = birds[0, i], birds[1, i]
    for k in range(lo, hi):
        dx, dy = birds[0, k] - x, birds[1, k] - y
        dx = dx - (side if dx > half else zero) + (side if dx < -half else zero)
        dy = dy - (side if dy > half else zero) + (side if dy < -half else zero)
        squared = dx * dx + dy * dy
        seen = one if squared <= radius2 else zero
        near = one if squared < near2 else zero
        count += seen
        cx += seen * dx
        cy += seen * dy
        sx += near * dx
        sy += near * dy
        mx += seen * birds[2, k]
        my += seen * birds[3, k]
    out[0] += count
    out[1] += cx
    out[2] += cy
    out[3] += sx
    out[4] += sy
    out[5] += mx
    out[6] += my


@scalar
def _fly(i, s, birds, to, side, speed, cohere, separate, match):
    n = np.float64(s[0]) - 1.0
    u, v = np.float64(birds[2, i]), np.float64(birds[3, i])
    if n > 0.0:
        # The sums hold the bird's own heading.
        part = 1.0 / n
        u += (cohere * s[1] - separate * s[3] + match * (s[5] - u)) * part
        v += (cohere * s[2] - separate * s[4] + match * (s[6] - v)) * part
        norm = 1.0 / math.sqrt(u * u + v * v)
        u, v = u * norm, v * norm
    to[0, i], to[1, i] = _around(birds[0, i] + u * speed, side), _around(birds[1, i] + v * speed, side)
    to[2, i], to[3, i] = u, v


@scalar
def _around(position, side):
    """A coordinate brought back onto the torus, from any distance."""
    if 0.0 <= position < side:
        return position
    return position - math.floor(position / side) * side


@scalar
def _strip(y, side, strips):
    return min(int(y / side * strips), strips - 1)


@serial
def _sort_strips(birds, to, name, to_name, strip, side, start):
    """Copies the birds [4, n] and their numbers to `to`, sorted by strip; fills `strip` [n], `start` [strips + 1]."""
    n, strips = birds.shape[1], len(start) - 1
    start[:] = 0
    for i in range(n):
        start[_strip(birds[1, i], side, strips) + 1] += 1
    for s in range(strips):
        start[s + 1] += start[s]
    for i in range(n):
        s = _strip(birds[1, i], side, strips)
        k = start[s]
        start[s] += 1
        to_name[k], strip[k] = name[i], s
        for column in range(4):
            to[column, k] = birds[column, i]
    for s in range(strips, 0, -1):
        start[s] = start[s - 1]
    start[0] = 0


@serial
def _run_flock(birds, steps, side, radius, near, speed, cohere, separate, match, seed, synchronous, order_parameter):
    n = birds.shape[1]
    turn, name, last_name, strip = np.arange(n), np.arange(n), np.arange(n), np.zeros(n, np.int64)
    s = np.empty(7, np.float32)
    last, to = birds.copy(), birds.copy()
    side32, radius2, near2 = np.float32(side), np.float32(radius * radius), np.float32(near * near)
    # Strips as high as a bird sees, and as the others may have flown since they were sorted; of fewer than four all count.
    strips = int(side / (radius + speed))
    strips = strips if strips > 3 else 1
    start = np.zeros(strips + 1, np.int64)
    for step in range(steps):
        last, birds = birds, last
        last_name, name = name, last_name
        _sort_strips(last, birds, last_name, name, strip, side, start)
        into = to if synchronous else birds
        for k in range(n):
            i = k
            if not synchronous:
                word, _, _, _ = block(seed, step, HERDING, k, 0)
                j = k + below(word, n - k)
                i, turn[j] = turn[j], turn[k]
                turn[k] = i
            for q in range(7):
                s[q] = 0
            own = strip[i]
            _seen(birds, start[max(own - 1, 0)], start[min(own + 2, strips)], i, side32, radius2, near2, s)
            if strips > 1 and own == 0:
                _seen(birds, start[strips - 1], n, i, side32, radius2, near2, s)
            if strips > 1 and own == strips - 1:
                _seen(birds, 0, start[1], i, side32, radius2, near2, s)
            _fly(i, s, birds, into, side, speed, cohere, separate, match)
        if synchronous:
            birds, to = to, birds
        order_parameter[step] = math.hypot(birds[2].mean(), birds[3].mean())
    back = np.empty_like(birds)
    for i in range(n):
        back[:, name[i]] = birds[:, i]
    return back


@dataclass(frozen=True, kw_only=True)
class Flocking:
    """Birds on a square torus that turn towards those they see, away from the near ones, and along with them.

    Every bird looks at every other, which is the fastest way for some thousands; for more, `flocks.Flock` in a World.
    """

    side: float = 150.0
    "side of the torus"
    n_birds: int = 400
    "birds"
    radius: float = 15.0
    "distance at which others are seen"
    speed: float = 1.0
    "distance a step"
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
    "of every random number"

    def found(self) -> np.ndarray:
        """The birds at the start: x, y uniform, headings u, v of any direction: float32 [4, n]."""
        rng = np.random.default_rng(self.seed)
        angle = rng.uniform(0, 2 * np.pi, self.n_birds)
        place = rng.uniform(0, self.side, (2, self.n_birds))
        return np.stack([*place, np.cos(angle), np.sin(angle)]).astype(np.float32)

    def run(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """The birds after the last step, float32 [4, n] as from `found`, and the order parameter after each [steps]."""
        _check_order(self.order)
        order_parameter = np.zeros(steps)
        birds = _run_flock(
            self.found(), steps, self.side, self.radius, self.separation, self.speed, self.cohere, self.separate, self.match,
            np.uint64(self.seed), self.order == "synchronous", order_parameter,
        )  # fmt: skip
        return birds, order_parameter
