"""Writer of tar shards with photographs and their names, in the layout of TreeOfLife-200M."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from linnaea.datasets.manifests import TableSource
from linnaea.datasets.samples import TEMPLATE, RawSample, Reject
from linnaea.datasets.shard_index import MEMBERS
from linnaea.records import RANKS
from linnaea.store import atomic_path
from linnaea.taxonomy.name_text import TEXT_TYPES, epithet, taxon_text

SHARD_SIZE = 10_000
ENDINGS = {kind: ending for ending, kind in MEMBERS.items() if kind in TEXT_TYPES}


def make_texts(lineage: tuple[str, ...], common: str) -> dict[str, str]:
    """Return the text of each member by its file ending, as in TreeOfLife-200M."""
    names = [*lineage[:-1], epithet(lineage[-1]) if lineage[-2] else lineage[-1]]
    tag = " ".join(f"{rank} {name}" for rank, name in zip(RANKS, names, strict=True) if name)
    if not any(lineage):
        return {"com.txt": TEMPLATE.format(common)}
    texts = {ENDINGS[kind]: TEMPLATE.format(taxon_text(lineage, kind, common)) for kind in TEXT_TYPES}
    return texts | {"taxonTag.txt": TEMPLATE.format(tag)}


def _choose_key(key: str, number: int, used: set[str]) -> str:
    """Return the key if it is a valid and free member name, else the sample's number.

    Underscores are appended as long as the number is taken, too.
    """
    if not key or set("./\\") & set(key) or key in used:
        key = f"{number:07}"
    while key in used:
        key += "_"
    return key


def write_shards(
    samples: Iterable[tuple[str, bytes, tuple[str, ...], str]], out_dir: Path, *, shard_size: int = SHARD_SIZE
) -> list[Path]:
    """Write samples (key, stored image, lineage, common name) into `shard-00000.tar` … and return the paths.

    A shard appears only when it is complete. A key that is empty, contains a dot or a slash (these separate members) or
    is already in the shard is replaced by the number of the sample, because members with one key form one sample.
    """
    paths, waiting, keys = [], [], set()

    def flush() -> None:
        path = out_dir / f"shard-{len(paths):05}.tar"
        with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in waiting:
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o644
                tar.addfile(member, io.BytesIO(data))
        paths.append(path)
        waiting.clear()
        keys.clear()

    n_here = 0
    for number, (key, data, lineage, common) in enumerate(samples):
        key = _choose_key(key, number, keys)
        keys.add(key)
        waiting.append((f"{key}.jpg", data))
        waiting += [(f"{key}.{ending}", text.encode()) for ending, text in make_texts(lineage, common).items()]
        n_here += 1
        if n_here == shard_size:
            flush()
            n_here = 0
    if waiting:
        flush()
    return paths


def pack_table(source: TableSource, out_dir: Path, *, shard_size: int = SHARD_SIZE) -> tuple[list[Path], list[Reject]]:
    """Write all rows of a table into shards, in order; return the paths and the rows whose files could not be read."""
    rejects: list[Reject] = []

    def samples():
        for part, n in enumerate(source.sizes_p):
            for row in range(int(n)):
                found = source.read(part, row, "scientific")
                if isinstance(found, RawSample):
                    yield found.key, found.data, *source.names(part, row)
                else:
                    rejects.append(found)

    return write_shards(samples(), out_dir, shard_size=shard_size), rejects
