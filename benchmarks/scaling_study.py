"""What do more photographs bring at our size? Train on 5, 10, 25, 50 and 100 % of the pack.

Each share has three seeds, and starts from random weights and from ImageNet.

    python benchmarks/scaling_study.py --work DIR            # continues after a stop
    python benchmarks/scaling_study.py --work DIR --crops 640 --shares .05 --seeds 1 --starts imagenet   # a quick test

Every run sees the same number of crops of 64 pixels and has no teacher. Its filters of 5 x 5 are not trained. Smaller
packs are parts of the larger ones. All runs exclude 20 bird and 2 butterfly species. A run leaves
`vectors-START-SHARE-SEED.npz` below `--work`: features of the held-out photographs and of the excluded species. All
figures come from these files: naming by the nearest mean of the training classes within each set (mean of the sets),
and SimpleShot from five examples of each excluded species. The slope is percentage points per doubling of photographs.
Its 95 % interval is by Student's t over seeds and shares; if the interval contains 0, there is no trend.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from hardware import describe_hardware, show_command, write_result

ROOT = Path(__file__).resolve().parent.parent
SHARES, STARTS, SIZE = (0.05, 0.10, 0.25, 0.50, 1.00), ("nothing", "imagenet"), 64
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {
    1: 12.71,
    2: 4.30,
    3: 3.18,
    4: 2.78,
    5: 2.57,
    6: 2.45,
    7: 2.36,
    8: 2.31,
    9: 2.26,
    10: 2.23,
    11: 2.20,
    12: 2.18,
    13: 2.16,
}


def part_of(labels: list, files: list[Path], share: float, seed: int) -> np.ndarray:
    """Return the rows of the first `share` of each label's files, ordered by hash: nested, at least one per label."""
    by_label: dict = {}
    for row, label in enumerate(labels):
        by_label.setdefault(label, []).append(row)
    chosen: list[int] = []
    for rows in by_label.values():
        ordered = sorted(
            rows, key=lambda row: hashlib.sha256(f"{seed}|{files[row].name}|{files[row].parent.name}".encode()).digest()
        )
        chosen += ordered[: max(1, round(share * len(rows)))]
    return np.array(sorted(chosen))


def start_from_nothing(trunk, pixels_bchw, seed: int) -> None:
    """Return random convolutions whose outputs on a batch have mean 0 and standard deviation 1.

    The method is that of Salimans & Kingma 2016, arXiv 1602.07868. Residual branches start at a tenth of that, so that
    the size of the sums does not grow.
    """
    import torch

    from linnaea.train.bundled.trunk.network import FoldedConv, InvertedResidual

    torch.manual_seed(seed)
    tenth = {id(block.layers[-1]) for block in trunk.modules() if isinstance(block, InvertedResidual) and block.keep}

    def settle(layer, inputs):
        with torch.no_grad():
            torch.nn.init.normal_(layer.weight)
            layer.bias.zero_()
            activate, layer.activate = layer.activate, False
            out = FoldedConv.forward(layer, inputs[0])
            layer.activate = activate
            size = (0.1 if id(layer) in tenth else 1.0) / (out.std((0, 2, 3)) + 1e-3)
            layer.weight.mul_(size[:, None, None, None])
            layer.bias.copy_(-out.mean((0, 2, 3)) * size)

    hooks = [m.register_forward_pre_hook(settle) for m in trunk.modules() if isinstance(m, FoldedConv)]
    with torch.no_grad():
        trunk(pixels_bchw)
    for hook in hooks:
        hook.remove()


class Pictures:
    """Decoded photographs, each read once for all runs."""

    def __init__(self):
        self._read: dict[Path, np.ndarray] = {}

    def of(self, files: list[Path]) -> list[np.ndarray]:
        """Return uint8 [h, w, 3] of each file."""
        from linnaea.train.bundled.trunk.crops import read_pictures

        new = [file for file in files if file not in self._read]
        self._read |= dict(zip(new, read_pictures(new), strict=True))
        return [self._read[file] for file in files]


def features_of(trunk, pictures: list[np.ndarray], preprocess) -> np.ndarray:
    """Return features float16 [n, 1280] of whole photographs."""
    import torch
    from PIL import Image

    mean, std = (255 * np.array(x, np.float32) for x in (preprocess.mean, preprocess.std))
    out = []
    for first in range(0, len(pictures), 64):
        squares = [
            Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for x in pictures[first : first + 64]
        ]
        pixels = torch.from_numpy(
            ((np.stack([np.asarray(x) for x in squares]) - mean) / std).transpose(0, 3, 1, 2)
        ).float()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            out.append(trunk(pixels.contiguous(memory_format=torch.channels_last)).numpy().astype(np.float16))
    return np.concatenate(out)


def train_one(recipe, share: float, seed: int, start: str, n_crops: int, pictures: Pictures, path: Path) -> None:
    """Do one run and write its vectors to `path`."""
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary
    from linnaea.train.bundled.batches import TextSource
    from linnaea.train.bundled.labels import LabelBook, find_held_out, read_label_table
    from linnaea.train.bundled.trunk.config import FinetuneConfig, FinetuneStage
    from linnaea.train.bundled.trunk.crops import CropLoader, PhotoPack
    from linnaea.train.bundled.trunk.finetuning import Finetuning, make_optimizer, run_finetuning
    from linnaea.train.bundled.trunk.published import load_trunk_weights
    from linnaea.train.bundled.trunk.rounds import make_photo_pack
    from linnaea.train.bundled.trunk.targets import FinetuneTask

    vocabulary = load_vocabulary()
    book = LabelBook(vocabulary, recipe.labels)
    held_out = set(find_held_out(recipe, book, vocabulary.tree, recipe.held_out_of_trunk))
    whole, rows = make_photo_pack(recipe, book, held_out)
    part = part_of(whole.labels, whole.files, share, seed)
    pack = PhotoPack(
        files=[whole.files[i] for i in part],
        labels=[whole.labels[i] for i in part],
        turned_n=whole.turned_n[part],
        usual_n=whole.usual_n[part],
    )
    stages = (FinetuneStage(images=n_crops, size=SIZE, first=0),)
    rate = 0.02 if start == "nothing" else 0.004
    decay = 1.0 if start == "nothing" else 0.9
    config = FinetuneConfig(stages=stages, keep=0.0, teach=0.0, trunk_rate=rate, part_decay=decay)
    weights = load_trunk_weights()
    task = FinetuneTask(pack=pack, source=TextSource(vocabulary.tree), kept_classes=np.arange(1000))
    run = Finetuning(weights, task, config, dim=192, hidden=512, seed=seed)
    crops = CropLoader(pack, config, recipe.preprocess.mean, recipe.preprocess.std, seed, pictures.of(pack.files))
    if start == "nothing":
        start_from_nothing(run.model.trunk, crops.batch(0, SIZE)[1], seed)
        run.average.trunk.load_state_dict(run.model.trunk.state_dict())
        run.optimizer = make_optimizer(run.model.trunk, run.model.head, config)
    run_finetuning(run, crops, path.with_suffix(".pt"), every=200)
    left_out = {vocabulary.tree.name(node) for node in held_out}
    val = [
        r
        for r in read_label_table(recipe.images / "manifest.csv")
        if r["split"] == "val" and r["scientific"] not in left_out
    ]
    unseen = [r for r in read_label_table(recipe.images / "manifest.csv") if r["scientific"] in left_out]
    kinds = {"train": [rows[i] for i in part], "val": val, "unseen": unseen}
    arrays = {
        name: features_of(run.average.trunk, pictures.of([recipe.images / r["file"] for r in of]), recipe.preprocess)
        for name, of in kinds.items()
    }
    names = {f"{name}_label": np.array([f"{r['set']}|{r['label']}" for r in of]) for name, of in kinds.items()}
    fresh = path.with_suffix(".new.npz")
    np.savez(fresh, n=len(part), **arrays, **names)
    os.replace(fresh, path)
    path.with_suffix(".pt").unlink(missing_ok=True)


def figures(path: Path) -> tuple[int, float, float]:
    """Return the number of training photographs, naming accuracy by nearest training mean, and SimpleShot accuracy.

    Both accuracies are in per cent; the first is a mean over the sets.
    """
    from linnaea.evaluate.neighbours import simpleshot

    run = np.load(path)
    train, val = run["train"].astype(np.float32), run["val"].astype(np.float32)
    centre = train.mean(0)
    train, val = (x - centre for x in (train, val))
    names, of_train = np.unique(run["train_label"], return_inverse=True)
    means = np.zeros((len(names), train.shape[1]), np.float32)
    np.add.at(means, of_train, train / np.linalg.norm(train, axis=1, keepdims=True))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    sets = np.array([name.split("|")[0] for name in names])
    shares = []
    for one in np.unique(sets):
        columns = np.flatnonzero(sets == one)
        rows = np.flatnonzero([label.split("|")[0] == one for label in run["val_label"]])
        if len(columns) > 1 and len(rows):
            best = columns[(val[rows] @ means[columns].T).argmax(1)]
            shares.append((names[best] == run["val_label"][rows]).mean())
    few = [simpleshot(run["unseen"].astype(np.float32), run["unseen_label"].tolist(), 5, seed) for seed in range(5)]
    return int(run["n"]), 100 * float(np.mean(shares)), 100 * float(np.mean(few))


def slope(doublings: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the least-squares slope and half its 95 % interval; infinite for two points or fewer."""
    x = doublings - doublings.mean()
    b = float((x * values).sum() / (x**2).sum())
    rest = values - values.mean() - b * x
    freedom = len(values) - 2
    if freedom < 1:
        return b, float("inf")
    return b, STUDENT.get(freedom, 2.1) * float(np.sqrt((rest**2).sum() / freedom / (x**2).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the vectors, outside the checkout")
    parser.add_argument("--images", type=Path, default=ROOT.parent / "shared" / "data" / "images")
    parser.add_argument("--crops", type=int, default=32_000, help="number of crops in each run")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    from linnaea.terminal import show_log
    from linnaea.train.runtime.recipe_files import find_recipe

    show_log()

    recipe = replace(find_recipe("bundled", ROOT / "recipes"), images=options.images)
    options.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[tuple[float, int, int, float, float]]] = {start: [] for start in options.starts}
    pictures = Pictures()
    # seeds outermost: a study that stops early has every share and start
    for seed, start, share in product(range(options.seeds), options.starts, options.shares):
        path = options.work / f"vectors-{start}-{share:g}-{seed}.npz"
        if not path.exists():
            print(path.name, flush=True)
            train_one(recipe, share, seed, start, options.crops, pictures, path)
        found[start].append((share, seed, *figures(path)))
    lines = ["# What more photographs bring at our size", ""]
    lines += [f"- hardware: {describe_hardware()}", f"- made by: `{show_command('scaling_study', sys.argv[1:])}`"]
    lines += [f"- crops per run: {options.crops:,}, of {SIZE} pixels a side; no teacher; {options.seeds} seeds", ""]
    lines += [
        "## The slope",
        "",
        "| start | measured | points per doubling of photographs (95 %) | |",
        "| --- | --- | --- | --- |",
    ]
    for start, values in found.items():
        share, _, _, own, few = np.array(values).T
        for title, y in (("naming, mean of the sets", own), ("excluded species, 5 examples", few)):
            b, half = slope(np.log2(share), y)
            said = "no trend" if abs(b) <= half else ""
            lines.append(f"| {start} | {title} | {b:+.2f} ({b - half:+.2f} to {b + half:+.2f}) | {said} |")
    lines += ["", "## The runs: mean of the seeds (minimum, maximum)", ""]
    lines += [
        "| start | share | photographs | naming, mean of the sets % | excluded species, 5 examples % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for start, values in found.items():
        for share in options.shares:
            _, _, n, own, few = np.array([row for row in values if row[0] == share]).T
            cells = [f"{x.mean():.1f} ({x.min():.1f}, {x.max():.1f})" for x in (own, few)]
            lines.append(f"| {start} | {share:.0%} | {n.mean():,.0f} | {' | '.join(cells)} |")
    write_result(options.results, "scaling_study", lines)


if __name__ == "__main__":
    main()
