"""From a model's name to a model."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from linnaea.model.contract import Model

BUNDLED_DIR = Path(__file__).parent / "bundled"
NAMES = ("bundled", "placeholder")


def load_model(name: str = "bundled") -> Model:
    """The model called `name`: `bundled`, `placeholder` (no weights, for tests), or a model folder's path."""
    if name == "placeholder":
        from linnaea.model.placeholder import PlaceholderModel

        return PlaceholderModel()
    from linnaea.model.package import CONFIG, PackagedModel

    directory = BUNDLED_DIR if name == "bundled" else Path(name)
    if (directory / CONFIG).exists():
        return PackagedModel(directory)
    near = get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose {' or '.join(NAMES)}, or give a folder that holds {CONFIG}"
    raise ValueError(f"unknown model {name!r}; {hint}")
