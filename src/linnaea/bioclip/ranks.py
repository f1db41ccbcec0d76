"""The ranks, models and defaults of pybioclip, under pybioclip's names, with its error messages."""

from __future__ import annotations

from enum import Enum

from linnaea.records import RANKS
from linnaea.taxonomy.name_text import epithet

BIOCLIP_V1_MODEL_STR = "hf-hub:imageomics/bioclip"
BIOCLIP_V2_MODEL_STR = "hf-hub:imageomics/bioclip-2"
BIOCLIP_MODEL_STR = BIOCLIP_V2_MODEL_STR
# The data sets that publish a table of name vectors for a model.
TOL_MODELS = {
    BIOCLIP_V1_MODEL_STR: "imageomics/TreeOfLife-10M",
    BIOCLIP_V2_MODEL_STR: "imageomics/TreeOfLife-200M",
}
# The version of pybioclip whose classes and commands these are.
PYBIOCLIP_VERSION = "2.1.6"
BATCH_SIZE = 10
PIXELS = ("auto", "squash", "model")
SPECIES_EPITHET = "species_epithet"
COMMON_NAME = "common_name"


class Rank(Enum):
    """A rank of the tree of life, kingdom 0 to species 6."""

    KINGDOM = 0
    PHYLUM = 1
    CLASS = 2
    ORDER = 3
    FAMILY = 4
    GENUS = 5
    SPECIES = 6

    def get_label(self) -> str:
        """The rank in lower case, "genus"."""
        return self.name.lower()


def get_rank_labels() -> list[str]:
    """The ranks in lower case, kingdom to species."""
    return [rank.get_label() for rank in Rank]


def get_tol_repo_id(model_str: str) -> str:
    """The data set that publishes the name vectors for a model. Raise ValueError for a model without one."""
    if model_str not in TOL_MODELS:
        raise ValueError(
            f"TreeOfLife predictions are only supported for the following models: {', '.join(TOL_MODELS)}; "
            f"{model_str} needs a table of its own (table=…, or --table)"
        )
    return TOL_MODELS[model_str]


def ensure_tol_supported_model(model_str: str) -> None:
    """Raise ValueError for a model without published name vectors."""
    get_tol_repo_id(model_str)


def list_name_keys(rank: Rank) -> list[str]:
    """The keys of a taxon of this rank in an answer, in pybioclip's order."""
    keys = list(RANKS[: rank.value + 1])
    return [*keys[:-1], SPECIES_EPITHET, "species", COMMON_NAME] if rank is Rank.SPECIES else keys


def split_name(lineage: tuple[str, ...], common_name: str, rank: Rank) -> dict[str, str]:
    """The names of a taxon of this rank by key; `lineage` as in `linnaea.records.Taxon`."""
    parts = list(lineage[: rank.value + 1])
    if rank is Rank.SPECIES:
        parts = [*parts[:-1], epithet(lineage[-1]), lineage[-1], common_name]
    return dict(zip(list_name_keys(rank), parts, strict=True))
