"""What a classifier makes of an animal: for each true species, how often it is reported as which name.

A table is a CSV file: the column `true`, then a column for each name that may be reported, `unidentified` among them;
cells are shares or counts, and each row is divided by its sum. A species without a row is reported as what it is.
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


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Shares of reported names for each true species; empty: everything is reported as what it is."""

    true: tuple[str, ...] = ()
    "species that have a row"
    reported: tuple[str, ...] = ()
    "names that may be reported"
    share: tuple[tuple[float, ...], ...] = ()
    "one row a true species; each sums to 1"

    def __post_init__(self) -> None:
        if len(self.share) != len(self.true) or len(set(self.true)) < len(self.true):
            raise ValueError(f"confusion of {', '.join(self.true) or 'none'}: give one row for each species")
        for name, row in zip(self.true, self.share, strict=True):
            if (
                len(row) != len(self.reported)
                or not all(s >= 0 for s in row)
                or not math.isclose(sum(row), 1, abs_tol=1e-6)
            ):
                raise ValueError(
                    f"confusion of {name!r}: {row} are no shares of {len(self.reported)} names that sum to 1"
                )

    def list_names(self, species: Sequence[str]) -> tuple[str, ...]:
        """What may be reported where these species live: they themselves, then the other names of the table."""
        return tuple(dict.fromkeys((*species, *self.reported)))

    def build_matrix(self, species: Sequence[str]) -> np.ndarray:
        """Share of each reported name (`list_names`) for each true species [s, r]; rows sum to 1."""
        names = self.list_names(species)
        share_sr = np.eye(len(species), len(names))
        for row, name in enumerate(species):
            if name in self.true:
                share_sr[row] = 0
                for reported, share in zip(self.reported, self.share[self.true.index(name)], strict=True):
                    share_sr[row, names.index(reported)] = share
        return share_sr


CERTAIN = Confusion()


def estimate_confusion(
    names: Sequence[str], species: Sequence[str], within: Mapping[str, Collection[str]]
) -> Confusion:
    """What reported names say of a classifier that was never tested: as often as all does each species stay unidentified.

    `within` are names above species and the species inside them: each of these is named so as often as they are together.
    """
    count = Counter(names)
    wide = {UNIDENTIFIED: frozenset(species)} if count[UNIDENTIFIED] else {}
    wide |= {name: frozenset(inside) for name, inside in within.items() if count[name]}
    if not wide:
        return CERTAIN
    # From the widest name to the narrowest: what stays unidentified cannot be named after its family any more.
    ordered = sorted(wide, key=lambda name: (-len(wide[name]), name != UNIDENTIFIED, name))
    stays = {}
    for place, name in enumerate(ordered):
        inside = [*(one for one in ordered[place:] if wide[one] <= wide[name]), *wide[name]]
        total = len(names) if name == UNIDENTIFIED else sum(count[one] for one in dict.fromkeys(inside))
        stays[name] = min(count[name] / total, 0.99)
    rows = []
    for one in species:
        left, row = 1.0, dict.fromkeys((*species, *ordered), 0.0)
        for name in ordered:
            if one in wide[name]:
                row[name], left = left * stays[name], left * (1 - stays[name])
        row[one] = left
        rows.append(tuple(row.values()))
    return Confusion(true=tuple(species), reported=(*species, *ordered), share=tuple(rows))


def read_confusion(path: Path | str) -> Confusion:
    """The table of a CSV file. ValueError in one line for what cannot be."""
    path = Path(path)
    rows = parse_rows(read_csv_text(path, "confusion table", "true, then one for each reported name"))
    if not rows.fieldnames or rows.fieldnames[0] != "true":
        raise ValueError(
            f"{path.name}: the first column is not `true`; name it so, and the others after reported names"
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
