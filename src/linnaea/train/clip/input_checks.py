"""The models that a recipe names, looked at before anything runs: are they there, and do they go together."""

from __future__ import annotations

from pathlib import Path

from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG, read_config
from linnaea.train.clip.recipe import ClipRecipe


def check_model_folders(recipe: ClipRecipe) -> None:
    """Nothing, where the towers' description and the folders of weights are there and a teacher sees what the towers see; else
    FileNotFoundError or ValueError says how to get there."""
    check_towers(recipe.towers)
    if recipe.start is not None:
        _check_folder("start", recipe.start)
    if recipe.teacher is not None:
        _check_folder("teacher", recipe.teacher)
        _check_teacher(recipe)


def check_towers(path: Path) -> None:
    """FileNotFoundError where the towers' description is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give an open_clip_config.json with --towers")


def read_teacher(recipe: ClipRecipe):
    """What a recipe's teacher is, of its config alone; None without one."""
    if recipe.teacher is None:
        return None
    _check_folder("teacher", recipe.teacher)
    return read_config(recipe.teacher / OPEN_CLIP_CONFIG)


def _check_folder(name: str, folder: Path) -> None:
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        raise FileNotFoundError(
            f"{name} {folder} holds no {OPEN_CLIP_CONFIG}; fetch the model there (huggingface-cli download OWNER/NAME "
            f"--local-dir {folder}), or give another folder with --{name}"
        )


def _check_teacher(recipe: ClipRecipe) -> None:
    """ValueError where a teacher cannot read the images and texts that the towers are trained on."""
    teacher, towers = read_teacher(recipe), read_config(recipe.towers)
    for what, has, wants, remedy in (
        ("pixels a side", teacher.vision.size, towers.vision.size, "exactly"),
        ("tokens a text", teacher.text.context, towers.text.context, "at least"),
        ("tokens in its vocabulary", teacher.text.n_tokens, towers.text.n_tokens, "at least"),
    ):
        if has < wants or (remedy == "exactly" and has != wants):
            raise ValueError(
                f"teacher {recipe.teacher} has {has} {what}, the towers of {recipe.towers.name} {wants}; give a --teacher with "
                f"{remedy} as many, or leave it out with --teacher none"
            )
