"""How good vectors are without names: naming from a few examples, and finding the same individual again.

Shape suffixes: n vectors, d dimensions, c classes, s support vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def _scale_to_unit(x_nd: np.ndarray) -> np.ndarray:
    return x_nd / np.maximum(np.linalg.norm(x_nd, axis=1, keepdims=True), 1e-12)


def simpleshot(vectors_nd: np.ndarray, labels: Sequence[str], shots: int, seed: int) -> float:
    """Share right (0..1) of naming by the nearest class mean of `shots` random examples.

    The other vectors are the test. First the mean of all examples is subtracted and vectors are scaled to length 1
    (Wang et al. 2019, arXiv 1911.04623). Raise ValueError for a class without test vectors.
    """
    names, class_n = np.unique(np.asarray(labels), return_inverse=True)
    rng = np.random.default_rng([seed, shots])
    support = []
    for number, name in enumerate(names):
        own = np.flatnonzero(class_n == number)
        if len(own) <= shots:
            raise ValueError(f"class {str(name)!r} has {len(own)} vectors; {shots} examples leave none to test")
        support.append(rng.choice(own, shots, replace=False))
    support_s = np.concatenate(support)
    test_n = np.setdiff1d(np.arange(len(class_n)), support_s)
    centred_nd = _scale_to_unit(vectors_nd - vectors_nd[support_s].mean(0))
    mean_cd = centred_nd[support_s].reshape(len(names), shots, -1).mean(1)
    distance_nc = ((centred_nd[test_n, None] - mean_cd) ** 2).sum(-1)
    return float((distance_nc.argmin(1) == class_n[test_n]).mean())


def mean_average_precision(vectors_nd: np.ndarray, groups: Sequence[str]) -> float:
    """Mean average precision (0..1) of finding each vector's group among all others by cosine.

    Vectors that are alone in their group are no queries.
    """
    _, group_n = np.unique(np.asarray(groups), return_inverse=True)
    unit_nd = _scale_to_unit(vectors_nd)
    cosine_nn = unit_nd @ unit_nd.T
    np.fill_diagonal(cosine_nn, -np.inf)
    precisions = []
    for row, cosine_n in enumerate(cosine_nn):
        order = np.argsort(-cosine_n, kind="stable")[:-1]
        same = group_n[order] == group_n[row]
        if same.any():
            places = np.flatnonzero(same) + 1
            precisions.append((np.arange(1, len(places) + 1) / places).mean())
    if not precisions:
        raise ValueError("no group has two vectors; mean average precision needs some to find")
    return float(np.mean(precisions))
