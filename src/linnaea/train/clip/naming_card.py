"""What an exported two-tower model says of names: how training wrote them, and which species it named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linnaea.model.formats.model_folder import FAMILIAR, read_familiar, write_familiar
from linnaea.model.formats.open_clip import NAMING
from linnaea.store import write_json
from linnaea.train.clip.batches import open_source
from linnaea.train.clip.recipe import ClipRecipe

# `identify` embeds every species of the list before its first answer; past this that takes longer than it is worth.
MOST_LISTED = 20_000


def save_names(recipe: ClipRecipe, out: Path, report: Callable[[str], None] = print) -> None:
    """Writes `naming.json` and `familiar.txt` into a model's folder; the latter only where the species are known."""
    samples = recipe.organisms
    write_json(out / NAMING, {"template": samples.template, "text_type": samples.fullest_type})
    (out / FAMILIAR).unlink(missing_ok=True)
    try:
        named = trained_species(recipe)
    except (OSError, ValueError) as error:  # the samples have changed or gone since training began
        report(f"{FAMILIAR} is not written, as the samples cannot be read any more: {error}")
        return
    if len(named) > MOST_LISTED:
        report(f"{FAMILIAR} is not written: {len(named):,} species are more than the {MOST_LISTED:,} that it may list")
    elif named:
        write_familiar(out, named)


def trained_species(recipe: ClipRecipe) -> set[tuple[str, ...]]:
    """Lineages of the species by which organisms are named, and of those that the model to start from lists.

    Gaps are filled as `linnaea evaluate` fills those of its labels: from the vocabulary, where one of its taxa fits.
    """
    species = [lineage for lineage in open_source(recipe.organisms, lineages=False).lineages() if lineage[-1]]
    named = set(read_familiar(recipe.start)) if recipe.start else set()
    named |= {lineage for lineage in species if all(lineage)}
    if gappy := [lineage for lineage in species if not all(lineage)]:
        from linnaea.taxonomy.vocabulary_factory import load_vocabulary

        vocabulary = load_vocabulary()
        named.update(*(_filled(lineage, vocabulary) for lineage in gappy))
    # A list has a line for each, its ranks parted by bars.
    return {tuple(" ".join(name.replace("|", " ").split()) for name in lineage) for lineage in named}


def _filled(lineage: tuple[str, ...], vocabulary) -> set[tuple[str, ...]]:
    """The lineage of a species with its gaps filled, under its own name and under the accepted one."""
    taxa = vocabulary.resolve(lineage[-1], rank="species", suggest=False).taxa
    kin = [
        t.lineage
        for t in taxa
        if all(own in ("", name) for own, name in zip(lineage[:-1], t.lineage[:-1], strict=True))
    ]
    if len(kin) != 1:
        return {lineage}
    return {kin[0], tuple(own or name for own, name in zip(lineage, kin[0], strict=True))}
