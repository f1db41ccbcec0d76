"""The twin's kernels on a CUDA device, from the same source, and flocks that stay there.

`lift` makes a CUDA kernel of a `@kernel`: its outermost `prange` becomes each thread's share of the turns, and what it
calls becomes device code. That is sound because a kernel sums nothing across turns and no two turns write one element
(`linnaea.twin.engine.jit`).

    flock = CudaFlock(world)    # copies the animals to the device
    flock.step(1000)
    flock.fetch()               # copies places and headings back into the world, and sets its clock

A flock there does what `loop.step` does to it, but for rounding: sums over neighbours run in another order than vector
instructions take, products and sums are fused, and sine and logarithm are the device's. Places then differ in the last
digits of float32 after a step, and more after many, as neighbours at the rim of the radius count or do not.

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

from linnaea.twin.engine import neighbours as cells
from linnaea.twin.engine.agents import Animals, Headings, Wishes
from linnaea.twin.engine.neighbours import cell_index
from linnaea.twin.engine.step import check_finite
from linnaea.twin.engine.world import Clock, Rule, World
from linnaea.twin.reference_models import flocking_rules as flocks
from linnaea.twin.rules import motion as movement

# One block adds up the cells' counts on purpose.
warnings.filterwarnings("ignore", message="Grid size", category=numba.NumbaPerformanceWarning)
# The simulator makes each thread one of Python's, which takes its time.
THREADS = 16 if numba.config.ENABLE_CUDASIM else 128
# Of the one block that adds up the cells' counts.
SCANNERS = 4 if numba.config.ENABLE_CUDASIM else 512


class _OverThreads(ast.NodeTransformer):
    """A loop over `numba.prange(n)`, but not those within it, becomes each thread's share of the turns."""

    def __init__(self) -> None:
        self.loops = 0

    def visit_For(self, node: ast.For) -> ast.For:
        call = node.iter
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "numba.prange":
            (turns,) = call.args
            turn = ast.parse(f"range(cuda.grid(1), {ast.unparse(turns)}, cuda.gridsize(1))", mode="eval").body
            node.iter = ast.copy_location(turn, call)
            self.loops += 1
        return ast.fix_missing_locations(node)


def _device_globals(function: Callable) -> dict[str, object]:
    """A function's globals, in which what is compiled for the processor is device code."""
    names = function.__globals__
    called = {name: names[name] for name in function.__code__.co_names if hasattr(names.get(name), "py_func")}
    return names | {"cuda": cuda} | {name: _device_function(value) for name, value in called.items()}


@functools.cache
def _device_function(scalar: Callable) -> Callable:
    """A `@scalar` as a device function."""
    function = scalar.py_func
    return cuda.jit(device=True)(
        types.FunctionType(function.__code__, _device_globals(function), function.__name__, function.__defaults__)
    )


@functools.cache
def lift(kernel: Callable) -> Callable:
    """A `@kernel`, or a plain function like one, as a CUDA kernel; ValueError where it has no `prange`."""
    function = getattr(kernel, "py_func", kernel)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    rewrite = _OverThreads()
    tree = rewrite.visit(tree)
    if not rewrite.loops:
        raise ValueError(f"{function.__name__} is a loop of one thread: it has no numba.prange")
    tree.body[0].decorator_list = []
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    names = _device_globals(function)
    # The text is that of this package's own function.
    exec(compile(tree, function.__code__.co_filename, "exec"), names)  # noqa: S102
    return cuda.jit(names[function.__name__])


def require_device() -> None:
    """Returns where kernels can run; else ModuleNotFoundError or ValueError with the remedy."""
    # What numba itself still brings for CUDA does not compile all kernels.
    if cuda.implementation == "Built-in" and not numba.config.ENABLE_CUDASIM:
        raise ModuleNotFoundError("a GPU needs numba-cuda: pip install 'linnaea[cuda]'", name="numba_cuda")
    if not cuda.is_available():
        raise ValueError(
            "no CUDA device is at hand (see nvidia-smi); use linnaea.twin.engine.world.step on the processor"
        )


def _count(live, x, y, n, cell_w, cell_h, n_columns, n_rows, cell_of, counts, pull_x, pull_y, speed_m_h):
    """Notes each animal's cell, counts the cells' animals [c], blanks the proposals."""
    for i in numba.prange(n):
        pull_x[i] = pull_y[i] = speed_m_h[i] = 0
        if live[i]:
            c = cell_index(y[i], cell_h, n_rows) * n_columns + cell_index(x[i], cell_w, n_columns)
            cell_of[i] = c
            cuda.atomic.add(counts, c, 1)
        else:
            cell_of[i] = -1


@cuda.jit
def _start(counts, start, free):
    """Adds up the counts, which become 0, to where each cell begins [c + 1] and where its next animal goes [c]: one block
    of SCANNERS threads, each for a stretch of cells."""
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


def _fill(cell_of, n, free, order):
    """Puts the animals into their cells, in an order that hangs on the device; `_order_cells` sorts them."""
    for i in numba.prange(n):
        if cell_of[i] >= 0:
            order[cuda.atomic.add(free, cell_of[i], 1)] = i


def _rebuild(like: tuple, values: Iterable[object]) -> tuple:
    """A tuple, or a NamedTuple of the same kind, of other values."""
    return type(like)._make(values) if hasattr(like, "_make") else tuple(values)


def _typed(value: object) -> object:
    """A float64 in place of a plain float, which beside float32 would count as one in the simulator."""
    if isinstance(value, tuple):
        return _rebuild(value, map(_typed, value))
    return np.float64(value) if isinstance(value, float) else value


class CudaFlock:
    """The animals of a world of `Flock`, `Align` and movement rules, kept on a CUDA device.

    ValueError for a world with other rules or without animals, and where no device is at hand.
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
        self.clock = world.step
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

    def column(self, name: str) -> object:
        """A column of the animals [n], on the device."""
        if name not in self._columns:
            self._columns[name] = cuda.to_device(self.world.agents.arrays[name][: self.n])
        return self._columns[name]

    def run(self, kernel: Callable, turns: int, *arguments: object) -> None:
        """Starts a kernel of this many turns; a name among the arguments, or in a tuple of them, stands for a column."""
        given = [self._on_device(value) for value in arguments]
        lift(kernel)[-(-turns // THREADS), THREADS](*given)

    def _on_device(self, value: object) -> object:
        if isinstance(value, str):
            return self.column(value)
        if isinstance(value, tuple) and any(isinstance(part, str) for part in value):
            return _rebuild(value, map(self._on_device, value))
        return _typed(value)

    @property
    def _clock(self) -> Clock:
        return self.world.clock._replace(step=self.clock)

    def step(self, steps: int = 1) -> None:
        """Goes some steps on, on the device."""
        for _ in range(steps):
            self._index()
            for phase in ("decide", "move"):
                for rule in self.world.by_phase[phase]:
                    ON_DEVICE[type(rule)](self, rule)
            self.clock += 1

    def fetch(self) -> World:
        """The world with places, headings and clock as on the device."""
        for name in ("x", "y", "dir_x", "dir_y"):
            self.world.agents.arrays[name][: self.n] = self.column(name).copy_to_host()
        self.world.step = self.clock
        check_finite(self.world)
        return self.world

    def _index(self) -> None:
        n_columns, n_rows, cell_w, cell_h, *_ = self.grid
        self.run(
            _count,
            self.n,
            "live",
            "x",
            "y",
            self.n,
            cell_w,
            cell_h,
            n_columns,
            n_rows,
            self.cell_of,
            self.counts,
            "pull_x",
            "pull_y",
            "speed_m_h",
        )
        _start[1, SCANNERS](self.counts, self.start, self.free)
        self.run(_fill, self.n, self.cell_of, self.n, self.free, self.order)
        self.run(cells._order_cells, len(self.counts), self.start, self.order, "key", "x", "y", self.xs, self.ys)

    def _sum(self, radius_m: float, near_m: float) -> None:
        """What `flocks.neighbour_sums` gives."""
        self.run(flocks.gather, self.m, self.order, "dir_x", self.us)
        self.run(flocks.gather, self.m, self.order, "dir_y", self.vs)
        self.run(
            flocks._sum_runs,
            self.m,
            self.order,
            self.cell_of,
            self.start,
            self.xs,
            self.ys,
            self.us,
            self.vs,
            self.grid,
            radius_m,
            near_m,
            self.sums,
        )


def _flock(on: CudaFlock, rule: flocks.Flock) -> None:
    on._sum(rule.radius_m, rule.separation_m)
    on.run(
        flocks._flock,
        on.m,
        on.order,
        on.sums,
        on.us,
        on.vs,
        rule.cohere,
        rule.separate,
        rule.match,
        rule.speed_m_h,
        "pull_x",
        "pull_y",
        "speed_m_h",
    )


def _align(on: CudaFlock, rule: flocks.Align) -> None:
    on._sum(rule.radius_m, 0.0)
    on.run(
        flocks._align,
        on.m,
        on.order,
        on.sums,
        "key",
        rule.noise_rad,
        rule.speed_m_h,
        on.world.seed64,
        on.clock,
        "pull_x",
        "pull_y",
        "speed_m_h",
    )


WISHES, HEADINGS, ANIMALS = (kind(*kind._fields) for kind in (Wishes, Headings, Animals))


def _walk(on: CudaFlock, rule: movement.Walk) -> None:
    on.run(
        movement._walk,
        on.m,
        on.order,
        "species",
        rule.species,
        "key",
        HEADINGS,
        rule.mean_cosine,
        rule.speed_m_h,
        int(rule.exponential),
        on._clock,
        WISHES,
    )


def _home(on: CudaFlock, rule: movement.HomeRange) -> None:
    on.run(
        movement._pull_home,
        on.m,
        on.order,
        ANIMALS,
        rule.species,
        "home_x",
        "home_y",
        rule.range_m,
        rule.weight,
        on.grid,
        WISHES,
    )


def _move(on: CudaFlock, rule: movement.Move) -> None:
    on.run(movement._move, on.m, on.order, "x", "y", HEADINGS, WISHES, float(on.world.dt_h), on.grid)


ON_DEVICE: dict[type[Rule], Callable[[CudaFlock, Rule], None]] = {
    flocks.Flock: _flock,
    flocks.Align: _align,
    movement.Walk: _walk,
    movement.HomeRange: _home,
    movement.Move: _move,
}
