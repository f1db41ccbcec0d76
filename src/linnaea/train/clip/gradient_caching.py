"""Gradients of a batch larger than its activations' memory: features first, their gradients, then the towers again.

Gao et al. 2021 (arXiv 2101.06983): the loss needs all features at once, but not the activations behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

Features = tuple[torch.Tensor, ...]


class _Dice:
    """The state of torch's random generators at one moment: the processor's, and the GPU's that holds the features."""

    def __init__(self):
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() and torch.cuda.is_initialized() else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu)


def cached_backward(
    encode: Callable[[object], Features],
    micro_batches: Sequence,
    loss_of: Callable[..., torch.Tensor],
    *,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> torch.Tensor:
    """The loss of all micro-batches as one batch, with its exact gradients added to the parameters' `grad`.

    `encode` gives a micro-batch's features [b, d], and parameters that the loss uses by themselves, such as the logit
    scale, as tensors without dimensions; `loss_of` takes the features of the whole batch and those scalars. Every
    micro-batch is encoded twice, the second time with the random state of the first, so that dropout is the same; the
    random state ends where the first pass left it. Under DDP `encode` must call the wrapped module for all of it, the
    scale included; give its `no_sync`: gradients are then exchanged once, with the last micro-batch, which must touch
    every parameter that is trained. Batch statistics (BatchNorm) would be those of a micro-batch.
    """
    dice, parts = [], []
    with torch.no_grad():
        for micro in micro_batches:
            dice.append(_Dice())
            parts.append(encode(micro))
    leaves = [
        (column[0] if column[0].ndim == 0 else torch.cat(column)).detach().requires_grad_()
        for column in zip(*parts, strict=True)
    ]
    sizes = [[part.shape[0] if part.ndim else 0 for part in row] for row in parts]
    del parts
    loss = loss_of(*leaves)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    starts = [0] * len(leaves)
    for index, micro in enumerate(micro_batches):
        last = index == len(micro_batches) - 1
        with nullcontext() if last else no_sync():
            dice[index].restore()
            outputs, output_grads = [], []
            for place, output in enumerate(encode(micro)):
                start, stop = starts[place], starts[place] + sizes[index][place]
                starts[place] = stop
                if grads[place] is None or not output.requires_grad or (output.ndim == 0 and not last):
                    continue
                outputs.append(output)
                output_grads.append(grads[place] if output.ndim == 0 else grads[place][start:stop])
            torch.autograd.backward(outputs, output_grads)
    return loss.detach()
