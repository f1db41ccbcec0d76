"""A small training on drawn pictures of 48 made-up species. It needs no photographs and takes about a minute.

`smoke` uses all parts of a large recipe: text types, replay through a second projector, checkpoints, export. Its loss
falls to the value that remains because some pairs of a batch are of the same species.
"""

from pathlib import Path

from linnaea.taxonomy.name_text import TEXT_TYPES
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig

RECIPES = ("smoke",)
HERE = Path(__file__).parent


def smoke() -> ClipRecipe:
    """Return a recipe of small towers that takes a minute on a CPU."""
    return ClipRecipe(
        name="linnaea-smoke",
        towers=HERE / "towers" / "smoke.json",
        organisms=SamplesConfig(drawn=4_800, types=TEXT_TYPES),
        replay=SamplesConfig(drawn=960, types=("common",)),
        crop=AugmentConfig(size=32),
        batch=64,
        replay_batch=16,
        steps=400,
        warm_up=20,
        learning_rate=1e-3,
        clip_norm=1.0,
        checkpoint_every=100,
        log_every=20,
        n_threads=2,
    )
