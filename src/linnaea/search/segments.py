"""The stretches of candidates between the bounds of taxa: where masses are added up.

Shape suffixes: m candidate leaves, c cells, s stretches.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from linnaea.search.coarse_quantizer import Look
from linnaea.search.rank_intervals import RankIntervals

# Leaves added up in float32 before the sum goes on in float64: an error of at most 64 half-units in the last place.
LONGEST_RUN = 64


class Stretches:
    """Runs of candidates that no cell and no taxon of the ranks `asked` for cuts, of LONGEST_RUN at most.

    `bounds_s` is where each begins, `cell_s` its cell, `stretch_m` the stretch of each candidate; those of cell i begin at
    `first_c[i]` (the last entry is what follows). `edges`: for each of these ranks the stretches that its taxa begin and end with; not
    for the like-leaves rank.
    """

    def __init__(self, look: Look, ranks: list[RankIntervals], asked: Iterable[int]):
        m, start_c = len(look.candidates), look.candidates.start_c
        cut = [r for r in asked if not ranks[r].like_leaves]
        edges = [edge for r in cut for edge in (ranks[r].start, ranks[r].end)]
        bounds = np.unique(np.concatenate([*edges, np.arange(0, m, LONGEST_RUN), start_c]))
        self.bounds_s = bounds[bounds < m]
        self.first_c = np.append(np.searchsorted(self.bounds_s, start_c[:-1]), len(self.bounds_s))
        self.cell_s = np.repeat(np.arange(len(start_c) - 1, dtype=np.int32), np.diff(self.first_c))
        self.stretch_m = np.repeat(np.arange(len(self.bounds_s), dtype=np.int32), np.diff(self.bounds_s, append=m))
        self.ranks = ranks
        self.edges = {
            r: tuple(np.searchsorted(self.bounds_s, edge) for edge in (ranks[r].start, ranks[r].end)) for r in cut
        }

    def __len__(self) -> int:
        return len(self.bounds_s)


def blocks(start_c: np.ndarray, most: int) -> list[slice]:
    """Cells in runs of about `most` candidates, given where each begins (the last entry is what follows)."""
    n_cells = len(start_c) - 1
    begins = np.unique(np.searchsorted(start_c[:-1], np.arange(0, start_c[-1], most)))
    begins = begins[begins < n_cells]
    return [slice(*pair) for pair in zip(begins.tolist(), [*begins[1:].tolist(), n_cells], strict=True)]


def sums(values_mb: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Sums float32 [s, b] from each start to the next."""
    b = values_mb.shape[1]
    if b == 1:
        return np.add.reduceat(values_mb[:, 0], starts)[:, None]
    if b % 2:
        return np.add.reduceat(values_mb, starts, axis=0)
    # numpy adds up column by column: two of them at once as complex numbers
    return np.add.reduceat(values_mb.view(np.complex64), starts, axis=0).view(np.float32)


def ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The numbers of all ranges, one after the other."""
    sizes = ends - starts
    return np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
