"""A world on disk, complete: a run continued from it is the same, bit for bit, as one that was never stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from linnaea.store import read_manifest, write_artifact
from linnaea.twin.engine.world import World

KIND = "twin-checkpoint"
FORMAT = 1
_STORES = ("fields", "arrays", "tallies")


def save_checkpoint(world: World, directory: Path, *, compress: bool = False) -> None:
    """Writes the world as an artifact folder, whole or not at all; a former checkpoint of that name is replaced.

    Compressed it takes about half the room and ten times as long.
    """
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "world": world.fingerprint(),
        "step": world.step,
        "agents": world.agents.shape(),
    }
    arrays = {f"agents/{name}": values for name, values in world.agents.state_arrays().items()}
    for store in _STORES:
        arrays |= {f"{store}/{name}": values for name, values in getattr(world, store).items()}
    with write_artifact(Path(directory), manifest) as folder:
        (np.savez_compressed if compress else np.savez)(folder / "state.npz", **arrays)


def load_checkpoint(world: World, directory: Path) -> None:
    """Puts the world into the state of a checkpoint of a world with the same rules, ground, seed and step length.

    ValueError when it is of another world or format, or no checkpoint; FileNotFoundError when nothing is there.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest is None:
        raise FileNotFoundError(f"{directory} holds no finished checkpoint; give the folder that a run wrote")
    if manifest.get("kind") != KIND:
        raise ValueError(f"{directory} holds {manifest.get('kind', 'something else')}, not a checkpoint of a world")
    if manifest["format"] != FORMAT:
        raise ValueError(f"{directory} has checkpoint format {manifest['format']}, this version reads {FORMAT}")
    if manifest["world"] != world.fingerprint():
        raise ValueError(
            f"{directory} is of a world with other rules or another seed; continue with the world it came from"
        )
    with np.load(directory / "state.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    prefix = "agents/"
    world.agents.restore(
        manifest["agents"], {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    )
    for store in _STORES:
        kept = getattr(world, store)
        for name in list(kept):
            value = arrays[f"{store}/{name}"]
            # In place where possible: a rule may hold on to the array.
            if kept[name].shape == value.shape and kept[name].dtype == value.dtype:
                kept[name][...] = value
            else:
                kept[name] = value
        for name, value in arrays.items():
            if name.startswith(f"{store}/"):
                kept.setdefault(name.removeprefix(f"{store}/"), value)
    world.step = manifest["step"]
