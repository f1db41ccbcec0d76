"""A complete world on disk: a run continued from it is the same, bit for bit, as one that was never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from linnaea.store import read_manifest, write_artifact
from linnaea.twin.engine.herds import HERD_COLUMNS
from linnaea.twin.engine.world import World

KIND = "twin-checkpoint"
FORMAT = 1
_STORES = ("fields", "arrays", "tallies")


def save_checkpoint(world: World, checkpoint_dir: Path, *, compress: bool = False) -> None:
    """Writes the world as an artifact folder, whole or not at all; replaces a former checkpoint of that name.

    A compressed one takes about half the space and ten times as long.
    """
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "world": world.fingerprint(),
        "step": world.step,
        "agents": world.agents.shape(),
    }
    arrays = {f"agents/{name}": values for name, values in world.agents.state_arrays().items()}
    arrays |= {f"arrays/{name}": values for name, values in world.herds.state_arrays().items()}
    for store in _STORES:
        arrays |= {f"{store}/{name}": values for name, values in getattr(world, store).items()}
    with write_artifact(Path(checkpoint_dir), manifest) as folder:
        (np.savez_compressed if compress else np.savez)(folder / "state.npz", **arrays)


def load_checkpoint(world: World, checkpoint_dir: Path) -> None:
    """Puts the world into the state of a checkpoint of a world with the same rules, ground, seed and step length.

    Raise ValueError if it is of another world or format or no checkpoint, FileNotFoundError if there is none.
    """
    checkpoint_dir = Path(checkpoint_dir)
    manifest = _read_checked(world, checkpoint_dir)
    with np.load(checkpoint_dir / "state.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    world.agents.restore(manifest["agents"], _under("agents/", arrays))
    world.herds.restore(_under("arrays/", arrays))
    for column in HERD_COLUMNS:
        arrays.pop(f"arrays/{column.stored_name}", None)
    for store in _STORES:
        _restore(getattr(world, store), _under(f"{store}/", arrays))
    world.step = manifest["step"]


def _read_checked(world: World, checkpoint_dir: Path) -> dict:
    """The manifest of a checkpoint that fits the world."""
    manifest = read_manifest(checkpoint_dir)
    if manifest is None:
        raise FileNotFoundError(f"{checkpoint_dir} holds no finished checkpoint; give the folder that a run wrote")
    if manifest.get("kind") != KIND:
        raise ValueError(
            f"{checkpoint_dir} holds {manifest.get('kind', 'something else')}, not a checkpoint of a world"
        )
    if manifest["format"] != FORMAT:
        raise ValueError(f"{checkpoint_dir} has checkpoint format {manifest['format']}, this version reads {FORMAT}")
    if manifest["world"] != world.fingerprint():
        raise ValueError(
            f"{checkpoint_dir} is of a world with other rules or another seed; continue with the world it came from"
        )
    return manifest


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _restore(kept: dict[str, np.ndarray], stored: Mapping[str, np.ndarray]) -> None:
    """Puts stored arrays into those of a world, in place where possible: a rule may hold on to an array."""
    for name in list(kept):
        value = stored[name]
        if kept[name].shape == value.shape and kept[name].dtype == value.dtype:
            kept[name][...] = value
        else:
            kept[name] = value
    for name, value in stored.items():
        kept.setdefault(name, value)
