"""Checkpoints of a run: copied to memory between two steps, written by a thread, whole or not there at all.

A checkpoint is a folder `step-00000300` with `state.safetensors` (weights, both of AdamW's moments, the random state of
each rank) and `manifest.json`, written last (`linnaea.store.write_artifact`): step, positions in the data, number of
ranks and the recipe. Tensors are stored whole, however many ranks share them, so any number of ranks can go on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnaea.model.core.safetensors import StoredTensor, read_safetensors, write_safetensors
from linnaea.store import MANIFEST, UNFINISHED, read_manifest, write_artifact
from linnaea.train.clip.recipe import MACHINE, ClipRecipe, defining, describe
from linnaea.train.distributed.process_group import ProcessGroup, is_sharded, unwrap

KIND = "training checkpoint"
STATE = "state.safetensors"
# What a manifest must say for a run to go on from it.
NEEDED = {"step", "ranks", "streams", "defining"}
WEIGHT, MOMENT, RANDOM = "weight", "adamw", "random"


def finished(directory: Path) -> list[Path]:
    """The finished checkpoints of a folder, the oldest first; one that was damaged since is among them."""
    found = sorted(directory.glob("step-*")) if directory.is_dir() else []
    return [path for path in found if _kind(path) == KIND]


def _kind(path: Path) -> str:
    try:
        manifest = read_manifest(path)
    except ValueError:
        return KIND
    return manifest.get("kind", "") if manifest else ""


def read_newest(found: list[Path]) -> tuple[dict, dict[str, StoredTensor]]:
    """Manifest and tensors of the last of some checkpoints. ValueError names one that is damaged, and what --resume can do
    without it."""
    newest = found[-1]
    try:
        manifest = read_manifest(newest)
        if missing := NEEDED - manifest.keys():
            raise ValueError(f"{MANIFEST} has no {min(missing)}")
    except ValueError as error:
        raise _damaged(found, f"{MANIFEST} cannot be read: {error}") from None
    if not (newest / STATE).is_file():
        raise _damaged(found, f"{STATE} is missing")
    try:
        return manifest, read_safetensors(newest / STATE)
    except ValueError:
        raise _damaged(found, f"{STATE} is not whole") from None


def _damaged(found: list[Path], fault: str) -> ValueError:
    otherwise = f"goes on from {found[-2].name}" if len(found) > 1 else "starts at step 0, as there is no other"
    return ValueError(f"checkpoint {found[-1]} is damaged ({fault}); remove this folder; --resume then {otherwise}")


def _whole(tensor: torch.Tensor, keep: bool) -> torch.Tensor | None:
    """A copy of a tensor in this process's memory; all ranks must ask for a shared one, those that `keep` get it."""
    full = tensor.detach().full_tensor() if is_sharded(tensor) else tensor.detach()
    if not keep:
        return None
    copy = torch.empty(full.shape, dtype=full.dtype, pin_memory=full.is_cuda)
    return copy.copy_(full, non_blocking=True)


def _tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Every tensor of the run by its name; AdamW's once a step was taken."""
    named = dict(unwrap(model).named_parameters())
    found = {f"{WEIGHT}/{name}": parameter for name, parameter in named.items()}
    for name, parameter in named.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"{MOMENT}/{key}/{name}"] = value
    return found


def _random_state(device: torch.device) -> list[list[int]]:
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return [state.tolist() for state in states]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The run between two steps, in memory."""

    tensors: dict[str, torch.Tensor]
    manifest: dict


class Checkpoints:
    """The checkpoints of one run. Only the first rank writes; all must call.

    A write that fails is said, leaves what is there, and the next checkpoint tries again; `finish` raises OSError where
    the last one failed.
    """

    def __init__(self, directory: Path, recipe: ClipRecipe, processes: ProcessGroup, *, report: Callable[[str], None]):
        self.directory, self._recipe, self._processes, self._report = directory, recipe, processes, report
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None
        self._failed: OSError | None = None
        if processes.is_first and directory.is_dir():
            # What a killed run was writing, or removing.
            unfinished = [path for path in directory.glob("step-*") if not (path / MANIFEST).is_file()]
            for left in (*directory.glob(f".*{UNFINISHED}"), *unfinished):
                shutil.rmtree(left, ignore_errors=True)

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, streams: dict) -> None:
        """Copies the run as it is after `step` steps and begins to write it. Waits for the one before."""
        self._await()
        snapshot = self._snapshot(step, model, optimizer, streams)
        if snapshot is not None:
            self._writing = self._pool.submit(self._write, step, snapshot)

    def _snapshot(self, step, model, optimizer, streams) -> Snapshot | None:
        processes = self._processes
        randoms = processes.all_gather_object(_random_state(processes.device))
        tensors = {name: _whole(value, processes.is_first) for name, value in _tensors(model, optimizer).items()}
        if not processes.is_first:
            return None
        if processes.device.type == "cuda":
            torch.cuda.synchronize(processes.device)
        for rank, states in enumerate(randoms):
            for kind, state in zip(("cpu", "cuda"), states, strict=False):
                tensors[f"{RANDOM}/{kind}/{rank}"] = torch.tensor(state)
        manifest = {
            "kind": KIND,
            "step": step,
            "ranks": processes.world_size,
            "streams": streams,
            "recipe": describe(self._recipe),
            "defining": defining(self._recipe),
        }
        return Snapshot(tensors=tensors, manifest=manifest)

    def _write(self, step: int, snapshot: Snapshot) -> None:
        with write_artifact(self.directory / f"step-{step:08}", snapshot.manifest) as folder:
            write_safetensors(folder / STATE, {name: value.numpy() for name, value in snapshot.tensors.items()})
        for old in finished(self.directory)[: -self._recipe.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _await(self) -> None:
        if self._writing is None:
            return
        try:
            self._writing.result()
            self._failed = None
        except OSError as error:
            self._failed = error
            kept = finished(self.directory)
            last = f"{kept[-1].name} is kept" if kept else "there is none yet"
            self._report(
                f"a checkpoint could not be written ({error.strerror or error}); {last}; free space on its disk"
            )
        self._writing = None

    def close(self) -> None:
        """Waits until what was begun is written or has failed."""
        self._await()
        self._pool.shutdown()

    def finish(self) -> None:
        """Closes; OSError where the last checkpoint is not on disk."""
        self.close()
        if self._failed is not None:
            number = self._failed.errno or 0
            reason = self._failed.strerror or str(self._failed)
            raise OSError(
                number, f"the last checkpoint could not be written ({reason}); free space", str(self.directory)
            )

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict | None:
        """The manifest of the newest finished checkpoint, whose state is now that of the run; None if there is none.

        ValueError names what of the recipe has changed since, or a checkpoint that is damaged.
        """
        found = finished(self.directory)
        if not found:
            return None
        manifest, stored = read_newest(found)
        refuse_changes(manifest, self._recipe, found[-1].name)
        _restore(stored, model, optimizer, self._processes)
        if manifest["ranks"] != self._processes.world_size:
            self._report(
                f"the run had {manifest['ranks']} ranks and goes on with {self._processes.world_size}: the batches stay the same, "
                "sums differ by rounding"
            )
        return manifest


def refuse_changes(manifest: dict, recipe: ClipRecipe, name: str) -> None:
    """ValueError where a checkpoint comes from another recipe than this one, fields of `MACHINE` apart."""
    had, has = manifest["defining"], defining(recipe)
    changed = [field for field in sorted({*had, *has}) if had.get(field) != has.get(field)]
    if changed:
        first = changed[0]
        others = f" (and {len(changed) - 1} other fields)" if len(changed) > 1 else ""
        raise ValueError(
            f"{name} was made with {first} {had.get(first)!r}, the recipe has {has.get(first)!r}{others}; "
            f"resume with the same, or choose another --out; only {', '.join(MACHINE)} may change"
        )


def _restore(stored: dict, model: torch.nn.Module, optimizer: torch.optim.Optimizer, processes: ProcessGroup) -> None:
    named = dict(unwrap(model).named_parameters())
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(_laid_out(stored.pop(f"{WEIGHT}/{name}"), parameter))
            keys = [key.split("/")[1] for key in stored if key.startswith(f"{MOMENT}/") and key.split("/")[2] == name]
            if keys:
                values = {key: stored[f"{MOMENT}/{key}/{name}"] for key in keys}
                optimizer.state[parameter] = {key: _moment(value, parameter) for key, value in values.items()}
    for kind, restore in (("cpu", torch.set_rng_state), ("cuda", torch.cuda.set_rng_state)):
        # With other ranks than before there may be none for this one; nothing in a step is left to chance.
        state = stored.get(f"{RANDOM}/{kind}/{processes.rank}")
        if state is not None and (kind == "cpu" or processes.device.type == "cuda"):
            restore(torch.from_numpy(state.array().astype(np.uint8)))


def _laid_out(stored, like: torch.Tensor) -> torch.Tensor:
    """A stored tensor as this rank holds its like: whole, or its part."""
    value = torch.from_numpy(np.array(stored.array())).to(like.device)
    if not is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)


def _moment(stored, parameter: torch.Tensor) -> torch.Tensor:
    # The count of steps is one number for a parameter of any shape.
    like = parameter if stored.shape == tuple(parameter.shape) and parameter.ndim else parameter.new_empty(())
    return _laid_out(stored, like)
