"""Training of models from recipes, by the command `linnaea train` or from Python.

From Python:

    from pathlib import Path
    from linnaea.train import find_recipe, set_fields

    recipe = set_fields(find_recipe("smoke"), ["steps=50"])
    print(*recipe.plan(), sep=", ")
    model_dir = recipe.run(Path("build/smoke"))

Packages, from the top; each imports only the ones below it:

- `commands`: the command line
- `clip`: contrastive training of CLIP models | `bundled`: training of the model that comes with Linnaea
- `data`: order of samples, batches, crops
- `distributed`: several processes | `runtime`: recipes, overrides, schedule, logs

Training data on disk are in `linnaea.datasets`. All names in `__all__` are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "AugmentConfig": "data.augmentation",
    "BundledRecipe": "bundled.recipe",
    "ClipRecipe": "clip.recipe",
    "Recipe": "runtime.recipe_protocol",
    "SamplesConfig": "clip.recipe",
    "find_recipe": "runtime.recipe_files",
    "set_fields": "runtime.overrides",
}
__all__ = [
    "AugmentConfig",
    "BundledRecipe",
    "ClipRecipe",
    "Recipe",
    "SamplesConfig",
    "find_recipe",
    "set_fields",
]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
