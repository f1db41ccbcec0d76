"""Embedding many leaves in chunks that survive a stop.

Shape suffixes: n leaves of a chunk, d vector dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from linnaea.embed.names.text_embedding import embed_leaves, uses_common_names
from linnaea.model.core.contract import Model
from linnaea.store import atomic_path
from linnaea.terminal import Progress

logger = logging.getLogger(__name__)

# Leaves that are embedded and saved together: the most that a stopped run loses. Chunks are smaller for large text
# encoders and for many templates, so that each takes seconds: with a full chunk a token meets at most CHUNK_WEIGHTS.
CHUNK_LEAVES = 8192
MIN_CHUNK_LEAVES = 256
CHUNK_WEIGHTS = 10_000_000


def count_text_weights(model: Model) -> int:
    """Weights that a token meets in the text encoder, roughly; 0 for a model that does not describe its encoder."""
    config = getattr(model, "text_config", None)
    return 12 * config.n_layers * config.width**2 if config else 0


def chunk_size(model: Model) -> int:
    """Leaves of one chunk. It depends only on the model, so that a resumed run uses the same chunks."""
    size = CHUNK_LEAVES // len(model.card.templates)
    return max(MIN_CHUNK_LEAVES, size * CHUNK_WEIGHTS // max(CHUNK_WEIGHTS, count_text_weights(model)))


def embed_in_chunks(
    model: Model, vocabulary, leaves: np.ndarray, part_dir: Path, dtype: type = np.float16
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first position, vectors [n, d] of `dtype`) of each chunk of `leaves`; save each chunk in `part_dir`.

    A resumed run reads the chunks that are in `part_dir`; the caller removes the folder once all vectors are saved
    elsewhere. Two runs at once write identical files and do not harm each other. Progress is shown where notices are.
    """
    size = chunk_size(model)
    common_name = vocabulary.common_name if uses_common_names(model) else None
    starts = range(0, len(leaves), size)
    path_of = {start: part_dir / f"{start:09}-{min(start + size, len(leaves)):09}.npy" for start in starts}
    done = sum(min(size, len(leaves) - start) for start in starts if path_of[start].exists())
    progress = Progress(len(leaves), "names", done=done, quiet=not logger.isEnabledFor(logging.INFO))
    if done < len(leaves):
        resumed = f"; {done:,} are done already" if done else ""
        logger.info(f"{model.card.name}: embedding {len(leaves):,} names{resumed}")
    try:
        for start in starts:
            part = leaves[start : start + size]
            if not path_of[start].exists():
                vectors_nd = embed_leaves(model, vocabulary.tree, part, common_name).astype(dtype)
                with atomic_path(path_of[start]) as temporary_path, temporary_path.open("wb") as handle:
                    np.save(handle, vectors_nd)
                progress.advance(len(part))
            yield start, np.load(path_of[start])
    finally:
        progress.close()
