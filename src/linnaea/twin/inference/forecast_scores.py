"""Scores of forecasts by an ensemble: continuous ranked probability score and coverage.

Shape suffixes: m members, t times.
"""

from __future__ import annotations

import numpy as np


def crps(members_mt: np.ndarray, truth_t: np.ndarray) -> np.ndarray:
    """Return the continuous ranked probability score [t] of an ensemble [m, t], in the unit of the truth; 0 is perfect.

    It is E|X − y| − E|X − X'| / 2 over the members (Gneiting and Raftery 2007); of one member it is the absolute error.
    """
    ordered = np.sort(np.asarray(members_mt, float), axis=0)
    n = len(ordered)
    weight = (2 * np.arange(1, n + 1) - n - 1)[:, None]
    spread_t = (weight * ordered).sum(0) / n**2
    return np.abs(ordered - np.asarray(truth_t, float)).mean(0) - spread_t


def coverage(members_mt: np.ndarray, truth_t: np.ndarray, level: float = 0.9) -> float:
    """Return the share 0..1 of times at which the central interval of the ensemble, ends included, holds the truth."""
    low, high = np.quantile(members_mt, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(((low <= truth_t) & (truth_t <= high)).mean())
