"""From softmax masses to the probability that a name is right.

A softmax over a million names takes no account of species that were not in training, or of photographs unlike those of
training. At each rank, a logistic regression on a few traits of the softmax predicts how often the best taxon is right,
fitted to held-out photographs (Platt 1999, with more than one trait). Masses of a rank without a fit stay unchanged.
Few photographs must have little influence: the variance of each trait is shrunk towards 1, and a rank with very few
right or wrong names gets one probability for all images.

Shape suffixes: b images, r ranks, f traits.
"""

from __future__ import annotations

import numpy as np

from linnaea.records import RANKS
from linnaea.search.scorer import Scores
from linnaea.taxonomy.tree import Tree

TRAITS = ("mass", "lead", "organism", "similarity", "clarity")
N_STEPS = 60
# Least number of photographs of known truth for a rank, and least number of each kind, right and wrong, for a
# regression.
LEAST_KNOWN = 20
LEAST_OF_A_KIND = 10
# The variance of a trait is computed as if this many more photographs had variance 1: if all photographs are alike, a
# tiny difference means nothing.
SPREAD_N = 10


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def compute_traits(scores: Scores) -> np.ndarray:
    """The inputs of the regression, float64 [b, r, f].

    They are the log odds of the best taxon, its lead over the second in nats, the log odds that there is an organism,
    ten times the cosine of the best leaf, and minus the entropy of the softmax in nats.
    """
    b, r = scores.probability_br.shape
    lead = np.log(np.clip(scores.probability_br, 1e-6, 1)) - np.log(np.clip(scores.second_br, 1e-6, 1))
    per_image = (_logit(1 - scores.no_organism_b), 10 * scores.leaf_similarity_b.astype(np.float64), -scores.entropy_b)
    columns = [_logit(scores.probability_br), np.minimum(lead, 10)]
    columns += [np.broadcast_to(column[:, None], (b, r)) for column in per_image]
    return np.stack(columns, axis=2)


def calibrate(parameters: dict, scores: Scores, tree: Tree) -> np.ndarray:
    """Probabilities float64 [b, r] that the best taxon of each rank is right; the masses for empty `parameters`.

    A taxon is right whenever a taxon below it is. Its probability is therefore at least that of the best taxon of each
    deeper rank that lies within it (the likeliest species need not be of the likeliest family).
    """
    fitted = parameters.get("ranks", {})
    chance_br = scores.probability_br.astype(np.float64).copy()
    if not fitted:
        return chance_br
    if tuple(parameters["traits"]) != TRAITS:
        raise ValueError(
            f"calibration with traits {parameters['traits']} does not fit this version; calibrate the model again"
        )
    x_brf = compute_traits(scores)
    for r, rank in enumerate(RANKS):
        if rank in fitted:
            chance_br[:, r] = _sigmoid(x_brf[:, r] @ np.array(fitted[rank]["weights"]) + fitted[rank]["bias"])
    chance_br[scores.node_br < 0] = 0.0
    for r in range(len(RANKS) - 2, -1, -1):
        for deeper in range(r + 1, len(RANKS)):
            inside_b = _lies_within(tree, scores.node_br[:, deeper], scores.node_br[:, r])
            chance_br[inside_b, r] = np.maximum(chance_br[inside_b, r], chance_br[inside_b, deeper])
    return chance_br


def _lies_within(tree: Tree, node_b: np.ndarray, above_b: np.ndarray) -> np.ndarray:
    """Whether each node is the other one or lies below it, bool [b]; False for a node of -1."""
    starts_inside_b = tree.start_k[above_b] <= tree.start_k[node_b]
    return (node_b >= 0) & (above_b >= 0) & starts_inside_b & (tree.end_k[node_b] <= tree.end_k[above_b])


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(z, -40, 40)))


def fit_calibration(
    scores: Scores,
    right_br: np.ndarray,
    known_br: np.ndarray,
    weight_b: np.ndarray | None = None,
    *,
    ridge: float = 1.0,
) -> dict:
    """Parameters for `calibrate` from images whose truth is known.

    `right_br` says whether the best taxon of a rank is right, `known_br` whether that is known. An image counts
    `weight_b` times. `ridge` is the strength of the prior that pulls standardized weights to zero, in images. A rank
    with fewer than `LEAST_OF_A_KIND` right or wrong names has the same probability for all images, the share right by
    Laplace's rule; a rank with fewer than `LEAST_KNOWN` names of known truth is left out.
    """
    x_brf = compute_traits(scores)
    weight_b = np.ones(len(scores)) if weight_b is None else weight_b
    fitted = {}
    for r, rank in enumerate(RANKS):
        rows = known_br[:, r]
        right_b = right_br[rows, r].astype(np.float64)
        if rows.sum() >= LEAST_KNOWN:
            if has_both_kinds(right_b):
                weights, bias = _fit_logistic(x_brf[rows, r], right_b, weight_b[rows], ridge)
            else:
                weights = np.zeros(len(TRAITS))
                bias = _logit((weight_b[rows] @ right_b + 1) / (weight_b[rows].sum() + 2))
            fitted[rank] = {"weights": [round(float(w), 6) for w in weights], "bias": round(float(bias), 6)}
    return {"traits": list(TRAITS), "ranks": fitted}


def has_both_kinds(right_b: np.ndarray) -> bool:
    """Whether there are enough right and enough wrong names for a regression."""
    return min(right_b.sum(), len(right_b) - right_b.sum()) >= LEAST_OF_A_KIND


def _fit_logistic(x_bf: np.ndarray, y_b: np.ndarray, weight_b: np.ndarray, ridge: float) -> tuple[np.ndarray, float]:
    """Weights [f] and bias of a ridge-penalised logistic regression, by Newton's method."""
    mean = x_bf.mean(0)
    std = np.sqrt((len(x_bf) * x_bf.var(0) + SPREAD_N) / (len(x_bf) + SPREAD_N))
    z = np.column_stack([(x_bf - mean) / std, np.ones(len(x_bf))])
    penalty = np.diag([ridge] * x_bf.shape[1] + [1e-3])
    w = np.zeros(z.shape[1])
    for _ in range(N_STEPS):
        p = _sigmoid(z @ w)
        hessian = (z * (weight_b * p * (1 - p))[:, None]).T @ z + penalty
        step = np.linalg.solve(hessian, z.T @ (weight_b * (y_b - p)) - penalty @ w)
        # Damped: far from the optimum a full step may overshoot.
        w += step * min(1.0, 3.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    weights = w[:-1] / std
    return weights, float(w[-1] - weights @ mean)
