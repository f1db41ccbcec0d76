"""Features of photographs from the frozen trunk, computed once in several augmented views.

The trunk does not change in this stage, so that its forward pass is computed once per view and an epoch of the head
costs milliseconds. View 0 is what the model sees at inference; the others are random crops, flips and colour changes.
Random choices depend only on (seed, row, view), so that the same photographs have the same features in any order.

Shape suffixes: n photographs, v views, d features, b batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from linnaea.model.core.contract import Preprocess
from linnaea.model.core.preprocessing import preprocess_image
from linnaea.store import hash_bytes, read_manifest, write_artifact

logger = logging.getLogger(__name__)

# Images per call of the trunk.
TRUNK_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the random changes in a training view."""

    least_area: float = 0.35
    "smallest crop as a share of the image's area"
    most_aspect: float = 1.33
    "largest change of the ratio of a crop's sides"
    jitter: float = 0.35
    "brightness, contrast and saturation are multiplied by 1 ± this"
    grey_share: float = 0.05
    "share of views turned to grey"
    coarse_share: float = 0.15
    "share of views shrunk to 48–128 pixels first, like distant animals"


def augment_image(
    image: Image.Image, rng: np.random.Generator, config: Augmentation, *, any_side_up: bool
) -> Image.Image:
    """Draw a random view of an RGB image. `any_side_up` adds quarter turns (plankton, views from above)."""
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


@dataclass(frozen=True, kw_only=True)
class ViewMaker:
    """Makes the views of photographs below `root_dir`; `any_side_up` says which photographs may be rotated."""

    root_dir: Path
    files: Sequence[str]
    preprocess: Preprocess
    any_side_up: Sequence[bool]
    augmentation: Augmentation
    seed: int = 0

    def make(self, row: int, view: int) -> np.ndarray:
        """Return a view of a photograph as uint8 [s, s, 3]; view 0 is the plain one."""
        image = Image.open(self.root_dir / self.files[row]).convert("RGB")
        if view:
            rng = np.random.default_rng([self.seed, row, view])
            image = augment_image(image, rng, self.augmentation, any_side_up=bool(self.any_side_up[row]))
        return preprocess_image(image, self.preprocess)


def extract_features(
    work_dir: Path,
    root_dir: Path,
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
) -> np.ndarray:
    """Return features float16 [n, v, d] of images, memory-mapped from a folder in `work_dir`, which is made if missing.

    `files` are relative to `root_dir`. `trunk` maps uint8 images [b, s, s, 3] to features [b, d]. With another trunk,
    preprocessing, list of files, augmentation or number of views the features are computed again.
    """
    augmentation = augmentation or Augmentation()
    turns = "".join("1" if flag else "0" for flag in any_side_up)
    options = (repr(asdict(preprocess)), repr(asdict(augmentation)), str(n_views), str(seed), turns)
    key = hash_bytes(trunk_hash, *options, *files)
    directory = work_dir / f"features-{key}"
    if read_manifest(directory) is None:
        views = ViewMaker(
            root_dir=root_dir,
            files=files,
            preprocess=preprocess,
            any_side_up=any_side_up,
            augmentation=augmentation,
            seed=seed,
        )
        manifest = {"kind": "features", "key": key, "n": len(files), "views": n_views}
        with write_artifact(directory, manifest, owned=True) as folder:
            _write_features(folder / "features.npy", views, n_views, trunk, batch_size)
    return np.load(directory / "features.npy", mmap_mode="r")


def _write_features(path: Path, views: ViewMaker, n_views: int, trunk, batch_size: int) -> None:
    n, out = len(views.files), None
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, n, batch_size):
            jobs = [(row, view) for row in range(start, min(start + batch_size, n)) for view in range(n_views)]
            images = list(pool.map(lambda job: views.make(*job), jobs))
            starts = range(0, len(images), TRUNK_BATCH)
            features = np.concatenate([trunk(np.stack(images[i : i + TRUNK_BATCH])) for i in starts])
            if out is None:
                shape = (n, n_views, features.shape[1])
                out = np.lib.format.open_memmap(path, "w+", np.float16, shape)
            out[start : start + batch_size] = features.reshape(-1, n_views, features.shape[1])
            if start // batch_size % 50 == 0:
                logger.info("features %s of %s images, %d views each", f"{start:,}", f"{n:,}", n_views)
    if out is not None:
        out.flush()
