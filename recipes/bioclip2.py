"""BioCLIP 2 and its relatives: CLIP models with hierarchical texts and replay through a second image projector.

`bioclip2_vitl14` follows Gu et al. 2025 (arXiv 2505.23883): towers, objective, batch, optimization and length are
theirs. `bioclip25_vith14` is the same with the towers of BioCLIP 2.5 Huge. `bioclip_vitb16` has the size of the first
BioCLIP, ten million photographs and no replay. Text types are drawn for each sample; theirs were drawn for each step
(`draw="step"` in `organisms`).

The data are in data/ and the start weights in models/, below the current folder. docs/training.md says how to get them,
under which licences, and how to train on your own photographs.
"""

from dataclasses import replace
from pathlib import Path

from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig

RECIPES = ("bioclip2_vitl14", "bioclip25_vith14", "bioclip_vitb16")
TOWERS = Path(__file__).parent / "towers"
DATA, MODELS = Path("data"), Path("models")


def bioclip2_vitl14() -> ClipRecipe:
    """Return BioCLIP 2: 30 epochs of 214 million photographs on 32 GPUs, each with 2,816 + 320 (replayed) pairs."""
    return ClipRecipe(
        name="bioclip2-vitl14",
        towers=TOWERS / "vit-l-14.json",
        start=MODELS / "CLIP-ViT-L-14-laion2B-s32B-b82K",
        organisms=SamplesConfig(shards=(str(DATA / "TreeOfLife-200M" / "shard-*.tar"),)),
        replay=SamplesConfig(shards=(str(DATA / "laion2b" / "*.tar"),)),
        batch=32 * 2_816,
        replay_batch=32 * 320,
        steps=71_250,
        warm_up=1_875,
        learning_rate=1e-4,
        weight_decay=0.2,
        precision="bf16",
        activation_checkpointing=True,
        compile=True,
        n_threads=16,
        keep=3,
        log_every=20,
        tensorboard=True,
    )


def bioclip25_vith14() -> ClipRecipe:
    """Return `bioclip2_vitl14` with the towers of BioCLIP 2.5 Huge and micro-batches of half a GPU's batch."""
    return replace(
        bioclip2_vitl14(),
        name="bioclip25-vith14",
        towers=TOWERS / "vit-h-14.json",
        start=MODELS / "CLIP-ViT-H-14-laion2B-s32B-b79K",
        micro_batch=1_568,
        parallel="fsdp",
    )


def bioclip_vitb16() -> ClipRecipe:
    """Return the first BioCLIP from random weights: 100 epochs of ten million photographs, 32,768 per step."""
    return replace(
        bioclip2_vitl14(),
        name="bioclip-vitb16",
        towers=TOWERS / "vit-b-16.json",
        start=None,
        organisms=SamplesConfig(shards=(str(DATA / "TreeOfLife-10M" / "shard-*.tar"),)),
        replay=None,
        replay_batch=0,
        batch=32_768,
        steps=30_500,
        warm_up=1_000,
    )
