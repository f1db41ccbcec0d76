"""Fine-tuning of the trunk on labelled photographs, without forgetting what it knew.

A projector and one free vector per label are above the trunk, as in `linnaea.train.bundled.encoders.prototypes`; both
are thrown away afterwards. Beside naming there are two kinds of teachers. The answers of the original trunk are kept
(learning without forgetting, Li & Hoiem 2016, arXiv 1606.09282), so that its class rows still mean the same classes.
Classifiers of species that are not in the pack are distilled (Hinton et al. 2015, arXiv 1503.02531). The head is
trained first, then the later parts of the trunk on small crops, and at last on crops of the final size (Touvron et al.
2019, arXiv 1906.06423). The result is the moving average of the weights.

Shape suffixes: b batch, c channels, h w pixels, d features, l labels, k classes of a teacher.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from linnaea.store import atomic_path
from linnaea.train.bundled.encoders.losses import MASKED_LOGIT
from linnaea.train.bundled.encoders.network import ImageProjector
from linnaea.train.bundled.encoders.optimization import clamp_log_scale, share_at
from linnaea.train.bundled.trunk.config import FinetuneConfig
from linnaea.train.bundled.trunk.crops import CropLoader
from linnaea.train.bundled.trunk.network import FoldedConv, Trunk
from linnaea.train.bundled.trunk.targets import FinetuneTask, Targets

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 120.0
MAX_SCALE = 60.0
# A bias moves a whole channel, so that it gets a third of the rate.
BIAS_SHARE = 0.3


class Head(torch.nn.Module):
    """Projector, one vector per label, the logit scale, and a linear layer for each teacher."""

    def __init__(self, n_features: int, n_labels: int, teacher_sizes: Sequence[int], *, dim: int, hidden: int):
        super().__init__()
        self.projector = ImageProjector(n_features, dim, hidden, 0.0)
        self.prototypes = torch.nn.Parameter(0.1 * torch.randn(n_labels, dim))
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(20.0)))
        self.taught = torch.nn.ModuleList(torch.nn.Linear(n_features, size) for size in teacher_sizes)

    def logits(self, features_bd: torch.Tensor) -> torch.Tensor:
        """Return the logits [b, l] of features for all labels."""
        return self.log_scale.exp() * self.projector(features_bd) @ F.normalize(self.prototypes, dim=-1).T


def distillation_divergence(student_bk: torch.Tensor, teacher_bk: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean divergence (nats, times the squared temperature) of the student's answers from those of the teacher."""
    teacher = F.log_softmax(teacher_bk / temperature, dim=-1)
    student = F.log_softmax(student_bk / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, log_target=True, reduction="batchmean")


class StepPlan:
    """Crop size and first trained part of each step; `n_head` steps at the start train only the head."""

    def __init__(self, config: FinetuneConfig, n_parts: int):
        self.sizes: list[int] = []
        self.firsts: list[int] = []
        for stage in config.stages:
            n_steps = math.ceil(stage.images / config.batch)
            self.sizes += [stage.size] * n_steps
            self.firsts += [stage.first] * n_steps
        self.n_head = sum(first >= n_parts for first in self.firsts)
        self._warm_up = config.warm_up

    def find_rates(self, step: int) -> tuple[float, float]:
        """Return the learning rates of the trunk and of the head at a step, as shares of their peaks."""
        past, n = step - self.n_head, len(self.sizes) - self.n_head
        trunk = share_at(past, n, self._warm_up) if past >= 0 else 0.0
        head = trunk if past >= self._warm_up else min(1.0, (step + 1) / self._warm_up)
        return trunk, head


class MovingAverage:
    """The exponential moving average of the weights of a trunk."""

    def __init__(self, trunk: Trunk, decay: float):
        self.trunk = copy.deepcopy(trunk).requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, trunk: Trunk, first: int, n_updates: int) -> None:
        """Move the average of the parts from `first` on towards their weights. It moves faster in the first updates."""
        share = 1 - min(self._decay, (1 + n_updates) / (10 + n_updates))
        for part in range(first, len(trunk.parts)):
            pairs = zip(self.trunk.parts[part].parameters(), trunk.parts[part].parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, share)


def make_optimizer(trunk: Trunk, head: Head, config: FinetuneConfig) -> torch.optim.AdamW:
    """Make AdamW with a peak rate for each group. Those of the trunk depend on the present size of its weights."""
    groups = []
    for depth, part in enumerate(reversed(trunk.parts)):
        for parameter in part.parameters():
            scale = parameter.detach().pow(2).mean().sqrt().item()
            share = config.part_decay**depth * scale * (1.0 if parameter.ndim > 1 else BIAS_SHARE)
            group = {"params": [parameter], "peak": config.trunk_rate * share, "trunk": True, "weight_decay": 0.0}
            groups.append(group)
    matrices = [p for p in head.parameters() if p.ndim > 1 and p is not head.prototypes]
    others = [p for p in head.parameters() if p.ndim <= 1 or p is head.prototypes]
    for parameters, decay in ((matrices, 0.05), (others, 0.0)):
        groups.append({"params": parameters, "peak": config.head_rate, "trunk": False, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99))


class FinetuneModel:
    """Trunk, head and the original trunk, with the losses of a batch."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], task: FinetuneTask, config: FinetuneConfig, *, dim: int, hidden: int
    ):
        self.config, self.targets = config, Targets(task, weights)
        self.trunk = Trunk(weights).to(memory_format=torch.channels_last)
        # In bfloat16 the gradient of a 5 x 5 filter costs more than the rest of its block; these filters are not
        # trained.
        self._fixed = {
            id(m.weight) for m in self.trunk.modules() if isinstance(m, FoldedConv) and m.kernel_size == (5, 5)
        }
        kept = weights if task.original is None else task.original
        self.original = Trunk(kept).to(memory_format=torch.channels_last).requires_grad_(False)
        sizes = [logits_nk.shape[1] for _, logits_nk in self.targets.teachers]
        n_features = self.targets.rows_kd.shape[1]
        self.head = Head(n_features, self.targets.n_labels, sizes, dim=dim, hidden=hidden)

    def freeze_before(self, first: int) -> None:
        """Train the parts of the trunk from `first` on, except fixed filters, and no earlier part."""
        for number, part in enumerate(self.trunk.parts):
            for parameter in part.parameters():
                parameter.requires_grad_(number >= first and id(parameter) not in self._fixed)

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters that are trained now."""
        return [p for p in (*self.trunk.parameters(), *self.head.parameters()) if p.requires_grad]

    @torch.no_grad()
    def standardise(self, pixels_bchw: torch.Tensor) -> None:
        """Set the standardisation of the head from the features of a batch."""
        with torch.autocast("cpu", torch.bfloat16):
            features_bd = self.trunk(pixels_bchw)
        self.head.projector.mean.copy_(features_bd.mean(0))
        self.head.projector.std.copy_(features_bd.std(0) + 0.1)

    def losses(self, rows_b: np.ndarray, pixels_bchw: torch.Tensor, first: int) -> dict[str, torch.Tensor]:
        """Return the weighted losses (nats) of a batch by name: names, own, keep, teach."""
        config, targets, rows = self.config, self.targets, torch.from_numpy(rows_b)
        usual = targets.usual_n[rows]
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                # a few images at a time stay in the processor cache
                early = torch.cat([self.trunk.early(part, first) for part in pixels_bchw.split(8)])
                before_bd = self.original.late(early[usual], first) if first < len(self.trunk.parts) else None
            features_bd = self.trunk.late(early, first)
        label_b = targets.label_n[rows]
        logits_bl = self.head.logits(features_bd)
        among_all = logits_bl.masked_fill(targets.ignored_ll[label_b], MASKED_LOGIT)
        among_own = logits_bl.masked_fill(targets.elsewhere_ll[label_b], MASKED_LOGIT)
        losses = {
            "names": F.cross_entropy(among_all, label_b),
            "own": config.within_set * F.cross_entropy(among_own, label_b),
        }
        if before_bd is not None and len(before_bd):
            answers = [x @ targets.rows_kd.T + targets.bias_k for x in (features_bd[usual], before_bd)]
            divergence = distillation_divergence(*answers, config.temperature)
            losses["keep"] = config.keep * len(before_bd) / len(rows) * divergence
        return losses | self._teacher_losses(rows, features_bd)

    def _teacher_losses(self, rows: torch.Tensor, features_bd: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss of all teachers, if one has answered a photograph of the batch."""
        config, losses = self.config, {}
        for layer, (place_n, logits_nk) in zip(self.head.taught, self.targets.teachers, strict=True):
            place = place_n[rows]
            chosen = place >= 0
            if chosen.any():
                answers = layer(features_bd[chosen]), logits_nk[place[chosen]]
                own = distillation_divergence(*answers, config.temperature)
                losses["teach"] = losses.get("teach", 0.0) + config.teach * chosen.float().mean() * own
        return losses


class Finetuning:
    """One round of fine-tuning: the model, its moving average, the optimizer and the step.

    Each batch is shared among `n_workers` threads of one core each; on a busy machine two of them wait less than one
    thread of two cores. `dim` and `hidden` are the sizes of the head.
    """

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        task: FinetuneTask,
        config: FinetuneConfig,
        *,
        dim: int,
        hidden: int,
        seed: int = 0,
        n_workers: int = 2,
    ):
        torch.manual_seed(seed)
        self._weights, self.step = weights, 0
        self.model = FinetuneModel(weights, task, config, dim=dim, hidden=hidden)
        self.average = MovingAverage(self.model.trunk, config.average)
        self.optimizer = make_optimizer(self.model.trunk, self.model.head, config)
        self.plan = StepPlan(config, len(self.model.trunk.parts))
        self._workers = ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,))
        self._n_workers = n_workers

    def advance(self, rows_b: np.ndarray, pixels_bchw: torch.Tensor) -> dict[str, float]:
        """Take an optimizer step and return the losses by name.

        Raises FloatingPointError before anything changes if the losses are not finite.
        """
        model, first = self.model, self.plan.firsts[self.step]
        trunk_rate, head_rate = self.plan.find_rates(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (trunk_rate if group["trunk"] else head_rate)
        model.freeze_before(first)
        if self.step == 0:
            model.standardise(pixels_bchw)
        trained = model.trained
        losses, gradients = self._differentiate(rows_b, pixels_bchw, first, trained)
        if not math.isfinite(sum(losses.values())):
            raise FloatingPointError(
                f"the losses are {losses} at step {self.step} of the trunk; this step has changed nothing"
            )
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(model.head.parameters(), 1.0)
        self.optimizer.step()
        clamp_log_scale(model.head.log_scale, MAX_SCALE)
        if first < len(model.trunk.parts):
            self.average.update(model.trunk, first, self.step - self.plan.n_head)
        self.step += 1
        return losses

    def _differentiate(
        self, rows_b: np.ndarray, pixels_bchw: torch.Tensor, first: int, trained: list[torch.nn.Parameter]
    ) -> tuple[dict[str, float], list[torch.Tensor | None]]:
        """Return the losses of a batch by name, and the gradient of each trained parameter."""
        parts = np.array_split(np.arange(len(rows_b)), self._n_workers)
        jobs = [self._workers.submit(self._gradients, rows_b[i], pixels_bchw[i], first, trained) for i in parts]
        done = [job.result() for job in jobs]
        shares = [len(i) / len(rows_b) for i in parts]
        names = dict.fromkeys(name for losses, _ in done for name in losses)
        losses = {
            name: sum(share * own.get(name, 0.0) for share, (own, _) in zip(shares, done, strict=True))
            for name in names
        }
        gradients = []
        for number in range(len(trained)):
            found = [
                share * gradient[number]
                for share, (_, gradient) in zip(shares, done, strict=True)
                if gradient[number] is not None
            ]
            gradients.append(sum(found[1:], found[0]) if found else None)
        return losses, gradients

    def _gradients(self, rows_b, pixels_bchw, first: int, trained) -> tuple[dict[str, float], tuple]:
        """Return the losses of a part of a batch by name, and the gradients of their sum."""
        losses = self.model.losses(rows_b, pixels_bchw, first)
        found = torch.autograd.grad(sum(losses.values()), trained, allow_unused=True)
        return {name: loss.item() for name, loss in losses.items()}, found

    def weights(self) -> dict[str, np.ndarray]:
        """Return the averaged trunk under the names of the published state dict."""
        return self.average.trunk.published_weights(self._weights)

    @property
    def _saved_parts(self) -> dict:
        """The parts of the state by their names in a saved file."""
        model = self.model
        return {"trunk": model.trunk, "mean": self.average.trunk, "head": model.head, "optimizer": self.optimizer}

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs. An older file stays until the new one is complete."""
        parts = {name: part.state_dict() for name, part in self._saved_parts.items()}
        with atomic_path(path) as temporary:
            torch.save({**parts, "step": self.step, "random": torch.get_rng_state()}, temporary)

    def load(self, path: Path) -> None:
        """Continue a saved run."""
        state = torch.load(path, weights_only=True)
        for name, part in self._saved_parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"])
        self.step = state["step"]


def run_finetuning(run: Finetuning, crops: CropLoader, saved_path: Path, *, every: int = 50) -> dict[str, np.ndarray]:
    """Train to the end and return the averaged weights. The run is saved every few minutes, and continued if saved."""
    if saved_path.exists():
        run.load(saved_path)
        logger.info("the trunk's training continues at step %d", run.step)
    recent: list[dict[str, float]] = []
    sizes = run.plan.sizes
    n, started, last_saved = len(sizes), time.perf_counter(), time.perf_counter()
    begun_at = run.step
    for batch in crops.batches(run.step, sizes):
        recent.append(run.advance(*batch))
        if run.step % every == 0 or run.step == n:
            names = dict.fromkeys(name for losses in recent for name in losses)
            means = "  ".join(f"{name} {np.mean([x.get(name, 0.0) for x in recent]):.3f}" for name in names)
            pace = (time.perf_counter() - started) / (run.step - begun_at)
            size = sizes[run.step - 1]
            logger.info("trunk %d/%d at %d pixels  %s  %.2f s per step", run.step, n, size, means, pace)
            recent.clear()
        if time.perf_counter() - last_saved > SAVE_EVERY_S:
            run.save(saved_path)
            last_saved = time.perf_counter()
    return run.weights()
