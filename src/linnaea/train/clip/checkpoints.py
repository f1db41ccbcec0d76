"""Checkpoints of a run: copied to memory between two steps, then written by a thread. They are complete or absent.

A checkpoint is a folder `step-00000300` with `state.safetensors` (weights, both moments of AdamW, the random state of
each rank) and `manifest.json`, which is written last (`linnaea.store.write_artifact`): step, positions in the data,
number of ranks and recipe. Sharded tensors are stored whole, so that any number of ranks can resume.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from linnaea.model.core.safetensors import StoredTensor, read_safetensors, write_safetensors
from linnaea.store import MANIFEST, UNFINISHED, read_manifest, write_artifact
from linnaea.train.clip.config import MACHINE, ClipConfig, defining_fields, describe_recipe
from linnaea.train.distributed.process_group import ProcessGroup, is_sharded, unwrap

logger = logging.getLogger(__name__)

KIND = "training checkpoint"
STATE = "state.safetensors"
# The keys that a manifest needs for a run to resume.
NEEDED = {"step", "ranks", "streams", "defining"}
WEIGHT, MOMENT, RANDOM = "weight", "adamw", "random"


def find_finished(checkpoints_dir: Path) -> list[Path]:
    """Return the finished checkpoints of a folder, the oldest first. A damaged one is included."""
    found = sorted(checkpoints_dir.glob("step-*")) if checkpoints_dir.is_dir() else []
    return [path for path in found if _read_kind(path) == KIND]


def _read_kind(checkpoint_dir: Path) -> str:
    try:
        manifest = read_manifest(checkpoint_dir)
    except ValueError:
        return KIND
    return manifest.get("kind", "") if manifest else ""


def read_newest(found: list[Path]) -> tuple[dict, dict[str, StoredTensor]]:
    """Read the manifest and the tensors of the newest checkpoint.

    Raises ValueError if it is damaged. The message says from where --resume continues without it.
    """
    newest = found[-1]
    try:
        manifest = read_manifest(newest)
        if missing := NEEDED - manifest.keys():
            raise ValueError(f"{MANIFEST} has no {min(missing)}")
    except ValueError as error:
        raise _damage_error(found, f"{MANIFEST} cannot be read: {error}") from None
    if not (newest / STATE).is_file():
        raise _damage_error(found, f"{STATE} is missing")
    try:
        return manifest, read_safetensors(newest / STATE)
    except ValueError:
        raise _damage_error(found, f"{STATE} is incomplete") from None


def _damage_error(found: list[Path], fault: str) -> ValueError:
    otherwise = f"continues from {found[-2].name}" if len(found) > 1 else "starts at step 0, because it is the only one"
    return ValueError(f"checkpoint {found[-1]} is damaged ({fault}); remove this folder; --resume then {otherwise}")


def _copy_to_cpu(tensor: torch.Tensor, keep: bool) -> torch.Tensor | None:
    """Copy a whole tensor to CPU memory if `keep`, else return None. All ranks must call for a sharded tensor."""
    full = tensor.detach().full_tensor() if is_sharded(tensor) else tensor.detach()
    if not keep:
        return None
    copy = torch.empty(full.shape, dtype=full.dtype, pin_memory=full.is_cuda)
    return copy.copy_(full, non_blocking=True)


def _name_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return every tensor of the run by its name; those of AdamW exist after the first step."""
    named = dict(unwrap(model).named_parameters())
    found = {f"{WEIGHT}/{name}": parameter for name, parameter in named.items()}
    for name, parameter in named.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"{MOMENT}/{key}/{name}"] = value
    return found


def _read_random_state(device: torch.device) -> list[list[int]]:
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return [state.tolist() for state in states]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy of the run between two steps, in memory."""

    tensors: dict[str, torch.Tensor]
    manifest: dict


class Checkpoints:
    """The checkpoints of one run. All ranks must call; only the first one writes.

    A failed write is logged as a warning and keeps the older checkpoints, and the next checkpoint tries again. `finish`
    raises OSError if the last write failed.
    """

    def __init__(self, checkpoints_dir: Path, recipe: ClipConfig, processes: ProcessGroup):
        self.checkpoints_dir, self._recipe, self._processes = checkpoints_dir, recipe, processes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future | None = None
        self._failed: OSError | None = None
        if processes.is_first and checkpoints_dir.is_dir():
            # left by a killed run that was writing or removing them
            unfinished = [path for path in checkpoints_dir.glob("step-*") if not (path / MANIFEST).is_file()]
            for left in (*checkpoints_dir.glob(f".*{UNFINISHED}"), *unfinished):
                shutil.rmtree(left, ignore_errors=True)

    def save(self, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, streams: dict) -> None:
        """Copy the run after `step` steps and start to write it. Wait for the previous write first."""
        self.wait()
        snapshot = self._take_snapshot(step, model, optimizer, streams)
        if snapshot is not None:
            self._writing = self._pool.submit(self._write, step, snapshot)

    def _take_snapshot(self, step, model, optimizer, streams) -> Snapshot | None:
        processes = self._processes
        randoms = processes.all_gather_object(_read_random_state(processes.device))
        tensors = {
            name: _copy_to_cpu(value, processes.is_first) for name, value in _name_tensors(model, optimizer).items()
        }
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
            "recipe": describe_recipe(self._recipe),
            "defining": defining_fields(self._recipe),
        }
        return Snapshot(tensors=tensors, manifest=manifest)

    def _write(self, step: int, snapshot: Snapshot) -> None:
        with write_artifact(self.checkpoints_dir / f"step-{step:08}", snapshot.manifest) as folder:
            write_safetensors(folder / STATE, {name: value.numpy() for name, value in snapshot.tensors.items()})
        for old in find_finished(self.checkpoints_dir)[: -self._recipe.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def wait(self) -> None:
        """Wait until the write in progress is complete or has failed."""
        if self._writing is None:
            return
        try:
            self._writing.result()
            self._failed = None
        except OSError as error:
            self._failed = error
            kept = find_finished(self.checkpoints_dir)
            last = f"{kept[-1].name} is kept" if kept else "there is none yet"
            logger.warning(
                "a checkpoint could not be written (%s); %s; free space on its disk", error.strerror or error, last
            )
        self._writing = None

    def close(self) -> None:
        """Wait for the write in progress and end the writing thread."""
        self.wait()
        self._pool.shutdown()

    def finish(self) -> None:
        """Close, and raise OSError if the last checkpoint is not on disk."""
        self.close()
        if self._failed is not None:
            number = self._failed.errno or 0
            reason = self._failed.strerror or str(self._failed)
            raise OSError(
                number, f"the last checkpoint could not be written ({reason}); free space", str(self.checkpoints_dir)
            )

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict | None:
        """Restore the newest finished checkpoint and return its manifest, or None if there is none.

        Raises ValueError that names the field of the recipe that has changed, or the damaged checkpoint.
        """
        found = find_finished(self.checkpoints_dir)
        if not found:
            return None
        manifest, stored = read_newest(found)
        check_unchanged(manifest, self._recipe, found[-1].name)
        _restore(stored, model, optimizer, self._processes)
        if manifest["ranks"] != self._processes.world_size:
            logger.info(
                "the run had %d ranks and continues with %d: the batches stay the same, sums differ by rounding",
                manifest["ranks"],
                self._processes.world_size,
            )
        return manifest


def check_unchanged(manifest: dict, recipe: ClipConfig, name: str) -> None:
    """Raise ValueError if a checkpoint was made by another recipe; the fields of `MACHINE` may differ."""
    had, has = manifest["defining"], defining_fields(recipe)
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
            parameter.copy_(_place(stored.pop(f"{WEIGHT}/{name}"), parameter))
            keys = [key.split("/")[1] for key in stored if key.startswith(f"{MOMENT}/") and key.split("/")[2] == name]
            if keys:
                values = {key: stored[f"{MOMENT}/{key}/{name}"] for key in keys}
                optimizer.state[parameter] = {key: _place_moment(value, parameter) for key, value in values.items()}
    for kind, restore in (("cpu", torch.set_rng_state), ("cuda", torch.cuda.set_rng_state)):
        # With more ranks than before a rank has no stored state. No step uses it, so the result is the same.
        state = stored.get(f"{RANDOM}/{kind}/{processes.rank}")
        if state is not None and (kind == "cpu" or processes.device.type == "cuda"):
            restore(torch.from_numpy(state.array().astype(np.uint8)))


def _place(stored, like: torch.Tensor) -> torch.Tensor:
    """Place a stored tensor like another tensor on this rank: whole, or this rank's part."""
    value = torch.from_numpy(np.array(stored.array())).to(like.device)
    if not is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)


def _place_moment(stored, parameter: torch.Tensor) -> torch.Tensor:
    # The step count of AdamW is one number for a parameter of any shape.
    like = parameter if stored.shape == tuple(parameter.shape) and parameter.ndim else parameter.new_empty(())
    return _place(stored, like)
