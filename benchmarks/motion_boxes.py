"""How well does `--boxes motion` find animals that are planted into bursts of a still camera?

    python benchmarks/motion_boxes.py --data ../shared/data --results benchmarks/results

Backgrounds are photographs without an organism, animals are photographs of the everyday set within a soft ellipse. Each
burst has three to five photographs with 1 pixel of jitter, another exposure for each, and sensor noise; the animal
moves or is missing from a photograph. Half of the bursts are empty. Boxes are compared with the bounds of the ellipse.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from hardware import describe_hardware, show_command, write_result
from linnaea.identify.detection.motion import find_motion

SIZE = (320, 240)
OVERLAPS = (0.3, 0.5)


def open_photo(path: Path, size: tuple[int, int]) -> Image.Image:
    """Return the photograph as RGB in exactly this size."""
    return Image.open(path).convert("RGB").resize(size)


def make_burst(
    background: Image.Image, animal: Image.Image | None, rng: np.random.Generator
) -> tuple[np.ndarray, list]:
    """Return grey photographs [f, h, w] and the box of the animal in each (fractions), None where it is missing."""
    n = int(rng.integers(3, 6))
    side = int(rng.integers(28, 90))
    x, y = rng.uniform(0, SIZE[0] - side, n), np.full(n, rng.uniform(0.2, 0.9) * (SIZE[1] - side))
    frames, boxes = [], []
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((2, 2, side - 3, side - 3), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(1.5))
    for i in range(n):
        frame = background.copy()
        box = None
        if animal is not None and (i > 0 or n < 4):
            frame.paste(animal.resize((side, side)), (int(x[i]), int(y[i])), mask)
            box = (int(x[i]) / SIZE[0], int(y[i]) / SIZE[1], (int(x[i]) + side) / SIZE[0], (int(y[i]) + side) / SIZE[1])
        grey = np.asarray(frame.convert("L"), np.float32)
        grey = np.roll(grey, tuple(rng.integers(-1, 2, 2)), (0, 1))
        grey = grey * rng.uniform(0.85, 1.15) + rng.uniform(-12, 12) + rng.normal(0, 4, grey.shape)
        frames.append(np.clip(grey, 0, 255))
        boxes.append(box)
    return np.stack(frames), boxes


def overlap(a: tuple, b: tuple) -> float:
    """Return the intersection of two boxes over their union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def measure(data: Path, n: int, seed: int) -> dict:
    """Return counts over `n` bursts with an animal and `n` empty ones."""
    rng = np.random.default_rng(seed)
    scenes = sorted((data / "images" / "no_organism").rglob("*.[jJ][pP]*[gG]"))
    animals = sorted((data / "everyday" / "images").rglob("*.jpg"))
    counts = dict.fromkeys(("animals", "boxes", "false_bursts", *(f"hits_{o}" for o in OVERLAPS)), 0)
    for i in range(2 * n):
        background = open_photo(scenes[rng.integers(len(scenes))], SIZE)
        animal = open_photo(animals[rng.integers(len(animals))], (96, 96)) if i % 2 else None
        frames, truth = make_burst(background, animal, rng)
        found = find_motion(frames)
        if animal is None:
            counts["false_bursts"] += any(found)
            continue
        for boxes, box in zip(found, truth, strict=True):
            counts["boxes"] += len(boxes)
            counts["animals"] += box is not None
            best = max((overlap(one[:4], box) for one in boxes), default=0) if box else 0
            for least in OVERLAPS:
                counts[f"hits_{least}"] += best >= least
    return counts


def main() -> int:
    """Return 0 after the page is printed, and written if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    counts = measure(arguments.data, arguments.n, arguments.seed)
    lines = ["# Boxes of motion in planted bursts", "", f"`{show_command('motion_boxes', sys.argv[1:])}` on"]
    lines += [
        f"{describe_hardware()}.",
        "",
        "| intersection over union at least | recall | precision |",
        "| --- | --- | --- |",
    ]
    for least in OVERLAPS:
        hits = counts[f"hits_{least}"]
        lines.append(f"| {least} | {hits / counts['animals']:.1%} | {hits / max(counts['boxes'], 1):.1%} |")
    lines += ["", f"{counts['animals']:,} animals in {arguments.n} bursts; of {arguments.n} empty bursts, "]
    lines[-1] += f"{counts['false_bursts'] / arguments.n:.1%} have a box. Sequences are planted, not real."
    print("\n".join(lines))
    if arguments.results:
        write_result(arguments.results, "motion_boxes", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
