"""The cost of a recipe on some processors: operations, memory, steps and time."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from linnaea.model.formats.open_clip_config import read_config
from linnaea.train.clip.config import ClipConfig, SamplesConfig
from linnaea.train.clip.input_checks import read_teacher
from linnaea.train.clip.planning.accelerators import CPU, USUAL_GPU, Accelerator, find_accelerator
from linnaea.train.clip.planning.cost_model import (
    Sequences,
    StepFlops,
    StepShape,
    count_memory_bytes,
    count_parameters,
    count_step_flops,
)

N_TEXTS = 4096
# AdamW reads weight, gradient and both moments, and writes all but the gradient.
BYTES_OF_ADAMW = 28
# The rest of the memory is left to the allocator and the libraries.
USABLE_MEMORY = 0.94


def draw_texts(samples: SamplesConfig, n: int, seed: int = 0) -> list[str]:
    """Draw `n` species of the default vocabulary evenly, and return their texts as in training."""
    from linnaea.taxonomy.name_text import taxon_text
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    vocabulary, rng = load_vocabulary(), random.Random(seed)
    taxa = [
        vocabulary.taxon(int(vocabulary.tree.leaf_node_n[rng.randrange(vocabulary.tree.n_leaves)])) for _ in range(n)
    ]
    return [samples.template.format(taxon_text(taxon, rng.choice(samples.types))) for taxon in taxa]


def measure_text_lengths(samples: SamplesConfig, context: int, n: int = N_TEXTS) -> list[int]:
    """Return the numbers of tokens of `n` drawn texts, with the start and end tokens."""
    from linnaea.model.core.tokenizer import ClipTokenizer

    return [len(ids) for ids in ClipTokenizer(context).ids(draw_texts(samples, n))]


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a recipe costs on some processors. `flops` are those of one rank and step."""

    recipe: ClipConfig
    shape: StepShape
    flops: StepFlops
    kind_name: str
    kind: Accelerator
    utilisation: float
    mean_length: float

    @property
    def step_s(self) -> float:
        """Seconds per step."""
        parameters = sum(count_parameters(self.shape.vision, self.shape.text, replay=self.recipe.has_replay).values())
        adamw_s = BYTES_OF_ADAMW * parameters / self.kind.bandwidth
        return self.flops.computed / (self.utilisation * self.kind.peak) + adamw_s

    @property
    def run_s(self) -> float:
        """Seconds of the whole run."""
        return self.recipe.steps * self.step_s


def plan_run(
    recipe: ClipConfig,
    *,
    gpus: int = 1,
    gpu_kind: str = USUAL_GPU,
    utilisation: float = 0.0,
    lengths: Sequence[int] = (),
) -> TrainingPlan:
    """Plan a recipe on `gpus` processors of a kind.

    `lengths` are the numbers of tokens of typical texts; without them texts of random species are measured. Every text
    counts as distinct, and a replayed text is as long as the context: both are upper bounds.
    """
    if gpus < 1:
        raise ValueError(f"gpus {gpus} is below 1; give at least 1")
    if gpu_kind == CPU and gpus > 1:
        raise ValueError(
            f"gpu-kind cpu means only this machine, but gpus is {gpus}; leave --gpus at 1, or give a kind of GPU"
        )
    if not 0 <= utilisation <= 1:
        raise ValueError(f"utilisation {utilisation} must be within 0..1; 0.45 is usual")
    towers = read_config(recipe.towers)
    for name in ("batch", "replay_batch"):
        if getattr(recipe, name) % gpus:
            raise ValueError(f"{name} {getattr(recipe, name)} must be a multiple of {gpus} gpus; change one of the two")
    lengths = lengths or measure_text_lengths(recipe.organisms, towers.text.context)
    pairs, replayed = recipe.batch // gpus, recipe.replay_batch // gpus
    own, teacher = Sequences.of(lengths).times(pairs / len(lengths)), read_teacher(recipe)
    texts = own + Sequences.of([towers.text.context]).times(replayed)
    shape = StepShape(
        vision=towers.vision,
        text=towers.text,
        pairs=pairs,
        replayed=replayed,
        texts=texts,
        n_ranks=gpus,
        micro_batch=recipe.micro_batch,
        checkpointing=recipe.activation_checkpointing,
        precision=recipe.precision,
        sharded=recipe.parallel == "fsdp",
        tile=recipe.tile,
        teacher=(teacher.vision, teacher.text) if teacher else None,
        taught=own if teacher else None,
    )
    kind = find_accelerator(gpu_kind, recipe.precision)
    return TrainingPlan(
        recipe=recipe,
        shape=shape,
        flops=count_step_flops(shape),
        kind_name=gpu_kind,
        kind=kind,
        utilisation=utilisation or kind.utilisation,
        mean_length=sum(lengths) / len(lengths),
    )


def find_largest_micro_batch(plan: TrainingPlan) -> int:
    """Return the largest micro-batch whose step fits into the memory of the processor; 0 if none does."""

    def fits(pairs: int) -> bool:
        parts = count_memory_bytes(replace(plan.shape, micro_batch=pairs), replay=plan.recipe.has_replay)
        return sum(parts.values()) <= USABLE_MEMORY * plan.kind.memory

    # Memory grows with the micro-batch, so that all up to some size fit.
    return bisect_left(range(1, plan.shape.pairs + plan.shape.replayed + 1), True, key=lambda pairs: not fits(pairs))
