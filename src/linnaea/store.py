"""Artifact folders, written atomically: filled elsewhere, the manifest last, then moved into place.

A folder with a manifest is therefore complete.

Shape suffixes: n vectors, d vector dimensions.
"""

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
# Endings of the working folder of a writer, `.NAME.xxxxxxxx.unfinished`, and of a folder it replaces, `….replaced`.
UNFINISHED = ".unfinished"
REPLACED = ".replaced"
STALE_S = 24 * 3600.0
# Two writers of one artifact can collide between two system calls; each collision costs one try.
TRIES = 100
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)


def default_cache_dir() -> Path:
    """The folder for artifacts that can be rebuilt: `$LINNAEA_CACHE`, else the platform's cache folder."""
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
    """The hash of the contents of files, in the given order."""
    return hash_bytes(*(path.read_bytes() for path in paths))


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it when the block succeeds and is removed when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _name_beside(path, UNFINISHED)
    # tempfile would make the file unreadable for others; here the umask applies.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _name_beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")


def write_json(path: Path, value: Mapping | list) -> None:
    """Write `value` atomically as indented JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def check_replaceable(artifact_dir: Path, kind: str) -> None:
    """Raise ValueError unless the folder is absent, empty, or a finished artifact of this kind."""
    artifact_dir = Path(artifact_dir)
    for _ in range(TRIES):
        try:
            present = os.listdir(artifact_dir)
            manifest = read_manifest(artifact_dir)
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise ValueError(f"{artifact_dir} is a file, not a folder; choose another --out") from None
        except ValueError:
            manifest = {}
        # Listed but not readable: another writer has just replaced this artifact.
        if manifest is not None or MANIFEST not in present:
            break
    if not present and manifest is None:
        return
    if manifest is None:
        raise ValueError(f"{artifact_dir} has other content (no {MANIFEST}); choose another --out")
    found = manifest.get("kind", "") if isinstance(manifest, dict) else ""
    if found != kind:
        raise ValueError(f"{artifact_dir} has {found or 'other content'}, not {kind}; choose another --out")


@contextmanager
def write_artifact(artifact_dir: Path, manifest: Mapping, *, owned: bool = False) -> Iterator[Path]:
    """A folder to fill. When the block succeeds, it gets `manifest.json` and becomes the artifact.

    The destination must be absent, empty, or a finished artifact of the manifest's `kind`, before the block and after
    it; otherwise ValueError. With `owned` (a cache folder named by a content hash), any content is replaced. If several
    writers write one artifact, the last to finish wins; every result is complete. Leftovers of killed writers of this
    artifact are removed after a day.
    """
    # Keep a symbolic link; replace its target.
    given, artifact_dir = Path(artifact_dir), Path(artifact_dir).resolve()

    def check() -> None:
        if not owned:
            check_replaceable(given, manifest["kind"])

    check()
    artifact_dir.parent.mkdir(parents=True, exist_ok=True)
    temporary = _name_beside(artifact_dir, UNFINISHED)
    temporary.mkdir()
    try:
        yield temporary
        write_json(temporary / MANIFEST, manifest)
        check()
        _put_in_place(temporary, artifact_dir)
        _remove_stale(artifact_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary_dir: Path, artifact_dir: Path) -> None:
    for attempt in range(TRIES):
        replaced = _name_beside(artifact_dir, REPLACED)
        try:
            artifact_dir.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty
            with suppress(FileNotFoundError):
                artifact_dir.rename(replaced)
        try:
            temporary_dir.rename(artifact_dir)
        except OSError as error:
            if attempt == TRIES - 1 or error.errno not in TAKEN:
                with suppress(OSError):
                    replaced.rename(artifact_dir)
                raise
        shutil.rmtree(replaced, ignore_errors=True)
        if not temporary_dir.exists():
            return


def _remove_stale(artifact_dir: Path) -> None:
    """Remove the folders of killed writers in which nothing has changed for a day."""
    endings = "|".join(map(re.escape, (UNFINISHED, REPLACED)))
    pattern = re.compile(rf"\.{re.escape(artifact_dir.name)}\.[0-9a-f]{{8}}(?:{endings})")
    for left in artifact_dir.parent.iterdir():
        if pattern.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with suppress(OSError):
                if time.time() - max(path.stat().st_mtime for path in (left, *left.rglob("*"))) > STALE_S:
                    shutil.rmtree(left, ignore_errors=True)


def read_manifest(artifact_dir: Path) -> dict | None:
    """The manifest of a finished artifact; None if there is none."""
    path = Path(artifact_dir) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); rebuild the folder, or remove it") from None


def get_manifest_path(out_path: Path) -> Path:
    """The manifest with the options of a finished run: its output file with the suffix `.manifest.json`."""
    return out_path.with_name(out_path.name + ".manifest.json")


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """A vectors artifact in memory: `vectors_nd` float16 [n, d], unit rows unless the manifest has `unit` False.

    `rows` is a polars frame with n rows; `manifest` has the model hash, preprocessing, text type and logit scale.
    """

    vectors_nd: np.ndarray
    rows: object
    manifest: dict = field(default_factory=dict)


def save_vectors(artifact_dir: Path, vectors: Vectors) -> None:
    """Write a vectors artifact: `vectors.npy`, `rows.parquet`, then `manifest.json`."""
    n, d = vectors.vectors_nd.shape
    if vectors.rows.height != n:
        raise ValueError(f"{n} vectors but {vectors.rows.height} rows: each vector needs one row")
    with write_artifact(artifact_dir, {"kind": "vectors", "unit": True, **vectors.manifest, "n": n, "d": d}) as folder:
        np.save(folder / VECTORS, vectors.vectors_nd.astype(np.float16, copy=False))
        vectors.rows.write_parquet(folder / ROWS)


def load_vectors(artifact_dir: Path) -> Vectors:
    """A vectors artifact with its matrix memory-mapped. Raises FileNotFoundError if it is missing or unfinished."""
    import polars as pl

    artifact_dir = Path(artifact_dir)
    manifest = read_manifest(artifact_dir)
    if manifest is None:
        raise FileNotFoundError(
            f"{artifact_dir} has no finished vectors artifact (no {MANIFEST}); run `linnaea embed` again"
        )
    vectors_nd = np.load(artifact_dir / VECTORS, mmap_mode="r")
    return Vectors(vectors_nd=vectors_nd, rows=pl.read_parquet(artifact_dir / ROWS), manifest=manifest)
