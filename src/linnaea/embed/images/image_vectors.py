"""The one batched loop from photographs to vectors: threads decode ahead while the model runs.

Shape suffixes: b images of a batch that could be read, n images, d vector dimensions, h w pixels, c channels.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from linnaea.embed.journal import Journal, get_journal_dir, read_state
from linnaea.model.core.contract import Model, ModelCard, Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.model.runtimes.runtime_names import DEFAULT_RUNTIME, RUNTIME_CHOICES, check_runtime
from linnaea.photos.decoding import Unreadable, memory, use_image
from linnaea.photos.photo_files import find_images, printable_path
from linnaea.records import ImageRecord
from linnaea.store import VECTORS, Vectors, check_replaceable, hash_bytes, load_vectors, read_manifest, write_artifact
from linnaea.terminal import Progress, format_duration

BATCH_SIZE = 32
LOOK_AHEAD = 3
DECODING = ("exact", "scaled")
# `scaled` shrinks down to this many times the model's input side: at twice the input the antialiased resize that follows
# still has nearly all that it needs.
OVERSAMPLING = 2
VECTOR_BYTES = "vectors.raw"
NO_NUMBERS = "the model gives no numbers for it: its weights are damaged, or too large for its runtime"

Decode = Callable[[ImageRecord], "np.ndarray | Unreadable"]


@dataclass(frozen=True)
class EmbeddedBatch:
    """Consecutive images of the input: `vectors_bd` float32 has one unit row for each that is not in `failures`.

    `failures` maps positions in `records` to reasons.
    """

    records: tuple[ImageRecord, ...]
    vectors_bd: np.ndarray
    failures: dict[int, str]


def read_pixels(record: ImageRecord, preprocess: Preprocess, decoding: str = "exact") -> np.ndarray | Unreadable:
    """The pixels uint8 [size, size, 3] that the model sees of a record, or why there are none.

    `decoding` is `exact`, or `scaled` for photographs that are shrunk by whole factors while they are decoded.
    """
    least_side = OVERSAMPLING * preprocess.size if decoding == "scaled" else 0
    return use_image(
        record.path, lambda image, turn: preprocess_image(image, preprocess, turn), record.box, least_side=least_side
    )


def embed_batches(
    model: Model,
    records: Iterable[ImageRecord],
    *,
    batch_size: int = BATCH_SIZE,
    n_threads: int | None = None,
    decode: Decode | None = None,
    decoding: str = "exact",
) -> Iterator[EmbeddedBatch]:
    """Batches in input order; every batch but the last has `batch_size` records, whatever could be read of them.

    At most LOOK_AHEAD batches wait in memory, so a list of any length may be passed, lazily too. `decode` replaces the
    reading of a record into pixels uint8 [h, w, c]; it runs in threads.
    """
    decode = decode or partial(read_pixels, preprocess=model.card.preprocess, decoding=decoding)
    remaining = iter(records)
    waiting: deque[Future[EmbeddedBatch]] = deque()
    n_threads = n_threads or os.cpu_count() or 1
    decoders = ThreadPoolExecutor(n_threads, thread_name_prefix="decode")
    runner = ThreadPoolExecutor(1, thread_name_prefix="model")  # a model is called from one thread only
    try:
        while chunk := tuple(islice(remaining, batch_size)):
            pixels = [decoders.submit(decode, record) for record in chunk]
            waiting.append(runner.submit(_run, model, chunk, pixels))
            if len(waiting) >= LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        decoders.shutdown(wait=False, cancel_futures=True)
        memory.release()
        runner.shutdown(wait=False, cancel_futures=True)


def _run(
    model: Model, records: tuple[ImageRecord, ...], pixels: Sequence[Future[np.ndarray | Unreadable]]
) -> EmbeddedBatch:
    results = [future.result() for future in pixels]
    failures = {i: result.reason for i, result in enumerate(results) if isinstance(result, Unreadable)}
    images = [result for result in results if not isinstance(result, Unreadable)]
    vectors_bd = model.encode_images(np.stack(images)) if images else np.zeros((0, model.card.dim), np.float32)
    whole_b = np.isfinite(vectors_bd).all(axis=1)
    if not whole_b.all():
        read = [i for i in range(len(records)) if i not in failures]
        failures |= {read[b]: NO_NUMBERS for b in np.flatnonzero(~whole_b).tolist()}
        vectors_bd = vectors_bd[whole_b]
    return EmbeddedBatch(records, vectors_bd, failures)


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Turns photographs into vectors on disk: one unit vector for each image that can be read."""

    paths: tuple[Path, ...] = field(metadata={"positional": True, "metavar": "PATH"})
    "photographs, or folders of them (searched to any depth)"
    out: Path
    "folder for the vectors: vectors.npy, rows.parquet, unreadable.jsonl and manifest.json"
    model: str = "bundled"
    "`bundled`, the folder of a model or of an open_clip checkpoint, or one on the hub, e.g. hf-hub:imageomics/bioclip-2"
    batch_size: int = BATCH_SIZE
    "images the model sees at once"
    runtime: str = field(default="onnxruntime", metadata={"choices": RUNTIME_CHOICES})
    "where the model runs: `onnxruntime` in full precision; `auto` takes the fastest that passes a check on 32 photographs"
    decoding: str = field(default="exact", metadata={"choices": DECODING})
    "`exact` takes every pixel; `scaled` shrinks photographs while it decodes them: large ones twice as fast"
    resume: bool = False
    "go on where a broken run with the same options stopped"
    overwrite: bool = False
    "replace vectors that are there already"
    quiet: bool = False
    "no progress line"

    def __post_init__(self):
        if not self.paths:
            raise ValueError("no photograph or folder given; name at least one")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size} is too small; give 1 or more")
        check_decoding(self.decoding)
        check_runtime(self.runtime)


def check_decoding(decoding: str) -> None:
    """Raises ValueError for a way of decoding that there is not."""
    if decoding not in DECODING:
        raise ValueError(f"unknown --decoding {decoding!r}; choose {' or '.join(DECODING)}")


def make_image_manifest(card: ModelCard, runtime: str = DEFAULT_RUNTIME) -> dict:
    """What a vectors artifact of images says of the model that made it."""
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
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    decoding: str = "exact",
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Vectors:
    """The vectors artifact at `out`, written batch by batch; rows of `rows.parquet` have the column `file`.

    Files that give no vector stand with their reasons in `unreadable.jsonl`. Raises FileExistsError where `out` is
    there already, ValueError where a broken run was about something else.
    """
    out, given = Path(out), [os.fspath(path) for path in paths]
    runtime = getattr(model, "runtime", DEFAULT_RUNTIME)
    state = {"paths": given, "model_hash": model.card.hash, "batch_size": batch_size, "decoding": decoding}
    state["runtime"] = runtime
    state["hash"] = hash_bytes(json.dumps(state, sort_keys=True))
    journal, files = _open_run(out, state, resume=resume, overwrite=overwrite)
    if journal is None:
        return load_vectors(out)
    raw_path = journal.directory / VECTOR_BYTES
    progress = Progress(len(files), done=min(len(files), journal.n_batches * batch_size), quiet=quiet)
    remaining = [ImageRecord(path=path) for path, _reason in files[journal.n_batches * batch_size :]]
    reasons = {path: reason for path, reason in files if reason}

    width = 2 * model.card.dim
    n_safe = sum(len(rows["files"]) for rows in journal.read())
    with raw_path.open("r+b" if raw_path.exists() else "w+b") as raw:
        # Vectors are written before the journal's line, so a kill between the two leaves a tail to cut off.
        raw.truncate(n_safe * width)
        raw.seek(n_safe * width)
        for batch in embed_batches(model, remaining, batch_size=batch_size, decoding=decoding):
            raw.write(batch.vectors_bd.astype("<f2").tobytes())
            raw.flush()
            read = [record.path for i, record in enumerate(batch.records) if i not in batch.failures]
            failed = [
                [batch.records[i].path, reasons.get(batch.records[i].path, why)] for i, why in batch.failures.items()
            ]
            journal.append({"files": read, "failed": failed})
            progress.advance(len(batch.records), len(failed))
    progress.close()
    _finish(journal, raw_path, {**make_image_manifest(model.card, runtime), "decoding": decoding}, model.card.dim, out)
    return load_vectors(out)


def _open_run(out: Path, state: dict, *, resume: bool, overwrite: bool) -> tuple[Journal | None, list[tuple[str, str]]]:
    """The journal to go on with and the files it is about; None where the artifact is finished already."""
    folder = get_journal_dir(out)
    check_replaceable(out, "vectors")
    broken, finished = read_state(folder), read_manifest(out)
    if resume and broken is not None:
        if broken["hash"] != state["hash"]:
            raise ValueError(f"{folder} belongs to a run with other options; repeat those, or leave --resume out")
        return Journal.reopen(folder), [tuple(file) for file in broken["files"]]
    if resume and finished is not None and finished.get("run_hash") == state["hash"]:
        return None, []
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} is there already; choose another --out or add --overwrite")
    if broken is not None and not overwrite:
        raise FileExistsError(f"{folder} holds a broken run; add --resume to go on or --overwrite to start again")
    found = find_images(state["paths"])
    if not found.files:
        raise FileNotFoundError(f"no photograph in {', '.join(state['paths'])}; name files or folders that hold some")
    files = [(file.path, file.reason) for file in found.files]
    return Journal.create(folder, {**state, "files": files}), files


def _finish(journal: Journal, raw_path: Path, about: dict, d: int, out: Path) -> None:
    import polars as pl

    files: list[str] = []
    run_hash = (read_state(journal.directory) or {})["hash"]
    n_failed = 0
    with open(journal.directory / "unreadable.jsonl", "w", encoding="utf-8") as handle:
        for batch in journal.read():
            files.extend(printable_path(path) for path in batch["files"])
            for path, reason in batch["failed"]:
                n_failed += 1
                handle.write(json.dumps({"file": printable_path(path), "reason": reason}, ensure_ascii=False) + "\n")
    n = len(files)
    manifest = {"kind": "vectors", **about, "n": n, "d": d}
    manifest |= {"n_unreadable": n_failed, "run_hash": run_hash}
    with write_artifact(out, manifest) as folder:
        if not n:
            np.save(folder / VECTORS, np.zeros((0, d), np.float16))
        else:
            vectors_nd = np.lib.format.open_memmap(folder / VECTORS, mode="w+", dtype=np.float16, shape=(n, d))
            source = np.memmap(raw_path, dtype="<f2", mode="r", shape=(n, d))
            for start in range(0, n, 65536):
                vectors_nd[start : start + 65536] = source[start : start + 65536]
            vectors_nd.flush()
        pl.DataFrame({"file": files}, schema={"file": pl.String}).write_parquet(folder / "rows.parquet")
        (journal.directory / "unreadable.jsonl").replace(folder / "unreadable.jsonl")
    journal.remove()


def main(config: EmbedConfig) -> int:
    """0 when at least one image became a vector, else 1."""
    import time

    from linnaea.model.loading import load_model

    start = time.monotonic()
    model = load_model(config.model)
    if config.runtime != DEFAULT_RUNTIME:
        from linnaea.embed.images.runtime_sample import select_runtime_for_files

        select_runtime_for_files(model, config.runtime, config.paths, quiet=config.quiet)
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
    seconds = format_duration(time.monotonic() - start)
    print(f"{n:,} vectors in {config.out} ({seconds}); {n_failed:,} unreadable, see unreadable.jsonl", file=sys.stderr)
    return 0 if n else 1
