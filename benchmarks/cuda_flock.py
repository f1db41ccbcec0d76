"""Compare one step of many boids on a CUDA device with the general loop on the processor.

    python benchmarks/cuda_flock.py

Each bird has 2 square metres and sees 5 m far, on a torus. Both sides first make the same steps from the same places,
and the flocks are compared. Then both are timed in turns. One round is STEPS steps on the device, until the device has
finished, and one step on the processor. Copying to and from the device is timed separately. Needs the extra `cuda` and
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
# A bird at the edge of another's sight may be counted on one side only, so a few birds may differ by more.
LEAST_SHARE = 0.9999


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds until the device has finished as well."""
    cuda.synchronize()
    start = time.perf_counter()
    work()
    cuda.synchronize()
    return time.perf_counter() - start


def apart(here: World, there: World) -> np.ndarray:
    """Return the distances in metres [n] between the same birds of two worlds on one torus."""
    places = []
    for world in (here, there):
        order = world.agents.slots()
        order = order[np.argsort(world.agents.key[order])]
        places.append(np.stack([world.agents.x[order], world.agents.y[order]]).astype(np.float64))
    off = np.abs(places[0] - places[1])
    return np.hypot(*np.minimum(off, here.space.width_m - off))


def compare(flock: Flocking, checks: tuple[int, ...]) -> tuple[list[str], bool]:
    """Return rows of distances between the two flocks by number of steps, and whether they agree after the first."""
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
    """Return median, quartiles and minimum as cells of a table."""
    low, high = np.quantile(values, [0.25, 0.75])
    return f"**{statistics.median(values):.3f}** | {low:.3f}–{high:.3f} | {min(values):.3f}"


def measure(flock: Flocking, rounds: int, steps: int) -> list[str]:
    """Return rows: milliseconds per step on device and processor, their ratio, and milliseconds of copying."""
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
        f"| {flock.n_birds:,} | device, ms per step | {quartiles(device_ms)} |",
        f"| {flock.n_birds:,} | processor, ms per step | {quartiles(processor_ms)} |",
        f"| {flock.n_birds:,} | speed-up | {quartiles(ratios)} |",
        f"| {flock.n_birds:,} | copied to the device, then back, ms | {to_ms:.1f}, {fetch_ms:.1f} | | |",
    ]


def device_name() -> str:
    """Return the name of the device."""
    if config.ENABLE_CUDASIM:
        return "numba's simulator"
    name = cuda.get_current_device().name
    return name.decode() if isinstance(name, bytes) else str(name)


def main(argv: list[str] | None = None) -> int:
    """Measure and write the page; return 1 if the flocks do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--birds", type=int, nargs="*", default=[80_000, 1_000_000], help="sizes of the flock")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps on the device in a round")
    parser.add_argument(
        "--checks", type=int, nargs="*", default=[1, 10, 50], help="steps after which the flocks are compared"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    checked, measured, agree = [], [], True
    for n in options.birds:
        flock = Flocking(side=float(np.sqrt(2.0 * n)), n_birds=n, radius=5.0)
        rows, good = compare(flock, tuple(options.checks))
        agree &= good
        checked += [f"| {n:,} {row}" for row in rows]
        measured += measure(flock, options.rounds, options.steps)
    lines = [
        "# One step of many boids on a CUDA device and on the processor",
        "",
        f"- device: {device_name()}",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('cuda_flock', sys.argv[1:] if argv is None else argv)}`",
        f"- target: a million birds ≤ {TARGET_MS:g} ms per step on an H100",
        (
            f"- the flocks {'agree' if agree else 'DO NOT AGREE'}; required: "
            f"after one step {100 * LEAST_SHARE:g} % within {1e3 * NEAR_M:g} mm"
        ),
        "",
        "## Speed",
        "",
        f"Medians of {options.rounds} rounds in turns, quartiles, minimum.",
        "",
        "| birds | measure | median | quartiles | minimum |",
        "| --- | --- | --- | --- | --- |",
        *measured,
        "",
        "## The same flock",
        "",
        "A bird at the edge of another's sight may count on one side only. From then on the paths diverge.",
        "",
        "| birds | steps | largest distance, m | within a millimetre | order, processor | order, device |",
        "| --- | --- | --- | --- | --- | --- |",
        *checked,
    ]
    write_result(options.results, "cuda_flock", lines)
    return 0 if agree else 1


if __name__ == "__main__":
    raise SystemExit(main())
