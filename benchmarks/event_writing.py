"""What do events cost at the end of a run: time for a photograph, and memory for 100,000 of them?

    python benchmarks/event_writing.py [--n 100000] [--burst 3]

The script makes small JPEG files with capture times (bursts of several cameras), and a journal with made answers for
them. In turns, processes of their own read the journal and write the table (`plain`: the rows alone; `events`: rows
with time, place, station and event, as `linnaea identify` writes them). It reports seconds, microseconds for a
photograph, and the peak memory of each; with `--naming-ms` also the share in the time of naming. Linux only.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from hardware import describe_hardware, show_command, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

BATCH = 64
CAMERAS = 20


def make_photographs(folder: Path, n: int, burst: int) -> list[str]:
    """Write photographs of 20 cameras; `burst` of them follow each other in seconds, then half an hour passes."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image, paths = Image.fromarray(noise).resize((64, 64)), []
    for number in range(n):
        camera, k = divmod(number, -(-n // CAMERAS))
        when = datetime(2024, 1, 1) + timedelta(minutes=30 * (k // burst), seconds=k % burst)
        exif = Image.Exif()
        exif[0x0110] = "HC500"
        exif.get_ifd(0x8769)[0x9003] = when.strftime("%Y:%m:%d %H:%M:%S")
        path = folder / f"camera{camera:02}" / f"{k // 1000:03}" / f"IMG_{k:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, exif=exif)
        paths.append(str(path))
    return paths


def make_journal(folder: Path, paths: Sequence[str]) -> None:
    """Write a journal with an answer for each photograph."""
    from linnaea.embed.journal import Journal
    from linnaea.identify.output.writers import pack
    from linnaea.records import RANKS, Prediction, RankedName

    lineage = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
    chances = np.sort(np.random.default_rng(1).random((len(paths), 7)))[:, ::-1].round(4)
    journal = Journal.create(folder, {})
    for first in range(0, len(paths), BATCH):
        rows = []
        for k, path in enumerate(paths[first : first + BATCH], first):
            best = tuple(
                RankedName(rank=rank, name=name, confidence=float(chance), node=r)
                for r, (rank, name, chance) in enumerate(zip(RANKS, lineage, chances[k], strict=True))
            )
            fields = {"rank": "species", "name": lineage[-1], "confidence": float(chances[k, -1]), "lineage": lineage}
            answer = Prediction(file=path, status="identified", common_name="cat", path_confidence=best, **fields)
            rows.append([path, pack(answer)])
        journal.append({"rows": rows})
    journal.close()


def write(folder: Path, what: str) -> dict:
    """Write the table from the journal; seconds and peak memory of this process."""
    from linnaea.embed.journal import Journal
    from linnaea.identify.commands.batch_run import _read_rows
    from linnaea.identify.commands.config import IdentifyConfig
    from linnaea.identify.commands.event_outputs import index_captures, index_events
    from linnaea.identify.output.writers import write_output
    from linnaea.records import PREDICTION_COLUMNS, make_prediction_row
    from linnaea.standards.tables import write_table

    rows = partial(_read_rows, Journal.reopen(folder / "journal"))
    out_path = folder / f"{what}.csv"
    start_s = time.perf_counter()
    n_events = 0
    if what == "plain":
        write_table(out_path, PREDICTION_COLUMNS, (make_prediction_row(one) for _path, one in rows()))
    else:
        config = IdentifyConfig(paths=(folder,))
        captures = index_captures(config, rows)
        index = index_events(config, rows, None, captures)
        made = {"identified_by": "x", "created": "x", "near": None}
        write_output(out_path, "table", rows, index=index, captures=captures, **made)
        n_events = len(index.events)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": time.perf_counter() - start_s, "peak_mb": peak / 1e6, "n_events": n_events}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both in turns and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--burst", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--naming-ms", type=float, help="measured time to name a photograph, in milliseconds")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.write:
        print(json.dumps(write(options.folder, options.write)))
        return 0
    found: dict[str, list[dict]] = {"plain": [], "events": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_journal(folder / "journal", make_photographs(folder / "photographs", options.n, options.burst))
        for _round in range(options.rounds):
            for what, results in found.items():
                command = [sys.executable, __file__, "--folder", name, "--write", what]
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
                results.append(json.loads(done.stdout))
    lines = ["# What events cost at the end of a run", ""]
    lines += [f"`{show_command('event_writing', argv or sys.argv[1:])}`", "", describe_hardware(), ""]
    lines += ["| table | seconds | µs a photograph | peak memory, MB |", "| --- | --- | --- | --- |"]
    seconds = {}
    for what, results in found.items():
        times = [one["seconds"] for one in results]
        seconds[what] = statistics.median(times)
        spread = f"{min(times):.1f} to {max(times):.1f}"
        peak = max(one["peak_mb"] for one in results)
        lines.append(
            f"| {what} | {seconds[what]:.1f} ({spread}) | {1e6 * seconds[what] / options.n:.0f} | {peak:.0f} |"
        )
    more_ms = 1000 * (seconds["events"] - seconds["plain"]) / options.n
    lines += ["", f"{found['events'][0]['n_events']:,} events; they cost {more_ms:.2f} ms a photograph"]
    if options.naming_ms:
        lines[-1] += f", {more_ms / options.naming_ms:.1%} of {options.naming_ms:g} ms"
    write_result(options.results, "event_writing", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
