"""The model of a run, from a recipe to the trained towers: opening, compiling, optimizer, bounds, collecting."""

from __future__ import annotations

import math

import torch
from torch import nn

from linnaea.train.clip.batches import MicroBatch
from linnaea.train.clip.config import ClipConfig
from linnaea.train.clip.input_checks import check_model_folders
from linnaea.train.clip.open_clip_io import load_open_clip, make_model
from linnaea.train.clip.towers import ClipModel
from linnaea.train.distributed.process_group import is_sharded, unwrap

# Zhai et al. 2023 start there, so that the many negatives do not dominate the first steps.
INITIAL_BIAS = -10.0


class TrainableClip(nn.Module):
    """The towers, and the bias of the sigmoid loss if `biased`."""

    def __init__(self, clip: ClipModel, *, biased: bool):
        super().__init__()
        self.clip = clip
        self.bias = nn.Parameter(torch.tensor(INITIAL_BIAS)) if biased else None

    def forward(self, micro: MicroBatch) -> tuple[torch.Tensor, ...]:
        """Return vectors [b, d] of images and texts, those of replayed pairs if any, the scale, and the bias if any."""
        found = self.clip(micro.images, micro.texts, micro.replay)
        return found if self.bias is None else (*found, self.bias.clone())


def open_model(recipe: ClipConfig) -> TrainableClip:
    """Open the model from which a recipe starts, equal in every process."""
    check_model_folders(recipe)
    torch.manual_seed(recipe.seed)
    clip = make_model(recipe.towers, replay=recipe.has_replay)
    if clip.visual.config.size != recipe.crop.size:
        raise ValueError(
            f"crops have {recipe.crop.size} pixels a side, but the towers of {recipe.towers.name} need "
            f"{clip.visual.config.size}; set crop.size"
        )
    if recipe.start is not None:
        started = load_open_clip(recipe.start, replay=recipe.has_replay)
        try:
            clip.load_state_dict(started.state_dict())
        except RuntimeError as error:
            found = " ".join(str(error).split())[:200]
            raise ValueError(f"{recipe.start} has other towers than {recipe.towers.name}: {found}") from None
    clip.set_checkpointing(recipe.activation_checkpointing)
    if recipe.compile:
        compile_towers(clip)
    return TrainableClip(clip, biased=recipe.loss == "sigmoid")


def compile_towers(clip: ClipModel) -> None:
    """Compile the blocks of both towers in place, so that weight names stay.

    The lengths of texts change with every batch. In text blocks only the layers that see single rows are compiled.
    """
    for block in clip.visual.transformer.resblocks:
        block.compile()
    for block in clip.transformer.resblocks:
        block.mlp.compile(dynamic=True)


def make_optimizer(model: nn.Module, recipe: ClipConfig) -> torch.optim.AdamW:
    """Make a fused AdamW. Matrices decay; norms, biases and scalars do not."""
    parameters = list(unwrap(model).parameters())
    groups = (
        ([p for p in parameters if p.ndim > 1], recipe.weight_decay),
        ([p for p in parameters if p.ndim == 1], 0.0),
        # Sharded and whole parameters cannot be in one fused group.
        ([p for p in parameters if p.ndim == 0], 0.0),
    )
    return torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for params, decay in groups],
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        fused=True,
    )


def clip_gradients(model: nn.Module, max_norm: float, norm: float) -> None:
    """Scale the gradients down to `max_norm` if their norm is larger; 0 does not clip."""
    if max_norm and norm > max_norm:
        grads = [p.grad.to_local() if is_sharded(p.grad) else p.grad for p in model.parameters() if p.grad is not None]
        torch._foreach_mul_(grads, max_norm / norm)


@torch.no_grad()
def clamp_logit_scale(model: nn.Module, max_scale: float) -> float:
    """Clamp the logit scale to 1..`max_scale` and return it."""
    scale = unwrap(model).clip.logit_scale
    return scale.clamp_(0, math.log(max_scale)).exp().item()


def collect_towers(model: nn.Module, recipe: ClipConfig) -> ClipModel:
    """Copy the towers to CPU memory in float32. All ranks must call for a sharded model."""
    towers = make_model(recipe.towers, replay=recipe.has_replay)
    state = {
        name: (value.full_tensor() if is_sharded(value) else value).cpu()
        for name, value in unwrap(model).clip.state_dict().items()
    }
    towers.load_state_dict(state)
    return towers.eval()
