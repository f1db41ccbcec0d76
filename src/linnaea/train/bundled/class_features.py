"""A classifier's class rows as photographs: features that the class would have, drawn from its weights.

Under linear discriminant analysis with a shared covariance, the rows of a softmax classifier point from the mean of all
classes to each class's own mean. A class whose photographs are not at hand can therefore still be drawn: the common mean, plus
its row at the length that gives a typical margin, plus the scatter of real features around their own class means.

Shape suffixes: c classes, n real features, d feature dimensions, b drawn features.
"""

from __future__ import annotations

import numpy as np


class ClassRows:
    """Draws features for classes with known means: a mean plus the scatter of a real photograph, within ReLU6's 0 to 6."""

    def __init__(self, class_mean_cd: np.ndarray, scatter_nd: np.ndarray):
        self._class_mean_cd, self._scatter_nd = class_mean_cd.astype(np.float32), scatter_nd

    def draw(self, classes_b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Features float32 [b, d] of the given classes."""
        scatter_bd = self._scatter_nd[rng.integers(len(self._scatter_nd), size=len(classes_b))]
        return np.clip(self._class_mean_cd[classes_b] + scatter_bd, 0, 6)


def class_means(weight_cd: np.ndarray, mean_d: np.ndarray, margin: float) -> np.ndarray:
    """Means float32 [c, d] of a classifier's classes, `margin` logits above the mean of all classes."""
    direction_cd = weight_cd - weight_cd.mean(0)
    return (mean_d + margin * direction_cd / (direction_cd**2).sum(1, keepdims=True)).astype(np.float32)


def typical_margin(weight_cd: np.ndarray, features_nd: np.ndarray) -> float:
    """The mean over real photographs of the logit of their best class above the mean of all classes."""
    logits_nc = (features_nd - features_nd.mean(0)) @ (weight_cd - weight_cd.mean(0)).T
    return float(logits_nc.max(1).mean())


def scatter_within(features_nd: np.ndarray, labels_n: np.ndarray) -> np.ndarray:
    """Real features [n, d] minus the mean of their own class; classes with a single photograph are left out."""
    _, inverse, counts = np.unique(labels_n, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features_nd.shape[1]), np.float32)
    np.add.at(sums, inverse, features_nd)
    keep = counts[inverse] > 1
    return (features_nd - (sums / counts[:, None])[inverse])[keep].astype(np.float16)
