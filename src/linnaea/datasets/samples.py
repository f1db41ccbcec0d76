"""One training sample: the stored bytes of an image, its text and its lineage, or the reason why it cannot be used."""

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
    """An undecoded image with one of its five texts, and its lineage (empty if it was not requested)."""

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
    """Samples in parts (shards), each of which any thread can read at any time.

    `sizes_p` is the number of samples of each part. `rejects` are the samples left out from the start, `notices` those
    that are used although something is odd. `fingerprint` changes when the content of the parts changes, as far as an
    index shows it: keys, texts, and in shards the positions and sizes of the images. No image is read for it.
    """

    sizes_p: np.ndarray
    rejects: list[Reject]
    notices: list[Reject]
    fingerprint: str

    def part_name(self, part: int) -> str:
        """Name of a part in the journal of rejects."""

    def taxa(self, part: int) -> np.ndarray:
        """An int64 [n] for the samples of a part, equal for equal taxa."""

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages of the samples, with "" for unknown ranks."""

    def read(self, part: int, row: int, text_type: str) -> RawSample | Reject:
        """Read one sample with its text of the given type."""


def choose_text(texts: Mapping[str, str], text_type: str) -> str:
    """Return the text of a type, or the nearest type's that is not empty; "" if all are empty.

    Without a common name the scientific names take its place and the other way round, as in
    `linnaea.taxonomy.name_text`.
    """
    base = text_type.removesuffix("_common")
    for kind in (text_type, base, "scientific", "taxonomic", "common"):
        if found := texts.get(kind, ""):
            return found
    return ""


def strip_template(caption: str, template: str = TEMPLATE) -> str:
    """Return a caption without its template: "a photo of Felis catus." -> "Felis catus"."""
    before, after = template.split("{}")
    text = caption.strip().removeprefix(before.strip())
    return (text.removesuffix(after) if after else text).strip()


def parse_lineage_tag(caption: str) -> tuple[str, ...]:
    """Return the lineage of a caption that names its ranks: "a photo of kingdom Animalia … species catus."."""
    words = _RANK_WORD.split(strip_template(caption))
    found = {rank: name.strip() for rank, name in zip(words[1::2], words[2::2], strict=True)}
    *above, species = (found.get(rank, "") for rank in RANKS)
    return (*above, f"{above[-1]} {species}" if above[-1] and species and " " not in species else species)
