"""One vector for each class from examples, with a temperature and a least similarity.

SimpleShot (Wang et al. 2019, arXiv 1911.04623): subtract the mean of the examples, scale to unit length, take the
nearest class mean. Added here: the temperature of the softmax and the least similarity are fitted by leaving each
example out of the mean of its own class, so that a confidence means what it says and an image of no class is refused.

Shape suffixes: n examples, l labels, d vector dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.identify.naming.label_set import centre_vectors

# The share of the examples, each left out once, that the least similarity may refuse.
REFUSED = 0.02
# Vectors are kept as float16, so a copy of an example may be slightly less similar to it.
ROUNDING = 1e-3
SCALES = np.geomspace(1.0, 200.0, 120)


@dataclass(frozen=True, kw_only=True)
class CentroidFit:
    """Centroids float32 [l, d] and what leaving one out says: `accuracy` is NaN if no class has two examples."""

    centroid_ld: np.ndarray
    centre_d: np.ndarray
    logit_scale: float
    least_similarity: float
    accuracy: float


def fit_centroids(
    vectors_nd: np.ndarray, label_n: np.ndarray, n_labels: int, default_scale: float = 20.0
) -> CentroidFit:
    """Centroids of unit vectors by class, with temperature and least similarity from leaving one out.

    An example that is alone in its class has no centroid without itself; the fit uses the others. If there are none,
    the scale is `default_scale` and nothing is refused.
    """
    centre_d = vectors_nd.astype(np.float64).mean(0).astype(np.float32)
    unit_nd = centre_vectors(vectors_nd, centre_d).astype(np.float64)
    sum_ld = np.zeros((n_labels, unit_nd.shape[1]))
    np.add.at(sum_ld, label_n, unit_nd)
    centroid_ld = _scale_to_unit(sum_ld)
    has_company_n = np.bincount(label_n, minlength=n_labels)[label_n] > 1
    if not has_company_n.any():
        return CentroidFit(
            centroid_ld=centroid_ld.astype(np.float32),
            centre_d=centre_d,
            logit_scale=default_scale,
            least_similarity=-1.0,
            accuracy=float("nan"),
        )
    kept_nd, kept_label_n = unit_nd[has_company_n], label_n[has_company_n]
    rows = np.arange(len(kept_nd))
    cosine_nl = kept_nd @ centroid_ld.T
    own_n = (kept_nd * _scale_to_unit(sum_ld[kept_label_n] - kept_nd)).sum(1)
    cosine_nl[rows, kept_label_n] = own_n
    losses = [_negative_log_likelihood(scale * cosine_nl, kept_label_n) for scale in SCALES]
    return CentroidFit(
        centroid_ld=centroid_ld.astype(np.float32),
        centre_d=centre_d,
        logit_scale=float(SCALES[int(np.argmin(losses))]),
        least_similarity=float(np.quantile(cosine_nl.max(1), REFUSED, method="lower")) - ROUNDING,
        accuracy=float((cosine_nl.argmax(1) == kept_label_n).mean()),
    )


def _scale_to_unit(rows_ld: np.ndarray) -> np.ndarray:
    return rows_ld / np.maximum(np.linalg.norm(rows_ld, axis=1, keepdims=True), 1e-12)


def _negative_log_likelihood(logit_nl: np.ndarray, label_n: np.ndarray) -> float:
    largest_n = logit_nl.max(1)
    log_total_n = largest_n + np.log(np.exp(logit_nl - largest_n[:, None]).sum(1))
    return float((log_total_n - logit_nl[np.arange(len(label_n)), label_n]).mean())
