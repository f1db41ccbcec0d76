"""A vocabulary: the tree of all names that can be given, and the tables to find a name in it.

Shape suffixes: n leaves, r rows of the source.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from linnaea.records import Taxon
from linnaea.standards.name_lists import read_name_list
from linnaea.store import hash_bytes, read_manifest
from linnaea.taxonomy.common_names import CommonNames
from linnaea.taxonomy.name_index import HashIndex, Lookup, stem_index
from linnaea.taxonomy.name_suggestions import NearMisses
from linnaea.taxonomy.resolver import NameIndex, Resolution, Resolver, only_taxon
from linnaea.taxonomy.strings import load_array
from linnaea.taxonomy.tree import Tree

# How many unknown names of a list get near misses, which cost a tenth of a second each.
N_SUGGESTED = 50


class Vocabulary:
    """A tree and the names in it. `linnaea.taxonomy.load_vocabulary` makes it.

    `hash` is the content hash of the tree alone; `source` names the origin; `leaf_of_row` int32 [r] is the leaf of each
    row of the source (of each matrix column of a `txt_emb` file), -1 for a row without a name; `taxon_id_n` int64 [n]
    holds the taxon numbers of the source, or is None.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        source: str = "",
        hash: str = "",
        leaf_of_row: np.ndarray | None = None,
        taxon_id_n: np.ndarray | None = None,
        scientific: Lookup | None = None,
        stems: HashIndex | None = None,
        synonyms: Lookup | None = None,
        common_names: Iterable[CommonNames] = (),
        other_names: CommonNames | None = None,
    ):
        self.tree = tree
        self.source = source
        self.hash = hash or tree.content_hash()
        self.leaf_of_row = np.arange(tree.n_leaves, dtype=np.int32) if leaf_of_row is None else leaf_of_row
        self.taxon_id_n = taxon_id_n
        self.scientific = scientific or Lookup.from_names(tree.names)
        self.stems = stems or stem_index(tree.names, tree.nodes_at("species").tolist())
        self.synonyms = synonyms
        self.common_names: tuple[CommonNames, ...] = tuple(common_names)
        # Found in look-ups, never shown: "tabby" means a domestic cat, but not every domestic cat is a tabby.
        self.other_names = other_names
        # The one of `common_names` that comes from the extra `[names]`.
        self.extra_names: CommonNames | None = None
        self._near_misses = NearMisses(tree, self.stems)

    @property
    def name_index(self) -> NameIndex:
        """The tables in which a name can be looked up."""
        return NameIndex(
            tree=self.tree,
            scientific=self.scientific,
            synonyms=self.synonyms,
            common_names=self.common_names,
            other_names=self.other_names,
            near_misses=self._near_misses,
        )

    @cached_property
    def row_of_leaf(self) -> np.ndarray:
        """The first row of the source (column of the matrix) of each leaf, int32 [n]."""
        row_n = np.full(self.tree.n_leaves, -1, np.int32)
        rows = np.flatnonzero(self.leaf_of_row >= 0)[::-1]
        row_n[self.leaf_of_row[rows]] = rows
        return row_n

    @cached_property
    def common_names_hash(self) -> str:
        """A hash of all common names, part of the key of everything computed from texts with common names."""
        return hash_bytes(*(table.content_hash() for table in self.common_names))

    def common_name(self, node: int) -> str:
        """The common name to show for a node, "" if no table has one: from the model, the source or the extra."""
        return self.name_index.common_name(node)

    def taxon(self, node: int) -> Taxon:
        """The node as a `Taxon` with its common name."""
        return self.tree.taxon(node, self.common_name(node))

    def resolve(
        self,
        name: str,
        *,
        rank: str | None = None,
        within: str | Iterable[str] | None = None,
        suggest: bool = True,
    ) -> Resolution:
        """All taxa that a name means; if there are none, a reason and near misses, which are never used as matches.

        The order, until something matches: scientific name, synonym, common name, the scientific name without its
        authorship and marks. `rank` and `within` (names of clades) narrow the search, as do "family:Felidae" and
        "Plantae>Oenanthe". Near misses cost a tenth of a second per name: turn `suggest` off for thousands of names.
        Raises ValueError for an unknown rank or clade.
        """
        return Resolver(self.name_index).resolve(name, rank=rank, within=within, suggest=suggest)

    def resolve_one(self, name: str, *, rank: str | None = None, within: str | Iterable[str] | None = None) -> Taxon:
        """The one taxon that a name means. Raises ValueError that lists the homonyms or the nearest names."""
        return only_taxon(self.resolve(name, rank=rank, within=within))

    def leaves_within(self, names: str | Iterable[str]) -> np.ndarray:
        """The sorted leaves at or below any of the named taxa, int32. Raises ValueError as `resolve_one` does.

        An everyday name of a group ("monkey") stands for all of its taxa.
        """
        names = [names] if isinstance(names, str) else names
        nodes: list[int] = []
        for name in names:
            resolution = self.resolve(name)
            taxa = resolution.taxa if resolution.matched_by == "everyday" else [only_taxon(resolution)]
            nodes += [taxon.node for taxon in taxa]
        return self.tree.leaves_within(nodes)

    def leaves_from_list(self, path: str | Path) -> tuple[np.ndarray, list[Resolution]]:
        """The sorted leaves (int32) of the names in a file, and the resolutions of the names that matched nothing.

        The file is text with one name per line (# starts a comment), or any table with a column scientificName, species
        or name. Raises ValueError or FileNotFoundError for an unusable file. See `leaves_of_names`.
        """
        return self.leaves_of_names(listed.name for listed in read_name_list(Path(path)))

    def leaves_of_names(self, names: Iterable[str]) -> tuple[np.ndarray, list[Resolution]]:
        """The sorted leaves (int32) of names, and the resolutions of those that matched nothing.

        The first of those resolutions have near misses. Names may be of any rank; every homonym counts, and every
        alternative of a name with slashes.
        """
        nodes: list[int] = []
        failed = []
        for name in dict.fromkeys(names):
            resolution = self.resolve(name, suggest=len(failed) < N_SUGGESTED)
            nodes += [taxon.node for taxon in resolution.taxa]
            if not resolution.taxa:
                failed.append(resolution)
        return self.tree.leaves_within(nodes), failed

    def with_common_names(self, names: Mapping[str, str]) -> Vocabulary:
        """This vocabulary with preferred common names: common name -> "rank:scientific name".

        All of the names can be looked up. A name is shown for its species if it is the only one in the dict, apart from
        spelling. Entries whose taxon is missing or ambiguous are left out.
        """
        resolver = Resolver(self.name_index)
        pairs = [
            (common, nodes[0])
            for common, target in names.items()
            if len(nodes := resolver.scientific_nodes(target)) == 1
        ]
        names_of: dict[int, list[str]] = {}
        for common, node in pairs:
            names_of.setdefault(node, []).append(common)
        shown = [
            (max(own, key=len), node)
            for node, own in names_of.items()
            if self.tree.rank(node) == "species" and len({_normalize(name) for name in own}) == 1
        ]
        named = self._replace_names(CommonNames.from_pairs(shown), *self.common_names)
        named.other_names = CommonNames.from_pairs(pairs)
        return named

    def without_extra_names(self) -> Vocabulary:
        """This vocabulary without the common names of the extra `[names]`."""
        plain = self._replace_names(*(table for table in self.common_names if table is not self.extra_names))
        plain.extra_names = None
        return plain

    def _replace_names(self, *common_names: CommonNames) -> Vocabulary:
        named = copy.copy(self)
        named.common_names = common_names
        named.__dict__.pop("common_names_hash", None)
        return named

    def save(self, out_dir: Path) -> None:
        """Write the tree, the look-ups and the common names of the source into an existing folder."""
        self.tree.save(out_dir)
        self.scientific.save(out_dir, "scientific")
        self.stems.save(out_dir, "stem")
        np.save(out_dir / "leaf_of_row.npy", self.leaf_of_row)
        if self.taxon_id_n is not None:
            np.save(out_dir / "taxon_id_n.npy", self.taxon_id_n)
        if self.synonyms:
            self.synonyms.save(out_dir, "synonym")
        if self.common_names:
            self.common_names[0].save(out_dir, "common")

    @classmethod
    def load(cls, vocabulary_dir: Path) -> Vocabulary:
        """Read what `save` wrote, memory-mapped. Raises FileNotFoundError if it is missing or unfinished."""
        manifest = read_manifest(vocabulary_dir)
        if manifest is None:
            raise FileNotFoundError(f"{vocabulary_dir} has no finished vocabulary; delete it and try again")
        tree = Tree.load(vocabulary_dir)
        ids = vocabulary_dir / "taxon_id_n.npy"
        return cls(
            tree,
            source=manifest["source"],
            hash=manifest["hash"],
            leaf_of_row=load_array(vocabulary_dir / "leaf_of_row.npy"),
            taxon_id_n=load_array(ids) if ids.exists() else None,
            scientific=Lookup.load(vocabulary_dir, "scientific", tree.names),
            stems=HashIndex.load(vocabulary_dir, "stem"),
            synonyms=Lookup.load(vocabulary_dir, "synonym") if manifest["synonyms"] else None,
            common_names=[CommonNames.load(vocabulary_dir, "common")] if manifest["common_names"] else [],
        )


def _normalize(name: str) -> str:
    """A common name without case, possessives and punctuation: "Anna's hummingbird" -> "anna hummingbird"."""
    words = re.sub(r"['’]s?\b", "", name.casefold())
    return " ".join(re.findall(r"\w+", words))
