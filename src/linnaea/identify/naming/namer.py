"""From options to a namer: what turns image vectors into rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from linnaea.identify.naming.candidate_filter import find_candidate_leaves
from linnaea.identify.naming.decision import DEFAULT_FLOOR, DecisionRules, LabelNamer, TaxonNamer
from linnaea.identify.naming.label_set import load_labels
from linnaea.identify.naming.occurrence_prior import compute_log_prior
from linnaea.model.core.contract import Model
from linnaea.records import Prediction
from linnaea.search.scorer import Scorer
from linnaea.standards.occurrence_records import count_occurrences

Say = Callable[[str], None]
# What a manifest says of confidences that nothing was fitted to.
BARE = "none: confidence is a bare softmax"
STAGED = (
    "not every name has its vector yet: species of genera far from a photograph stand on their genus; "
    "--names full, or `linnaea names` once, makes them exact"
)


class Namer(Protocol):
    """Rows for image vectors. `hash` identifies the names it chooses from, `kind` how their vectors were made."""

    hash: str
    kind: str

    def name(self, image_vectors_bd: np.ndarray, files: Sequence[str]) -> list[list[Prediction]]:
        """The rows of each image, best first; a refused image has one."""
        ...


@dataclass(frozen=True, kw_only=True)
class NamerConfig:
    """The options of `linnaea identify` that decide about names; see there."""

    vocabulary: str = "inat"
    rank: str = "auto"
    top: int = 1
    within: tuple[str, ...] = ()
    among: Path | None = None
    labels: str = ""
    near: tuple[float, float] | None = None
    month: int | None = None
    occurrences: Path | None = None
    min_confidence: float | None = None
    names: str = "auto"
    name_vectors: Path | None = None
    scoring: str = "exact"


def describe_namer(namer: Namer) -> dict:
    """For a manifest, where a namer's confidences come from (nothing of labels, whose confidence is a softmax among them always), and
    which names of a published table have no vector there."""
    calibrated = getattr(namer, "calibrated", None)
    facts = {} if calibrated is None else {"calibration": "the model's own" if calibrated else BARE}
    table = getattr(getattr(namer, "scorer", None), "table", None)
    return facts | ({"name_vectors": table.facts} if hasattr(table, "facts") else {})


def format_calibration_warning(namer: Namer, model: Model) -> str:
    """One line for the user of a model whose confidences mean little, "" where they were fitted or are a softmax by nature."""
    if getattr(namer, "calibrated", True):
        return ""
    return (
        f"{model.card.name} carries no calibration: confidence is a bare softmax, not a chance of being right; "
        "`linnaea evaluate zeroshot --vocabulary full` measures it and fits one"
    )


def load_namer(
    options: NamerConfig,
    model: Model,
    *,
    say: Say = lambda line: None,
    report: Callable[[int, int], None] | None = None,
    vocabulary=None,
    table=None,
) -> Namer:
    """The namer that the options ask for. `vocabulary` and `table` replace those that would be loaded.

    `say` hears, in one line each, what a user should know: names that a list has and the vocabulary has not, how many
    occurrences counted. `report(done, total)` hears how many names are embedded.
    """
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    def load():
        return vocabulary if vocabulary is not None else load_vocabulary(options.vocabulary, model.card.common_names)

    if options.labels:
        decision = DecisionRules(rank="auto", floor=options.min_confidence, top=options.top)
        return LabelNamer(load_labels(options.labels, model, load), decision)
    vocabulary = load()
    leaves, note = find_candidate_leaves(vocabulary, options.within, options.among)
    if note:
        say(note)
    prior_n = None
    if options.occurrences is not None:
        counts = count_occurrences(options.occurrences, near=options.near, month=options.month)
        prior_n, n_known = compute_log_prior(vocabulary, counts, leaves)
        n_names = len({recorded.name for recorded in counts})
        say(f"{options.occurrences}: records of {n_names:,} names count here, {n_known:,} in the vocabulary")
    calibrated = bool(model.card.calibration.get("ranks"))
    floor, above_share = options.min_confidence, False
    if floor is None and options.rank == "auto":
        floor, above_share = model.card.calibration.get("floor", DEFAULT_FLOOR), not calibrated
    from linnaea.embed.names.precomputed_names import resolve_name_table
    from linnaea.embed.names.text_embedding import embed_texts
    from linnaea.identify.naming.calibration import calibrate

    table = table or resolve_name_table(options.name_vectors, model, vocabulary, mode=options.names, leaves=leaves)
    if getattr(table, "kind", "") == "staged":
        say(STAGED)
    refusals_fd = embed_texts(model, list(model.card.negative_prompts)) if model.card.negative_prompts else None
    scorer = Scorer(
        vocabulary.tree, table, model.card.logit_scale, refusals_fd, leaves, prior_n, scoring=options.scoring
    )
    decision = DecisionRules(rank=options.rank, floor=floor, top=options.top, above_share=above_share)
    chances = lambda scores: calibrate(model.card.calibration, scores, vocabulary.tree)
    return TaxonNamer(vocabulary, scorer, chances, decision, calibrated=calibrated)
