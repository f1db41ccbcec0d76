"""Scores with given masses, for tests of what is built on them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from linnaea.search.scorer import Scores

# Of one taxon at every rank, as in the scores below.
ONE_TAXON = SimpleNamespace(start_k=np.array([0]), end_k=np.array([1]))


def make_scores(mass_br, rng=None):
    """Scores with the given masses of the best taxa and arbitrary other traits."""
    rng = rng or np.random.default_rng(0)
    b, r = mass_br.shape
    no_organism_b = rng.uniform(0, 0.3, b)
    second_br = np.minimum(mass_br, 1 - mass_br) * rng.uniform(0.1, 1, (b, r))
    return Scores(
        node_br=np.zeros((b, r), np.int32),
        probability_br=mass_br,
        second_br=second_br,
        similarity_br=np.zeros((b, r), np.float32),
        no_organism_b=no_organism_b,
        no_organism_similarity_b=np.zeros(b, np.float32),
        leaf_similarity_b=rng.uniform(0.2, 0.9, b).astype(np.float32),
        leaf_margin_b=np.ones(b),
        log_leaf_mass_b=np.zeros(b),
        entropy_b=rng.uniform(0, 5, b),
        top_node_brk=np.zeros((b, r, 1), np.int32),
        top_probability_brk=mass_br[:, :, None],
        top_similarity_brk=np.zeros((b, r, 1), np.float32),
    )
