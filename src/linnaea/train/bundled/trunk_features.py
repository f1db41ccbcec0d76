"""Frozen-trunk features of a labelled pack of photographs, computed once in several augmented views.

The trunk never changes in this stage of training, so its forward pass is paid once a view and an epoch of the head costs
milliseconds. View 0 is exactly what the model sees at inference; the others are random crops, flips and colour changes.
Every random choice is keyed by (seed, row, view): the same pack gives the same features in any order.

Shape suffixes: n rows, v views, d features, b batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.store import hash_bytes, read_manifest, write_artifact


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the random changes of a training view."""

    least_area: float = 0.35
    "smallest share of the image's area that a crop keeps"
    most_aspect: float = 1.33
    "largest stretch of a crop's sides against each other"
    jitter: float = 0.35
    "brightness, contrast and saturation are multiplied by 1 ± this"
    grey_share: float = 0.05
    "share of views turned to grey"
    coarse_share: float = 0.15
    "share of views shrunk to 48–128 pixels first, as distant animals are"


def augment_image(
    image: Image.Image, rng: np.random.Generator, config: Augmentation, *, any_side_up: bool
) -> Image.Image:
    """One random view of an RGB image. `any_side_up` adds quarter turns and upside-down flips (plankton, top views)."""
    width, height = image.size
    area = rng.uniform(config.least_area, 1.0)
    aspect = np.exp(rng.uniform(-1, 1) * np.log(config.most_aspect))
    crop_w = min(width, max(1.0, width * np.sqrt(area * aspect)))
    crop_h = min(height, max(1.0, height * np.sqrt(area / aspect)))
    left, top = rng.uniform(0, width - crop_w), rng.uniform(0, height - crop_h)
    image = image.crop((round(left), round(top), round(left + crop_w), round(top + crop_h)))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turns = int(rng.integers(4)) if any_side_up else 0
    if turns:
        image = image.rotate(90 * turns, expand=True)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(rng.uniform(1 - config.jitter, 1 + config.jitter))
    if rng.random() < config.grey_share:
        image = image.convert("L").convert("RGB")
    if rng.random() < config.coarse_share:
        side = int(rng.integers(48, 129))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return image


def _view(
    path: Path, row: int, view: int, seed: int, preprocess: Preprocess, config: Augmentation, turn: bool
) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    if view:
        image = augment_image(image, np.random.default_rng([seed, row, view]), config, any_side_up=turn)
    return preprocess_image(image, preprocess)


def extract_features(
    work: Path,
    root: Path,
    files: Sequence[str],
    trunk: Callable[[np.ndarray], np.ndarray],
    *,
    trunk_hash: str,
    preprocess: Preprocess,
    n_views: int,
    any_side_up: Sequence[bool],
    augmentation: Augmentation | None = None,
    seed: int = 0,
    batch_size: int = 16,
    report: Callable[[str], None] = print,
) -> np.ndarray:
    """Features float16 [n, v, d] of the images, memory-mapped from a folder in `work`; made there if not yet.

    `files` are relative to `root`. `trunk` maps uint8 images [b, s, s, 3] to features [b, d]. A changed trunk, preprocessing,
    list of files, augmentation or number of views makes them anew.
    """
    augmentation = augmentation or Augmentation()
    turns = "".join("1" if flag else "0" for flag in any_side_up)
    key = hash_bytes(
        trunk_hash, repr(asdict(preprocess)), repr(asdict(augmentation)), str(n_views), str(seed), turns, *files
    )
    directory = work / f"features-{key}"
    if read_manifest(directory) is None:
        manifest = {"kind": "features", "key": key, "n": len(files), "views": n_views}
        with write_artifact(directory, manifest, owned=True) as folder:
            out = None
            with ThreadPoolExecutor(2) as pool:
                for start in range(0, len(files), batch_size):
                    jobs = [
                        (row, view)
                        for row in range(start, min(start + batch_size, len(files)))
                        for view in range(n_views)
                    ]
                    images = list(
                        pool.map(
                            lambda job: _view(
                                root / files[job[0]], *job, seed, preprocess, augmentation, bool(any_side_up[job[0]])
                            ),
                            jobs,
                        )
                    )
                    features = np.concatenate([trunk(np.stack(images[i : i + 32])) for i in range(0, len(images), 32)])
                    if out is None:
                        shape = (len(files), n_views, features.shape[1])
                        out = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, shape)
                    out[start : start + batch_size] = features.reshape(-1, n_views, features.shape[1])
                    if start // batch_size % 50 == 0:
                        report(f"features {start:,} of {len(files):,} images, {n_views} views each")
            if out is not None:
                out.flush()
    return np.load(directory / "features.npy", mmap_mode="r")
