"""The projector's last training, on the trunk as it is now, towards texts that stay as they are.

The text tower learnt its texts on another trunk's features; with them fixed, a step costs no more than with prototypes, and the
whole vocabulary can be on the other side: every labelled species, every refusal and a large weighted sample of the rest, whose
vectors are computed once for many steps (compare locked-image tuning the other way round, Zhai et al. 2022, arXiv 2111.07991).

Shape suffixes: b images, l labels, c candidates, d vector dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from linnaea.model.core.tokenizer import Tokenizer
from linnaea.records import RANK_INDEX
from linnaea.taxonomy.name_text import taxon_text
from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, TextSource, VocabularySampler, refusal_text
from linnaea.train.bundled.loop import DualEncoder, encode_texts
from linnaea.train.bundled.losses import MASKED_LOGIT, vocabulary_loss
from linnaea.train.bundled.prototypes import Schedule, mask_relatives, rate_at


@dataclass(frozen=True, kw_only=True)
class ProjectorTuningConfig(Schedule):
    """The optimisation of the projector towards fixed texts."""

    steps: int = 2500
    "optimizer steps"
    vocabulary_weight: float = 1.0
    "weight of the loss over the whole vocabulary, beside 1 for the labels' own texts"
    n_unknown: int = 4096
    "unlabelled species that stand for the rest of the vocabulary"
    redraw: int = 250
    "steps after which others do"
    n_views: int = 2
    "views of each photograph, the plain one included"
    n_refused_views: int = 16
    "views of each photograph of no organism"


def own_texts(label: ClassLabel, tree, n_with_node: int) -> list[str]:
    """How a label is written among labels: its names, and its taxonomic name where it is its source's only one of a species."""
    if label.node < 0:
        return [refusal_text(label.names[0]), *label.names]
    one_species = tree.rank_k[label.node] == RANK_INDEX["species"] and n_with_node == 1
    taxonomic = [taxon_text(tree.lineage(label.node), "taxonomic")] if one_species or not label.names else []
    return [*taxonomic, *label.names]


@torch.no_grad()
def _encode(model: DualEncoder, tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    parts = [texts[start : start + 1024] for start in range(0, len(texts), 1024)]
    return torch.cat([encode_texts(model.text, tokenizer, part) for part in parts])


def label_vectors(model: DualEncoder, tokenizer: Tokenizer, labels: list[ClassLabel], tree) -> torch.Tensor:
    """Unit vectors [l, d]: the mean of the vectors of each label's own texts."""
    with_node: dict[tuple[str, int], int] = {}
    for label in labels:
        with_node[label.source, label.node] = with_node.get((label.source, label.node), 0) + 1
    texts = [own_texts(label, tree, with_node[label.source, label.node]) for label in labels]
    flat_nd = _encode(model, tokenizer, [text for own in texts for text in own])
    row_n = torch.repeat_interleave(torch.tensor([len(own) for own in texts]))
    sums_ld = torch.zeros(len(labels), flat_nd.shape[1]).index_add_(0, row_n, flat_nd)
    return F.normalize(sums_ld, dim=-1)


def tune_projector(
    model: DualEncoder,
    tokenizer: Tokenizer,
    sampler: FeatureSampler,
    source: TextSource,
    labels: list[ClassLabel],
    excluded: np.ndarray,
    config: ProjectorTuningConfig,
    *,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> list[tuple[float, float]]:
    """Trains `model.projector` and the logit scale in place; returns the loss (own texts, vocabulary) of each step in nats.

    `never` are leaves that may not be drawn.
    """
    rng, tree = np.random.default_rng([seed, 2]), source.tree
    number = {label: row for row, label in enumerate(labels)}
    model.eval()
    own_ld = label_vectors(model, tokenizer, labels, tree)
    ignored_ll = torch.from_numpy(mask_relatives(labels, source))
    candidates = VocabularySampler(
        tree, labels, excluded=excluded, n_known=len(labels), n_unknown=config.n_unknown, n_refusals=len(labels)
    )
    matrices = [p for p in model.projector.parameters() if p.ndim > 1]
    others = [model.log_scale] + [p for p in model.projector.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    model.projector.train()
    curve = []
    for step in range(config.steps):
        if step % config.redraw == 0:
            sample = candidates.draw(labels, rng)
            leaves = [taxon_text(tree.lineage(int(tree.leaf_node_n[leaf])), "taxonomic") for leaf in sample.leaves]
            candidate_cd = _encode(model, tokenizer, leaves + sample.refusals)
            log_weight_c, true_lc = torch.from_numpy(sample.log_weight_c), torch.from_numpy(sample.true_bc)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_at(step, config.steps, config.warm_up)
        features_bw, drawn = sampler.draw_images(rng)
        label_b = torch.tensor([number[label] for label in drawn])
        image_bd, scale = model.projector(torch.from_numpy(features_bw)), model.log_scale.exp()
        own = F.cross_entropy((scale * image_bd @ own_ld.T).masked_fill(ignored_ll[label_b], MASKED_LOGIT), label_b)
        true_bc = true_lc[label_b]
        reached = true_bc.any(1)
        vocabulary = vocabulary_loss(image_bd[reached], candidate_cd, scale, log_weight_c, true_bc[reached])
        loss = own + config.vocabulary_weight * vocabulary
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step} of settling; nothing was changed by it")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.log_scale.clamp_(max=math.log(config.max_scale))
        curve.append((own.item(), vocabulary.item()))
        if (step + 1) % 500 == 0 or step + 1 == config.steps:
            recent = np.mean(curve[-500:], axis=0)
            line = f"settling {step + 1}/{config.steps}  own texts {recent[0]:.3f}  vocabulary {recent[1]:.3f}"
            report(f"{line}  scale {model.log_scale.exp().item():.1f}")
    model.projector.eval()
    return curve
