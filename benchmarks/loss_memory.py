"""Does the memory of the contrastive loss and its gradient grow linearly with the batch, and open_clip's by its square?

The script measures peak memory and time. Each measurement of memory is its own process on one rank; times are taken in
one process, alternating. Both run in the peers' environment, with the same torch. Linux only.

    python benchmarks/loss_memory.py --peers DIR                # DIR as in benchmarks/peers.py; 3 minutes, 5 GB at most
    python benchmarks/loss_memory.py --peers DIR --largest 8192 # 1 minute, 1.3 GB at most
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hardware import describe_hardware, show_command, write_result
from peers import peer_python

HERE = Path(__file__).resolve().parent
SMALLEST, LARGEST, TIMED = 1024, 16384, (1024, 4096, 8192)
OURS_ONLY = 2  # ours continues to this many times the largest batch of both
TRIES = 5


def loss_of(which: str):
    """Return a function from images, texts and scale to the loss."""
    if which == "ours":
        from linnaea.train.clip.losses import info_nce

        return info_nce
    from open_clip.loss import ClipLoss

    return ClipLoss()


def make_batch(n: int, dim: int):
    """Return unit rows of images and texts that need gradients, and a scale."""
    import torch

    torch.manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(n, dim), dim=-1).requires_grad_() for _ in range(2))
    return image, text, torch.tensor(20.0, requires_grad=True)


def step_s(loss, batch) -> float:
    """Return the seconds of the loss and its gradient."""
    start = time.perf_counter()
    loss(*batch).backward()
    seconds = time.perf_counter() - start
    for part in batch:
        part.grad = None
    return seconds


def resident_bytes(key: str) -> int:
    """Return VmRSS of this process, or its peak VmHWM."""
    return 1024 * int(re.search(rf"^{key}:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])


def measure_memory(which: str, n: int, dim: int) -> dict:
    """Return the bytes that a step needs in addition to the vectors and their gradients."""
    loss = loss_of(which)
    step_s(loss, make_batch(64, dim))  # one-time allocations of torch
    batch = make_batch(n, dim)
    before = resident_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    loss(*batch).backward()
    return {"bytes": resident_bytes("VmHWM") - before}


def measure_times(n: int, dim: int) -> dict:
    """Return the seconds of each try, alternating, and the largest difference between the two gradients."""
    losses, batch = {which: loss_of(which) for which in ("ours", "open_clip")}, make_batch(n, dim)
    grads = {}
    for which, loss in losses.items():
        loss(*batch).backward()
        grads[which] = [part.grad.clone() for part in batch]
        for part in batch:
            part.grad = None
    times = {which: [] for which in losses}
    for _ in range(TRIES):
        for which, loss in losses.items():
            times[which].append(step_s(loss, batch))
    difference = max((a - b).abs().max().item() for a, b in zip(*grads.values(), strict=True))
    return {"times": times, "difference": difference}


def run_worker(python: Path, *arguments) -> dict:
    """Return the result of a measurement in its own process."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    command = [str(python), str(Path(__file__).resolve()), "--worker", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def slope(sizes: list[int], values: list[float]) -> float:
    """Return the exponent of growth over the upper half of the sizes: 1 is linear, 2 is quadratic."""
    middle = len(sizes) // 2
    return math.log(values[-1] / values[middle]) / math.log(sizes[-1] / sizes[middle])


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, help="folder of the peers' environment")
    parser.add_argument("--dim", type=int, default=768, help="width of a vector (default: 768, as in BioCLIP 2)")
    parser.add_argument("--largest", type=int, default=LARGEST, help=f"largest batch of both (default: {LARGEST})")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return 0 if the memory of ours grows at most linearly and the gradients agree to 1e-5."""
    argv = sys.argv[1:] if argv is None else argv
    options = parse(argv)
    if options.worker:
        kind, *rest = options.worker
        found = measure_times(*map(int, rest)) if kind == "times" else measure_memory(rest[0], *map(int, rest[1:]))
        print(json.dumps(found))
        return 0
    if not options.peers:
        raise SystemExit("--peers DIR is missing: give the peers' environment, which benchmarks/peers.py makes")
    python = peer_python(options.peers.absolute())
    sizes = [n for k in range(20) if (n := SMALLEST << k) <= options.largest * OURS_ONLY]
    memory = {"ours": [], "open_clip": []}
    for n in sizes:
        for which, found in memory.items():
            if which == "ours" or n <= options.largest:
                found.append(run_worker(python, "memory", which, n, options.dim)["bytes"])
    growth = {which: slope(sizes[: len(found)], found) for which, found in memory.items()}
    lines = [
        "# Memory and time of the contrastive loss",
        "",
        f"- hardware: {describe_hardware()}",
        f"- made by: `{show_command('loss_memory', argv)}`",
        f"- config: one rank, float32, width {options.dim}; loss and gradients of images, texts and scale",
        "- ceiling: the vectors' gradients alone are linear in the batch; a matrix of logits is quadratic",
        "",
        "| batch | the vectors, MB | ours, peak in addition, MB | open_clip 3.3.0, MB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for k, n in enumerate(sizes):
        theirs = f"{memory['open_clip'][k] / 1e6:,.0f}" if k < len(memory["open_clip"]) else "not run"
        lines.append(f"| {n:,} | {2 * n * options.dim * 4 / 1e6:,.0f} | {memory['ours'][k] / 1e6:,.0f} | {theirs} |")
    both = f"ours {growth['ours']:.2f}, open_clip's {growth['open_clip']:.2f}"
    lines += ["", f"Exponent of growth over the upper half of the batches (1 linear, 2 quadratic): {both}.", ""]
    lines += ["| batch | ours, s | open_clip, s | open_clip / ours, range | gradients differ by |"]
    lines += ["| ---: | ---: | ---: | ---: | ---: |"]
    worst = 0.0
    for n in (n for n in TIMED if n <= options.largest):
        found = run_worker(python, "times", n, options.dim)
        ours, theirs = found["times"]["ours"], found["times"]["open_clip"]
        ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
        spread = f"{statistics.median(ratios):.2f}, {ratios[0]:.2f}–{ratios[-1]:.2f}"
        medians = f"{statistics.median(ours):.3f} | {statistics.median(theirs):.3f}"
        lines.append(f"| {n:,} | {medians} | {spread} | {found['difference']:.0e} |")
        worst = max(worst, found["difference"])
    write_result(options.results, "loss_memory", lines)
    return 0 if growth["ours"] <= 1.1 and worst <= 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
