"""The definition of the scores in float64, one sum for each taxon: the oracle of the tests and benchmarks.

Shape suffixes: n leaves of the tree, m candidate leaves, k nodes of the tree, f negative prompts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linnaea.taxonomy.tree import Tree


class ReferenceScores(NamedTuple):
    """Probabilities of one image: of each node (0 without candidates), of no organism, and the entropy in nats.

    `similarity_k` is the largest cosine of a candidate below each node (-inf without candidates).
    """

    probability_k: np.ndarray
    similarity_k: np.ndarray
    no_organism: float
    entropy: float


def compute_reference(
    tree: Tree,
    cosine_n: np.ndarray,
    logit_scale: float,
    negative_cosine_f: np.ndarray | None = None,
    leaves: np.ndarray | None = None,
    log_prior_n: np.ndarray | None = None,
) -> ReferenceScores:
    """The scores of an image from its cosines with all leaves and all negative prompts.

    `leaves` are the candidates (None: all); `log_prior_n` is added to the logits of the leaves.
    """
    candidates = np.arange(tree.n_leaves) if leaves is None else leaves
    prior_n = np.zeros(tree.n_leaves) if log_prior_n is None else log_prior_n.astype(np.float64)
    negative_f = np.zeros(0) if negative_cosine_f is None else negative_cosine_f.astype(np.float64)
    logit_n = np.full(tree.n_leaves, -np.inf)
    logit_n[candidates] = logit_scale * cosine_n[candidates].astype(np.float64) + prior_n[candidates]
    logits = np.concatenate([logit_n, logit_scale * negative_f])
    p = np.exp(logits - logits.max())
    p /= p.sum()
    p_n, candidate_cosine_n = (
        p[: tree.n_leaves],
        np.where(np.isin(np.arange(tree.n_leaves), candidates), cosine_n, -np.inf),
    )
    leaves_of = [slice(int(start), int(end)) for start, end in zip(tree.start_k, tree.end_k, strict=True)]
    return ReferenceScores(
        np.array([p_n[part].sum() for part in leaves_of]),
        np.array([candidate_cosine_n[part].max(initial=-np.inf) for part in leaves_of]),
        float(p[tree.n_leaves :].sum()),
        float(-(p[p > 0] * np.log(p[p > 0])).sum()),
    )
