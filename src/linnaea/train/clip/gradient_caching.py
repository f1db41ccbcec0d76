"""Gradient caching: gradients of a batch whose activations do not fit into memory.

The features come first, then the gradients of the features, then a second pass through the towers (Gao et al. 2021,
arXiv 2101.06983). The loss needs all features at once, but not the activations behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

Features = tuple[torch.Tensor, ...]


class _RandomState:
    """The state of torch's random generators, on the CPU and on the GPU in use."""

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
    """Compute the loss of all micro-batches as one batch, and add its exact gradients to `grad` of the parameters.

    `encode` returns the features [b, d] of a micro-batch, and the parameters that the loss uses directly (such as the
    logit scale) as tensors without dimensions. `loss_of` takes the features of the whole batch and those scalars. Every
    micro-batch is encoded twice, the second time with the random state of the first, so that dropout is the same;
    the random state afterwards is that after the first pass.

    Under DDP `encode` must call the wrapped module for everything, including the scale, and `no_sync` must be that of
    the module: gradients are then exchanged once, with the last micro-batch, which must use every trained parameter.
    Batch statistics (BatchNorm) would be those of a micro-batch.
    """
    random_states, parts = [], []
    with torch.no_grad():
        for micro in micro_batches:
            random_states.append(_RandomState())
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
            random_states[index].restore()
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
