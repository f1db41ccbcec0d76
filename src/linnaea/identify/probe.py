"""The fast scores of one image: only the leaves of its likeliest cells are read, and the mass of the others is estimated.

1. Cells in the order of the mass that the normal model gives them (`look`). 2. The leaves of the first FIRST_LEAVES, then
of as many more as it takes until what the unread cells hold, at CAUTION times the usual variance, is at most MOST_UNREAD of the
total; where MOST_LEAVES do not do, the image is left to the exact way (None) unless the unread leaves that are likelier than the
k-th best are MOST_BETTER at most, as the normal model expects them, and no more than HALF of the mass is unread. 3. The
likeliest leaves are read from the exact vectors. A taxon's mass is what was read of it plus its share of the unread cells.

`unread` is the share of mass at CAUTION times the usual variance that was not read: it bounds the error of any probability, as
far as the logits within an unread cell spread no wider than that. `benchmarks/scoring_speed.py` counts how often they do.

Shape suffixes: c cells, h leaves read, d vector dimensions.
"""

from __future__ import annotations

import numpy as np

from linnaea.embed.coarse import Queries
from linnaea.identify.intervals import RankIntervals, taxa_of_leaves
from linnaea.identify.look import Cells, Look, normal_cdf

MOST_UNREAD = 0.01
HALF = 0.5
MOST_BETTER = 0.15
FIRST_LEAVES = 4096
MOST_LEAVES = 32768
LEAST_VARIANCE = np.float32(1e-6)
# Leaves whose exact vectors are read, at least; four times as many as are asked for.
MOST_LIKELY = 64
# Ranks with so few taxa are added up whole; of others only the taxa that were read of.
FEW_TAXA = 16384


class Probe:
    """Reads the likeliest cells of one scorer's candidates."""

    def __init__(self, look: Look, ranks: list[RankIntervals]):
        self.look, self.ranks = look, ranks
        self.start_c = look.candidates.start_c
        self.size_c = np.diff(self.start_c)
        # the cells that the taxa of each rank begin and end in
        self.places = [None if rank.like_leaves else (self._place(rank.start), self._place(rank.end)) for rank in ranks]

    def _place(self, position: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.start_c, position, side="right") - 1

    def score(self, queries: Queries, cells: Cells, image: int, refusal_logit_f: np.ndarray, k: int) -> Probed | None:
        """What was found of an image, or None where the exact way must do it."""
        log_mass_c, upper_c = cells.log_mass(image), cells.upper_log_mass(image).astype(np.float64)
        n_first = min(MOST_LEAVES // 8, len(log_mass_c))
        order = np.argpartition(-log_mass_c, n_first - 1)[:n_first]
        order = order[np.argsort(-log_mass_c[order], kind="stable")]
        n_leaves = np.cumsum(self.size_c[order])
        n_cells = min(int(np.searchsorted(n_leaves, FIRST_LEAVES)) + 1, n_first)
        codes, scale = queries.one(image), queries.scale_b[image]
        chosen_c = order[:n_cells]
        position, logit = self.look.coarse_logits(codes, scale, chosen_c)
        # the largest of all, the upper estimates of unread cells included, so that no exp overflows
        reference = max(float(logit.max()), float(upper_c.max()), refusal_logit_f.max(initial=-np.inf))
        upper_mass_c = np.exp(upper_c - reference)
        mass_c = np.exp(log_mass_c.astype(np.float64) - reference)
        refusal_mass = float(np.exp(refusal_logit_f - reference).sum())
        mass_c[chosen_c] = 0
        total = float(np.exp(logit - np.float32(reference)).sum(dtype=np.float64) + mass_c.sum()) + refusal_mass
        unread_n = np.maximum(upper_mass_c.sum() - np.cumsum(upper_mass_c[order]), 0)
        enough = int(np.argmax(unread_n <= MOST_UNREAD * total)) + 1
        if unread_n[enough - 1] > MOST_UNREAD * total or n_leaves[enough - 1] > MOST_LEAVES:
            # so much stays unread: enough is what the best cannot be changed without
            kth = float(np.partition(logit, len(logit) - k)[len(logit) - k]) if len(logit) >= k else -np.inf
            most = max(n_cells, int(np.searchsorted(n_leaves, MOST_LEAVES, side="right")))
            better_n = np.append(self._better(cells, image, order[:most], kth), 0.0)
            better_n = np.cumsum(better_n[::-1])[::-1][1:]
            others_c = np.ones(len(mass_c), bool)
            others_c[order[:most]] = False
            rest = self._better(cells, image, np.flatnonzero(others_c), kth).sum()
            done_n = (better_n + rest <= MOST_BETTER) & (unread_n[:most] <= HALF * total)
            if not done_n.any():
                return None
            enough = max(n_cells, int(np.argmax(done_n)) + 1)
        if enough > n_cells:
            more = self.look.coarse_logits(codes, scale, order[n_cells:enough])
            position, logit = np.concatenate([position, more[0]]), np.concatenate([logit, more[1]])
            by_position = np.argsort(position, kind="stable")
            position, logit = position[by_position], logit[by_position]
            chosen_c = order[:enough]
            mass_c[chosen_c] = 0
        return Probed(
            self, queries, cells, image, np.sort(chosen_c), position, logit, mass_c,
            refusal_logit_f, reference, float(unread_n[len(chosen_c) - 1]), k,
        )  # fmt: skip


    def _better(self, cells: Cells, image: int, of_c: np.ndarray, least: float) -> np.ndarray:
        """How many leaves of some cells have a larger logit than `least`, as the normal model has it."""
        mean_c = cells.logit_bc[image, of_c]
        if self.look.candidates.prior_m is not None:
            mean_c = mean_c + cells.log_weight_c[of_c] - np.log(self.size_c[of_c])
        return self.size_c[of_c] * normal_cdf((mean_c - least) / np.sqrt(np.maximum(cells.variance_c[of_c], LEAST_VARIANCE)))


class Probed:
    """One image. `total` mass, `refusal_mass`, `leaf_cosine`, `leaf_margin` and `entropy` as in `Scores`; `unread` as above."""

    def __init__(
        self, probe: Probe, queries: Queries, cells: Cells, image: int, chosen_c, position_h, logit_h, mass_c, refusal_logit_f, reference,
        unread_mass: float, k: int,
    ):  # fmt: skip
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
        weighted = float((self._mass_h * (logit_h - reference)).sum() + (refusal_mass_f * (refusal_logit_f - reference)).sum())
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
