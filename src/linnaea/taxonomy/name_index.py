"""Look-up of names by a normal form, in a sorted array of hashes instead of a dictionary with a million entries.

Shape suffixes: m names, k nodes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from linnaea.taxonomy.strings import FNV_OFFSET, FNV_PRIME, Strings, load_array

MASK = 2**64 - 1
DROPPED = dict.fromkeys(map(ord, "'’‘ʼʻ`´\"“”.×"))
SPACED = dict.fromkeys(map(ord, "-‐‑‒–—_"), " ")
TRANSLATION = DROPPED | SPACED
ENDINGS = (
    "ensis",
    "ense",
    "oides",
    "ous",
    "eus",
    "ius",
    "us",
    "um",
    "is",
    "os",
    "on",
    "ii",
    "er",
    "ra",
    "rum",
    "ae",
    "es",
    "a",
    "e",
    "i",
    "o",
    "s",
)


def name_key(name: str) -> str:
    """The normal form of a name, equal for all spellings of it.

    Case, accents, apostrophes, dots and the hybrid sign are removed; hyphens and underscores become spaces:
    "Rose-breasted Grosbeak" = "rose breasted grosbeak", "Quercus × rosacea" = "Quercus rosacea".
    """
    if name.isascii():
        if name.replace(" ", "").isalpha():
            return " ".join(name.lower().split())
    else:
        decomposed = unicodedata.normalize("NFKD", name)
        name = "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f")
    return " ".join(name.casefold().translate(TRANSLATION).split())


def epithet_stem(key: str) -> str:
    """The last word of a binomial without its Latin ending; "" for a single word.

    The ending changes with the gender of the genus: "coccothraustes vespertinus" and "hesperiphona vespertina" both
    give "vespertin".
    """
    _, _, word = key.rpartition(" ")
    if len(word) == len(key):
        return ""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def hash_key(key: str) -> int:
    """The 64-bit FNV-1a hash of one key, equal to `Strings.hashes`."""
    value, prime = int(FNV_OFFSET), int(FNV_PRIME)
    for byte in key.encode():
        value = ((value ^ byte) * prime) & MASK
    return value


class HashIndex:
    """Positions by key: `hash_m` uint64, sorted, and `entry_m` int32, their positions. Keys may collide or repeat."""

    def __init__(self, hash_m: np.ndarray, entry_m: np.ndarray):
        self.hash_m = hash_m
        self.entry_m = entry_m

    @classmethod
    def from_keys(cls, keys: Strings, entry_m: np.ndarray | None = None) -> HashIndex:
        """The index of `keys`. Their positions are `entry_m`, by default 0, 1, 2 and so on."""
        hash_m = keys.hashes()
        order = np.argsort(hash_m, kind="stable")
        entries = order if entry_m is None else np.asarray(entry_m)[order]
        return cls(hash_m[order], entries.astype(np.int32))

    def candidates(self, key: str) -> list[int]:
        """The sorted positions whose keys have the hash of this key: all equal keys, and possibly others."""
        wanted = np.uint64(hash_key(key))
        first, last = np.searchsorted(self.hash_m, wanted, "left"), np.searchsorted(self.hash_m, wanted, "right")
        return sorted(self.entry_m[first:last].tolist())

    def save(self, out_dir: Path, name: str) -> None:
        """Write `<name>_hash.npy` and `<name>_entry.npy`."""
        np.save(out_dir / f"{name}_hash.npy", self.hash_m)
        np.save(out_dir / f"{name}_entry.npy", self.entry_m)

    @classmethod
    def load(cls, in_dir: Path, name: str) -> HashIndex:
        """Read what `save` wrote, memory-mapped."""
        return cls(load_array(in_dir / f"{name}_hash.npy"), load_array(in_dir / f"{name}_entry.npy"))


class Lookup:
    """Nodes by name: `names`, an index of them, and the node of each in `node_m` (None: name i belongs to node i)."""

    def __init__(self, names: Strings, index: HashIndex, node_m: np.ndarray | None = None):
        self.names = names
        self.index = index
        self.node_m = node_m

    @classmethod
    def from_names(cls, names: Strings, node_m: np.ndarray | None = None) -> Lookup:
        """The look-up of `names` by their keys."""
        return cls(names, HashIndex.from_keys(Strings.from_list([name_key(name) for name in names])), node_m)

    def __len__(self) -> int:
        return len(self.names)

    def nodes(self, name: str) -> list[int]:
        """The sorted nodes with this name, of any rank."""
        key = name_key(name)
        entries = [entry for entry in self.index.candidates(key) if name_key(self.names[entry]) == key]
        return sorted({entry if self.node_m is None else int(self.node_m[entry]) for entry in entries})

    def save(self, out_dir: Path, name: str) -> None:
        """Write the look-up; its names only if they are not those of the nodes."""
        self.index.save(out_dir, name)
        if self.node_m is not None:
            self.names.save(out_dir, name)
            np.save(out_dir / f"{name}_node.npy", self.node_m)

    @classmethod
    def load(cls, in_dir: Path, name: str, names: Strings | None = None) -> Lookup:
        """Read what `save` wrote. Pass `names` for a look-up that uses those of the nodes."""
        index = HashIndex.load(in_dir, name)
        if names is not None:
            return cls(names, index)
        return cls(Strings.load(in_dir, name), index, load_array(in_dir / f"{name}_node.npy"))


def stem_index(names: Strings, nodes: Iterable[int]) -> HashIndex:
    """The index of species nodes by `epithet_stem`; it finds species that moved to another genus."""
    stems, entries = [], []
    for node in nodes:
        if stem := epithet_stem(name_key(names[node])):
            stems.append(stem)
            entries.append(node)
    return HashIndex.from_keys(Strings.from_list(stems), np.array(entries, np.int32))
