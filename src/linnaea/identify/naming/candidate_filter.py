"""The leaves of the vocabulary that are candidates: those in clades, and those in a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linnaea.taxonomy.resolver import Resolution
from linnaea.taxonomy.vocabulary import N_EXPLAINED, Vocabulary


def find_candidate_leaves(
    vocabulary: Vocabulary, within: Sequence[str] = (), among_path: Path | None = None
) -> tuple[np.ndarray | None, str]:
    """Sorted int32 leaves below any taxon of `within` and below any name of a file, and a note on unknown names.

    None stands for all leaves. Raise ValueError for an unknown taxon in `within`, for a list without any known name,
    and if no leaf fulfils both conditions.
    """
    leaves = vocabulary.leaves_within(within) if within else None
    note = ""
    if among_path is not None:
        listed, unknown = vocabulary.leaves_from_list(among_path)
        if unknown:
            shown = ", ".join(map(_explain, unknown[:N_EXPLAINED]))
            more = f" and {len(unknown) - N_EXPLAINED} more" if len(unknown) > N_EXPLAINED else ""
            note = f"{among_path}: {len(unknown)} names are not in the vocabulary: {shown}{more}"
        if not len(listed):
            raise ValueError(note or f"{among_path} holds no names; write one name on each line")
        leaves = listed if leaves is None else np.intersect1d(leaves, listed).astype(np.int32)
    if leaves is not None and not len(leaves):
        raise ValueError(f"no taxon of {among_path} lies within {' or '.join(within)}; widen --within or --among")
    return leaves, note


def _explain(resolution: Resolution) -> str:
    """An unknown name and the nearest known name: "'Felis cattus' (nearest: Felis catus)"."""
    nearest = f" (nearest: {resolution.suggestions[0].name})" if resolution.suggestions else ""
    return f"{resolution.query!r}{nearest}"
