"""Zero-shot naming among the whole vocabulary, as `identify` does it, with the calibration of its probabilities.

Shape suffixes: n photographs, r ranks, d vector dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linnaea.embed.names.compact_table import load_compact_table
from linnaea.embed.names.name_table import load_name_table
from linnaea.embed.names.text_embedding import embed_texts
from linnaea.evaluate.metrics import expected_calibration_error, share_with_interval
from linnaea.evaluate.truth import SPECIES, Example, assign_fold, find_truth_nodes
from linnaea.evaluate.zeroshot_config import ZeroshotConfig
from linnaea.identify.naming.calibration import LEAST_KNOWN, calibrate, fit_calibration, has_both_kinds
from linnaea.identify.naming.decision import DEFAULT_FLOOR, find_deepest_rank, raise_floor
from linnaea.identify.naming.namer import BARE, CALIBRATED
from linnaea.model.core.contract import Model
from linnaea.records import RANK_INDEX, RANKS
from linnaea.search.scorer import Scorer, Scores
from linnaea.store import write_json
from linnaea.taxonomy.tree import Tree
from linnaea.taxonomy.vocabulary import Vocabulary

FAMILY = RANK_INDEX["family"]
# A calibration that is fitted to fewer photographs is reported to be rough.
FEW_TO_FIT = 300


@dataclass(frozen=True, kw_only=True)
class LabelledScores:
    """The scores of labelled photographs with their truth.

    `truth_nr` holds the true nodes (-1 if unknown); `known_nr` says whether it can be known if the best taxon is right,
    `right_nr` whether it is; `group_n` as in `group_examples`.
    """

    tree: Tree
    scores: Scores
    examples: list[Example]
    truth_nr: np.ndarray
    known_nr: np.ndarray
    right_nr: np.ndarray
    group_n: np.ndarray


def evaluate_full(
    model: Model, vocabulary: Vocabulary, examples: list[Example], vectors_nd: np.ndarray, config: ZeroshotConfig
) -> tuple[dict, list[dict]]:
    """A report on what `identify` does with the whole vocabulary, and a row for each photograph.

    See `ZeroshotConfig` for the calibration.
    """
    negative = embed_texts(model, list(model.card.negative_prompts)) if model.card.negative_prompts else None
    table = load_compact_table(model, vocabulary) or load_name_table(model, vocabulary)
    scorer = Scorer(vocabulary.tree, table, model.card.logit_scale, negative)
    labelled = _score_examples(model, vocabulary, examples, vectors_nd, scorer, config.batch_size)
    is_fitted = config.calibration == "cross-fitted"
    notes = list_fit_notes(labelled.right_nr, labelled.known_nr) if is_fitted or config.write_calibration else []
    chance_nr = _calibrate_scores(model, labelled, config)
    floor = config.min_confidence
    if config.write_calibration:
        floor = _write_calibration(model, labelled, config)
    elif floor is None:
        floor = model.card.calibration.get("floor", DEFAULT_FLOOR)
    floors = _raise_floors(model, labelled, config, scorer, floor)
    rows = judge_names(labelled.tree, labelled.scores, chance_nr, labelled.truth_nr, examples, floors)
    report = {
        "floor": floor,
        "calibration": _name_calibration(model, config),
        "notes": notes,
        "table": table.kind,
        **_measure_accuracy(labelled, chance_nr),
        "groups": summarize_groups(rows, labelled.group_n),
    }
    return report, [{**row, "group": str(group)} for row, group in zip(rows, labelled.group_n, strict=True)]


def _name_calibration(model: Model, config: ZeroshotConfig) -> str:
    """The source of the probabilities, for the report."""
    if config.calibration == "cross-fitted":
        return config.calibration
    return CALIBRATED if model.card.calibration.get("ranks") and config.calibration == "model" else BARE


def _calibrate_scores(model: Model, labelled: LabelledScores, config: ZeroshotConfig) -> np.ndarray:
    """The probabilities [n, r] that `--calibration` asks for."""
    if config.calibration == "cross-fitted":
        return _cross_fit(labelled, config.unseen_weight)
    parameters = dict(model.card.calibration) if config.calibration == "model" else {}
    return calibrate(parameters, labelled.scores, labelled.tree)


def _raise_floors(
    model: Model, labelled: LabelledScores, config: ZeroshotConfig, scorer: Scorer, floor: float
) -> float | np.ndarray:
    """The floor as `identify` raises it for a model without calibration and without `--min-confidence`."""
    is_bare = not model.card.calibration.get("ranks") and config.calibration != "cross-fitted"
    if is_bare and config.min_confidence is None:
        return raise_floor(floor, scorer.uniform_mass(labelled.scores.node_br))
    return floor


def _score_examples(
    model: Model,
    vocabulary: Vocabulary,
    examples: list[Example],
    vectors_nd: np.ndarray,
    scorer: Scorer,
    batch_size: int,
) -> LabelledScores:
    parts = [
        scorer.score(vectors_nd[start : start + batch_size], top=5) for start in range(0, len(vectors_nd), batch_size)
    ]
    scores = Scores(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Scores.__dataclass_fields__}
    )
    truth_nr = find_truth_nodes(examples, vocabulary)
    return LabelledScores(
        tree=vocabulary.tree,
        scores=scores,
        examples=examples,
        truth_nr=truth_nr,
        known_nr=(truth_nr >= 0) | np.array([[not example.organism] for example in examples]),
        right_nr=(scores.node_br == truth_nr) & (truth_nr >= 0),
        group_n=group_examples(examples, set(getattr(model, "familiar", ()))),
    )


def _take_rows(scores: Scores, rows: np.ndarray) -> Scores:
    return Scores(**{name: getattr(scores, name)[rows] for name in Scores.__dataclass_fields__})


def group_examples(examples: list[Example], familiar: set[tuple[str, ...]]) -> np.ndarray:
    """The group of each example: "familiar", "unseen", "above species" or "no organism"."""

    def find_group(example: Example) -> str:
        if not example.organism:
            return "no organism"
        if example.depth < SPECIES:
            return "above species"
        return "familiar" if example.lineage in familiar else "unseen"

    return np.array([find_group(example) for example in examples])


# --- Calibration


def _cross_fit(labelled: LabelledScores, unseen_weight: float) -> np.ndarray:
    """`cross_fit` for labelled scores."""
    return cross_fit(
        labelled.tree,
        labelled.scores,
        labelled.right_nr,
        labelled.known_nr,
        labelled.examples,
        labelled.group_n,
        unseen_weight,
    )


def cross_fit(
    tree: Tree,
    scores: Scores,
    right_nr: np.ndarray,
    known_nr: np.ndarray,
    examples: list[Example],
    group_n: np.ndarray,
    unseen_weight: float,
) -> np.ndarray:
    """Probabilities [n, r] from a calibration that was fitted to the other half of the photographs.

    The halves are chosen by the hash of the file, for unseen species by that of the species: a species that was used to
    fit the calibration is not used to judge it.
    """
    keys = [
        example.lineage[-1] if group == "unseen" else example.file
        for example, group in zip(examples, group_n, strict=True)
    ]
    fold_n = np.array([assign_fold(key) for key in keys])
    weight_n = np.where(group_n == "unseen", unseen_weight, 1.0)
    chance_nr = np.zeros(right_nr.shape)
    for fold in (0, 1):
        fit, use = np.flatnonzero(fold_n != fold), np.flatnonzero(fold_n == fold)
        if len(fit) and len(use):
            parameters = fit_calibration(_take_rows(scores, fit), right_nr[fit], known_nr[fit], weight_n[fit])
            chance_nr[use] = calibrate(parameters, _take_rows(scores, use), tree)
    return chance_nr


def list_fit_notes(right_nr: np.ndarray, known_nr: np.ndarray) -> list[str]:
    """Warnings about a calibration that is fitted to few photographs, or to too few at some ranks."""
    notes, few, alike = [], [], []
    for r, rank in enumerate(RANKS):
        right_n = right_nr[known_nr[:, r], r]
        if len(right_n) < LEAST_KNOWN:
            few.append(rank)
        elif not has_both_kinds(right_n):
            alike.append(rank)
    n = int(known_nr.any(1).sum())
    if n < FEW_TO_FIT:
        notes.append(f"the calibration is fitted to {n} photographs; with fewer than {FEW_TO_FIT} it is rough")
    if alike:
        notes.append(
            f"too few right or too few wrong names to tell them apart, so one probability for all, at "
            f"{', '.join(alike)}"
        )
    if few:
        notes.append(f"fewer than {LEAST_KNOWN} photographs of known name, so no calibration, at {', '.join(few)}")
    return notes


def _write_calibration(model: Model, labelled: LabelledScores, config: ZeroshotConfig) -> float:
    """Fit a calibration to all photographs and write it; returns its floor, which is chosen by cross-fitting."""
    n = len(labelled.examples)
    weight_n = np.where(labelled.group_n == "unseen", config.unseen_weight, 1.0)
    fitted = fit_calibration(labelled.scores, labelled.right_nr, labelled.known_nr, weight_n)
    if not fitted["ranks"]:
        raise ValueError(f"{n} photographs are too few for a calibration; give some hundreds, at least {LEAST_KNOWN}")
    floor = choose_floor(
        labelled.tree,
        labelled.scores,
        _cross_fit(labelled, config.unseen_weight),
        labelled.truth_nr,
        labelled.examples,
        labelled.group_n,
        config.floor_target,
        config.most_wrong_species,
    )
    source = {"fitted_on": model.card.name, "model_hash": model.card.hash, "n": n}
    # Fitted by other means (benchmarks/restriction.py), and still valid: it depends on the vectors alone.
    kept = {key: value for key, value in model.card.calibration.items() if key == "restriction"}
    write_json(config.write_calibration, {**fitted, "floor": floor, **source, **kept})
    return floor


def choose_floor(
    tree: Tree,
    scores: Scores,
    chance_nr: np.ndarray,
    truth_nr: np.ndarray,
    examples: list[Example],
    group_n: np.ndarray,
    target: float,
    most_wrong_species: float,
) -> float:
    """The lowest floor from 0.5, in steps of 0.01, that fulfils two conditions; 0.99 if none does.

    A share of `target` of the names given to familiar and to unseen species must be right, and at most a share of
    `most_wrong_species` of the unseen ones may get a wrong species.
    """
    for floor in np.arange(0.5, 1.0, 0.01):
        rows = judge_names(tree, scores, chance_nr, truth_nr, examples, float(floor))
        figures = summarize_groups(rows, group_n)
        right = [figures[group]["given_right"]["value"] for group in ("familiar", "unseen") if group in figures]
        wrong = figures.get("unseen", {}).get("wrong_species", {}).get("value", 0.0)
        if all(share is None or share >= target for share in right) and wrong <= most_wrong_species:
            return round(float(floor), 2)
    return 0.99


# --- Figures


def judge_names(
    tree: Tree,
    scores: Scores,
    chance_nr: np.ndarray,
    truth_nr: np.ndarray,
    examples: list[Example],
    floor: float | np.ndarray,
) -> list[dict]:
    """One row for each photograph: the answer of `identify` and whether it is right.

    `floor` is one number for all or float [n, r]. A name is right if it is the photograph's taxon or an ancestor of it.
    Below the rank that the label reaches it cannot be judged, and counts as right if it agrees with the label.
    """
    rows = []
    floor_nr = np.broadcast_to(floor, chance_nr.shape)
    for i, example in enumerate(examples):
        r = find_deepest_rank(tree, scores.node_br[i], chance_nr[i], floor_nr[i])
        row = {
            "file": example.file,
            "label": example.label,
            "rank": RANKS[r] if r >= 0 else "",
            "name": "",
            "right": None,
        }
        if r >= 0:
            node = int(scores.node_br[i, r])
            at = min(r, example.depth)
            right = at >= 0 and tree.ancestor_at(node, RANKS[at]) == truth_nr[i, at] and truth_nr[i, at] >= 0
            row |= {"name": tree.name(node), "right": bool(right), "confidence": float(chance_nr[i, r])}
            row["judged_at"] = RANKS[at] if at >= 0 else ""
        rows.append(row)
    return rows


def summarize_groups(rows: list[dict], group_n: np.ndarray) -> dict:
    """The figures of each group and of all photographs."""
    report = {}
    for group in (*sorted(set(group_n.tolist())), "all"):
        own = [row for row, of in zip(rows, group_n, strict=True) if group in (of, "all")]
        given = [row for row in own if row["rank"]]
        deep = [row["rank"] in RANKS[FAMILY:] for row in own]
        wrong_species = [row["rank"] == "species" and not row["right"] for row in own]
        report[group] = {
            "n": len(own),
            "given_right": share_with_interval(np.array([row["right"] for row in given], bool)),
            "refused": share_with_interval(np.array([not row["rank"] for row in own], bool)),
            "family_or_finer": share_with_interval(np.array(deep, bool)),
            "species_given": share_with_interval(np.array([row["rank"] == "species" for row in own], bool)),
            "wrong_species": share_with_interval(np.array(wrong_species, bool)),
        }
    return report


def _measure_accuracy(labelled: LabelledScores, chance_nr: np.ndarray) -> dict:
    """How often the best taxon of each rank is right, and how far its probability is from that."""
    scores, truth_nr, right_nr = labelled.scores, labelled.truth_nr, labelled.right_nr
    with_species = truth_nr[:, SPECIES] >= 0
    by_rank, calibration_error = {}, {}
    for r, rank in enumerate(RANKS):
        with_truth = truth_nr[:, r] >= 0
        by_rank[rank] = share_with_interval(right_nr[with_truth, r])
        known = labelled.known_nr[:, r]
        error = expected_calibration_error(chance_nr[known, r], right_nr[known, r])
        calibration_error[rank] = {"value": round(error, 4), "n": int(known.sum())}
    in_top5 = (scores.top_node_brk[:, SPECIES] == truth_nr[:, [SPECIES]]).any(1)
    return {
        "top1": by_rank["species"],
        "top5": share_with_interval(in_top5[with_species]),
        "ranks": by_rank,
        "expected_calibration_error": calibration_error,
    }
