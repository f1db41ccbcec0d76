"""Losses of a CLIP model: contrastive, sigmoid, levels of the tree, replay and distillation.

All losses are in nats and need linear memory (`linnaea.train.distributed.tiled_similarities`). Row i of the images and
row i of the texts are a pair; every other text of the global batch is a negative. Vectors are unit rows.

Shape suffixes: b images or texts of this rank, l levels, d vector dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from linnaea.train.distributed.tiled_similarities import TILE, expected_cosines, group_means, log_sums, softplus_sums


def info_nce(
    image_bd: torch.Tensor, text_bd: torch.Tensor, scale: torch.Tensor, *, tile: int = TILE, group=None
) -> torch.Tensor:
    """Symmetric InfoNCE (nats) of this rank's images and texts against those of all ranks.

    Radford et al. 2021, fig. 3. Equal to ClipLoss of open_clip with `local_loss` and `gather_with_grad`; the gradient
    of the scale is equal in its mean over ranks.
    """
    image_b, text_b = log_sums(image_bd, text_bd, scale, tile=tile, group=group)
    return (image_b + text_b).mean() / 2 - scale * _mean_cosine(image_bd, text_bd)


def replay_loss(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    replay_image_bd: torch.Tensor,
    replay_text_bd: torch.Tensor,
    scale: torch.Tensor,
    *,
    tile: int = TILE,
    group=None,
) -> torch.Tensor:
    """Unweighted sum of the InfoNCE losses (nats) of organisms and of replayed pairs (Gu et al. 2025).

    The replayed images have a projector of their own; text tower and scale are shared. Pairs of one kind are never
    negatives of the other.
    """
    organisms = info_nce(image_bd, text_bd, scale, tile=tile, group=group)
    return organisms + info_nce(replay_image_bd, replay_text_bd, scale, tile=tile, group=group)


def sigmoid_loss(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    *,
    tile: int = TILE,
    group=None,
) -> torch.Tensor:
    """Sigmoid loss (nats) over all pairs: mean over own images, sum over texts (Zhai et al. 2023, eq. 1)."""
    every_b = softplus_sums(image_bd, text_bd, scale, bias, tile=tile, group=group)
    return every_b.mean() - scale * _mean_cosine(image_bd, text_bd) - bias


@dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """Shares of the target of a pair that its relatives get; the rest stays with the pair."""

    genus: float = 0.0
    "share of the target spread evenly over the batch's pairs of the same genus, 0..1"
    family: float = 0.0
    "share of the target spread evenly over the batch's pairs of the same family, 0..1"

    def __post_init__(self):
        if self.genus < 0 or self.family < 0 or self.genus + self.family > 1:
            raise ValueError(
                f"the shares of genus {self.genus} and family {self.family} must be at least 0 and at most 1 in sum"
            )


def level_loss(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    scale: torch.Tensor,
    groups: Mapping[str, torch.Tensor],
    config: LevelConfig,
    *,
    tile: int = TILE,
    group=None,
) -> torch.Tensor:
    """Symmetric cross-entropy (nats) with relatives as partial positives; InfoNCE if all shares are 0.

    `groups` holds an int64 [b] for "genus" and for "family", equal on all ranks for equal taxa
    (`linnaea.datasets.group_ids.group_ids`). It is negative where unknown; that share then stays with the pair. The
    target of an image is its own text, plus the shares of `config` spread over the texts of its genus and family. The
    target of a text is the same, because images and texts have the same groups. On one rank the value may differ from
    that of a matrix of soft targets, because the two directions share their targets differently; the mean over ranks
    and all gradients are equal.
    """
    image_b, text_b = log_sums(image_bd, text_bd, scale, tile=tile, group=group)
    own = 1 - config.genus - config.family
    target_bd = own * text_bd
    for name, share in (("genus", config.genus), ("family", config.family)):
        if share:
            target_bd = target_bd + share * group_means(text_bd, groups[name], group=group)
    return (image_b + text_b).mean() / 2 - scale * _mean_cosine(image_bd, target_bd)


def distillation_loss(
    image_bd: torch.Tensor,
    text_bd: torch.Tensor,
    scale: torch.Tensor,
    teacher_image_bd: torch.Tensor,
    teacher_text_bd: torch.Tensor,
    teacher_scale: torch.Tensor,
    *,
    tile: int = TILE,
    group=None,
) -> torch.Tensor:
    """Symmetric cross-entropy (nats) between the softmax of a teacher and that of the student.

    It is the Kullback-Leibler divergence plus the entropy of the teacher, which is constant. Equal to the distillation
    part of DistillClipLoss of open_clip, as `info_nce` is to its ClipLoss.
    """
    image_b, text_b = log_sums(image_bd, text_bd, scale, tile=tile, group=group)
    teacher = (teacher_image_bd, teacher_text_bd, teacher_scale)
    image_mean_b, text_mean_b = expected_cosines(image_bd, text_bd, *teacher, tile=tile, group=group)
    return ((image_b + text_b).mean() - scale * (image_mean_b + text_mean_b).mean()) / 2


def teacher_cosine_loss(vector_bd: torch.Tensor, teacher_bd: torch.Tensor) -> torch.Tensor:
    """1 - mean cosine (0..2) between vectors and those of a teacher of the same width."""
    return 1 - F.cosine_similarity(vector_bd.float(), teacher_bd.detach().float(), dim=-1).mean()


def _mean_cosine(image_bd: torch.Tensor, text_bd: torch.Tensor) -> torch.Tensor:
    wide = torch.promote_types(image_bd.dtype, torch.float32)
    with torch.autocast(image_bd.device.type, enabled=False):
        return (image_bd.to(wide) * text_bd.to(wide)).sum(-1).mean()
