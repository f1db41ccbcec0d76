"""A step of many boids on a CUDA device beside the general loop on the processor.

    python benchmarks/cuda_flock.py

The same flock, of which each bird has 2 square metres and sees 5 m far, on a torus. Both ways first take the same steps
from the same places, and the flocks are compared; then they are timed in turns. A round is STEPS steps on the device,
which is waited for, and one on the processor. Copying to and from the device is timed apart. Needs the extra `cuda` and
a device.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from numba import config, cuda

from hardware import describe_hardware, show_command, write_result
from linnaea.twin.engine.step import step
from linnaea.twin.engine.world import World
from linnaea.twin.reference_models.boids import Flocking
from linnaea.twin.reference_models.flocking_cuda import CudaFlock
from linnaea.twin.reference_models.flocking_rules import compute_order_parameter
from twin_speed import flock_world

TARGET_MS = 5.0
STEPS = 20
NEAR_M = 1e-3
# A bird at the rim of another's sight may count on one side only: few birds may differ by that.
LEAST_SHARE = 0.9999


def seconds(work: Callable[[], object]) -> float:
    """How long this takes, until the device is done as well."""
    cuda.synchronize()
    start = time.perf_counter()
    work()
    cuda.synchronize()
    return time.perf_counter() - start


def apart(here: World, there: World) -> np.ndarray:
    """Metres [n] between the same birds of two worlds on one torus."""
    places = []
    for world in (here, there):
        order = world.agents.slots()
        order = order[np.argsort(world.agents.key[order])]
        places.append(np.stack([world.agents.x[order], world.agents.y[order]]).astype(np.float64))
    off = np.abs(places[0] - places[1])
    return np.hypot(*np.minimum(off, here.space.width_m - off))


def compare(flock: Flocking, checks: tuple[int, ...]) -> tuple[list[str], bool]:
    """Rows with the distance between the two flocks after a number of steps, and whether they agree after the first."""
    here, there = flock_world(flock), flock_world(flock)
    on_device = CudaFlock(there)
    rows, agree = [], True
    for number in range(1, max(checks) + 1):
        step(here)
        on_device.step()
        if number in checks:
            off = apart(here, on_device.fetch())
            share = float((off <= NEAR_M).mean())
            orders = compute_order_parameter(here), compute_order_parameter(there)
            agree &= share >= LEAST_SHARE if number == 1 else True
            rows.append(f"| {number} | {off.max():.2g} | {100 * share:.4f} % | {orders[0]:.6f} | {orders[1]:.6f} |")
    return rows, agree


def quartiles(values: list[float]) -> str:
    """Median and quartiles in a table's cells."""
    low, high = np.quantile(values, [0.25, 0.75])
    return f"**{statistics.median(values):.3f}** | {low:.3f}–{high:.3f} | {min(values):.3f}"


def measure(flock: Flocking, rounds: int, steps: int) -> list[str]:
    """Rows: milliseconds a step on the device, on the processor, and their ratio; milliseconds of copying."""
    here, there = flock_world(flock), flock_world(flock)
    made: list[CudaFlock] = []
    to_ms = 1e3 * seconds(lambda: made.append(CudaFlock(there)))
    (on_device,) = made
    on_device.step(3)
    for _ in range(3):
        step(here)
    device_ms, processor_ms = [], []
    for _ in range(rounds):
        device_ms.append(1e3 * seconds(lambda: on_device.step(steps)) / steps)
        processor_ms.append(1e3 * seconds(lambda: step(here)))
    fetch_ms = 1e3 * seconds(on_device.fetch)
    ratios = [processor / device for processor, device in zip(processor_ms, device_ms, strict=True)]
    return [
        f"| {flock.n_birds:,} | device, ms a step | {quartiles(device_ms)} |",
        f"| {flock.n_birds:,} | processor, ms a step | {quartiles(processor_ms)} |",
        f"| {flock.n_birds:,} | times as fast | {quartiles(ratios)} |",
        f"| {flock.n_birds:,} | copied to the device, then back, ms | {to_ms:.1f}, {fetch_ms:.1f} | | |",
    ]


def device_name() -> str:
    """The device in words."""
    if config.ENABLE_CUDASIM:
        return "numba's simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def main(argv: list[str] | None = None) -> int:
    """Measures and writes the page; returns 1 where the flocks do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--birds", type=int, nargs="*", default=[80_000, 1_000_000], help="sizes of the flock")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps on the device in a round")
    parser.add_argument(
        "--checks", type=int, nargs="*", default=[1, 10, 50], help="steps after which the flocks are compared"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the page")
    options = parser.parse_args(argv)
    checked, measured, agree = [], [], True
    for n in options.birds:
        flock = Flocking(side=float(np.sqrt(2.0 * n)), n_birds=n, radius=5.0)
        rows, good = compare(flock, tuple(options.checks))
        agree &= good
        checked += [f"| {n:,} {row}" for row in rows]
        measured += measure(flock, options.rounds, options.steps)
    lines = [
        "# A step of many boids on a CUDA device and on the processor",
        "",
        f"- device: {device_name()}",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('cuda_flock', sys.argv[1:] if argv is None else argv)}`",
        f"- target: a million birds ≤ {TARGET_MS:g} ms a step on an H100",
        f"- the flocks {'agree' if agree else 'DO NOT AGREE'}; asked: after one step {100 * LEAST_SHARE:g} % within {1e3 * NEAR_M:g} mm",
        "",
        "## Speed",
        "",
        f"Medians of {options.rounds} rounds in turns, quartiles, least.",
        "",
        "| birds | what | median | quartiles | least |",
        "| --- | --- | --- | --- | --- |",
        *measured,
        "",
        "## The same flock",
        "",
        "A bird at the rim of another's sight counts on one side and not on the other, and from then on the paths part.",
        "",
        "| birds | steps | most apart, m | within a millimetre | order, processor | order, device |",
        "| --- | --- | --- | --- | --- | --- |",
        *checked,
    ]
    write_result(options.results, "cuda_flock", lines)
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
