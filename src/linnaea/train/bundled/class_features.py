"""Features of classes without photographs, drawn from the class rows of a classifier.

Under linear discriminant analysis with a shared covariance, the rows of a softmax classifier point from the mean of all
classes to the mean of each class. The features of a class without photographs can therefore be drawn: the common mean,
plus its row at the length that gives a typical margin, plus the scatter of real features around their class means.

Shape suffixes: c classes, n real features, d feature dimensions, b drawn features.
"""

from __future__ import annotations

import numpy as np


class ClassRows:
    """Draws features of classes with known means: a mean plus the scatter of a photograph, clipped to 0..6 (ReLU6)."""

    def __init__(self, class_mean_cd: np.ndarray, scatter_nd: np.ndarray):
        self._class_mean_cd, self._scatter_nd = class_mean_cd.astype(np.float32), scatter_nd

    def draw(self, classes_b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw features float32 [b, d] of the given classes."""
        scatter_bd = self._scatter_nd[rng.integers(len(self._scatter_nd), size=len(classes_b))]
        return np.clip(self._class_mean_cd[classes_b] + scatter_bd, 0, 6)


def estimate_class_means(weight_cd: np.ndarray, mean_d: np.ndarray, margin: float) -> np.ndarray:
    """Return the means float32 [c, d] of the classes, `margin` logits above the mean of all classes."""
    direction_cd = weight_cd - weight_cd.mean(0)
    return (mean_d + margin * direction_cd / (direction_cd**2).sum(1, keepdims=True)).astype(np.float32)


def measure_margin(weight_cd: np.ndarray, features_nd: np.ndarray) -> float:
    """Return the mean margin of real photographs: the logit of the best class minus the mean of all classes."""
    logits_nc = (features_nd - features_nd.mean(0)) @ (weight_cd - weight_cd.mean(0)).T
    return float(logits_nc.max(1).mean())


def measure_scatter(features_nd: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """Return real features [n, d] minus the mean of their class, without classes of a single photograph."""
    _, inverse, counts = np.unique(labels_n, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features_nd.shape[1]), np.float32)
    np.add.at(sums, inverse, features_nd)
    keep = counts[inverse] > 1
    return (features_nd - (sums / counts[:, None])[inverse])[keep].astype(np.float16)
