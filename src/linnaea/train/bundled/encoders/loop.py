"""Training of both encoders of the bundled model: a batch, two losses, one step.

Shape suffixes: b images, u distinct texts, c candidates, n texts, p prototypes, l labels, t tokens, d vector
dimensions.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from linnaea.model.core.tokenizer import Tokenizer, pad
from linnaea.taxonomy.name_text import taxon_text
from linnaea.train.bundled.batches import ClassLabel, FeatureBatch, FeatureSampler, TextSource
from linnaea.train.bundled.encoders.losses import contrastive_loss, vocabulary_loss
from linnaea.train.bundled.encoders.network import ImageProjector, TextTransformer
from linnaea.train.bundled.encoders.optimization import Schedule, clamp_log_scale, split_parameters, take_step
from linnaea.train.bundled.vocabulary_sampling import VocabularySampler

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Schedule):
    """Options of the training of both encoders."""

    steps: int = 2000
    "optimizer steps"
    projector_rate: float = 0.1
    "learning rate of the projector, which is already trained, as a share of that of the text encoder"
    n_prototypes: int = 192
    "labels per batch, drawn evenly, whose prototypes are added to the images"
    vocabulary_weight: float = 1.0
    "weight of the loss over the whole vocabulary; the contrastive loss has 1"
    seed: int = 0
    "seed of every random choice"


class DualEncoder(torch.nn.Module):
    """Image projector, text transformer and the learned logit scale."""

    def __init__(self, projector: ImageProjector, text: TextTransformer, scale: float = 20.0):
        super().__init__()
        self.projector, self.text = projector, text
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale)))


def encode_texts(text: TextTransformer, tokenizer: Tokenizer, texts: list[str], n_groups: int = 4) -> torch.Tensor:
    """Return unit vectors [n, d] of texts, computed in groups of similar length to save padding."""
    ids = tokenizer.ids(texts)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    parts = []
    for group in np.array_split(order, min(n_groups, len(order))):
        tokens_nt, length_n = pad([ids[row] for row in group])
        parts.append(text(torch.from_numpy(tokens_nt), torch.from_numpy(length_n)))
    back = torch.empty(len(ids), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(ids))
    return torch.cat(parts)[back]


@dataclass(frozen=True, kw_only=True)
class Prototypes:
    """Labels and a unit vector [l, d] for each, from `linnaea.train.bundled.encoders.prototypes`."""

    labels: list[ClassLabel]
    vectors_ld: torch.Tensor


def compute_losses(
    model: DualEncoder,
    tokenizer: Tokenizer,
    batch: FeatureBatch,
    prototype_pd: torch.Tensor,
    source: TextSource,
    candidates: VocabularySampler,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the contrastive and the vocabulary loss (nats) of a batch. `prototype_pd` belongs to its last labels."""
    column: dict[str, int] = {}
    distinct = []
    for text in batch.texts:
        if text.text not in column:
            column[text.text] = len(distinct)
            distinct.append(text)
    own_b = torch.tensor([column[text.text] for text in batch.texts])
    true_bu = torch.from_numpy(source.match(batch.labels, distinct))
    true_bu[torch.arange(len(own_b)), own_b] = True
    sample = candidates.draw(batch.labels, rng)
    tree = source.tree
    leaf_texts = [taxon_text(tree.lineage(int(tree.leaf_node_n[leaf])), "taxonomic") for leaf in sample.leaves]
    texts = [text.text for text in distinct] + leaf_texts + sample.refusals
    text_nd = encode_texts(model.text, tokenizer, texts)
    image_bd = torch.cat([model.projector(torch.from_numpy(batch.features_bw)), prototype_pd])
    scale = model.log_scale.exp()
    contrastive = contrastive_loss(image_bd, text_nd[: len(distinct)], scale, own_b, true_bu)
    true_bc = torch.from_numpy(sample.true_bc)
    reached = true_bc.any(1)
    vocabulary = vocabulary_loss(
        image_bd[reached], text_nd[len(distinct) :], scale, torch.from_numpy(sample.log_weight_c), true_bc[reached]
    )
    return contrastive, vocabulary


def train(
    model: DualEncoder,
    tokenizer: Tokenizer,
    sampler: FeatureSampler,
    source: TextSource,
    candidates: VocabularySampler,
    prototypes: Prototypes,
    config: LoopConfig,
    *,
    validate: Callable[[DualEncoder], str] | None = None,
    every: int = 250,
) -> list[tuple[float, float]]:
    """Train the model in place; return the (contrastive, vocabulary) loss of each step.

    `validate` returns text for the log line, which comes after `every` steps. Raises FloatingPointError if a loss is
    not finite.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    optimizer = _make_optimizer(model, config)
    curve, started = [], time.perf_counter()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * group["share"] * config.rate_at(step)
        model.train()
        chosen = rng.integers(len(prototypes.labels), size=config.n_prototypes)
        batch = sampler.draw(rng, [prototypes.labels[row] for row in chosen])
        losses = compute_losses(model, tokenizer, batch, prototypes.vectors_ld[chosen], source, candidates, rng)
        loss = losses[0] + config.vocabulary_weight * losses[1]
        take_step(optimizer, loss, f"step {step}", clipped=model.parameters())
        clamp_log_scale(model.log_scale, config.max_scale)
        curve.append((losses[0].item(), losses[1].item()))
        if (step + 1) % every == 0 or step + 1 == config.steps:
            recent = np.mean(curve[-every:], axis=0)
            line = f"step {step + 1}/{config.steps}  contrastive {recent[0]:.3f}  vocabulary {recent[1]:.3f}"
            line += f"  scale {model.log_scale.exp().item():.1f}  {time.perf_counter() - started:.0f} s"
            model.eval()
            logger.info("%s", line + (f"  {validate(model)}" if validate else ""))
    model.eval()
    return curve


def _make_optimizer(model: DualEncoder, config: LoopConfig) -> torch.optim.AdamW:
    """Make AdamW with groups that have a `share` of the learning rate. Only matrices decay."""
    groups = []
    for part, share in ((model.projector, config.projector_rate), (model.text, 1.0)):
        matrices, others = split_parameters(part)
        groups.append({"params": matrices, "weight_decay": config.weight_decay, "share": share})
        groups.append({"params": others, "weight_decay": 0.0, "share": share})
    groups.append({"params": [model.log_scale], "weight_decay": 0.0, "share": config.projector_rate})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
