"""The twin's kernels on a CUDA device, compiled from the same source, and flocks that stay on the device.

`lift` makes a CUDA kernel of a `@kernel`: its outermost `prange` becomes each thread's share of the turns, and the
functions that it calls become device code. This is sound because a kernel sums nothing across turns and no two turns
write the same element (`linnaea.twin.engine.jit`).

    flock = CudaFlock(world)    # copies the animals to the device
    flock.step(1000)
    flock.fetch()               # copies positions and headings back into the world and sets its clock

A flock on the device behaves as under `engine.step.step`, apart from rounding: sums over neighbours run in another
order than with vector instructions, products and sums are fused, and sine and logarithm are the device's. After a step
positions differ in the last digits of float32. After many steps they differ more, as neighbours at the rim of the
radius are seen or not.

Shape suffixes: n slots, m live animals in the order of the cells, c cells.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
import warnings
from collections.abc import Callable, Iterable

import numba
import numpy as np

try:
    from numba import cuda
except ImportError as error:
    raise ImportError("a GPU needs numba-cuda: pip install 'linnaea[cuda]'") from error

from linnaea.twin.engine import neighbours
from linnaea.twin.engine.agents import Animals, Headings, Wishes
from linnaea.twin.engine.neighbours import cell_index
from linnaea.twin.engine.step import check_finite
from linnaea.twin.engine.world import Clock, Rule, World
from linnaea.twin.reference_models import flocking_rules
from linnaea.twin.reference_models.flocking_rules import Align, Flock, Flyers
from linnaea.twin.rules import motion

# A single block adds up the counts of the cells on purpose.
warnings.filterwarnings("ignore", message="Grid size", category=numba.NumbaPerformanceWarning)
# The simulator runs each thread as a Python thread, which is slow.
THREADS = 16 if numba.config.ENABLE_CUDASIM else 128
# Threads of the block that adds up the counts of the cells.
SCANNERS = 4 if numba.config.ENABLE_CUDASIM else 512


class _OverThreads(ast.NodeTransformer):
    """Replaces a loop over `numba.prange(n)`, but not the loops inside it, by each thread's share of the turns."""

    def __init__(self) -> None:
        self.loops = 0

    def visit_For(self, node: ast.For) -> ast.For:
        """Return the loop over the thread's share, or the loop as it is."""
        call = node.iter
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "numba.prange":
            (turns,) = call.args
            turn = ast.parse(f"range(cuda.grid(1), {ast.unparse(turns)}, cuda.gridsize(1))", mode="eval").body
            node.iter = ast.copy_location(turn, call)
            self.loops += 1
        return ast.fix_missing_locations(node)


def _make_device_globals(function: Callable) -> dict[str, object]:
    """Return a function's globals with device code in place of what is compiled for the processor."""
    names = function.__globals__
    called = {name: names[name] for name in function.__code__.co_names if hasattr(names.get(name), "py_func")}
    return names | {"cuda": cuda} | {name: _make_device_function(value) for name, value in called.items()}


@functools.cache
def _make_device_function(scalar: Callable) -> Callable:
    """Return a `@scalar` as a device function."""
    function = scalar.py_func
    return cuda.jit(device=True)(
        types.FunctionType(function.__code__, _make_device_globals(function), function.__name__, function.__defaults__)
    )


@functools.cache
def lift(kernel: Callable) -> Callable:
    """Return a `@kernel`, or a plain function like one, as a CUDA kernel. Raise ValueError if it has no `prange`."""
    function = getattr(kernel, "py_func", kernel)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    rewrite = _OverThreads()
    tree = rewrite.visit(tree)
    if not rewrite.loops:
        raise ValueError(f"{function.__name__} is a loop of one thread: it has no numba.prange")
    tree.body[0].decorator_list = []
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    names = _make_device_globals(function)
    # The text is the source of a function of this package.
    exec(compile(tree, function.__code__.co_filename, "exec"), names)  # noqa: S102
    return cuda.jit(names[function.__name__])


def require_device() -> None:
    """Raise ModuleNotFoundError or ValueError, with the remedy, if kernels cannot run here."""
    # The CUDA support inside numba itself does not compile all kernels.
    if cuda.implementation == "Built-in" and not numba.config.ENABLE_CUDASIM:
        raise ModuleNotFoundError("a GPU needs numba-cuda: pip install 'linnaea[cuda]'", name="numba_cuda")
    if not cuda.is_available():
        raise ValueError(
            "no CUDA device is at hand (see nvidia-smi); use linnaea.twin.engine.step.step on the processor"
        )


def _count_cells(live, x, y, n, grid, cell_of, counts, wishes):
    """Note each animal's cell, count the animals of the cells [c] and clear the wishes."""
    pull_x, pull_y, speed_m_h = wishes.pull_x, wishes.pull_y, wishes.speed_m_h
    for i in numba.prange(n):
        pull_x[i] = pull_y[i] = speed_m_h[i] = 0
        if live[i]:
            row, column = cell_index(y[i], grid.cell_h, grid.n_rows), cell_index(x[i], grid.cell_w, grid.n_columns)
            c = row * grid.n_columns + column
            cell_of[i] = c
            cuda.atomic.add(counts, c, 1)
        else:
            cell_of[i] = -1


@cuda.jit
def _add_up_counts(counts, start, free):
    """Add up the counts to the start of each cell [c + 1] and to the place of its next animal [c]; clear the counts.

    One block of SCANNERS threads does it, each thread for a range of cells.
    """
    sums = cuda.shared.array(SCANNERS, numba.int64)
    n_cells = len(counts)
    share = (n_cells + SCANNERS - 1) // SCANNERS
    t = cuda.grid(1)
    lo, hi = min(t * share, n_cells), min((t + 1) * share, n_cells)
    total = 0
    for c in range(lo, hi):
        total += counts[c]
    sums[t] = total
    cuda.syncthreads()
    if t == 0:
        total = 0
        for s in range(SCANNERS):
            held = sums[s]
            sums[s] = total
            total += held
        start[n_cells] = total
    cuda.syncthreads()
    total = sums[t]
    for c in range(lo, hi):
        start[c] = free[c] = total
        total += counts[c]
        counts[c] = 0


def _fill_cells(cell_of, n, free, order):
    """Put the animals into their cells, in an order that depends on the device; `_order_cells` sorts them."""
    for i in numba.prange(n):
        if cell_of[i] >= 0:
            order[cuda.atomic.add(free, cell_of[i], 1)] = i


def _rebuild(like: tuple, values: Iterable[object]) -> tuple:
    """Return a tuple, or a NamedTuple of the same kind, of other values."""
    return type(like)._make(values) if hasattr(like, "_make") else tuple(values)


def _as_float64(value: object) -> object:
    """Return plain floats as float64; in the simulator a plain float next to a float32 would count as float32."""
    if isinstance(value, tuple):
        return _rebuild(value, map(_as_float64, value))
    return np.float64(value) if isinstance(value, float) else value


WISHES, HEADINGS, ANIMALS = (kind(*kind._fields) for kind in (Wishes, Headings, Animals))
"names of columns, which `CudaFlock.run` replaces by the columns"


class CudaFlock:
    """The animals of a world of `Flock`, `Align` and movement rules, kept on a CUDA device.

    Raise ValueError for a world with other rules or without animals, or if there is no device.
    """

    def __init__(self, world: World):
        odd = [type(rule).__name__ for rule in world.rules if type(rule) not in ON_DEVICE]
        if odd:
            known = ", ".join(rule.__name__ for rule in ON_DEVICE)
            raise ValueError(f"{odd[0]}: this rule does not run on a GPU; {known} do")
        self.world, self.n, self.m = world, world.agents.n, len(world.agents)
        if not self.m:
            raise ValueError("the world has no animals; add some before it goes to a GPU")
        require_device()
        self.steps_done = world.step
        self.grid = world.cells.grid
        self._columns: dict[str, object] = {}
        n_cells = world.cells.n_cells
        self.counts = cuda.to_device(np.zeros(n_cells, np.int64))
        self.free = cuda.device_array(n_cells, np.int64)
        self.start = cuda.device_array(n_cells + 1, np.int64)
        self.cell_of = cuda.device_array(self.n, np.int32)
        self.order = cuda.device_array(self.m, np.int64)
        self.xs, self.ys, self.us, self.vs = (cuda.device_array(self.m, np.float32) for _ in range(4))
        self.sums = cuda.device_array((self.m, 7), np.float32)

    def get_column(self, name: str) -> object:
        """Return a column of the animals [n] on the device."""
        if name not in self._columns:
            self._columns[name] = cuda.to_device(self.world.agents.arrays[name][: self.n])
        return self._columns[name]

    def run(self, kernel: Callable, turns: int, *arguments: object) -> None:
        """Start a kernel of this many turns; a name in the arguments, or in a tuple of them, stands for a column."""
        given = [self._move_to_device(value) for value in arguments]
        lift(kernel)[-(-turns // THREADS), THREADS](*given)

    def _move_to_device(self, value: object) -> object:
        """Return an argument with columns in place of their names."""
        if isinstance(value, str):
            return self.get_column(value)
        if isinstance(value, tuple) and any(isinstance(part, str) for part in value):
            return _rebuild(value, map(self._move_to_device, value))
        return _as_float64(value)

    @property
    def clock(self) -> Clock:
        """The clock of the device's next step, as kernels take it."""
        return self.world.clock._replace(step=self.steps_done)

    def step(self, steps: int = 1) -> None:
        """Advance by some steps on the device."""
        for _ in range(steps):
            self._index()
            for phase in ("decide", "move"):
                for rule in self.world.by_phase[phase]:
                    ON_DEVICE[type(rule)](self, rule)
            self.steps_done += 1

    def fetch(self) -> World:
        """Return the world with positions, headings and clock copied from the device."""
        for name in ("x", "y", "dir_x", "dir_y"):
            self.world.agents.arrays[name][: self.n] = self.get_column(name).copy_to_host()
        self.world.step = self.steps_done
        check_finite(self.world)
        return self.world

    def _index(self) -> None:
        """Sort the animals into the cells, as `CellIndex.build` does."""
        self.run(_count_cells, self.n, "live", "x", "y", self.n, self.grid, self.cell_of, self.counts, WISHES)
        _add_up_counts[1, SCANNERS](self.counts, self.start, self.free)
        self.run(_fill_cells, self.n, self.cell_of, self.n, self.free, self.order)
        self.run(neighbours._order_cells, len(self.counts), self.start, self.order, "key", "x", "y", self.xs, self.ys)

    def sum_neighbours(self, radius_m: float, near_m: float) -> None:
        """Compute the sums and headings of `flocking_rules.sum_neighbours` on the device."""
        self.run(flocking_rules.gather, self.m, self.order, "dir_x", self.us)
        self.run(flocking_rules.gather, self.m, self.order, "dir_y", self.vs)
        flyers = Flyers(self.xs, self.ys, self.us, self.vs)
        sight = flocking_rules.make_sight_range(self.grid, radius_m, near_m)
        cells = self.order, self.cell_of, self.start
        self.run(flocking_rules._sum_runs, self.m, *cells, flyers, self.grid, radius_m, sight, self.sums)


def _apply_flock(on: CudaFlock, rule: Flock) -> None:
    on.sum_neighbours(rule.radius_m, rule.separation_m)
    weights = flocking_rules.FlockWeights(rule.cohere, rule.separate, rule.match)
    on.run(flocking_rules._flock, on.m, on.order, on.sums, on.us, on.vs, weights, rule.speed_m_h, WISHES)


def _apply_align(on: CudaFlock, rule: Align) -> None:
    on.sum_neighbours(rule.radius_m, 0.0)
    on.run(flocking_rules._align, on.m, on.order, on.sums, "key", rule.noise_rad, rule.speed_m_h, on.clock, WISHES)


def _apply_walk(on: CudaFlock, rule: motion.Walk) -> None:
    numbers = rule.mean_cosine, rule.speed_m_h, int(rule.exponential)
    on.run(motion._walk, on.m, on.order, "species", rule.species, "key", HEADINGS, *numbers, on.clock, WISHES)


def _apply_home(on: CudaFlock, rule: motion.HomeRange) -> None:
    homes = "home_x", "home_y", rule.range_m, rule.weight
    on.run(motion._pull_home, on.m, on.order, ANIMALS, rule.species, *homes, on.grid, WISHES)


def _apply_move(on: CudaFlock, rule: motion.Move) -> None:
    on.run(motion._move, on.m, on.order, "x", "y", HEADINGS, WISHES, float(on.world.dt_h), on.grid)


ON_DEVICE: dict[type[Rule], Callable[[CudaFlock, Rule], None]] = {
    Flock: _apply_flock,
    Align: _apply_align,
    motion.Walk: _apply_walk,
    motion.HomeRange: _apply_home,
    motion.Move: _apply_move,
}
"rule -> function that applies it on the device"
