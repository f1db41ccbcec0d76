"""`linnaea train RECIPE`: find the recipe, apply the given fields, and train what it describes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from linnaea.train.runtime.overrides import set_fields
from linnaea.train.runtime.recipe_files import find_recipe
from linnaea.train.runtime.recipe_protocol import Recipe


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model from a recipe. Any field of the recipe is an option, too: --batch 64, --organisms.balance 1."""

    recipe: str = field(metadata={"positional": True, "metavar": "RECIPE"})
    "name of a function in the recipes folder"
    out: Path = Path("build/model")
    "model folder to write"
    recipes: Path | None = None
    "folder with the recipes (by default ./recipes, or if that has none the folder that comes with Linnaea)"
    images: Path | None = None
    "folder of the photographs with their manifest.csv, instead of the recipe's"
    work: Path | None = None
    "folder for what is kept between runs: checkpoints and curves of CLIP models (by default OUT/training), features \
of the bundled model (by default below the cache folder)"
    steps: int | None = None
    "optimizer steps, instead of the recipe's"
    seed: int | None = None
    "random seed, instead of the recipe's"
    resume: bool = False
    "continue from the newest checkpoint, if there is one; stages without checkpoints always continue"
    plan: bool = False
    "print what the recipe will cost (operations, memory, steps, time) and train nothing"
    gpus: int = 1
    "for --plan: number of processors"
    gpu_kind: str = ""
    "for --plan: a100, h100, h100-pcie, h100-nvl, h200, b200, l40s, mi300x, or cpu, which measures this machine (by \
default cpu if the recipe's device is cpu, or for drawn pictures on a single processor, else h100)"
    utilisation: float = 0.0
    "for --plan: share of the peak rate that is reached, 0..1; 0 for the usual share"
    set: tuple[str, ...] = field(default=(), metadata={"metavar": "FIELD=VALUE", "catches": True})
    "a field of the recipe; --FIELD VALUE does the same"


def resolve(config: TrainConfig) -> Recipe:
    """Return the recipe with all fields that the command line gives."""
    recipe = find_recipe(config.recipe, config.recipes)
    general = recipe.general_settings(images_dir=config.images, steps=config.steps, seed=config.seed)
    return set_fields(recipe, [*config.set, *general], options=[option.name for option in fields(config)])


def main(config: TrainConfig) -> int:
    """Plan or train a recipe; exit code 0."""
    recipe = resolve(config)
    if config.plan:
        lines = recipe.plan(gpus=config.gpus, gpu_kind=config.gpu_kind, utilisation=config.utilisation)
        print("\n".join(lines))
        return 0
    out_dir = recipe.run(config.out, config.work, resume=config.resume)
    if os.environ.get("RANK", "0") == "0":
        print(out_dir)
    return 0
