"""From a name as people write it to the taxa that have it, or to what may be meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from linnaea.options import find_similar, suggest
from linnaea.records import RANK_INDEX, RANKS, Taxon
from linnaea.taxonomy.common_names import CommonNames
from linnaea.taxonomy.everyday_names import find_groups, load_former_names, load_groups
from linnaea.taxonomy.name_index import Lookup, name_key
from linnaea.taxonomy.name_parser import (
    NOT_SCIENTIFIC,
    UNDETERMINED,
    ParsedName,
    is_credible,
    parse_name,
    split_alternatives,
)
from linnaea.taxonomy.name_suggestions import NearMisses, edit_distances, keep_best, tolerance_for
from linnaea.taxonomy.tree import Tree

N_SUGGESTIONS = 5


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a name may mean. `taxa` holds exact matches only; `suggestions` are never used as matches."""

    query: str
    taxa: list[Taxon] = field(default_factory=list)
    "every taxon with this name: several for homonyms, and for alternatives such as Larus argentatus/cachinnans"
    matched_by: str = ""
    "scientific, common, synonym, everyday (a group that may be several taxa), or alternatives of a name with slashes"
    suggestions: list[Taxon] = field(default_factory=list)
    "near misses, the nearest first"
    reason: str = ""
    "why nothing matched"


@dataclass(frozen=True, kw_only=True)
class NameIndex:
    """The tree of a vocabulary and the tables in which a name can be looked up."""

    tree: Tree
    scientific: Lookup
    synonyms: Lookup | None
    common_names: tuple[CommonNames, ...]
    "common names that are shown, the preferred table first"
    other_names: CommonNames | None
    "common names that can be looked up but are never shown"
    near_misses: NearMisses

    def common_name(self, node: int) -> str:
        """The common name to show for a node, "" if no table has one."""
        return next((name for table in self.common_names if (name := table.name_of(node))), "")

    def taxon(self, node: int) -> Taxon:
        """The node as a `Taxon` with its common name."""
        return self.tree.taxon(node, self.common_name(node))

    @property
    def common_tables(self) -> tuple[CommonNames, ...]:
        """All tables of common names, those that are never shown included."""
        return self.common_names if self.other_names is None else (self.other_names, *self.common_names)

    def find_common(self, name: str) -> list[int]:
        """The sorted nodes with a common name."""
        return sorted({node for table in self.common_tables for node in table.nodes(name)})

    def find_synonym(self, name: str) -> list[int]:
        """The sorted nodes with a synonym, or with the name of today for a well-known former name."""
        if self.synonyms and (nodes := self.synonyms.nodes(name)):
            return nodes
        current = load_former_names().get(name_key(name))
        return self.scientific.nodes(current) if current else []


@dataclass(frozen=True)
class NameQuery:
    """A name without its qualifiers: "family:Animalia>Felidae" -> Felidae at rank family below Animalia."""

    name: str
    rank: str
    above: tuple[str, ...]


def read_query(text: str, rank: str | None = None) -> NameQuery:
    """A name without its qualifiers `rank:` and `ancestor>`. Raises ValueError for an unknown rank."""
    name = text.strip()
    head, colon, rest = name.partition(":")
    if colon and head.strip().casefold() in RANK_INDEX:
        rank, name = head.strip().casefold(), rest
    if rank is not None and rank not in RANK_INDEX:
        raise ValueError(f"unknown rank {rank!r}; choose one of {', '.join(RANKS)}")
    *above, name = (part.strip() for part in name.split(">"))
    return NameQuery(name=name, rank=rank or "", above=tuple(part for part in above if part))


class Resolver:
    """Looks a name up in this order: scientific name, synonym, common name, then the parsed scientific name."""

    def __init__(self, index: NameIndex):
        self.index = index
        self.tree = index.tree

    def resolve(
        self, text: str, *, rank: str | None = None, within: str | Iterable[str] | None = None, suggest: bool = True
    ) -> Resolution:
        """The taxa that a name means, or a reason and near misses. See `Vocabulary.resolve`."""
        query = read_query(text, rank)
        spans = self._find_spans(within)
        if not query.name:
            return Resolution(query=text, reason="an empty name")
        for matched_by, find in self._finders():
            nodes = self._filter(find(query.name), query, spans)
            if (matched_by == "common" or len(nodes) > 1) and (
                everyday := self._resolve_everyday(text, query, spans, nodes, is_common=matched_by == "common")
            ):
                return everyday
            if nodes:
                return self._match(text, nodes, matched_by)
        if misspelt := self._resolve_misspelt_rank(text, rank, within, suggest=suggest):
            return misspelt
        if alternatives := self._resolve_alternatives(text, query, within):
            return alternatives
        parsed = parse_name(query.name)
        if matched := self._resolve_parsed(text, query, parsed, spans):
            return matched
        nodes = self._suggest(query, parsed, spans) if suggest else []
        return Resolution(query=text, suggestions=self._make_taxa(nodes), reason=self._explain(query, parsed, spans))

    def resolve_one(self, text: str, *, rank: str | None = None, within: str | Iterable[str] | None = None) -> Taxon:
        """The one taxon that a name means. Raises ValueError that lists the homonyms or the nearest names."""
        return only_taxon(self.resolve(text, rank=rank, within=within))

    def scientific_nodes(self, text: str) -> list[int]:
        """The nodes with a scientific name, which may be qualified as in "family:Felidae"."""
        query = read_query(text)
        return self._filter(self.index.scientific.nodes(query.name), query, None)

    def _resolve_misspelt_rank(self, text: str, rank: str | None, within, *, suggest: bool) -> Resolution | None:
        """For a name that begins with a misspelt rank ("kingdm:Felis"): the likely rank and taxa as suggestions."""
        head, colon, rest = (part.strip() for part in text.partition(":"))
        # Anything else with a colon is a name as it is, "BOLD:AAA1234" for example.
        if not (colon and rest[:1].isalpha() and head.isalpha() and head.islower()) or head in RANK_INDEX:
            return None
        near = find_similar(head, RANKS, n=1)
        found = [self.resolve(f"{near[0]}:{rest}", rank=rank, within=within, suggest=False)] if near else []
        found.append(self.resolve(rest, rank=rank, within=within, suggest=suggest))
        taxa = next((resolution.taxa for resolution in found if resolution.taxa), found[-1].suggestions)
        reason = f"unknown rank {head!r}{_suggest_rank(near)}"
        return Resolution(query=text, suggestions=taxa[:N_SUGGESTIONS], reason=reason)

    def _finders(self) -> tuple[tuple[str, Callable[[str], list[int]]], ...]:
        index = self.index
        return (
            ("scientific", index.scientific.nodes),
            ("synonym", index.find_synonym),
            ("common", index.find_common),
        )

    def _find_spans(self, within: str | Iterable[str] | None) -> list[range] | None:
        if within is None:
            return None
        names = [within] if isinstance(within, str) else list(within)
        return [self.tree.subtree(self.resolve_one(name).node) for name in names]

    def _filter(self, nodes: Iterable[int], query: NameQuery, spans: list[range] | None) -> list[int]:
        """The nodes that have the rank and the ancestors of the query and lie in one of the clades."""
        kept = []
        above = {name_key(name) for name in query.above}
        for node in nodes:
            if query.rank and self.tree.rank(node) != query.rank:
                continue
            if spans is not None and not any(node in span for span in spans):
                continue
            if above and not above <= {name_key(name) for name in self.tree.lineage(node)}:
                continue
            kept.append(node)
        return kept

    def _match(self, text: str, nodes: list[int], matched_by: str) -> Resolution:
        return Resolution(query=text, taxa=self._make_taxa(nodes), matched_by=matched_by)

    def _make_taxa(self, nodes: Iterable[int]) -> list[Taxon]:
        return [self.index.taxon(node) for node in nodes]

    def _resolve_everyday(
        self, text: str, query: NameQuery, spans: list[range] | None, found: list[int], *, is_common: bool
    ) -> Resolution | None:
        """The taxa of a group with an everyday name, where that says more than the nodes `found`; else None.

        Of homonyms (a plant and a fly are called Dahlia) people mean the one that they call so. A common name of the
        vocabulary itself (`is_common`) holds if it means the same taxon or one above it.
        """
        groups = []
        for names in find_groups(query.name):
            nodes = [node for name in names for node in self.scientific_nodes(name)]
            if nodes := self._filter(nodes, query, spans):
                groups.append(nodes)
        wanted = list(dict.fromkeys(node for nodes in groups for node in nodes))
        holds = self._prefers_common(query.name, found, wanted) if is_common else not set(wanted) < set(found)
        if holds or not wanted:
            return None
        # A name with several meanings must be chosen by the user, as a name of homonyms.
        return self._match(text, wanted, "everyday" if len(groups) == 1 else "common")

    def _prefers_common(self, name: str, found: list[int], wanted: list[int]) -> bool:
        """Whether the nodes `found` by a common name hold against those of an everyday name.

        A name that the model or the user defined holds unless it is too broad ("bee" for all Hymenoptera).
        """
        own = self.index.other_names.nodes(name) if self.index.other_names is not None else []
        if own:
            is_broader = len(own) == 1 and all(node in self.tree.subtree(own[0]) for node in wanted)
            return not is_broader or wanted == own
        return len(found) == 1 and all(node in self.tree.subtree(found[0]) for node in wanted)

    def _resolve_alternatives(self, text: str, query: NameQuery, within) -> Resolution | None:
        """The taxa of all parts of a name with slashes, or none of them with the reason; None for other names."""
        missing = ""
        for names in split_alternatives(query.name):
            resolutions = [
                self.resolve(">".join((*query.above, name)), rank=query.rank or None, within=within, suggest=False)
                for name in names
            ]
            unknown = [name for name, found in zip(names, resolutions, strict=True) if not found.taxa]
            if not unknown:
                taxa = {taxon.node: taxon for found in resolutions for taxon in found.taxa}
                return Resolution(query=text, taxa=[*taxa.values()], matched_by="alternatives")
            missing = missing or unknown[0]
        if not missing:
            return None
        reason = f"the vocabulary lacks {missing!r}, one of its alternatives; write each name on a line of its own"
        return Resolution(query=text, reason=reason)

    def _resolve_parsed(self, text: str, query: NameQuery, parsed: ParsedName, spans) -> Resolution | None:
        """A match of the canonical form, without authorship and marks; None if there is none."""
        undetermined = parsed.qualifier in UNDETERMINED
        if not parsed.canonical or not is_credible(parsed) or (parsed.qualifier and not undetermined):
            return None
        if name_key(parsed.canonical) == name_key(query.name):
            return None
        for matched_by, find in self._finders()[:2]:
            nodes = self._filter(find(parsed.canonical), query, spans)
            if undetermined:
                nodes = [node for node in nodes if self.tree.rank(node) != "species"]
            if nodes:
                return self._match(text, nodes, matched_by)
        return None

    def _suggest(self, query: NameQuery, parsed: ParsedName, spans) -> list[int]:
        """The nodes nearest to a name that nothing matched, best first."""
        scores = self._score_scientific(query, parsed)
        for node, score in self._score_common(name_key(query.name)).items():
            keep_best(scores, node, score)
        for key in find_similar(name_key(query.name), load_groups(), n=2, cutoff=0.8):
            nodes = [node for name in load_groups()[key][0] for node in self.scientific_nodes(name)]
            for node in nodes[:1]:  # everyday names come first: they are what people write
                keep_best(scores, node, 0.0)
        allowed = self._filter(scores, NameQuery(name="", rank=query.rank, above=query.above), spans)
        if not allowed and query.rank:
            at_rank = {self.tree.ancestor_at(node, query.rank): score for node, score in sorted(scores.items())}
            scores = {node: score for node, score in at_rank.items() if node >= 0}
            allowed = self._filter(scores, query, spans)
        rank_k = self.tree.rank_k
        best = sorted(allowed, key=lambda node: (scores[node], -int(rank_k[node]), node))[: 4 * N_SUGGESTIONS]
        # Among equal scores, a taxon with a common name is more likely to be meant.
        best.sort(key=lambda node: (scores[node], not self.index.common_name(node)))
        return best[:N_SUGGESTIONS]

    def _score_scientific(self, query: NameQuery, parsed: ParsedName) -> dict[int, float]:
        """Node -> distance (0 best) of nodes whose scientific names are near the query or a part of it."""
        find = self.index.scientific.nodes
        is_formula = parsed.is_hybrid and not parsed.canonical
        parents = re.split(r"\s[×xX]\s", query.name) if is_formula else []
        scores = {node: 0.0 for parent in parents for node in find(parent)}
        keys = {name_key(query.name)}
        if parsed.canonical and (is_credible(parsed) or " " not in parsed.canonical):
            keys.add(name_key(parsed.canonical))
        for words in (key.split() for key in keys if key):
            for node in find(" ".join(words)):
                keep_best(scores, node, 0.0)
            for node in find(" ".join(words[:2])) if len(words) > 2 else ():
                keep_best(scores, node, 0.5)
            for node, score in self.index.near_misses.find(" ".join(words), find(words[0])).items():
                keep_best(scores, node, score + 0.1)
        return scores

    def _score_common(self, key: str) -> dict[int, float]:
        """Node -> distance of nodes whose common names are spelt alike, have all of the words, or end in the last."""
        scores: dict[int, float] = {}
        if len(key) < 3:
            return scores
        for table in self.index.common_tables:
            if not len(table):
                continue
            entries, distances = edit_distances(key, table.keys, range(len(table)), tolerance_for(key))
            for entry, distance in zip(entries.tolist(), distances.tolist(), strict=True):
                keep_best(scores, int(table.node_c[entry]), float(distance))
            words = key.split()
            for entry, other in enumerate(table.keys):
                if words[-1] not in other:
                    continue
                others = other.split()
                if set(words) <= set(others):
                    keep_best(scores, int(table.node_c[entry]), 3 + (len(other) - len(key)) / 20)
                elif words[-1] == others[-1]:
                    keep_best(scores, int(table.node_c[entry]), 5 + len(other) / 20)
        return scores

    def _explain(self, query: NameQuery, parsed: ParsedName, spans) -> str:
        """Why a name matched nothing."""
        elsewhere = any(find(query.name) for _, find in self._finders())
        if elsewhere:
            limits = [f"at rank {query.rank}"] if query.rank else []
            limits += [f"below {'>'.join(query.above)}"] if query.above else []
            limits += ["within the clade given"] if spans is not None else []
            return f"the vocabulary has the name, but not {' '.join(limits)}"
        if parsed.reason and parsed.reason != NOT_SCIENTIFIC:
            return parsed.reason
        if parsed.qualifier and parsed.qualifier not in UNDETERMINED:
            return f"the name is qualified by {parsed.qualifier!r}, so its taxon is uncertain"
        if parsed.infraspecific_epithet:
            return "the vocabulary has no such name; it ends at species"
        return "the vocabulary has no such name"


def _suggest_rank(near: Sequence[str]) -> str:
    """The end of an error line about an unknown rank: the similar rank, or all ranks."""
    return suggest(near, f"choose one of {', '.join(RANKS)}")


def distinguishing_paths(taxa: list[Taxon]) -> list[str]:
    """Qualified names, one per taxon, each of which means that taxon only.

    The qualifier is the first ancestor in which the taxon differs from the others.
    """
    return [_distinguish(taxon, [other for other in taxa if other.node != taxon.node]) for taxon in taxa]


def _distinguish(taxon: Taxon, others: list[Taxon]) -> str:
    above = [name for name in taxon.lineage[: RANK_INDEX[taxon.rank]] if name]
    same_rank = [other for other in others if other.rank == taxon.rank]
    qualifier = next((name for name in above if all(name not in other.lineage for other in same_rank)), "")
    qualifier = qualifier or ">".join(above)
    path = f"{qualifier}>{taxon.name}" if same_rank and qualifier else taxon.name
    return f"{taxon.rank}:{path}" if len(same_rank) < len(others) else path


def only_taxon(resolution: Resolution) -> Taxon:
    """The one taxon of a resolution. Raises ValueError, one line with the nearest names or with how to choose."""
    taxa = resolution.taxa
    if len(taxa) == 1:
        return taxa[0]
    if taxa:
        if resolution.matched_by == "everyday":
            shown = ", ".join(taxon.name for taxon in taxa[: 2 * N_SUGGESTIONS])
            raise ValueError(f"{resolution.query!r} is a group of {len(taxa)} taxa; write one of {shown}")
        choices = distinguishing_paths(taxa[: 2 * N_SUGGESTIONS])
        more = f" and {len(taxa) - len(choices)} more" if len(taxa) > len(choices) else ""
        raise ValueError(
            f"{resolution.query!r} names {len(taxa)} taxa; write one of {', '.join(map(repr, choices))}{more}"
        )
    message = f"unknown taxon {resolution.query!r}: {resolution.reason}"
    if resolution.suggestions:
        message += f"; nearest: {', '.join(describe_taxon(taxon) for taxon in resolution.suggestions)}"
    raise ValueError(message)


def describe_taxon(taxon: Taxon) -> str:
    """A taxon in a few words, e.g. "Mutarda arvensis (species, charlock)"."""
    common = f", {taxon.common_name}" if taxon.common_name else ""
    return f"{taxon.name} ({taxon.rank}{common})"
