"""The loss of a recipe and its gradients, for the pairs of one rank and step.

Shape suffixes: b pairs of this rank, d vector dimensions.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from linnaea.train.clip.batches import MicroBatch, StepBatch
from linnaea.train.clip.config import ClipConfig
from linnaea.train.clip.gradient_caching import cached_backward
from linnaea.train.clip.losses import LevelConfig, distillation_loss, info_nce, level_loss, sigmoid_loss
from linnaea.train.clip.open_clip_io import load_open_clip
from linnaea.train.distributed.process_group import no_sync


class Objective:
    """The loss (nats) of a recipe. `parts` holds the terms of the last call, on this rank."""

    def __init__(self, recipe: ClipConfig):
        self._recipe = recipe
        self._levels = LevelConfig(genus=recipe.genus_share, family=recipe.family_share)
        self.parts: dict[str, torch.Tensor] = {}

    def __call__(self, features: tuple[torch.Tensor, ...], groups: dict, taught: tuple[torch.Tensor, ...] | None):
        """Return the loss of all pairs from the output of `TrainableClip` and that of the teacher, if any."""
        recipe, tile = self._recipe, self._recipe.tile
        image_bd, text_bd, *rest = features
        scale = rest[-2] if recipe.loss == "sigmoid" else rest[-1]
        if recipe.loss == "sigmoid":
            contrast = sigmoid_loss(image_bd, text_bd, scale, rest[-1], tile=tile)
        elif recipe.loss == "levels":
            contrast = level_loss(image_bd, text_bd, scale, groups, self._levels, tile=tile)
        else:
            contrast = info_nce(image_bd, text_bd, scale, tile=tile)
        terms = {"contrast": contrast}
        if recipe.has_replay:
            terms["replay"] = info_nce(rest[0], rest[1], scale, tile=tile)
        loss = sum(terms.values())
        if taught is not None:
            terms["distillation"] = distillation_loss(image_bd, text_bd, scale, *taught, tile=tile)
            loss = loss + recipe.teacher_weight * terms["distillation"]
        self.parts = {name: term.detach() for name, term in ({"loss": loss} | terms).items()}
        return loss


class TeacherTowers:
    """Frozen towers whose similarities the student learns."""

    def __init__(self, model_dir: Path, device: torch.device):
        self._clip = load_open_clip(model_dir).to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: StepBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the vectors of images and texts of the organisms in a step, and the scale."""
        found = [self._clip(micro.images, micro.texts) for micro in batch.micro_batches]
        return torch.cat([image for image, _, _ in found]), torch.cat([text for _, text, _ in found]), found[0][2]


def backward(
    model: nn.Module, batch: StepBatch, objective: Objective, teacher: TeacherTowers | None, *, precision: str
) -> dict[str, torch.Tensor]:
    """Add the gradients of a step's loss to the weights, and return the terms of the loss on this rank.

    With several micro-batches the activations of one are in memory at a time; the loss is still that of all pairs.
    """
    device = batch.micro_batches[0].images.device

    def mixed():
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def encode(micro: MicroBatch) -> tuple[torch.Tensor, ...]:
        with mixed():
            return model(micro)

    with mixed():
        taught = teacher(batch) if teacher is not None else None

    def loss_of(*features: torch.Tensor) -> torch.Tensor:
        return objective(features, batch.groups, taught)

    if len(batch.micro_batches) == 1:
        loss_of(*encode(batch.micro_batches[0])).backward()
    else:
        cached_backward(encode, batch.micro_batches, loss_of, no_sync=no_sync(model))
    return objective.parts


def check_finite(step: int, losses: list[float], gradient: float) -> None:
    """Raise FloatingPointError if the loss of a rank or the norm of the gradient is not finite."""
    wrong = [(rank, loss) for rank, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong:
        named = ", ".join(f"{loss} on rank {rank}" for rank, loss in wrong[:3])
        more = f" and on {len(wrong) - 3} more" if len(wrong) > 3 else ""
        said = f"the loss is {named}{more}"
    elif not math.isfinite(gradient):
        said = f"the norm of the gradient is {gradient}, at a loss of {sum(losses) / len(losses):.4f} on rank 0"
        said += f" to {len(losses) - 1}" if len(losses) > 1 else ""
    else:
        return
    raise FloatingPointError(
        f"step {step}: {said}; the step was not taken and the checkpoints are unchanged; lower the learning rate, "
        "or set clip_norm"
    )
