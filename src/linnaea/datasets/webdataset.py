"""Reader of webdataset tar shards at any position: `<uuid>.jpg` with `<uuid>.taxon.txt`, `<uuid>.sci.txt` … beside it.

Nothing is unpacked: the index of each shard (`linnaea.datasets.shard_index`) says where its members lie.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linnaea.datasets.samples import (
    NO_LINEAGE,
    NO_TEXT,
    TEMPLATE,
    RawSample,
    Reject,
    choose_text,
    parse_lineage_tag,
    strip_template,
)
from linnaea.datasets.shard_index import CAPTION, COLUMN, IMAGE, TAG, find_index, read_index
from linnaea.store import default_cache_dir, hash_bytes

N_NAMED = 3
CUT_SHORT = "the shard ends before its sample does"


class _Summary(NamedTuple):
    """What is kept in memory of each shard: the path of its index, its size and its faults."""

    index_path: Path
    n: int
    fingerprint: str
    broken_at: int
    rejects: list[tuple[str, str]]
    notices: list[tuple[str, str]]


def _summarize(path: Path, cache_dir: Path) -> _Summary:
    index_path = find_index(path, cache_dir)
    index = read_index(index_path)
    return _Summary(index_path, len(index.keys), index.fingerprint, index.broken_at, index.rejects, index.notices)


class _OpenShard:
    """An open shard file. It is closed when no thread uses it any more."""

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
    """The samples of tar shards with the texts in them; a part is a shard. See `linnaea.datasets.samples.SampleSource`.

    Raises FileNotFoundError that names missing shards, and ValueError that names truncated ones. With `keep_truncated`
    the complete samples of a truncated shard are used and the cut is a reject. `template` surrounds a name and replaces
    the template of the shards. `lineages` also reads lineages, a third read for each sample. `n_open` shards are kept
    open with their indexes in memory (1.2 MB each); this should cover the shards that are shuffled together.
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
        self._check_paths()
        cache_dir = cache_dir or default_cache_dir() / "shards"
        summaries = self._scan(cache_dir, n_processes)
        cached_p = [found.index_path for found in summaries]
        self.sizes_p = np.array([found.n for found in summaries], np.int64)
        self.rejects: list[Reject] = []
        self.notices: list[Reject] = []
        for path, found in zip(self.paths, summaries, strict=True):
            self._note_faults(path.name, found)
        if not keep_truncated:
            self._check_complete()
        parts = zip(self.paths, summaries, strict=True)
        self.fingerprint = hash_bytes(*(f"{path.name} {found.fingerprint}" for path, found in parts))
        # The index of the shard as it was at the start. If a shard changes later, its samples are cut short.
        self._index = lru_cache(n_open)(lambda part: read_index(cached_p[part]))
        self._file = lru_cache(n_open)(lambda part: _OpenShard(self.paths[part]))

    def _note_faults(self, name: str, found: _Summary) -> None:
        """Add the rejects and notices of a shard. A truncated shard is a reject without a key."""
        if found.broken_at >= 0:
            reason = f"truncated: the archive breaks off at byte {found.broken_at:,}, after {found.n:,} whole samples"
            self.rejects.append(Reject(part=name, key="", reason=reason))
        self.rejects += [Reject(part=name, key=key, reason=reason) for key, reason in found.rejects]
        self.notices += [Reject(part=name, key=key, reason=reason) for key, reason in found.notices]

    def _check_complete(self) -> None:
        """Raise ValueError that names the truncated shards."""
        broken = [reject for reject in self.rejects if not reject.key]
        if broken:
            named = "; ".join(f"{reject.part} is {reject.reason}" for reject in broken[:N_NAMED])
            more = f" and {len(broken) - N_NAMED} more shards" if len(broken) > N_NAMED else ""
            raise ValueError(f"{named}{more}; fetch again, or keep the whole samples with keep_truncated")

    def _check_paths(self) -> None:
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
            return list(map(_summarize, self.paths, caches))
        with ProcessPoolExecutor(n_processes) as pool:
            return list(pool.map(_summarize, self.paths, caches, chunksize=8))

    def part_name(self, part: int) -> str:
        """File name of a shard."""
        return self.paths[part].name

    def keys(self, part: int) -> np.ndarray:
        """Keys of the samples of a shard, str [n]."""
        return self._index(part).keys

    def taxa(self, part: int) -> np.ndarray:
        """An int64 [n] for the samples of a shard, equal for equal taxonomic texts."""
        return self._index(part).taxon_n

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages of the samples. One sample of each taxon of a shard is read."""
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
        """Read the stored bytes of an image."""
        index = self._index(part)
        data, size = self._member(part, row, IMAGE), index.size_nk[row, COLUMN[IMAGE]]
        if len(data) == size:
            return data
        return Reject(part=self.paths[part].name, key=str(index.keys[row]), reason=CUT_SHORT)

    def read(self, part: int, row: int, text_type: str) -> RawSample | Reject:
        """Read one sample with its text of the given type. A plain caption replaces every type."""
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
    """Texts that are read from the shard at the first access."""

    def __init__(self, read):
        super().__init__()
        self._read = read

    def get(self, kind, default=""):
        return self._read(kind) or default
