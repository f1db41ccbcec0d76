"""Parameters that make a simulation look like what was observed: approximate Bayesian computation, in two ways.

*Rejection* draws from the prior and keeps the nearest. *SMC* goes on from there: each round draws near the particles of
the last (a Gaussian kernel of twice their weighted covariance), keeps what is nearer than the last round's middle, and
weighs it by prior over proposal. Own code: the method is a page, while pyabc brings a database and a scheduler and sbi
a neural network library, neither of which a world of a few parameters needs.

Shape suffixes: n particles, p parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEAST_ACCEPTED = 0.02


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Weighted particles: what of the prior agrees with the observations."""

    values_np: np.ndarray
    weights_n: np.ndarray
    distances_n: np.ndarray
    tolerances: tuple[float, ...]
    "largest distance of each round"
    simulated: int
    "simulations in all"

    def quantile(self, share: float) -> np.ndarray:
        """Weighted quantile of each parameter: float64 [p]."""
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
    report: Callable[[str], None] = print,
) -> Posterior:
    """The posterior under a uniform prior from `low_p` to `high_p`; one round is plain rejection.

    `distance` takes values [n, p] and gives distances [n], inf where a simulation failed. Each round keeps the nearest
    `keep` of the last as its aim; it ends early when hardly anything is accepted any more.
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
    report(f"round 1: {first} simulations, distances up to {posterior.tolerances[-1]:.4g}")
    for number in range(2, rounds + 1):
        following = _run_round(posterior, distance, low_p, high_p, keep, rng)
        if following is None:
            report(f"round {number}: hardly any simulation is nearer; the last round stands")
            break
        posterior = following
        report(
            f"round {number}: {posterior.simulated} simulations in all, distances up to {posterior.tolerances[-1]:.4g}"
        )
    return posterior


def _run_round(last: Posterior, distance, low_p, high_p, keep, rng) -> Posterior | None:
    particles = len(last.values_np)
    aim = float(np.quantile(last.distances_n, keep))
    covariance = 2 * np.atleast_2d(np.cov(last.values_np.T, aweights=last.weights_n))
    # A parameter on which all agree would make the kernel flat.
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
    # The prior is flat, so that a weight is one over the density of its proposal.
    weights_n = 1 / np.maximum(kernel @ last.weights_n, 1e-300)
    return Posterior(
        values_np=values_np,
        weights_n=weights_n / weights_n.sum(),
        distances_n=distances_n,
        tolerances=(*last.tolerances, aim),
        simulated=last.simulated + tried,
    )


def _propose(last: Posterior, covariance, low_p, high_p, count: int, rng) -> np.ndarray:
    """`count` values [n, p] near the particles, all within the prior."""
    found: list[np.ndarray] = []
    while len(found) < count:
        rows = rng.choice(len(last.values_np), count, p=last.weights_n)
        steps = rng.multivariate_normal(np.zeros(len(low_p)), covariance, count)
        moved = last.values_np[rows] + steps
        found += list(moved[((moved >= low_p) & (moved <= high_p)).all(1)])
    return np.array(found[:count])
