"""First training of the image projector: towards one free vector per label, a prototype, instead of a text.

A step takes milliseconds, while one with the text encoder takes half a second. The prototypes then serve as one more
image of each label while the text encoder learns to match them (compare locked-image tuning, Zhai et al. 2022,
arXiv 2111.07991).

Shape suffixes: b images, l labels, d vector dimensions.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, TextSource
from linnaea.train.bundled.encoders.losses import MASKED_LOGIT
from linnaea.train.bundled.encoders.network import ImageProjector
from linnaea.train.bundled.encoders.optimization import Schedule, clamp_log_scale, split_parameters, take_step

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrototypeConfig(Schedule):
    """Options of the training of projector and prototypes."""

    steps: int = 3000
    "optimizer steps"


def mask_relatives(labels: list[ClassLabel], source: TextSource) -> np.ndarray:
    """Return bool [l, l]: labels of other sources above or below the label, which are neither right nor wrong."""
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
) -> tuple[torch.Tensor, float]:
    """Train the projector in place; return unit prototypes [l, d] and the logit scale."""
    rng, generator = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed)
    number = {label: row for row, label in enumerate(labels)}
    dim = projector.linear.out_features
    prototype_ld = torch.nn.Parameter(0.1 * torch.randn(len(labels), dim, generator=generator))
    log_scale = torch.nn.Parameter(torch.tensor(math.log(20.0)))
    matrices, others = split_parameters(projector)
    others = [prototype_ld, log_scale, *others]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    ignored_ll = torch.from_numpy(mask_relatives(labels, source))
    projector.train()
    losses = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.rate_at(step)
        features_bw, drawn = sampler.draw_images(rng)
        label_b = torch.tensor([number[label] for label in drawn])
        image_bd = projector(torch.from_numpy(features_bw))
        logits_bl = log_scale.exp() * image_bd @ F.normalize(prototype_ld, dim=-1).T
        loss = F.cross_entropy(logits_bl.masked_fill(ignored_ll[label_b], MASKED_LOGIT), label_b)
        take_step(optimizer, loss, f"step {step} of the prototypes")
        clamp_log_scale(log_scale, config.max_scale)
        losses.append(loss.item())
        if (step + 1) % 500 == 0 or step + 1 == config.steps:
            scale, mean = log_scale.exp().item(), np.mean(losses[-500:])
            logger.info("prototypes %d/%d  loss %.3f  scale %.1f", step + 1, config.steps, mean, scale)
    projector.eval()
    return F.normalize(prototype_ld.detach(), dim=-1), log_scale.exp().item()
