"""Measure steps per second and memory of the savanna with all its rules, from ten thousand animals to a million.

    python benchmarks/savanna_speed.py

A step is one hour. Each size runs in its own process. The world is built at the densities of its file, so its area
grows with the number of animals. The first steps compile or load the kernels and fill the caches; the page gives their
time separately. Then steps are timed one by one. The page also gives microseconds per animal, which show how the cost
grows. Memory is the peak of the whole process (Linux), building included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from hardware import describe_hardware, n_cores, show_command, write_result

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

SIZES = (10_000, 100_000, 1_000_000)
WARM_UP = 26


def peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return float("nan")


def run(n_animals: int, n_steps: int) -> dict:
    """Return the milliseconds of each step of one world, and the figures of building and warm-up."""
    from linnaea.twin.assembly.world_builder import build_world
    from linnaea.twin.engine.step import step

    start = time.perf_counter()
    world = build_world("savanna", seed=1, dt_h=1.0, n_animals=n_animals)
    built = time.perf_counter()
    for _ in range(WARM_UP):
        step(world)
    warm = time.perf_counter()
    ms = []
    for _ in range(n_steps):
        begun = time.perf_counter()
        step(world)
        ms.append(1000 * (time.perf_counter() - begun))
    return {
        "n": len(world.agents),
        "species": len(world.species),
        "ms": ms,
        "peak_mb": peak_mb(),
        "build_s": built - start,
        "warm_s": warm - built,
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--animals", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--steps", type=int, default=96, help="timed steps, one per hour of the day (default: 96)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result file")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(run(options.worker, options.steps)))
        return
    lines = []
    for n in options.animals:
        command = [sys.executable, __file__, "--worker", str(n), "--steps", str(options.steps)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(answer.splitlines()[-1])
        low, middle, high = statistics.quantiles(found["ms"], n=4)
        mean = statistics.mean(found["ms"])
        cells = [
            f"{found['n']:,}",
            f"{1000 / mean:.1f}",
            f"{mean:.1f}",
            f"{middle:.1f} ({low:.1f}–{high:.1f})",
            f"{1000 * mean / found['n']:.2f}",
        ]
        cells += [f"{found['peak_mb']:,.0f}", f"{found['build_s']:.1f}", f"{found['warm_s']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    head = f"""# The savanna's speed

- hardware: {describe_hardware()}, {n_cores()} cores
- made by: `{show_command("savanna_speed", sys.argv[1:])}`
- {found["species"]} species of animals, all rules, one step per hour, {options.steps} steps, densities of\
 the world's file
- building and the first {WARM_UP} steps (loading compiled code, or compiling) are given separately

| animals at the end | steps per second | ms per step, mean | median (quartiles) | µs per animal | peak memory, MB\
 | building, s | first steps, s |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""
    write_result(options.results, "savanna_speed", head.split("\n") + lines)


if __name__ == "__main__":
    main()
