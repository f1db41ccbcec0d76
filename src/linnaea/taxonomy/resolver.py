"""From a name as people write it to the taxa that bear it, or to what they may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from linnaea.records import RANK_INDEX, RANKS, Taxon
from linnaea.taxonomy.name_index import name_key
from linnaea.taxonomy.name_parser import NOT_SCIENTIFIC, UNDETERMINED, ParsedName, is_credible, parse_name
from linnaea.taxonomy.name_suggestions import edit_distances, keep_best, tolerance_for

if TYPE_CHECKING:
    from linnaea.taxonomy.vocabulary import Vocabulary

N_SUGGESTIONS = 5


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a name may mean. `taxa` are exact matches only; `suggestions` are never taken for it."""

    query: str
    taxa: list[Taxon] = field(default_factory=list)
    "every taxon that bears the name, homonyms apart"
    matched_by: str = ""
    "scientific, common or synonym; empty where nothing matched"
    suggestions: list[Taxon] = field(default_factory=list)
    "near misses, the nearest first"
    reason: str = ""
    "why nothing matched"


@dataclass(frozen=True)
class Query:
    """A name without its qualifiers: "family:Animalia>Felidae" -> Felidae at rank family below Animalia."""

    name: str
    rank: str
    above: tuple[str, ...]


def read_query(text: str, rank: str | None = None) -> Query:
    """A name with its qualifiers `rank:` and `ancestor>` taken off. Raises ValueError for an unknown rank."""
    name = text.strip()
    head, colon, rest = name.partition(":")
    if colon and head.strip().casefold() in RANK_INDEX:
        rank, name = head.strip().casefold(), rest
    if rank is not None and rank not in RANK_INDEX:
        raise ValueError(f"unknown rank {rank!r}; choose one of {', '.join(RANKS)}")
    *above, name = (part.strip() for part in name.split(">"))
    return Query(name=name, rank=rank or "", above=tuple(part for part in above if part))


class Resolver:
    """The look-ups of one vocabulary in their order: scientific name, synonym, common name, then the parsed name."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self.tree = vocabulary.tree

    def resolve(
        self, text: str, *, rank: str | None = None, within: str | Iterable[str] | None = None, suggest: bool = True
    ) -> Resolution:
        """The taxa that a name means, or a reason and near misses. See `Vocabulary.resolve`."""
        query = read_query(text, rank)
        spans = self._spans(within)
        if not query.name:
            return Resolution(query=text, reason="an empty name")
        for matched_by, find in self._finders():
            if nodes := self._allowed(find(query.name), query, spans):
                return self._matched(text, nodes, matched_by)
        if misspelt := self._misspelt_rank(text, rank, within, suggest=suggest):
            return misspelt
        parsed = parse_name(query.name)
        if matched := self._resolve_parsed(text, query, parsed, spans):
            return matched
        nodes = self._suggest(query, parsed, spans) if suggest else []
        return Resolution(query=text, suggestions=self._taxa(nodes), reason=self._reason(query, parsed, spans))

    def _misspelt_rank(self, text: str, rank: str | None, within, *, suggest: bool) -> Resolution | None:
        """Where a name begins with what seems to be meant as a rank ("kingdm:Felis"): which it may be, and of what."""
        head, colon, rest = (part.strip() for part in text.partition(":"))
        # Others are names as they stand: "BOLD:AAA1234" for one.
        if not (colon and rest[:1].isalpha() and head.isalpha() and head.islower()) or head in RANK_INDEX:
            return None
        near = get_close_matches(head, RANKS, n=1)
        found = [self.resolve(f"{near[0]}:{rest}", rank=rank, within=within, suggest=False)] if near else []
        found.append(self.resolve(rest, rank=rank, within=within, suggest=suggest))
        taxa = next((resolution.taxa for resolution in found if resolution.taxa), found[-1].suggestions)
        remedy = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(RANKS)}"
        return Resolution(query=text, suggestions=taxa[:N_SUGGESTIONS], reason=f"{head!r} is no rank, {remedy}")

    def scientific_nodes(self, text: str) -> list[int]:
        """The nodes that bear a scientific name, which may be qualified as in "family:Felidae"."""
        query = read_query(text)
        return self._allowed(self.vocabulary.scientific.nodes(query.name), query, None)

    def _finders(self):
        vocabulary = self.vocabulary
        return (
            ("scientific", vocabulary.scientific.nodes),
            ("synonym", vocabulary.synonyms.nodes if vocabulary.synonyms else lambda name: []),
            ("common", self._nodes_by_common_name),
        )

    def _name_tables(self):
        other = self.vocabulary.other_names
        return self.vocabulary.common_names if other is None else (other, *self.vocabulary.common_names)

    def _nodes_by_common_name(self, name: str) -> list[int]:
        return sorted({node for table in self._name_tables() for node in table.nodes(name)})

    def _spans(self, within: str | Iterable[str] | None) -> list[range] | None:
        if within is None:
            return None
        names = [within] if isinstance(within, str) else list(within)
        return [self.tree.subtree(self.vocabulary.resolve_one(name).node) for name in names]

    def _allowed(self, nodes: Iterable[int], query: Query, spans: list[range] | None) -> list[int]:
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

    def _matched(self, text: str, nodes: list[int], matched_by: str) -> Resolution:
        return Resolution(query=text, taxa=self._taxa(nodes), matched_by=matched_by)

    def _taxa(self, nodes: Iterable[int]) -> list[Taxon]:
        return [self.vocabulary.taxon(node) for node in nodes]

    def _resolve_parsed(self, text: str, query: Query, parsed: ParsedName, spans) -> Resolution | None:
        undetermined = parsed.qualifier in UNDETERMINED
        if not parsed.canonical or not is_credible(parsed) or (parsed.qualifier and not undetermined):
            return None
        if name_key(parsed.canonical) == name_key(query.name):
            return None
        for matched_by, find in self._finders()[:2]:
            nodes = self._allowed(find(parsed.canonical), query, spans)
            if undetermined:
                nodes = [node for node in nodes if self.tree.rank(node) != "species"]
            if nodes:
                return self._matched(text, nodes, matched_by)
        return None

    def _suggest(self, query: Query, parsed: ParsedName, spans) -> list[int]:
        """The nodes nearest to a name that nothing matched, best first."""
        scores: dict[int, float] = {}
        vocabulary, tree = self.vocabulary, self.tree
        if parsed.is_hybrid and not parsed.canonical:
            for parent in re.split(r"\s[×xX]\s", query.name):
                for node in vocabulary.scientific.nodes(parent):
                    keep_best(scores, node, 0.0)
        keys = {name_key(query.name)}
        if parsed.canonical and (is_credible(parsed) or " " not in parsed.canonical):
            keys.add(name_key(parsed.canonical))
        for key in keys:
            words = key.split()
            if not words:
                continue
            for node in vocabulary.scientific.nodes(key):
                keep_best(scores, node, 0.0)
            if len(words) > 2:
                for node in vocabulary.scientific.nodes(" ".join(words[:2])):
                    keep_best(scores, node, 0.5)
            for node, score in vocabulary.nearest.suggest(key, vocabulary.scientific.nodes(words[0])).items():
                keep_best(scores, node, score + 0.1)
        for node, score in self._near_common(name_key(query.name)).items():
            keep_best(scores, node, score)
        allowed = self._allowed(scores, Query(name="", rank=query.rank, above=query.above), spans)
        if not allowed and query.rank:
            at_rank = {tree.ancestor_at(node, query.rank): score for node, score in sorted(scores.items())}
            scores = {node: score for node, score in at_rank.items() if node >= 0}
            allowed = self._allowed(scores, query, spans)
        best = sorted(allowed, key=lambda node: (scores[node], -int(tree.rank_k[node]), node))[: 4 * N_SUGGESTIONS]
        # Among equals a taxon that people have a name for is the likelier one.
        best.sort(key=lambda node: (scores[node], not vocabulary.common_name(node)))
        return best[:N_SUGGESTIONS]

    def _near_common(self, key: str) -> dict[int, float]:
        """Nodes whose common names are spelt alike, contain all of the words, or end in the last one."""
        scores: dict[int, float] = {}
        if len(key) < 3:
            return scores
        for table in self._name_tables():
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

    def _reason(self, query: Query, parsed: ParsedName, spans) -> str:
        elsewhere = any(find(query.name) for _, find in self._finders())
        if elsewhere:
            limits = [f"at rank {query.rank}"] if query.rank else []
            limits += [f"below {'>'.join(query.above)}"] if query.above else []
            limits += ["within the clade given"] if spans is not None else []
            return f"the vocabulary has the name, but not {' '.join(limits)}"
        if parsed.reason and parsed.reason != NOT_SCIENTIFIC:
            return parsed.reason
        if parsed.qualifier and parsed.qualifier not in UNDETERMINED:
            return f"the name is qualified by {parsed.qualifier!r}, so it does not say which taxon it is"
        if parsed.infraspecific_epithet:
            return "the vocabulary has no such name; it ends at species"
        return "the vocabulary has no such name"


def distinguishing_paths(taxa: list[Taxon]) -> list[str]:
    """Qualified names, each of which means one of `taxa` only: with the first ancestor in which they differ."""
    paths = []
    for taxon in taxa:
        others = [other for other in taxa if other.node != taxon.node]
        above = taxon.lineage[: RANK_INDEX[taxon.rank]]
        same_rank = [other for other in others if other.rank == taxon.rank]
        qualifier = next((name for name in above if name and all(name not in o.lineage for o in same_rank)), "")
        if not qualifier:
            qualifier = ">".join(name for name in above if name)
        path = f"{qualifier}>{taxon.name}" if same_rank and qualifier else taxon.name
        paths.append(f"{taxon.rank}:{path}" if any(other.rank != taxon.rank for other in others) else path)
    return paths


def only_taxon(resolution: Resolution) -> Taxon:
    """The one taxon of a resolution. Raises ValueError in one line with the nearest names or how to choose."""
    taxa = resolution.taxa
    if len(taxa) == 1:
        return taxa[0]
    if taxa:
        choices = distinguishing_paths(taxa[: 2 * N_SUGGESTIONS])
        more = f" and {len(taxa) - len(choices)} more" if len(taxa) > len(choices) else ""
        raise ValueError(
            f"{resolution.query!r} names {len(taxa)} taxa; write one of {', '.join(map(repr, choices))}{more}"
        )
    message = f"unknown taxon {resolution.query!r}: {resolution.reason}"
    if resolution.suggestions:
        message += f"; nearest: {', '.join(describe(taxon) for taxon in resolution.suggestions)}"
    raise ValueError(message)


def describe(taxon: Taxon) -> str:
    """A taxon in a few words: "Mutarda arvensis (species)"."""
    common = f", {taxon.common_name}" if taxon.common_name else ""
    return f"{taxon.name} ({taxon.rank}{common})"
