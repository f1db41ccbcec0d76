"""How good a forecast by an ensemble is."""

from __future__ import annotations

import numpy as np


def crps(members_mt: np.ndarray, truth_t: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score [t] of an ensemble [m, t], in the unit of the truth; 0 is perfect.

    E|X − y| − E|X − X'| / 2 over the members as they are; of one member it is the absolute error.
    """
    ordered = np.sort(np.asarray(members_mt, float), axis=0)
    n = len(ordered)
    weight = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    spread_t = (weight * ordered).sum(0) / n**2
    return np.abs(ordered - np.asarray(truth_t, float)).mean(0) - spread_t


def coverage(members_mt: np.ndarray, truth_t: np.ndarray, level: float = 0.9) -> float:
    """Share 0..1 of times at which the central interval of the ensemble holds the truth, its ends included."""
    low, high = np.quantile(members_mt, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(((low <= truth_t) & (truth_t <= high)).mean())
