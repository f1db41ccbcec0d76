"""Photographs of an organism that was not recorded near a place: they are named as if no place were given.

A prior from occurrences makes the species recorded there likelier, by a factor of thousands where few were. A
photograph from elsewhere would get the name of the local species that is least unlike. It is asked first, therefore,
whether an organism is one of the local species (`linnaea.identify.naming.restriction`); if it is not, its scores are
those without the prior.

Shape suffixes: b images, n leaves.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from linnaea.identify.naming.restriction import LEAST_INSIDE, RestrictionGate
from linnaea.search.scorer import Scorer, Scores


def find_local_leaves(prior_n: np.ndarray) -> np.ndarray:
    """Sorted int32 leaves that are likelier than an average candidate by the log prior float32 [n]."""
    return np.flatnonzero(prior_n > 0).astype(np.int32)


class LocalSpecies:
    """Tells photographs of the local species from others.

    `local_scorer` scores the local species alone, without the prior; `scorer` scores all candidates without the prior.
    """

    def __init__(self, gate: RestrictionGate, local_scorer: Scorer, scorer: Scorer):
        self.gate, self.local_scorer, self.scorer = gate, local_scorer, scorer

    def correct(self, scores: Scores, image_vectors_bd: np.ndarray, top: int) -> Scores:
        """The `scores`, in which images of other organisms have the scores without the prior."""
        local = self.local_scorer.score(image_vectors_bd, ranks=(), details=False)
        verdicts = self.gate.judge(image_vectors_bd, local.log_leaf_mass_b, local.leaf_similarity_b)
        rows = np.flatnonzero(verdicts.inside_b < LEAST_INSIDE)
        if len(rows):
            plain = self.scorer.score(image_vectors_bd[rows], top=top)
            for field in fields(Scores):
                getattr(scores, field.name)[rows] = getattr(plain, field.name)
        return scores
