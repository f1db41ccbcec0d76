"""Near misses: names a few letters apart, species that moved to another genus, families that were renamed.

Shape suffixes: c candidates, w letters, k nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from linnaea.records import RANK_INDEX
from linnaea.taxonomy.name_index import HashIndex, epithet_stem, name_key
from linnaea.taxonomy.strings import Strings
from linnaea.taxonomy.tree import Tree

SPECIES = RANK_INDEX["species"]
GENUS = RANK_INDEX["genus"]
LONGEST = 100  # longest name that is compared, in letters: distances are int8
FAMILY_ENDINGS = {"idae": "Animalia", "inae": "Animalia", "aceae": "", "oideae": ""}


def edit_distances(word: str, names: Strings, entries: np.ndarray, tolerance: int) -> tuple[np.ndarray, np.ndarray]:
    """The `entries` whose names are within `tolerance` edits of `word`, and their distances; both [c], unordered.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours (optimal string alignment). Letters are
    bytes; ASCII case is ignored.
    """
    query = np.frombuffer(word.encode(), np.uint8) | 0x20
    entries = np.asarray(entries, np.int64)
    if len(query) > LONGEST:
        return entries[:0], entries[:0]
    start_c = names.offset[entries].astype(np.int64)
    size_c = names.offset[entries + 1].astype(np.int64) - start_c
    close = np.abs(size_c - len(query)) <= tolerance
    entries, start_c, size_c = entries[close], start_c[close], size_c[close]
    if not len(entries):
        return entries, np.empty(0, np.int64)
    width = int(size_c.max())
    last = len(names.blob) - 1
    letter_wc = np.stack([names.blob[np.minimum(start_c + j, last)] | 0x20 for j in range(width)])
    row = [np.full(len(entries), j, np.int8) for j in range(width + 1)]
    before: list[np.ndarray] = []
    for i, letter in enumerate(query):
        following = [np.full(len(entries), i + 1, np.int8)]
        for j in range(1, width + 1):
            best = np.minimum(row[j], following[j - 1]) + np.int8(1)
            np.minimum(best, row[j - 1] + (letter_wc[j - 1] != letter), out=best, casting="unsafe")
            if i and j > 1:
                swapped = (letter_wc[j - 2] == letter) & (letter_wc[j - 1] == query[i - 1])
                best = np.where(swapped, np.minimum(best, before[j - 2] + np.int8(1)), best)
            following.append(best)
        before, row = row, following
    distance_c = np.stack(row)[size_c, np.arange(len(entries))].astype(np.int64)
    within = distance_c <= tolerance
    return entries[within], distance_c[within]


def tolerance_for(word: str) -> int:
    """The most edits of a near miss: 0 to 3, growing with the length of the word."""
    return min(3, len(word) // 4)


class NearMisses:
    """Finds near misses among the scientific names of one tree. A score is a number of edits; 0 is best."""

    def __init__(self, tree: Tree, stems: HashIndex):
        self.tree = tree
        self.stems = stems
        self._higher: np.ndarray | None = None

    @property
    def higher(self) -> np.ndarray:
        """The nodes above species."""
        if self._higher is None:
            self._higher = np.flatnonzero(self.tree.rank_k < SPECIES)
        return self._higher

    def find(self, key: str, exact: Iterable[int]) -> dict[int, float]:
        """Node -> score for a name's key; `exact` are the nodes whose name is the first word of the key."""
        words = key.split()
        if not words:
            return {}
        if len(words) == 1:
            scores = self._find_words(words[0])
            for node in self._find_renamed_family(words[0]):
                keep_best(scores, node, 0.9 if self.tree.rank(node) == "family" else 1.0)
            return scores
        genera = [node for node in exact if self.tree.rank_k[node] == GENUS]
        scores = self._find_moved_species(key, genera)
        near = {node: 0.0 for node in genera}
        if not genera:
            near = {n: s for n, s in self._find_words(words[0]).items() if self.tree.rank_k[n] == GENUS}
        for genus, distance in sorted(near.items(), key=lambda item: item[1])[:8]:
            for node, edits in self._find_species(" ".join(words[1:]), genus).items():
                keep_best(scores, node, distance + edits)
            if len(words) > 2:
                for node, edits in self._find_species(words[1], genus).items():
                    keep_best(scores, node, distance + edits + 0.5)
            keep_best(scores, genus, distance + 4)
        return scores

    def _find_words(self, word: str) -> dict[int, float]:
        nodes, distances = edit_distances(word, self.tree.names, self.higher, tolerance_for(word))
        return dict(zip(nodes.tolist(), map(float, distances.tolist()), strict=True))

    def _find_species(self, epithet: str, genus: int) -> dict[int, float]:
        word = f"{name_key(self.tree.name(genus))} {epithet}"
        species = self.tree.descendants(genus, "species")
        nodes, distances = edit_distances(word, self.tree.names, species, tolerance_for(epithet))
        return dict(zip(nodes.tolist(), map(float, distances.tolist()), strict=True))

    def _find_moved_species(self, key: str, genera: list[int]) -> dict[int, float]:
        """Species with the same epithet stem: in the same family or order, or in a genus that is spelt alike."""
        stem = epithet_stem(key)
        tree = self.tree
        word = key.split()[0]
        same = np.array(self.stems.candidates(stem) if stem else [], np.int64)
        epithet = key.split()[-1]
        scores: dict[int, float] = {}
        for rank, cost in (("family", 1.0), ("order", 3.0)):
            for genus in genera:
                kin = tree.ancestor_at(genus, rank)
                if kin < 0:
                    continue
                span = tree.subtree(kin)
                for node in same[(same >= span.start) & (same < span.stop)].tolist():
                    other = name_key(tree.name(node))
                    if epithet_stem(other) == stem:
                        keep_best(scores, node, cost if other.endswith(f" {epithet}") else cost + 0.5)
        if not genera and len(same):
            parents = np.unique(tree.parent_k[same])
            near, distances = edit_distances(word, tree.names, parents, tolerance_for(word))
            for genus, distance in zip(near.tolist(), distances.tolist(), strict=True):
                for node in same[tree.parent_k[same] == genus].tolist():
                    keep_best(scores, node, float(distance) + 0.5)
        return scores

    def _find_renamed_family(self, word: str) -> list[int]:
        """The present families of the genera after which a family or subfamily is named, and those genera.

        "Scaridae" -> Scarus, and Labridae, its present family.
        """
        tree = self.tree
        for ending, kingdom in FAMILY_ENDINGS.items():
            if not word.endswith(ending) or len(word) - len(ending) < 3:
                continue
            stem = word[: -len(ending)]
            found = []
            genera = tree.nodes_at("genus")
            sizes = tree.names.byte_lengths()[genera]
            close = genera[(sizes >= len(stem)) & (sizes <= len(stem) + 2)]
            start = tree.names.offset[close].astype(np.int64)
            same = np.ones(len(close), bool)
            for i, letter in enumerate(stem.encode()):
                same &= (tree.names.blob[start + i] | 0x20) == letter
            for genus in close[same].tolist():
                family = tree.ancestor_at(genus, "family")
                if not kingdom or tree.lineage(genus)[0] in (kingdom, ""):
                    found += [node for node in (family, genus) if node >= 0]
            return found
        return []


def keep_best(scores: dict[int, float], node: int, score: float) -> None:
    """Set the score of a node, unless it has a lower one."""
    scores[node] = min(score, scores.get(node, score))
