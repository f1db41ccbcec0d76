"""Is there an organism, and is it one of those asked for? Asked before a list of candidates may give it a name.

A softmax over the candidates alone compares a monkey under `--within Felidae` with cats and with things that are not
organisms, and one of these wins. A contrast (`linnaea.embed.names.contrast_table`) stands for all other organisms:

1. *organism*: the log odds of the contrast against the model's texts of things that are not organisms. They do not
   depend on the candidates.
2. *inside*: the log odds of the candidates against the part of the contrast that lies outside them, the lead of the
   best candidate over the best of that part in nats, and the logarithm of the number of candidates.

Logistic regressions turn these into probabilities (`restriction` in the model's calibration; benchmarks/restriction.py
fits and measures them with photographs from inside and outside). For a model without them, the log odds themselves are
used. An organism is probably outside the candidates if `inside` is below 0.5.

Shape suffixes: b images, c taxa of the contrast, f negative prompts, r ranks, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from linnaea.embed.names.contrast_table import ContrastTable
from linnaea.records import RANKS, RankedName
from linnaea.search.cosine_blocks import one_blas_thread
from linnaea.search.rank_intervals import largest_first
from linnaea.taxonomy.tree import Tree

INSIDE_TRAITS = ("odds", "lead", "size")
# Log odds and leads beyond this many nats mean no more.
LARGEST_TRAIT = 30.0
# Without an organism there is nothing to name: fewer than 5 % of organisms have a lower probability to be one.
LEAST_ORGANISM = 0.5
LEAST_INSIDE = 0.5
# The ranks at which the contrast says what an organism outside the candidates is.
CONTRAST_RANKS = RANKS[: RANKS.index("order") + 1]


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What is known of b images before the candidates are consulted.

    `organism_b` is the probability that there is an organism, `inside_b` that an organism is one of the candidates.
    `contrast_bc` holds the probability of each general taxon of the contrast if there is an organism.
    """

    organism_b: np.ndarray
    inside_b: np.ndarray
    contrast_bc: np.ndarray

    def find_outcome(self, i: int) -> str:
        """`no_organism`, `outside_list`, or "" if image i may be named."""
        if self.organism_b[i] < LEAST_ORGANISM:
            return "no_organism"
        return "outside_list" if self.inside_b[i] < LEAST_INSIDE else ""


class RestrictionGate:
    """Judges images against a contrast. `parameters` is the part `restriction` of a model's calibration, or empty.

    Without `negative_vectors_fd` every image counts as one of an organism, and without a taxon outside the candidates
    every organism counts as one of them.
    """

    def __init__(
        self,
        tree: Tree,
        contrast: ContrastTable,
        logit_scale: float,
        n_candidates: int,
        negative_vectors_fd: np.ndarray | None = None,
        parameters: Mapping | None = None,
    ):
        self.tree, self.contrast, self.logit_scale = tree, contrast, float(logit_scale)
        self.n_candidates = n_candidates
        self._negative_fd = negative_vectors_fd
        self._parameters = parameters or {}
        self._general_c = contrast.node_c[contrast.is_general_c]
        # The position in `_taxa[r]` of the ancestor of each general taxon at a rank.
        self._taxa = [
            np.unique(_find_ancestors(tree, self._general_c, r), return_inverse=True)
            for r in range(len(CONTRAST_RANKS))
        ]

    def judge(self, image_vectors_bd: np.ndarray, log_mass_b: np.ndarray, best_cosine_b: np.ndarray) -> Verdicts:
        """The verdicts on unit vectors.

        `log_mass_b` is the logarithm of the candidates' summed exp(logit), `best_cosine_b` the best cosine of one.
        """
        logit_bc = self._compute_logits(image_vectors_bd)
        general_bc, outside_bc = logit_bc[:, self.contrast.is_general_c], logit_bc[:, self.contrast.is_outside_c]
        log_general_b = _log_sum_exp(general_bc)
        inside_b = np.ones(len(log_mass_b))
        if outside_bc.shape[1]:
            lead_b = self.logit_scale * best_cosine_b - outside_bc.max(1)
            traits_bt = compute_inside_traits(log_mass_b - _log_sum_exp(outside_bc), lead_b, self.n_candidates)
            inside_b = estimate_inside(self._parameters.get("inside"), traits_bt)
        log_organism_b = log_general_b if general_bc.shape[1] else log_mass_b
        odds_b = self._compare_with_negatives(image_vectors_bd, log_organism_b)
        return Verdicts(
            organism_b=_apply(self._parameters.get("organism"), odds_b[:, None], odds_b),
            inside_b=inside_b,
            contrast_bc=np.exp(general_bc - log_general_b.astype(np.float32)[:, None]),
        )

    def compute_organism_odds(self, image_vectors_bd: np.ndarray) -> np.ndarray:
        """The log odds float64 [b] that there is an organism."""
        general_bc = self._compute_logits(image_vectors_bd)[:, self.contrast.is_general_c]
        return self._compare_with_negatives(image_vectors_bd, _log_sum_exp(general_bc))

    def _compute_logits(self, image_vectors_bd: np.ndarray) -> np.ndarray:
        with one_blas_thread():
            cosine_bc = image_vectors_bd.astype(np.float32, copy=False) @ self.contrast.vectors_cd.T
        return np.float32(self.logit_scale) * cosine_bc

    def _compare_with_negatives(self, image_vectors_bd: np.ndarray, log_organism_b: np.ndarray) -> np.ndarray:
        """Log odds float64 [b] of organisms against negative prompts; LARGEST_TRAIT without any."""
        if self._negative_fd is None or not len(self._negative_fd):
            return np.full(len(log_organism_b), LARGEST_TRAIT)
        with one_blas_thread():
            negative_bf = np.float32(self.logit_scale) * (image_vectors_bd @ self._negative_fd.T)
        return np.clip(log_organism_b - _log_sum_exp(negative_bf), -LARGEST_TRAIT, LARGEST_TRAIT)

    def sum_masses(self, verdicts: Verdicts, i: int, r: int) -> np.ndarray:
        """The probability float64 [k] of each taxon of rank r of the contrast if image i shows an organism."""
        node_k, position_c = self._taxa[r]
        mass_k = np.bincount(position_c, verdicts.contrast_bc[i], minlength=len(node_k))
        mass_k[node_k < 0] = 0.0
        return mass_k

    def list_guesses(self, verdicts: Verdicts, i: int, top: int) -> list[list[RankedName]]:
        """The `top` best taxa of each rank from kingdom to order for image i, whatever the candidates are."""
        fitted, guesses = self._parameters.get("ranks", {}), []
        for r, rank in enumerate(CONTRAST_RANKS):
            node_k, mass_k = self._taxa[r][0], self.sum_masses(verdicts, i, r)
            best = [k for k in largest_first(mass_k, top).tolist() if node_k[k] >= 0]
            odds_k = compute_log_odds(mass_k[best])
            chance_k = _apply(fitted.get(rank), odds_k[:, None], odds_k) * verdicts.organism_b[i]
            guesses.append(
                [self._make_guess(rank, int(node_k[k]), float(p)) for k, p in zip(best, chance_k, strict=True)]
            )
        return guesses

    def _make_guess(self, rank: str, node: int, confidence: float) -> RankedName:
        return RankedName(rank=rank, name=self.tree.name(node), confidence=confidence, node=node)


def compute_inside_traits(odds_b: np.ndarray, lead_b: np.ndarray, n_candidates: int) -> np.ndarray:
    """The inputs of the regression for `inside`, float64 [b, 3], in the order of INSIDE_TRAITS."""
    size_b = np.full(len(odds_b), np.log(max(n_candidates, 1)))
    limit = LARGEST_TRAIT
    return np.stack([np.clip(odds_b, -limit, limit), np.clip(lead_b, -limit, limit), size_b], axis=1)


def estimate_inside(fitted: Mapping | None, traits_bt: np.ndarray) -> np.ndarray:
    """The probability float64 [b] that an organism is one of the candidates; without a fit, from the log odds alone."""
    return _apply(fitted, traits_bt, traits_bt[:, 0])


def _apply(fitted: Mapping | None, traits_bt: np.ndarray, odds_b: np.ndarray) -> np.ndarray:
    """Probabilities of a fitted regression, or of the log odds if there is none."""
    z_b = odds_b if fitted is None else traits_bt @ np.array(fitted["weights"]) + fitted["bias"]
    return 1 / (1 + np.exp(-np.clip(z_b, -40, 40)))


def _log_sum_exp(logit_bk: np.ndarray) -> np.ndarray:
    """float64 [b]; very low without columns."""
    largest_b = logit_bk.max(1, initial=-1e3)
    total_b = np.exp(logit_bk - largest_b[:, None]).sum(1, dtype=np.float64)
    return largest_b + np.log(np.maximum(total_b, 1e-300))


def compute_log_odds(p: np.ndarray) -> np.ndarray:
    """The log odds of probabilities, at most 21 nats."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def _find_ancestors(tree: Tree, node_c: np.ndarray, r: int) -> np.ndarray:
    """The node of rank r at or above each node, -1 if there is none, int64 [c]."""
    nodes = tree.nodes_at(RANKS[r])
    if not len(nodes):
        return np.full(len(node_c), -1, np.int64)
    at = np.searchsorted(tree.start_k[nodes], tree.start_k[node_c], side="right") - 1
    found = nodes[np.maximum(at, 0)]
    is_above = (at >= 0) & (tree.end_k[node_c] <= tree.end_k[found]) & (tree.rank_k[node_c] >= r)
    return np.where(is_above, found, -1).astype(np.int64)
