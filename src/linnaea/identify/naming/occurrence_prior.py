"""A prior over species for a place and a season, from occurrence records.

For leaf s, from occurrences i of it at distance d_i (km, great circle) and month m_i:

    c_s = Σ_i exp(-d_i² / 2h²) · exp(κ (cos(2π (m_i - m) / 12) - 1))
    π_s = (1 - ε) √c_s / Σ √c  +  ε / n

with h = 200 km, κ = 1 (a record half a year away counts 0.14 of one from the same month), ε = 0.05. The square root
damps counts that reflect observers' effort more than abundance. ε is the floor: the probability that a photograph shows
a species without records, so that nothing becomes impossible. log(n π_s) is added to the logits; exp of it is 1 on
average over the leaves, so that the negative prompts keep their weight. An occurrence above species rank is shared
evenly by the leaves below it. An occurrence without month counts with the mean over the year. A name of several taxa
means those that agree best with the record's higher taxa; a name below species rank counts for its species.

Shape suffixes: n leaves, m candidate leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from linnaea.records import RANK_INDEX, Taxon
from linnaea.standards.occurrence_records import HIGHER_RANKS, RecordedName
from linnaea.taxonomy.name_parser import is_credible, parse_name
from linnaea.taxonomy.vocabulary import Vocabulary

FLOOR = 0.05
# One kingdom under two names.
SAME_KINGDOM = {"metazoa": "animalia", "viridiplantae": "plantae"}


def compute_log_prior(
    vocabulary: Vocabulary, counts: Mapping[RecordedName, float], leaves: np.ndarray | None = None
) -> tuple[np.ndarray, int]:
    """float32 [n], log(n π) of every leaf, and the number of names that the vocabulary knows.

    With `leaves` int32 [m] the prior is over these candidates alone. Homonyms that agree equally well with the record
    share its count evenly.
    """
    tree = vocabulary.tree
    count_n = np.zeros(tree.n_leaves)
    taxa_of: dict[str, list[Taxon]] = {}
    known: set[str] = set()
    for recorded, count in counts.items():
        if recorded.name not in taxa_of:
            taxa_of[recorded.name] = _find_taxa(vocabulary, recorded.name)
        taxa = select_agreeing_taxa(taxa_of[recorded.name], recorded.above)
        known |= {recorded.name} if taxa else set()
        for taxon in taxa:
            start, end = int(tree.start_k[taxon.node]), int(tree.end_k[taxon.node])
            count_n[start:end] += count / len(taxa) / (end - start)
    candidates = slice(None) if leaves is None else leaves
    root_m = np.sqrt(count_n[candidates])
    total, m = root_m.sum(), len(root_m)
    share_m = root_m / total if total > 0 else np.full(m, 1 / m)
    prior_n = np.zeros(tree.n_leaves, np.float32)
    prior_n[candidates] = np.log(m * ((1 - FLOOR) * share_m + FLOOR / m))
    return prior_n, len(known)


def _find_taxa(vocabulary: Vocabulary, name: str) -> list[Taxon]:
    """The taxa of a name; for a name below species rank, the species."""
    taxa = vocabulary.resolve(name, suggest=False).taxa
    if not taxa:
        parsed = parse_name(name)
        if parsed.infraspecific_epithet and not parsed.qualifier and is_credible(parsed):
            taxa = vocabulary.resolve(f"species:{parsed.genus} {parsed.specific_epithet}", suggest=False).taxa
    return taxa


def select_agreeing_taxa(taxa: Sequence[Taxon], above: Sequence[str]) -> list[Taxon]:
    """The homonyms whose lineages agree with most of a record's higher taxa, which are in the order of HIGHER_RANKS.

    Classifications differ, so names that disagree are no evidence against a taxon. The exception is another kingdom if
    no rank below it agrees: such a taxon only has the same name.
    """
    given = [_normalize(name) for name in above]
    agreements: list[tuple[int, Taxon]] = []
    for taxon in taxa:
        own = [_normalize(name) for name in taxon.lineage[: min(len(HIGHER_RANKS), RANK_INDEX[taxon.rank])]]
        agreement = sum(a == b != "" for a, b in zip(own, given, strict=False))
        is_elsewhere = bool(own and given and own[0] and given[0]) and own[0] != given[0]
        if agreement or not is_elsewhere:
            agreements.append((agreement, taxon))
    best = max((agreement for agreement, _taxon in agreements), default=0)
    return [taxon for agreement, taxon in agreements if agreement == best]


def _normalize(name: str) -> str:
    name = name.strip().casefold()
    return SAME_KINGDOM.get(name, name)
