"""The processes that train one model together: who they are, how the model lies on them, what they tell each other.

Started by torchrun (or anything that sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT) they find each
other; started alone a process is the only rank. On GPUs they speak NCCL, on processors gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from linnaea.train.distributed.tiled_similarities import gather

LOST = ("connection closed", "connection reset", "connection refused", "broken pipe", "timed out", "timeout")
CPU = torch.device("cpu")
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """This process among all that train together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def share_of(self, batch: int, name: str) -> int:
        """This rank's part of a batch of all ranks. ValueError where it cannot be shared evenly."""
        if batch % self.world_size:
            near = sorted(
                {
                    max(self.world_size, batch // self.world_size * self.world_size),
                    (batch // self.world_size + 1) * self.world_size,
                }
            )
            raise ValueError(
                f"{name} {batch} cannot be shared evenly by {self.world_size} ranks; use {' or '.join(map(str, near))}, "
                "or another number of ranks"
            )
        return batch // self.world_size

    def all_gather_object(self, value: object) -> list:
        """What each rank gives, in the order of ranks; any picklable value."""
        if self.world_size == 1:
            return [value]
        found = [None] * self.world_size
        distributed.all_gather_object(found, value)
        return found

    def numbers(self, values: list[float]) -> list[list[float]]:
        """The numbers of each rank, in the order of ranks."""
        if self.world_size == 1:
            return [values]
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return gather(own).view(self.world_size, -1).tolist()

    def in_turn(self, make: Callable[[], object]) -> object:
        """What `make` gives: on the first rank of each machine first, as it may fill a cache, then on the others.

        An error of one rank is raised on all of them, so that none waits for another that has left.
        """
        made, found = None, None
        for turn in (True, False):
            if (self.local_rank == 0) == turn:
                made, found = _attempt(make)
            for error in self.all_gather_object(found):
                if error is not None:
                    raise error
        return made


def _attempt(make: Callable[[], object]) -> tuple[object, Exception | None]:
    try:
        return make(), None
    except (ValueError, OSError) as error:
        return None, error


@contextmanager
def join(device: str = "auto", *, timeout_s: float = 1800.0) -> Iterator[ProcessGroup]:
    """This process's place among the ranks. ConnectionError names the rank that noticed that another one is lost, and
    of two the lost one."""
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
    # Ray has them joined already, and parts them itself.
    joined = distributed.is_initialized()
    if not joined:
        distributed.init_process_group(BACKENDS[kind], timeout=timedelta(seconds=timeout_s))
    try:
        yield processes
        distributed.barrier()
    except RuntimeError as error:
        if not is_lost_rank(error):
            raise
        raise ConnectionError(describe_lost_rank(rank, n, error)) from error
    finally:
        if not joined:
            distributed.destroy_process_group()


def describe_lost_rank(rank: int, n: int, error: BaseException) -> str:
    """What a rank says that no longer reaches another. Of two it knows which; of more, all that still run lose each other at
    the same time, and only who started them sees which ended first."""
    lost, first = (f"rank {1 - rank}",) * 2 if n == 2 else ("the others", "the rank that ended first")
    reason = " ".join(str(error).split())[:160]
    return (
        f"rank {rank} of {n} no longer reaches {lost} ({reason}); {first} says why, or if it was killed (memory, a lost machine) says "
        "nothing: torchrun's report then names it with its signal under 'Root Cause'; start again with --resume"
    )


def is_lost_rank(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, distributed.DistError) or any(word in str(error).lower() for word in LOST)


def wrap_parallel(model: torch.nn.Module, processes: ProcessGroup, *, parallel: str, precision: str) -> torch.nn.Module:
    """The model on this rank's device, wrapped for several ranks: `ddp` whole on each, `fsdp` in shards."""
    model = model.to(processes.device)
    if processes.world_size == 1:
        return model
    if parallel == "ddp":
        ids = [processes.device.index] if processes.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    return _shard(model, processes, precision)


def _shard(model: torch.nn.Module, processes: ProcessGroup, precision: str) -> torch.nn.Module:
    """Blocks are shared one by one and gathered when they are computed; the rest together. Scalars stay whole."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(processes.device.type, (processes.world_size,))
    # Weights of blocks travel as they are multiplied; gradients are summed in float32.
    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for tower in (model.clip.visual, model.clip):
        for block in tower.transformer.resblocks:
            fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model.clip, mesh=mesh, ignored_params=set(scalars(model)))
    for name in ("encode_images", "encode_texts"):
        register_fsdp_forward_method(model.clip, name)
    for scalar in scalars(model):
        distributed.broadcast(scalar.data, 0)
    return model


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside its wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def scalars(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Parameters that are one number, which no rank shares with another."""
    return [parameter for parameter in model.parameters() if parameter.ndim == 0]


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this rank holds a part of it alone."""
    return hasattr(tensor, "full_tensor")


def no_sync(model: torch.nn.Module) -> Callable[[], AbstractContextManager]:
    """A context in which gradients add up on this rank, to be exchanged by a later backward pass."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync
    sharded = getattr(model, "clip", None)
    if not hasattr(sharded, "set_requires_gradient_sync"):
        return nullcontext

    @contextmanager
    def waiting() -> Iterator[None]:
        sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            sharded.set_requires_gradient_sync(True)

    return waiting


def average_scalars(model: torch.nn.Module, processes: ProcessGroup) -> None:
    """Averages over ranks the gradients that the sharding left alone."""
    if processes.world_size == 1 or isinstance(model, DistributedDataParallel):
        return
    for parameter in scalars(model):
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes.world_size


def gradient_norm(parameters: Iterable[torch.nn.Parameter], processes: ProcessGroup) -> torch.Tensor:
    """The length of the whole gradient as a float64 scalar, equal on all ranks; not finite where any part of it is."""
    sharded, whole = [], []
    for parameter in parameters:
        if parameter.grad is not None:
            (sharded if is_sharded(parameter.grad) else whole).append(parameter.grad)
    total = _squares(whole, processes.device)
    if sharded:
        part = _squares([grad.to_local() for grad in sharded], processes.device)
        distributed.all_reduce(part)
        total = total + part
    return total.sqrt()


def _squares(tensors: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    if not tensors:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack(torch._foreach_norm(tensors)).double().square().sum()
