"""The processes that train one model together: how they find each other, place the model and exchange values.

Processes started by torchrun (or by anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT) find
each other. A process started alone is the only rank. The backend is NCCL on GPUs and gloo on processors.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from linnaea.train.distributed.collectives import all_gather

LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "timed out", "timeout")
CPU = torch.device("cpu")
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """This process and its number among all processes that train together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and log lines."""
        return self.rank == 0

    def share_of(self, batch: int, name: str) -> int:
        """Return the size of this rank's share of a batch. Raise ValueError if ranks would have unequal shares."""
        if batch % self.world_size:
            near = sorted(
                {
                    max(self.world_size, batch // self.world_size * self.world_size),
                    (batch // self.world_size + 1) * self.world_size,
                }
            )
            raise ValueError(
                f"{name} {batch} cannot be shared evenly by {self.world_size} ranks; "
                f"use {' or '.join(map(str, near))}, or another number of ranks"
            )
        return batch // self.world_size

    def all_gather_object(self, value: object) -> list:
        """Return the picklable values of all ranks, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        found = [None] * self.world_size
        distributed.all_gather_object(found, value)
        return found

    def all_gather_numbers(self, values: list[float]) -> list[list[float]]:
        """Return the numbers of all ranks, in the order of ranks."""
        if self.world_size == 1:
            return [values]
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return all_gather(own).view(self.world_size, -1).tolist()

    def run_first_rank_first(self, make: Callable[[], object]) -> object:
        """Call `make` on the first rank of each machine, which may fill a cache, then on the other ranks.

        An error of one rank is raised on all ranks, so that none waits for a rank that has left.
        """
        made, found = None, None
        for turn in (True, False):
            if (self.local_rank == 0) == turn:
                made, found = _try(make)
            for error in self.all_gather_object(found):
                if error is not None:
                    raise error
        return made


def _try(make: Callable[[], object]) -> tuple[object, Exception | None]:
    try:
        return make(), None
    except (ValueError, OSError) as error:
        return None, error


@contextmanager
def join(device: str = "auto", *, timeout_s: float = 1800.0) -> Iterator[ProcessGroup]:
    """Join the process group and yield this process's place in it. Only the first rank logs notices.

    Raises ConnectionError if another rank is lost; the message names the rank that noticed it.
    """
    n, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local_rank = int(os.environ.get("LOCAL_RANK", str(rank)))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind not in BACKENDS or (kind == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {device!r} cannot be used here; choose auto, cpu or cuda (where there is a GPU)")
    place = torch.device(kind, local_rank) if kind == "cuda" else CPU
    if kind == "cuda":
        torch.cuda.set_device(place)
    processes = ProcessGroup(rank=rank, world_size=n, local_rank=local_rank, device=place)
    if n == 1:
        yield processes
        return
    # Ray has joined the processes already, and separates them itself.
    joined = distributed.is_initialized()
    if not joined:
        distributed.init_process_group(BACKENDS[kind], timeout=timedelta(seconds=timeout_s))
    try:
        with _first_rank_logs(rank):
            yield processes
        distributed.barrier()
    except RuntimeError as error:
        if not is_lost_rank(error):
            raise
        raise ConnectionError(describe_lost_rank(rank, n, error)) from error
    finally:
        if not joined:
            distributed.destroy_process_group()


@contextmanager
def _first_rank_logs(rank: int) -> Iterator[None]:
    """Silence Linnaea's log in the block on all ranks but the first, because all ranks would say the same."""
    package = logging.getLogger("linnaea")
    level = package.level
    if rank:
        package.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        package.setLevel(level)


def describe_lost_rank(rank: int, n: int, error: BaseException) -> str:
    """Return the message of a rank that no longer reaches another one.

    With two ranks the lost one is known. With more, all ranks lose each other at the same time, and only the launcher
    knows which one ended first.
    """
    lost, first = (f"rank {1 - rank}",) * 2 if n == 2 else ("the others", "the rank that ended first")
    reason = " ".join(str(error).split())[:160]
    return (
        f"rank {rank} of {n} no longer reaches {lost} ({reason}); the error of {first} says why; if it was killed "
        "(memory, a lost machine), torchrun's report names it with its signal under 'Root Cause'; "
        "start again with --resume"
    )


def is_lost_rank(error: BaseException) -> bool:
    """Return whether an error means that another process is gone."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, distributed.DistError) or any(word in str(error).lower() for word in LOST)


def wrap_parallel(model: torch.nn.Module, processes: ProcessGroup, *, parallel: str, precision: str) -> torch.nn.Module:
    """Move the model to the device and wrap it for several ranks: whole on each (`ddp`) or sharded (`fsdp`)."""
    model = model.to(processes.device)
    if processes.world_size == 1:
        return model
    if parallel == "ddp":
        ids = [processes.device.index] if processes.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    return _shard(model, processes, precision)


def _shard(model: torch.nn.Module, processes: ProcessGroup, precision: str) -> torch.nn.Module:
    """Shard each block, to be gathered when it is computed, and the rest of the model together. Scalars stay whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    # Weights are sent in the precision in which they are multiplied; gradients are summed in float32.
    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for tower in (model.clip.visual, model.clip):
        for block in tower.transformer.resblocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model.clip, mesh=mesh, ignored_params=set(scalar_parameters(model)))
    for name in ("encode_images", "encode_texts"):
        register_fsdp_forward_method(model.clip, name)
    for scalar in scalar_parameters(model):
        distributed.broadcast(scalar.data, 0)
    return model


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model inside the DDP wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def scalar_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that are single numbers, which are never sharded."""
    return [parameter for parameter in model.parameters() if parameter.ndim == 0]


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether this rank holds only a part of the tensor."""
    return hasattr(tensor, "full_tensor")


def no_sync(model: torch.nn.Module) -> Callable[[], AbstractContextManager]:
    """Return a context in which gradients add up on this rank, to be exchanged by a later backward pass."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync
    sharded = getattr(model, "clip", None)
    if not hasattr(sharded, "set_requires_gradient_sync"):
        return nullcontext

    @contextmanager
    def without_sync() -> Iterator[None]:
        sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            sharded.set_requires_gradient_sync(True)

    return without_sync


def average_scalars(model: torch.nn.Module, processes: ProcessGroup) -> None:
    """Average over ranks the gradients of scalars, which FSDP does not exchange."""
    if processes.world_size == 1 or isinstance(model, DistributedDataParallel):
        return
    for parameter in scalar_parameters(model):
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes.world_size


def gradient_norm(parameters: Iterable[torch.nn.Parameter], processes: ProcessGroup) -> torch.Tensor:
    """Return the norm of the whole gradient as a float64 scalar, equal on all ranks; not finite if any part is not."""
    sharded, whole = [], []
    for parameter in parameters:
        if parameter.grad is not None:
            (sharded if is_sharded(parameter.grad) else whole).append(parameter.grad)
    total = _sum_squares(whole, processes.device)
    if sharded:
        part = _sum_squares([grad.to_local() for grad in sharded], processes.device)
        distributed.all_reduce(part)
        total = total + part
    return total.sqrt()


def _sum_squares(tensors: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    if not tensors:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack(torch._foreach_norm(tensors)).double().square().sum()
