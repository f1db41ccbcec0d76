"""`linnaea train RECIPE`: finds the recipe, puts the fields that are given in place, and trains what it describes."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from linnaea.options import find_similar
from linnaea.store import default_cache_dir
from linnaea.train.clip.recipe import ClipRecipe
from linnaea.train.runtime.overrides import set_fields

OWN_RECIPES = Path("recipes")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a model from a recipe. Any field of the recipe is an option, too: --batch 64, --organisms.balance 1."""

    recipe: str = field(metadata={"positional": True, "metavar": "RECIPE"})
    "name of a function in the recipes folder"
    out: Path = Path("build/model")
    "model folder to write"
    recipes: Path | None = None
    "folder with the recipes (by default ./recipes, or where that holds none the one that comes with Linnaea)"
    images: Path | None = None
    "folder of the photographs with their manifest.csv, instead of the recipe's"
    work: Path | None = None
    "folder for what is kept between runs: of two towers checkpoints and curves (by default OUT/training), else features \
that are computed once (by default below the cache folder)"
    steps: int | None = None
    "optimizer steps, instead of the recipe's"
    seed: int | None = None
    "random seed, instead of the recipe's"
    resume: bool = False
    "go on from the newest checkpoint, if there is one; what needs no checkpoint always goes on"
    plan: bool = False
    "print what the recipe will cost (operations, memory, steps, time) and train nothing"
    gpus: int = 1
    "for --plan: how many processors"
    gpu_kind: str = ""
    "for --plan: a100, h100, h100-pcie, h100-nvl, h200, b200, l40s, mi300x, or cpu, which measures this machine (by default cpu \
for a recipe whose device it is and for one of drawn pictures on a single processor, else h100)"
    utilisation: float = 0.0
    "for --plan: share of the kind's peak at which it computes, 0..1; 0 takes what is usual"
    set: tuple[str, ...] = field(default=(), metadata={"metavar": "FIELD=VALUE", "catches": True})
    "a field of the recipe; --FIELD VALUE does the same"


def default_recipes() -> Path:
    """The folder `recipes` here, or where it holds none the one that comes with Linnaea."""
    if any(OWN_RECIPES.glob("*.py")):
        return OWN_RECIPES
    package = Path(__file__).parents[2]
    # inside the package as it is installed, beside src in a checkout
    shipped = (package / "recipes", package.parents[1] / "recipes")
    return next((folder for folder in shipped if folder.is_dir()), OWN_RECIPES)


def find_recipe(name: str, directory: Path):
    """The recipe that the function `name` of a file in `directory` returns. Raises ValueError naming the nearest ones."""
    found: dict[str, Callable] = {}
    for path in sorted(directory.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"linnaea_recipe_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        named = getattr(module, "RECIPES", ())
        found |= {key: value for key, value in vars(module).items() if callable(value) and key in named}
    if name not in found:
        near = find_similar(name, found, n=2, cutoff=0.4) or sorted(found)
        elsewhere = "name another folder with --recipes"
        hint = (
            f"nearest in {directory}: {', '.join(near)}; or {elsewhere}"
            if found
            else f"{directory} holds no recipes; {elsewhere}"
        )
        raise ValueError(f"unknown recipe {name!r}; {hint}")
    return found[name]()


def resolve(config: TrainConfig):
    """The recipe with all that the command line says of it."""
    recipe = find_recipe(config.recipe, config.recipes or default_recipes())
    is_clip = isinstance(recipe, ClipRecipe)
    if is_clip and config.images is not None:
        raise ValueError(
            f"recipe {recipe.name!r} has no photographs under --images; give --organisms.table (its folder is --organisms.root)"
        )
    of_loop = "" if is_clip else "loop."
    given = (("images", config.images), (f"{of_loop}steps", config.steps), (f"{of_loop}seed", config.seed))
    settings = [*config.set, *(f"{name}={value}" for name, value in given if value is not None)]
    return set_fields(recipe, settings, options=[option.name for option in fields(config)])


def main(config: TrainConfig) -> int:
    """Runs a recipe; exit code 0."""
    recipe = resolve(config)
    report = _say
    if config.plan:
        from linnaea.train.clip import plan

        return plan.main(recipe, gpus=config.gpus, gpu_kind=config.gpu_kind, utilisation=config.utilisation)
    if isinstance(recipe, ClipRecipe):
        from linnaea.train.clip.pipeline import run_clip

        out = run_clip(recipe, config.out, config.work, resume=config.resume, report=report)
    else:
        from linnaea.train.bundled.pipeline import run_recipe

        out = run_recipe(recipe, config.out, config.work or default_cache_dir() / "training", report)
    if os.environ.get("RANK", "0") == "0":
        print(out)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
