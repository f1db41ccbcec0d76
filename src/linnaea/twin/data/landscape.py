"""The ground of a world in layers: elevation, rain by month, water, and what grows there.

Layers are arrays [rows, columns] from the south-west corner, all on one grid over the whole ground, made from a seed and a
few numbers or given as arrays. Legend: r rows, c columns, k cells counted row by row.

The same grid carries the hooks of scenarios, which may be changed between steps:
`rain_factor` and `growth_factor` (1 as usual), `fire_factor` (1 as usual, 0 no fire), `poaching` (where, 0 to 1), `water`
(1 permanent water), and the arrays `warming_c` [1], `fences` [f, 5] (two ends in metres, share that gets through).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from linnaea.twin.engine.jit import scalar, serial
from linnaea.twin.engine.neighbours import Space, cell_index
from linnaea.twin.engine.rng import INITIAL, uniforms

MONTHS = 12
FAR_KM = 1000.0
LAPSE_C_PER_M = 0.0065
NO_FENCE = np.zeros((0, 5))


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """What the ground is like, and from which its layers are made."""

    cell_km: float = 1.0
    "side of a cell of the layers, kilometres"
    elevation_m: tuple[float, float] = (1200.0, 1800.0)
    "lowest and highest ground, metres"
    hill_km: float = 10.0
    "size of hills and valleys, kilometres"
    rain_mm: tuple[float, ...] = (60.0,) * MONTHS
    "mean rain of each month, January first, millimetres"
    rain_east: float = 0.0
    "change of rain from the western to the eastern border, as a share of the mean"
    rain_north: float = 0.0
    "change of rain from the southern to the northern border, as a share of the mean"
    rain_noise: float = 0.2
    "standard deviation of a month's rain from year to year, as a share of its mean"
    season: tuple[float, ...] = (1.0,) * MONTHS
    "share of the greatest growth that light and warmth allow in each month"
    temperature_c: tuple[float, ...] = (22.0,) * MONTHS
    "mean temperature of each month at the lowest ground, degrees Celsius"
    water_share: float = 0.02
    "share of the cells, the lowest ones, with permanent water"
    pond_mm: float = 50.0
    "rain of a month above which there is water everywhere, millimetres"
    map_seed: int = 0
    "of hills and lakes: all runs of a world share its map, whatever their own seed"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.cell_km) and self.cell_km > 0):
            raise ValueError(f"cell_km: {self.cell_km} is not a length; give kilometres above 0")
        for name in ("rain_mm", "season", "temperature_c"):
            values = getattr(self, name)
            if len(values) != MONTHS:
                raise ValueError(f"{name}: {len(values)} values; give one for each of the 12 months")
            if name != "temperature_c" and min(values) < 0:
                raise ValueError(f"{name}: {min(values)} is below 0; give amounts ≥ 0")
        if not 0 <= self.water_share <= 1:
            raise ValueError(f"water_share: {self.water_share} is not between 0 and 1")
        if abs(self.rain_east) + abs(self.rain_north) >= 2:
            raise ValueError(
                f"rain_east {self.rain_east} and rain_north {self.rain_north} make rain negative; lower them"
            )


def grid_shape(space: Space, cell_km: float) -> tuple[int, int]:
    """Rows and columns of the layers: the ground divided evenly into cells of at least the wanted side, at least one."""
    return max(1, int(space.height_m / (1000 * cell_km) + 1e-9)), max(1, int(space.width_m / (1000 * cell_km) + 1e-9))


def smooth_noise(shape: tuple[int, int], size: float, seed: int, draw: int) -> np.ndarray:
    """Hills: values 0..1 [r, c] that change over about `size` cells, from three octaves of random lattices."""
    total, weight = np.zeros(shape), 0.0
    for octave in range(3):
        step = max(size / 2**octave, 1.0)
        rows, columns = (np.arange(n) / step for n in shape)
        n_rows, n_columns = int(rows[-1]) + 2, int(columns[-1]) + 2
        keys = np.arange(n_rows * n_columns, dtype=np.uint64)
        lattice = uniforms(seed, octave, INITIAL, keys, draw).reshape(n_rows, n_columns)
        i, j = rows.astype(int), columns.astype(int)
        # Smoothed fractions, so that no crease shows at the lattice.
        u, v = (f * f * (3 - 2 * f) for f in (rows - i, columns - j))
        u, v = u[:, None], v[None, :]
        low = lattice[np.ix_(i, j)] * (1 - v) + lattice[np.ix_(i, j + 1)] * v
        high = lattice[np.ix_(i + 1, j)] * (1 - v) + lattice[np.ix_(i + 1, j + 1)] * v
        total += (low * (1 - u) + high * u) / 2**octave
        weight += 1 / 2**octave
    return total / weight


def make_layers(landscape: Landscape, space: Space, seed: int) -> dict[str, np.ndarray]:
    """The layers at the start: elevation (m), rain_share (of the mean), water (1 permanent), and the hooks, blank."""
    shape = grid_shape(space, landscape.cell_km)
    noise = smooth_noise(shape, landscape.hill_km / landscape.cell_km, seed, 0)
    spread = np.ptp(noise) or 1.0
    low, high = landscape.elevation_m
    elevation = low + (high - low) * (noise - noise.min()) / spread
    east = (np.arange(shape[1]) + 0.5) / shape[1] - 0.5
    north = (np.arange(shape[0]) + 0.5) / shape[0] - 0.5
    rain = 1 + landscape.rain_east * east[None, :] + landscape.rain_north * north[:, None]
    n_wet = round(landscape.water_share * elevation.size)
    water = np.zeros(elevation.size)
    water[np.argsort(elevation.ravel(), kind="stable")[:n_wet]] = 1
    return {
        "elevation_m": elevation,
        "rain_share": rain,
        "water": water.reshape(shape),
        "rain_factor": np.ones(shape),
        "growth_factor": np.ones(shape),
        "fire_factor": np.ones(shape),
        "poaching": np.ones(shape),
    }


@scalar
def layer_cell(x, y, cell_w, cell_h, n_columns, n_rows):
    """The cell of the layers under a place: int in [0, k)."""
    return cell_index(y, cell_h, n_rows) * n_columns + cell_index(x, cell_w, n_columns)


def layer_grid(world) -> tuple[int, int, float, float]:
    """(columns, rows, cell width, cell height in metres) of the layers, as kernels take it."""
    n_rows, n_columns = world.fields["elevation_m"].shape
    return n_columns, n_rows, world.space.width_m / n_columns, world.space.height_m / n_rows


@serial
def _spread_distance(distance, side_w, side_h):
    """Lowers the distances [r, c] until no neighbour offers a shorter way (two sweeps of a chamfer)."""
    n_rows, n_columns = distance.shape
    diagonal = math.sqrt(side_w * side_w + side_h * side_h)
    for r in range(n_rows):
        for c in range(n_columns):
            best = distance[r, c]
            if c > 0:
                best = min(best, distance[r, c - 1] + side_w)
            if r > 0:
                best = min(best, distance[r - 1, c] + side_h)
                if c > 0:
                    best = min(best, distance[r - 1, c - 1] + diagonal)
                if c < n_columns - 1:
                    best = min(best, distance[r - 1, c + 1] + diagonal)
            distance[r, c] = best
    for r in range(n_rows - 1, -1, -1):
        for c in range(n_columns - 1, -1, -1):
            best = distance[r, c]
            if c < n_columns - 1:
                best = min(best, distance[r, c + 1] + side_w)
            if r < n_rows - 1:
                best = min(best, distance[r + 1, c] + side_h)
                if c < n_columns - 1:
                    best = min(best, distance[r + 1, c + 1] + diagonal)
                if c > 0:
                    best = min(best, distance[r + 1, c - 1] + diagonal)
            distance[r, c] = best


def distance_to(wet: np.ndarray, side_w_km: float, side_h_km: float) -> np.ndarray:
    """Kilometres [r, c] from each cell to the nearest wet one, at most a tenth too long where cells are square; `FAR_KM` where there is none."""
    distance = np.where(wet, 0.0, FAR_KM)
    _spread_distance(distance, side_w_km, side_h_km)
    return np.minimum(distance, FAR_KM)


def month_of(hour: float) -> int:
    """Month 0..11 of the world's clock, which begins on the first of January; all months are of one length."""
    return int(hour / 730.5) % MONTHS


@scalar
def crosses(x0, y0, x1, y1, ax, ay, bx, by):
    """Whether the way from (x0, y0) to (x1, y1) meets the line from a to b."""
    d1 = (bx - ax) * (y0 - ay) - (by - ay) * (x0 - ax)
    d2 = (bx - ax) * (y1 - ay) - (by - ay) * (x1 - ax)
    d3 = (x1 - x0) * (ay - y0) - (y1 - y0) * (ax - x0)
    d4 = (x1 - x0) * (by - y0) - (y1 - y0) * (bx - x0)
    return d1 * d2 < 0.0 and d3 * d4 < 0.0


@scalar
def fenced(x0, y0, x1, y1, fences, chance):
    """Whether a fence [f, 5] that lets less than `chance` (0 to 1) of the crossings pass lies across the straight way."""
    for f in range(len(fences)):
        if fences[f, 4] < chance and crosses(x0, y0, x1, y1, fences[f, 0], fences[f, 1], fences[f, 2], fences[f, 3]):
            return True
    return False
