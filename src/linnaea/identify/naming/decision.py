"""From scores to the rows of a table: which rank, which name, or the reason for none.

Shape suffixes: b images, r ranks, l labels, k the best taxa of a rank, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from linnaea.identify.naming.label_set import LabelSet
from linnaea.identify.naming.local_species import LocalSpecies
from linnaea.identify.naming.refusals import (
    PROBABLE,
    choose_guess,
    describe_guess,
    explain_no_organism,
    explain_outside,
    explain_unsure,
    make_refused_rows,
)
from linnaea.identify.naming.restriction import RestrictionGate, Verdicts
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
    of the softmax. `gate` decides first whether there is an organism and whether it is one of the candidates; without
    it all organisms are candidates. `local_species` takes the prior of a place from images of other organisms.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        scorer: Scorer,
        calibrate: Callable[[Scores], np.ndarray],
        rules: DecisionRules,
        *,
        calibrated: bool = True,
        gate: RestrictionGate | None = None,
        local_species: LocalSpecies | None = None,
    ):
        self.calibrated, self.gate, self.local_species = calibrated, gate, local_species
        self.vocabulary, self.scorer, self.calibrate, self.rules = vocabulary, scorer, calibrate, rules
        self.hash = hash_bytes(vocabulary.hash, vocabulary.common_names_hash)
        self.kind = getattr(scorer.table, "kind", "full")

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; up to `top` for an image without a name, too."""
        scores = self.scorer.score(image_vectors_bd, top=self.rules.top)
        if self.local_species is not None:
            scores = self.local_species.correct(scores, image_vectors_bd, self.rules.top)
        verdicts = None
        if self.gate is not None:
            verdicts = self.gate.judge(image_vectors_bd, scores.log_leaf_mass_b, scores.leaf_similarity_b)
        probability_br = self.calibrate(scores)
        floor_br = np.full(probability_br.shape, self.rules.floor or 0.0)
        if self.rules.above_share:
            floor_br = raise_floor(self.rules.floor or 0.0, self.scorer.uniform_mass(scores.node_br))
        rows = []
        for i, file in enumerate(files):
            if verdicts is not None and (outcome := verdicts.find_outcome(i)):
                common_name, top = self.vocabulary.common_name, self.rules.top
                rows.append(make_rows_outside(self.gate, verdicts, i, file, outcome, top, common_name))
            else:
                rows.append(self._make_rows(scores, probability_br[i], floor_br[i], i, file))
        return rows

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
            return self._make_refused(scores, probability_r, i, file, path)
        return self._make_alternatives(scores, float(probability_r[r]), i, r, file, path)

    def _make_refused(
        self, scores: Scores, probability_r: np.ndarray, i: int, file: str, path: tuple[RankedName, ...]
    ) -> list[Prediction]:
        """The rows of an image whose candidates are all below the floor."""
        wanted, node_r = self.rules.rank, scores.node_br[i]
        if wanted != "auto" and node_r[RANK_INDEX[wanted]] < 0:
            reason = f"no candidate has the rank {wanted}"
            return make_refused_rows(file, "unsure", reason, path, [])
        first = int(np.argmax(node_r >= 0))
        if wanted == "auto":
            r = max(find_deepest_rank(self.scorer.tree, node_r, probability_r, PROBABLE), first)
        else:
            first = r = RANK_INDEX[wanted]
        candidates = self._list_candidates(scores, float(probability_r[r]), i, r)
        no_organism = float(scores.no_organism_b[i])
        if self.gate is None and no_organism > probability_r[first]:
            return make_refused_rows(file, "no_organism", explain_no_organism(no_organism), path, candidates)
        guess = describe_guess(candidates[0], self.vocabulary.common_name)
        reason = explain_unsure(guess, "name" if wanted == "auto" else wanted)
        return make_refused_rows(file, "unsure", reason, path, candidates)

    def _list_candidates(self, scores: Scores, probability: float, i: int, r: int) -> list[RankedName]:
        """The best taxa of rank r for image i; `probability` is that of the first."""
        rest = _scale_of_rest(probability, float(scores.probability_br[i, r]))
        found = []
        for k in range(min(self.rules.top, scores.top_node_brk.shape[2])):
            node, raw = int(scores.top_node_brk[i, r, k]), float(scores.top_probability_brk[i, r, k])
            if node < 0:
                break
            confidence = _round(probability if k == 0 else min(raw * rest, probability))
            name = self.scorer.tree.name(node)
            found.append(RankedName(rank=RANKS[r], name=name, confidence=confidence, node=node))
        return found

    def _make_alternatives(
        self, scores: Scores, probability: float, i: int, r: int, file: str, path: tuple[RankedName, ...]
    ) -> list[Prediction]:
        """The rows of the best taxa of rank r for image i; `probability` is that of the first."""
        tree = self.scorer.tree
        return [
            Prediction(
                file=file,
                status="identified",
                position=k + 1,
                rank=candidate.rank,
                name=candidate.name,
                common_name=self.vocabulary.common_name(candidate.node),
                confidence=candidate.confidence,
                similarity=_round(scores.top_similarity_brk[i, r, k]),
                lineage=tree.lineage(candidate.node),
                path_confidence=path if k == 0 else (),
            )
            for k, candidate in enumerate(self._list_candidates(scores, probability, i, r))
        ]


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


def _round_name(guess: RankedName) -> RankedName:
    return replace(guess, confidence=_round(guess.confidence))


class LabelNamer:
    """Names images by labels: a softmax over them alone, so one label is the best unless a floor is set.

    `gate` decides first whether there is an organism and whether it is one of the labels, which must be taxa then.
    `common_name` returns the common name of a node.
    """

    def __init__(
        self,
        labels: LabelSet,
        rules: DecisionRules,
        *,
        gate: RestrictionGate | None = None,
        common_name: Callable[[int], str] = lambda node: "",
    ):
        self.labels, self.rules, self.gate, self._common_name = labels, rules, gate, common_name
        self.hash = hash_bytes(*(label.name for label in labels.labels), labels.vectors_ld.tobytes())
        self.kind = "labels"
        self.learnt_with = labels.learnt_with

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; up to `top` for an image without a name, too."""
        cosine_bl = self.labels.compute_similarities(image_vectors_bd)
        logit_bl = cosine_bl.astype(np.float64) * self.labels.logit_scale
        largest_b = logit_bl.max(1, initial=-np.inf)
        mass_bl = np.exp(logit_bl - largest_b[:, None])
        probability_bl = mass_bl / mass_bl.sum(1, keepdims=True)
        verdicts = None
        if self.gate is not None:
            verdicts = self.gate.judge(image_vectors_bd, largest_b + np.log(mass_bl.sum(1)), cosine_bl.max(1))
        rows = []
        for i, file in enumerate(files):
            outcome = "" if verdicts is None else self._find_outcome(verdicts, i, cosine_bl[i])
            if not outcome:
                rows.append(self._make_rows(probability_bl[i], cosine_bl[i], file))
                continue
            refused = make_rows_outside(self.gate, verdicts, i, file, outcome, self.rules.top, self._common_name)
            if outcome == "outside_list" and self.labels.learnt_with:
                unlike = self._explain_unlike(cosine_bl[i])
                refused = [replace(row, reason=f"{row.reason}; {unlike}") for row in refused]
            rows.append(refused)
        return rows

    def _find_outcome(self, verdicts: Verdicts, i: int, cosine_l: np.ndarray) -> str:
        """The outcome of an image of none of the labels, "" if it may be named.

        Labels learnt from photographs have a least similarity of their own, which then decides about the labels.
        """
        if not self.labels.learnt_with:
            return verdicts.find_outcome(i)
        if cosine_l.max() >= self.labels.least_similarity:
            return ""
        return verdicts.find_outcome(i) or "outside_list"

    def _make_rows(self, probability_l: np.ndarray, cosine_l: np.ndarray, file: str) -> list[Prediction]:
        order = largest_first(probability_l, self.rules.top).tolist()
        if refusal := self._explain_refusal(probability_l, cosine_l, order[0]):
            candidates = [self._make_guess(probability_l, index) for index in order]
            return make_refused_rows(file, *refusal, (), candidates)
        rows = []
        for k, index in enumerate(order):
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

    def _make_guess(self, probability_l: np.ndarray, index: int) -> RankedName:
        label = self.labels.labels[index]
        return RankedName(rank=label.rank, name=label.name, confidence=_round(probability_l[index]))

    def _explain_refusal(self, probability_l: np.ndarray, cosine_l: np.ndarray, best: int) -> tuple[str, str] | None:
        """The outcome and the reason why no label is given, None if the `best` one is."""
        floor, nearest = self.rules.floor, int(cosine_l.argmax())
        if cosine_l[nearest] < self.labels.least_similarity:
            return "outside_list", self._explain_unlike(cosine_l)
        if floor is not None and probability_l[best] < floor:
            guess = describe_guess(self._make_guess(probability_l, best), self._common_name)
            return "unsure", explain_unsure(guess, "name")
        return None

    def _explain_unlike(self, cosine_l: np.ndarray) -> str:
        nearest = int(cosine_l.argmax())
        return (
            f"unlike every label: nearest {self.labels.labels[nearest].name} (similarity {cosine_l[nearest]:.2f}, "
            f"least {self.labels.least_similarity:.2f})"
        )


def make_rows_outside(
    gate: RestrictionGate,
    verdicts: Verdicts,
    i: int,
    file: str,
    outcome: str,
    top: int,
    common_name: Callable[[int], str],
) -> list[Prediction]:
    """The rows of image i, which shows none of the candidates: the guesses are made without the restriction."""
    guesses = gate.list_guesses(verdicts, i, top)
    path = tuple(_round_name(ranked[0]) for ranked in guesses if ranked)
    guess = choose_guess(path)
    candidates = next((ranked for ranked in guesses if ranked and guess and ranked[0].rank == guess.rank), [])
    reason = explain_no_organism(1 - float(verdicts.organism_b[i]))
    if outcome == "outside_list":
        reason = explain_outside(describe_guess(guess, common_name))
    return make_refused_rows(file, outcome, reason, path, [_round_name(one) for one in candidates])
