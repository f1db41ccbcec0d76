"""Naming files of an exported CLIP model: how training wrote names, and which species it named."""

from __future__ import annotations

import logging
from pathlib import Path

from linnaea.model.formats.model_folder import FAMILIAR, read_familiar, write_familiar
from linnaea.model.formats.open_clip import NAMING
from linnaea.store import write_json
from linnaea.train.clip.batches import open_source
from linnaea.train.clip.config import ClipConfig

logger = logging.getLogger(__name__)

# `identify` embeds every listed species before its first answer; with more species that takes too long.
MAX_LISTED = 20_000


def save_names(recipe: ClipConfig, out_dir: Path) -> None:
    """Write `naming.json` into a model folder, and `familiar.txt` if the species are known."""
    samples = recipe.organisms
    write_json(out_dir / NAMING, {"template": samples.template, "text_type": samples.fullest_type})
    (out_dir / FAMILIAR).unlink(missing_ok=True)
    try:
        named = collect_species(recipe)
    except (OSError, ValueError) as error:  # the samples have changed or are gone since training began
        logger.warning("%s is not written, because the samples cannot be read any more: %s", FAMILIAR, error)
        return
    if len(named) > MAX_LISTED:
        logger.info("%s is not written: it may list %s species, not %s", FAMILIAR, f"{MAX_LISTED:,}", f"{len(named):,}")
    elif named:
        write_familiar(out_dir, named)


def collect_species(recipe: ClipConfig) -> set[tuple[str, ...]]:
    """Return the lineages of the species that name organisms, and of those that the start model lists.

    Gaps are filled from the vocabulary if exactly one of its taxa fits, as `linnaea evaluate` does for its labels.
    """
    species = [lineage for lineage in open_source(recipe.organisms, lineages=False).lineages() if lineage[-1]]
    named = set(read_familiar(recipe.start)) if recipe.start else set()
    named |= {lineage for lineage in species if all(lineage)}
    if gappy := [lineage for lineage in species if not all(lineage)]:
        from linnaea.taxonomy.vocabulary_factory import load_vocabulary

        vocabulary = load_vocabulary()
        named.update(*(_fill_gaps(lineage, vocabulary) for lineage in gappy))
    # The list has one line per species, with bars between the ranks.
    return {tuple(" ".join(name.replace("|", " ").split()) for name in lineage) for lineage in named}


def _fill_gaps(lineage: tuple[str, ...], vocabulary) -> set[tuple[str, ...]]:
    """Return the lineage of a species with its gaps filled, under its own name and under the accepted name."""
    taxa = vocabulary.resolve(lineage[-1], rank="species", suggest=False).taxa
    kin = [
        t.lineage
        for t in taxa
        if all(own in ("", name) for own, name in zip(lineage[:-1], t.lineage[:-1], strict=True))
    ]
    if len(kin) != 1:
        return {lineage}
    return {kin[0], tuple(own or name for own, name in zip(lineage, kin[0], strict=True))}
