"""Integers that mark which pairs of a batch share a genus or a family, equal on every rank.

Shape suffixes: b pairs of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from linnaea.records import RANK_INDEX

UNKNOWN = -1


def stable_id(*parts: str) -> int:
    """Hash the parts to an integer from 0 to 2**63 - 1, the same in every process and on every machine."""
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def group_ids(lineages: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Return an int64 [b] for "genus" and one for "family"; `UNKNOWN` where a lineage lacks that rank.

    A genus is hashed with its kingdom, because a plant genus may have the name of an animal genus.
    """
    numbers = {}
    for rank in ("genus", "family"):
        at = RANK_INDEX[rank]
        values = [stable_id(rank, lineage[0], lineage[at]) if lineage[at] else UNKNOWN for lineage in lineages]
        numbers[rank] = np.array(values, np.int64)
    return numbers
