"""From options to a namer: what turns image vectors into rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from linnaea.identify.naming.candidate_filter import find_candidate_leaves
from linnaea.identify.naming.decision import DEFAULT_FLOOR, DecisionRules, LabelNamer, TaxonNamer
from linnaea.identify.naming.label_set import find_label_leaves, load_labels
from linnaea.identify.naming.local_species import LocalSpecies, find_local_leaves
from linnaea.identify.naming.namer_config import NamerConfig
from linnaea.identify.naming.occurrence_prior import compute_log_prior
from linnaea.identify.naming.restriction import RestrictionGate
from linnaea.model.core.contract import Model
from linnaea.records import Prediction
from linnaea.search.scorer import Scorer
from linnaea.standards.occurrence_records import count_occurrences
from linnaea.taxonomy.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# The manifest's text for confidences that were not calibrated.
BARE = "none: confidence is a bare softmax"
CALIBRATED = "the model's own"
STAGED = (
    "name table incomplete: for distant genera the genus vector is used for all species, at this and every later run; "
    "run `linnaea names --model …` once, or add --names full, for exact scores"
)


class Namer(Protocol):
    """Rows for image vectors. `hash` identifies the names it chooses from, `kind` how their vectors were made."""

    hash: str
    kind: str

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one row."""
        ...


def describe_namer(namer: Namer) -> dict:
    """The facts about a namer that go into a manifest.

    They are the source of its confidences (absent for labels, whose confidence is always a softmax among them) and
    which names have no vector in a published table.
    """
    calibrated = getattr(namer, "calibrated", None)
    facts = {} if calibrated is None else {"calibration": CALIBRATED if calibrated else BARE}
    table = getattr(getattr(namer, "scorer", None), "table", None)
    return facts | ({"name_vectors": table.facts} if hasattr(table, "facts") else {})


def format_calibration_warning(namer: Namer, model: Model) -> str:
    """One line for the user of a model without calibration; "" if confidences were calibrated or are among labels."""
    if getattr(namer, "calibrated", True):
        return ""
    return (
        f"{model.card.name} carries no calibration: confidence is a bare softmax, not a probability of being right; "
        "`linnaea evaluate zeroshot --vocabulary full` measures it and fits one"
    )


def load_namer(config: NamerConfig, model: Model, *, vocabulary: Vocabulary | None = None, table=None) -> Namer:
    """The namer for the options. `vocabulary` and `table` replace those that would be loaded.

    Logs the names of a list that the vocabulary lacks, and the number of occurrence records.
    """
    load = partial(_load_vocabulary, config, model, vocabulary)
    if config.labels:
        rules = DecisionRules(rank="auto", floor=config.min_confidence, top=config.top)
        return _load_label_namer(config, model, load, rules)
    return _load_taxon_namer(config, model, load, table)


def _load_label_namer(
    config: NamerConfig, model: Model, load: Callable[[], Vocabulary], rules: DecisionRules
) -> LabelNamer:
    labels = load_labels(config.labels, model, load)
    if config.min_confidence == 0:
        return LabelNamer(labels, rules)
    vocabulary = load()
    leaves, no_taxa = find_label_leaves(labels.labels, vocabulary)
    if no_taxa and not labels.learnt_with:
        logger.info(
            f"--labels: {no_taxa[0]!r} is not a known taxon, so every photograph gets a label, whatever it shows"
        )
        return LabelNamer(labels, rules)
    gate = _load_gate(config, model, vocabulary, leaves, _embed_negatives(model), n_labels=len(labels.labels))
    return LabelNamer(labels, rules, gate=gate, common_name=vocabulary.common_name)


def _embed_negatives(model: Model) -> np.ndarray | None:
    """Unit vectors float32 [f, d] of the model's texts of things that are not organisms, None without any."""
    from linnaea.embed.names.text_embedding import embed_texts

    prompts = model.card.negative_prompts
    return embed_texts(model, list(prompts)) if prompts else None


def _load_vocabulary(config: NamerConfig, model: Model, vocabulary: Vocabulary | None) -> Vocabulary:
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    return vocabulary if vocabulary is not None else load_vocabulary(config.vocabulary, model.card.common_names)


def _load_taxon_namer(config: NamerConfig, model: Model, load: Callable[[], Vocabulary], table) -> TaxonNamer:
    from linnaea.embed.names.precomputed_names import resolve_name_table
    from linnaea.identify.naming.calibration import calibrate

    vocabulary = load()
    leaves, note = find_candidate_leaves(vocabulary, config.within, config.among, config.unmatched)
    if note:
        logger.warning(note)
    prior_n = _load_prior(config, vocabulary, leaves)
    card = model.card
    find_table = partial(resolve_name_table, config.name_vectors, model, vocabulary, mode=config.names)
    table = table or find_table(leaves=leaves)
    if getattr(table, "kind", "") == "staged":
        logger.info(STAGED)
    negative_fd = _embed_negatives(model)
    scorer = Scorer(vocabulary.tree, table, card.logit_scale, negative_fd, leaves, prior_n, scoring=config.scoring)
    chances = partial(calibrate, card.calibration, tree=vocabulary.tree)
    is_calibrated = bool(card.calibration.get("ranks"))
    gate = _load_gate(config, model, vocabulary, leaves, negative_fd)
    local_leaves = None if prior_n is None else find_local_leaves(prior_n)
    local_species = None
    if local_leaves is not None and len(local_leaves) and config.min_confidence != 0:
        local_gate = _load_gate(config, model, vocabulary, local_leaves, negative_fd)
        local_table = find_table(leaves=local_leaves)
        local_scorer = Scorer(vocabulary.tree, local_table, card.logit_scale, negative_fd, local_leaves)
        plain_scorer = Scorer(vocabulary.tree, table, card.logit_scale, negative_fd, leaves)
        local_species = LocalSpecies(local_gate, local_scorer, plain_scorer)
    rules = _choose_rules(config, model)
    return TaxonNamer(
        vocabulary, scorer, chances, rules, calibrated=is_calibrated, gate=gate, local_species=local_species
    )


def _load_gate(
    config: NamerConfig,
    model: Model,
    vocabulary: Vocabulary,
    leaves: np.ndarray | None,
    negative_fd: np.ndarray | None,
    *,
    n_labels: int = 0,
) -> RestrictionGate | None:
    """What decides whether a photograph shows one of the candidates; None if all organisms are candidates.

    With `--min-confidence 0` every photograph gets a name. `n_labels` is the number of labels if these are candidates.
    """
    if leaves is None or config.min_confidence == 0:
        return None
    from linnaea.embed.names.contrast_table import load_contrast_table

    contrast = load_contrast_table(model, vocabulary, leaves)
    parameters = dict(model.card.calibration.get("restriction", {}))
    parameters["inside"] = parameters.get("labels" if n_labels else "inside")
    n_candidates, scale = n_labels or len(leaves), model.card.logit_scale
    return RestrictionGate(vocabulary.tree, contrast, scale, n_candidates, negative_fd, parameters)


def _load_prior(config: NamerConfig, vocabulary: Vocabulary, leaves: np.ndarray | None) -> np.ndarray | None:
    """The log prior of every leaf from `--occurrences`, float32; None without that option."""
    if config.occurrences is None:
        return None
    counts = count_occurrences(config.occurrences, near=config.near, month=config.month)
    prior_n, n_known = compute_log_prior(vocabulary, counts, leaves)
    n_names = len({recorded.name for recorded in counts})
    logger.info(f"{config.occurrences}: records of {n_names:,} names count here, {n_known:,} of them in the vocabulary")
    return prior_n


def _choose_rules(config: NamerConfig, model: Model) -> DecisionRules:
    """The rules of the answer: for `--rank auto` without `--min-confidence`, the floor is the model's own."""
    floor, above_share = config.min_confidence, False
    if floor is None and config.rank == "auto":
        floor = model.card.calibration.get("floor", DEFAULT_FLOOR)
        above_share = not model.card.calibration.get("ranks")
    return DecisionRules(rank=config.rank, floor=floor, top=config.top, above_share=above_share)
