"""Do relatives as partial positives help? Compare the level-aware loss with InfoNCE on photographs.

    python benchmarks/level_loss.py --work DIR                           # continues after a stop
    python benchmarks/level_loss.py --work DIR --steps 20 --seeds 1      # a quick test that it runs

Two small towers train from random weights on photographs of the pack's species at 48 pixels, with whole lineages as
names. Some species are excluded from training; each of them has a relative of the same genus that is not. Each held-out
photograph is named among all species: is the species right, the genus, the family? The same is asked for each
photograph of an excluded species. A seed determines the weights, the order, the crops and the excluded species. All
losses share the same seeds and are compared within a seed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from hardware import describe_hardware, show_command, write_result

ROOT = Path(__file__).resolve().parent.parent
PACK = ROOT.parent / "shared" / "data" / "images"
SIZE, BATCH, LEFT_OUT = 48, 128, 12
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
LOSSES = {
    "InfoNCE": (),
    "genus 0.1, family 0.05": ("--loss", "levels", "--genus-share", "0.1", "--family-share", "0.05"),
    "genus 0.2, family 0.1": ("--loss", "levels", "--genus-share", "0.2", "--family-share", "0.1"),
}
FIGURES = (
    "species, held out",
    "genus",
    "family",
    "species, excluded from training",
    "genus of those",
    "family of those",
)
# Two-sided 95 % quantiles of Student's t by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
TOWERS = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": 4, "width": 128, "patch_size": 8, "head_width": 32},
        "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}
RECIPE = '''
from pathlib import Path

from linnaea.train.data.augmentation import AugmentConfig
from linnaea.train.clip.recipe import ClipRecipe, SamplesConfig

RECIPES = ("levels",)
HERE = Path(__file__).parent


def levels() -> ClipRecipe:
    """Return small towers for the ablation of the level-aware loss."""
    return ClipRecipe(
        name="levels",
        towers=HERE / "towers.json",
        crop=AugmentConfig(size={size}),
        batch={batch},
        steps=600,
        warm_up=10,
        organisms=SamplesConfig(table=HERE / "labels-0.csv", split="train", types=("taxonomic",)),
        learning_rate=1e-3,
        clip_norm=1.0,
        checkpoint_every=100,
        keep=1,
        n_threads=1,
    )
'''


def species_rows(pack: Path) -> list[dict]:
    """Return the pack's photographs of whole species with genus and family, at most 60 photographs per species."""
    rows, count = [], {}
    with open(pack / "manifest.csv", newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            if row["split"] in ("train", "val") and row["family"] and row["genus"] and " " in row["scientific"]:
                key = row["scientific"], row["split"]
                count[key] = count.get(key, 0) + 1
                if count[key] <= 60:
                    rows.append(row | {"species": row["scientific"]})
    return rows


def shrink(rows: list[dict], pack: Path, work: Path) -> None:
    """Write each photograph once as a small PNG below `work`, because decoding the originals takes most of the time."""
    for row in rows:
        path = (work / "photos" / row["file"]).with_suffix(".png")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(pack / row["file"]) as image:
                image.convert("RGB").resize((SIZE + 8, SIZE + 8), Image.Resampling.LANCZOS, reducing_gap=3).save(path)
        row["png"] = str(path.relative_to(work))


def left_out(rows: list[dict], seed: int) -> set[str]:
    """Return species drawn by the seed, each with a relative of its genus that stays in training."""
    by_genus: dict[str, list[str]] = {}
    for species in sorted({row["species"] for row in rows}):
        by_genus.setdefault(species.split()[0], []).append(species)
    drawn = sorted(
        (hashlib.sha256(f"{seed}|{genus}".encode()).digest(), genus) for genus, of in by_genus.items() if len(of) > 1
    )
    rng = np.random.default_rng(seed)
    return {by_genus[genus][rng.integers(len(by_genus[genus]))] for _, genus in drawn[:LEFT_OUT]}


def write_inputs(rows: list[dict], work: Path, seeds: int) -> None:
    """Write the recipe, the towers and a table for each seed."""
    (work / "towers.json").write_text(json.dumps(TOWERS), encoding="utf-8")
    (work / "levels.py").write_text(RECIPE.format(size=SIZE, batch=BATCH), encoding="utf-8")
    for seed in range(seeds):
        out = left_out(rows, seed)
        with open(work / f"labels-{seed}.csv", "w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("file", *RANKS, "split"))
            for row in rows:
                split = "unseen" if row["species"] in out else row["split"]
                writer.writerow((row["png"], *(row[rank] for rank in RANKS), split))


def train(work: Path, name: str, options: tuple[str, ...], seed: int, steps: int) -> Path:
    """Return the folder of the trained model; train the model if the folder is missing."""
    out = work / f"model-{list(LOSSES).index(name)}-{seed}-{steps}"
    if (out / "open_clip_config.json").is_file():
        return out
    command = [
        sys.executable,
        "-m",
        "linnaea",
        "train",
        "levels",
        "--recipes",
        str(work),
        "--out",
        str(out),
        "--seed",
        str(seed),
        "--steps",
        str(steps),
        "--organisms.table",
        str(work / f"labels-{seed}.csv"),
        *options,
    ]
    subprocess.run([*command, *(["--resume"] if out.exists() else [])], check=True)
    return out


def figures(work: Path, folder: Path, seed: int) -> list[float]:
    """Return the per cent of photographs whose likeliest name is right, for each of FIGURES."""
    from linnaea.embed.names.text_embedding import embed_texts
    from linnaea.model.core.preprocessing import preprocess_image
    from linnaea.model.loading import load_model

    model = load_model(str(folder))
    with open(work / f"labels-{seed}.csv", newline="", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] != "train"]
        handle.seek(0)
        lineages = sorted({tuple(row[rank] for rank in RANKS) for row in csv.DictReader(handle)})
    texts = [" ".join((*lineage[:-1], lineage[-1].split(" ", 1)[1])) for lineage in lineages]
    text_nd = embed_texts(model, texts)
    image_bd = []
    for first in range(0, len(rows), 256):
        pixels = [
            preprocess_image(Image.open(work / row["file"]), model.card.preprocess) for row in rows[first : first + 256]
        ]
        image_bd.append(model.encode_images(np.stack(pixels)))
    best = [lineages[i] for i in (np.concatenate(image_bd) @ text_nd.T).argmax(1)]
    found = []
    for kind in ("val", "unseen"):
        pairs = [(name, row) for name, row in zip(best, rows, strict=True) if row["split"] == kind]
        for rank in ("species", "genus", "family"):
            place = RANKS.index(rank)
            found.append(100 * float(np.mean([name[place] == row[rank] for name, row in pairs])))
    return found


def table(result: dict[str, np.ndarray]) -> list[str]:
    """Return rows of means over seeds, and of differences from the first loss with their 95 % intervals."""
    lines = [f"| loss | {' | '.join(FIGURES)} |", "|" + " --- |" * (1 + len(FIGURES))]
    first = next(iter(result.values()))
    for name, runs_sf in result.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.1f}" for value in runs_sf.mean(0)) + " |")
    for name, runs_sf in list(result.items())[1:]:
        gap_sf = runs_sf - first
        n = len(gap_sf)
        half = (
            STUDENT.get(n - 1, np.inf) * gap_sf.std(0, ddof=1) / np.sqrt(n)
            if n > 1
            else np.full(gap_sf.shape[1], np.inf)
        )
        cells = [f"{mean:+.1f} ± {width:.1f}" for mean, width in zip(gap_sf.mean(0), half, strict=True)]
        lines.append(f"| {name}, minus InfoNCE | " + " | ".join(cells) + " |")
    return lines


def main(argv: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, default=PACK, help="folder with manifest.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for photographs, models and tables")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(argv)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(ROOT / "src"))
    work = options.work.resolve()
    rows = species_rows(options.pack)
    shrink(rows, options.pack, work)
    write_inputs(rows, work, options.seeds)
    runs: dict[str, list] = {name: [] for name in LOSSES}
    for seed in range(options.seeds):
        for name, given in LOSSES.items():
            runs[name].append(figures(work, train(work, name, given, seed, options.steps), seed))
            print(seed, name, [f"{value:.1f}" for value in runs[name][-1]], flush=True)
    n_train = sum(row["split"] == "train" for row in rows)
    lines = [
        "# The level-aware loss: relatives as partial positives",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('level_loss', sys.argv[1:] if argv is None else argv)}`",
        f"- {len({row['species'] for row in rows})} species, {n_train:,} training photographs ({LEFT_OUT} species are",
        f"  excluded) at {SIZE} pixels, towers from random weights, {options.steps} steps of {BATCH} pairs,",
        f"  {options.seeds} seeds; per cent right among the names of all species; differences within a seed,",
        "  95 % intervals by Student's t",
        "",
        *table({name: np.array(of) for name, of in runs.items()}),
    ]
    write_result(options.results, "level_loss", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
