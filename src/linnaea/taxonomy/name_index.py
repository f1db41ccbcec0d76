"""Names looked up by a normal form, through a sorted array of hashes instead of a million-entry dictionary.

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
    """The form in which two spellings of one name are equal.

    Case, accents, apostrophes, dots and the hybrid sign vanish, hyphens and underscores are spaces: "Rose-breasted
    Grosbeak" = "rose breasted grosbeak", "Quercus × rosacea" = "Quercus rosacea".
    """
    if name.isascii():
        if name.replace(" ", "").isalpha():
            return " ".join(name.lower().split())
    else:
        decomposed = unicodedata.normalize("NFKD", name)
        name = "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f")
    return " ".join(name.casefold().translate(TRANSLATION).split())


def epithet_stem(key: str) -> str:
    """A binomial's last word without its Latin ending, which changes with the gender of the genus; "" for one word.

    "coccothraustes vespertinus" and "hesperiphona vespertina" both give "vespertin".
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
    """Positions by key: `hash_m` uint64 sorted, `entry_m` int32 the position of each. Keys may collide or repeat."""

    def __init__(self, hash_m: np.ndarray, entry_m: np.ndarray):
        self.hash_m = hash_m
        self.entry_m = entry_m

    @classmethod
    def of(cls, keys: Strings, entry_m: np.ndarray | None = None) -> HashIndex:
        """The index of `keys`; `entry_m` gives their positions where these are not 0, 1, 2, …"""
        hash_m = keys.hashes()
        order = np.argsort(hash_m, kind="stable")
        entries = order if entry_m is None else np.asarray(entry_m)[order]
        return cls(hash_m[order], entries.astype(np.int32))

    def candidates(self, key: str) -> list[int]:
        """The sorted positions whose keys have this key's hash: all that are equal, and perhaps others."""
        wanted = np.uint64(hash_key(key))
        first, last = np.searchsorted(self.hash_m, wanted, "left"), np.searchsorted(self.hash_m, wanted, "right")
        return sorted(self.entry_m[first:last].tolist())

    def save(self, directory: Path, name: str) -> None:
        """Writes `<name>_hash.npy` and `<name>_entry.npy`."""
        np.save(directory / f"{name}_hash.npy", self.hash_m)
        np.save(directory / f"{name}_entry.npy", self.entry_m)

    @classmethod
    def load(cls, directory: Path, name: str) -> HashIndex:
        """What `save` wrote, memory-mapped."""
        return cls(load_array(directory / f"{name}_hash.npy"), load_array(directory / f"{name}_entry.npy"))


class Lookup:
    """Nodes by name: `names`, the node of each in `node_m` (None: the names are those of the nodes), and an index."""

    def __init__(self, names: Strings, index: HashIndex, node_m: np.ndarray | None = None):
        self.names = names
        self.index = index
        self.node_m = node_m

    @classmethod
    def of(cls, names: Strings, node_m: np.ndarray | None = None) -> Lookup:
        """The look-up of `names` by their keys."""
        return cls(names, HashIndex.of(Strings.of([name_key(name) for name in names])), node_m)

    @classmethod
    def of_nodes(cls, names: list[str], node_m: np.ndarray) -> Lookup:
        """The look-up of names other than the nodes' own."""
        return cls.of(Strings.of(names), node_m)

    def __len__(self) -> int:
        return len(self.names)

    def nodes(self, name: str) -> list[int]:
        """The sorted nodes that have this name, whatever their rank."""
        key = name_key(name)
        entries = [entry for entry in self.index.candidates(key) if name_key(self.names[entry]) == key]
        return sorted({entry if self.node_m is None else int(self.node_m[entry]) for entry in entries})

    def save(self, directory: Path, name: str) -> None:
        """Writes the look-up; the names only where they are its own."""
        self.index.save(directory, name)
        if self.node_m is not None:
            self.names.save(directory, name)
            np.save(directory / f"{name}_node.npy", self.node_m)

    @classmethod
    def load(cls, directory: Path, name: str, names: Strings | None = None) -> Lookup:
        """What `save` wrote; `names` for a look-up without its own."""
        index = HashIndex.load(directory, name)
        if names is not None:
            return cls(names, index)
        return cls(Strings.load(directory, name), index, load_array(directory / f"{name}_node.npy"))


def stem_index(names: Strings, nodes: Iterable[int]) -> HashIndex:
    """The index of species nodes by `epithet_stem`, for a species that moved to another genus."""
    stems, entries = [], []
    for node in nodes:
        if stem := epithet_stem(name_key(names[node])):
            stems.append(stem)
            entries.append(node)
    return HashIndex.of(Strings.of(stems), np.array(entries, np.int32))
