"""Compare images per second of the image tower in each runtime with open_clip's own in torch, with the agreement.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 CHECKPOINTS/vit-l-14        # and vit-b-16
    python benchmarks/towers_speed.py --peers DIR CHECKPOINTS/vit-b-16 CHECKPOINTS/vit-l-14

All are loaded at once and take turns in every round: first open_clip in the peers' environment (eager, float32, its
default threads), then each of our runtimes, with 8 images and with 1 image. Speeds are medians over the rounds. Each
ratio is taken within a round; the page gives its median with minimum and maximum. Agreement is the centred cosine of 32
images' vectors with open_clip's, mean and minimum. The 8-bit forms are calibrated on 32 other images. The page states
first what one round costs: the arithmetic, and the fastest float32 product on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

RUNTIMES = ("onnxruntime", "onnxruntime-int8", "openvino", "openvino-bf16", "openvino-w8a8")
PEER = "open_clip"
N_AGREE = 32
BATCHES = (8, 1)
REPEATS = {8: 1, 1: 3}


# --- The peer: runs in the peers' environment


def serve(checkpoint: str) -> None:
    """Run open_clip as a worker.

    It reads a line with the path of normalised images [n, 3, h, w] and a batch size, and answers with seconds.
    """
    import open_clip
    import torch

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model, _, _preprocess = open_clip.create_model_and_transforms(f"local-dir:{checkpoint}")
    model.eval()
    for line in sys.stdin:
        request = json.loads(line)
        images = torch.from_numpy(np.load(request["images"]))
        parts, seconds = [], []
        with torch.inference_mode():
            for start in range(0, len(images), request["batch"]):
                part = images[start : start + request["batch"]]
                begun = time.perf_counter()
                parts.append(model.encode_image(part, normalize=True))
                seconds.append(time.perf_counter() - begun)
        np.save(request["out"], torch.cat(parts).numpy())
        answers.write(json.dumps({"seconds": seconds}) + "\n")
        answers.flush()


class Peer:
    """The project's side of the worker."""

    def __init__(self, python: Path, checkpoint: Path, card, folder: Path):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        command = [str(python), str(Path(__file__).resolve()), "--serve", str(checkpoint.absolute())]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._card, self._folder = card, folder

    def encode(self, images_bhwc: np.ndarray, batch: int) -> tuple[np.ndarray, list[float]]:
        """Return the vectors and the seconds of each batch; images are normalised before."""
        mean, std = (np.array(x, np.float32) for x in (self._card.preprocess.mean, self._card.preprocess.std))
        np.save(self._folder / "in.npy", ((images_bhwc / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))
        request = {"images": str(self._folder / "in.npy"), "out": str(self._folder / "out.npy"), "batch": batch}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"open_clip's worker ended with {self._process.wait()}")
        return np.load(self._folder / "out.npy"), json.loads(line)["seconds"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


# --- The project's side


def make_images(n: int, size: int, seed: int) -> np.ndarray:
    """Return images uint8 [n, size, size, 3]: smooth noise of several scales, each with its own colour and contrast."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        total = np.zeros((size, size, 3))
        for side in (4, 16, 64, size):
            noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
            total += np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC), float) - 128
        images.append(rng.uniform(60, 195, 3) + rng.uniform(0.2, 1) * total)
    return np.clip(images, 0, 255).astype(np.uint8)


def count_operations(config) -> float:
    """Return multiply-adds of the tower for one image.

    If only the class token of the last block is needed, only its operations are counted.
    """
    t, w, hidden = config.n_tokens, config.width, config.width * config.mlp_ratio
    block = t * w * (3 * w) + 2 * t * t * w + t * w * w + 2 * t * w * hidden
    last = t * w * (3 * w) + 2 * t * w + w * w + 2 * w * hidden
    return (config.n_layers - 1) * block + last + (t - 1) * config.patch**2 * 3 * w


def seconds_of(tower, images: np.ndarray, repeats: int) -> float:
    """Return the seconds of the fastest of some runs over all images at once."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        tower.encode(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(checkpoint: Path, python: Path, runtimes: list[str], rounds: int) -> list[str]:
    """Return the lines of the result for one checkpoint."""
    from linnaea.model.loading import load_model
    from linnaea.model.runtimes.encoder_factory import open_image_encoder

    model = load_model(str(checkpoint))
    source, size = model.image_source, model.card.preprocess.size
    agree, calibrate, timed = (make_images(n, size, seed) for n, seed in ((N_AGREE, 1), (32, 2), (max(BATCHES), 3)))
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(python, checkpoint, model.card, Path(folder))
        theirs, _ = peer.encode(agree, 8)
        opened, open_s, cosines = {}, {}, {}
        for runtime in runtimes:
            start = time.perf_counter()
            opened[runtime] = open_image_encoder(source, runtime, images=lambda: calibrate)
            open_s[runtime] = time.perf_counter() - start
            cosines[runtime] = cosine_rows(theirs, opened[runtime].encode(agree))
        speeds: dict[tuple[str, int], list[float]] = {(name, b): [] for name in (PEER, *runtimes) for b in BATCHES}
        for _ in range(rounds):
            for b in BATCHES:
                images = timed[:b]
                _, seconds = peer.encode(np.concatenate([images] * REPEATS[b]), b)
                speeds[PEER, b].append(b / min(seconds))
                for runtime in runtimes:
                    speeds[runtime, b].append(b / seconds_of(opened[runtime], images, REPEATS[b]))
        peer.close()
    operations = count_operations(source.config) / 1e9
    return [
        *table(checkpoint.name, runtimes, speeds, cosines, open_s),
        "",
        f"{operations:.1f} G multiply-adds per image.",
    ]


def cosine_rows(vectors_bd: np.ndarray, other_bd: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows, after subtracting the mean of each set."""
    a, b = (x - x.mean(0) for x in (vectors_bd.astype(np.float64), other_bd.astype(np.float64)))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def table(title: str, runtimes: list[str], speeds: dict, cosines: dict, open_s: dict) -> list[str]:
    """Return a Markdown table with a row for the peer and each runtime."""
    heads = [f"{unit}, batch {b}" for b in BATCHES for unit in ("images/s", "speed-up over open_clip")]
    lines = [f"## {title}", "", f"| runtime | {' | '.join(heads)} | centred cosine, mean and minimum | loading |"]
    lines.append("| --- |" + " --- |" * (len(heads) + 2))
    for name in (PEER, *runtimes):
        cells = [f"{name}"]
        for b in BATCHES:
            ratios = [ours / theirs for ours, theirs in zip(speeds[name, b], speeds[PEER, b], strict=True)]
            cells.append(f"{statistics.median(speeds[name, b]):.2f}")
            cells.append(
                "1" if name == PEER else f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})"
            )
        if name == PEER:
            cells += ["1", ""]
        else:
            cells += [f"{cosines[name].mean():.5f}, {cosines[name].min():.5f}", f"{open_s[name]:.1f} s"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="*", help="folders in open_clip's hub format")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environment")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    from hardware import describe_hardware, measure_sgemm, show_command, write_result
    from linnaea.model.runtimes.runtime_names import engine_version

    runtimes = options.runtimes.split(",")
    from peers import peer_python

    python = peer_python(options.peers.absolute())
    engines = sorted({engine_version(runtime) for runtime in runtimes})
    lines = [
        "# The image tower in every runtime, compared with open_clip",
        "",
        f"{describe_hardware()}; {', '.join(engines)}; random weights.",
        f"Medians of {options.rounds} rounds in turns; ratios with minimum and maximum.",
        "",
        f"`{show_command('towers_speed', sys.argv[1:])}`",
        "",
        f"Fastest float32 product here: {measure_sgemm() / 1e9:.0f} G multiply-adds per second on all cores.",
    ]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["LINNAEA_CACHE"] = cache
        for checkpoint in options.checkpoints:
            lines += ["", *measure(checkpoint, python, runtimes, options.rounds)]
    write_result(options.results, "towers_speed", lines)


if __name__ == "__main__":
    main()
