"""Compare whole `linnaea identify` commands of two checkouts in turns: time, CPU time, peak memory and answers.

    python benchmarks/random_checkpoint.py vit-l-14 CHECKPOINT --numpy && python benchmarks/random_table.py TABLE
    python benchmarks/identify_versions.py OTHER --photos JPGS --model CHECKPOINT --table TABLE
    python benchmarks/identify_versions.py OTHER --photos JPGS --photographs 300

OTHER is a checkout of the version to compare with. Each run is the whole command in its own process, which also loads
the model and the names. Time and peak memory (with mapped pages) are those that the kernel records for the process. One
run of each version comes first and fills the caches. Confidences are compared with the decimals of the output.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from hardware import describe_hardware, show_command, write_result

HERE = Path(__file__).resolve().parent
TABLE_STEM = "txt_emb_species"
SUFFIXES = (".jpg", ".jpeg", ".png")


class Run(NamedTuple):
    """The cost of one command: seconds, CPU seconds, peak MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def choose_photos(photos_dir: Path, n: int, folder_dir: Path) -> None:
    """Copy `n` photographs below `photos_dir` into a folder, chosen at random with a fixed seed."""
    paths = sorted(path for path in photos_dir.rglob("*") if path.suffix.lower() in SUFFIXES)
    folder_dir.mkdir()
    for number, path in enumerate(random.Random(0).sample(paths, n)):
        shutil.copy(path, folder_dir / f"{number:05}{path.suffix}")


def run_identify(checkout_dir: Path, arguments: list[str], out_path: Path, cache_dir: Path) -> Run:
    """Run one command of a checkout and return its cost."""
    out_path.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "linnaea",
        "identify",
        *arguments,
        "--out",
        str(out_path),
        "--overwrite",
        "--quiet",
    ]
    environment = os.environ | {"PYTHONPATH": str(checkout_dir / "src"), "LINNAEA_CACHE": str(cache_dir)}
    start_s = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    try:
        _pid, status, usage = os.wait4(process.pid, 0)
    finally:
        process.returncode = 0
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}; see its message above")
    return Run(time.perf_counter() - start_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare_answers(one_path: Path, other_path: Path) -> tuple[int, int, float]:
    """Return the number of rows, of rows with another name or rank, and the largest difference of confidences."""
    with one_path.open(newline="") as one, other_path.open(newline="") as other:
        pairs = list(zip(csv.DictReader(one), csv.DictReader(other), strict=True))
    keys = ("file", "position", "status", "name", "rank")
    differing = sum(any(a[key] != b[key] for key in keys) for a, b in pairs)
    gaps = [abs(float(a["confidence"] or 0) - float(b["confidence"] or 0)) for a, b in pairs]
    return len(pairs), differing, max(gaps)


def format_spread(values: list[float], form: str) -> str:
    """Return the median with minimum and maximum."""
    return "{} ({} to {})".format(*(form.format(f(values)) for f in (statistics.median, min, max)))


def measure(options, work_dir: Path) -> list[str]:
    """Return the lines of the result."""
    choose_photos(options.photos, options.photographs, work_dir / "photos")
    given = [str(work_dir / "photos"), "--model", options.model, "--runtime", options.runtime]
    given += ["--vocabulary", f"{options.table / TABLE_STEM}.json" if options.table else options.vocabulary]
    given += ["--names", options.names, "--top", "5", "--min-confidence", "0", "--scoring", options.scoring]
    if options.table:
        given += ["--name-vectors", f"{options.table / TABLE_STEM}.npy"]
    checkouts = {"before": options.other.absolute(), "now": HERE.parent}
    runs: dict[str, list[Run]] = {name: [] for name in checkouts}
    for number in range(options.rounds + 1):
        for name, checkout_dir in checkouts.items():
            cache_dir = options.cache / name if options.cache else work_dir / f"cache_{name}"
            run = run_identify(checkout_dir, given, work_dir / f"{name}.csv", cache_dir)
            print(f"round {number}, {name}: {run}", file=sys.stderr, flush=True)
            if number:
                runs[name].append(run)
    n_rows, n_differing, gap = compare_answers(work_dir / "before.csv", work_dir / "now.csv")
    n = options.photographs
    lines = ["| | seconds | CPU, ms per photograph | peak memory, MiB |", "| --- | --- | --- | --- |"]
    for name, measured in runs.items():
        cells = [
            format_spread([run.wall_s for run in measured], "{:.2f}"),
            format_spread([1000 * run.cpu_s / n for run in measured], "{:.1f}"),
            format_spread([run.peak_mib for run in measured], "{:,.0f}"),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ratio = {
        field: statistics.median(getattr(run, field) for run in runs["now"])
        / statistics.median(getattr(run, field) for run in runs["before"])
        for field in Run._fields
    }
    lines.append("| now / before | " + " | ".join(f"**{value:.3f}**" for value in ratio.values()) + " |")
    lines += ["", f"{n_rows:,} rows: {n_differing} with another name or rank; confidences differ by at most {gap:.1e}."]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="OTHER", help="a checkout of the version to compare with")
    parser.add_argument("--photos", type=Path, required=True, help="a folder from which photographs are chosen")
    parser.add_argument("--photographs", type=int, default=64)
    parser.add_argument("--model", default="bundled", help="as for linnaea identify")
    parser.add_argument("--vocabulary", default="inat", help="as for linnaea identify, without --table")
    parser.add_argument("--table", type=Path, help=f"a folder with {TABLE_STEM}.npy and .json")
    parser.add_argument("--runtime", default="onnxruntime", help="as for linnaea identify")
    parser.add_argument("--names", default="full", help="as for linnaea identify")
    parser.add_argument("--scoring", default="exact", help="as for linnaea identify")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache", type=Path, help="folder for caches that are kept (default: a temporary folder)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    argv = sys.argv[1:] if argv is None else argv
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        lines = measure(options, Path(work))
    head = [
        f"# Whole identify runs of two versions: {Path(options.model).name}, {options.runtime}, {options.scoring}",
        "",
        f"{describe_hardware()}; {options.photographs} photographs; medians of {options.rounds} rounds in turns,",
        "with minimum and maximum.",
        "",
        f"`{show_command('identify_versions', argv)}`",
        "",
    ]
    write_result(options.results, "identify_versions", head + lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
