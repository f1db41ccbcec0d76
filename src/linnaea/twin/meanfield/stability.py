"""The dynamics of a mean-field model: equilibria and their stability, cycles, bifurcations, fronts.

Shape suffixes as in `meanfield.equations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from linnaea.twin.meanfield.equations import Rates, Trajectory, compute_per_capita_rates, find_row, integrate, iterate
from linnaea.twin.meanfield.model import MeanFieldModel


def find_equilibrium(model: MeanFieldModel, guess: Mapping[str, float] | None = None) -> dict[str, float]:
    """Return the densities of an equilibrium near a guess, by default near the starting densities.

    Raise ValueError if there is none near the guess, or for a model with diseases or a lattice.
    """
    from scipy.optimize import root

    _check_well_mixed(model)
    rates = Rates(model)
    start = [
        float(rates.make_start()[row, 0] if guess is None else guess[name]) for row, name in enumerate(model.names)
    ]
    found = root(
        lambda flat: rates(flat[:, None])[:, 0], start, jac=lambda flat: _differentiate(rates, flat), tol=1e-13
    )
    residual = np.abs(rates(found.x[:, None])).max()
    if residual > 1e-8 * max(1.0, np.abs(found.x).max()) or (found.x < -1e-9).any():
        raise ValueError(
            f"no equilibrium near {dict(zip(model.names, start, strict=True))}; start nearer to it, or integrate for a "
            "long time"
        )
    return dict(zip(model.names, map(float, found.x), strict=True))


def compute_jacobian(model: MeanFieldModel, density: Mapping[str, float]) -> np.ndarray:
    """Return the change of each node's rate with each density [n, n], per time, by central differences."""
    _check_well_mixed(model)
    return _differentiate(Rates(model), np.array([density[name] for name in model.names], float))


def _differentiate(rates: Rates, flat: np.ndarray) -> np.ndarray:
    step = 1e-6 * np.maximum(np.abs(flat), 1e-3)
    shifted = np.concatenate([flat[:, None] + np.diag(step), flat[:, None] - np.diag(step)], axis=1)
    change = rates(shifted)
    return (change[:, : len(flat)] - change[:, len(flat) :]) / (2 * step)


def compute_disturbance_growth(model: MeanFieldModel, guess: Mapping[str, float] | None = None) -> float:
    """Return the rate at which a small disturbance of the equilibrium grows, per time; it is stable if that is below 0.

    The rate is the greatest real part of the eigenvalues of the Jacobian.
    """
    return float(np.linalg.eigvals(compute_jacobian(model, find_equilibrium(model, guess))).real.max())


def find_stability_change(model_at: Callable[[float], MeanFieldModel], low: float, high: float) -> float:
    """Return the parameter between low and high at which the equilibrium of `model_at(parameter)` changes stability.

    Raise ValueError if the stability is the same at both ends.
    """
    from scipy.optimize import brentq

    ends = [compute_disturbance_growth(model_at(value)) for value in (low, high)]
    if ends[0] * ends[1] > 0:
        raise ValueError(f"stability does not change between {low:g} and {high:g}; widen the range")
    return float(brentq(lambda value: compute_disturbance_growth(model_at(value)), low, high, xtol=1e-10))


def _check_well_mixed(model: MeanFieldModel) -> None:
    if model.diseases or model.space:
        raise ValueError("an equilibrium needs a well-mixed model without diseases; integrate for a long time instead")


def find_crossings(trajectory: Trajectory, name: str, level: float, per_unit: float = 50) -> np.ndarray:
    """Return the times at which a node's density rises through a level, from the solver's interpolation."""
    from scipy.optimize import brentq

    row, solution = find_row(trajectory.model, name), trajectory.solution
    first, last = trajectory.time_t[0], trajectory.time_t[-1]
    grid = np.linspace(first, last, max(int(per_unit * (last - first)), 200) + 1)
    above = [float(solution(time)[row, 0]) > level for time in grid]
    return np.array(
        [
            brentq(lambda time: float(solution(time)[row, 0]) - level, start, end, xtol=1e-12)
            for (start, end), (before, after) in zip(pairwise(grid), pairwise(above), strict=True)
            if after and not before
        ]
    )


def find_extremes(trajectory: Trajectory, name: str, part: str = "all", since: float = 0.0) -> tuple[float, float]:
    """Return the least and the greatest density of a node from a time on, also between the recorded times."""
    from scipy.optimize import minimize_scalar

    row, solution = find_row(trajectory.model, name, part), trajectory.solution
    time_t = trajectory.time_t[trajectory.time_t >= since]
    value_t = trajectory.state_tsc[trajectory.time_t >= since, row, 0]
    found = []
    for sign in (1, -1):
        at = int(np.argmin(sign * value_t))
        near = time_t[max(at - 1, 0)], time_t[min(at + 1, len(time_t) - 1)]
        best = minimize_scalar(
            lambda time, sign=sign: sign * float(solution(time)[row, 0]),
            bounds=near,
            method="bounded",
            options={"xatol": 1e-9},
        )
        found.append(min(float(best.fun), float(sign * value_t[at])) * sign)
    return found[0], found[1]


def integrate_to_attractor(
    model: MeanFieldModel, until: float, window: float
) -> tuple[Trajectory, dict[str, tuple[float, float]]]:
    """Return the last `window` of time before `until`, and node -> its least and greatest density in it."""
    trajectory = integrate(model, until, np.linspace(until - window, until, 2001))
    return trajectory, {name: find_extremes(trajectory, name) for name in model.names}


def find_map_cycle(model: MeanFieldModel, period: int, settle: int = 3000) -> np.ndarray:
    """Return the densities [period, n] of the map's cycle near the state that it reaches, by Newton's method.

    The cycle may be unstable: just past a bifurcation the map has left it, and it still exists. Raise ValueError if
    there is none.
    """
    from scipy.optimize import root

    rates = Rates(model)
    state_n = iterate(model, settle).state_tsc[-1, :, 0]

    def walk(flat: np.ndarray) -> np.ndarray:
        orbit = [flat]
        for _ in range(period):
            orbit.append(_apply_map(rates, orbit[-1]))
        return np.array(orbit)

    found = root(lambda flat: walk(flat)[-1] - flat, state_n, tol=1e-13)
    if np.abs(walk(found.x)[-1] - found.x).max() > 1e-9 * max(1.0, np.abs(found.x).max()):
        raise ValueError(f"the map has no cycle of {period} near {state_n}; start from other densities")
    return walk(found.x)[:period]


def compute_map_multiplier(model: MeanFieldModel, period: int, settle: int = 3000) -> float:
    """Return the factor by which one turn of the map's cycle multiplies a small disturbance.

    It is the real part of the eigenvalue with the greatest modulus.
    """
    rates, turn = Rates(model), np.eye(len(model.nodes))
    for state_n in find_map_cycle(model, period, settle):
        step = 1e-6 * np.maximum(np.abs(state_n), 1e-3)
        slope = [
            (_apply_map(rates, state_n + d) - _apply_map(rates, state_n - d)) / (2 * d.sum()) for d in np.diag(step)
        ]
        turn = np.array(slope).T @ turn
    values = np.linalg.eigvals(turn)
    return float(values[np.argmax(np.abs(values))].real)


def find_period_doubling(model_at: Callable[[float], MeanFieldModel], period: int, low: float, high: float) -> float:
    """Return the parameter between low and high at which the map's cycle of this period doubles (multiplier −1)."""
    from scipy.optimize import brentq

    return float(brentq(lambda value: compute_map_multiplier(model_at(value), period) + 1, low, high, xtol=1e-9))


def find_map_period(model: MeanFieldModel, settle: int = 4000, most: int = 64, tolerance: float = 1e-7) -> int:
    """Return the period of the map after `settle` steps; 0 if it is longer than `most`."""
    state_tn = iterate(model, settle + 2 * most).state_tsc[settle:, :, 0]
    scale = max(1.0, float(np.abs(state_tn).max()))
    for period in range(1, most + 1):
        if np.abs(state_tn[period : period + most] - state_tn[:most]).max() < tolerance * scale:
            return period
    return 0


def _apply_map(rates: Rates, state_n: np.ndarray) -> np.ndarray:
    state_s1 = state_n[:, None]
    return (state_s1 * np.exp(compute_per_capita_rates(rates, state_s1)) + rates.immigration_n1)[:, 0]


def track_front(trajectory: Trajectory, name: str, level: float) -> np.ndarray:
    """Return the farthest position [t] along a line at which a node's density is above a level; nan if there is none.

    Positions are interpolated between cells. Raise ValueError unless the lattice has one axis.
    """
    space = trajectory.model.space
    if space is None or len(space.shape) != 1:
        raise ValueError("a front needs a line; give the model a lattice with one axis")
    middle_c = (np.arange(space.n_cells) + 0.5) * space.spacing
    position_t = np.full(len(trajectory.time_t), np.nan)
    for index, value_c in enumerate(trajectory.get_density(name)):
        above = np.flatnonzero(value_c > level)
        if len(above) and above[-1] + 1 < space.n_cells:
            here = above[-1]
            share = (value_c[here] - level) / (value_c[here] - value_c[here + 1])
            position_t[index] = middle_c[here] + share * space.spacing
    return position_t


def measure_front_speed(trajectory: Trajectory, name: str, level: float, since: float) -> float:
    """Return the speed of the front from a time on: the slope of position on time."""
    late = trajectory.time_t >= since
    position_t = track_front(trajectory, name, level)[late]
    if np.isnan(position_t).any():
        raise ValueError(f"{name!r} has no front after {since:g}; it never rose above {level:g} or it reached the edge")
    return float(np.polyfit(trajectory.time_t[late], position_t, 1)[0])


def compute_cascade_signs(before: Mapping[str, float], after: Mapping[str, float], chain: Sequence[str]) -> list[int]:
    """Return the sign of the change of each node of a food chain between two states: −1, 0 or 1."""
    return [int(np.sign(after[name] - before[name])) for name in chain]
