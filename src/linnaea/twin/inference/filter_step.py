"""One step of data assimilation: move an ensemble so that its expected counts agree with the observed ones.

Each count takes two steps. First comes the exact Bayesian update, in one dimension, of the logarithm of the expected
count, with the negative binomial distribution of counts: field data consist of small numbers and zeros, for which a
Gaussian error would be wrong. Members keep their rank (a rank histogram filter: Anderson 2010, Monthly Weather Review
138, 4186-4198). Then every other quantity follows by its regression on that logarithm within the ensemble. A particle
filter does the first step as well but fails at the second: the weights of a hundred members collapse when a dozen
species are counted at once. A plain ensemble Kalman filter does the second step and fails at the first.

Shape suffixes: x quantities of the state, m members, s species. Arrays [x, …, m] may hold several ensembles, each of
which is moved by itself.
"""

from __future__ import annotations

import math

import numpy as np

from linnaea.twin.data.foodweb import FoodWeb

GRID = 401
"""points of the grid on which the posterior is computed"""


def compute_log_likelihood(y: int, log_mean, k: float):
    """Return the log of the negative binomial probability of a count, up to a constant, for logarithms of its mean."""
    mean = np.exp(np.clip(log_mean, -700, 700))
    return y * (np.asarray(log_mean) - np.log(mean + k)) - k * np.log1p(mean / k)


def compute_posterior(z_m: np.ndarray, y: int, k: float) -> tuple[np.ndarray, float]:
    """Return the logarithms of the expected count [m] after the count, and the log of the count's prior probability.

    Members keep their ranks and are distributed as the posterior. The prior is the normal distribution of the members,
    so that a count outside their range still moves them. The probability is relative to that under the best mean.
    """
    mean, spread = float(z_m.mean()), float(z_m.std(ddof=1))
    aim = math.log(max(y, 0.5))
    best = float(compute_log_likelihood(y, aim, k))
    if spread < 1e-9:
        return z_m, float(compute_log_likelihood(y, mean, k)) - best
    low, high = min(mean - 6 * spread, aim - 2), max(mean + 6 * spread, aim + 2)
    grid = np.linspace(low, high, GRID)
    prior = -0.5 * ((grid - mean) / spread) ** 2
    likelihood = compute_log_likelihood(y, grid, k) - best
    upto = [_compute_cumulative(prior), _compute_cumulative(prior + likelihood)]
    rank_m = np.clip(np.interp(z_m, grid, upto[0]), 1e-9, 1 - 1e-9)
    return np.interp(rank_m, upto[1], grid), _compute_log_mean(likelihood, prior)


def _compute_log_mean(log_value: np.ndarray, log_density: np.ndarray) -> float:
    """Return the logarithm of the mean of exp(log_value) under a density on a grid, which may be unnormalised."""
    both = log_value + log_density
    return float(
        both.max()
        + np.log(np.exp(both - both.max()).sum() / np.exp(log_density - log_density.max()).sum())
        - log_density.max()
    )


def _compute_cumulative(log_density: np.ndarray) -> np.ndarray:
    """Return the cumulative distribution of a density on a grid, strictly increasing from 0 to 1."""
    density = np.exp(log_density - log_density.max()) + 1e-15
    total = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return total / total[-1]


def move_by_regression(state_xm: np.ndarray, z_m: np.ndarray, moved_m: np.ndarray, weight_x: np.ndarray) -> None:
    """Move every quantity [x, …, m], in place, by its regression on z [… m], times its weight 0..1 [x, …]."""
    from_mean = z_m - z_m.mean(-1, keepdims=True)
    variance = (from_mean**2).sum(-1)
    # The mean of a quantity need not be subtracted: the deviations of z add up to 0.
    slope_x = np.einsum("x...m,...m->x...", state_xm, from_mean) / np.maximum(variance, 1e-12)
    state_xm += (weight_x * slope_x * (variance >= 1e-12))[..., None] * (moved_m - z_m)


def restore_spread(state_xm: np.ndarray, before_x: np.ndarray, share: float) -> None:
    """Widen each quantity [x, …, m], in place, towards its spread `before_x` [x, …] before the counts, by a share."""
    spread_x = state_xm.std(-1, ddof=1)
    wanted_x = (1 - share) * spread_x + share * before_x
    factor_x = np.where(spread_x > 1e-12, wanted_x / np.maximum(spread_x, 1e-12), 1)
    mean_x1 = state_xm.mean(-1, keepdims=True)
    state_xm[:] = mean_x1 + factor_x[..., None] * (state_xm - mean_x1)


def compute_web_distance(web: FoodWeb) -> np.ndarray:
    """Return the number of links between any two species along the food web [s, s]; infinite without a connection."""
    names = list(web.species)
    place = {name: index for index, name in enumerate(names)}
    distance = np.full((len(names), len(names)), math.inf)
    np.fill_diagonal(distance, 0)
    for link in web.links:
        a, b = place[link.predator], place[link.prey]
        distance[a, b] = distance[b, a] = min(distance[a, b], 1) if a != b else 0
    for middle in range(len(names)):
        distance = np.minimum(distance, distance[:, [middle]] + distance[[middle]])
    return distance


def compute_taper(distance, reach: float):
    """Return the weight 1 … 0 of a count for a species at this distance in links: 0 beyond `reach` links."""
    return np.square(np.clip(1 - np.asarray(distance) / (reach + 1), 0, 1))
