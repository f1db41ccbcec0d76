"""Compare decoding of JPEG files to a model's 224 x 224 pixels with open_clip's transforms, on one thread.

    python benchmarks/decoding_speed.py --peers DIR --photos DIR

The result is milliseconds per file and the difference of the pixels. Both sides run on the same core and take turns in
every round, with all files of one kind at a time: first open_clip in the peers' environment (`Image.open` and its
evaluation transform), then ours, exact and scaled. Each ratio is taken within a round. The page gives medians over the
rounds with minimum and maximum. The ceiling is decoding by libjpeg-turbo alone, into memory that is already allocated:
exact pixels cannot take less time. Differences are in levels of 255, against open_clip's pixels with its normalisation
undone, over the timed files and over more qualities, chroma subsamplings and shapes.
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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hardware import describe_hardware, show_command, write_result
from peers import peer_python

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

SIZE, MEAN, STD = 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TILE = (400, 300)
OURS = {"exact": "linnaea, exact", "scaled": "linnaea, scaled"}
# The available photographs are small. A mosaic has as much detail per pixel as they have; an enlarged one has less
# than a camera gives.
SHAPES = [(500, 375), (375, 500), (1600, 1200), (1201, 1600), (2000, 700), (700, 2000), (260, 230), (150, 100)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of file to time."""

    name: str
    size: tuple[int, int]
    mosaic: bool
    quality: int
    subsampling: str
    n: int
    progressive: bool = False


KINDS = (
    Kind(name="1600 x 1200, mosaic", size=(1600, 1200), mosaic=True, quality=90, subsampling="4:2:0", n=12),
    Kind(name="1600 x 1200, enlarged", size=(1600, 1200), mosaic=False, quality=90, subsampling="4:2:0", n=12),
    Kind(
        name="1600 x 1200, mosaic, 4:4:4, quality 95",
        size=(1600, 1200),
        mosaic=True,
        quality=95,
        subsampling="4:4:4",
        n=6,
    ),
    Kind(
        name="1600 x 1200, mosaic, progressive",
        size=(1600, 1200),
        mosaic=True,
        quality=90,
        subsampling="4:2:0",
        n=6,
        progressive=True,
    ),
    Kind(name="500 x 375", size=(500, 375), mosaic=False, quality=90, subsampling="4:2:0", n=12),
    Kind(name="4000 x 3000, mosaic", size=(4000, 3000), mosaic=True, quality=90, subsampling="4:2:0", n=3),
    Kind(
        name="6000 x 4000, mosaic, 4:2:2, quality 92",
        size=(6000, 4000),
        mosaic=True,
        quality=92,
        subsampling="4:2:2",
        n=2,
    ),
)


# --- The peer: runs in the peers' environment


def serve() -> None:
    """Run open_clip's transform as a worker.

    It reads a line with paths and, if the last tensor is wanted, the place to write it. It answers with seconds.
    """
    import torch
    from open_clip.transform import image_transform

    torch.set_num_threads(1)
    transform = image_transform(SIZE, is_train=False, mean=MEAN, std=STD)
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        for path in request["paths"]:
            tensor = transform(Image.open(path))
        seconds = time.perf_counter() - start
        if request["out"]:
            np.save(request["out"], tensor.numpy())
        print(json.dumps(seconds), flush=True)


class Peer:
    """The project's side of the worker."""

    def __init__(self, python: Path, folder: Path):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
            "OMP_NUM_THREADS": "1"
        }
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve()), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._out = folder / "tensor.npy"

    def seconds(self, paths: list[Path], out: Path | None = None) -> float:
        """Return the seconds for all files together."""
        request = {"paths": [str(path) for path in paths], "out": str(out) if out else ""}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def pixels(self, path: Path) -> np.ndarray:
        """Return the model's input uint8 [h, w, 3], with its normalisation undone."""
        self.seconds([path], self._out)
        tensor_chw = np.load(self._out)
        return np.rint((tensor_chw.transpose(1, 2, 0) * STD + MEAN) * 255).astype(np.uint8)

    def close(self) -> None:
        """End the worker."""
        self._process.stdin.close()
        self._process.wait()


# --- The files


def draw(photos: list[Path], kind: Kind, number: int) -> Image.Image:
    """Return one image of a kind, made from photographs, or from smooth noise if there are none."""
    if not kind.mosaic:
        return _fit(photos, number, kind.size)
    image = Image.new("RGB", kind.size)
    tiles = [(x, y) for y in range(0, kind.size[1], TILE[1]) for x in range(0, kind.size[0], TILE[0])]
    for i, corner in enumerate(tiles):
        image.paste(_fit(photos, number * len(tiles) + i, TILE), corner)
    return image


def _fit(photos: list[Path], number: int, size: tuple[int, int]) -> Image.Image:
    if photos:
        with Image.open(photos[number % len(photos)]) as opened:
            return ImageOps.fit(opened.convert("RGB"), size)
    rng = np.random.default_rng(number)
    image = Image.new("RGB", size)
    for side in (256, 64, 16, 4):
        noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        image = Image.blend(image, noise, 0.5)
    return image


def make_files(folder: Path, photos: list[Path]) -> dict[Kind, list[Path]]:
    """Return the JPEG files of each kind."""
    files = {}
    for k, kind in enumerate(KINDS):
        files[kind] = [folder / f"{k}_{i:02}.jpg" for i in range(kind.n)]
        for i, path in enumerate(files[kind]):
            image = draw(photos, kind, i)
            image.save(path, quality=kind.quality, subsampling=kind.subsampling, progressive=kind.progressive)
    return files


def make_variants(folder: Path, photos: list[Path]) -> list[Path]:
    """Return JPEG files of many shapes, qualities and subsamplings, small and large."""
    paths = []
    for i, size in enumerate(SHAPES):
        for quality in (30, 75, 90, 98):
            for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
                path = folder / f"v{len(paths):03}.jpg"
                # photographs as they are, with their own clipped highlights and shadows
                image = _fit(photos, 7 * i + quality + len(subsampling), size)
                image.save(path, quality=quality, subsampling=subsampling, progressive=bool(len(paths) % 2))
                paths.append(path)
        path = folder / f"v{len(paths):03}.jpg"
        _fit(photos, i, size).convert("L").save(path, quality=85)
        paths.append(path)
    return paths


# --- The measurement


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and its children on one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def our_pixels(path: Path, decoding: str) -> np.ndarray:
    """Return the input of our model, uint8 [224, 224, 3]."""
    from linnaea.embed.images.pixel_reader import read_pixels
    from linnaea.model.core.contract import Preprocess
    from linnaea.records import ImageRecord

    return read_pixels(ImageRecord(path=str(path)), Preprocess(size=SIZE, resize="shortest"), decoding)


def decode_alone(path: Path, divisor: int, buffer: np.ndarray) -> None:
    """Decode a file in memory with libjpeg-turbo, at full or divided size, into memory that is already allocated."""
    import simplejpeg

    data = path.read_bytes()
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    sides = {"min_height": -(-height // divisor), "min_width": -(-width // divisor)}
    simplejpeg.decode_jpeg(data, "RGBA", buffer=buffer, **sides)


def time_kind(files: list[Path], peer: Peer, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds per file by way, one value per round; a first round warms up and is dropped."""
    with Image.open(files[0]) as image:
        buffer = np.ones(4 * image.width * image.height, np.uint8)
    ours = {decoding: partial(our_pixels, decoding=decoding) for decoding in OURS} | {
        "decoding alone": partial(decode_alone, divisor=1, buffer=buffer),
        "its entropy part": partial(decode_alone, divisor=8, buffer=buffer),
    }
    values = defaultdict(list)
    for number in range(rounds + 1):
        seconds = {"open_clip": peer.seconds(files)}
        for way, work in ours.items():
            start = time.perf_counter()
            for path in files:
                work(path)
            seconds[way] = time.perf_counter() - start
        if number:
            for way, value in seconds.items():
                values[way].append(1000 * value / len(files))
    return values


def differences(files: list[Path], peer: Peer, decoding: str) -> tuple[float, int, float]:
    """Return the mean and the largest difference from open_clip's pixels, and the share of values that differ."""
    found = [np.abs(our_pixels(path, decoding).astype(int) - peer.pixels(path)) for path in files]
    return (
        float(np.mean([d.mean() for d in found])),
        int(max(d.max() for d in found)),
        float(np.mean([(d > 0).mean() for d in found])),
    )


def spread(values: list[float], digits: int = 2) -> str:
    """Return the median (minimum … maximum)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} … {max(values):.{digits}f})"


def kind_rows(kind: Kind, files: list[Path], times: dict[str, list[float]], peer: Peer) -> list[str]:
    """Return the lines on one kind of file."""
    bits = 8 * statistics.mean(path.stat().st_size for path in files) / (kind.size[0] * kind.size[1])
    lines = [
        "",
        f"### {kind.name}",
        "",
        f"{len(files)} files, quality {kind.quality}, {kind.subsampling}, {bits:.2f} bits per pixel",
        "",
        "| way | ms per file | speed-up over open_clip | mean difference | largest | values that differ |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| open_clip | {spread(times['open_clip'])} | 1 | | | |",
    ]
    for decoding, title in OURS.items():
        ratio = [a / b for a, b in zip(times["open_clip"], times[decoding], strict=True)]
        mean, greatest, share = differences(files, peer, decoding)
        lines.append(
            f"| {title} | {spread(times[decoding])} | {spread(ratio)} | {mean:.4f} | {greatest} | {share:.2%} |"
        )
    for way in ("decoding alone", "its entropy part"):
        lines.append(f"| {way} | {spread(times[way])} | | | | |")
    reached = statistics.median(times["decoding alone"]) / statistics.median(times["exact"])
    most = statistics.median(times["open_clip"]) / statistics.median(times["decoding alone"])
    lines += ["", f"Exact decoding reaches {reached:.0%} of the ceiling, where the ratio would be {most:.2f}."]
    return lines


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, help="folder of the peers' environment (see peers.py)")
    parser.add_argument(
        "--photos", type=Path, help="folder of JPEG files to take the content from (default: smooth noise)"
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds after the warm-up (default: 9)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not options.serve and options.peers is None:
        parser.error("--peers is missing; give the folder of the peers' environment")
    return options


def main(argv: list[str] | None = None) -> int:
    """Return 0 after the result is written."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.serve:
        serve()
        return 0
    python = peer_python(options.peers.absolute())
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    photos = (
        sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg")) if options.photos else []
    )
    if options.photos and not photos:
        raise SystemExit(f"no JPEG file in {options.photos}; choose another --photos")
    hardware = describe_hardware()
    with tempfile.TemporaryDirectory(prefix="linnaea-decoding-") as name, one_core():
        peer = Peer(python, Path(name))
        files = make_files(Path(name), photos)
        times = {kind: time_kind(paths, peer, options.rounds) for kind, paths in files.items()}
        body = [line for kind in KINDS for line in kind_rows(kind, files[kind], times[kind], peer)]
        variants = make_variants(Path(name), photos)
        odd = {decoding: differences(variants, peer, decoding) for decoding in OURS}
        peer.close()
    content = f"from {len(photos):,} photographs" if photos else "smooth noise"
    lines = [
        "# From a JPEG to a model's pixels",
        "",
        f"- hardware: {hardware}, one core of it; load average before the run: {load}",
        f"- made by: `{show_command('decoding_speed', argv)}`",
        (
            f"- images: {content}; {options.rounds} rounds; open_clip 3.3.0 with its transform for evaluation, "
            f"bicubic, {SIZE} pixels"
        ),
        "- our output is 8-bit pixels (the image tower's graph normalises), open_clip's is a normalised tensor",
        "",
        "## Milliseconds per file",
        *body,
        "",
        "## Pixels of more shapes, qualities and subsamplings",
        "",
        (
            f"{len(variants)} files: {', '.join(f'{w} x {h}' for w, h in SHAPES)}; quality 30, 75, 90, 98; "
            "three subsamplings; grey."
        ),
        "",
        "| way | mean difference | largest | values that differ |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {OURS[way]} | {mean:.4f} | {most} | {share:.2%} |" for way, (mean, most, share) in odd.items()),
    ]
    write_result(options.results, "decoding_speed", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
