"""Peak rates and memory of kinds of GPUs, and of this machine's processor as measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from linnaea.train.clip.config import ClipConfig

CPU, USUAL_GPU = "cpu", "h100"
PRODUCT_SIDE, N_COPIED, PRODUCT_TRIES = 2048, 1 << 25, 5
# Share of the measured peak: smaller products are slower, and other operations take time, too.
CPU_SHARE = {"fp32": 0.75, "bf16": 0.4}


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A kind of processor: peak operations per second, memory in bytes, and the share of the peak that is assumed.

    `bandwidth` is the bytes per second that AdamW reads and writes. That of a GPU is so large that it does not matter.
    """

    peak: float
    memory: float
    bandwidth: float = float("inf")
    utilisation: float = 0.45
    about: str = "published peak of dense bf16 products"


def _gpu(peak_tflops: float, memory_gb: float) -> Accelerator:
    return Accelerator(peak=peak_tflops * 1e12, memory=memory_gb * 1e9)


# The manufacturers' figures for dense bfloat16 (half of those with sparsity), as collected by torchtitan.
ACCELERATORS = {
    "a100": _gpu(312, 80),
    "h100": _gpu(989, 80),
    "h100-pcie": _gpu(756, 80),
    "h100-nvl": _gpu(835, 94),
    "h200": _gpu(989, 141),
    "b200": _gpu(2250, 180),
    "l40s": _gpu(362, 48),
    "mi300x": _gpu(1300, 192),
}


def measure_cpu(precision: str) -> Accelerator:
    """Measure this machine: the fastest of several matrix products in a precision, and of several copies."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, long = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, dtype=dtype), torch.ones(N_COPIED)
    copy = torch.empty_like(long)
    product_s = _measure_fastest_s(lambda: a @ a)
    copy_s = _measure_fastest_s(lambda: copy.copy_(long))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")
    about = f"fastest {precision} product of {PRODUCT_SIDE}³ here, on {torch.get_num_threads()} threads"
    bandwidth = 2 * long.nbytes / copy_s
    peak, share = 2 * PRODUCT_SIDE**3 / product_s, CPU_SHARE[precision]
    return Accelerator(peak=peak, memory=memory, bandwidth=bandwidth, utilisation=share, about=about)


def _measure_fastest_s(work) -> float:
    seconds = []
    for _ in range(PRODUCT_TRIES):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def find_accelerator(name: str, precision: str) -> Accelerator:
    """Return the kind of that name. Raise ValueError that lists the known kinds."""
    if name == CPU:
        return measure_cpu(precision)
    if name not in ACCELERATORS:
        raise ValueError(f"unknown gpu-kind {name!r}; choose one of {', '.join((*ACCELERATORS, CPU))}")
    return ACCELERATORS[name]


def default_accelerator(recipe: ClipConfig, gpus: int) -> str:
    """Return the kind that is assumed if none is given: the CPU for recipes meant for it and for trials, else a GPU."""
    is_trial = bool(recipe.organisms.drawn) and gpus == 1
    return CPU if recipe.device == CPU or is_trial else USUAL_GPU
