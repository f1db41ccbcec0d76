"""Which leaves of the vocabulary are candidates: clades, and lists of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linnaea.taxonomy.resolver import Resolution
from linnaea.taxonomy.vocabulary import N_EXPLAINED, Vocabulary


def find_candidate_leaves(
    vocabulary: Vocabulary, within: Sequence[str] = (), among: Path | None = None
) -> tuple[np.ndarray | None, str]:
    """Sorted int32 leaves below any taxon of `within` and below any of the file `among`, and a note on names not known.

    None stands for all leaves. Raises ValueError for an unknown taxon in `within`, for a list of which no name is
    known, and where the two leave nothing.
    """
    leaves = vocabulary.leaves_within(within) if within else None
    note = ""
    if among is not None:
        listed, unknown = vocabulary.leaves_from_list(among)
        if unknown:
            shown = ", ".join(map(_explained, unknown[:N_EXPLAINED]))
            more = f" and {len(unknown) - N_EXPLAINED} more" if len(unknown) > N_EXPLAINED else ""
            note = f"{among}: {len(unknown)} names are not in the vocabulary: {shown}{more}"
        if not len(listed):
            raise ValueError(note or f"{among} names nothing; write one name a line")
        leaves = listed if leaves is None else np.intersect1d(leaves, listed).astype(np.int32)
    if leaves is not None and not len(leaves):
        raise ValueError(f"no taxon of {among} lies within {' or '.join(within)}; widen --within or --among")
    return leaves, note


def _explained(resolution: Resolution) -> str:
    """An unknown name and the nearest known one: "'Felis cattus' (nearest: Felis catus)"."""
    nearest = f" (nearest: {resolution.suggestions[0].name})" if resolution.suggestions else ""
    return f"{resolution.query!r}{nearest}"
