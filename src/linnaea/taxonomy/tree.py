"""A taxonomy in depth-first order: every taxon, of any rank, is one interval of leaves.

Shape suffixes: n leaves (terminal taxa), k nodes, r input rows, i intervals.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from linnaea.records import RANK_INDEX, RANKS, Taxon
from linnaea.store import hash_bytes
from linnaea.taxonomy.strings import Strings, load_array

ARRAYS = ("rank_k", "start_k", "end_k", "parent_k", "leaf_node_n")


class Tree:
    """Nodes in preorder and leaves in depth-first order.

    `rank_k` uint8 indexes `RANKS`; `start_k`, `end_k` int32 are the half-open interval of leaves below a node;
    `parent_k` int32 is the nearest ancestor in the tree, -1 at roots; `leaf_node_n` int32 is the node of each leaf. A
    rank that a lineage lacks has no node. A leaf may be of any rank, and other leaves may be below its node (a list
    with both "Felidae" and "Felis catus").
    """

    def __init__(self, *, rank_k, start_k, end_k, parent_k, leaf_node_n, names: Strings):
        self.rank_k: np.ndarray = rank_k
        self.start_k: np.ndarray = start_k
        self.end_k: np.ndarray = end_k
        self.parent_k: np.ndarray = parent_k
        self.leaf_node_n: np.ndarray = leaf_node_n
        self.names = names
        self._nodes_at: dict[str, np.ndarray] = {}

    @property
    def n_nodes(self) -> int:
        """The number of nodes."""
        return len(self.rank_k)

    @property
    def n_leaves(self) -> int:
        """The number of leaves."""
        return len(self.leaf_node_n)

    @classmethod
    def from_lineages(cls, frame, *, key: str | None = None) -> tuple[Tree, np.ndarray]:
        """The tree of a table with rank columns, and int32 [r], the leaf of each row (-1 for a row without any name).

        `frame` is a polars frame or a mapping of columns named as in `RANKS`; absent columns, nulls and "" are missing
        ranks; a species is its full binomial. Rows with the same lineage are one leaf. With the column `key`, they
        are one leaf only if they also share the key, else several leaves of one node: a table with one row per taxon
        keeps as many leaves as rows. Raises ValueError if no row has a name.
        """
        import polars as pl

        frame = pl.DataFrame(frame)
        absent = [pl.lit("").alias(rank) for rank in RANKS if rank not in frame.columns]
        columns = [pl.col(rank).cast(pl.String).str.strip_chars().fill_null("") for rank in RANKS]
        frame = frame.with_columns(absent)
        by = list(RANKS) if key is None else [*RANKS, "key"]
        extra = [] if key is None else [pl.col(key).alias("key")]
        rows = frame.select(*columns, *extra).with_row_index("row").filter(pl.any_horizontal(pl.col(RANKS) != ""))
        if not rows.height:
            raise ValueError(f"no row has a name in any of the columns {', '.join(RANKS)}")
        rows = rows.sort(by)
        changed = rows.select((pl.col(c).ne_missing(pl.col(c).shift()).alias(c)) for c in by)
        is_first_r = changed.select(pl.any_horizontal(by)).to_series().to_numpy().copy()
        is_first_r[0] = True
        leaf_of_row_r = np.full(frame.height, -1, np.int32)
        leaf_of_row_r[rows["row"].to_numpy()] = np.cumsum(is_first_r) - 1
        return cls._from_sorted(rows.filter(is_first_r)), leaf_of_row_r

    @classmethod
    def _from_sorted(cls, leaves) -> Tree:
        """The tree of sorted, distinct leaves: at each rank, a run of leaves with equal prefixes is one node."""
        import polars as pl

        n = leaves.height
        begins_n = np.zeros(n, bool)
        deepest_n = np.full(n, -1, np.int32)
        starts, ends, ranks, parents, names = [], [], [], [], []
        n_nodes = 0
        for index, rank in enumerate(RANKS):
            column = leaves[rank]
            begins_n |= column.ne_missing(column.shift()).to_numpy()
            begins_n[0] = True
            start = np.flatnonzero(begins_n)
            size = np.diff(start, append=n)
            present = (column.gather(start) != "").to_numpy()
            node = np.where(present, n_nodes + np.cumsum(present) - 1, -1)
            starts.append(start[present])
            ends.append((start + size)[present])
            parents.append(deepest_n[start[present]])
            ranks.append(np.full(int(present.sum()), index, np.uint8))
            names.append(column.gather(start[present]))
            node_n = np.repeat(node, size)
            deepest_n = np.where(node_n >= 0, node_n, deepest_n).astype(np.int32)
            n_nodes += int(present.sum())
        start_k, rank_k, parent_k = np.concatenate(starts), np.concatenate(ranks), np.concatenate(parents)
        preorder = np.argsort(start_k * len(RANKS) + rank_k, kind="stable")
        position = np.empty(n_nodes + 1, np.int32)
        position[preorder] = np.arange(n_nodes, dtype=np.int32)
        position[-1] = -1  # so that a root's parent stays -1
        return cls(
            rank_k=rank_k[preorder],
            start_k=start_k[preorder].astype(np.int32),
            end_k=np.concatenate(ends)[preorder].astype(np.int32),
            parent_k=position[parent_k[preorder]],
            leaf_node_n=position[deepest_n],
            names=Strings.from_series(pl.concat(names).gather(preorder)),
        )

    def nodes_at(self, rank: str) -> np.ndarray:
        """int32, the nodes of a rank sorted by start: disjoint intervals."""
        if rank not in RANK_INDEX:
            raise ValueError(f"unknown rank {rank!r}; choose one of {', '.join(RANKS)}")
        if rank not in self._nodes_at:
            self._nodes_at[rank] = np.flatnonzero(self.rank_k == RANK_INDEX[rank]).astype(np.int32)
        return self._nodes_at[rank]

    def name(self, node: int) -> str:
        """The scientific name of a node; a species' full binomial."""
        return self.names[node]

    def rank(self, node: int) -> str:
        """The rank of a node, one of `RANKS`."""
        return RANKS[self.rank_k[node]]

    def ancestors(self, node: int) -> list[int]:
        """The nodes above `node`, from the root down."""
        above = []
        while (node := int(self.parent_k[node])) >= 0:
            above.append(node)
        return above[::-1]

    def ancestor_at(self, node: int, rank: str) -> int:
        """The node of `rank` at or above `node`; -1 if the lineage has none."""
        wanted = RANK_INDEX[rank]
        while node >= 0 and self.rank_k[node] > wanted:
            node = int(self.parent_k[node])
        return int(node) if node >= 0 and self.rank_k[node] == wanted else -1

    def lineage(self, node: int) -> tuple[str, ...]:
        """Seven names in the order of `RANKS`, "" for a rank that is missing or below the node."""
        names = [""] * len(RANKS)
        while node >= 0:
            names[self.rank_k[node]] = self.names[node]
            node = int(self.parent_k[node])
        return tuple(names)

    def taxon(self, node: int, common_name: str = "") -> Taxon:
        """The node as a `Taxon`."""
        node = int(node)
        lineage = self.lineage(node)
        rank = self.rank(node)
        return Taxon(rank=rank, name=lineage[RANK_INDEX[rank]], lineage=lineage, common_name=common_name, node=node)

    def subtree(self, node: int) -> range:
        """The node and all nodes below it, which are consecutive in preorder."""
        return range(int(node), int(np.searchsorted(self.start_k, self.end_k[node], side="left")))

    def descendants(self, node: int, rank: str) -> np.ndarray:
        """int32, the nodes of `rank` at or below `node`, sorted."""
        nodes = self.nodes_at(rank)
        span = self.subtree(node)
        first, last = np.searchsorted(nodes, (span.start, span.stop))
        return nodes[first:last]

    def is_within(self, node: int, ancestor: int) -> bool:
        """Whether `node` is `ancestor` or lies below it."""
        return node in self.subtree(ancestor)

    def lowest_common_ancestor(self, nodes: Iterable[int]) -> int:
        """The deepest node at or above all of `nodes`; -1 if there is none."""
        nodes = np.fromiter((int(node) for node in nodes), np.int64)
        if not len(nodes):
            return -1
        last = int(self.end_k[nodes].max())
        node = int(nodes.min())  # in preorder, the first node is never below another, and its ancestors start no later
        while node >= 0 and self.end_k[node] < last:
            node = int(self.parent_k[node])
        return node

    def intervals_within(self, nodes: Iterable[int]) -> np.ndarray:
        """int32 [i, 2], the disjoint, sorted, merged half-open leaf intervals that the nodes cover together."""
        nodes = np.unique(np.fromiter((int(node) for node in nodes), np.int64))
        merged: list[list[int]] = []
        for start, end in zip(self.start_k[nodes].tolist(), self.end_k[nodes].tolist(), strict=True):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        return np.array(merged, np.int32).reshape(-1, 2)

    def leaves_within(self, nodes: Iterable[int]) -> np.ndarray:
        """int32, the sorted leaves at or below any of `nodes`."""
        pieces = [np.arange(start, end, dtype=np.int32) for start, end in self.intervals_within(nodes)]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int32)

    def content_hash(self) -> str:
        """16 hexadecimal digits that change with any name, rank or order."""
        arrays = [np.ascontiguousarray(getattr(self, name)).data for name in ARRAYS]
        return hash_bytes(*(bytes(array) for array in arrays), self.names.blob.tobytes(), self.names.offset.tobytes())

    def save(self, out_dir: Path) -> None:
        """Write the arrays into a folder that exists."""
        out_dir = Path(out_dir)
        for name in ARRAYS:
            np.save(out_dir / f"{name}.npy", getattr(self, name))
        self.names.save(out_dir, "names")

    @classmethod
    def load(cls, in_dir: Path) -> Tree:
        """Read what `save` wrote, memory-mapped: milliseconds for a million species."""
        in_dir = Path(in_dir)
        arrays = {name: load_array(in_dir / f"{name}.npy") for name in ARRAYS}
        return cls(**arrays, names=Strings.load(in_dir, "names"))
