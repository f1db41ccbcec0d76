"""The image projector's first training: against one free vector a label instead of the text tower.

A step costs milliseconds where the text tower costs half a second, and the projector arrives where the names would bring it. The
vectors, prototypes, then serve as one more image of each label while the text tower learns to say them (compare locked-image
tuning, Zhai et al. 2022, arXiv 2111.07991).

Shape suffixes: b images, l labels, d vector dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, TextSource
from linnaea.train.bundled.losses import MASKED_LOGIT
from linnaea.train.bundled.towers import ImageProjector


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every optimisation here has: a cosine learning rate, weight decay, and a bound on the logit scale."""

    steps: int
    "optimizer steps"
    learning_rate: float = 2e-3
    "peak of a cosine after a linear warm-up"
    warm_up: int = 100
    "steps of the warm-up"
    weight_decay: float = 0.05
    "AdamW's, on matrices only"
    max_scale: float = 60.0
    "the learned logit scale is held below this"


@dataclass(frozen=True, kw_only=True)
class PrototypeConfig(Schedule):
    """The optimisation of projector and prototypes."""

    steps: int = 3000
    "optimizer steps"


def rate_at(step: int, steps: int, warm_up: int) -> float:
    """The learning rate at a step as a share of its peak: linear up, then a cosine down to a fiftieth."""
    progress = max(0, step - warm_up) / max(1, steps - warm_up)
    return min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def mask_relatives(labels: list[ClassLabel], source: TextSource) -> np.ndarray:
    """bool [l, l]: labels of other sources whose taxon contains the label's, or lies in it: neither right nor wrong."""
    node_l = np.array([label.node for label in labels])
    contains = source.contains(node_l[None, :], node_l[:, None])
    names = {name: number for number, name in enumerate({label.source for label in labels})}
    source_l = np.array([names[label.source] for label in labels])
    return (contains | contains.T) & (source_l[:, None] != source_l[None, :])


def fit_prototypes(
    projector: ImageProjector,
    sampler: FeatureSampler,
    source: TextSource,
    labels: list[ClassLabel],
    config: PrototypeConfig,
    *,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> tuple[torch.Tensor, float]:
    """Trains the projector in place; returns unit prototypes [l, d] and the logit scale."""
    rng, generator = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed)
    number = {label: row for row, label in enumerate(labels)}
    dim = projector.linear.out_features
    prototype_ld = torch.nn.Parameter(0.1 * torch.randn(len(labels), dim, generator=generator))
    log_scale = torch.nn.Parameter(torch.tensor(math.log(20.0)))
    matrices = [p for p in projector.parameters() if p.ndim > 1]
    others = [prototype_ld, log_scale] + [p for p in projector.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    ignored_ll = torch.from_numpy(mask_relatives(labels, source))
    projector.train()
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_at(step, config.steps, config.warm_up)
        features_bw, drawn = sampler.draw_images(rng)
        label_b = torch.tensor([number[label] for label in drawn])
        image_bd = projector(torch.from_numpy(features_bw))
        logits_bl = log_scale.exp() * image_bd @ F.normalize(prototype_ld, dim=-1).T
        loss = F.cross_entropy(logits_bl.masked_fill(ignored_ll[label_b], MASKED_LOGIT), label_b)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {step} of the prototypes; nothing was changed by it"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            log_scale.clamp_(max=math.log(config.max_scale))
        losses.append(loss.item())
        if (step + 1) % 500 == 0 or step + 1 == config.steps:
            scale = log_scale.exp().item()
            report(f"prototypes {step + 1}/{config.steps}  loss {np.mean(losses[-500:]):.3f}  scale {scale:.1f}")
    projector.eval()
    return F.normalize(prototype_ld.detach(), dim=-1), log_scale.exp().item()
