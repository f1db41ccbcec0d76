"""Index of a tar shard: where the members of each sample lie.

A shard is read through once. Its index is kept in the cache under the path, size and modification time of the shard, so
that a sample later costs two short reads in any order.

Shape suffixes: n samples, k kinds of members.
"""

from __future__ import annotations

import tarfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.datasets.group_ids import stable_id
from linnaea.datasets.samples import NO_IMAGE, NO_TEXT, NOTHING_ABOVE, strip_template
from linnaea.datasets.write_errors import explain_write_errors
from linnaea.store import atomic_path, hash_bytes

# The layout of the cached index. Indexes of another layout are ignored.
LAYOUT = "3"
IMAGE, TAG, CAPTION = "image", "tag", "caption"
IMAGE_ENDINGS = ("jpg", "jpeg", "png", "webp")
MEMBERS = {
    "sci.txt": "scientific",
    "com.txt": "common",
    "taxon.txt": "taxonomic",
    "sci_com.txt": "scientific_common",
    "taxon_com.txt": "taxonomic_common",
    "taxonTag.txt": TAG,
    "txt": CAPTION,
} | dict.fromkeys(IMAGE_ENDINGS, IMAGE)
KINDS = tuple(dict.fromkeys(MEMBERS.values()))
# Endings are matched in any case.
KIND_OF = {ending.lower(): kind for ending, kind in MEMBERS.items()}
COLUMN = {kind: column for column, kind in enumerate(KINDS)}
TEXT_KINDS = tuple(kind for kind in KINDS if kind not in (IMAGE, TAG))
ARRAYS = ("keys", "offset_nk", "size_nk", "taxon_n")
LISTS = ("rejects", "notices")
ELSEWHERE = "make room there, or put the cache elsewhere with the environment variable LINNAEA_CACHE; then start again"
TWICE = "the key occurs twice in the shard; its first image counts"
# Two blocks of zeros end an archive. Writers then fill the record: 10,240 bytes, unless `tar -b` made it larger.
END_BYTES, MOST_RECORD_BYTES = 2 * tarfile.BLOCKSIZE, 1 << 20


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """Byte positions of the members of a shard's samples.

    `offset_nk` is -1 where a sample has no such member. `broken_at` is the byte at which the archive breaks off, or -1
    if it is complete. `rejects` and `notices` are pairs (key, reason).
    """

    keys: np.ndarray
    offset_nk: np.ndarray
    size_nk: np.ndarray
    taxon_n: np.ndarray
    rejects: list[tuple[str, str]] = field(default_factory=list)
    notices: list[tuple[str, str]] = field(default_factory=list)
    broken_at: int = -1

    @property
    def fingerprint(self) -> str:
        """Hash of the keys, texts and positions. No image is read, so other images of equal sizes do not change it."""
        numbers = (self.offset_nk.astype("<i8"), self.size_nk.astype("<i8"), self.taxon_n.astype("<i8"))
        return hash_bytes("\0".join(self.keys.tolist()), *(array.tobytes() for array in numbers))


def scan_shard(path: Path) -> ShardIndex:
    """Read through a tar file and return its index.

    Samples without an image or a text are rejects, and so is a second image of a key. Of an incomplete archive the
    complete samples count.
    """
    size, samples, broken_at, end, cut_key = path.stat().st_size, {}, -1, 0, ""
    rejects: list[tuple[str, str]] = []
    with path.open("rb") as handle:
        with suppress(tarfile.ReadError), tarfile.open(fileobj=handle, mode="r:") as tar:
            while (member := tar.next()) is not None:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key, end = (f"{folder}/{stem}" if folder else stem), member.offset
                if member.offset_data + member.size > size:
                    cut_key = key
                    break
                if member.isfile() and stem and (kind := KIND_OF.get(ending.lower())):
                    sample = samples.setdefault(key, {})
                    if kind == IMAGE and IMAGE in sample:
                        rejects.append((key, TWICE))
                    sample.setdefault(kind, (member.offset_data, member.size))
                end = tar.offset
                tar.members.clear()  # tarfile would keep all of them in memory
        # tarfile accepts a cut between two members as an end, and also the zeros of an unfinished download.
        if not _is_end(handle, end, size):
            broken_at, last = end, next(reversed(samples), "")
            if cut_key in ("", last):  # else another sample had begun, so the last one is complete
                samples.pop(last, None)
        return _index_samples(handle, samples, broken_at, rejects)


def _is_end(handle, end: int, size: int) -> bool:
    """Return whether an archive ends at byte `end`: only zeros follow, and no more than fill a record."""
    # Larger records are usually powers of two, and the file size is a multiple of them.
    record = max(tarfile.RECORDSIZE, min(size & -size, MOST_RECORD_BYTES))
    handle.seek(end)
    rest = handle.read(END_BYTES + record)
    return tarfile.BLOCKSIZE <= len(rest) < END_BYTES + record and not rest.strip(b"\0")


def _index_samples(
    handle, samples: dict[str, dict[str, tuple[int, int]]], broken_at: int, rejects: list[tuple[str, str]]
) -> ShardIndex:
    def text_of(members: dict, kind: str) -> str:
        offset, size = members.get(kind, (0, 0))
        handle.seek(offset)
        return strip_template(handle.read(size).decode("utf-8", "replace"))

    keys, places, taxa, rejects, notices = [], [], [], list(rejects), []
    for key, members in samples.items():
        if members.get(IMAGE, (0, 0))[1] == 0:
            rejects.append((key, NO_IMAGE))
            continue
        name = next((text for kind in ("taxonomic", *TEXT_KINDS) if (text := text_of(members, kind))), "")
        if not name:
            rejects.append((key, NO_TEXT))
            continue
        if name == text_of(members, "scientific") and len(name.split()) <= 2:
            notices.append((key, NOTHING_ABOVE))
        keys.append(key)
        places.append([members.get(kind, (-1, 0)) for kind in KINDS])
        taxa.append(stable_id(name))
    place_nk2 = np.array(places, np.int64).reshape(-1, len(KINDS), 2)
    return ShardIndex(
        keys=np.array(keys, np.str_),
        offset_nk=place_nk2[..., 0],
        size_nk=place_nk2[..., 1].astype(np.int32),
        taxon_n=np.array(taxa, np.int64),
        rejects=rejects,
        notices=notices,
        broken_at=broken_at,
    )


def load_index(path: Path, cache_dir: Path) -> ShardIndex:
    """Return the index of a shard, from the cache if the shard has not changed."""
    return read_index(find_index(path, cache_dir))


def find_index(path: Path, cache_dir: Path) -> Path:
    """Return the path of the cached index of a shard in its present state. Make the index if it is missing."""
    state = path.stat()
    name = hash_bytes(LAYOUT, str(path.resolve()), str(state.st_size), str(state.st_mtime_ns))
    cached = cache_dir / f"{name}.npz"
    if not cached.exists():
        index = scan_shard(path)
        lists = {key: np.array(getattr(index, key), np.str_).reshape(-1, 2) for key in LISTS}
        with (
            explain_write_errors(cached, f"the index of {path.name}", ELSEWHERE),
            atomic_path(cached) as temporary,
            temporary.open("wb") as handle,
        ):
            np.savez(handle, **{key: getattr(index, key) for key in (*ARRAYS, "broken_at")}, **lists)
    return cached


def read_index(index_path: Path) -> ShardIndex:
    """Read an index from its file."""
    with np.load(index_path) as found:
        arrays = {key: found[key] for key in ARRAYS}
        lists = {key: [tuple(map(str, row)) for row in found[key]] for key in LISTS}
        return ShardIndex(**arrays, **lists, broken_at=int(found["broken_at"]))
