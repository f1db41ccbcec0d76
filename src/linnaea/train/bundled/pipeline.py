"""From a recipe of the bundled model to its folder, stage by stage. Finished stages are kept and not repeated."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard
from linnaea.store import atomic_path, hash_bytes
from linnaea.train.bundled.assembly import Assembly, assemble
from linnaea.train.bundled.config import BundledConfig

logger = logging.getLogger(__name__)

# Only every 25th step of a curve is written to training.json.
CURVE_STEP = 25


def run_bundled(recipe: BundledConfig, out_dir: Path, work_dir: Path) -> Path:
    """Train a recipe, write the model folder with `training.json`, and return the folder."""
    import torch

    from linnaea.train.bundled.export import export_model
    from linnaea.train.bundled.trunk.published import load_trunk_weights
    from linnaea.train.bundled.trunk.rounds import finetune_trunk

    torch.manual_seed(recipe.loop.seed)
    trunk_weights = load_trunk_weights()
    assembly = assemble(recipe, trunk_weights, work_dir)
    logger.info(
        "%d labels, %d species, %d refusals, %d species held out",
        len(assembly.labels),
        len(assembly.candidates.known),
        len(assembly.candidates.refusals),
        len(assembly.held_out),
    )
    tokenizer_path = fit_recipe_tokenizer(recipe, assembly, work_dir)
    model, curve = train_encoders(recipe, assembly, tokenizer_path, work_dir)
    curves = {"curve": curve[::CURVE_STEP]}
    if recipe.finetune:
        trunk_weights = finetune_trunk(recipe, trunk_weights, work_dir)
        assembly, curve = tune_to_trunk(recipe, model, trunk_weights, tokenizer_path, work_dir)
        # the name in training.json is older than the stage's name
        curves["settling"] = curve[::CURVE_STEP]
    tree = assembly.vocabulary.tree
    export_model(
        out_dir,
        trunk_weights=trunk_weights,
        model=model,
        tokenizer_path=tokenizer_path,
        card=make_card(recipe, assembly, model.log_scale.exp().item()),
        familiar=[tree.lineage(int(tree.leaf_node_n[leaf])) for leaf in assembly.candidates.known],
    )
    record = {"recipe": describe_recipe(recipe), "held_out": [tree.name(node) for node in assembly.held_out]}
    record |= {name: [[round(x, 4) for x in pair] for pair in pairs] for name, pairs in curves.items()}
    with atomic_path(out_dir / "training.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return out_dir


def fit_recipe_tokenizer(recipe: BundledConfig, assembly: Assembly, work_dir: Path) -> Path:
    """Fit the tokenizer to species of the vocabulary and names of labels; return its path in `work_dir`."""
    from linnaea.model.core.tokenizer import fit_tokenizer

    names = sorted({name for label in assembly.labels for name in label.names})
    key = hash_bytes(assembly.vocabulary.hash, str(recipe.text.n_tokens), *names)
    path = work_dir / f"tokenizer-{key}.json"
    if not path.exists():
        tree = assembly.vocabulary.tree
        species = [tree.name(int(node)) for node in tree.nodes_at("species")[::3]]
        with atomic_path(path) as temporary:
            fit_tokenizer(iter(names * 5 + species), recipe.text.n_tokens, temporary)
    return path


def train_encoders(recipe: BundledConfig, assembly: Assembly, tokenizer_path: Path, work_dir: Path):
    """Train projector and text transformer; return the model and its loss curve. Both are kept in `work_dir`."""
    import torch

    from linnaea.model.core.tokenizer import Tokenizer
    from linnaea.train.bundled.encoders.loop import DualEncoder, Prototypes, train
    from linnaea.train.bundled.encoders.network import TextTransformer
    from linnaea.train.bundled.encoders.prototypes import fit_prototypes

    defining = describe_recipe(replace(recipe, name="", finetune=(), held_out_of_trunk=(), settle=None))
    key = hash_bytes(json.dumps(defining), tokenizer_path.name, repr(assembly.held_out))
    kept_path = work_dir / f"towers-{key}.pt"
    model = DualEncoder(make_projector(recipe, assembly), TextTransformer(recipe.text))
    if kept_path.exists():
        state = torch.load(kept_path, weights_only=True)
        model.load_state_dict(state["model"])
        return model.eval(), state["curve"]
    vectors_ld, scale = fit_prototypes(
        model.projector,
        assembly.sampler,
        assembly.source,
        assembly.labels,
        recipe.prototypes,
        seed=recipe.loop.seed,
    )
    with torch.no_grad():
        model.log_scale.fill_(float(np.log(scale)))
    curve = train(
        model,
        Tokenizer(tokenizer_path, recipe.text.context),
        assembly.sampler,
        assembly.source,
        assembly.candidates,
        Prototypes(labels=assembly.labels, vectors_ld=vectors_ld),
        recipe.loop,
    )
    with atomic_path(kept_path) as temporary:
        torch.save({"model": model.state_dict(), "curve": curve}, temporary)
    return model, curve


def tune_to_trunk(recipe: BundledConfig, model, trunk_weights: dict, tokenizer_path: Path, work_dir: Path):
    """Train a new projector for a fine-tuned trunk, in place; return the assembly of its features and the curve."""
    from linnaea.model.core.tokenizer import Tokenizer
    from linnaea.train.bundled.encoders.projector_tuning import tune_projector

    # The projector learns from what the exported model sees.
    seen = replace(
        recipe,
        n_views=recipe.settle.n_views,
        n_refused_views=recipe.settle.n_refused_views,
        preprocess=replace(recipe.preprocess, resize=recipe.resize),
    )
    assembly = assemble(seen, trunk_weights, work_dir, half=True)
    model.projector = make_projector(recipe, assembly)
    curve = tune_projector(
        model,
        Tokenizer(tokenizer_path, recipe.text.context),
        assembly.sampler,
        assembly.source,
        assembly.labels,
        assembly.vocabulary.tree.leaves_within(assembly.held_out),
        recipe.settle,
        seed=recipe.loop.seed,
    )
    return assembly, curve


def make_projector(recipe: BundledConfig, assembly: Assembly):
    """Make an untrained projector that standardises the features of the assembly."""
    import torch

    from linnaea.train.bundled.encoders.network import ImageProjector

    projector = ImageProjector(len(assembly.mean_w), recipe.text.dim, recipe.hidden, recipe.dropout)
    projector.mean.copy_(torch.from_numpy(assembly.mean_w))
    projector.std.copy_(torch.from_numpy(assembly.std_w))
    return projector


def make_card(recipe: BundledConfig, assembly: Assembly, scale: float) -> ModelCard:
    """Return the model card of a trained recipe."""
    return ModelCard(
        name=recipe.name,
        hash="",
        dim=recipe.text.dim,
        logit_scale=round(scale, 4),
        preprocess=replace(recipe.preprocess, resize=recipe.resize, interpolation=recipe.interpolation),
        text_type="taxonomic",
        negative_prompts=tuple(assembly.candidates.refusals),
        common_names=map_common_names(assembly),
    )


def map_common_names(assembly: Assembly) -> dict[str, str]:
    """Map the common name of each label to "rank:scientific name", without names that two taxa share."""
    tree = assembly.vocabulary.tree
    taxa: dict[str, set[str]] = {}
    spelling: dict[str, str] = {}
    for label in assembly.labels:
        if label.node >= 0:
            for name in label.names:
                spelling.setdefault(name.casefold(), name)
                taxa.setdefault(name.casefold(), set()).add(f"{tree.rank(label.node)}:{tree.name(label.node)}")
    return {spelling[name]: next(iter(found)) for name, found in sorted(taxa.items()) if len(found) == 1}


def describe_recipe(recipe: BundledConfig) -> dict:
    """Return a recipe as JSON values, with only the last name of each path, because folders differ between machines."""
    return json.loads(json.dumps(asdict(recipe), default=lambda path: path.name))
