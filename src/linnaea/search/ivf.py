"""The fast scores of one image: only the leaves of its likeliest cells are read, and the mass of the others is estimated.

1. Cells in the order of the mass that the normal model gives them (`look`). 2. The leaves of the first FIRST_LEAVES, then of as many
more as it takes until what the unread cells hold, at CAUTION times the usual variance, is at most MOST_UNREAD of the total (if
MOST_LEAVES do), and until the unread leaves that are likelier than the k-th best are MOST_BETTER at most, as the normal model expects
them, and no more than HALF of the mass is unread (if MOST_FOR_BEST do). Where neither comes true the image is left to the exact way
(None). 3. The likeliest leaves are read from the exact vectors. A taxon's mass is what was read of it plus its share of the unread
cells.

`unread` is the share of mass at CAUTION times the usual variance that was not read: it bounds the error of any probability, as
far as the logits within an unread cell spread no wider than that. `benchmarks/scoring_speed.py` counts how often they do.

Shape suffixes: c cells, h leaves read, d vector dimensions.
"""

from __future__ import annotations

import numpy as np

from linnaea.search.coarse_quantizer import Cells, Look, normal_cdf
from linnaea.search.quantized_table import Queries
from linnaea.search.rank_intervals import RankIntervals, taxa_of_leaves

MOST_UNREAD = 0.01
HALF = 0.5
MOST_BETTER = 0.02
FIRST_LEAVES = 4096
MOST_LEAVES = 32768
MOST_FOR_BEST = 131072
# Cells that are put in order at first.
FIRST_CELLS = 1024
LEAST_VARIANCE = np.float32(1e-6)
# Leaves whose exact vectors are read, at least; four times as many as are asked for.
MOST_LIKELY = 32
# Ranks with so few taxa are added up whole; of others only the taxa that were read of.
FEW_TAXA = 16384


class Probe:
    """Reads the likeliest cells of one scorer's candidates."""

    def __init__(self, look: Look, ranks: list[RankIntervals]):
        self.look, self.ranks = look, ranks
        self.start_c = look.candidates.start_c
        self.size_c = np.diff(self.start_c)
        self._deviation_c = np.sqrt(np.maximum(look.variance_c, LEAST_VARIANCE))
        # the cells that the taxa of each rank begin and end in
        self.places = [None if rank.like_leaves else (self._place(rank.start), self._place(rank.end)) for rank in ranks]

    def _place(self, position: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.start_c, position, side="right") - 1

    def score(self, queries: Queries, cells: Cells, image: int, refusal_logit_f: np.ndarray, k: int) -> Probed | None:
        """What was found of an image, or None where the exact way must do it."""
        log_mass_c, upper_c = cells.log_mass(image), cells.upper_log_mass(image)
        n_first = min(FIRST_CELLS, len(log_mass_c))
        order = np.argpartition(-log_mass_c, n_first - 1)[:n_first]
        order = order[np.argsort(-log_mass_c[order], kind="stable")]
        n_leaves = np.cumsum(self.size_c[order])
        n_cells = min(int(np.searchsorted(n_leaves, FIRST_LEAVES)) + 1, len(order))
        codes, scale = queries.one(image), queries.scale_b[image]
        chosen_c = order[:n_cells]
        position, logit = self.look.coarse_logits(codes, scale, chosen_c)
        # the largest of all, the upper estimates of unread cells included, so that no exp overflows
        reference = max(float(logit.max()), float(upper_c.max()), refusal_logit_f.max(initial=-np.inf))
        upper_mass_c, mass_c = (
            np.exp(log_c - np.float32(reference)).astype(np.float64) for log_c in (upper_c, log_mass_c)
        )
        refusal_mass = float(np.exp(refusal_logit_f - reference).sum())
        mass_c[chosen_c] = 0
        total = float(np.exp(logit - np.float32(reference)).sum(dtype=np.float64) + mass_c.sum()) + refusal_mass
        unread_n = np.maximum(upper_mass_c.sum() - np.cumsum(upper_mass_c[order]), 0)
        enough = _first((unread_n <= MOST_UNREAD * total) & (n_leaves <= MOST_LEAVES))
        kth = float(np.partition(logit, len(logit) - k)[len(logit) - k]) if len(logit) >= k else -np.inf
        better_c = self._better(cells, image, kth)
        for_best = self._enough_for_best(order, better_c, upper_mass_c, HALF * total)
        if for_best is None and enough is None and len(order) < len(log_mass_c):
            order = self._all_in_order(log_mass_c, order)
            for_best = self._enough_for_best(order, better_c, upper_mass_c, HALF * total)
        if enough is None and for_best is None:
            return None
        enough = max(enough or 0, for_best or 0)
        if enough > n_cells:
            more = self.look.coarse_logits(codes, scale, order[n_cells:enough])
            position, logit = np.concatenate([position, more[0]]), np.concatenate([logit, more[1]])
            by_position = np.argsort(position, kind="stable")
            position, logit = position[by_position], logit[by_position]
            chosen_c = order[:enough]
            mass_c[chosen_c] = 0
        return Probed(
            self,
            queries,
            cells,
            image,
            np.sort(chosen_c),
            position,
            logit,
            mass_c,
            refusal_logit_f,
            reference,
            max(0.0, float(upper_mass_c.sum() - upper_mass_c[chosen_c].sum())),
            k,
        )

    def _all_in_order(self, log_mass_c: np.ndarray, first: np.ndarray) -> np.ndarray:
        """All cells, the likeliest first, of which the `first` are in order already."""
        others_c = np.ones(len(log_mass_c), bool)
        others_c[first] = False
        others = np.flatnonzero(others_c)
        return np.concatenate([first, others[np.argsort(-log_mass_c[others], kind="stable")]])

    def _enough_for_best(
        self, order: np.ndarray, better_c: np.ndarray, mass_c: np.ndarray, most_mass: float
    ) -> int | None:
        """How many cells, in this order, are to be read so that others hold MOST_BETTER leaves that are better than the best
        read, and that mass, at most; None where these have more than MOST_FOR_BEST leaves, or are not among them."""
        left_n = better_c.sum() - np.cumsum(better_c[order])
        mass_n = mass_c.sum() - np.cumsum(mass_c[order])
        few_n = np.cumsum(self.size_c[order]) <= MOST_FOR_BEST
        return _first((left_n <= MOST_BETTER) & (mass_n <= most_mass) & few_n)

    def _better(self, cells: Cells, image: int, least: float) -> np.ndarray:
        """How many leaves of each cell have a larger logit than `least`, as the normal model has it; float64 [c]."""
        mean_c = cells.logit_bc[image]
        if self.look.candidates.prior_m is not None:
            mean_c = mean_c + cells.log_weight_c - np.log(self.size_c)
        return self.size_c * normal_cdf((mean_c - np.float32(least)) / self._deviation_c).astype(np.float64)


def _first(true_n: np.ndarray) -> int | None:
    """The number of items up to the first that is true."""
    first = int(np.argmax(true_n))
    return first + 1 if true_n[first] else None


class Probed:
    """One image. `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin` and `entropy` as in `Scores`; `unread` as above."""

    def __init__(
        self,
        probe: Probe,
        queries: Queries,
        cells: Cells,
        image: int,
        chosen_c,
        position_h,
        logit_h,
        mass_c,
        refusal_logit_f,
        reference,
        unread_mass: float,
        k: int,
    ):
        self._probe, self._position_h, self._chosen_c = probe, position_h, chosen_c
        self._exact, self._fine = queries.exact(image), queries.fine(slice(image, image + 1))
        self._logit_c, self._reference = cells.logit_bc[image], reference
        look = probe.look
        size = probe.size_c[chosen_c]
        logit_h = logit_h.astype(np.float64) + np.repeat(cells.missed_bc[image, chosen_c], size)
        prior_h = look.candidates.prior(position_h)
        self._cosine_h = (logit_h - prior_h) / look.scale
        n_likely = min(max(MOST_LIKELY, 4 * k), len(logit_h))
        likely = np.sort(np.argpartition(-logit_h, n_likely - 1)[:n_likely])
        self._cosine_h[likely] = look.exact_cosines(self._exact, position_h[likely])
        logit_h = look.scale * self._cosine_h + prior_h
        self._likely, self._mass_h = likely, np.exp(logit_h - reference)

        refusal_mass_f = np.exp(refusal_logit_f - reference)
        self.refusal_mass = float(refusal_mass_f.sum())
        self.total = float(self._mass_h.sum() + mass_c.sum()) + self.refusal_mass
        self.unread = unread_mass / self.total
        # in a cell that was not read, mass lies where logits are a variance above the centroid's
        weighted = float(
            (self._mass_h * (logit_h - reference)).sum() + (refusal_mass_f * (refusal_logit_f - reference)).sum()
        )
        weighted += float((mass_c * (self._logit_c + cells.variance_c - reference)).sum())
        self.entropy = max(0.0, float(np.log(self.total)) - weighted / self.total)
        first, *others = likely[np.argsort(-logit_h[likely], kind="stable")[:2]].tolist()
        self.leaf_cosine = float(self._cosine_h[first])
        self.leaf_margin = float(logit_h[first] - logit_h[others[0]]) if others else np.inf

        # mass before each cell, and within those that were read before each leaf
        self._first_h = np.full(len(mass_c) + 1, -1)
        self._first_h[chosen_c] = np.cumsum(size) - size
        self._before_h = np.concatenate([[0.0], np.cumsum(self._mass_h)])
        read_c = np.zeros(len(mass_c))
        read_c[chosen_c] = self._before_h[self._first_h[chosen_c] + size] - self._before_h[self._first_h[chosen_c]]
        self._share_c = np.append(mass_c / probe.size_c, 0.0)
        self._before_c = np.concatenate([[0.0], np.cumsum(mass_c + read_c)])

    def _mass_before(self, position: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """The mass of all candidates before some positions in some cells; that of an unread cell spread evenly over its leaves."""
        into = position - self._probe.start_c[cell]
        first = self._first_h[cell]
        read = self._before_h[first + into] - self._before_h[first]
        return self._before_c[cell] + np.where(first >= 0, read, into * self._share_c[cell])

    def taxa(self, r: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes, masses, starts and ends of the taxa of a rank, of a large rank of those that were read of."""
        rank, places = self._probe.ranks[r], self._probe.places[r]
        if rank.like_leaves:
            position, mass = self._position_h[self._likely], self._mass_h[self._likely]
            return taxa_of_leaves(rank, position, mass, k, self._read_mass)
        node, start, end, (first, last) = rank.node, rank.start, rank.end, places
        if len(node) > FEW_TAXA:
            near = self._taxa_read(rank)
            node, start, end, first, last = (array[near] for array in (node, start, end, first, last))
        return node, self._mass_before(end, last) - self._mass_before(start, first), start, end

    def _taxa_read(self, rank: RankIntervals) -> np.ndarray:
        """Which taxa of a rank reach into the cells that were read."""
        first = np.searchsorted(rank.end, self._probe.start_c[self._chosen_c], side="right")
        last = np.searchsorted(rank.start, self._probe.start_c[self._chosen_c + 1], side="left")
        size = np.maximum(last - first, 0)
        near = np.repeat(first - np.cumsum(size) + size, size) + np.arange(size.sum())
        return near[np.diff(near, prepend=-1) > 0]

    def _read_mass(self, position: np.ndarray) -> np.ndarray:
        look = self._probe.look
        cosine = look.exact_cosines(self._exact, position)
        return np.exp(look.scale * cosine.astype(np.float64) + look.candidates.prior(position) - self._reference)

    def largest_cosine(self, start: int, end: int) -> float:
        """The largest cosine of the candidates from `start` to `end`, as far as they were read."""
        first, last = np.searchsorted(self._position_h, (start, end))
        if last > first:
            return float(self._cosine_h[first:last].max())
        return self._probe.look.largest_cosine(self._fine, self._logit_c, start, end)
