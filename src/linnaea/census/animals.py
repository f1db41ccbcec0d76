"""Animals that a survey may meet: the traits that detection depends on, and the names that are reported for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary


class AnimalTraits(Protocol):
    """What the detection of a species depends on. A row of a world's species table has these fields."""

    @property
    def scientific_name(self) -> str:
        """Binomial."""

    @property
    def body_mass_kg(self) -> float:
        """Mean adult mass."""

    @property
    def walk_speed_km_h(self) -> float:
        """Speed of an undisturbed animal."""

    @property
    def day_range_km(self) -> float:
        """Length of the path of a day."""

    @property
    def activity(self) -> str:
        """One of diurnal, nocturnal, crepuscular and cathemeral."""


def index_names(species: Mapping[str, AnimalTraits], reported: Sequence[str]) -> dict[str, int]:
    """Map each name in lower case, common or scientific, to its position among `reported`."""
    index = {name.casefold(): place for place, name in enumerate(reported)}
    for name, one in species.items():
        if name in reported:
            index.setdefault(one.scientific_name.casefold(), reported.index(name))
    return index


def find_species_within(names: Iterable[str], species: Mapping[str, AnimalTraits]) -> dict[str, frozenset[str]]:
    """Return, for each of these names that is a genus, a family … of some species, the species inside it.

    A cautious classifier reports Felidae where it might report lion. Ancestors are those of the bundled vocabulary; for
    a species that it lacks, those of the genus.
    """
    # Taxa above species have names of one word. Without such a name the vocabulary is not opened.
    asked = {name for name in names if name and " " not in name.strip()}
    if not asked:
        return {}
    vocabulary = load_vocabulary()
    above = {name: _list_ancestors(vocabulary, one.scientific_name) for name, one in species.items()}
    found = {name: frozenset(s for s, words in above.items() if name.casefold() in words) for name in sorted(asked)}
    return {name: inside for name, inside in found.items() if inside}


def _list_ancestors(vocabulary: Vocabulary, scientific_name: str) -> set[str]:
    """Return the names in lower case of all taxa above a species, its genus included."""
    genus = scientific_name.partition(" ")[0]
    taxa = vocabulary.resolve(scientific_name, suggest=False).taxa
    taxa = taxa or vocabulary.resolve(genus, rank="genus", suggest=False).taxa
    return {genus.casefold()} | {name.casefold() for taxon in taxa for name in taxon.lineage if name}


def select_target_species(taxa: Sequence[str], species: Mapping[str, AnimalTraits]) -> np.ndarray:
    """Mark the species among these taxa: bool [s]; all species if `taxa` is empty.

    A taxon is a common name, a scientific name or a name above species.
    """
    if not taxa:
        return np.ones(len(species), bool)
    index, inside = index_names(species, list(species)), find_species_within(taxa, species)
    wanted = {index[name.casefold()] for name in taxa if name.casefold() in index}
    wanted |= {list(species).index(one) for within in inside.values() for one in within}
    return np.isin(np.arange(len(species)), list(wanted))
