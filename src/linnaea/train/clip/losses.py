"""What a two-tower model is trained for: contrast, sigmoid, levels of the tree, replay and distillation.

All losses are in nats, and all are linear in memory (`linnaea.train.distributed.tiled_similarities`). Row i of images and row i of texts are
a pair; every other text of the global batch is a negative. Vectors are unit rows.

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
    """Symmetric InfoNCE (nats) of this rank's images and texts against those of all ranks (Radford et al. 2021, fig.
    3).

    Equal to open_clip's ClipLoss with `local_loss` and `gather_with_grad`; the scale's gradient is equal in its mean
    over ranks.
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
    """InfoNCE (nats) of organisms plus that of replayed pairs, unweighted (Gu et al. 2025).

    The replayed images come through a projector of their own; text tower and scale are shared. Neither kind ever is a
    negative of the other.
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
    """Sigmoid loss (nats) over all pairs, a mean over own images and a sum over texts (Zhai et al. 2023, eq. 1)."""
    every_b = softplus_sums(image_bd, text_bd, scale, bias, tile=tile, group=group)
    return every_b.mean() - scale * _mean_cosine(image_bd, text_bd) - bias


@dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """How much of a pair's target goes to its relatives; what is left stays with the pair itself."""

    genus: float = 0.0
    "share of the target spread evenly over the batch's pairs of the same genus, 0..1"
    family: float = 0.0
    "share of the target spread evenly over the batch's pairs of the same family, 0..1"

    def __post_init__(self):
        if self.genus < 0 or self.family < 0 or self.genus + self.family > 1:
            raise ValueError(
                f"shares of genus {self.genus} and family {self.family} are not within 0..1 in sum; lower them"
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
    """Symmetric cross-entropy (nats) in which relatives are partial positives; InfoNCE where all shares are 0.

    `groups` gives for "genus" and "family" a number [b] int64 each, the same on all ranks for the same taxon
    (`linnaea.datasets.group_ids.group_ids`), negative where unknown: then that share stays with the pair. The
    target of an image is its own text, plus the shares of `config` over the texts of its genus and family; as groups
    are the same for images and texts, the target of a text is the same. Per rank the value may differ from that of a
    matrix of soft targets by what the two directions exchange; the mean over ranks is equal, and so are all gradients.
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
    """Symmetric cross-entropy (nats) of the student's softmax under the teacher's, over images and over texts.

    It is the Kullback-Leibler divergence plus the teacher's entropy, which no student changes; equal to the distilling
    part of open_clip's DistillClipLoss, as `info_nce` is to its ClipLoss.
    """
    image_b, text_b = log_sums(image_bd, text_bd, scale, tile=tile, group=group)
    teacher = (teacher_image_bd, teacher_text_bd, teacher_scale)
    image_mean_b, text_mean_b = expected_cosines(image_bd, text_bd, *teacher, tile=tile, group=group)
    return ((image_b + text_b).mean() - scale * (image_mean_b + text_mean_b).mean()) / 2


def teacher_cosine_loss(vector_bd: torch.Tensor, teacher_bd: torch.Tensor) -> torch.Tensor:
    """1 - mean cosine (0..2) between vectors and a teacher's of the same width."""
    return 1 - F.cosine_similarity(vector_bd.float(), teacher_bd.detach().float(), dim=-1).mean()


def _mean_cosine(image_bd: torch.Tensor, text_bd: torch.Tensor) -> torch.Tensor:
    wide = torch.promote_types(image_bd.dtype, torch.float32)
    with torch.autocast(image_bd.device.type, enabled=False):
        return (image_bd.to(wide) * text_bd.to(wide)).sum(-1).mean()
