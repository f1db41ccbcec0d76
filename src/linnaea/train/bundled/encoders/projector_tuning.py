"""Last training of the projector: on the fine-tuned trunk, towards fixed texts.

The text encoder has learned its texts on the features of another trunk. With fixed texts a step is as cheap as with
prototypes, and the whole vocabulary can be on the other side: every labelled species, every refusal and a large
weighted sample of the rest, whose vectors are computed once for many steps (the reverse of locked-image tuning, Zhai et
al. 2022, arXiv 2111.07991).

Shape suffixes: b images, l labels, c candidates, n texts, d vector dimensions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from linnaea.model.core.tokenizer import Tokenizer
from linnaea.records import RANK_INDEX
from linnaea.taxonomy.name_text import taxon_text
from linnaea.train.bundled.batches import ClassLabel, FeatureSampler, TextSource, refusal_text
from linnaea.train.bundled.encoders.loop import DualEncoder, encode_texts
from linnaea.train.bundled.encoders.losses import MASKED_LOGIT, vocabulary_loss
from linnaea.train.bundled.encoders.optimization import Schedule, clamp_log_scale, split_parameters, take_step
from linnaea.train.bundled.encoders.prototypes import mask_relatives
from linnaea.train.bundled.vocabulary_sampling import VocabularySampler

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProjectorTuningConfig(Schedule):
    """Options of the training of the projector towards fixed texts."""

    steps: int = 2500
    "optimizer steps"
    vocabulary_weight: float = 1.0
    "weight of the loss over the whole vocabulary; the loss over the labels' own texts has 1"
    n_unknown: int = 4096
    "unlabelled species that represent the rest of the vocabulary"
    redraw: int = 250
    "steps after which other unlabelled species are drawn"
    n_views: int = 2
    "views of each photograph, including the plain one"
    n_refused_views: int = 16
    "views of each photograph of no organism"


def list_own_texts(label: ClassLabel, tree, n_with_node: int) -> list[str]:
    """Return the texts of a label: its names, and the taxonomic name if it is its source's only label of a species."""
    if label.node < 0:
        return [refusal_text(label.names[0]), *label.names]
    one_species = tree.rank_k[label.node] == RANK_INDEX["species"] and n_with_node == 1
    taxonomic = [taxon_text(tree.lineage(label.node), "taxonomic")] if one_species or not label.names else []
    return [*taxonomic, *label.names]


@torch.no_grad()
def _encode(model: DualEncoder, tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    parts = [texts[start : start + 1024] for start in range(0, len(texts), 1024)]
    return torch.cat([encode_texts(model.text, tokenizer, part) for part in parts])


def encode_labels(model: DualEncoder, tokenizer: Tokenizer, labels: list[ClassLabel], tree) -> torch.Tensor:
    """Return unit vectors [l, d]: the mean of the vectors of each label's texts."""
    with_node: dict[tuple[str, int], int] = {}
    for label in labels:
        with_node[label.source, label.node] = with_node.get((label.source, label.node), 0) + 1
    texts = [list_own_texts(label, tree, with_node[label.source, label.node]) for label in labels]
    flat_nd = _encode(model, tokenizer, [text for own in texts for text in own])
    row_n = torch.repeat_interleave(torch.tensor([len(own) for own in texts]))
    sums_ld = torch.zeros(len(labels), flat_nd.shape[1]).index_add_(0, row_n, flat_nd)
    return F.normalize(sums_ld, dim=-1)


@dataclass(frozen=True, kw_only=True)
class FixedTexts:
    """The encoded texts of labels, with the relatives of each label; and the sampler of further candidates."""

    own_ld: torch.Tensor
    ignored_ll: torch.Tensor
    candidates: VocabularySampler


@dataclass(frozen=True, kw_only=True)
class _EncodedSample:
    """Encoded candidates, the log of how many each stands for, and which are true of each label."""

    vectors_cd: torch.Tensor
    log_weight_c: torch.Tensor
    true_lc: torch.Tensor


def _draw_sample(model: DualEncoder, tokenizer: Tokenizer, candidates, tree, labels, rng) -> _EncodedSample:
    sample = candidates.draw(labels, rng)
    leaves = [taxon_text(tree.lineage(int(tree.leaf_node_n[leaf])), "taxonomic") for leaf in sample.leaves]
    return _EncodedSample(
        vectors_cd=_encode(model, tokenizer, leaves + sample.refusals),
        log_weight_c=torch.from_numpy(sample.log_weight_c),
        true_lc=torch.from_numpy(sample.true_bc),
    )


def _compute_losses(
    image_bd: torch.Tensor, scale: torch.Tensor, label_b: torch.Tensor, texts: FixedTexts, sample: _EncodedSample
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss (nats) over the own texts of labels and that over the vocabulary."""
    logits_bl = (scale * image_bd @ texts.own_ld.T).masked_fill(texts.ignored_ll[label_b], MASKED_LOGIT)
    own = F.cross_entropy(logits_bl, label_b)
    true_bc = sample.true_lc[label_b]
    reached = true_bc.any(1)
    return own, vocabulary_loss(image_bd[reached], sample.vectors_cd, scale, sample.log_weight_c, true_bc[reached])


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
) -> list[tuple[float, float]]:
    """Train `model.projector` and the logit scale in place; return the losses of each step (own texts, vocabulary).

    Losses are in nats. Leaves in `excluded` are never drawn. Raises FloatingPointError if a loss is not finite.
    """
    rng, tree = np.random.default_rng([seed, 2]), source.tree
    number = {label: row for row, label in enumerate(labels)}
    model.eval()
    texts = FixedTexts(
        own_ld=encode_labels(model, tokenizer, labels, tree),
        ignored_ll=torch.from_numpy(mask_relatives(labels, source)),
        candidates=VocabularySampler(
            tree, labels, excluded=excluded, n_known=len(labels), n_unknown=config.n_unknown, n_refusals=len(labels)
        ),
    )
    matrices, others = split_parameters(model.projector)
    others = [model.log_scale, *others]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    model.projector.train()
    curve = []
    for step in range(config.steps):
        if step % config.redraw == 0:
            sample = _draw_sample(model, tokenizer, texts.candidates, tree, labels, rng)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * config.rate_at(step)
        features_bw, drawn = sampler.draw_images(rng)
        label_b = torch.tensor([number[label] for label in drawn])
        image_bd, scale = model.projector(torch.from_numpy(features_bw)), model.log_scale.exp()
        own, vocabulary = _compute_losses(image_bd, scale, label_b, texts, sample)
        take_step(optimizer, own + config.vocabulary_weight * vocabulary, f"step {step} of the projector's tuning")
        clamp_log_scale(model.log_scale, config.max_scale)
        curve.append((own.item(), vocabulary.item()))
        if (step + 1) % 500 == 0 or step + 1 == config.steps:
            means = np.mean(curve[-500:], axis=0)
            line = f"projector {step + 1}/{config.steps}  own texts {means[0]:.3f}  vocabulary {means[1]:.3f}"
            logger.info("%s  scale %.1f", line, model.log_scale.exp().item())
    model.projector.eval()
    return curve
