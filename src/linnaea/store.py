"""Artifact folders: written aside, moved into place whole, the manifest last, so that a manifest proves a finished one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MANIFEST = "manifest.json"
VECTORS = "vectors.npy"
ROWS = "rows.parquet"


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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping | list) -> None:
    """Writes `value` atomically as indented JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def write_artifact(directory: Path, manifest: Mapping) -> Iterator[Path]:
    """A folder to fill; when the block ends well it gets `manifest.json` and takes the place of `directory`.

    Another process that finishes the same artifact first wins; its copy is kept.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield temporary
        write_json(temporary / MANIFEST, manifest)
        if directory.exists() and not (directory / MANIFEST).exists():
            shutil.rmtree(directory)
        if directory.exists():
            retired = temporary.with_name(temporary.name + ".old")
            directory.rename(retired)
            temporary.rename(directory)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_manifest(directory: Path) -> dict | None:
    """The manifest of a finished artifact, or None where there is none."""
    path = Path(directory) / MANIFEST
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


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
        raise FileNotFoundError(f"{directory} holds no finished vectors artifact (no {MANIFEST}); run `linnaea embed` again")
    vectors_nd = np.load(directory / VECTORS, mmap_mode="r")
    return Vectors(vectors_nd=vectors_nd, rows=pl.read_parquet(directory / ROWS), manifest=manifest)
