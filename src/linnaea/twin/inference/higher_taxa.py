"""Which animals of a world a name above species stands for: a cautious classifier says Felidae where it might say lion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.twin.data.species import Species


def find_species_within(names: Iterable[str], species: Mapping[str, Species]) -> dict[str, frozenset[str]]:
    """The species of the world inside each of these names that is a genus, a family … of some of them.

    Ancestors are those of the bundled vocabulary; of a species that it lacks, those of its genus.
    """
    # Taxa above species have names of one word; the vocabulary is not opened for others.
    asked = {name for name in names if name and " " not in name.strip()}
    if not asked:
        return {}
    vocabulary = load_vocabulary()
    above = {name: _list_ancestors(vocabulary, one.scientific_name) for name, one in species.items()}
    found = {name: frozenset(s for s, words in above.items() if name.casefold() in words) for name in sorted(asked)}
    return {name: inside for name, inside in found.items() if inside}


def _list_ancestors(vocabulary: Vocabulary, scientific_name: str) -> set[str]:
    """Names in lower case of all taxa above a species, its genus among them."""
    genus = scientific_name.partition(" ")[0]
    taxa = vocabulary.resolve(scientific_name, suggest=False).taxa
    taxa = taxa or vocabulary.resolve(genus, rank="genus", suggest=False).taxa
    return {genus.casefold()} | {name.casefold() for taxon in taxa for name in taxon.lineage if name}
