"""Compare scoring alone in two checkouts in turns: milliseconds per image, peak memory, difference of probabilities.

    python benchmarks/random_checkpoint.py vit-l-14 CHECKPOINT --numpy && python benchmarks/random_table.py TABLE
    python benchmarks/scoring_versions.py OTHER --model CHECKPOINT --table TABLE

OTHER is a checkout of the version to compare with. Each combination of version and scoring is its own process with the
names loaded. Image vectors have a given cosine to one taxon of the table and are random otherwise: 0.4 is an easy
image; at 0.3 most of the mass lies elsewhere. Wall time and CPU time are for all ranks with 5 taxa each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hardware import describe_hardware, show_command, write_result

HERE = Path(__file__).resolve().parent
CASES = [(0.4, 32), (0.3, 32), (0.4, 1), (0.3, 1)]
SCORING = ("exact", "fast")
TOP = 5
# Time limit in seconds for a worker to make its tables.
LIMIT_S = 1800


def serve(model: str, table: str, scoring: str) -> None:
    """Run the worker of the version on PYTHONPATH; each line of JSON gives vectors and a file for the answer."""
    from linnaea.bioclip import TreeOfLifeClassifier

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    classifier = TreeOfLifeClassifier(model_str=model, table=table)
    made = classifier._scorer
    scorer = type(made)(made.tree, made.table, float(made.logit_scale), scoring=scoring)
    for line in sys.stdin:
        request = json.loads(line)
        vectors_bd, batch = np.load(request["vectors"]), request["batch"]
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        parts = [scorer.score(vectors_bd[i : i + batch], top=TOP) for i in range(0, len(vectors_bd), batch)]
        answer = {"wall_s": time.perf_counter() - start_s, "cpu_s": time.process_time() - start_cpu_s}
        np.savez(
            request["out"],
            node=np.concatenate([part.top_node_brk for part in parts]),
            probability=np.concatenate([part.top_probability_brk for part in parts]),
        )
        answer |= {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "summary": scorer.summary()}
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """The measuring side of one process."""

    def __init__(self, checkout_dir: Path, options, scoring: str, cache_dir: Path):
        environment = os.environ | {"LINNAEA_CACHE": str(cache_dir), "PYTHONPATH": str(checkout_dir / "src")}
        command = [sys.executable, __file__, "--serve", scoring, "--model", str(options.model), "--table"]
        self._process = subprocess.Popen(
            [*command, str(options.table), str(checkout_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, vectors_path: Path, batch: int, out_path: Path) -> dict:
        """Return seconds, memory and the scorer's summary."""
        request = {"vectors": str(vectors_path), "batch": batch, "out": str(out_path)}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with {self._process.wait()}; see its message above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=LIMIT_S)


def describe_difference(one_path: Path, other_path: Path) -> str:
    """Return how far the answers in two files differ."""
    with np.load(one_path) as one, np.load(other_path) as other:
        same = float(np.mean(one["node"][:, :, 0] == other["node"][:, :, 0]))
        gap = float(np.abs(one["probability"] - other["probability"]).max())
    return f"{same:.4f} | {gap:.1e}"


def measure_case(workers: dict, cosine: float, batch: int, options, work_dir: Path) -> list[str]:
    """Return the rows of one case."""
    from scoring_speed import image_vectors  # it adds this checkout to sys.path; a worker must not have it there

    n = options.images if batch > 1 else options.images // 4
    np.save(work_dir / "vectors.npy", image_vectors(options.table, n, seed=1, cosine=cosine))
    measured = {key: [] for key in workers}
    for number in range(options.rounds + 1):
        for key, worker in workers.items():
            answer = worker.ask(work_dir / "vectors.npy", batch, work_dir / f"{'_'.join(key)}.npz")
            if number:
                measured[key].append(answer)
    rows = []
    for (version, scoring), answers in measured.items():
        cells = [f"{cosine}, {batch}", version, scoring]
        for field in ("wall_s", "cpu_s"):
            low, middle, high = (f([1000 * a[field] / n for a in answers]) for f in (min, statistics.median, max))
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f})")
        cells.append(f"{max(a['peak_mib'] for a in answers):,.0f}")
        exact_path = work_dir / "before_exact.npz"
        cells.append(describe_difference(work_dir / f"{version}_{scoring}.npz", exact_path))
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def measure(options, work_dir: Path) -> list[str]:
    """Return the lines of the result."""
    heads = ["cosine, batch", "version", "scoring", "ms per image", "CPU, ms per image", "peak, MiB"]
    heads += ["same best taxa as before, exact", "probabilities differ by at most"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1)]
    checkouts = {"before": options.other.absolute(), "now": HERE.parent}
    workers = {}
    for version, checkout_dir in checkouts.items():
        cache_dir = options.cache / version if options.cache else work_dir / f"cache_{version}"
        for scoring in SCORING:
            Worker(checkout_dir, options, scoring, cache_dir).close()  # fills the cache
            workers[version, scoring] = Worker(checkout_dir, options, scoring, cache_dir)
    for cosine, batch in CASES:
        lines += measure_case(workers, cosine, batch, options, work_dir)
    for worker in workers.values():
        worker.close()
    return lines


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, metavar="OTHER", help="a checkout of the version to compare with")
    parser.add_argument("--model", type=Path, required=True, help="a checkpoint in open_clip's hub format")
    parser.add_argument("--table", type=Path, required=True, help="a folder with a table that random_table.py wrote")
    parser.add_argument(
        "--images", type=int, default=64, help="images in a batch; a quarter of them are scored one by one"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder for caches that are kept (default: a temporary folder)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--serve", choices=SCORING, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(str(options.model), str(options.table), options.serve)
        return
    with tempfile.TemporaryDirectory() as work:
        lines = measure(options, Path(work))
    shape = np.load(options.table / "txt_emb_species.npy", mmap_mode="r").shape
    head = [
        "# Scoring alone in two versions",
        "",
        f"{describe_hardware()}; {shape[1]:,} taxa, {shape[0]} dimensions, float32.",
        f"Medians of {options.rounds} rounds in turns, with minimum and maximum.",
        "",
        f"`{show_command('scoring_versions', sys.argv[1:])}`",
        "",
    ]
    write_result(options.results, "scoring_versions", head + lines)


if __name__ == "__main__":
    main()
