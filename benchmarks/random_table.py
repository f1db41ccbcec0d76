"""Write a name table in pybioclip's published format: real lineages, random vectors with the structure of a tree.

    python benchmarks/random_table.py DIR                           # 868,000 taxa x 768: 2.66 GB
    python benchmarks/random_table.py DIR --n 2000 --dim 48 --n-zero 5
    python benchmarks/random_table.py DIR --near-uniform            # any two taxa have the cosine 0.99

The script writes `txt_emb_species.npy`, float32 [dim, n] with unit columns, and `txt_emb_species.json`: n times [[seven
ranks, with the epithet for the species], common name]. Whole genera are drawn from the default vocabulary; columns are
in random order. The vector of a taxon is a weighted sum of one random direction for each of its ancestors and one of
its own, so that taxa which share a rank have the cosine of COSINES on average.

Shape suffixes: d dimensions, n taxa, k nodes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from linnaea.records import RANKS
from linnaea.taxonomy.name_text import epithet
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary

NPY, JSON = "txt_emb_species.npy", "txt_emb_species.json"
# Expected cosine of two taxa by their lowest common rank, kingdom to genus.
COSINES = (0.30, 0.40, 0.48, 0.55, 0.65, 0.80)
# Expected cosine of any two taxa of a near-uniform table.
NEAR_UNIFORM = 0.99
BLOCK = 16384


def choose_leaves(vocabulary: Vocabulary, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` leaves in random order, drawn as whole genera (the last genus may be incomplete)."""
    tree = vocabulary.tree
    genera = rng.permutation(tree.nodes_at("genus"))
    size = (tree.end_k - tree.start_k)[genera]
    n_genera = int(np.searchsorted(np.cumsum(size), n)) + 1
    leaves = np.concatenate([np.arange(tree.start_k[k], tree.end_k[k]) for k in genera[:n_genera]])[:n]
    if len(leaves) < n:
        raise ValueError(f"the vocabulary has {tree.n_leaves:,} species, not {n:,}; give a smaller --n")
    return rng.permutation(leaves)


def column_vectors(
    vocabulary: Vocabulary, leaves: np.ndarray, dim: int, rng: np.random.Generator, *, near_uniform: bool = False
):
    """Yield (first column, unit vectors float32 [n, d]) of the leaves, one block at a time."""
    if near_uniform:
        common_d = rng.standard_normal(dim).astype(np.float32) * np.float32((NEAR_UNIFORM / dim) ** 0.5)
        for first in range(0, len(leaves), BLOCK):
            shape = (min(BLOCK, len(leaves) - first), dim)
            vectors_nd = common_d + rng.standard_normal(shape, np.float32) * np.float32(
                ((1 - NEAR_UNIFORM) / dim) ** 0.5
            )
            yield first, vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)
        return
    tree = vocabulary.tree
    weights = np.sqrt(np.diff(COSINES, prepend=0.0, append=1.0)).astype(np.float32)
    above = tree.parent_k[tree.leaf_node_n[leaves]]
    ancestors, sums_kd = [], None
    for _ in COSINES:
        ancestors.append(above)
        above = tree.parent_k[above]
    # From the kingdom down, each distinct node adds its own direction to its parent's sum.
    parents = None
    for weight, nodes in zip(weights, reversed(ancestors), strict=False):
        here = np.unique(nodes)
        own_kd = rng.standard_normal((len(here), dim), np.float32) * (weight / np.float32(np.sqrt(dim)))
        sums_kd = own_kd if sums_kd is None else own_kd + sums_kd[np.searchsorted(parents, tree.parent_k[here])]
        parents = here
    row = np.searchsorted(parents, ancestors[0])
    for first in range(0, len(leaves), BLOCK):
        rows = row[first : first + BLOCK]
        vectors_nd = rng.standard_normal((len(rows), dim), np.float32) * (weights[-1] / np.float32(np.sqrt(dim)))
        vectors_nd += sums_kd[rows]
        yield first, vectors_nd / np.linalg.norm(vectors_nd, axis=1, keepdims=True)


def write_table(folder: Path, n: int, dim: int, seed: int = 0, n_zero: int = 0, near_uniform: bool = False) -> None:
    """Write both files; the last `n_zero` columns are zero, as in a table whose last batch was never embedded."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    vocabulary = load_vocabulary()
    tree = vocabulary.tree
    leaves = choose_leaves(vocabulary, n, rng)
    names = []
    for node in tree.leaf_node_n[leaves].tolist():
        lineage = list(tree.lineage(node))
        names.append([[*lineage[:-1], epithet(lineage[len(RANKS) - 1])], vocabulary.common_name(node)])
    (folder / JSON).write_text(json.dumps(names), encoding="utf-8")
    out_dn = np.lib.format.open_memmap(folder / NPY, "w+", np.float32, (dim, n))
    for first, vectors_nd in column_vectors(vocabulary, leaves, dim, rng, near_uniform=near_uniform):
        out_dn[:, first : first + len(vectors_nd)] = vectors_nd.T
    out_dn[:, n - n_zero :] = 0
    out_dn.flush()


def main() -> None:
    """Run the command: write one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument("--n", type=int, default=868_000, help="taxa")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-zero", type=int, default=0, help="number of zero columns at the end")
    parser.add_argument("--near-uniform", action="store_true", help=f"any two taxa have the cosine {NEAR_UNIFORM}")
    args = parser.parse_args()
    write_table(args.out, args.n, args.dim, args.seed, args.n_zero, args.near_uniform)
    print(args.out)


if __name__ == "__main__":
    main()
