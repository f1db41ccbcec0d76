"""Checks of the models that a recipe names: whether they exist and fit together, before anything runs."""

from __future__ import annotations

from pathlib import Path

from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, read_config
from linnaea.train.clip.config import ClipConfig


def check_model_folders(recipe: ClipConfig) -> None:
    """Check that the towers' config and the weights exist and that a teacher accepts the inputs of the towers.

    Raises FileNotFoundError or ValueError that names the fault and its remedy.
    """
    check_towers(recipe.towers)
    if recipe.start is not None:
        _check_folder("start", recipe.start)
    if recipe.teacher is not None:
        _check_folder("teacher", recipe.teacher)
        _check_teacher(recipe)


def check_towers(config_path: Path) -> None:
    """Raise FileNotFoundError if the config of the towers is missing."""
    if not config_path.is_file():
        raise FileNotFoundError(f"{config_path} is missing; give an open_clip_config.json with --towers")


def read_teacher(recipe: ClipConfig):
    """Return the config of the teacher, or None without a teacher."""
    if recipe.teacher is None:
        return None
    _check_folder("teacher", recipe.teacher)
    return read_config(recipe.teacher / OPEN_CLIP_CONFIG)


def _check_folder(name: str, model_dir: Path) -> None:
    if not (model_dir / OPEN_CLIP_CONFIG).is_file():
        raise FileNotFoundError(
            f"{name} {model_dir} holds no {OPEN_CLIP_CONFIG}; fetch the model there "
            f"(hf download OWNER/NAME --local-dir {model_dir}), or give another folder with --{name}"
        )


def _check_teacher(recipe: ClipConfig) -> None:
    """Raise ValueError if the teacher cannot read the images and texts of the towers."""
    teacher, towers = read_teacher(recipe), read_config(recipe.towers)
    for what, has, wants, remedy in (
        ("pixels a side", teacher.vision.size, towers.vision.size, "exactly"),
        ("tokens a text", teacher.text.context, towers.text.context, "at least"),
        ("tokens in its vocabulary", teacher.text.n_tokens, towers.text.n_tokens, "at least"),
    ):
        if has < wants or (remedy == "exactly" and has != wants):
            raise ValueError(
                f"teacher {recipe.teacher} has {has} {what}, the towers of {recipe.towers.name} have {wants}; "
                f"give a --teacher with {remedy} as many, or leave it out with --teacher none"
            )
