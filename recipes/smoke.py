"""A training in small: drawn pictures of 48 made-up species, so that it needs no photograph and takes about a minute.

`smoke` goes through all that a large recipe goes through: text types, replay through a second projector, checkpoints,
export. What it learns can be seen: its loss falls to what pairs of the same species in a batch leave of it.
"""

from pathlib import Path

from linnaea.taxonomy.name_text import TEXT_TYPES
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig
from linnaea.train.data.augmentation import AugmentConfig

RECIPES = ("smoke",)
HERE = Path(__file__).parent


def smoke() -> ClipRecipe:
    """A minute on a CPU: towers of a few layers, made-up species."""
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
