"""A sample as training reads it: the bytes of an image, the text that was drawn for it, its lineage; or why there is
none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from linnaea.records import RANKS

TEMPLATE = "a photo of {}."
NO_LINEAGE = ("",) * len(RANKS)
NO_IMAGE = "no image"
NO_TEXT = "no text: neither a scientific nor a common name"
NOTHING_ABOVE = "no lineage: a bare name, without the ranks above it"
_RANK_WORD = re.compile(rf"\b({'|'.join(RANKS)}) ")


@dataclass(frozen=True, kw_only=True)
class RawSample:
    """An image as it is stored, its text in one of the five types, and its lineage (empty where it was not asked
    for)."""

    key: str
    data: bytes
    text: str
    lineage: tuple[str, ...] = NO_LINEAGE


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A sample that cannot be used. `part` names its shard or table."""

    part: str
    key: str
    reason: str


class SampleSource(Protocol):
    """Samples in parts (shards), any of which can be read at any time by any thread.

    `sizes_p` are the samples of each part. `rejects` are those left out from the start and `notices` those used despite
    something odd. `fingerprint` changes when what the parts hold changes, as far as an index tells: keys, texts, and in shards
    the places and sizes of images; no image is read for it.
    """

    sizes_p: np.ndarray
    rejects: list[Reject]
    notices: list[Reject]
    fingerprint: str

    def part_name(self, part: int) -> str:
        """How a part is called in the journal of rejects."""

    def taxa(self, part: int) -> np.ndarray:
        """A number int64 [n] for each sample of a part, the same for the same taxon."""

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages that samples are named by, "" at ranks that are not known."""

    def read(self, part: int, row: int, text_type: str) -> RawSample | Reject:
        """One sample with its text of that type."""


def choose_text(texts: Mapping[str, str], text_type: str) -> str:
    """The text of the wanted type, or where that is empty of the nearest type that is not; "" if all are.

    Without a common name the scientific ones stand in and the other way round, as in `linnaea.taxonomy.name_text`.
    """
    base = text_type.removesuffix("_common")
    for kind in (text_type, base, "scientific", "taxonomic", "common"):
        if found := texts.get(kind, ""):
            return found
    return ""


def strip_template(caption: str, template: str = TEMPLATE) -> str:
    """What a caption says without its template: "a photo of Felis catus." -> "Felis catus"."""
    before, after = template.split("{}")
    text = caption.strip().removeprefix(before.strip())
    return (text.removesuffix(after) if after else text).strip()


def parse_lineage_tag(caption: str) -> tuple[str, ...]:
    """The lineage in a caption that names its ranks: "a photo of kingdom Animalia … genus Felis species catus."."""
    words = _RANK_WORD.split(strip_template(caption))
    found = {rank: name.strip() for rank, name in zip(words[1::2], words[2::2], strict=True)}
    *above, species = (found.get(rank, "") for rank in RANKS)
    return (*above, f"{above[-1]} {species}" if above[-1] and species and " " not in species else species)
