"""From softmax masses to the chance that a name is right.

A softmax over a million names knows nothing of species that training never met, or of photographs unlike its own. At each rank a
logistic regression on a few traits of the softmax says how often the best taxon was right on photographs kept aside (Platt 1999,
with more than one trait). Masses of a rank that was never fitted stand as they are. A few photographs must not say much: traits
are scaled by a spread that they have to prove, and a rank with hardly a right or a wrong name gets one chance for all.

Shape suffixes: b images, r ranks, f traits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from linnaea.records import RANKS

if TYPE_CHECKING:
    from linnaea.search.scorer import Scores
    from linnaea.taxonomy.tree import Tree

TRAITS = ("mass", "lead", "organism", "similarity", "clarity")
N_STEPS = 60
# Photographs of known truth without which nothing is said of a rank, and of each kind, right and wrong, for a regression.
LEAST_KNOWN = 20
LEAST_OF_A_KIND = 10
# A trait's variance counts as if so many more photographs had one of 1: where all are alike, a hair's difference means nothing.
SPREAD_N = 10


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def traits(scores: Scores) -> np.ndarray:
    """What calibration looks at, float64 [b, r, f]: the best taxon's log odds, its lead over the second in nats, the log odds of
    there being an organism, the cosine of the best leaf, and minus the entropy of the softmax in nats."""
    b, r = scores.probability_br.shape
    lead = np.log(np.clip(scores.probability_br, 1e-6, 1)) - np.log(np.clip(scores.second_br, 1e-6, 1))
    per_image = (_logit(1 - scores.no_organism_b), 10 * scores.leaf_similarity_b.astype(np.float64), -scores.entropy_b)
    columns = [_logit(scores.probability_br), np.minimum(lead, 10)]
    columns += [np.broadcast_to(column[:, None], (b, r)) for column in per_image]
    return np.stack(columns, axis=2)


def calibrate(parameters: dict, scores: Scores, tree: Tree) -> np.ndarray:
    """Chances float64 [b, r] that the best taxon of each rank is right; the masses themselves for empty `parameters`.

    A taxon is right whenever one below it is, so its chance is never below that of the best taxon of a deeper rank, if that one
    lies within it: the likeliest species need not be of the likeliest family.
    """
    fitted = parameters.get("ranks", {})
    chance_br = scores.probability_br.astype(np.float64).copy()
    if not fitted:
        return chance_br
    if tuple(parameters["traits"]) != TRAITS:
        raise ValueError(
            f"calibration with traits {parameters['traits']} does not fit this version; calibrate the model again"
        )
    x_brf = traits(scores)
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
    """Whether each node lies at or below the other one, bool [b]; -1 lies nowhere."""
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
    """Parameters for `calibrate` from images of which the truth is known.

    `right_br` says whether the best taxon of a rank is right, `known_br` whether that can be said at all. An image counts
    `weight_b` times. `ridge` is the strength of the prior that pulls standardised weights to zero, in images. A rank with fewer
    than `LEAST_OF_A_KIND` right or wrong names has the same chance for all images, the share right by Laplace's rule; one with
    fewer than `LEAST_KNOWN` names of known truth is left out.
    """
    x_brf = traits(scores)
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
    """Whether right and wrong names are enough for a regression."""
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
        # damped: far from the optimum a full step may overshoot
        w += step * min(1.0, 3.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    weights = w[:-1] / std
    return weights, float(w[-1] - weights @ mean)
