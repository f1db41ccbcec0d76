"""Webdataset tar shards, read at any place: `<uuid>.jpg` with `<uuid>.taxon.txt`, `<uuid>.sci.txt` … beside it.

A shard is walked through once; where its members lie is kept in the cache under the shard's path, size and time. After
that a sample costs two short reads, in any order, and nothing is unpacked.
"""

from __future__ import annotations

import tarfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linnaea.datasets.group_ids import stable_id
from linnaea.datasets.samples import (
    NO_IMAGE,
    NO_LINEAGE,
    NO_TEXT,
    NOTHING_ABOVE,
    TEMPLATE,
    RawSample,
    Reject,
    choose_text,
    parse_lineage_tag,
    strip_template,
)
from linnaea.datasets.write_errors import writing
from linnaea.store import atomic_path, default_cache_dir, hash_bytes

# The layout of the cached index; a change of it makes the old ones unseen.
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
# Endings as they are found, in capitals or not.
KIND_OF = {ending.lower(): kind for ending, kind in MEMBERS.items()}
COLUMN = {kind: column for column, kind in enumerate(KINDS)}
TEXT_KINDS = tuple(kind for kind in KINDS if kind not in (IMAGE, TAG))
ARRAYS = ("keys", "offset_nk", "size_nk", "taxon_n")
LISTS = ("rejects", "notices")
N_NAMED = 3
ELSEWHERE = "make room there, or put the cache elsewhere with the environment variable LINNAEA_CACHE; then start again"
TWICE = "the key occurs twice in the shard; its first image counts"
CUT_SHORT = "the shard ends before its sample does"
# Two blocks of zeros end an archive; writers then fill their record, of 10,240 bytes unless `tar -b` made it larger.
END_BYTES, MOST_RECORD_BYTES = 2 * tarfile.BLOCKSIZE, 1 << 20


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """Where the members of a shard's samples lie; n samples, k kinds of members.

    `offset_nk` is -1 where a sample has no such member. `broken_at` is the byte at which the archive breaks off, -1 if
    it is whole; `rejects` and `notices` are (key, reason). `fingerprint` changes with the keys, texts and places of the samples.
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
        """Of what the index holds, so no image is read for it: other images of the very same sizes leave it as it is."""
        numbers = (self.offset_nk.astype("<i8"), self.size_nk.astype("<i8"), self.taxon_n.astype("<i8"))
        return hash_bytes("\0".join(self.keys.tolist()), *(array.tobytes() for array in numbers))


def scan_shard(path: Path) -> ShardIndex:
    """The index of a tar file. Samples without image or text are rejects, and so is a second image of a key; of a broken
    archive the whole samples count."""
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
                tar.members.clear()  # it would keep all of them
        # tarfile takes a cut between two members for an end, too, and the zeros of a download that was not finished.
        if not _is_end(handle, end, size):
            broken_at, last = end, next(reversed(samples), "")
            if cut_key in ("", last):  # else another sample had begun, so the last one is whole
                samples.pop(last, None)
        return _index_samples(handle, samples, broken_at, rejects)


def _is_end(handle, end: int, size: int) -> bool:
    """Whether an archive of `size` bytes ends at byte `end`: nothing but zeros is left, and no more than fill a record."""
    # Larger records are powers of two as a rule, and the size is a multiple of them.
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
    """The index of a shard, from the cache if the shard has not changed since it was made."""
    return read_index(cached_index(path, cache_dir))


def cached_index(path: Path, cache_dir: Path) -> Path:
    """Where the index of a shard as it is now is kept; it is made if need be."""
    state = path.stat()
    name = hash_bytes(LAYOUT, str(path.resolve()), str(state.st_size), str(state.st_mtime_ns))
    cached = cache_dir / f"{name}.npz"
    if not cached.exists():
        index = scan_shard(path)
        lists = {key: np.array(getattr(index, key), np.str_).reshape(-1, 2) for key in LISTS}
        with (
            writing(cached, f"the index of {path.name}", ELSEWHERE),
            atomic_path(cached) as temporary,
            temporary.open("wb") as handle,
        ):
            np.savez(handle, **{key: getattr(index, key) for key in (*ARRAYS, "broken_at")}, **lists)
    return cached


def read_index(cached: Path) -> ShardIndex:
    """An index from its file."""
    with np.load(cached) as found:
        arrays = {key: found[key] for key in ARRAYS}
        lists = {key: [tuple(map(str, row)) for row in found[key]] for key in LISTS}
        return ShardIndex(**arrays, **lists, broken_at=int(found["broken_at"]))


class _Summary(NamedTuple):
    """What is kept of every shard: where its index lies, its samples, and what is wrong or odd about it."""

    cached: Path
    n: int
    fingerprint: str
    broken_at: int
    rejects: list[tuple[str, str]]
    notices: list[tuple[str, str]]


def _summary(path: Path, cache_dir: Path) -> _Summary:
    cached = cached_index(path, cache_dir)
    index = read_index(cached)
    return _Summary(cached, len(index.keys), index.fingerprint, index.broken_at, index.rejects, index.notices)


class _File:
    """An open shard; closed when the last thread that reads it lets go."""

    def __init__(self, path: Path):
        self._handle, self._lock = path.open("rb"), threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        with self._lock:
            self._handle.seek(offset)
            return self._handle.read(size)

    def __del__(self):
        if hasattr(self, "_handle"):
            self._handle.close()


class TarSource:
    """The samples of tar shards, with the texts that lie in them; a part is a shard. See
    `linnaea.datasets.samples.Source`.

    FileNotFoundError names the shards that are missing, ValueError those that break off; with `keep_truncated` the
    whole samples of the latter are used and the break is a reject. `template` is what surrounds a name; the shards' own
    is replaced by it. `lineages` asks for lineages, a third read a sample. `n_open` shards are kept open, and their
    indexes in memory (1.2 MB each); it should cover what is shuffled together.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        template: str = TEMPLATE,
        lineages: bool = False,
        keep_truncated: bool = False,
        n_open: int = 160,
        n_processes: int = 1,
        cache_dir: Path | None = None,
    ):
        self.paths = tuple(Path(path) for path in paths)
        self._template, self._lineages = template, lineages
        self._check_names()
        cache_dir = cache_dir or default_cache_dir() / "shards"
        summaries = self._scan(cache_dir, n_processes)
        cached_p = [found.cached for found in summaries]
        self.sizes_p = np.array([found.n for found in summaries], np.int64)
        self.rejects, self.notices = [], []
        for path, found in zip(self.paths, summaries, strict=True):
            if found.broken_at >= 0:
                reason = (
                    f"truncated: the archive breaks off at byte {found.broken_at:,}, after {found.n:,} whole samples"
                )
                self.rejects.append(Reject(part=path.name, key="", reason=reason))
            self.rejects += [Reject(part=path.name, key=key, reason=reason) for key, reason in found.rejects]
            self.notices += [Reject(part=path.name, key=key, reason=reason) for key, reason in found.notices]
        broken = [reject for reject in self.rejects if not reject.key]
        if broken and not keep_truncated:
            named = "; ".join(f"{reject.part} is {reject.reason}" for reject in broken[:N_NAMED])
            more = f" and {len(broken) - N_NAMED} more shards" if len(broken) > N_NAMED else ""
            raise ValueError(f"{named}{more}; fetch again, or keep the whole samples with keep_truncated")
        parts = zip(self.paths, summaries, strict=True)
        self.fingerprint = hash_bytes(*(f"{path.name} {found.fingerprint}" for path, found in parts))
        # The index of the shard as it was at the start: one that changes meanwhile shows as samples cut short.
        self._index = lru_cache(n_open)(lambda part: read_index(cached_p[part]))
        self._file = lru_cache(n_open)(lambda part: _File(self.paths[part]))

    def _check_names(self) -> None:
        missing = [path for path in self.paths if not path.is_file()]
        if missing or not self.paths:
            named = ", ".join(map(str, missing[:N_NAMED])) or "no shard was given"
            more = f" and {len(missing) - N_NAMED} more" if len(missing) > N_NAMED else ""
            raise FileNotFoundError(f"missing shards: {named}{more}; fetch them or leave them out of the recipe")
        twice = [name for name, n in Counter(path.resolve() for path in self.paths).items() if n > 1]
        if twice:
            raise ValueError(f"{twice[0]} is given twice; name each shard once")

    def _scan(self, cache_dir: Path, n_processes: int) -> list[_Summary]:
        caches = [cache_dir] * len(self.paths)
        if n_processes <= 1:
            return list(map(_summary, self.paths, caches))
        with ProcessPoolExecutor(n_processes) as pool:
            return list(pool.map(_summary, self.paths, caches, chunksize=8))

    def part_name(self, part: int) -> str:
        """The file name of a shard."""
        return self.paths[part].name

    def keys(self, part: int) -> np.ndarray:
        """The keys of a shard's samples, str [n]."""
        return self._index(part).keys

    def taxa(self, part: int) -> np.ndarray:
        """A number int64 [n] for each sample of a shard, the same for the same taxonomic text."""
        return self._index(part).taxon_n

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages of the samples; one sample of each taxon of a shard is read for it."""
        found, seen = set(), set()
        for part in range(len(self.paths)):
            numbers, rows = np.unique(self.taxa(part), return_index=True)
            for number, row in zip(numbers.tolist(), rows.tolist(), strict=True):
                if number not in seen:
                    seen.add(number)
                    found.add(parse_lineage_tag(self._text(part, row, TAG)))
        return found

    def _member(self, part: int, row: int, kind: str) -> bytes:
        index, column = self._index(part), COLUMN[kind]
        offset, size = int(index.offset_nk[row, column]), int(index.size_nk[row, column])
        return b"" if offset < 0 else self._file(part).read(offset, size)

    def read_image(self, part: int, row: int) -> bytes | Reject:
        """The stored bytes of an image."""
        index = self._index(part)
        data, size = self._member(part, row, IMAGE), index.size_nk[row, COLUMN[IMAGE]]
        if len(data) == size:
            return data
        return Reject(part=self.paths[part].name, key=str(index.keys[row]), reason=CUT_SHORT)

    def read(self, part: int, row: int, text_type: str) -> RawSample | Reject:
        """One sample with its text of that type; a plain caption stands for all types."""
        data = self.read_image(part, row)
        if isinstance(data, Reject):
            return data
        key = str(self._index(part).keys[row])
        texts = _LazyTexts(lambda kind: self._text(part, row, kind))
        text = choose_text(texts, text_type)
        if text:
            text = self._template.format(text)
        else:
            text = self._member(part, row, CAPTION).decode("utf-8", "replace").strip()
        if not text:
            return Reject(part=self.paths[part].name, key=key, reason=NO_TEXT)
        lineage = NO_LINEAGE
        if self._lineages:
            lineage = parse_lineage_tag(self._text(part, row, TAG))
        return RawSample(key=key, data=data, text=text, lineage=lineage)

    def _text(self, part: int, row: int, kind: str) -> str:
        return strip_template(self._member(part, row, kind).decode("utf-8", "replace"))


class _LazyTexts(dict):
    """Texts that are read when they are asked for."""

    def __init__(self, read):
        super().__init__()
        self._read = read

    def get(self, kind, default=""):
        return self._read(kind) or default
