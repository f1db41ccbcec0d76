"""The leaves of the vocabulary that are candidates: those in clades, and those in a list of names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from linnaea.standards.name_lists import read_name_list
from linnaea.standards.tables import write_csv
from linnaea.taxonomy.resolver import Resolution
from linnaea.taxonomy.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

# Unknown names that the log names; the file has all of them.
N_EXPLAINED = 3
UNMATCHED_COLUMNS = ("name", "line", "reason", "nearest")


def find_candidate_leaves(
    vocabulary: Vocabulary,
    within: Sequence[str] = (),
    among_path: Path | None = None,
    unmatched_path: Path | None = None,
) -> tuple[np.ndarray | None, str]:
    """Sorted int32 leaves below any taxon of `within` and below any name of a file, and a note on unknown names.

    None stands for all leaves. The unknown names are written to `unmatched_path`, each with its line, the reason and
    the nearest name. Raise ValueError for an unknown taxon in `within`, for a list without any known name, and if no
    leaf fulfils both conditions.
    """
    leaves = vocabulary.leaves_within(within) if within else None
    note = ""
    if among_path is not None:
        lines = {listed.name: listed.line for listed in read_name_list(among_path)}
        listed, unknown = vocabulary.leaves_of_names(lines)
        if unknown:
            note = _describe_unknown(among_path, unknown)
        if unmatched_path is not None and (unknown or unmatched_path.exists()):
            note += _write_unmatched(unmatched_path, unknown, lines)
        if not len(listed):
            raise ValueError(note or f"{among_path} holds no names; write one name on each line")
        leaves = listed if leaves is None else np.intersect1d(leaves, listed).astype(np.int32)
    if leaves is not None and not len(leaves):
        raise ValueError(f"no taxon of {among_path} lies within {' or '.join(within)}; widen --within or --among")
    return leaves, note


def _describe_unknown(among_path: Path, unknown: Sequence[Resolution]) -> str:
    shown = ", ".join(map(_explain, unknown[:N_EXPLAINED]))
    more = f" and {len(unknown) - N_EXPLAINED} more" if len(unknown) > N_EXPLAINED else ""
    counted = "1 name is" if len(unknown) == 1 else f"{len(unknown):,} names are"
    return f"{among_path}: {counted} not in the vocabulary: {shown}{more}"


def _explain(resolution: Resolution) -> str:
    """An unknown name and the nearest known name: "'Felis cattus' (nearest: Felis catus)"."""
    nearest = f" (nearest: {resolution.suggestions[0].name})" if resolution.suggestions else ""
    return f"{resolution.query!r}{nearest}"


def _write_unmatched(path: Path, unknown: Sequence[Resolution], lines: Mapping[str, int]) -> str:
    """Write the names that matched nothing, a table without rows over that of an earlier run; the end of the note."""
    rows = (
        {
            "name": resolution.query,
            "line": lines[resolution.query],
            "reason": resolution.reason,
            "nearest": resolution.suggestions[0].name if resolution.suggestions else "",
        }
        for resolution in unknown
    )
    try:
        write_csv(path, UNMATCHED_COLUMNS, rows)
    except OSError as error:
        return f"; they could not be written to {path} ({(error.strerror or 'output error').lower()})"
    return f"; all of them are listed in {path}" if unknown else ""
