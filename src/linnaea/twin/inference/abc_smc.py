"""Approximate Bayesian computation: parameters with which a simulation looks like what was observed.

*Rejection* draws from the prior and keeps the nearest simulations. *SMC* (sequential Monte Carlo) goes on from there:
each round proposes near the particles of the last one (a Gaussian kernel with twice their weighted covariance), keeps
what is nearer than a quantile of the last round's distances, and weighs it by prior over proposal (Beaumont et al.
2009, Biometrika 96, 983-990).

This is our own code because the method fills a page. pyabc brings a database and a scheduler, sbi a neural network
library, and a world of a few parameters needs neither.

Shape suffixes: n particles, p parameters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

LEAST_ACCEPTED = 0.02
"""share of accepted proposals below which no further round is made"""


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Weighted particles: the part of the prior that agrees with the observations."""

    values_np: np.ndarray
    "parameters of each particle"
    weights_n: np.ndarray
    "weights, which add up to 1"
    distances_n: np.ndarray
    "distances from the observations"
    tolerances: tuple[float, ...]
    "largest distance of each round"
    simulated: int
    "number of simulations in all rounds"

    def quantile(self, share: float) -> np.ndarray:
        """Return the weighted quantile of each parameter: float64 [p]."""
        found = np.zeros(self.values_np.shape[1])
        for index in range(len(found)):
            order = np.argsort(self.values_np[:, index], kind="stable")
            below = np.cumsum(self.weights_n[order]) - self.weights_n[order] / 2
            found[index] = np.interp(share, below, self.values_np[order, index])
        return found

    @property
    def mean(self) -> np.ndarray:
        """Weighted mean of each parameter: float64 [p]."""
        return self.weights_n @ self.values_np


def infer_posterior(
    distance: Callable[[np.ndarray], np.ndarray],
    low_p: np.ndarray,
    high_p: np.ndarray,
    *,
    particles: int = 50,
    rounds: int = 3,
    keep: float = 0.5,
    seed: int = 0,
    end_round: Callable[[], None] | None = None,
) -> Posterior:
    """Infer the posterior under a uniform prior from `low_p` to `high_p`; one round is plain rejection.

    `distance` takes values [n, p] and returns distances [n], inf for a simulation that failed. Each round accepts
    distances up to the quantile `keep` of the last round's; rounds end early when hardly anything is accepted any more.
    `end_round` is called after each round. Raise ValueError if too many simulations failed.
    """
    rng = np.random.default_rng(seed)
    low_p, high_p = np.asarray(low_p, np.float64), np.asarray(high_p, np.float64)
    first = int(np.ceil(particles / keep))
    values_np = rng.uniform(low_p, high_p, (first, len(low_p)))
    distances_n = distance(values_np)
    nearest = np.argsort(distances_n, kind="stable")[:particles]
    values_np, distances_n = values_np[nearest], distances_n[nearest]
    if not np.isfinite(distances_n).all():
        raise ValueError(
            f"{int(np.isinf(distances_n).sum())} of the best {particles} simulations failed; narrow the ranges"
        )
    posterior = Posterior(
        values_np=values_np,
        weights_n=np.full(particles, 1 / particles),
        distances_n=distances_n,
        tolerances=(float(distances_n.max()),),
        simulated=first,
    )
    _end_round(1, posterior, end_round)
    for number in range(2, rounds + 1):
        following = _run_round(posterior, distance, low_p, high_p, keep, rng)
        if following is None:
            logger.info(f"round {number}: hardly any simulation is nearer; the last round is kept")
            break
        posterior = following
        _end_round(number, posterior, end_round)
    return posterior


def _end_round(number: int, posterior: Posterior, end_round: Callable[[], None] | None) -> None:
    """Log a round and call `end_round`."""
    logger.info(
        f"round {number}: {posterior.simulated} simulations in all, distances up to {posterior.tolerances[-1]:.4g}"
    )
    if end_round:
        end_round()


def _run_round(
    last: Posterior, distance: Callable, low_p: np.ndarray, high_p: np.ndarray, keep: float, rng: np.random.Generator
) -> Posterior | None:
    """Return the particles of the next round; None if hardly any proposal is accepted."""
    particles = len(last.values_np)
    aim = float(np.quantile(last.distances_n, keep))
    covariance = 2 * np.atleast_2d(np.cov(last.values_np.T, aweights=last.weights_n))
    # A parameter with the same value in all particles would make the covariance singular.
    covariance += np.diag(1e-12 * (high_p - low_p) ** 2)
    kept, near, tried = [], [], 0
    while len(kept) < particles:
        batch = _propose(last, covariance, low_p, high_p, particles, rng)
        found = distance(batch)
        tried += len(batch)
        for row in np.flatnonzero(found <= aim):
            kept.append(batch[row])
            near.append(found[row])
        if tried >= particles / LEAST_ACCEPTED:
            return None
    values_np, distances_n = np.array(kept[:particles]), np.array(near[:particles])
    inverse = np.linalg.inv(covariance)
    apart = values_np[:, None, :] - last.values_np[None, :, :]
    kernel = np.exp(-0.5 * np.einsum("ijp,pq,ijq->ij", apart, inverse, apart))
    # The prior is uniform, so that a weight is one over the density of its proposal.
    weights_n = 1 / np.maximum(kernel @ last.weights_n, 1e-300)
    return Posterior(
        values_np=values_np,
        weights_n=weights_n / weights_n.sum(),
        distances_n=distances_n,
        tolerances=(*last.tolerances, aim),
        simulated=last.simulated + tried,
    )


def _propose(last: Posterior, covariance, low_p, high_p, count: int, rng) -> np.ndarray:
    """Draw `count` values [n, p] near the particles, all within the prior."""
    found: list[np.ndarray] = []
    while len(found) < count:
        rows = rng.choice(len(last.values_np), count, p=last.weights_n)
        steps = rng.multivariate_normal(np.zeros(len(low_p)), covariance, count)
        moved = last.values_np[rows] + steps
        found += list(moved[((moved >= low_p) & (moved <= high_p)).all(1)])
    return np.array(found[:count])
