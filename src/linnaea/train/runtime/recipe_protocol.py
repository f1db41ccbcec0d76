"""The interface of a recipe, by which the command `train` runs any kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Recipe(Protocol):
    """Everything that makes a model, data included: a frozen dataclass whose fields are options of the command line."""

    name: str

    def general_settings(self, *, images_dir: Path | None, steps: int | None, seed: int | None) -> list[str]:
        """Translate the general options into settings `field=text`; None where an option is not given.

        Raises ValueError if an option does not apply to this kind of recipe.
        """

    def plan(self, *, gpus: int = 1, gpu_kind: str = "", utilisation: float = 0.0) -> list[str]:
        """Return lines of text with the cost of the run: operations, memory, steps and time. Nothing is trained.

        Raises ValueError if there is no cost model for this kind of recipe.
        """

    def run(self, out_dir: Path, work_dir: Path | None = None, *, resume: bool = False) -> Path:
        """Train the model, write its folder and return it. `work_dir` keeps what an interrupted run needs."""
