"""`linnaea embed`: photographs to a vectors artifact, written batch by batch.

Shape suffixes: n images, d vector dimensions.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnaea.embed.images.image_vectors import embed_batches
from linnaea.embed.journal import Journal, RunOutput, read_state
from linnaea.embed.left_out import count_reasons, report_left_out
from linnaea.embed.model_options import BATCH_SIZE, RunOptions
from linnaea.model.core.contract import Model, ModelCard
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME
from linnaea.photos.photo_files import FoundFile, FoundFiles, LeftOut, find_images, format_path
from linnaea.records import ImageRecord
from linnaea.store import VECTORS, Vectors, check_replaceable, hash_bytes, load_vectors, read_manifest, write_artifact
from linnaea.terminal import Progress, format_duration

logger = logging.getLogger(__name__)

VECTOR_BYTES = "vectors.raw"
UNREADABLE = "unreadable.jsonl"
COPIED_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(RunOptions):
    """Turn photographs into vectors on disk: one unit vector for each image that can be read."""

    paths: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "PATH"})
    "photographs, or folders of them (searched to any depth)"
    out: Path
    "folder for the vectors: vectors.npy, rows.parquet, unreadable.jsonl and manifest.json"

    def __post_init__(self):
        super().__post_init__()
        if not self.paths:
            raise ValueError("no photograph or folder given; name at least one")


def make_image_manifest(card: ModelCard, runtime: str = DEFAULT_RUNTIME) -> dict:
    """The part of the manifest of image vectors that describes the model."""
    return {
        "model": card.name,
        "model_hash": card.hash,
        "runtime": runtime,
        "logit_scale": card.logit_scale,
        "preprocess": {name: getattr(card.preprocess, name) for name in card.preprocess.__dataclass_fields__},
        "text_type": "",
        "unit": True,
    }


def embed_images(
    paths: Iterable[str | os.PathLike],
    model: Model,
    out_dir: Path,
    *,
    batch_size: int = BATCH_SIZE,
    decoding: str = "exact",
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Vectors:
    """Write the vectors artifact `out_dir` batch by batch and return it; `rows.parquet` has the column `file`.

    Files that give no vector are listed with their reasons in `unreadable.jsonl`. Raise FileExistsError if `out_dir`
    exists already, ValueError if the interrupted run to resume had other options.
    """
    out_dir, given = Path(out_dir), [os.fspath(path) for path in paths]
    runtime = getattr(model, "runtime", DEFAULT_RUNTIME)
    # The keys and their order decide about the hash, by which runs are recognized.
    state = {"paths": given, "model_hash": model.card.hash, "batch_size": batch_size, "decoding": decoding}
    state["runtime"] = runtime
    state["hash"] = hash_bytes(json.dumps(state, sort_keys=True))
    check_replaceable(out_dir, "vectors")
    output = RunOutput(out_dir, resume=resume, overwrite=overwrite)
    finished = read_manifest(out_dir) or {}
    if output.is_finished(state["hash"], finished.get("run_hash")):
        return load_vectors(out_dir)
    output.check_free()
    found = _find_files(given, output)
    report_left_out(found.left_out, len(found.files), out_dir)
    files = [(file.path, file.reason) for file in found.files]
    journal = output.open(state, files, [(one.path, one.reason) for one in found.left_out])
    _embed_remaining(journal, model, files, batch_size=batch_size, decoding=decoding, quiet=quiet)
    about = {**make_image_manifest(model.card, runtime), "decoding": decoding}
    about["left_out"] = count_reasons(found.left_out)
    _write_vectors(journal, about, model.card.dim, out_dir)
    return load_vectors(out_dir)


def _find_files(paths: list[str], output: RunOutput) -> FoundFiles:
    """The photographs of the run to resume, or those that there are now."""
    if restored := output.read_files():
        left_out = tuple(LeftOut(*one) for one in output.read_left_out())
        return FoundFiles(tuple(FoundFile(*file) for file in restored), left_out)
    found = find_images(paths)
    if not found.files:
        raise FileNotFoundError(f"no photograph in {', '.join(paths)}; name files or folders that hold some")
    return found


def _embed_remaining(
    journal: Journal, model: Model, files: list[tuple[str, str]], *, batch_size: int, decoding: str, quiet: bool
) -> None:
    """Embed the files that are not in the journal yet; vectors go to VECTOR_BYTES beside it."""
    n_done = journal.n_batches * batch_size
    progress = Progress(len(files), done=min(len(files), n_done), quiet=quiet)
    remaining = [ImageRecord(path=path) for path, _reason in files[n_done:]]
    reasons = {path: reason for path, reason in files if reason}
    raw_path = journal.dir / VECTOR_BYTES
    width = 2 * model.card.dim
    n_safe = sum(len(rows["files"]) for rows in journal.read())
    with raw_path.open("r+b" if raw_path.exists() else "w+b") as raw:
        # Vectors are written before the journal's line, so a kill between the two leaves a tail to cut off.
        raw.truncate(n_safe * width)
        raw.seek(n_safe * width)
        for batch in embed_batches(model, remaining, batch_size=batch_size, decoding=decoding):
            for i, note in batch.notes.items():
                logger.warning(f"{format_path(batch.records[i].path)}: {note}")
            raw.write(batch.vectors_bd.astype("<f2").tobytes())
            raw.flush()
            read = [record.path for i, record in enumerate(batch.records) if i not in batch.failures]
            failed = [
                [batch.records[i].path, reasons.get(batch.records[i].path, why)] for i, why in batch.failures.items()
            ]
            journal.append({"files": read, "failed": failed})
            progress.advance(len(batch.records), len(failed))
    progress.close()


def _write_vectors(journal: Journal, about: dict, d: int, out_dir: Path) -> None:
    """Write the artifact from a complete journal, then remove the journal."""
    import polars as pl

    files: list[str] = []
    run_hash = (read_state(journal.dir) or {})["hash"]
    n_failed = 0
    unreadable_path = journal.dir / UNREADABLE
    with open(unreadable_path, "w", encoding="utf-8") as handle:
        for batch in journal.read():
            files.extend(format_path(path) for path in batch["files"])
            for path, reason in batch["failed"]:
                n_failed += 1
                handle.write(json.dumps({"file": format_path(path), "reason": reason}, ensure_ascii=False) + "\n")
    n = len(files)
    manifest = {"kind": "vectors", **about, "n": n, "d": d}
    manifest |= {"n_unreadable": n_failed, "run_hash": run_hash}
    with write_artifact(out_dir, manifest) as folder:
        _copy_vectors(journal.dir / VECTOR_BYTES, folder / VECTORS, n, d)
        pl.DataFrame({"file": files}, schema={"file": pl.String}).write_parquet(folder / "rows.parquet")
        unreadable_path.replace(folder / UNREADABLE)
    journal.remove()


def _copy_vectors(raw_path: Path, vectors_path: Path, n: int, d: int) -> None:
    """Write the little-endian float16 bytes at `raw_path` as an array [n, d] in numpy's format, in bounded memory."""
    if not n:
        np.save(vectors_path, np.zeros((0, d), np.float16))
        return
    vectors_nd = np.lib.format.open_memmap(vectors_path, mode="w+", dtype=np.float16, shape=(n, d))
    source_nd = np.memmap(raw_path, dtype="<f2", mode="r", shape=(n, d))
    for start in range(0, n, COPIED_ROWS):
        vectors_nd[start : start + COPIED_ROWS] = source_nd[start : start + COPIED_ROWS]
    vectors_nd.flush()


def main(config: EmbedConfig) -> int:
    """Return 0 if at least one image became a vector, else 1."""
    from linnaea.model.loading import load_model

    start_s = time.monotonic()
    model = load_model(config.model)
    if config.runtime != DEFAULT_RUNTIME:
        from linnaea.embed.images.runtime_sample import select_runtime_for_files

        select_runtime_for_files(model, config.runtime, config.paths)
    vectors = embed_images(
        config.paths,
        model,
        config.out,
        batch_size=config.batch_size,
        decoding=config.decoding,
        resume=config.resume,
        overwrite=config.overwrite,
        quiet=config.quiet,
    )
    n, n_failed = vectors.manifest["n"], vectors.manifest["n_unreadable"]
    duration = format_duration(time.monotonic() - start_s)
    logger.info(f"{n:,} vectors in {config.out} ({duration}); {n_failed:,} unreadable, see {UNREADABLE}")
    return 0 if n else 1
