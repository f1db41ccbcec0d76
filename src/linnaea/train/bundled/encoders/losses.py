"""The two losses of the bundled model: contrastive over the texts of a batch, and marginal over the whole vocabulary.

Shape suffixes: b images, u distinct texts of the batch, c candidate leaves and refusals, d vector dimensions.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

# The logit of a masked class: its probability is 0, and sums stay finite.
MASKED_LOGIT = -1e9


def contrastive_loss(
    image_bd: torch.Tensor, text_ud: torch.Tensor, scale: torch.Tensor, own_b: torch.Tensor, true_bu: torch.Tensor
) -> torch.Tensor:
    """Symmetric InfoNCE (nats) in which a text that is true of an image is never its negative.

    `own_b` is the column of the text drawn for each image. `true_bu` marks all texts of the batch that are true of it:
    other names of its taxon, and names of the taxa above it. Image to text: the own text against all false texts. Text
    to image: the mean over the images of which it is true (Khosla et al. 2020, eq. 2, arXiv 2004.11362).
    """
    logits_bu = scale * image_bd @ text_ud.T
    own_bu = F.one_hot(own_b, logits_bu.shape[1]).bool()
    image_to_text = F.cross_entropy(logits_bu.masked_fill(true_bu & ~own_bu, MASKED_LOGIT), own_b)
    log_share_bu = logits_bu.log_softmax(dim=0)
    n_true_u = true_bu.sum(0)
    per_text_u = -(log_share_bu * true_bu).sum(0) / n_true_u.clamp(min=1) - n_true_u.clamp(min=1).log()
    return (image_to_text + per_text_u[n_true_u > 0].mean()) / 2


def vocabulary_loss(
    image_bd: torch.Tensor,
    candidate_cd: torch.Tensor,
    scale: torch.Tensor,
    log_weight_c: torch.Tensor,
    true_bc: torch.Tensor,
) -> torch.Tensor:
    """-log probability (nats) of the taxon of each image under a softmax over the whole vocabulary.

    The candidates are a sample of the leaves; `log_weight_c` is the log of the number of leaves for which each stands
    (importance sampling, Bengio & Senécal 2008). The probability of a taxon above species is the sum over its leaves in
    `true_bc`.
    """
    logits_bc = scale * image_bd @ candidate_cd.T + log_weight_c
    inside_b = logits_bc.masked_fill(~true_bc, MASKED_LOGIT).logsumexp(dim=1)
    return (logits_bc.logsumexp(dim=1) - inside_b).mean()
