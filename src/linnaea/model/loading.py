"""Opens a model by its name."""

from __future__ import annotations

import os
from pathlib import Path

from linnaea.model.core.contract import Model
from linnaea.options import find_similar, suggest

BUNDLED_DIR = Path(__file__).parent / "bundled"
NAMES = ("bundled", "placeholder")
# Checkpoints on the hub that identify organisms.
HUB_NAMES = ("imageomics/bioclip", "imageomics/bioclip-2", "imageomics/bioclip-2.5-vith14", "imageomics/biocap")
SECOND = "#second"
# The most folders to search for a model with a similar name, so that a huge folder does not delay the error.
MOST_FOLDERS = 1000


def load_model(name: str = "bundled") -> Model:
    """Open the model called `name`.

    A name is `bundled`, `placeholder` (no weights, for tests), the path of a model folder or of an open_clip
    checkpoint, or `hf-hub:owner/name[@revision]`. `#second` at the end of a checkpoint's name selects its second image
    projector.

    Raises FileNotFoundError if the bundled weights, or the weights or the config of a checkpoint, are missing,
    ConnectionError if the hub cannot be reached, and ValueError for any other name without a model.
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
        return OpenClipModel(fetched.checkpoint_dir, name=shown, second=plain != name)
    model_dir = BUNDLED_DIR if plain == "bundled" else Path(plain).expanduser()
    if (model_dir / OPEN_CLIP_CONFIG).is_file():
        return OpenClipModel(model_dir, second=plain != name)
    if not (model_dir / CONFIG).is_file() and any((model_dir / weights).is_file() for weights in WEIGHTS):
        raise FileNotFoundError(
            f"{plain!r} has weights but no {OPEN_CLIP_CONFIG}, which describes them; get that file from the source of "
            "the weights and put it beside them"
        )
    if plain != name:
        raise ValueError(
            f"{plain!r} is not an open_clip checkpoint; only those have a {SECOND} projector, so omit {SECOND}"
        )
    if (model_dir / CONFIG).is_file():
        return FolderModel(model_dir)
    if name == "bundled":
        raise FileNotFoundError(
            f"this installation lacks the bundled weights (no {CONFIG} in {BUNDLED_DIR}); "
            "install linnaea again, or give --model DIR"
        )
    fault = f"unknown model {name!r}"
    if model_dir.is_dir():
        fault = f"{name!r} is a folder without a model (no {CONFIG} and no {OPEN_CLIP_CONFIG})"
    raise ValueError(f"{fault}{_suggest_model(name, model_dir)}")


def bundled_common_names() -> dict[str, str]:
    """Common name -> "rank:scientific name" of the bundled model's training; empty if the weights are missing."""
    from linnaea.model.formats.model_folder import load_card

    try:
        return load_card(BUNDLED_DIR).common_names
    except FileNotFoundError:
        return {}


def _suggest_model(name: str, path: Path) -> str:
    """The end of an error line: models spelt like `name`, inside the folder or beside it, else what to give."""
    from linnaea.model.formats.hub import HUB
    from linnaea.model.formats.model_folder import CONFIG
    from linnaea.model.formats.open_clip import OPEN_CLIP_CONFIG

    inside, beside = _find_models(path), _find_models(path.parent)
    if path.is_file() and any((path.parent / config).is_file() for config in (CONFIG, OPEN_CLIP_CONFIG)):
        inside = [path.parent]
    similar = set(find_similar(path.name, [other.name for other in beside]))
    own = {alias: full for full in HUB_NAMES for alias in (full, full.partition("/")[2])}
    found = find_similar(name, NAMES, n=1)
    found += [HUB + own[match] for match in find_similar(name, own, n=1, cutoff=0.85)]
    found += map(str, inside[:3])
    found += [str(other) for other in beside if other.name in similar and other not in inside]
    others = ["bundled", *map(str, beside[:3])]
    otherwise = f"choose {', '.join(others)} or another folder written by `linnaea train`, or an open_clip checkpoint"
    return suggest(found[:3], otherwise)


def _find_models(parent_dir: Path) -> list[Path]:
    """The model folders directly in a folder, sorted; none if it cannot be read."""
    from linnaea.model.formats.model_folder import CONFIG
    from linnaea.model.formats.open_clip import OPEN_CLIP_CONFIG

    try:
        with os.scandir(parent_dir) as entries:
            return sorted(
                parent_dir / entry.name
                for entry, _ in zip(entries, range(MOST_FOLDERS), strict=False)
                if any(os.path.isfile(os.path.join(entry.path, config)) for config in (CONFIG, OPEN_CLIP_CONFIG))
            )
    except OSError:
        return []
