"""Is the peak memory of `linnaea identify` bounded, for any number of images?

The script makes small distinct images and runs the command on them as a subprocess. Every 0.2 s it adds up the resident
memory (with mapped pages) of all its processes. Linux only.

    python benchmarks/identify_memory.py                        # 100,000 images, the full vocabulary
    python benchmarks/identify_memory.py --cold                 # with an empty cache: building it counts as well
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hardware import describe_hardware, show_command, shown, write_result

HERE = Path(__file__).resolve().parent
FOLDER_SIZE = 1000
PNG_EVERY = 10
SIDE = 64
PERIOD_S = 0.2
LIMIT_GB = 2.0


def make_images(folder: Path, n_images: int) -> None:
    """Fill the folder with distinct smooth images of 64 x 64 pixels: JPEG, and every tenth PNG."""
    for first in range(0, n_images, FOLDER_SIZE):
        part = folder / f"{first // FOLDER_SIZE:05}"
        part.mkdir(parents=True)
        n_here = min(FOLDER_SIZE, n_images - first)
        noise = np.random.default_rng(first).integers(0, 256, (n_here, 8, 8, 3), np.uint8)
        for i in range(n_here):
            image = Image.fromarray(noise[i]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            is_png = i % PNG_EVERY == 0
            image.save(
                part / f"{first + i:07}.{'png' if is_png else 'jpg'}", **({"compress_level": 1} if is_png else {})
            )


def read_processes() -> dict[int, tuple[int, int, int]]:
    """Return parent, resident bytes and peak resident bytes of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text()
        except OSError:  # the process has ended meanwhile
            continue
        values = [re.search(rf"^{key}:\s*(\d+)", text, re.MULTILINE) for key in ("PPid", "VmRSS", "VmHWM")]
        if all(values):
            parent, resident, peak = (int(value[1]) for value in values)
            found[int(path.parent.name)] = parent, resident * 1024, peak * 1024
    return found


def tree_of(root: int, processes: dict[int, tuple[int, int, int]]) -> set[int]:
    """Return a process and all its descendants."""
    tree, new = set(), {root} & processes.keys()
    while new:
        tree |= new
        new = {pid for pid, (parent, *_) in processes.items() if parent in tree} - tree
    return tree


@dataclass
class Peaks:
    """The largest values, in bytes, and the sum of resident memory over time as (seconds, bytes)."""

    tree: int = 0
    high_water: int = 0
    n_processes: int = 0
    course: list[tuple[float, int]] = field(default_factory=list)


def watch(command: list[str], environment: dict[str, str]) -> tuple[int, float, Peaks]:
    """Return exit code, seconds and peaks of a command."""
    peaks, start = Peaks(), time.monotonic()
    process = subprocess.Popen(command, env=environment)
    try:
        while process.poll() is None:
            processes = read_processes()
            tree = tree_of(process.pid, processes)
            total = sum(processes[pid][1] for pid in tree)
            peaks.tree, peaks.n_processes = max(peaks.tree, total), max(peaks.n_processes, len(tree))
            # The kernel also records peaks between samples.
            peaks.high_water = max([peaks.high_water, *(processes[pid][2] for pid in tree)])
            peaks.course.append((time.monotonic() - start, total))
            time.sleep(PERIOD_S)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    return process.returncode, time.monotonic() - start, peaks


def read_statuses(path: Path) -> Counter:
    """Return how many rows of the table have each status."""
    if not path.exists():
        return Counter()
    with path.open(newline="", encoding="utf-8") as handle:
        return Counter(row["status"] for row in csv.DictReader(handle))


def course_rows(course: list[tuple[float, int]], n_rows: int = 10) -> list[str]:
    """Return a table of the largest memory in equal spans of the run."""
    end = max((t for t, _ in course), default=0.0)
    rows = ["| until, s | peak, MB |", "| ---: | ---: |"]
    for i in range(n_rows):
        inside = [size for t, size in course if end * i / n_rows <= t <= end * (i + 1) / n_rows]
        rows += [f"| {end * (i + 1) / n_rows:.0f} | {max(inside) / 1e6:,.0f} |"] if inside else []
    return rows


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=100_000, help="images (default: 100000)")
    parser.add_argument("--model", default="bundled", help="as for linnaea identify")
    parser.add_argument("--vocabulary", default="inat", help="as for linnaea identify")
    parser.add_argument("--names", default="auto", help="as for linnaea identify")
    parser.add_argument("--cold", action="store_true", help="start with an empty cache, so that building it counts")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 0 if every image got a row and the peak stayed below 2 GB."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    with tempfile.TemporaryDirectory(prefix="linnaea-memory-") as name:
        work = Path(name)
        start = time.monotonic()
        make_images(work / "images", options.n)
        print(f"{options.n:,} images made in {time.monotonic() - start:.0f} s", file=sys.stderr)
        given = ["--model", options.model, "--vocabulary", options.vocabulary, "--names", options.names, "--quiet"]
        command = [
            sys.executable,
            "-m",
            "linnaea",
            "identify",
            str(work / "images"),
            "--out",
            str(work / "x.csv"),
            *given,
        ]
        source = str(HERE.parent / "src")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        }
        if options.cold:
            environment["LINNAEA_CACHE"] = str(work / "cache")
        code, seconds, peaks = watch(command, environment)
        statuses = read_statuses(work / "x.csv")
    n_rows, peak = statuses.total(), max(peaks.tree, peaks.high_water)
    fits = code == 0 and n_rows == options.n and peak <= LIMIT_GB * 1e9
    cache = "empty at the start" if options.cold else "unchanged"
    lines = [
        "# Peak memory of `linnaea identify`",
        "",
        f"- hardware: {describe_hardware()}",
        f"- made by: `{show_command('identify_memory', argv)}`",
        f"- config: {options.n:,} images of {SIDE} x {SIDE} pixels (JPEG, every {PNG_EVERY}th PNG), cache {cache}",
        f"- command measured: `python -m linnaea identify DIR --out x.csv {shlex.join(map(shown, given))}`",
        "",
        "| measure | value |",
        "| --- | ---: |",
        (
            f"| peak resident memory of all processes, with mapped pages, sampled every {PERIOD_S} s "
            f"| {peaks.tree / 1e6:,.0f} MB |"
        ),
        f"| peak of the largest process, recorded by the kernel (VmHWM) | {peaks.high_water / 1e6:,.0f} MB |",
        f"| largest number of processes | {peaks.n_processes} |",
        f"| rows written | {n_rows:,} of {options.n:,} |",
        *(f"| … {status} | {n:,} |" for status, n in sorted(statuses.items())),
        f"| exit code | {code} |",
        f"| duration | {seconds:,.0f} s, {1000 * seconds / max(1, options.n):.1f} ms per image |",
        f"| limit | {LIMIT_GB:g} GB: {'kept' if fits else 'NOT kept'} |",
        "",
        "Over the run:",
        "",
        *course_rows(peaks.course),
    ]
    write_result(options.results, "identify_memory", lines)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
