"""Compare time and memory from a folder of JPEG files to species among 868,000 taxa with pybioclip on the same model.

    PEERS=$(python benchmarks/peers.py DIR)
    $PEERS benchmarks/random_checkpoint.py vit-l-14 CHECKPOINT && python benchmarks/random_table.py TABLE
    python benchmarks/folder_to_species.py --peers DIR --model CHECKPOINT --table TABLE

Each of our runtimes, and pybioclip (in the peers' environment), is a process of its own that has loaded its model and
names. They take turns on the same folder in every round. Both choose among the published float32 vectors, which ours
reads by `--name-vectors`. The peak of memory is that of the whole process, with loading and mapped pages.

Before the rounds, each runtime names the folder once in a process that then ends. That process makes the calibration
and the check, which are needed once per model. The first process also sorts the vectors into the order of the tree of
names, which is needed once per table. The page states what these steps took. Agreement is measured with our own full
precision (the check, 32 photographs of the folder) and with pybioclip (all photographs). pybioclip squashes a
photograph into the model's square; the checkpoint's own preprocessing crops it.
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

from hardware import describe_hardware, show_command, write_result
from identify_speed import make_photos
from pybioclip_peer import Peer, _forget_peak, _memory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

RUNTIMES = ("onnxruntime-int8", "openvino-bf16", "openvino-w8a8")
SIZE = (1600, 1200)
NPY, JSON = "txt_emb_species.npy", "txt_emb_species.json"
HEADS = (
    "seconds",
    "photographs/s",
    "times pybioclip",
    "peak memory",
    "of pybioclip's",
    "same species as full precision, centred cosine",
    "same species as pybioclip",
    "loads in",
    "first run",
)


class Worker:
    """Our side: the state on which the requests act."""

    def load(self, model: str, table: str, runtime: str) -> dict:
        from linnaea.identify.naming.namer import load_namer
        from linnaea.identify.naming.namer_config import NamerConfig
        from linnaea.model.loading import load_model
        from linnaea.taxonomy.vocabulary_factory import load_vocabulary

        start = time.perf_counter()
        self.model, self.runtime = load_model(model), runtime
        vocabulary = load_vocabulary(str(Path(table) / JSON), self.model.card.common_names)
        options = NamerConfig(rank="species", top=5, min_confidence=0.0, name_vectors=Path(table) / NPY)
        self.namer = load_namer(options, self.model, vocabulary=vocabulary)
        return {"load_s": time.perf_counter() - start}

    def predict(self, folder: str) -> dict:
        from linnaea.identify.commands.identify import identify
        from linnaea.model.runtimes.runtime_check import read_verdicts

        start = time.perf_counter()
        options = {"rank": "species", "top": 5, "min_confidence": 0.0, "runtime": self.runtime, "quiet": True}
        rows = list(identify([folder], model=self.model, namer=self.namer, **options))
        seconds = time.perf_counter() - start
        best = {Path(row.file).name: row.name for row in rows if row.position == 1}
        verdict = read_verdicts(self.model.image_source, self.namer.hash).get(self.runtime)
        check = None if verdict is None else {"same_names": verdict.same_names, "cosine": verdict.cosine}
        return {"seconds": seconds, "best": best, "check": check}


def serve() -> None:
    """Answer lines of JSON until stdin ends, as pybioclip's worker does."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        _forget_peak()
        answer = getattr(worker, request.pop("do"))(**request) | _memory()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Ours:
    """The measuring side of one of our workers; `peak_mb` is the largest memory that any request needed."""

    def __init__(self, model: Path, table: Path, runtime: str):
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peak_mb = 0.0
        self.loaded = self.ask("load", model=str(model), table=str(table), runtime=runtime)

    def ask(self, do: str, **arguments) -> dict:
        """Return the worker's answer."""
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"our worker ended with {self._process.wait()} during the request {do!r}")
        answer = json.loads(line)
        self.peak_mb = max(self.peak_mb, answer.get("peak_rss_mb", 0.0))
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def species_of(rows: list[dict]) -> dict[str, str]:
    """Return the first species of each file in pybioclip's answer."""
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        name = Path(row["file_name"]).name
        best[name] = max(best.get(name, (-1.0, "")), (row["score"], row["species"]))
    return {name: species for name, (_score, species) in best.items()}


def row(name: str, cells: list) -> str:
    """Return a row of a Markdown table."""
    return f"| {name} | " + " | ".join(f"{cell:.1f}" if isinstance(cell, float) else cell for cell in cells) + " |"


def same(ours: dict[str, str], theirs: dict[str, str]) -> float:
    """Return the share of files with the same first species."""
    return statistics.mean(ours.get(name, "") == species for name, species in theirs.items())


def measure(options, folder: Path) -> list[str]:
    """Return the lines of the result."""
    runtimes = options.runtimes.split(",")
    first_s, first_load_s = {}, []
    for runtime in runtimes:
        worker = Ours(options.model, options.table, runtime)
        first_load_s.append(worker.loaded["load_s"])
        first_s[runtime] = worker.ask("predict", folder=str(folder))["seconds"]
        worker.close()
    ours = {runtime: Ours(options.model, options.table, runtime) for runtime in runtimes}
    from peers import peer_python

    seconds: dict[str, list[float]] = {name: [] for name in ("pybioclip", *runtimes)}
    answers: dict[str, dict] = {}
    with Peer(peer_python(options.peers.absolute()), model=options.model, table=options.table) as peer:
        peak_mb = peer.loaded.get("peak_rss_mb", 0.0)
        for worker in ours.values():
            worker.ask("predict", folder=str(folder))  # opens the tower
        peer.ask("predict", images=[str(next(folder.iterdir()))])
        for _ in range(options.rounds):
            answer = peer.ask("predict", folder=str(folder), rank="species", k=5)
            seconds["pybioclip"].append(answer["seconds"])
            peak_mb, theirs = max(peak_mb, answer["peak_rss_mb"]), species_of(answer["result"])
            for runtime, worker in ours.items():
                answers[runtime] = worker.ask("predict", folder=str(folder))
                seconds[runtime].append(answers[runtime]["seconds"])
        load_s = peer.loaded["load_s"]
    n, median_s = options.photographs, statistics.median(seconds["pybioclip"])
    cells = [median_s, f"{n / median_s:.2f}", "1", f"{peak_mb:,.0f} MiB", "1", "", "1", f"{load_s:.1f} s", ""]
    lines = [f"| | {' | '.join(HEADS)} |", "| --- |" + " --- |" * len(HEADS), row("pybioclip", cells)]
    for runtime, worker in ours.items():
        ratios = [theirs_s / ours_s for theirs_s, ours_s in zip(seconds["pybioclip"], seconds[runtime], strict=True)]
        check = answers[runtime]["check"]
        agreement = "not checked" if check is None else f"{check['same_names']:.3f}, {check['cosine']:.4f}"
        median_s = statistics.median(seconds[runtime])
        cells = [median_s, f"{n / median_s:.2f}"]
        cells += [
            f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f})",
            f"{worker.peak_mb:,.0f} MiB",
        ]
        cells += [f"**{worker.peak_mb / peak_mb:.2f}**", agreement, f"{same(answers[runtime]['best'], theirs):.2f}"]
        cells += [f"{worker.loaded['load_s']:.1f} s", f"{first_s[runtime]:.0f} s"]
        lines.append(row(runtime, cells))
        worker.close()
    return [*lines, "", f"The first load of ours takes {first_load_s[0]:.0f} s, because it sorts the vectors."]


def main() -> None:
    """Run the command."""
    if sys.argv[1:] == ["--serve"]:
        serve()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' environment")
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint in open_clip's hub format")
    parser.add_argument("--table", type=Path, required=True, help=f"a folder with {NPY} and {JSON}")
    parser.add_argument("--photos", type=Path, help="photographs to fill the folder with (default: smooth noise)")
    parser.add_argument("--photographs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    photos = sorted(options.photos.iterdir()) if options.photos else []
    with tempfile.TemporaryDirectory() as work:
        os.environ["LINNAEA_CACHE"] = str(Path(work) / "cache")
        make_photos(Path(work) / "photos", options.photographs, SIZE, photos)
        table_n = np.load(options.table / NPY, mmap_mode="r").shape[1]
        lines = measure(options, Path(work) / "photos")
    head = [
        "# From a folder of photographs to species, compared with pybioclip",
        "",
        f"{describe_hardware()}; {options.model.name} with random weights, {table_n:,} taxa.",
        f"{options.photographs} JPEG files of {SIZE[0]} × {SIZE[1]}.",
        f"Medians of {options.rounds} rounds in turns; ratios with minimum and maximum.",
        "",
        f"`{show_command('folder_to_species', sys.argv[1:])}`",
        "",
    ]
    write_result(options.results, "folder_to_species", head + lines)


if __name__ == "__main__":
    main()
