"""Confusion of a classifier: for each true species, how often it is reported under which name.

A confusion table is a CSV file. Its first column is `true`; every other column is a name that may be reported, usually
with `unidentified` among them. Cells are shares or counts, and each row is divided by its sum. A species without a row
is always reported under its own name.

Shape suffixes: s true species, r reported names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linnaea.standards.commented_csv import check_width, parse_rows, read_csv_text

UNIDENTIFIED = "unidentified"
MOST_UNRESOLVED = 0.99
"""largest share that may stop at a name above species, so that every species keeps some chance of its own name"""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Shares of reported names for each true species. An empty table reports everything under its own name."""

    true: tuple[str, ...] = ()
    "species that have a row"
    reported: tuple[str, ...] = ()
    "names that may be reported"
    share: tuple[tuple[float, ...], ...] = ()
    "one row for each true species; each row sums to 1"

    def __post_init__(self) -> None:
        if len(self.share) != len(self.true) or len(set(self.true)) < len(self.true):
            raise ValueError(f"confusion of {', '.join(self.true) or 'none'}: give exactly one row for each species")
        for name, row in zip(self.true, self.share, strict=True):
            if (
                len(row) != len(self.reported)
                or not all(s >= 0 for s in row)
                or not math.isclose(sum(row), 1, abs_tol=1e-6)
            ):
                raise ValueError(
                    f"confusion of {name!r}: {row} must be {len(self.reported)} shares from 0 up that sum to 1"
                )

    def list_names(self, species: Sequence[str]) -> tuple[str, ...]:
        """List the names that may be reported where these species live: their own, then the table's other names."""
        return tuple(dict.fromkeys((*species, *self.reported)))

    def build_matrix(self, species: Sequence[str]) -> np.ndarray:
        """Return the share of each reported name (`list_names`) for each true species [s, r]; rows sum to 1."""
        names = self.list_names(species)
        share_sr = np.eye(len(species), len(names))
        for row, name in enumerate(species):
            if name in self.true:
                share_sr[row] = 0
                for reported, share in zip(self.reported, self.share[self.true.index(name)], strict=True):
                    share_sr[row, names.index(reported)] = share
        return share_sr


CERTAIN = Confusion()
"""the confusion of a classifier that never errs"""


def estimate_confusion(
    names: Sequence[str], species: Sequence[str], within: Mapping[str, Collection[str]]
) -> Confusion:
    """Estimate the confusion of an untested classifier from the names that it reported.

    Every species is assumed to stay unidentified as often as all animals together. `within` maps a reported name above
    species to the species inside it: each of these is assumed to be reported under that name as often as all of them
    together.
    """
    count = Counter(names)
    wide = {UNIDENTIFIED: frozenset(species)} if count[UNIDENTIFIED] else {}
    wide |= {name: frozenset(inside) for name, inside in within.items() if count[name]}
    if not wide:
        return CERTAIN
    # From the widest name to the narrowest: an animal that stays unidentified cannot be reported as its family.
    ordered = sorted(wide, key=lambda name: (-len(wide[name]), name != UNIDENTIFIED, name))
    stays = _estimate_unresolved(count, len(names), ordered, wide)
    rows = []
    for one in species:
        left, row = 1.0, dict.fromkeys((*species, *ordered), 0.0)
        for name in ordered:
            if one in wide[name]:
                row[name], left = left * stays[name], left * (1 - stays[name])
        row[one] = left
        rows.append(tuple(row.values()))
    return Confusion(true=tuple(species), reported=(*species, *ordered), share=tuple(rows))


def _estimate_unresolved(
    count: Counter, n_names: int, ordered: Sequence[str], wide: Mapping[str, frozenset]
) -> dict[str, float]:
    """Return, for each wide name, the share of the animals that reach it and get no narrower name."""
    stays = {}
    for place, name in enumerate(ordered):
        inside = [*(one for one in ordered[place:] if wide[one] <= wide[name]), *wide[name]]
        total = n_names if name == UNIDENTIFIED else sum(count[one] for one in dict.fromkeys(inside))
        stays[name] = min(count[name] / total, MOST_UNRESOLVED)
    return stays


def read_confusion(path: Path | str) -> Confusion:
    """Read the confusion table of a CSV file. Raise ValueError in one line for a table that cannot be used."""
    path = Path(path)
    rows = parse_rows(read_csv_text(path, "confusion table", "true, then one for each reported name"))
    if not rows.fieldnames or rows.fieldnames[0] != "true":
        raise ValueError(
            f"{path.name}: the first column is not `true`; call it `true`, and the other columns by the reported names"
        )
    reported, true, share = tuple(rows.fieldnames[1:]), [], []
    for row in rows:
        check_width(row, path.name)
        try:
            cells = [float(row[name] or 0) for name in reported]
        except ValueError as error:
            raise ValueError(f"{path.name}: row {row['true']!r}: {error}; write shares or counts") from None
        if not all(math.isfinite(cell) and cell >= 0 for cell in cells) or not sum(cells) > 0:
            raise ValueError(f"{path.name}: row {row['true']!r} has no shares; write numbers from 0 up, not all 0")
        true.append(row["true"])
        share.append(tuple(cell / sum(cells) for cell in cells))
    return Confusion(true=tuple(true), reported=reported, share=tuple(share))
