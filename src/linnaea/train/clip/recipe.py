"""Recipes of CLIP models: the fields of `linnaea.train.clip.config`, and how to plan and run them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnaea.train.clip.config import ClipConfig, SamplesConfig

__all__ = ["ClipRecipe", "SamplesConfig"]


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(ClipConfig):
    """A recipe of a CLIP model; see `linnaea.train.runtime.recipe_protocol.Recipe`."""

    def general_settings(self, *, images_dir: Path | None, steps: int | None, seed: int | None) -> list[str]:
        """Translate the general options into settings. Raise ValueError for `images_dir`, which these recipes lack."""
        if images_dir is not None:
            raise ValueError(
                f"recipe {self.name!r} does not use --images; give --organisms.table (its folder is --organisms.root)"
            )
        given = {"steps": steps, "seed": seed}
        return [f"{name}={value}" for name, value in given.items() if value is not None]

    def plan(self, *, gpus: int = 1, gpu_kind: str = "", utilisation: float = 0.0) -> list[str]:
        """Return lines of text with the cost of the run on `gpus` processors of a kind."""
        from linnaea.train.clip.planning.plan_text import describe_plan

        return describe_plan(self, gpus=gpus, gpu_kind=gpu_kind, utilisation=utilisation)

    def run(self, out_dir: Path, work_dir: Path | None = None, *, resume: bool = False) -> Path:
        """Train the model, write its folder in open_clip's format and return it."""
        from linnaea.train.clip.pipeline import run_clip

        return run_clip(self, out_dir, work_dir, resume=resume)
