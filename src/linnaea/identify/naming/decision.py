"""From scores to the rows of a table: which rank, which name, or the reason for none.

Shape suffixes: b images, r ranks, l labels, k the best taxa of a rank, d vector dimensions.
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
from linnaea.taxonomy.tree import Tree
from linnaea.taxonomy.vocabulary import Vocabulary

DEFAULT_FLOOR = 0.5
# Decimals of confidences and similarities in every table: more would be noise, and differ between machines.
DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class DecisionRules:
    """The rules of the answer: `rank` is `auto` or one of `RANKS`; with `floor` None every answer is given.

    With `above_share` the floor of a taxon is raised by its share of the candidates; see `raise_floor`.
    """

    rank: str = "auto"
    floor: float | None = DEFAULT_FLOOR
    top: int = 1
    above_share: bool = False


class TaxonNamer:
    """Names images by the taxa of a vocabulary.

    `calibrate` turns scores into probabilities float64 [b, r]; `calibrated` says whether these differ from the masses
    of the softmax.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        scorer: Scorer,
        calibrate: Callable[[Scores], np.ndarray],
        rules: DecisionRules,
        *,
        calibrated: bool = True,
    ):
        self.calibrated = calibrated
        self.vocabulary, self.scorer, self.calibrate, self.rules = vocabulary, scorer, calibrate, rules
        self.hash = hash_bytes(vocabulary.hash, vocabulary.common_names_hash)
        self.kind = getattr(scorer.table, "kind", "full")

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one row."""
        scores = self.scorer.score(image_vectors_bd, top=self.rules.top)
        probability_br = self.calibrate(scores)
        floor_br = np.full(probability_br.shape, self.rules.floor or 0.0)
        if self.rules.above_share:
            floor_br = raise_floor(self.rules.floor or 0.0, self.scorer.uniform_mass(scores.node_br))
        return [self._make_rows(scores, probability_br[i], floor_br[i], i, file) for i, file in enumerate(files)]

    def _make_rows(
        self, scores: Scores, probability_r: np.ndarray, floor_r: np.ndarray, i: int, file: str
    ) -> list[Prediction]:
        tree, rules, node_r = self.scorer.tree, self.rules, scores.node_br[i]
        path = tuple(
            RankedName(rank=rank, name=tree.name(int(node)), confidence=_round(probability_r[r]), node=int(node))
            for r, (rank, node) in enumerate(zip(RANKS, node_r, strict=True))
            if node >= 0
        )
        auto = rules.rank == "auto"
        r = find_deepest_rank(tree, node_r, probability_r, floor_r) if auto else RANK_INDEX[rules.rank]
        if r < 0 or node_r[r] < 0 or (rules.floor is not None and probability_r[r] < floor_r[r]):
            outcome, reason = self._explain_refusal(node_r, probability_r, floor_r, float(scores.no_organism_b[i]), r)
            row = Prediction(file=file, status="unidentified", outcome=outcome, reason=reason, path_confidence=path)
            return [row]
        return self._make_alternatives(scores, float(probability_r[r]), i, r, file, path)

    def _make_alternatives(
        self, scores: Scores, probability: float, i: int, r: int, file: str, path: tuple[RankedName, ...]
    ) -> list[Prediction]:
        """The rows of the best taxa of rank r for image i; `probability` is that of the first."""
        tree, rows = self.scorer.tree, []
        rest = _scale_of_rest(probability, float(scores.probability_br[i, r]))
        for k in range(min(self.rules.top, scores.top_node_brk.shape[2])):
            node = int(scores.top_node_brk[i, r, k])
            if node < 0:
                break
            raw = float(scores.top_probability_brk[i, r, k])
            rows.append(
                Prediction(
                    file=file,
                    status="identified",
                    position=k + 1,
                    rank=RANKS[r],
                    name=tree.name(node),
                    common_name=self.vocabulary.common_name(node),
                    confidence=_round(probability if k == 0 else min(raw * rest, probability)),
                    similarity=_round(scores.top_similarity_brk[i, r, k]),
                    lineage=tree.lineage(node),
                    path_confidence=path if k == 0 else (),
                )
            )
        return rows

    def _explain_refusal(
        self, node_r: np.ndarray, probability_r: np.ndarray, floor_r: np.ndarray, no_organism: float, r: int
    ) -> tuple[str, str]:
        """The outcome and the reason of an image without a name."""
        wanted = self.rules.rank
        if wanted != "auto" and node_r[r] < 0:
            return "unsure", f"no candidate has the rank {wanted}"
        if wanted == "auto":
            r = int(np.argmax(node_r >= 0))
        probability = float(probability_r[r])
        if no_organism > probability:
            return "no_organism", f"no organism likely (p={no_organism:.2f})"
        name = self.scorer.tree.name(int(node_r[r]))
        return "unsure", f"below the floor of {floor_r[r]:.2f}: best guess {RANKS[r]} {name} (p={probability:.2f})"


def raise_floor(floor: float, share_br: np.ndarray) -> np.ndarray:
    """Floors float64 [b, r] for uncalibrated masses: `floor` of the way from a taxon's share of the candidates to 1.

    A model that sees nothing spreads its mass evenly, and 60 % of it lies on a taxon with 60 % of the names: only mass
    above the share is evidence (as in Cohen's kappa). A taxon that holds all candidates was chosen by the user; its
    floor stays.
    """
    return np.where(share_br < 1, floor + (1 - floor) * share_br, floor)


def find_deepest_rank(tree: Tree, node_r: np.ndarray, probability_r: np.ndarray, floor: float | np.ndarray) -> int:
    """The index of the deepest rank whose best taxon reaches `floor` and lies below the best of every higher rank.

    `floor` is one number for all ranks or one for each. -1 if there is no such rank.
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


def _scale_of_rest(calibrated: float, raw: float) -> float:
    """The factor for the raw mass of an alternative: what calibration takes from the best goes to the others."""
    return (1 - calibrated) / (1 - raw) if raw < 1 else 1.0


def _round(value: float) -> float:
    return round(float(value), DECIMALS)


class LabelNamer:
    """Names images by labels: a softmax over them alone, so one label is the best unless a floor is set."""

    def __init__(self, labels: LabelSet, rules: DecisionRules):
        self.labels, self.rules = labels, rules
        self.hash = hash_bytes(*(label.name for label in labels.labels), labels.vectors_ld.tobytes())
        self.kind = "labels"
        self.learnt_with = labels.learnt_with

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one row."""
        cosine_bl = self.labels.compute_similarities(image_vectors_bd)
        logit_bl = cosine_bl.astype(np.float64) * self.labels.logit_scale
        mass_bl = np.exp(logit_bl - logit_bl.max(1, keepdims=True, initial=-np.inf))
        probability_bl = mass_bl / mass_bl.sum(1, keepdims=True)
        return [self._make_rows(probability_bl[i], cosine_bl[i], file) for i, file in enumerate(files)]

    def _make_rows(self, probability_l: np.ndarray, cosine_l: np.ndarray, file: str) -> list[Prediction]:
        order = largest_first(probability_l, self.rules.top)
        if reason := self._explain_refusal(probability_l, cosine_l, int(order[0])):
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

    def _explain_refusal(self, probability_l: np.ndarray, cosine_l: np.ndarray, best: int) -> str:
        """The reason why no label is given, "" if the `best` one is."""
        floor, nearest = self.rules.floor, int(cosine_l.argmax())
        if cosine_l[nearest] < self.labels.least_similarity:
            return (
                f"unlike every label: nearest {self.labels.labels[nearest].name} (similarity {cosine_l[nearest]:.2f}, "
                f"least {self.labels.least_similarity:.2f})"
            )
        if floor is not None and probability_l[best] < floor:
            name = self.labels.labels[best].name
            return f"below the floor of {floor:.2f}: best guess {name} (p={probability_l[best]:.2f})"
        return ""
