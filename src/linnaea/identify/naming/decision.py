"""From scores to the rows of a table: which rank, which name, or why none.

Shape suffixes: b images, r ranks, l labels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linnaea.identify.naming.label_set import LabelSet
from linnaea.records import RANK_INDEX, RANKS, Prediction, RankedName
from linnaea.search.rank_intervals import largest_first
from linnaea.search.scorer import Scorer, Scores
from linnaea.store import hash_bytes
from linnaea.taxonomy.vocabulary import Vocabulary

DEFAULT_FLOOR = 0.5
# Decimals of confidences and similarities in every table: more would be noise, and differ between machines.
DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class DecisionRules:
    """The rules of the answer: `rank` is `auto` or one of `RANKS`; `floor` None gives an answer whatever its chance.

    With `above_share` the floor of a taxon is raised by its share of the candidates; see `raise_floor`.
    """

    rank: str = "auto"
    floor: float | None = DEFAULT_FLOOR
    top: int = 1
    above_share: bool = False


class TaxonNamer:
    """Names images by the taxa of a vocabulary. `calibrate` turns scores into probabilities float64 [b, r].

    `calibrated` says whether they are more than the softmax's own masses.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        scorer: Scorer,
        calibrate: Callable[[Scores], np.ndarray],
        decision: DecisionRules,
        *,
        calibrated: bool = True,
    ):
        self.calibrated = calibrated
        self.vocabulary, self.scorer, self.calibrate, self.decision = vocabulary, scorer, calibrate, decision
        self.hash = hash_bytes(vocabulary.hash, vocabulary.common_names_hash)
        self.kind = getattr(scorer.table, "kind", "full")

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one."""
        scores = self.scorer.score(image_vectors_bd, top=self.decision.top)
        probability_br = self.calibrate(scores)
        floor_br = np.full(probability_br.shape, self.decision.floor or 0.0)
        if self.decision.above_share:
            floor_br = raise_floor(self.decision.floor or 0.0, self.scorer.uniform_mass(scores.node_br))
        return [self._rows(scores, probability_br[i], floor_br[i], i, file) for i, file in enumerate(files)]

    def _rows(
        self, scores: Scores, probability_r: np.ndarray, floor_r: np.ndarray, i: int, file: str
    ) -> list[Prediction]:
        tree, decision = self.scorer.tree, self.decision
        path = tuple(
            RankedName(rank=rank, name=tree.name(int(node)), confidence=_round(probability_r[r]), node=int(node))
            for r, (rank, node) in enumerate(zip(RANKS, scores.node_br[i], strict=True))
            if node >= 0
        )
        if decision.rank == "auto":
            r = find_deepest_rank(tree, scores.node_br[i], probability_r, floor_r)
        else:
            r = RANK_INDEX[decision.rank]
        if r < 0 or scores.node_br[i, r] < 0 or (decision.floor is not None and probability_r[r] < floor_r[r]):
            reason = self._reason(scores.node_br[i], probability_r, floor_r, float(scores.no_organism_b[i]), r)
            return [Prediction(file=file, status="unidentified", reason=reason, path_confidence=path)]
        rows = []
        rest = _share_of_rest(float(probability_r[r]), float(scores.probability_br[i, r]))
        for k in range(min(decision.top, scores.top_node_brk.shape[2])):
            node = int(scores.top_node_brk[i, r, k])
            if node < 0:
                break
            raw = float(scores.top_probability_brk[i, r, k])
            confidence = float(probability_r[r]) if k == 0 else min(raw * rest, float(probability_r[r]))
            rows.append(
                Prediction(
                    file=file,
                    status="identified",
                    position=k + 1,
                    rank=RANKS[r],
                    name=tree.name(node),
                    common_name=self.vocabulary.common_name(node),
                    confidence=_round(confidence),
                    similarity=_round(scores.top_similarity_brk[i, r, k]),
                    lineage=tree.lineage(node),
                    path_confidence=path if k == 0 else (),
                )
            )
        return rows

    def _reason(self, node_r: np.ndarray, probability_r: np.ndarray, floor_r: np.ndarray, none: float, r: int) -> str:
        asked = self.decision.rank
        if asked != "auto" and node_r[r] < 0:
            return f"no candidate has the rank {asked}"
        if asked == "auto":
            r = int(np.argmax(node_r >= 0))
        probability = float(probability_r[r])
        if none > probability:
            return f"no organism likely (p={none:.2f})"
        name = self.scorer.tree.name(int(node_r[r]))
        return f"below the floor of {floor_r[r]:.2f}: best guess {RANKS[r]} {name} (p={probability:.2f})"


def raise_floor(floor: float, share_br: np.ndarray) -> np.ndarray:
    """Floors float64 [b, r] for the bare masses of a softmax: `floor` of the way from a taxon's share of the candidates to 1.

    A model that sees nothing spreads its mass evenly, and three fifths of it lie on whatever holds three fifths of the names: only
    what is above the share is evidence (as in Cohen's kappa). A taxon that holds all candidates was chosen by whoever chose them;
    its floor stays.
    """
    return np.where(share_br < 1, floor + (1 - floor) * share_br, floor)


def find_deepest_rank(tree, node_r: np.ndarray, probability_r: np.ndarray, floor: float | np.ndarray) -> int:
    """The index of the deepest rank whose best taxon has `floor` or more and lies below the best of every rank above.

    `floor` is one for all ranks or one for each. -1 where there is none.
    """
    floor_r = np.broadcast_to(floor, probability_r.shape)
    for r in range(len(RANKS) - 1, -1, -1):
        node = int(node_r[r])
        if node < 0 or probability_r[r] < floor_r[r]:
            continue
        above = [tree.ancestor_at(node, rank) for rank in RANKS[:r]]
        if all(ancestor < 0 or ancestor == best for ancestor, best in zip(above, node_r[:r].tolist(), strict=True)):
            return r
    return -1


def _share_of_rest(calibrated: float, raw: float) -> float:
    """By what the raw mass of an alternative is multiplied: what calibration takes from the best goes to the others."""
    return (1 - calibrated) / (1 - raw) if raw < 1 else 1.0


def _round(value: float) -> float:
    return round(float(value), DECIMALS)


class LabelNamer:
    """Names images by labels: a softmax over them alone, so that something must be the best unless a floor is set."""

    def __init__(self, labels: LabelSet, decision: DecisionRules):
        self.labels, self.decision = labels, decision
        self.hash = hash_bytes(*(label.name for label in labels.labels), labels.vectors_ld.tobytes())
        self.kind = "labels"
        self.learnt_with = labels.learnt_with

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one."""
        cosine_bl = self.labels.similarities(image_vectors_bd)
        logit_bl = cosine_bl.astype(np.float64) * self.labels.logit_scale
        mass_bl = np.exp(logit_bl - logit_bl.max(1, keepdims=True, initial=-np.inf))
        probability_bl = mass_bl / mass_bl.sum(1, keepdims=True)
        return [self._rows(probability_bl[i], cosine_bl[i], file) for i, file in enumerate(files)]

    def _rows(self, probability_l: np.ndarray, cosine_l: np.ndarray, file: str) -> list[Prediction]:
        floor = self.decision.floor
        order = largest_first(probability_l, self.decision.top)
        best, nearest = int(order[0]), int(cosine_l.argmax())
        if cosine_l[nearest] < self.labels.least_similarity:
            reason = (
                f"unlike every label: nearest {self.labels.labels[nearest].name} (similarity {cosine_l[nearest]:.2f}, "
                f"least {self.labels.least_similarity:.2f})"
            )
            return [Prediction(file=file, status="unidentified", reason=reason)]
        if floor is not None and probability_l[best] < floor:
            name = self.labels.labels[best].name
            reason = f"below the floor of {floor:.2f}: best guess {name} (p={probability_l[best]:.2f})"
            return [Prediction(file=file, status="unidentified", reason=reason)]
        rows = []
        for k, index in enumerate(order.tolist()):
            label = self.labels.labels[index]
            rows.append(
                Prediction(
                    file=file,
                    status="identified",
                    position=k + 1,
                    rank=label.rank,
                    name=label.name,
                    common_name=label.common_name,
                    confidence=_round(probability_l[index]),
                    similarity=_round(cosine_l[index]),
                    lineage=label.lineage,
                )
            )
        return rows
