"""What every training stage of the bundled model shares: the schedule, parameter groups and one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from linnaea.train.runtime.schedule import rate_at

FINAL_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Options of every optimization: a cosine learning rate, weight decay, and a bound of the logit scale."""

    steps: int
    "optimizer steps"
    learning_rate: float = 2e-3
    "peak of a cosine after a linear warm-up"
    warm_up: int = 100
    "steps of the warm-up"
    weight_decay: float = 0.05
    "weight decay of AdamW, on matrices only"
    max_scale: float = 60.0
    "largest value of the learned logit scale"

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step as a share of the peak. It ends at a fiftieth."""
        return share_at(step, self.steps, self.warm_up)


def share_at(step: int, steps: int, warm_up: int) -> float:
    """Return the learning rate of a step as a share of the peak, down to `FINAL_SHARE` after `steps` steps."""
    return rate_at(step, steps=steps, warm_up=warm_up, final_share=FINAL_SHARE)


def split_parameters(module: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Return the matrices of a module, which decay, and its other parameters."""
    parameters = list(module.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


def take_step(
    optimizer: torch.optim.Optimizer,
    loss: torch.Tensor,
    where: str,
    *,
    clipped: Iterable[torch.nn.Parameter] | None = None,
) -> None:
    """Take an optimizer step for a loss. The gradient of the parameters `clipped` gets at most norm 1.

    Raises FloatingPointError that names `where` if the loss is not finite, before anything changes.
    """
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss.item()} at {where}; this step has changed nothing")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if clipped is not None:
        torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimizer.step()


@torch.no_grad()
def clamp_log_scale(log_scale: torch.Tensor, max_scale: float) -> None:
    """Clamp the logarithm of a logit scale to that of its largest value, in place."""
    log_scale.clamp_(max=math.log(max_scale))
