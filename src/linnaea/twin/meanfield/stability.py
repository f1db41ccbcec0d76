"""Where a mean-field system goes and how: equilibria, their stability, cycles, bifurcations, fronts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from linnaea.twin.meanfield.equations import Rates, Trajectory, integrate, iterate, per_density, row_of
from linnaea.twin.meanfield.model import MeanField


def equilibrium(system: MeanField, guess: Mapping[str, float] | None = None) -> dict[str, float]:
    """Densities at which nothing changes, near a guess (the starting densities unless told).

    ValueError where none is found there. Diseases and space are beyond it.
    """
    from scipy.optimize import root

    _well_mixed(system)
    rates = Rates(system)
    start = [float(rates.start()[row, 0] if guess is None else guess[name]) for row, name in enumerate(system.names)]
    found = root(lambda flat: rates(flat[:, None])[:, 0], start, jac=lambda flat: _slopes(rates, flat), tol=1e-13)
    rest = np.abs(rates(found.x[:, None])).max()
    if rest > 1e-8 * max(1.0, np.abs(found.x).max()) or (found.x < -1e-9).any():
        raise ValueError(
            f"no equilibrium near {dict(zip(system.names, start, strict=True))}; start nearer, or integrate for long"
        )
    return dict(zip(system.names, map(float, found.x), strict=True))


def jacobian(system: MeanField, density: Mapping[str, float]) -> np.ndarray:
    """Change of each node's rate with each density [n, n], by central differences, per time."""
    _well_mixed(system)
    return _slopes(Rates(system), np.array([density[name] for name in system.names], float))


def _slopes(rates: Rates, flat: np.ndarray) -> np.ndarray:
    step = 1e-6 * np.maximum(np.abs(flat), 1e-3)
    shifted = np.concatenate([flat[:, None] + np.diag(step), flat[:, None] - np.diag(step)], axis=1)
    change = rates(shifted)
    return (change[:, : len(flat)] - change[:, len(flat) :]) / (2 * step)


def growth_of_disturbance(system: MeanField, guess: Mapping[str, float] | None = None) -> float:
    """Rate at which a small disturbance of the equilibrium grows, per time: the greatest real part; below 0 it is
    stable.
    """
    return float(np.linalg.eigvals(jacobian(system, equilibrium(system, guess))).real.max())


def turning_point(system_at: Callable[[float], MeanField], low: float, high: float) -> float:
    """The parameter between low and high at which the equilibrium of `system_at(parameter)` gains or loses stability.

    ValueError where it does not change between them.
    """
    from scipy.optimize import brentq

    ends = [growth_of_disturbance(system_at(value)) for value in (low, high)]
    if ends[0] * ends[1] > 0:
        raise ValueError(f"stability does not change between {low:g} and {high:g}; widen the range")
    return float(brentq(lambda value: growth_of_disturbance(system_at(value)), low, high, xtol=1e-10))


def _well_mixed(system: MeanField) -> None:
    if system.diseases or system.space:
        raise ValueError("an equilibrium is sought for well-mixed systems without diseases; integrate for long instead")


def crossings(trajectory: Trajectory, name: str, level: float, per_unit: float = 50) -> np.ndarray:
    """Times at which a node's density rises through a level, from the solver's own interpolation."""
    from scipy.optimize import brentq

    row, solution = row_of(trajectory.system, name), trajectory.solution
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


def extremes(trajectory: Trajectory, name: str, part: str = "all", since: float = 0.0) -> tuple[float, float]:
    """Least and greatest density of a node from a time on, between the recorded times as well."""
    from scipy.optimize import minimize_scalar

    row, solution = row_of(trajectory.system, name, part), trajectory.solution
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


def settled(system: MeanField, until: float, window: float) -> tuple[Trajectory, dict[str, tuple[float, float]]]:
    """The system's last `window` of time before `until`, and least and greatest density of each node in it."""
    trajectory = integrate(system, until, np.linspace(until - window, until, 2001))
    return trajectory, {name: extremes(trajectory, name) for name in system.names}


def map_cycle(system: MeanField, period: int, settle: int = 3000) -> np.ndarray:
    """The densities [period, n] of the map's cycle near where it settles from the start, by Newton's method.

    The cycle may be unstable: just past a bifurcation the map has left it, yet it is there. ValueError where none is
    found.
    """
    from scipy.optimize import root

    rates = Rates(system)
    state_n = iterate(system, settle).state_tsc[-1, :, 0]

    def walk(flat: np.ndarray) -> np.ndarray:
        orbit = [flat]
        for _ in range(period):
            orbit.append(_next(rates, orbit[-1]))
        return np.array(orbit)

    found = root(lambda flat: walk(flat)[-1] - flat, state_n, tol=1e-13)
    if np.abs(walk(found.x)[-1] - found.x).max() > 1e-9 * max(1.0, np.abs(found.x).max()):
        raise ValueError(f"the map has no cycle of {period} near {state_n}; start elsewhere")
    return walk(found.x)[:period]


def map_multiplier(system: MeanField, period: int, settle: int = 3000) -> float:
    """Factor of a disturbance over one turn of the map's cycle: its sign, and of its eigenvalues the greatest
    modulus.
    """
    rates, turn = Rates(system), np.eye(len(system.nodes))
    for state_n in map_cycle(system, period, settle):
        step = 1e-6 * np.maximum(np.abs(state_n), 1e-3)
        slope = [(_next(rates, state_n + d) - _next(rates, state_n - d)) / (2 * d.sum()) for d in np.diag(step)]
        turn = np.array(slope).T @ turn
    values = np.linalg.eigvals(turn)
    return float(values[np.argmax(np.abs(values))].real)


def doubling(system_at: Callable[[float], MeanField], period: int, low: float, high: float) -> float:
    """The parameter between low and high at which the map's cycle of this period doubles: its multiplier is −1."""
    from scipy.optimize import brentq

    return float(brentq(lambda value: map_multiplier(system_at(value), period) + 1, low, high, xtol=1e-9))


def map_period(system: MeanField, settle: int = 4000, most: int = 64, tolerance: float = 1e-7) -> int:
    """Least number of steps after which the settled map is where it was; 0 where that is more than `most`."""
    state_tn = iterate(system, settle + 2 * most).state_tsc[settle:, :, 0]
    scale = max(1.0, float(np.abs(state_tn).max()))
    for period in range(1, most + 1):
        if np.abs(state_tn[period : period + most] - state_tn[:most]).max() < tolerance * scale:
            return period
    return 0


def _next(rates: Rates, state_n: np.ndarray) -> np.ndarray:
    state_s1 = state_n[:, None]
    return (state_s1 * np.exp(per_density(rates, state_s1)) + rates.immigration_n1)[:, 0]


def front(trajectory: Trajectory, name: str, level: float) -> np.ndarray:
    """Farthest place [t] along a line at which a node's density is above a level, interpolated between cells; nan for
    none.
    """
    space = trajectory.system.space
    if space is None or len(space.shape) != 1:
        raise ValueError("a front is followed along a line; give the system a space with one axis")
    place = (np.arange(space.n_cells) + 0.5) * space.spacing
    at_t = np.full(len(trajectory.time_t), np.nan)
    for index, value_c in enumerate(trajectory.of(name)):
        above = np.flatnonzero(value_c > level)
        if len(above) and above[-1] + 1 < space.n_cells:
            here = above[-1]
            share = (value_c[here] - level) / (value_c[here] - value_c[here + 1])
            at_t[index] = place[here] + share * space.spacing
    return at_t


def front_speed(trajectory: Trajectory, name: str, level: float, since: float) -> float:
    """Length per time that the front advances from a time on: slope of place on time."""
    late = trajectory.time_t >= since
    place_t = front(trajectory, name, level)[late]
    if np.isnan(place_t).any():
        raise ValueError(f"{name!r} has no front after {since:g}; it never rose above {level:g} or reached the edge")
    return float(np.polyfit(trajectory.time_t[late], place_t, 1)[0])


def signs_of_cascade(before: Mapping[str, float], after: Mapping[str, float], chain: Sequence[str]) -> list[int]:
    """Sign of the change of each node of a chain between two states: −1, 0 or 1."""
    return [int(np.sign(after[name] - before[name])) for name in chain]
