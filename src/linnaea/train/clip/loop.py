"""The training loop of a CLIP model, on one rank or many.

A step: (1) set the learning rate; (2) compute features, loss and gradients of the pairs of this rank; (3) average the
gradients over ranks; (4) stop the run on all ranks if a loss or the gradient is not finite, before anything changes;
(5) clip the gradients; (6) AdamW; (7) clamp the logit scale; (8) log, write a checkpoint, validate; (9) end the run if
a rank was asked to stop (SIGTERM, Ctrl-C).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from linnaea.train.clip.batches import BatchLoader, StepBatch
from linnaea.train.clip.checkpoints import Checkpoints, find_finished
from linnaea.train.clip.config import ClipConfig
from linnaea.train.clip.objective import Objective, TeacherTowers, backward, check_finite
from linnaea.train.clip.towers import ClipModel
from linnaea.train.clip.training_model import (
    clamp_logit_scale,
    clip_gradients,
    collect_towers,
    make_optimizer,
    open_model,
)
from linnaea.train.distributed.process_group import (
    ProcessGroup,
    average_scalars,
    gradient_norm,
    unwrap,
    wrap_parallel,
)
from linnaea.train.runtime.graceful_stop import StopRequest
from linnaea.train.runtime.metrics_log import MetricsLog
from linnaea.train.runtime.schedule import rate_at

logger = logging.getLogger(__name__)

PARTS = ("loss", "contrast", "replay", "distillation")
Validate = Callable[[ClipModel], dict[str, float]]


def train_clip(
    recipe: ClipConfig,
    work_dir: Path,
    *,
    processes: ProcessGroup | None = None,
    resume: bool = False,
    validate: Validate | None = None,
) -> ClipModel:
    """Train and return the towers in CPU memory, in float32. Everything that a run keeps is in `work_dir`.

    `validate` returns metrics of the towers by name; all ranks call it. `recipe.stop_after` ends the run early with a
    checkpoint. So does SIGTERM or Ctrl-C on any rank, and then KeyboardInterrupt is raised on all ranks. Raises
    FloatingPointError that names the step if a loss or a gradient is not finite.
    """
    processes = processes or ProcessGroup()
    kept = find_finished(work_dir / "checkpoints")
    if not resume and kept:
        raise ValueError(f"{kept[-1].parent} holds {kept[-1].name}; continue with --resume, or choose another --out")
    run = ClipRun(recipe, work_dir, processes, validate)
    run.train(run.resume() if resume else 0)
    return collect_towers(run.model, recipe)


class ClipRun:
    """One rank's model, optimizer, data and checkpoints."""

    def __init__(self, recipe: ClipConfig, work_dir: Path, processes: ProcessGroup, validate: Validate | None):
        self._recipe, self._work_dir, self._processes, self._validate = recipe, work_dir, processes, validate
        self.model = wrap_parallel(open_model(recipe), processes, parallel=recipe.parallel, precision=recipe.precision)
        self._optimizer = make_optimizer(self.model, recipe)
        context = unwrap(self.model).clip.text_config.context
        self._loader = BatchLoader(recipe, processes, context=context, work_dir=work_dir)
        self._objective = Objective(recipe)
        self._teacher = TeacherTowers(recipe.teacher, processes.device) if recipe.teacher else None
        self._checkpoints = Checkpoints(work_dir / "checkpoints", recipe, processes)
        self._log: MetricsLog | None = None

    def resume(self) -> int:
        """Restore the newest checkpoint and return the number of steps taken before it."""
        manifest = self._checkpoints.resume(self.model, self._optimizer)
        if manifest is None:
            logger.info("there is no checkpoint yet; starts at step 0")
            return 0
        self._loader.restore(manifest["streams"])
        logger.info("continues after step %d", manifest["step"])
        return manifest["step"]

    def train(self, done: int) -> None:
        """Train from step `done` to the end, or until a rank is asked to stop."""
        recipe = self._recipe
        end = min(recipe.steps, recipe.stop_after or recipe.steps)
        if self._processes.is_first:
            self._log = MetricsLog(
                self._work_dir,
                done=done,
                steps=recipe.steps,
                log_every=recipe.log_every,
                tensorboard=recipe.tensorboard,
            )
        batches, stop_request = iter(self._loader), StopRequest()
        with ExitStack() as closing:
            # Called from the last to the first. If one fails, the others still run, above all that of checkpoints.
            closing.callback(self._checkpoints.close)
            if self._log:
                closing.callback(self._log.close)
            closing.callback(batches.close)
            closing.callback(stop_request.restore_handlers)
            for step in range(done, end):
                batch = next(batches)
                stop = self._take_step(step, batch, stop=bool(stop_request.signal_name))
                self._finish_step(step + 1, end, batch, stop=stop)
                if stop and step + 1 < end:
                    raise KeyboardInterrupt(f"asked to stop after step {step + 1}")
        self._checkpoints.finish()
        _log_rejects(self._loader, self._processes)

    def _take_step(self, step: int, batch: StepBatch, *, stop: bool) -> bool:
        """Take an optimizer step and log it; return whether any rank was asked to stop."""
        recipe, processes = self._recipe, self._processes
        rate = rate_at(
            step,
            steps=recipe.steps,
            warm_up=recipe.warm_up,
            peak=recipe.learning_rate,
            final_share=recipe.final_rate,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        parts = backward(self.model, batch, self._objective, self._teacher, precision=recipe.precision)
        average_scalars(self.model, processes)
        norm = gradient_norm(self.model.parameters(), processes)
        metrics = _gather_metrics(parts, norm, processes, stop=stop)
        stop = any(metrics.pop("stop"))
        check_finite(step, metrics["loss"], metrics["gradient"][0])
        clip_gradients(self.model, recipe.clip_norm, metrics["gradient"][0])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        scale = clamp_logit_scale(self.model, recipe.max_scale)
        if self._log:
            means = {name: sum(every) / processes.world_size for name, every in metrics.items()}
            means |= {"scale": scale, "learning_rate": rate}
            self._log.add(step + 1, means, recipe.batch + recipe.replay_batch)
        return stop

    def _finish_step(self, done: int, end: int, batch: StepBatch, *, stop: bool) -> None:
        """Write a checkpoint and validate, if either is due after `done` steps."""
        if stop or _is_due(done, self._recipe.checkpoint_every, end):
            self._checkpoints.save(done, self.model, self._optimizer, self._loader.state(batch.positions))
        if self._validate and _is_due(done, self._recipe.validate_every, end):
            self.model.eval()
            with torch.no_grad():
                found = self._validate(unwrap(self.model).clip)
            self.model.train()
            if self._log:
                self._log.add_validation(done, found)


def _is_due(done: int, every: int, end: int) -> bool:
    return done == end or (every > 0 and done % every == 0)


def _gather_metrics(parts: dict, norm: torch.Tensor, processes: ProcessGroup, *, stop: bool) -> dict[str, list[float]]:
    """Return the values of all ranks by name: the terms of the loss, the norm of the gradient, the request to stop."""
    own = {name: parts[name] for name in PARTS if name in parts} | {
        "gradient": norm,
        "stop": norm.new_tensor(float(stop)),
    }
    every = processes.all_gather_numbers(torch.stack(list(own.values())).tolist())
    return dict(zip(own, map(list, zip(*every, strict=True)), strict=True))


def _log_rejects(loader: BatchLoader, processes: ProcessGroup) -> None:
    """Log how many samples were not used, or are odd, and why. Each is listed in `work_dir`/rejects or /notices."""
    for name, stream in loader.loaders.items():
        found = {row for rows in processes.all_gather_object(stream.rejects.rows) for row in rows}
        lost = {(row.part, row.key) for row in found}
        every = (row for rows in processes.all_gather_object(stream.notices.rows) for row in rows)
        odd = {row for row in every if (row.part, row.key) not in lost}
        for rows, what in ((found, "not used"), (odd, "used, but")):
            for reason in sorted({row.reason for row in rows}):
                count = sum(row.reason == reason for row in rows)
                logger.info("%s: %s %s: %s", name, f"{count:,}", what, reason)
