"""Making the layers of a world's ground from its landscape and a seed.

Shape suffixes: r rows, c columns.
"""

from __future__ import annotations

import numpy as np

from linnaea.twin.data.landscape import Landscape
from linnaea.twin.engine.neighbours import Space
from linnaea.twin.engine.rng import INITIAL, uniforms


def compute_grid_shape(space: Space, cell_km: float) -> tuple[int, int]:
    """Return rows and columns of the layers: as many cells of at least the wanted side as fit, at least one."""
    return max(1, int(space.height_m / (1000 * cell_km) + 1e-9)), max(1, int(space.width_m / (1000 * cell_km) + 1e-9))


def make_smooth_noise(shape: tuple[int, int], size: float, seed: int, draw: int) -> np.ndarray:
    """Return smooth noise 0..1 [r, c] that varies over about `size` cells, from three octaves of random lattices."""
    total, weight = np.zeros(shape), 0.0
    for octave in range(3):
        step = max(size / 2**octave, 1.0)
        rows, columns = (np.arange(n) / step for n in shape)
        n_rows, n_columns = int(rows[-1]) + 2, int(columns[-1]) + 2
        keys = np.arange(n_rows * n_columns, dtype=np.uint64)
        lattice = uniforms(seed, octave, INITIAL, keys, draw).reshape(n_rows, n_columns)
        i, j = rows.astype(int), columns.astype(int)
        # Smoothed fractions, so that the lattice does not show as creases.
        u, v = (f * f * (3 - 2 * f) for f in (rows - i, columns - j))
        u, v = u[:, None], v[None, :]
        low = lattice[np.ix_(i, j)] * (1 - v) + lattice[np.ix_(i, j + 1)] * v
        high = lattice[np.ix_(i + 1, j)] * (1 - v) + lattice[np.ix_(i + 1, j + 1)] * v
        total += (low * (1 - u) + high * u) / 2**octave
        weight += 1 / 2**octave
    return total / weight


def make_layers(landscape: Landscape, space: Space, seed: int) -> dict[str, np.ndarray]:
    """Return the layers at the start.

    They are elevation (m), share of the mean rain, permanent water (1), and the layers that scenarios change, without
    effect.
    """
    shape = compute_grid_shape(space, landscape.cell_km)
    noise = make_smooth_noise(shape, landscape.hill_km / landscape.cell_km, seed, 0)
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
