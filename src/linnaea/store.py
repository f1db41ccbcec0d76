"""Artifact folders: written aside, moved into place whole, the manifest last, so that a manifest proves a finished one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MANIFEST = "manifest.json"
VECTORS = "vectors.npy"
ROWS = "rows.parquet"
# What a writer works in, beside the place it will take: `.NAME.xxxxxxxx.unfinished`, and what it replaces, `….replaced`.
UNFINISHED = ".unfinished"
REPLACED = ".replaced"
STALE_S = 24 * 3600.0
# Two writers of one artifact can take each other's place between two system calls; each such loss is one more try.
TRIES = 100
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)


def default_cache_dir() -> Path:
    """The folder for artifacts that can be made again: `$LINNAEA_CACHE`, else the platform's cache folder."""
    if override := os.environ.get("LINNAEA_CACHE"):
        return Path(override)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "linnaea"


def hash_bytes(*parts: bytes | str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the parts; each part is delimited by its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def hash_files(*paths: Path) -> str:
    """The hash of files' contents, in the order given."""
    return hash_bytes(*(path.read_bytes() for path in paths))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, UNFINISHED)
    # tempfile would make it unreadable for others; this way the umask decides, as for any file.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")


def write_json(path: Path, value: Mapping | list) -> None:
    """Writes `value` atomically as indented JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def check_replaceable(directory: Path, kind: str) -> None:
    """Raises ValueError unless `directory` is absent, empty, or a finished artifact of this kind."""
    directory = Path(directory)
    for _ in range(TRIES):
        try:
            present = os.listdir(directory)
            manifest = read_manifest(directory)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise ValueError(f"{directory} is a file, not a folder; choose another --out") from None
        except ValueError:
            manifest = {}
        # Listed but not read: another writer has put an artifact in the place of this one meanwhile.
        if manifest is not None or MANIFEST not in present:
            break
    if not present and manifest is None:
        return
    if manifest is None:
        raise ValueError(f"{directory} holds something else (no {MANIFEST}); choose another --out")
    found = manifest.get("kind", "") if isinstance(manifest, dict) else ""
    if found != kind:
        raise ValueError(f"{directory} holds {found or 'something else'}, not {kind}; choose another --out")


@contextmanager
def write_artifact(directory: Path, manifest: Mapping, *, owned: bool = False) -> Iterator[Path]:
    """A folder to fill; when the block ends well it gets `manifest.json` and takes the place of `directory`.

    The place must be free: absent, empty, or a finished artifact with the manifest's `kind`, else ValueError, before
    the block and again after it. With `owned` (the name is a content hash of ours, in a folder of ours) whatever is left
    there is replaced, too. Of several writers of one artifact the last to finish wins; each result is whole. What a
    killed writer of this artifact left beside it more than a day ago is removed.
    """
    # A link stays a link: the artifact takes the place of what it leads to.
    given, directory = Path(directory), Path(directory).resolve()

    def check() -> None:
        if not owned:
            check_replaceable(given, manifest["kind"])

    check()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(directory, UNFINISHED)
    temporary.mkdir()
    try:
        yield temporary
        write_json(temporary / MANIFEST, manifest)
        check()
        _put_in_place(temporary, directory)
        _remove_stale(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, directory: Path) -> None:
    for attempt in range(TRIES):
        replaced = _beside(directory, REPLACED)
        try:
            directory.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty
            with suppress(FileNotFoundError):
                directory.rename(replaced)
        try:
            temporary.rename(directory)
        except OSError as error:
            if attempt == TRIES - 1 or error.errno not in TAKEN:
                with suppress(OSError):
                    replaced.rename(directory)
                raise
        shutil.rmtree(replaced, ignore_errors=True)
        if not temporary.exists():
            return


def _remove_stale(directory: Path) -> None:
    """Removes what killed writers left, once nothing in it has changed for a day."""
    endings = "|".join(map(re.escape, (UNFINISHED, REPLACED)))
    pattern = re.compile(rf"\.{re.escape(directory.name)}\.[0-9a-f]{{8}}(?:{endings})")
    for left in directory.parent.iterdir():
        if pattern.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with suppress(OSError):
                if time.time() - max(path.stat().st_mtime for path in (left, *left.rglob("*"))) > STALE_S:
                    shutil.rmtree(left, ignore_errors=True)


def read_manifest(directory: Path) -> dict | None:
    """The manifest of a finished artifact, or None where there is none."""
    path = Path(directory) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); make the folder again, or remove it") from None


def get_manifest_path(out_path: Path) -> Path:
    """Where a finished run leaves its options: beside its output file, with the suffix `.manifest.json`."""
    return out_path.with_name(out_path.name + ".manifest.json")


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """A vectors artifact in memory: `vectors_nd` float16 [n, d], unit rows unless the manifest says otherwise.

    `rows` is a polars frame with n rows; `manifest` names the model hash, preprocessing, text type and logit scale.
    """

    vectors_nd: np.ndarray
    rows: object
    manifest: dict = field(default_factory=dict)


def save_vectors(directory: Path, vectors: Vectors) -> None:
    """Writes a vectors artifact: `vectors.npy`, `rows.parquet`, then `manifest.json`."""
    n, d = vectors.vectors_nd.shape
    if vectors.rows.height != n:
        raise ValueError(f"{n} vectors but {vectors.rows.height} rows: each vector needs one row")
    with write_artifact(directory, {"kind": "vectors", "unit": True, **vectors.manifest, "n": n, "d": d}) as folder:
        np.save(folder / VECTORS, vectors.vectors_nd.astype(np.float16, copy=False))
        vectors.rows.write_parquet(folder / ROWS)


def load_vectors(directory: Path) -> Vectors:
    """A vectors artifact with its matrix memory-mapped. Raises FileNotFoundError where it is missing or unfinished."""
    import polars as pl

    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest is None:
        raise FileNotFoundError(
            f"{directory} holds no finished vectors artifact (no {MANIFEST}); run `linnaea embed` again"
        )
    vectors_nd = np.load(directory / VECTORS, mmap_mode="r")
    return Vectors(vectors_nd=vectors_nd, rows=pl.read_parquet(directory / ROWS), manifest=manifest)
