"""Measure how `--decoding scaled` changes names: the bundled model names photographs decoded exactly and scaled.

    python benchmarks/scaled_decoding.py --images DIR

DIR holds labelled photographs and their `manifest.csv` (see bundled_model.py). They are enlarged to a short side of
1800 pixels, which scaled decoding reduces to 450: this is as close as it comes to its minimum of twice the model's 224.
Enlarged photographs lack the finest detail of a camera. Therefore they are tested in two forms: as they are, and
sharpened with noise in every pixel, where scaled decoding loses most. Each is named among the labels of its own set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from bundled_model import write_manifest
from hardware import describe_hardware, n_cores, show_command, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

SETS = ("cub100", "monkeys10", "leeds_butterfly", "plant_seedlings", "plankton121")
SHORT, QUALITY, NOISE = 1800, 90, 12.0
CONTENTS = {"enlarged": "enlarged", "grain": "enlarged, sharpened, with noise"}


def enlarge(source: Path, path: Path, grain: bool) -> None:
    """Write a photograph with a short side of SHORT pixels."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    factor = SHORT / min(image.size)
    image = image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC)
    if grain:
        image = image.filter(ImageFilter.UnsharpMask(radius=3, percent=150, threshold=0))
        noise = np.random.default_rng(0).normal(0, NOISE, (image.height, image.width, 1)).astype(np.float32)
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    image.save(path, quality=QUALITY)


def read_both(source: Path, grain: bool, folder: Path, preprocess) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of an enlarged photograph, decoded exactly and scaled."""
    from linnaea.embed.images.pixel_reader import read_pixels
    from linnaea.records import ImageRecord

    path = folder / f"{abs(hash((source, grain)))}.jpg"
    enlarge(source, path, grain)
    exact, scaled = (read_pixels(ImageRecord(path=str(path)), preprocess, way) for way in ("exact", "scaled"))
    path.unlink()
    return exact, scaled


def name_set(model, everything, examples, exact: np.ndarray, scaled: np.ndarray) -> dict[str, float]:
    """Return the figures of a group of photographs.

    These are: per cent right with exact and with scaled decoding, per cent of equal names, minimum and mean cosine, and
    the difference in levels.
    """
    from linnaea.embed.names.text_embedding import embed_texts
    from linnaea.evaluate.label_evaluation import make_label_texts

    texts = make_label_texts(everything, "auto")
    labels = list(texts)
    label_ld = sum(embed_texts(model, list(part)) for part in zip(*texts.values(), strict=True))
    truth = np.array([labels.index(example.label) for example in examples])
    vectors = [
        np.concatenate([model.encode_images(p[i : i + 32]) for i in range(0, len(p), 32)]) for p in (exact, scaled)
    ]
    first, second = (np.argmax(vectors_nd @ label_ld.T, axis=1) for vectors_nd in vectors)
    cosines = (vectors[0] * vectors[1]).sum(1)
    return {
        "n": len(examples),
        "exact": 100 * float((first == truth).mean()),
        "scaled": 100 * float((second == truth).mean()),
        "equal": 100 * float((first == second).mean()),
        "gained": int(((first != truth) & (second == truth)).sum()),
        "lost": int(((first == truth) & (second != truth)).sum()),
        "cosine": float(cosines.mean()),
        "least": float(cosines.min()),
        "levels": float(np.abs(exact.astype(int) - scaled).mean()),
    }


def measure(model, sets: dict[str, tuple[list, list]], images: Path, folder: Path) -> dict[str, dict[str, dict]]:
    """Return the figures by content and set, and over all sets together."""
    results: dict[str, dict[str, dict]] = {}
    for content in CONTENTS:
        rows = results[content] = {}
        for name, (everything, examples) in sets.items():
            read = partial(read_both, grain=content == "grain", folder=folder, preprocess=model.card.preprocess)
            with ThreadPoolExecutor(n_cores()) as pool:
                pixels = list(pool.map(read, [images / example.file for example in examples]))
            rows[name] = name_set(model, everything, examples, *(np.stack(part) for part in zip(*pixels, strict=True)))
        n = [row["n"] for row in rows.values()]
        together = {key: float(np.average([row[key] for row in rows.values()], weights=n)) for key in rows[SETS[0]]}
        together |= {key: sum(row[key] for row in rows.values()) for key in ("n", "gained", "lost")}
        together["least"] = min(row["least"] for row in rows.values())
        rows["all"] = together
    return results


def tables(results: dict[str, dict[str, dict]]) -> list[str]:
    """Return a table for each content."""
    lines = []
    for content, rows in results.items():
        lines += ["", f"## {CONTENTS[content]}".replace("## e", "## E"), ""]
        lines.append(
            "| set | n | right, exact % | right, scaled % | same name % | gained | lost | mean cosine | minimum "
            "| levels of difference |"
        )
        lines.append("| --- |" + " ---: |" * 9)
        lines += [
            f"| {name} | {r['n']} | {r['exact']:.1f} | {r['scaled']:.1f} | {r['equal']:.1f} | {r['gained']} "
            f"| {r['lost']} | {r['cosine']:.4f} | {r['least']:.4f} | {r['levels']:.2f} |"
            for name, r in rows.items()
        ]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Return 0 after the result is written."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of labelled photographs with manifest.csv")
    parser.add_argument("--model", default="bundled", help="as for linnaea identify")
    parser.add_argument("--per-set", type=int, default=200, help="largest number of photographs per set (default: 200)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    options = parser.parse_args(argv)
    from linnaea.evaluate.truth import read_examples, to_examples
    from linnaea.model.loading import load_model
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    model = load_model(options.model)
    vocabulary, sets = load_vocabulary("inat"), {}
    with tempfile.TemporaryDirectory(prefix="linnaea-scaled-") as folder:
        manifest = Path(folder) / "manifest.csv"
        write_manifest(options.images, manifest)
        for name in SETS:
            examples, _unknown = to_examples(read_examples(manifest, (f"set={name}", "split=val")), vocabulary)
            picked = np.random.default_rng(0).permutation(len(examples))[: options.per_set]
            sets[name] = examples, [examples[i] for i in sorted(picked)]
        results = measure(model, sets, options.images, Path(folder))
    lines = [
        "# How scaled decoding changes names",
        "",
        f"- hardware: {describe_hardware()}",
        f"- made by: `{show_command('scaled_decoding', argv)}`",
        f"- model: `{model.card.name}` ({model.card.hash}), input {model.card.preprocess.size} pixels",
        f"- photographs: short side enlarged to {SHORT} pixels, JPEG quality {QUALITY}; scaled decoding: {SHORT // 4}",
        *tables(results),
    ]
    write_result(options.results, "scaled_decoding", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
