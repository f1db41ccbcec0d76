"""Recipe files: Python files whose functions, listed in `RECIPES`, return recipes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from linnaea.options import nearest
from linnaea.train.runtime.recipe_protocol import Recipe

OWN_RECIPES = Path("recipes")


def default_recipes_dir() -> Path:
    """Return the folder `recipes` of the current folder if it holds recipes, else the folder shipped with Linnaea."""
    if any(OWN_RECIPES.glob("*.py")):
        return OWN_RECIPES
    package = Path(__file__).parents[2]
    # inside the installed package, or beside src in a checkout
    shipped = (package / "recipes", package.parents[1] / "recipes")
    return next((folder for folder in shipped if folder.is_dir()), OWN_RECIPES)


def find_recipe(name: str, recipes_dir: Path | None = None) -> Recipe:
    """Call the recipe function `name` of a file in `recipes_dir` and return its recipe.

    Raises ValueError that names the nearest recipes if there is no such function.
    """
    directory = recipes_dir or default_recipes_dir()
    found: dict[str, Callable] = {}
    for path in sorted(directory.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"linnaea_recipe_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        named = getattr(module, "RECIPES", ())
        found |= {key: value for key, value in vars(module).items() if callable(value) and key in named}
    if name in found:
        return found[name]()
    hint = nearest(name, sorted(found)) or "; it holds no recipes"
    raise ValueError(f"unknown recipe {name!r} in {directory} (--recipes names another folder){hint}")
