"""Numbers that say which pairs of a batch share a genus or a family, alike on every rank."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from linnaea.records import RANK_INDEX

UNKNOWN = -1


def stable_id(*parts: str) -> int:
    """A number 0..2**63-1 of the parts, the same in every process and on every machine."""
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def group_ids(lineages: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """For "genus" and "family" an int64 [b]; `UNKNOWN` where a lineage lacks that rank.

    A genus counts with its kingdom, since a plant's may have an animal's name.
    """
    numbers = {}
    for rank in ("genus", "family"):
        at = RANK_INDEX[rank]
        values = [stable_id(rank, lineage[0], lineage[at]) if lineage[at] else UNKNOWN for lineage in lineages]
        numbers[rank] = np.array(values, np.int64)
    return numbers
