"""Photographs for fine-tuning the trunk, and batches of random crops of them.

Shape suffixes: n photographs, b batch, c channels, h w pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from linnaea.model.core.preprocessing import FILTERS
from linnaea.train.bundled.batches import ClassLabel
from linnaea.train.bundled.trunk.config import FinetuneConfig

LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True, kw_only=True)
class PhotoPack:
    """Photographs with labels and sets.

    `turned_n` marks photographs that may be rotated by quarter turns. `usual_n` marks those that are like the
    photographs on which the trunk was first trained.
    """

    files: list[Path]
    labels: list[ClassLabel]
    turned_n: np.ndarray
    usual_n: np.ndarray
    sets: list[str] | None = None


def read_pictures(files: Sequence[Path]) -> list[np.ndarray]:
    """Decode images to uint8 [h, w, 3]."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda path: np.asarray(Image.open(path).convert("RGB")), files))


def draw_crop(
    picture: np.ndarray, size: int, rng: np.random.Generator, config: FinetuneConfig, *, turned: bool
) -> np.ndarray:
    """Draw a crop uint8 [size, size, 3], possibly mirrored. Half of the crops change the proportions."""
    height, width = picture.shape[:2]
    frame_w, frame_h = (width, height) if rng.random() < 0.5 else (min(width, height),) * 2
    area = rng.uniform(config.least_area, 1.0)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(config.most_aspect))
    crop_w = min(frame_w, max(1.0, frame_w * math.sqrt(area * aspect)))
    crop_h = min(frame_h, max(1.0, frame_h * math.sqrt(area / aspect)))
    left, top = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    box = (left, top, min(left + crop_w, width), min(top + crop_h, height))
    out = np.asarray(Image.fromarray(picture).resize((size, size), FILTERS["bilinear"], box))
    if rng.random() < 0.5:
        out = out[:, ::-1]
    return np.rot90(out, int(rng.integers(4))) if turned else out


def draw_colour_changes(n: int, rng: np.random.Generator, config: FinetuneConfig) -> torch.Tensor:
    """Draw matrices [n, 3, 3] that change brightness, contrast and saturation of pixels around mid-grey."""
    strength, saturation = (
        torch.from_numpy(rng.uniform(1 - config.jitter, 1 + config.jitter, n)).float()[:, None, None] for _ in range(2)
    )
    saturation[torch.from_numpy(rng.random(n) < config.grey)] = 0.0
    return strength * (saturation * torch.eye(3) + (1 - saturation) * LUMA.expand(3, 3))


class CropLoader:
    """Batches of crops, each a pure function of (seed, step). Photographs are drawn by 1 / sqrt(size of their class).

    `pictures` are the decoded photographs of the pack, uint8 [h, w, 3] each, if they are in memory already.
    """

    def __init__(
        self,
        pack: PhotoPack,
        config: FinetuneConfig,
        mean,
        std,
        seed: int,
        pictures: Sequence[np.ndarray] | None = None,
    ):
        self._pack, self._config, self._seed = pack, config, seed
        self._pictures = read_pictures(pack.files) if pictures is None else pictures
        sizes: dict[ClassLabel, int] = {}
        for label in pack.labels:
            sizes[label] = sizes.get(label, 0) + 1
        often = dict(config.drawn)
        sets = pack.sets or [""] * len(pack.labels)
        weight_n = np.array(
            [often.get(of, 1.0) * sizes[label] ** -0.5 for label, of in zip(pack.labels, sets, strict=True)]
        )
        self._cumulative_n = np.cumsum(weight_n / weight_n.sum())
        self._mean, self._std = (255 * torch.tensor(x)[:, None, None] for x in (mean, std))

    def batch(self, step: int, size: int) -> tuple[np.ndarray, torch.Tensor]:
        """Make a batch: rows [b] of the pack, and normalised pixels [b, 3, size, size] of their crops."""
        config, rng = self._config, np.random.default_rng([self._seed, step])
        rows_b = np.minimum(np.searchsorted(self._cumulative_n, rng.random(config.batch)), len(self._pictures) - 1)
        crops = [
            draw_crop(self._pictures[row], size, rng, config, turned=bool(self._pack.turned_n[row])) for row in rows_b
        ]
        pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
        pixels = (pixels - self._mean) / self._std
        shift_b11 = (
            torch.from_numpy(rng.uniform(-config.jitter, config.jitter, config.batch)).float()[:, None, None] / 2
        )
        changes = draw_colour_changes(config.batch, rng, config)
        changed = torch.baddbmm(shift_b11, changes, pixels.flatten(2)).clamp_(-1, 1)
        return rows_b, changed.view_as(pixels).contiguous(memory_format=torch.channels_last)

    def batches(self, first: int, sizes: Sequence[int]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Yield the batches from step `first` to the last of `sizes`, prepared in advance by a thread."""
        with ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self.batch, step, sizes[step]) for step in range(first, min(first + 2, len(sizes)))]
            for step in range(first, len(sizes)):
                batch = waiting.pop(0).result()
                if step + 2 < len(sizes):
                    waiting.append(pool.submit(self.batch, step + 2, sizes[step + 2]))
                yield batch
