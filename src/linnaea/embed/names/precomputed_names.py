"""Name vectors that exist before they are needed: `linnaea names` makes them, `resolve_name_table` finds them.

A table is an artifact: it can be made on another computer and copied.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.embed.names.candidate_table import MAX_CANDIDATES, CandidateNameTable, load_candidate_table
from linnaea.embed.names.compact_table import CompactTable, load_compact_table, write_compact_table
from linnaea.embed.names.genus_first_table import GenusFirstTable
from linnaea.embed.names.name_table import FullTable, load_name_table, make_table, table_dir, table_manifest
from linnaea.embed.names.published_table import convert_published, load_published, missing_leaves, published_beside
from linnaea.model.core.contract import Model
from linnaea.store import MANIFEST, VECTORS, read_manifest
from linnaea.terminal import format_duration

logger = logging.getLogger(__name__)

# Published vectors that the user did not ask for are used only if the model must embed at most this many more names.
MAX_MISSING = 5000
# Manifest keys in which two tables must agree so that one can replace the other.
IDENTITY_KEYS = ("model_hash", "vocabulary", "text_type", "templates", "n", "d")


@dataclass(frozen=True, kw_only=True)
class NamesConfig:
    """Embed every name of a vocabulary, so that `identify` starts with the exact table.

    The same command resumes a stopped run.
    """

    model: str = "bundled"
    "`bundled`, a model folder, an open_clip checkpoint folder, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    vocabulary: str = "inat"
    "names to embed: `inat`, a table with rank columns, a Darwin Core taxon table, or pybioclip's txt_emb_*.json"
    out: Path | None = field(default=None, metadata={"short": "-o", "metavar": "DIR"})
    "folder for the vectors, to copy elsewhere and give as --name-vectors (default: the cache, where identify looks)"
    compact: bool = False
    "also write names.npz into the model's folder: a small table, which `identify` then uses, with one vector for each "
    "genus and for each species that the model learned"
    quiet: bool = False
    "no progress line"

    def __post_init__(self):
        if self.compact and self.vocabulary != "inat":
            raise ValueError("--compact is for the default vocabulary; leave --vocabulary out")


def main(config: NamesConfig) -> int:
    """Return 0 once the table exists, 130 if the run was stopped."""
    start_s = time.monotonic()
    try:
        # Before the imports in make_names, which take seconds.
        logger.info(f"{config.model}: reading the model and the names …")
        directory, n = _make_names(config)
    except KeyboardInterrupt:
        logger.warning("stopped; the same command resumes the run")
        return 130
    logger.info(f"{n:,} names in {directory} ({format_duration(time.monotonic() - start_s)})")
    return 0


def _make_names(config: NamesConfig) -> tuple[Path, int]:
    """The folder of the table and its number of names."""
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    model = load_model(config.model)
    if config.compact and not hasattr(model, "model_dir"):
        raise ValueError(f"--compact needs a model folder of `linnaea train`; {config.model} is not one")
    vocabulary = load_vocabulary(config.vocabulary, model.card.common_names)
    if config.compact:
        logger.info(f"compact table: {write_compact_table(model, vocabulary)}")
    elif load_compact_table(model, vocabulary) is not None:
        logger.info(f"{config.model} carries a compact table of these names; the complete one serves --names full only")
    return make_table(model, vocabulary, out_dir=config.out), vocabulary.tree.n_leaves


def resolve_name_table(
    path: Path | None, model: Model, vocabulary, *, mode: str = "full", leaves: np.ndarray | None = None
) -> FullTable | GenusFirstTable | CandidateNameTable | CompactTable:
    """The name vectors at `path` (`--name-vectors`), else those in the model's folder, else those of `load_name_table`.

    With `mode` "auto", a compact table in the model's folder is preferred to any other, so that the answers do not
    depend on what is in the cache. `leaves` are the candidates. If they are few, there is no full table and `mode` is
    not `staged`, only their vectors are embedded. Raise ValueError or FileNotFoundError if `path` does not lead to
    vectors of this model and vocabulary.
    """
    if path is not None:
        return _load_given(Path(path).expanduser(), model, vocabulary, leaves)
    if mode == "auto" and (compact := load_compact_table(model, vocabulary)) is not None:
        return compact
    if mode == "auto" and vocabulary.tree.n_leaves <= MAX_CANDIDATES:
        mode = "full"
    if mode == "staged" or read_manifest(table_dir(model, vocabulary)) is not None:
        return load_name_table(model, vocabulary, mode=mode)
    published_path = published_beside(model)
    if published_path is not None:
        converted_dir = convert_published(published_path, model, vocabulary)
        n_missing = len(missing_leaves(converted_dir, leaves))
        if n_missing <= MAX_MISSING or mode == "full":
            return load_published(published_path, model, vocabulary, leaves=leaves)
        logger.info(
            f"{published_path.name} of the model lacks {n_missing:,} of these names and is not used; "
            f"--vocabulary {published_path.with_suffix('.json')} chooses among the names that it has"
        )
    if leaves is not None and len(leaves) <= MAX_CANDIDATES:
        return load_candidate_table(model, vocabulary, leaves)
    return load_name_table(model, vocabulary, mode=mode)


def _load_given(path: Path, model: Model, vocabulary, leaves: np.ndarray | None) -> FullTable:
    """The vectors at `path`: what `linnaea names` wrote, or published ones."""
    if (path / MANIFEST).is_file():
        return _load_artifact(path, model, vocabulary)
    return load_published(path, model, vocabulary, leaves=leaves)


def _load_artifact(path: Path, model: Model, vocabulary) -> FullTable:
    found, wanted = read_manifest(path), table_manifest(model, vocabulary)
    for key in IDENTITY_KEYS:
        if found.get(key) != wanted[key]:
            raise ValueError(
                f"{path} was made with another {key.replace('_', ' ')} ({found.get(key)!r}, here {wanted[key]!r}); "
                "make it again with `linnaea names`"
            )
    return FullTable(path / VECTORS, {**found, "kind": "full"})
