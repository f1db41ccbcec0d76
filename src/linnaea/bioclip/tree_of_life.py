"""The names of a tree-of-life classifier: a published table of vectors, or names that the model embeds."""

from __future__ import annotations

import os
from pathlib import Path

from linnaea.bioclip.ranks import TOL_MODELS
from linnaea.embed.names.compact_table import load_compact_table
from linnaea.embed.names.name_table import load_name_table
from linnaea.embed.names.published_table import (
    HUB_FOLDER,
    SPECIES_STEM,
    load_published,
    published_beside,
    published_files,
)
from linnaea.model.core.contract import Model
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

# A published table's folder, one of its two files, or the name of a vocabulary.
TableSource = str | os.PathLike


def load_tree_of_life(model: Model, model_str: str, table: TableSource | None) -> tuple[Vocabulary, object]:
    """The vocabulary and the name table that `linnaea.search.scorer.Scorer` takes.

    Without `table`, the table beside the model or the one published for `model_str`, else the default vocabulary.
    """
    published_path = _find_published(model, model_str, table)
    if published_path is None:
        vocabulary = load_vocabulary(str(table or "inat"), model.card.common_names)
        return vocabulary, load_compact_table(model, vocabulary) or load_name_table(model, vocabulary)
    _, names_path = published_files(published_path)
    # pybioclip does not have the names of the extra.
    vocabulary = load_vocabulary(names_path).without_extra_names()
    return vocabulary, load_published(published_path, model, vocabulary)


def _find_published(model: Model, model_str: str, table: TableSource | None) -> Path | None:
    """The path of the published table; None if a vocabulary is used."""
    if table is not None:
        path = Path(table).expanduser()
        return path if path.is_dir() or path.suffix in (".npy", ".json") else None
    if (beside := published_beside(model)) is not None:
        return beside
    return fetch_table(TOL_MODELS[model_str]) if model_str in TOL_MODELS else None


def fetch_table(data_set: str) -> Path:
    """The path of the matrix that a data set on the hub publishes, with its names beside it.

    Both are in the cache that pybioclip uses too. Raise ConnectionError if they are not there and cannot be fetched.
    """
    from huggingface_hub import errors, hf_hub_download

    try:
        files = [f"{HUB_FOLDER}/{SPECIES_STEM}{suffix}" for suffix in (".json", ".npy")]
        return [Path(hf_hub_download(data_set, file, repo_type="dataset")) for file in files][-1]
    except (OSError, ValueError, RuntimeError, errors.HTTPError, errors.EntryNotFoundError) as error:
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise ConnectionError(
            f"the names of {data_set} could not be fetched ({reason}); run again, or give a folder that "
            "holds them as the table"
        ) from None
