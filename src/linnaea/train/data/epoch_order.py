"""The order of samples: a pure function of the seed, equal for any number of ranks, threads and restarts.

Position i of a run is sample i mod n of epoch i div n. An epoch takes the parts (shards) in a random order and shuffles
the samples of several parts together. The sample of a position is computed directly, so that a run can resume anywhere.

Shape suffixes: p parts, n samples, w entries of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CACHED_WINDOWS = 4


@dataclass(frozen=True, kw_only=True)
class SampleIndex:
    """Part and row of a sample, the epoch, and how often the epoch has drawn it before (`repeat`)."""

    epoch: int
    part: int
    row: int
    repeat: int = 0


@dataclass(frozen=True)
class _EpochPlan:
    """An epoch: its parts in order, the first position of each window, and the number of draws of each part."""

    parts_p: np.ndarray
    starts: np.ndarray
    draws_p: np.ndarray
    offset: float


class EpochSampler:
    """Draws every sample once per epoch, or with `balance` as often as the weight of its taxon says.

    `window` parts are shuffled together. With `balance` > 0 the expected number of draws of a sample in an epoch is
    proportional to n_t ** -balance, where n_t is the number of samples of its taxon; 1 makes all taxa equally frequent.
    Systematic sampling rounds that number up or down, so that an epoch has as many draws as there are samples.
    """

    def __init__(
        self,
        sizes_p: np.ndarray,
        seed: int,
        *,
        window: int = 64,
        balance: float = 0.0,
        taxa: Callable[[int], np.ndarray] | None = None,
    ):
        self._sizes_p, self._seed, self._window = np.asarray(sizes_p, np.int64), seed, window
        self.n = int(self._sizes_p.sum())
        if self.n == 0:
            raise ValueError("there is no usable sample; give parts that are not empty")
        self._weights = TaxonWeights(len(self._sizes_p), taxa, balance, self.n) if balance else None
        self._plan = lru_cache(CACHED_WINDOWS)(self._make_plan)
        self._entries = lru_cache(CACHED_WINDOWS)(self._make_entries)

    def _make_plan(self, epoch: int) -> _EpochPlan:
        rng = np.random.default_rng((self._seed, epoch, 0))
        parts_p = rng.permutation(len(self._sizes_p))
        offset = float(rng.random())
        draws_p = self._sizes_p if self._weights is None else self._weights.count_draws(offset)
        ends = np.concatenate([[0], np.cumsum(draws_p[parts_p])])
        return _EpochPlan(parts_p, ends[:-1][:: self._window], draws_p, offset)

    def _make_entries(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return part, row and repeat of each draw of a window, in shuffled order."""
        plan = self._plan(epoch)
        parts = plan.parts_p[window * self._window : (window + 1) * self._window]
        rows, repeats = [], []
        for part in parts:
            if self._weights is None:
                rows.append(np.arange(self._sizes_p[part]))
                repeats.append(np.zeros(self._sizes_p[part], np.int64))
            else:
                times_n = self._weights.count_repeats(int(part), plan.offset)
                rows.append(np.repeat(np.arange(len(times_n)), times_n))
                first = np.repeat(np.cumsum(times_n) - times_n, times_n)
                repeats.append(np.arange(len(first)) - first)
        part_w = np.repeat(parts, [len(part) for part in rows])
        order_w = np.random.default_rng((self._seed, epoch, 1 + window)).permutation(len(part_w))
        return part_w[order_w], np.concatenate(rows)[order_w], np.concatenate(repeats)[order_w]

    def locate(self, position: int) -> SampleIndex:
        """Return the sample at a position of the run, counted from 0."""
        epoch, inside = divmod(position, self.n)
        starts = self._plan(epoch).starts
        window = int(np.searchsorted(starts, inside, side="right")) - 1
        part_w, row_w, repeat_w = self._entries(epoch, window)
        at = inside - int(starts[window])
        return SampleIndex(epoch=epoch, part=int(part_w[at]), row=int(row_w[at]), repeat=int(repeat_w[at]))

    def substitute(self, position: int, attempt: int) -> SampleIndex:
        """Draw another sample of the same window for a position that cannot be read. `attempt` counts from 1."""
        epoch, inside = divmod(position, self.n)
        window = int(np.searchsorted(self._plan(epoch).starts, inside, side="right")) - 1
        part_w, row_w, _ = self._entries(epoch, window)
        at = np.random.default_rng((self._seed, position, attempt)).integers(len(part_w))
        # The negative repeat gives it another crop than the regular draw of the sample.
        return SampleIndex(epoch=epoch, part=int(part_w[at]), row=int(row_w[at]), repeat=-attempt)


class TaxonWeights:
    """Expected draws of every sample in an epoch. Only the sums of parts are stored."""

    def __init__(self, n_parts: int, taxa: Callable[[int], np.ndarray] | None, balance: float, n: int):
        if taxa is None:
            raise ValueError(f"balance {balance} needs taxa, but this source has none; set it to 0")
        self._taxa, self._balance = taxa, balance
        numbers, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        pending: list[tuple[np.ndarray, np.ndarray]] = []
        for part in range(n_parts):
            pending.append(np.unique(taxa(part), return_counts=True))
            if len(pending) == 256 or part == n_parts - 1:
                numbers, counts = merge_counts([(numbers, counts), *pending])
                pending = []
        self._numbers, self._counts = numbers, counts
        sums_p = np.array([self._weight(part).sum() for part in range(n_parts)])
        self._scale = n / sums_p.sum()
        self._ends = np.concatenate([[0.0], np.cumsum(sums_p) * self._scale])
        self._ends[-1] = n

    def _weight(self, part: int) -> np.ndarray:
        at = np.searchsorted(self._numbers, self._taxa(part))
        return self._counts[at].astype(float) ** -self._balance

    def count_draws(self, offset: float) -> np.ndarray:
        """Return the draws int64 [p] of each part. Their sum is n."""
        return np.diff(np.floor(self._ends + offset)).astype(np.int64)

    def count_repeats(self, part: int, offset: float) -> np.ndarray:
        """Return the draws int64 [n] of each sample of a part."""
        ends_n = self._ends[part] + np.cumsum(self._weight(part)) * self._scale
        if len(ends_n):
            # The sum of parts and the sum of samples round differently; the sum of parts decides.
            ends_n = np.minimum(ends_n, self._ends[part + 1])
            ends_n[-1] = self._ends[part + 1]
        return np.diff(np.floor(ends_n + offset), prepend=np.floor(self._ends[part] + offset)).astype(np.int64)


def merge_counts(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted distinct numbers and their summed counts."""
    numbers, at = np.unique(np.concatenate([number for number, _ in parts]), return_inverse=True)
    counts = np.zeros(len(numbers), np.int64)
    np.add.at(counts, at, np.concatenate([count for _, count in parts]))
    return numbers, counts
