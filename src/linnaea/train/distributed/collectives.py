"""Collective operations on the rows of all ranks; without torch.distributed there is one rank.

Every rank must bring equally many rows.

Shape suffixes: b rows of this rank, n rows of all ranks.
"""

from __future__ import annotations

import torch
from torch import distributed


def count_ranks(group=None) -> int:
    """Return the number of processes in the group, 1 if torch.distributed is not in use."""
    return distributed.get_world_size(group) if distributed.is_available() and distributed.is_initialized() else 1


def get_rank(group=None) -> int:
    """Return the number of this process in the group."""
    return distributed.get_rank(group) if count_ranks(group) > 1 else 0


def _find_collective(name: str, older: str):
    """Return an operation of torch.distributed by its name since torch 2.13, or by its older name."""
    return getattr(distributed, name, None) or getattr(distributed, older)


def all_gather(own: torch.Tensor, group=None) -> torch.Tensor:
    """Concatenate the tensors [b, ...] of all ranks to [n, ...], in the order of ranks, without gradient."""
    if count_ranks(group) == 1:
        return own.detach()
    every = own.new_empty((count_ranks(group) * own.shape[0], *own.shape[1:]))
    _find_collective("all_gather_single", "all_gather_into_tensor")(every, own.detach().contiguous(), group=group)
    return every


def reduce_scatter(every: torch.Tensor, group=None) -> torch.Tensor:
    """Sum tensors [n, ...] over ranks and return the rows [b, ...] of this rank."""
    if count_ranks(group) == 1:
        return every
    own = every.new_empty((every.shape[0] // count_ranks(group), *every.shape[1:]))
    _find_collective("reduce_scatter_single", "reduce_scatter_tensor")(own, every.contiguous(), group=group)
    return own


def slice_own(every: torch.Tensor, group=None) -> torch.Tensor:
    """Return the rows [b, ...] of this rank from [n, ...]."""
    b = every.shape[0] // count_ranks(group)
    return every[get_rank(group) * b : (get_rank(group) + 1) * b]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own, group):
        ctx.group = group
        return all_gather(own, group)

    @staticmethod
    def backward(ctx, grad):
        return reduce_scatter(grad, ctx.group), None


def all_gather_with_grad(own: torch.Tensor, group=None) -> torch.Tensor:
    """`all_gather` whose gradient is summed over ranks."""
    return own if count_ranks(group) == 1 else _AllGather.apply(own, group)
