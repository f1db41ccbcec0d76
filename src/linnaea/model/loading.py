"""From a model's name to a model."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from linnaea.model.core.contract import Model

BUNDLED_DIR = Path(__file__).parent / "bundled"
NAMES = ("bundled", "placeholder")
# The checkpoints on the hub that name organisms.
HUB_NAMES = ("imageomics/bioclip", "imageomics/bioclip-2", "imageomics/bioclip-2.5-vith14", "imageomics/biocap")
SECOND = "#second"
# Folders that are looked at for a model with a similar name, so that a mistake in a huge folder is answered at once.
MOST_FOLDERS = 1000


def load_model(name: str = "bundled") -> Model:
    """The model called `name`: `bundled`, `placeholder` (no weights, for tests), the path of a model folder or of an open_clip
    checkpoint, or `hf-hub:owner/name[@revision]`. A checkpoint's second image projector is taken with `#second` at the end.

    Raises FileNotFoundError where this installation lacks the bundled weights, or a checkpoint its own or its config,
    ConnectionError where the hub cannot be reached, ValueError for any other name that leads to no model.
    """
    if name == "placeholder":
        from linnaea.model.core.placeholder import PlaceholderModel

        return PlaceholderModel()
    from linnaea.model.formats.hub import HUB, fetch_checkpoint
    from linnaea.model.formats.model_folder import CONFIG, FolderModel
    from linnaea.model.formats.open_clip import OPEN_CLIP_CONFIG, WEIGHTS, OpenClipModel

    plain = name if os.path.isdir(name) else name.removesuffix(SECOND)
    if plain.startswith(HUB):
        fetched = fetch_checkpoint(plain.removeprefix(HUB))
        shown = f"{fetched.repository}@{fetched.commit[:12]}"
        return OpenClipModel(fetched.directory, name=shown, second=plain != name)
    directory = BUNDLED_DIR if plain == "bundled" else Path(plain).expanduser()
    if (directory / OPEN_CLIP_CONFIG).is_file():
        return OpenClipModel(directory, second=plain != name)
    if not (directory / CONFIG).is_file() and any((directory / weights).is_file() for weights in WEIGHTS):
        raise FileNotFoundError(
            f"{plain!r} has weights and no {OPEN_CLIP_CONFIG}, which says what they are; get that file from where they come from, and "
            "put it beside them"
        )
    if plain != name:
        raise ValueError(
            f"{name!r} is no open_clip checkpoint, and only those can have a {SECOND} projector; leave it out"
        )
    if (directory / CONFIG).is_file():
        return FolderModel(directory)
    if name == "bundled":
        raise FileNotFoundError(
            f"this installation lacks the bundled weights (no {CONFIG} in {BUNDLED_DIR}); "
            "install linnaea again, or give --model DIR"
        )
    none = f"{name!r} is no model folder (no {CONFIG} and no {OPEN_CLIP_CONFIG} in it)"
    raise ValueError(f"{none if directory.is_dir() else f'unknown model {name!r}'}; {_hint(name, directory)}")


def bundled_common_names() -> dict[str, str]:
    """Common name -> "rank:scientific name" that the bundled model was trained with; empty where it is missing."""
    from linnaea.model.formats.model_folder import load_card

    try:
        return load_card(BUNDLED_DIR).common_names
    except FileNotFoundError:
        return {}


def _hint(name: str, directory: Path) -> str:
    """The models that `name` may have meant: named ones, folders in it, and folders beside it with a similar name."""
    from linnaea.model.formats.model_folder import CONFIG
    from linnaea.model.formats.open_clip import OPEN_CLIP_CONFIG

    inside = _models_in(directory)
    if directory.is_file() and any((directory.parent / config).is_file() for config in (CONFIG, OPEN_CLIP_CONFIG)):
        inside = [directory.parent]
    beside = get_close_matches(
        directory.name.lower(), [path.name.lower() for path in _models_in(directory.parent)], n=3
    )
    near = [str(path) for path in inside[:3]]
    near += [str(path) for path in _models_in(directory.parent) if path.name.lower() in beside and path not in inside]
    near = get_close_matches(name, NAMES, n=1) + _on_hub(name) + near
    if near:
        return f"did you mean {' or '.join(near[:3])}?"
    there = ", ".join(map(str, _models_in(directory.parent)[:3]))
    return f"choose bundled{f', {there}' if there else ''} or another folder that `linnaea train` wrote, or an open_clip checkpoint"


def _on_hub(name: str) -> list[str]:
    """The checkpoint on the hub that `name` may have meant: its own name, with or without its owner."""
    from linnaea.model.formats.hub import HUB

    own = {alias.lower(): full for full in HUB_NAMES for alias in (full, full.partition("/")[2])}
    return [HUB + own[match] for match in get_close_matches(name.lower(), own, n=1, cutoff=0.85)]


def _models_in(directory: Path) -> list[Path]:
    """The model folders right below a folder, sorted; none where it cannot be read."""
    from linnaea.model.formats.model_folder import CONFIG
    from linnaea.model.formats.open_clip import OPEN_CLIP_CONFIG

    try:
        with os.scandir(directory) as entries:
            return sorted(
                directory / entry.name
                for entry, _ in zip(entries, range(MOST_FOLDERS), strict=False)
                if any(os.path.isfile(os.path.join(entry.path, config)) for config in (CONFIG, OPEN_CLIP_CONFIG))
            )
    except OSError:
        return []
