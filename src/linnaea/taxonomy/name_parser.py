"""Parses scientific names: canonical form, authorship, hybrids, uncertain and infraspecific names."""

from __future__ import annotations

from dataclasses import dataclass

UNDETERMINED = ("sp.", "spp.", "sp", "spp")
UNPARSABLE = {
    "VIRUS": "the name of a virus has no genus and species",
    "FORMULA": "a hybrid formula names two parents; give one of them",
    "IDENTIFIER": "an identifier, not the name of a taxon",
}

NOT_SCIENTIFIC = "not a scientific name"


@dataclass(frozen=True, kw_only=True)
class ParsedName:
    """The parts of a scientific name; "" for a part that it lacks."""

    text: str
    "the name as it was given"
    canonical: str = ""
    "the bare name without authorship, rank marks and hybrid signs"
    genus: str = ""
    "of a species or below; a single word may be of any rank and has none"
    specific_epithet: str = ""
    infraspecific_epithet: str = ""
    authorship: str = ""
    year: str = ""
    is_hybrid: bool = False
    rank: str = ""
    "species or a rank below it, in lower case; empty if the name does not show it"
    qualifier: str = ""
    "cf., aff. and similar: the name is a guess; sp. …: the species is not determined"
    reason: str = ""
    "why the name could not be parsed"


def parse_name(text: str) -> ParsedName:
    """The parts of a scientific name. Any other text gets a `reason` and no canonical form.

    An undetermined species ("Felis sp.") has its genus as canonical name and "sp." as qualifier.
    """
    import nameparser

    text = " ".join(text.split())
    if not text:
        return ParsedName(text=text, reason="an empty name")
    try:
        parsed = nameparser.parse(text)
    except nameparser.UnparsableNameError as error:
        kind = "VIRUS" if error.code == "VIRUS" else error.name_type
        formula = kind == "FORMULA"
        return ParsedName(text=text, is_hybrid=formula, reason=UNPARSABLE.get(kind, NOT_SCIENTIFIC))
    if isinstance(parsed, nameparser.Informal):
        return ParsedName(text=text, canonical=parsed.taxon, genus=parsed.taxon, qualifier=parsed.phrase or "sp.")
    qualifiers = parsed.epithet_qualifier or {}
    rank = parsed.rank.lower().replace("_name", "")
    return ParsedName(
        text=text,
        canonical=parsed.canonical_name_minimal() or "",
        genus=parsed.genus or "",
        specific_epithet=parsed.specific_epithet or "",
        infraspecific_epithet=parsed.infraspecific_epithet or "",
        authorship=parsed.authorship_complete() or "",
        year=parsed.combination_authorship.year or parsed.basionym_authorship.year or "",
        is_hybrid=bool(parsed.notho),
        rank="" if rank == "unranked" else rank,
        qualifier=" ".join(qualifiers.values()),
    )


def split_alternatives(text: str) -> list[list[str]]:
    """The ways to write a name with slashes as several names, the likeliest first; [] for a name without them.

    "Larus argentatus/cachinnans" -> [["Larus argentatus", "Larus cachinnans"]]. "Alder/Willow Flycatcher" -> the first
    word alone, or with the words that follow the last one.
    """
    parts = [" ".join(part.split()) for part in text.split("/")]
    if len(parts) < 2 or not all(part[:1].isalpha() for part in parts):
        return []
    first = parts[0].split()
    ways = [[parts[0], *(_complete_alternative(part, first) for part in parts[1:])]]
    shared = parts[-1].split()[1:]
    if shared and all(" " not in part for part in parts[:-1]):
        ways.append([*(" ".join((part, *shared)) for part in parts[:-1]), parts[-1]])
    return ways


def _complete_alternative(part: str, first: list[str]) -> str:
    """An alternative with the words that it shares with the first one: cachinnans, L. cachinnans, or a whole name."""
    words = part.split()
    initial, _dot, rest = part.partition(".")
    if part[0].islower() and len(words) < len(first):
        return " ".join((*first[: len(first) - len(words)], part))
    if len(initial) == 1 and rest and first[0].startswith(initial):
        return f"{first[0]} {rest.strip()}"
    return part


def is_credible(parsed: ParsedName) -> bool:
    """Whether the authorship looks like an author, so that the canonical form may replace the name.

    True for "Salix L." and "Felidae Fischer von Waldheim, 1817"; False for "House Cat", parsed as House by author Cat.
    """
    if not parsed.authorship or parsed.specific_epithet:
        return True
    return bool(parsed.year) or "." in parsed.authorship or parsed.authorship.startswith("(")
