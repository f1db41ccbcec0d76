"""The training loop of a two-tower model, from a batch to a step, on one rank or many.

A step: (1) the learning rate; (2) features, loss and gradients of this rank's pairs; (3) gradients averaged over ranks;
(4) a loss or a gradient that is not finite stops the run, on all ranks, before anything has changed; (5) long gradients
shortened; (6) AdamW; (7) the logit scale held below its bound; (8) figures, checkpoint, validation; (9) the end of the run, if
a rank was asked to stop (SIGTERM, Ctrl-C).

Shape suffixes: b pairs of this rank, d vector dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from linnaea.train.clip.batches import BatchLoader, MicroBatch, StepBatch
from linnaea.train.clip.checkpoints import Checkpoints, finished
from linnaea.train.clip.gradient_caching import cached_backward
from linnaea.train.clip.input_checks import check_model_folders
from linnaea.train.clip.losses import LevelConfig, distillation_loss, info_nce, level_loss, sigmoid_loss
from linnaea.train.clip.open_clip_io import load_open_clip, make_model
from linnaea.train.clip.recipe import ClipRecipe
from linnaea.train.clip.towers import ClipModel
from linnaea.train.distributed.process_group import (
    ProcessGroup,
    average_scalars,
    gradient_norm,
    is_sharded,
    no_sync,
    unwrap,
    wrap_parallel,
)
from linnaea.train.runtime.graceful_stop import StopRequest
from linnaea.train.runtime.metrics_log import MetricsLog

# Zhai et al. 2023 begin there, so that the many negatives do not drown the first steps.
INITIAL_BIAS = -10.0
PARTS = ("loss", "contrast", "replay", "distillation")
Validate = Callable[[ClipModel], dict[str, float]]


class TrainableClip(nn.Module):
    """The towers with what their loss learns beside them: a bias, where it is the sigmoid's."""

    def __init__(self, clip: ClipModel, *, biased: bool):
        super().__init__()
        self.clip = clip
        self.bias = nn.Parameter(torch.tensor(INITIAL_BIAS)) if biased else None

    def forward(self, micro: MicroBatch) -> tuple[torch.Tensor, ...]:
        """Vectors [b, d] of images and texts, of the replayed ones if there are any; the scale, and the bias if any."""
        found = self.clip(micro.images, micro.texts, micro.replay)
        return found if self.bias is None else (*found, self.bias.clone())


def open_model(recipe: ClipRecipe) -> TrainableClip:
    """The model that a recipe starts from, the same in every process."""
    check_model_folders(recipe)
    torch.manual_seed(recipe.seed)
    clip = make_model(recipe.towers, second=recipe.second)
    if clip.visual.config.size != recipe.crop.size:
        raise ValueError(
            f"crops have {recipe.crop.size} pixels a side, the towers of {recipe.towers.name} want "
            f"{clip.visual.config.size}; set crop.size"
        )
    if recipe.start is not None:
        started = load_open_clip(recipe.start, second=recipe.second)
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
    """Compiles the blocks of both towers in place, so that names of weights stay.

    Lengths of texts change with every batch: of their blocks only what sees single rows is worth compiling.
    """
    for block in clip.visual.transformer.resblocks:
        block.compile()
    for block in clip.transformer.resblocks:
        block.mlp.compile(dynamic=True)


def make_optimizer(model: nn.Module, recipe: ClipRecipe) -> torch.optim.AdamW:
    """AdamW in one pass over all weights; matrices decay, norms, biases and scalars do not."""
    parameters = list(unwrap(model).parameters())
    groups = (
        ([p for p in parameters if p.ndim > 1], recipe.weight_decay),
        ([p for p in parameters if p.ndim == 1], 0.0),
        # Shared ones and whole ones cannot be in one pass.
        ([p for p in parameters if p.ndim == 0], 0.0),
    )
    return torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for params, decay in groups],
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.epsilon,
        fused=True,
    )


def rate_at(step: int, recipe: ClipRecipe) -> float:
    """The learning rate of a step, counted from 0: linear up, then a cosine down (as open_clip has it, if to 0)."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    progress = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return recipe.learning_rate * (recipe.final_rate + (1 - recipe.final_rate) * cosine)


class Objective:
    """The loss (nats) of a recipe. `parts` are its terms of the last call, on this rank."""

    def __init__(self, recipe: ClipRecipe):
        self._recipe = recipe
        self._levels = LevelConfig(genus=recipe.genus_share, family=recipe.family_share)
        self.parts: dict[str, torch.Tensor] = {}

    def __call__(self, features: tuple[torch.Tensor, ...], groups: dict, taught: tuple[torch.Tensor, ...] | None):
        """The loss of all pairs, from what `TrainableClip` gives of them and what a teacher does."""
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
        if recipe.second:
            terms["replay"] = info_nce(rest[0], rest[1], scale, tile=tile)
        loss = sum(terms.values())
        if taught is not None:
            terms["distillation"] = distillation_loss(image_bd, text_bd, scale, *taught, tile=tile)
            loss = loss + recipe.teacher_weight * terms["distillation"]
        self.parts = {name: term.detach() for name, term in ({"loss": loss} | terms).items()}
        return loss


class TeacherTowers:
    """Towers that do not learn, whose likenesses the student's are drawn to."""

    def __init__(self, directory: Path, device: torch.device):
        self._clip = load_open_clip(directory).to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, pairs: StepBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Its vectors of images and texts of a step's organisms, and its scale."""
        found = [self._clip(micro.images, micro.texts) for micro in pairs.micro]
        return torch.cat([image for image, _, _ in found]), torch.cat([text for _, text, _ in found]), found[0][2]


def backward(
    model: nn.Module, pairs: StepBatch, objective: Objective, teacher: TeacherTowers | None, *, precision: str
) -> dict[str, torch.Tensor]:
    """Adds the gradients of a step's loss to the weights'; the terms of the loss on this rank.

    With several micro-batches only one's activations are held at a time, and the loss still is that of all pairs.
    """
    device = pairs.micro[0].images.device

    def mixed():
        return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def encode(micro: MicroBatch) -> tuple[torch.Tensor, ...]:
        with mixed():
            return model(micro)

    with mixed():
        taught = teacher(pairs) if teacher is not None else None

    def loss_of(*features: torch.Tensor) -> torch.Tensor:
        return objective(features, pairs.groups, taught)

    if len(pairs.micro) == 1:
        loss_of(*encode(pairs.micro[0])).backward()
    else:
        cached_backward(encode, pairs.micro, loss_of, no_sync=no_sync(model))
    return objective.parts


def check_finite(step: int, losses: list[float], gradient: float) -> None:
    """FloatingPointError naming step, rank and loss, where a loss of a rank or the gradient's length is not finite."""
    wrong = [(rank, loss) for rank, loss in enumerate(losses) if not math.isfinite(loss)]
    if wrong:
        named = ", ".join(f"{loss} on rank {rank}" for rank, loss in wrong[:3])
        more = f" and on {len(wrong) - 3} more" if len(wrong) > 3 else ""
        said = f"the loss is {named}{more}"
    elif not math.isfinite(gradient):
        said = f"the gradient's length is {gradient}, at a loss of {sum(losses) / len(losses):.4f} on rank 0"
        said += f" to {len(losses) - 1}" if len(losses) > 1 else ""
    else:
        return
    raise FloatingPointError(
        f"step {step}: {said}; the step was not taken and the checkpoints are as they were; lower the learning rate, "
        "or set clip_norm"
    )


def train_clip(
    recipe: ClipRecipe,
    work: Path,
    *,
    processes: ProcessGroup | None = None,
    resume: bool = False,
    validate: Validate | None = None,
    report: Callable[[str], None] = print,
) -> ClipModel:
    """The trained towers in this process's memory, float32. All that a run keeps lies in `work`.

    `validate` gives figures of the towers by name; on several ranks all call it. `recipe.stop_after` ends the run
    early, with a checkpoint; so does SIGTERM or Ctrl-C in any rank, and then KeyboardInterrupt is raised in all.
    FloatingPointError names a step whose loss or gradient is not finite.
    """
    processes = processes or ProcessGroup()
    report = report if processes.is_first else (lambda _: None)
    kept = work / "checkpoints"
    if not resume and finished(kept):
        raise ValueError(f"{kept} holds {finished(kept)[-1].name}; go on with --resume, or choose another --out")
    model = wrap_parallel(open_model(recipe), processes, parallel=recipe.parallel, precision=recipe.precision)
    optimizer = make_optimizer(model, recipe)
    feed = BatchLoader(recipe, processes, context=unwrap(model).clip.text_config.context, work=work)
    teacher = TeacherTowers(recipe.teacher, processes.device) if recipe.teacher else None
    checkpoints = Checkpoints(kept, recipe, processes, report=report)
    done = _go_on(checkpoints, model, optimizer, feed, report) if resume else 0
    end = min(recipe.steps, recipe.stop_after or recipe.steps)
    curve = _open_curve(recipe, work, done, report) if processes.is_first else None
    objective, pairs_of_steps, asked = Objective(recipe), iter(feed), StopRequest()
    with ExitStack() as ending:
        # From the last to the first; where one fails, the others still end: checkpoints above all.
        ending.callback(checkpoints.close)
        if curve:
            ending.callback(curve.close)
        ending.callback(pairs_of_steps.close)
        ending.callback(asked.end)
        for step in range(done, end):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, recipe)
            pairs = next(pairs_of_steps)
            parts = backward(model, pairs, objective, teacher, precision=recipe.precision)
            average_scalars(model, processes)
            length = gradient_norm(model.parameters(), processes)
            figures = _gather_figures(parts, length, processes, stop=bool(asked.name))
            stop = any(figures.pop("stop"))
            check_finite(step, figures["loss"], figures["gradient"][0])
            clip_gradients(model, recipe.clip_norm, figures["gradient"][0])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scale = clamp_logit_scale(model, recipe.max_scale)
            if curve:
                means = {name: sum(every) / processes.world_size for name, every in figures.items()}
                means |= {"scale": scale, "learning_rate": rate_at(step, recipe)}
                curve.add(step + 1, means, recipe.batch + recipe.replay_batch)
            if stop or _is_due(step + 1, recipe.checkpoint_every, end):
                checkpoints.save(step + 1, model, optimizer, feed.state(pairs.positions))
            if validate and _is_due(step + 1, recipe.validate_every, end):
                _validate(model, validate, step + 1, curve)
            if stop and step + 1 < end:
                raise KeyboardInterrupt(f"asked to stop after step {step + 1}")
    checkpoints.finish()
    _report_rejects(feed, processes, report)
    return whole_towers(model, recipe)


def _go_on(checkpoints: Checkpoints, model, optimizer, feed: BatchLoader, report) -> int:
    """Steps taken before, with everything as it was then."""
    manifest = checkpoints.resume(model, optimizer)
    if manifest is None:
        report("there is no checkpoint yet; starts at step 0")
        return 0
    feed.restore(manifest["streams"])
    report(f"goes on after step {manifest['step']}")
    return manifest["step"]


def _open_curve(recipe: ClipRecipe, work: Path, done: int, report: Callable[[str], None]) -> MetricsLog:
    settings = {"log_every": recipe.log_every, "tensorboard": recipe.tensorboard}
    return MetricsLog(work, done=done, steps=recipe.steps, report=report, **settings)


def _is_due(done: int, every: int, end: int) -> bool:
    return done == end or (every > 0 and done % every == 0)


def _gather_figures(
    parts: dict, length: torch.Tensor, processes: ProcessGroup, *, stop: bool
) -> dict[str, list[float]]:
    """The terms of the loss and the gradient's length by name, of each rank, and whether it was asked to stop."""
    own = {name: parts[name] for name in PARTS if name in parts} | {
        "gradient": length,
        "stop": length.new_tensor(float(stop)),
    }
    every = processes.numbers(torch.stack(list(own.values())).tolist())
    return dict(zip(own, map(list, zip(*every, strict=True)), strict=True))


def clip_gradients(model: nn.Module, most: float, length: float) -> None:
    if most and length > most:
        grads = [p.grad.to_local() if is_sharded(p.grad) else p.grad for p in model.parameters() if p.grad is not None]
        torch._foreach_mul_(grads, most / length)


@torch.no_grad()
def clamp_logit_scale(model: nn.Module, most: float) -> float:
    """The logit scale, held between 1 and its bound."""
    scale = unwrap(model).clip.logit_scale
    return scale.clamp_(0, math.log(most)).exp().item()


def _validate(model: nn.Module, validate: Validate, step: int, curve: MetricsLog | None) -> None:
    model.eval()
    with torch.no_grad():
        found = validate(unwrap(model).clip)
    model.train()
    if curve:
        curve.add_validation(step, found)


def _report_rejects(feed: BatchLoader, processes: ProcessGroup, report: Callable[[str], None]) -> None:
    """Says how many samples could not be used, and how many were used though odd, and why; each is named in `work/rejects`
    or `work/notices`."""
    for name, stream in feed.streams.items():
        found = {row for rows in processes.all_gather_object(stream.rejects.rows) for row in rows}
        lost = {(row.part, row.key) for row in found}
        odd = {
            row
            for rows in processes.all_gather_object(stream.notices.rows)
            for row in rows
            if (row.part, row.key) not in lost
        }
        for rows, what in ((found, "not used"), (odd, "used, but")):
            for reason in sorted({row.reason for row in rows}):
                report(f"{name}: {sum(row.reason == reason for row in rows):,} {what}: {reason}")


def whole_towers(model: nn.Module, recipe: ClipRecipe) -> ClipModel:
    """The towers whole, in this process's memory; of sharded ones every rank must ask."""
    towers = make_model(recipe.towers, second=recipe.second)
    state = {
        name: (value.full_tensor() if is_sharded(value) else value).cpu()
        for name, value in unwrap(model).clip.state_dict().items()
    }
    towers.load_state_dict(state)
    return towers.eval()
