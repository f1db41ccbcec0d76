"""Name vectors that are there before they are asked for: `linnaea names` makes them, `choose_table` finds them.

A table is an artifact: it can be made on another machine and carried over.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.embed.names.candidate_table import FEW, ChosenTable, load_chosen
from linnaea.embed.names.name_table import (
    FullTable,
    Report,
    StagedTable,
    load_name_table,
    make_table,
    table_dir,
    table_manifest,
)
from linnaea.embed.names.published_table import convert_published, load_published, missing_leaves, published_beside
from linnaea.model.core.contract import Model
from linnaea.store import MANIFEST, VECTORS, read_manifest
from linnaea.terminal import Progress, format_duration

# Vectors that nobody asked for by name are used if the model need not embed more names than this beside them.
MOST_MISSING = 5000
# What two tables must agree on for one to stand for the other.
SAME = ("model_hash", "vocabulary", "text_type", "templates", "n", "d")


@dataclass(frozen=True, kw_only=True)
class NamesConfig:
    """Turns every name of a vocabulary into a vector, so that `identify` begins with the exact table.

    A run that was stopped goes on with the same command.
    """

    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    vocabulary: str = "inat"
    "names to embed: `inat`, a table with rank columns, a Darwin Core taxon table, or pybioclip's txt_emb_*.json"
    out: Path | None = field(default=None, metadata={"short": "-o", "metavar": "DIR"})
    "folder for the vectors, to be carried elsewhere and given as --name-vectors (default: where identify looks by itself)"
    quiet: bool = False
    "no progress line"


def main(config: NamesConfig) -> int:
    """0 when the table is there, 130 when it was stopped."""
    start = time.monotonic()
    try:
        # before the imports below, which take seconds
        _say(config, f"{config.model}: reading the model and the names …")
        directory, n = _make(config)
    except KeyboardInterrupt:
        print("\nlinnaea: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{n:,} names in {directory} ({format_duration(time.monotonic() - start)})", file=sys.stderr)
    return 0


def _make(config: NamesConfig) -> tuple[Path, int]:
    """The folder of the table and how many names it has; says what it is about to do before it begins."""
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    model = load_model(config.model)
    vocabulary = load_vocabulary(config.vocabulary, model.card.common_names)
    out = table_dir(model, vocabulary) if config.out is None else config.out
    progress: Progress | None = None

    def report(done: int, total: int) -> None:
        nonlocal progress
        if progress is None:
            progress = Progress(total, "names", done=done, quiet=config.quiet)
            _say(config, f"{model.card.name}: {total:,} names → {out}" + (f"; going on after {done:,}" if done else ""))
        progress.advance(done - progress.done)

    directory = make_table(model, vocabulary, report=report, out=config.out)
    if progress:
        progress.close()
    return directory, vocabulary.tree.n_leaves


def _say(config: NamesConfig, line: str) -> None:
    if not config.quiet:
        print(line, file=sys.stderr, flush=True)


def choose_table(
    path: Path | None,
    model: Model,
    vocabulary,
    *,
    mode: str = "full",
    leaves: np.ndarray | None = None,
    say: Callable[[str], None] = print,
    report: Report | None = None,
) -> FullTable | StagedTable | ChosenTable:
    """The vectors at `path` (see `--name-vectors`), else those in the model's own folder, else `load_name_table`'s.

    `leaves` are the candidates; of few, their own vectors do, where no table is there and `mode` is not `staged`. Raises ValueError or FileNotFoundError where `path` leads to none of this model and vocabulary.
    """
    if path is not None:
        path = Path(path).expanduser()
        if (path / MANIFEST).is_file():
            return _load_made(path, model, vocabulary)
        return load_published(path, model, vocabulary, leaves=leaves, say=say, report=report)
    if mode == "auto" and vocabulary.tree.n_leaves <= FEW:
        mode = "full"
    beside = published_beside(model)
    there = read_manifest(table_dir(model, vocabulary)) is not None
    few = leaves is not None and len(leaves) <= FEW and mode != "staged" and not there
    if few and beside is None:
        return load_chosen(model, vocabulary, leaves, report=report)
    if beside is None or mode == "staged" or there:
        return load_name_table(model, vocabulary, mode=mode, report=report)
    n_missing = len(missing_leaves(convert_published(beside, model, vocabulary, say=say), leaves))
    if n_missing > MOST_MISSING and mode != "full":
        say(
            f"the model's {beside.name} lacks {n_missing:,} of these names and is not used; "
            f"--vocabulary {beside.with_suffix('.json')} chooses among its own"
        )
        if few:
            return load_chosen(model, vocabulary, leaves, report=report)
        return load_name_table(model, vocabulary, mode=mode, report=report)
    return load_published(beside, model, vocabulary, leaves=leaves, say=say, report=report)


def _load_made(path: Path, model: Model, vocabulary) -> FullTable:
    found, wanted = read_manifest(path), table_manifest(model, vocabulary)
    for key in SAME:
        if found.get(key) != wanted[key]:
            raise ValueError(
                f"{path} was made with another {key.replace('_', ' ')} ({found.get(key)!r}, here {wanted[key]!r}); "
                "make it again with `linnaea names`"
            )
    return FullTable(path / VECTORS, {**found, "kind": "full"})
