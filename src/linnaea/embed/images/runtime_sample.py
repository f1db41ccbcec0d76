"""Photographs of a run on which the runtime of its model is checked and calibrated.

Shape suffixes: b images, h w pixels, c channels.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np

from linnaea.embed.images.image_vectors import Decode, read_pixels
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_check import LabelFunction, select_runtime
from linnaea.photos.decoding import Unreadable
from linnaea.photos.photo_files import find_images
from linnaea.records import ImageRecord

# Of so many times the photographs that are wanted some will be readable.
TRIES = 4


def sample_evenly(items: Sequence, n: int) -> list:
    """At most n of the items, at even distances: neighbours are often of one animal, or of one bad card."""
    return list(items) if len(items) <= n else [items[int(i)] for i in np.linspace(0, len(items) - 1, n)]


def sample_pixels(records: Sequence[ImageRecord], n: int, decode: Decode, size: int) -> np.ndarray:
    """uint8 [b, size, size, 3] of at most n records that can be read, sample_evenly over all of them."""
    first = sample_evenly(range(len(records)), n)
    taken = set(first)
    others = [i for i in sample_evenly(range(len(records)), TRIES * n) if i not in taken]
    images: list[np.ndarray] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(first) + len(others), n):
            if len(images) >= n:
                break
            part = (first + others)[start : start + n]
            images += [
                image for image in pool.map(lambda i: decode(records[i]), part) if not isinstance(image, Unreadable)
            ]
    return np.stack(images[:n]) if images else np.zeros((0, size, size, 3), np.uint8)


def select_runtime_for_files(
    model: Model, wanted: str, paths: Iterable[str | os.PathLike], *, quiet: bool = False
) -> dict:
    """`select_runtime_for_records` for the photographs in paths, with no names to compare."""
    files = find_images(paths).files
    say = (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr))
    records = [ImageRecord(path=file.path) for file in files]
    return select_runtime_for_records(model, wanted, lambda n: sample_evenly(records, n), len(records), say=say)


def select_runtime_for_records(
    model: Model,
    wanted: str,
    records: Callable[[int], Sequence[ImageRecord]],
    n_images: int,
    *,
    decode: Decode | None = None,
    label: LabelFunction | None = None,
    names: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Gives the model the runtime that is wanted, checked on its run's own photographs; see `select_runtime`.

    `records(n)` gives at least n of the run's `n_images` records where it has that many, sample_evenly over the run.
    """
    decode = decode or partial(read_pixels, preprocess=model.card.preprocess)

    @cache
    def sample(n: int) -> np.ndarray:
        return sample_pixels(records(TRIES * n), n, decode, model.card.preprocess.size)

    return select_runtime(model, wanted, sample=sample, n_images=n_images, label=label, names=names)
