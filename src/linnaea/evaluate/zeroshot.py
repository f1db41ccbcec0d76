"""Zero-shot naming of labelled photographs: among the manifest's own names, or among the whole vocabulary.

Shape suffixes: n photographs, l labels, r ranks, d vector dimensions.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.embed.images.image_vectors import embed_batches
from linnaea.embed.images.runtime_sample import sample_evenly, select_runtime_for_records
from linnaea.embed.names.name_table import load_name_table
from linnaea.embed.names.text_embedding import embed_texts
from linnaea.evaluate.metrics import expected_calibration_error, share_with_interval
from linnaea.evaluate.truth import Example, assign_fold, find_truth_nodes, read_examples, to_examples
from linnaea.identify.naming.calibration import LEAST_KNOWN, calibrate, fit_calibration, has_both_kinds
from linnaea.identify.naming.decision import DEFAULT_FLOOR, find_deepest_rank, raise_floor
from linnaea.identify.naming.namer import BARE
from linnaea.model.core.contract import Model
from linnaea.model.loading import load_model
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, RUNTIME_CHOICES, check_runtime
from linnaea.records import RANK_INDEX, RANKS, ImageRecord
from linnaea.search.scorer import Scorer, Scores
from linnaea.store import write_json
from linnaea.taxonomy.name_text import taxon_text
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

TEXTS = ("auto", "taxonomic", "scientific", "common")
SPECIES, FAMILY = RANK_INDEX["species"], RANK_INDEX["family"]
# A calibration of fewer photographs is said to be rough.
FEW_TO_FIT = 300


@dataclass(frozen=True, kw_only=True)
class ZeroshotConfig:
    """Name labelled photographs without having trained on their labels, and say how often the names were right."""

    manifest: Path
    "CSV with columns file,label and, if it likes, the ranks, common and rank (`none` for no organism); or a table for training"
    root: Path = Path(".")
    "folder that the files are relative to"
    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    text: str = field(default="auto", metadata={"choices": TEXTS})
    "how labels are written; auto: common name and taxonomic one (own words if no single species), averaged"
    vocabulary: str = field(default="labels", metadata={"choices": ("labels", "full")})
    "labels: choose among the manifest's labels; full: among the whole vocabulary, as `identify` does"
    where: tuple[str, ...] = ()
    "keep rows with column=value"
    calibration: str = field(default="model", metadata={"choices": ("model", "cross-fitted", "none")})
    "full: the model's own, or one fitted on the other half of these photographs"
    min_confidence: float | None = None
    "full: floor of a name's confidence; by default the model's"
    write_calibration: Path | None = None
    "full: fit on all these photographs and write the calibration there as JSON; read where it is calibration.json in the model's folder"
    unseen_weight: float = 3.0
    "full: in a fitted calibration a photograph of a species that training never named counts this often; the field has more of them"
    floor_target: float = 0.9
    "share of the names given to familiar and to unseen species that the floor in a written calibration makes right"
    most_wrong_species: float = 0.05
    "share of the unseen species' photographs that the same floor lets have a wrong species"
    predictions: Path | None = None
    "write a row a photograph there, as Parquet"
    batch_size: int = 32
    "images the model sees at once"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs: `onnxruntime` in full precision; `auto` takes the fastest that passes a check on 32 photographs"

    def __post_init__(self):
        check_runtime(self.runtime)
        if self.write_calibration and self.vocabulary != "full":
            raise ValueError("--write-calibration needs the chances of --vocabulary full; add it")


def embed_examples(
    model: Model, examples: list[Example], root: Path, batch_size: int
) -> tuple[np.ndarray, dict[int, str]]:
    """Vectors float32 [n, d] and reasons by row for images that could not be read (their rows are zero)."""
    vectors_nd = np.zeros((len(examples), model.card.dim), np.float32)
    failures: dict[int, str] = {}
    start = 0
    records = (ImageRecord(path=str(root / example.file)) for example in examples)
    for batch in embed_batches(model, records, batch_size=batch_size):
        rows = [start + i for i in range(len(batch.records)) if i not in batch.failures]
        vectors_nd[rows] = batch.vectors_bd
        failures |= {start + i: reason for i, reason in batch.failures.items()}
        start += len(batch.records)
    return vectors_nd, failures


def make_label_texts(examples: list[Example], text: str) -> dict[str, tuple[str, ...]]:
    """The texts of each distinct label; a label's vector is the mean of theirs.

    `auto` takes the taxonomic name where the label is one species and the label's own words elsewhere, with the common name.
    """
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.label, example)
    taxa = [example.lineage for example in first.values()]
    texts = {}
    for label, example in first.items():
        words = " ".join(label.replace("_", " ").split())
        one_species = example.depth == SPECIES and taxa.count(example.lineage) == 1
        common = example.common_name or words
        if text == "auto":
            texts[label] = (taxon_text(example.lineage, "taxonomic") if one_species else words, common)
        elif text == "common" or not any(example.lineage):
            texts[label] = (common,)
        else:
            texts[label] = (taxon_text(example.lineage, text),)
    return texts


def evaluate_labels(
    model: Model, examples: list[Example], vectors_nd: np.ndarray, text: str
) -> tuple[dict, list[dict]]:
    """Top-1, top-5 and rank-wise accuracy among the labels of the examples themselves; and a row a photograph."""
    texts = make_label_texts(examples, text)
    labels = list(texts)
    lineage_of = {example.label: example.lineage for example in examples}
    label_ld = sum(embed_texts(model, list(part)) for part in zip(*texts.values(), strict=True))
    label_ld /= np.linalg.norm(label_ld, axis=1, keepdims=True)
    order_nl = np.argsort(-(vectors_nd @ label_ld.T), axis=1, kind="stable")[:, :5]
    truth_n = np.array([labels.index(example.label) for example in examples])
    hit_nl = order_nl == truth_n[:, None]
    by_rank = {}
    for r, rank in enumerate(RANKS):
        known = [i for i, example in enumerate(examples) if example.lineage[r]]
        right = [lineage_of[labels[order_nl[i, 0]]][r] == examples[i].lineage[r] for i in known]
        by_rank[rank] = share_with_interval(np.array(right, bool))
    report = {
        "n_labels": len(labels),
        "top1": share_with_interval(hit_nl[:, 0]),
        "top5": share_with_interval(hit_nl.any(1)),
        "ranks": by_rank,
    }
    rows = [
        {"file": example.file, "label": example.label, "predicted": labels[best[0]]}
        for example, best in zip(examples, order_nl, strict=True)
    ]
    return report, rows


def _concatenate(parts: list[Scores]) -> Scores:
    return Scores(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Scores.__dataclass_fields__}
    )


def _take(scores: Scores, rows: np.ndarray) -> Scores:
    return Scores(**{name: getattr(scores, name)[rows] for name in Scores.__dataclass_fields__})


def groups(examples: list[Example], familiar: set[tuple[str, ...]]) -> np.ndarray:
    """ "familiar", "unseen", "above species" or "no organism" for each example."""

    def group(example: Example) -> str:
        if not example.organism:
            return "no organism"
        if example.depth < SPECIES:
            return "above species"
        return "familiar" if example.lineage in familiar else "unseen"

    return np.array([group(example) for example in examples])


def cross_fit(
    tree, scores: Scores, right_nr, known_nr, examples: list[Example], group_n: np.ndarray, unseen_weight: float
) -> np.ndarray:
    """Chances [n, r] from a calibration that was fitted on the other half.

    The halves go by the hash of the file, for unseen species by that of the species: a species that helped to set the calibration
    does not also judge it.
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
            parameters = fit_calibration(_take(scores, fit), right_nr[fit], known_nr[fit], weight_n[fit])
            chance_nr[use] = calibrate(parameters, _take(scores, use), tree)
    return chance_nr


def list_fit_notes(right_nr: np.ndarray, known_nr: np.ndarray) -> list[str]:
    """What a user should know of a calibration that is fitted to these names: how few they are, and for which ranks too few."""
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
            f"too few right or too few wrong names to tell them apart, so one chance for all, at {', '.join(alike)}"
        )
    if few:
        notes.append(f"fewer than {LEAST_KNOWN} photographs of known name, so no calibration, at {', '.join(few)}")
    return notes


def judge(
    tree,
    scores: Scores,
    chance_nr: np.ndarray,
    truth_nr: np.ndarray,
    examples: list[Example],
    floor: float | np.ndarray,
) -> list[dict]:
    """What `identify` says of each photograph and whether it is right: a row each. `floor` is one for all or float [n, r].

    A name is right if the photograph's taxon is it or lies below it; below the rank that the label reaches it cannot be judged, and
    counts as right if it is at least consistent with the label.
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


def _summary(rows: list[dict], group_n: np.ndarray) -> dict:
    """The figures of each group and of all."""
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


def choose_floor(
    tree, scores, chance_nr, truth_nr, examples, group_n: np.ndarray, target: float, most_wrong_species: float
) -> float:
    """The lowest floor, in steps of .01 from .5, at which of the names given to familiar and to unseen species a share of `target`
    is right, and at most `most_wrong_species` of the unseen ones are given a species."""
    for floor in np.arange(0.5, 1.0, 0.01):
        figures = _summary(judge(tree, scores, chance_nr, truth_nr, examples, float(floor)), group_n)
        right = [figures[group]["given_right"]["value"] for group in ("familiar", "unseen") if group in figures]
        wrong = figures.get("unseen", {}).get("wrong_species", {}).get("value", 0.0)
        if all(share is None or share >= target for share in right) and wrong <= most_wrong_species:
            return round(float(floor), 2)
    return 0.99


def evaluate_full(
    model: Model, vocabulary: Vocabulary, examples: list[Example], vectors_nd: np.ndarray, config: ZeroshotConfig
) -> tuple[dict, list[dict]]:
    """What `identify` does with the whole vocabulary; see `ZeroshotConfig` for the calibration."""
    tree = vocabulary.tree
    table = load_name_table(model, vocabulary)
    refusals = embed_texts(model, list(model.card.negative_prompts)) if model.card.negative_prompts else None
    scorer = Scorer(tree, table, model.card.logit_scale, refusals)
    parts = [
        scorer.score(vectors_nd[start : start + config.batch_size], top=5)
        for start in range(0, len(vectors_nd), config.batch_size)
    ]
    scores = _concatenate(parts)
    truth_nr = find_truth_nodes(examples, vocabulary)
    known_nr = (truth_nr >= 0) | np.array([[not example.organism] for example in examples])
    right_nr = (scores.node_br == truth_nr) & (truth_nr >= 0)
    group_n = groups(examples, set(getattr(model, "familiar", ())))
    base = dict(model.card.calibration)
    notes = (
        list_fit_notes(right_nr, known_nr) if config.calibration == "cross-fitted" or config.write_calibration else []
    )
    if config.calibration == "cross-fitted":
        chance_nr = cross_fit(tree, scores, right_nr, known_nr, examples, group_n, config.unseen_weight)
    else:
        chance_nr = calibrate(base if config.calibration == "model" else {}, scores, tree)
    floor = config.min_confidence if config.min_confidence is not None else base.get("floor", DEFAULT_FLOOR)
    if config.write_calibration:
        weight_n = np.where(group_n == "unseen", config.unseen_weight, 1.0)
        fitted = fit_calibration(scores, right_nr, known_nr, weight_n)
        if not fitted["ranks"]:
            raise ValueError(
                f"{len(examples)} photographs are too few for a calibration; give some hundreds, {LEAST_KNOWN} at the least"
            )
        honest_nr = cross_fit(tree, scores, right_nr, known_nr, examples, group_n, config.unseen_weight)
        floor = choose_floor(
            tree, scores, honest_nr, truth_nr, examples, group_n, config.floor_target, config.most_wrong_species
        )
        of = {"fitted_on": model.card.name, "model_hash": model.card.hash, "n": len(examples)}
        write_json(config.write_calibration, {**fitted, "floor": floor, **of})
    own = bool(base.get("ranks")) and config.calibration == "model"
    bare = not own and config.calibration != "cross-fitted"
    # as `identify` decides where nothing was fitted and no floor is asked for
    raised = bare and not base.get("ranks") and config.min_confidence is None
    floors = raise_floor(floor, scorer.uniform_mass(scores.node_br)) if raised else floor
    rows = judge(tree, scores, chance_nr, truth_nr, examples, floors)
    report = {
        "floor": floor,
        "calibration": BARE if bare else "the model's own" if own else config.calibration,
        "notes": notes,
        "table": table.kind,
        **_accuracy(scores, chance_nr, truth_nr, right_nr, known_nr),
        "groups": _summary(rows, group_n),
    }
    return report, [{**row, "group": str(group)} for row, group in zip(rows, group_n, strict=True)]


def _accuracy(
    scores: Scores, chance_nr: np.ndarray, truth_nr: np.ndarray, right_nr: np.ndarray, known_nr: np.ndarray
) -> dict:
    """How often the best taxa are right at each rank, and how far their chances are from that."""
    with_species = truth_nr[:, SPECIES] >= 0
    by_rank, calibration_error = {}, {}
    for r, rank in enumerate(RANKS):
        with_truth = truth_nr[:, r] >= 0
        by_rank[rank] = share_with_interval(right_nr[with_truth, r])
        known = known_nr[:, r]
        error = expected_calibration_error(chance_nr[known, r], right_nr[known, r])
        calibration_error[rank] = {"value": round(error, 4), "n": int(known.sum())}
    return {
        "top1": by_rank["species"],
        "top5": share_with_interval((scores.top_node_brk[:, SPECIES] == truth_nr[:, [SPECIES]]).any(1)[with_species]),
        "ranks": by_rank,
        "expected_calibration_error": calibration_error,
    }


def benchmark(config: ZeroshotConfig) -> tuple[dict, list[dict]]:
    """The report of a run and its rows, one a photograph that could be read."""
    model = load_model(config.model)
    vocabulary = load_vocabulary("inat", common_names=model.card.common_names)
    rows_given = read_examples(config.manifest, config.where)
    labelled = [row for row in rows_given if row["label"].strip()]
    if not labelled:
        raise ValueError(
            f"no row of {config.manifest} says what its photograph shows; fill the column label or species"
        )
    examples, unresolved = to_examples(labelled, vocabulary)
    check = {}
    if config.runtime != DEFAULT_RUNTIME:
        records = [ImageRecord(path=str(config.root / example.file)) for example in examples]
        check = select_runtime_for_records(model, config.runtime, lambda n: sample_evenly(records, n), len(records))
    vectors_nd, failures = embed_examples(model, examples, config.root, config.batch_size)
    readable = [i for i in range(len(examples)) if i not in failures]
    if not readable:
        raise FileNotFoundError(
            f"none of the {len(examples)} files below {config.root} could be read; is --root right?"
        )
    examples, vectors_nd = [examples[i] for i in readable], vectors_nd[readable]
    if config.vocabulary == "labels":
        report, rows = evaluate_labels(model, examples, vectors_nd, config.text)
    else:
        report, rows = evaluate_full(model, vocabulary, examples, vectors_nd, config)
    head = {
        "task": "zeroshot",
        "model": model.card.name,
        "model_hash": model.card.hash,
        "runtime": getattr(model, "runtime", DEFAULT_RUNTIME),
        "runtime_check": check,
        "vocabulary": config.vocabulary,
        "text": config.text if config.vocabulary == "labels" else model.card.text_type,
        "where": list(config.where),
        "n": len(examples),
        "unreadable": len(failures),
        "unlabelled": len(rows_given) - len(labelled),
        "unresolved_labels": unresolved,
    }
    return {**head, **report}, rows


def main(config: ZeroshotConfig) -> int:
    """Prints one JSON line; exit code 0."""
    report, rows = benchmark(config)
    if report["unreadable"]:
        print(f"linnaea: {report['unreadable']} files could not be read and are left out", file=sys.stderr)
    if report["unlabelled"]:
        print(f"linnaea: {report['unlabelled']} rows have no label and are left out", file=sys.stderr)
    for note in report.get("notes", ()):
        print(f"linnaea: {note}", file=sys.stderr)
    if config.predictions:
        import polars as pl

        pl.DataFrame(rows).write_parquet(config.predictions)
    print(json.dumps(report, ensure_ascii=False))
    return 0
