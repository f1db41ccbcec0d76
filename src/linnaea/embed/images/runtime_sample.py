"""Photographs of a run on which the runtime of its model is checked and calibrated.

Shape suffixes: b images, h w pixels, c channels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np

from linnaea.embed.images.pixel_reader import Decode, NotedPixels, read_pixels
from linnaea.model.core.contract import Model
from linnaea.model.runtimes.runtime_check import LabelFunction, select_runtime
from linnaea.photos.decoding import Unreadable
from linnaea.photos.photo_files import find_images
from linnaea.records import ImageRecord

# Of this many times the wanted number of photographs, enough will be readable.
TRIES = 4


def sample_evenly(items: Sequence, n: int) -> list:
    """At most n of the items, at even distances: neighbours often show one animal, or come from one damaged card."""
    return list(items) if len(items) <= n else [items[int(i)] for i in np.linspace(0, len(items) - 1, n)]


def sample_pixels(records: Sequence[ImageRecord], n: int, decode: Decode, size: int) -> np.ndarray:
    """uint8 [b, size, size, 3] of at most n readable records, spread over all of them."""
    first = sample_evenly(range(len(records)), n)
    taken = set(first)
    others = [i for i in sample_evenly(range(len(records)), TRIES * n) if i not in taken]
    images: list[np.ndarray] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(first) + len(others), n):
            if len(images) >= n:
                break
            part = (first + others)[start : start + n]
            found = list(pool.map(lambda i: decode(records[i]), part))
            images += [
                result.pixels_hwc if isinstance(result, NotedPixels) else result
                for result in found
                if not isinstance(result, Unreadable)
            ]
    return np.stack(images[:n]) if images else np.zeros((0, size, size, 3), np.uint8)


def select_runtime_for_files(model: Model, wanted: str, paths: Iterable[str | os.PathLike]) -> dict:
    """`select_runtime_for_records` for the photographs in `paths`, without names to compare."""
    records = [ImageRecord(path=file.path) for file in find_images(paths).files]
    return select_runtime_for_records(model, wanted, lambda n: sample_evenly(records, n), len(records))


def select_runtime_for_records(
    model: Model,
    wanted: str,
    records: Callable[[int], Sequence[ImageRecord]],
    n_images: int,
    *,
    decode: Decode | None = None,
    label: LabelFunction | None = None,
    names: str = "",
) -> dict:
    """Give the model the runtime `wanted`, checked on the run's own photographs; see `select_runtime`.

    `records(n)` returns at least n of the run's `n_images` records if there are n, spread over the run. Returns the
    record of the runtime and its check.
    """
    decode = decode or partial(read_pixels, preprocess=model.card.preprocess)

    @cache
    def sample(n: int) -> np.ndarray:
        return sample_pixels(records(TRIES * n), n, decode, model.card.preprocess.size)

    return select_runtime(model, wanted, sample=sample, n_images=n_images, label=label, names=names)
