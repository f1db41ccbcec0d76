"""Measure milliseconds per image of `linnaea identify` with a warm table of names, its parts, and the ceilings.

Everything runs in this process after a warm-up. Photographs of two sizes take turns in every round; the page gives
medians with minimum and maximum. The parts are timed one after another on all cores; in the whole run decoding overlaps
with the model. The arithmetic of the image tower is counted from its graph, which needs the package `onnx`.

    python benchmarks/identify_speed.py --photos DIR
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from hardware import describe_hardware, measure_bandwidth, measure_sgemm, n_cores, show_command, shown, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

SIZES = ((500, 375), (1600, 1200))
QUALITY = 90
OCTAVES = (256, 64, 16, 4)
PARTS = {
    "decode": "decode and preprocess",
    "tower": "image tower",
    "similarities": "name search: similarities",
    "scoring": "name search: scoring, calibration, answer",
    "writing": "writing (journal and table)",
}


def make_photos(folder: Path, n: int, size: tuple[int, int], photos: list[Path]) -> None:
    """Fill the folder with n JPEG files of one size, from photographs or from smooth noise of several scales."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        if photos:
            with Image.open(photos[i % len(photos)]) as opened:
                image = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), size)
        else:
            octaves = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in OCTAVES]
            image = Image.fromarray(octaves[0]).resize(size, Image.Resampling.BICUBIC)
            for noise in octaves[1:]:
                # coarse scales are stronger, like the spectrum of a photograph
                image = Image.blend(image, Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC), 0.65)
        image.save(folder / f"{i:05}.jpg", quality=QUALITY)


def count_tower_macs(model_dir: Path) -> int | None:
    """Return multiply-adds of the image tower for one image, or None if the graph cannot be read."""
    path = model_dir / "image.onnx"
    try:
        import onnx
    except ImportError:
        return None
    if not path.exists():
        return None
    graph_model = onnx.load(str(path))
    for value in graph_model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(graph_model, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            # outputs x (input channels of a group x height x width of the kernel)
            total += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            weight, out = shapes[node.input[1]], shapes[node.output[0]]
            total += prod(out) * prod(weight) // out[-1] if len(weight) == 2 else 0
    return total


@contextmanager
def timed(owner: object, name: str, seconds: dict[str, float], key: str) -> Iterator[None]:
    """Add the time spent in a method of an object to `seconds[key]`."""
    method = getattr(owner, name)

    def call(*arguments, **options):
        start = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            seconds[key] += time.perf_counter() - start

    setattr(owner, name, call)
    try:
        yield
    finally:
        delattr(owner, name)


def time_parts(folder: Path, model, namer, work: Path, batch_size: int) -> dict[str, float]:
    """Return milliseconds per image of each part, one after another."""
    from linnaea.embed.images.pixel_reader import read_pixels
    from linnaea.embed.journal import Journal
    from linnaea.identify.naming.event_pooling import pool_event
    from linnaea.identify.output.event_index import EventIndex
    from linnaea.identify.output.writers import pack, unpack, write_output
    from linnaea.records import ImageRecord
    from linnaea.standards.captures import CaptureIndex

    seconds: dict[str, float] = defaultdict(float)
    records = [ImageRecord(path=str(path)) for path in sorted(folder.iterdir())]
    start = time.perf_counter()
    with ThreadPoolExecutor(n_cores()) as pool:
        pixels = list(pool.map(partial(read_pixels, preprocess=model.card.preprocess), records))
    seconds["decode"] = time.perf_counter() - start

    batches = [slice(first, first + batch_size) for first in range(0, len(records), batch_size)]
    start = time.perf_counter()
    vectors = [model.encode_images(np.stack(pixels[part])) for part in batches]
    seconds["tower"] = time.perf_counter() - start

    start = time.perf_counter()
    with timed(namer.scorer.table, "similarities", seconds, "similarities"):
        named = [
            namer.name(vectors_bd, [record.path for record in records[part]])
            for vectors_bd, part in zip(vectors, batches, strict=True)
        ]
    seconds["scoring"] = time.perf_counter() - start - seconds["similarities"]

    start = time.perf_counter()
    journal = Journal.create(work / "parts.csv.part", {})
    for batch in named:
        journal.append([[row.file, pack(row)] for rows in batch for row in rows])

    def rows():
        return ((path, unpack(row)) for batch in journal.read() for path, row in batch)

    captures = CaptureIndex(dict.fromkeys(path for path, _prediction in rows()))

    def find_capture(path: str) -> tuple[str, str, str]:
        capture = captures.find(path)
        return capture.deployment.id, capture.station, capture.captured_at

    write_output(
        work / "parts.csv",
        "table",
        rows,
        identified_by="benchmark",
        created="",
        near=None,
        index=EventIndex(rows, find_capture, partial(pool_event, floor=0.0), 60.0),
        captures=captures,
    )
    journal.remove()
    seconds["writing"] = time.perf_counter() - start
    return {part: 1000 * seconds[part] / len(records) for part in PARTS}


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The rates of this machine, and the lower limits in milliseconds per image for tower and name search."""

    sgemm: float
    bandwidth: float
    tower_macs: int | None
    search_macs: int | None
    search_bytes: float

    @property
    def tower_ms(self) -> float:
        return 1000 * (self.tower_macs or 0) / self.sgemm

    @property
    def search_ms(self) -> float:
        """Return the larger of two times: that of the arithmetic and that of the least traffic."""
        return 1000 * max((self.search_macs or 0) / self.sgemm, self.search_bytes / self.bandwidth)


def find_ceiling(model, model_dir: Path | None, namer, batch_size: int) -> Ceiling:
    """Measure the machine and count the work for one image."""
    n, d, is_full = namer.scorer.n_candidates, model.card.dim, namer.kind == "full"
    vectors_nd = getattr(namer.scorer.table, "vectors_nd", None)
    bytes_each = 4 if vectors_nd is None else vectors_nd.itemsize
    return Ceiling(
        sgemm=measure_sgemm(),
        bandwidth=measure_bandwidth(),
        tower_macs=count_tower_macs(model_dir) if model_dir else None,
        search_macs=n * d if is_full else None,
        # the table once per batch; each cosine written once and read once
        search_bytes=bytes_each * n * d / batch_size + 8 * n if is_full else 0.0,
    )


def ceiling_rows(ceiling: Ceiling, parts: dict[str, float]) -> list[str]:
    """Return the ceilings of the tower and of the name search, and the fractions of them that were reached."""
    search = parts["similarities"] + parts["scoring"]
    rows = [
        "| part | work per image | ceiling, ms | measured, ms | ceiling / measured |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    if ceiling.tower_macs is None:
        rows.append(f"| image tower | not counted | | {parts['tower']:.2f} | |")
    else:
        work = f"{ceiling.tower_macs / 1e6:,.0f} M multiply-adds"
        rows.append(_ceiling_row("image tower", work, ceiling.tower_ms, parts["tower"]))
    if ceiling.search_macs is None:
        rows.append(f"| name search | not counted (staged table) | | {search:.2f} | |")
    else:
        traffic = f"at least {ceiling.search_bytes / 1e6:,.1f} MB of traffic"
        work = f"{ceiling.search_macs / 1e6:,.0f} M multiply-adds, {traffic}"
        rows.append(_ceiling_row("name search", work, ceiling.search_ms, search))
    return rows


def _ceiling_row(part: str, work: str, least: float, measured: float) -> str:
    return f"| {part} | {work} | {least:.2f} | {measured:.2f} | {least / measured:.0%} |"


def run_rounds(options, folders, model, namer, work: Path) -> tuple[dict, dict]:
    """Return milliseconds per image by size, and by size and part, one value per round.

    A first round warms up and is dropped.
    """
    from linnaea.identify.commands.config import IdentifyConfig
    from linnaea.identify.commands.identify import main as identify

    whole, parts = defaultdict(list), defaultdict(list)
    for number in range(options.rounds + 1):
        for size, folder in folders.items():
            config = IdentifyConfig(
                paths=(folder,),
                out=work / "whole.csv",
                model=options.model,
                vocabulary=options.vocabulary,
                names=namer.kind,
                overwrite=True,
                quiet=True,
            )
            start = time.perf_counter()
            if identify(config, namer=namer, model=model):
                raise RuntimeError(f"no image in {folder} could be named")
            duration_ms = 1000 * (time.perf_counter() - start) / options.n
            measured = time_parts(folder, model, namer, work, config.batch_size)
            if number:
                whole[size].append(duration_ms)
                for part, value in measured.items():
                    parts[size, part].append(value)
    return whole, parts


def spread(values: list[float]) -> str:
    """Return median, minimum and maximum."""
    return f"{statistics.median(values):.2f} | {min(values):.2f} … {max(values):.2f}"


def report(options, argv, load_s: float, namer, model, ceiling: Ceiling, whole, parts, load: str) -> list[str]:
    """Return the lines of the result file."""
    sizes = list(whole)
    medians = {size: {part: statistics.median(parts[size, part]) for part in PARTS} for size in sizes}
    content = "from photographs" if options.photos else "smooth noise"
    candidates = f"{namer.scorer.n_candidates:,} candidates"
    lines = [
        "# Speed of `linnaea identify`",
        "",
        f"- hardware: {describe_hardware()}; load average before the run: {load}",
        f"- made by: `{show_command('identify_speed', argv)}`",
        f"- model: `{model.card.name}` ({model.card.hash}, {model.card.dim} dimensions)",
        (
            f"- names: vocabulary `{shown(options.vocabulary)}`, {candidates}, {namer.kind} table, "
            f"loaded in {load_s:.1f} s before the measurement"
        ),
        f"- images: {options.n} JPEG files of each size, {content}, quality {QUALITY}; {options.rounds} rounds",
        (
            f"- this machine at most (all cores): {ceiling.sgemm / 1e9:.1f} G multiply-adds per second "
            f"(float32 matrix product), {ceiling.bandwidth / 1e9:.1f} GB/s (copy)"
        ),
        "",
        "## Ceiling",
        "",
        "Decoding has no ceiling here (see decoding_speed.py); its measured time is used. The least traffic of the",
        "name search: the table is read once per batch, each cosine is written once and read once.",
        "",
        *ceiling_rows(ceiling, medians[sizes[0]]),
        "",
        "## Milliseconds per image",
    ]
    for size in sizes:
        decode_ms = medians[size]["decode"]
        least = decode_ms + ceiling.tower_ms + ceiling.search_ms
        lines += ["", f"### {size[0]} x {size[1]}", "", "| | median | minimum … maximum |", "| --- | ---: | ---: |"]
        lines.append(f"| **whole run** | {spread(whole[size])} |")
        lines += [f"| {title} | {spread(parts[size, part])} |" for part, title in PARTS.items()]
        lines.append(f"| sum of the parts | {sum(medians[size].values()):.2f} | |")
        if ceiling.tower_macs is not None and ceiling.search_macs is not None:
            share = least / statistics.median(whole[size])
            lines.append(f"| decoding as measured + ceiling of the rest | {least:.2f} | {share:.0%} of the whole run |")
    return lines


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--photos", type=Path, help="folder of JPEG files to take the content from (default: smooth noise)"
    )
    parser.add_argument("--n", type=int, default=128, help="files of each size (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds after the warm-up (default: 5)")
    parser.add_argument("--model", default="bundled", help="as for linnaea identify")
    parser.add_argument("--vocabulary", default="inat", help="as for linnaea identify")
    parser.add_argument("--names", default="full", choices=("auto", "full", "staged"), help="as for linnaea identify")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 0 after the result is written."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    from linnaea.identify.naming.namer import load_namer
    from linnaea.identify.naming.namer_config import NamerConfig
    from linnaea.model.loading import BUNDLED_DIR, load_model

    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    photos = (
        sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg")) if options.photos else []
    )
    if options.photos and not photos:
        raise SystemExit(f"no JPEG file in {options.photos}; choose another --photos")
    model = load_model(options.model)
    model_dir = {"bundled": BUNDLED_DIR, "placeholder": None}.get(options.model, Path(options.model))
    start = time.monotonic()
    namer = load_namer(NamerConfig(vocabulary=options.vocabulary, names=options.names), model)
    load_s = time.monotonic() - start
    with tempfile.TemporaryDirectory(prefix="linnaea-speed-") as name:
        work = Path(name)
        folders = {size: work / f"{size[0]}x{size[1]}" for size in SIZES}
        for size, folder in folders.items():
            make_photos(folder, options.n, size, photos)
        batch_size = min(32, options.n)
        ceiling = find_ceiling(model, model_dir, namer, batch_size)
        whole, parts = run_rounds(options, folders, model, namer, work)
    write_result(
        options.results, "identify_speed", report(options, argv, load_s, namer, model, ceiling, whole, parts, load)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
