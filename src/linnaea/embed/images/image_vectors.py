"""The one batched loop from photographs to vectors: threads decode ahead while the model runs.

Shape suffixes: b images of a batch that could be read, d vector dimensions, h w pixels, c channels.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from linnaea.embed.images.pixel_reader import Decode, NotedPixels, read_pixels
from linnaea.embed.model_options import BATCH_SIZE
from linnaea.model.core.contract import Model
from linnaea.photos.decoding import Unreadable, memory
from linnaea.photos.photo_files import find_images
from linnaea.records import ImageRecord

LOOK_AHEAD = 3
NOT_FINITE = "the model gives no numbers for it: its weights are damaged, or too large for its runtime"


@dataclass(frozen=True)
class EmbeddedBatch:
    """Consecutive images of the input: `vectors_bd` float32 has one unit row for each image that is not in `failures`.

    `failures` maps positions in `records` to reasons, `notes` to what is noteworthy about a photograph that was read.
    """

    records: tuple[ImageRecord, ...]
    vectors_bd: np.ndarray
    failures: dict[int, str]
    notes: dict[int, str] = field(default_factory=dict)


def embed(
    paths: Iterable[str | os.PathLike] | str | os.PathLike,
    *,
    model: str | Model = "bundled",
    batch_size: int = BATCH_SIZE,
    decoding: str = "exact",
) -> tuple[list[str], np.ndarray]:
    """The paths of the photographs that could be read, and their unit vectors, float32 [b, d], in the same order.

    `paths` are photographs and folders of them. All vectors are held in memory; `embed_batches` streams them and gives
    the reasons for the files that could not be read.
    """
    from linnaea.model.loading import load_model

    loaded = load_model(model) if isinstance(model, str) else model
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    records = (ImageRecord(path=file.path) for file in find_images(map(Path, given)).files)
    read: list[str] = []
    pieces = [np.zeros((0, loaded.card.dim), np.float32)]
    for batch in embed_batches(loaded, records, batch_size=batch_size, decoding=decoding):
        read += [record.path for i, record in enumerate(batch.records) if i not in batch.failures]
        pieces.append(batch.vectors_bd)
    return read, np.concatenate(pieces)


def embed_batches(
    model: Model,
    records: Iterable[ImageRecord],
    *,
    batch_size: int = BATCH_SIZE,
    n_threads: int | None = None,
    decode: Decode | None = None,
    decoding: str = "exact",
) -> Iterator[EmbeddedBatch]:
    """Yield batches in input order. Every batch but the last has `batch_size` records, readable or not.

    At most LOOK_AHEAD batches wait in memory, so `records` may be a lazy iterable of any length. `decode` replaces the
    reading of a record into pixels uint8 [h, w, c]; it runs in `n_threads` threads (default: one for each core).
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
    model: Model, records: tuple[ImageRecord, ...], pixels: Sequence[Future[np.ndarray | NotedPixels | Unreadable]]
) -> EmbeddedBatch:
    results = [future.result() for future in pixels]
    failures = {i: result.reason for i, result in enumerate(results) if isinstance(result, Unreadable)}
    notes = {i: result.note for i, result in enumerate(results) if isinstance(result, NotedPixels)}
    results = [result.pixels_hwc if isinstance(result, NotedPixels) else result for result in results]
    images = [result for result in results if not isinstance(result, Unreadable)]
    vectors_bd = model.encode_images(np.stack(images)) if images else np.zeros((0, model.card.dim), np.float32)
    finite_b = np.isfinite(vectors_bd).all(axis=1)
    if not finite_b.all():
        read = [i for i in range(len(records)) if i not in failures]
        failures |= {read[b]: NOT_FINITE for b in np.flatnonzero(~finite_b).tolist()}
        vectors_bd = vectors_bd[finite_b]
    return EmbeddedBatch(records, vectors_bd, failures, notes)
