"""Compare vectors, pixels and tokens of an open_clip checkpoint with open_clip's, and measure loading time and memory.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-b-16 CHECKPOINTS/vit-b-16     # and vit-l-14, vit-h-14
    python benchmarks/checkpoint_equality.py --peers DIR --photos PHOTOS CHECKPOINTS/vit-b-16 CHECKPOINTS/vit-l-14

Each side runs in its own process, one after the other, on the same arrays. The differences cover every number of every
vector, in full precision. A checkpoint with a second image projector has one row for each projector. open_clip supports
only one projector, so it gets a copy of the checkpoint in which the second projector takes the place of the first.
Pixels are compared in levels of 255, with the checkpoint's own transform. The script takes a few minutes with ViT-L-14;
with ViT-H-14 open_clip needs 12 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))
SUFFIXES = (".jpg", ".jpeg", ".png")
# Suffixes of names, so that the comparison covers more than plain letters.
ENDINGS = (
    "",
    " (Linnaeus, 1758)",
    " × hybrida",
    "'s",
    "’s",
    " &amp; al.",
    " ssp. 12",
    "\u0301",
    " é",
    "_x",
    ".",
    " L.",
    "-like",
    " №5",
)
SEED = 0
# The key of vision_cfg that only marks a second projector.
SECOND_KEYS = ("is_continual", "dual_projector")


def rss_mb() -> float:
    """Return the peak resident memory of this process in MB, mapped pages included (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return float("nan")


# --- The two sides; each is called in its own process


def ours(folder: str, images: np.ndarray, texts: list[str], photos: list[str]) -> dict:
    """Return our answers."""
    from linnaea.embed.images.pixel_reader import read_pixels
    from linnaea.model.loading import load_model
    from linnaea.records import ImageRecord

    start = time.perf_counter()
    model = load_model(folder)
    model.encode_images(images[:1])
    found = {"load_s": time.perf_counter() - start, "images": model.encode_images(images), "image_mb": rss_mb()}
    found |= {"texts": model.encode_texts(texts), "scale": model.card.logit_scale, "mb": rss_mb()}
    found["pixels"] = np.array([read_pixels(ImageRecord(path=path), model.card.preprocess) for path in photos])
    return found


def open_clip(folder: str, images: np.ndarray, texts: list[str], photos: list[str]) -> dict:
    """Return open_clip's answers, with pixels scaled back to levels of 255."""
    import open_clip
    import torch
    from PIL import Image

    start = time.perf_counter()
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    model.eval()
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    normalise = transform.transforms[-1]
    mean, std = (torch.as_tensor(x).view(-1, 1, 1) for x in (normalise.mean, normalise.std))
    with torch.inference_mode():
        pixels = normalise(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
        model.encode_image(pixels[:1])
        found = {"load_s": time.perf_counter() - start}
        found |= {
            "images": np.concatenate([model.encode_image(pixel[None], normalize=True).numpy() for pixel in pixels])
        }
        found["image_mb"] = rss_mb()
        parts = [
            model.encode_text(tokenize(texts[i : i + 16]), normalize=True).numpy() for i in range(0, len(texts), 16)
        ]
    found |= {"texts": np.concatenate(parts), "scale": model.logit_scale.exp().item(), "mb": rss_mb()}
    levels = [(transform(Image.open(path).convert("RGB")) * std + mean) * 255 for path in photos]
    found["pixels"] = np.array([level.permute(1, 2, 0).round().numpy() for level in levels], np.uint8)
    return found


def our_tokens(names: list[str]) -> np.ndarray:
    """Return token ids [n, 77] of our tokenizer."""
    from linnaea.model.core.tokenizer import ClipTokenizer

    return np.array([ids + [0] * (77 - len(ids)) for ids in ClipTokenizer().ids(names)])


def open_clip_tokens(names: list[str]) -> np.ndarray:
    """Return token ids [n, 77] of open_clip's tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()(names).numpy()


def worker(side: str, task: Path) -> None:
    """Answer the task in `task/inputs.*` and write the answer to `task/<side>.npz`."""
    told = json.loads((task / "inputs.json").read_text())
    answer = {"ours": (ours, our_tokens), "open_clip": (open_clip, open_clip_tokens)}[side]
    if told["folders"]:
        found = answer[0](told["folders"][side], np.load(task / "images.npy"), told["texts"], told["photos"])
    else:
        found = {"tokens": answer[1](told["texts"])}
    np.savez(task / f"{side}.npz", **found)


# --- The comparison


def run_both(
    peers: Path, folders: dict[str, str], images: np.ndarray, texts: list[str], photos: list[str]
) -> dict[str, dict]:
    """Return the answers of both sides.

    `folders` maps each side to its checkpoint. It is empty if tokens are asked for.
    """
    from peers import peer_python

    with tempfile.TemporaryDirectory() as made:
        task = Path(made)
        np.save(task / "images.npy", images)
        (task / "inputs.json").write_text(json.dumps({"folders": folders, "texts": texts, "photos": photos}))
        for side, python in (("ours", sys.executable), ("open_clip", peer_python(peers))):
            subprocess.run([python, __file__, "--worker", side, made], check=True)
        return {side: dict(np.load(task / f"{side}.npz")) for side in ("ours", "open_clip")}


@contextmanager
def projectors(folder: Path) -> Iterator[list[tuple[str, Path]]]:
    """Return pairs (suffix, folder), one per image projector of a checkpoint.

    The suffix is "" or "#second". The folder holds the same checkpoint in a form that open_clip can load.
    """
    from linnaea.model.core.safetensors import as_array, read_safetensors, write_safetensors
    from linnaea.model.formats.open_clip import SECOND_PROJECTORS, find_weights
    from linnaea.model.formats.open_clip_config import OPEN_CLIP_CONFIG
    from linnaea.model.loading import SECOND

    stored = read_safetensors(find_weights(folder))
    second = next((name for name in SECOND_PROJECTORS if name in stored), None)
    if second is None:
        yield [("", folder)]
        return
    config = json.loads((folder / OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
    for key in SECOND_KEYS:
        config["model_cfg"]["vision_cfg"].pop(key, None)
    with tempfile.TemporaryDirectory() as made:
        plain = []
        for suffix, projector in (("", "visual.proj"), (SECOND, second)):
            copy = Path(made) / ("second" if suffix else "first")
            copy.mkdir()
            (copy / OPEN_CLIP_CONFIG).write_text(json.dumps(config), encoding="utf-8")
            tensors = {name: as_array(stored[name]) for name in stored if name not in SECOND_PROJECTORS}
            tensors["visual.proj"] = as_array(stored[projector])
            write_safetensors(copy / "open_clip_model.safetensors", tensors)
            plain.append((suffix, copy))
        yield plain


def draw_names(n: int) -> list[str]:
    """Return taxa of the default vocabulary in all ways of writing; every third name has a suffix."""
    from linnaea.taxonomy.name_text import TEXT_TYPES, taxon_text
    from linnaea.taxonomy.vocabulary_factory import load_vocabulary

    vocabulary, draw = load_vocabulary(), random.Random(SEED)
    nodes = [int(node) for node in draw.sample(vocabulary.tree.leaf_node_n.tolist(), n)]
    names = []
    for i, node in enumerate(nodes):
        text = taxon_text(vocabulary.tree.lineage(node), TEXT_TYPES[i % len(TEXT_TYPES)], vocabulary.common_name(node))
        names.append(text + (draw.choice(ENDINGS) if i % 3 == 0 else ""))
    return names


def draw_images(n: int, size: int) -> np.ndarray:
    """Return images uint8 [n, size, size, 3] with structure at several scales."""
    from PIL import Image

    rng = np.random.default_rng(SEED)
    coarse = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (2 ** (1 + i % 7) for i in range(n))]
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size))) for image in coarse])


def difference(found: dict[str, dict], key: str) -> float:
    """Return the largest absolute difference of any number."""
    return float(
        np.abs(found["ours"][key].astype(np.float64) - found["open_clip"][key].astype(np.float64)).max(initial=0)
    )


def make_row(name: str, found: dict[str, dict]) -> str:
    mine, theirs = found["ours"], found["open_clip"]
    cells = [name, f"{difference(found, 'images'):.1e}", f"{difference(found, 'texts'):.1e}"]
    cells.append(f"{abs(float(mine['scale'] / theirs['scale']) - 1):.0e}")
    cells += [f"{float(mine[key]):,.1f} / {float(theirs[key]):,.1f}" for key in ("load_s",)]
    cells += [f"{float(mine[key]):,.0f} / {float(theirs[key]):,.0f}" for key in ("image_mb", "mb")]
    return f"| {' | '.join(cells)} |"


def pixel_lines(found: dict[str, dict], n: int) -> list[str]:
    if not n:
        return ["- pixels: not compared (no --photos)"]
    apart = np.abs(found["ours"]["pixels"].astype(int) - found["open_clip"]["pixels"].astype(int))
    return [
        (
            f"- pixels of {n} photographs: largest difference {apart.max()} of 255, mean {apart.mean():.4f}, "
            f"different {(apart > 0).mean():.2%}"
        )
    ]


def main() -> int:
    """Return 0 if all vectors are equal within 1e-4 and all pixels within one level, else 1."""
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]))
        return 0
    from hardware import describe_hardware, show_command, write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--peers", type=Path, required=True, help="the folder of benchmarks/peers.py")
    parser.add_argument("--photos", type=Path, help="a folder of photographs for the pixels")
    parser.add_argument("--n-images", type=int, default=4)
    parser.add_argument("--n-texts", type=int, default=96)
    parser.add_argument("--n-names", type=int, default=20_000, help="names whose tokens are compared")
    parser.add_argument("--n-photos", type=int, default=60)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    names = draw_names(args.n_names)
    tokens = run_both(args.peers, {}, np.zeros(0), names, [])
    n_other = int((tokens["ours"]["tokens"] != tokens["open_clip"]["tokens"]).any(1).sum())
    texts = [f"an image of {name}." for name in names[: args.n_texts // 2]] + names[-(args.n_texts // 2) :]
    photos = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in SUFFIXES) if args.photos else []
    photos = [str(photo.resolve()) for photo in photos[:: max(1, len(photos) // args.n_photos)][: args.n_photos]]
    rows, pixels, equal = [], [], n_other == 0
    for folder in args.checkpoints:
        with projectors(folder.resolve()) as plain:
            for suffix, theirs in plain:
                folders = {"ours": f"{folder.resolve()}{suffix}", "open_clip": str(theirs)}
                found = run_both(args.peers, folders, draw_images(args.n_images, 224), texts, [] if pixels else photos)
                rows.append(make_row(folder.name + suffix, found))
                pixels = pixels or pixel_lines(found, len(photos))
                apart = difference(found, "pixels") if len(rows) == 1 else 0
                equal &= difference(found, "images") <= 1e-4 and difference(found, "texts") <= 1e-4 and apart <= 1
    lines = ["# Equality with open_clip", "", f"- hardware: {describe_hardware()}"]
    lines += [f"- command: `{show_command('checkpoint_equality', sys.argv[1:])}`"]
    lines += [f"- open_clip 3.3.0; {args.n_images} images, {len(texts)} names; unit vectors in float32, random weights"]
    lines += [f"- tokens of {len(names):,} names: {n_other} differ from open_clip's", *pixels, ""]
    lines += [
        "Largest difference of any number of a vector; then the cost, ours / open_clip.",
        "",
        (
            "| checkpoint | image vectors | name vectors | logit scale, relative | load and first image, s "
            "| peak MB, images | and names |"
        ),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        (
            "`#second` is a checkpoint's second image projector. open_clip supports one projector; "
            "it gets the second one in a copy of the checkpoint."
        ),
    ]
    write_result(args.out, "checkpoint_equality", lines)
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
