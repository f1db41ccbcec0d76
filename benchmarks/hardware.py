"""Describe the machine for a result file, and measure its physical ceilings."""

from __future__ import annotations

import os
import platform
import re
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np


def n_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_hardware() -> str:
    """Return cores, processor and memory in words, e.g. "2 x Intel Xeon @ 2.70GHz, 7.7 GiB"."""
    name, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        name = found[1].strip() if found else name
        kib = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
        memory = f", {int(kib[1]) / 2**20:.1f} GiB" if kib else ""
    return f"{n_cores()} x {name}{memory}"


def shown(value: str) -> str:
    """Return an argument as a result file shows it, without the folders of this machine."""
    return Path(value).name if Path(value).is_absolute() else value


def show_command(script: str, argv: Sequence[str]) -> str:
    """Return the command that reproduces a result."""
    return shlex.join(["python", f"benchmarks/{script}.py", *map(shown, argv)])


def result_path(folder: Path, what: str) -> Path:
    """Return the path `<what>_<hardware>_<date>.md` in the folder of results."""
    hardware = re.sub(r"\(R\)|\(TM\)|CPU|Processor|@.*|,.*", "", describe_hardware())
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")
    return folder / f"{what}_{slug}_{date.today().isoformat()}.md"


def write_result(folder: Path, what: str, lines: list[str]) -> Path:
    """Print the lines, write them as a result file, and return its path."""
    path = result_path(folder, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text)
    print(f"written: {path}")
    return path


def measure_sgemm(side: int = 1536, tries: int = 7) -> float:
    """Return multiply-adds per second: the fastest of some float32 matrix products on all cores."""
    a, b = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    out = np.empty_like(a)
    return side**3 / min(_seconds(lambda: np.matmul(a, b, out=out)) for _ in range(tries))


def measure_bandwidth(n_bytes: int = 1 << 27, tries: int = 7) -> float:
    """Return bytes per second of a copy on all cores, with bytes read and bytes written both counted.

    It is the fastest of some copies of arrays too large for any cache.
    """
    parts = [(np.ones(n_bytes // 4, np.float32), np.zeros(n_bytes // 4, np.float32)) for _ in range(n_cores())]
    with ThreadPoolExecutor(len(parts)) as pool:
        seconds = min(_seconds(lambda: list(pool.map(lambda p: np.copyto(p[1], p[0]), parts))) for _ in range(tries))
    return 2 * n_bytes * len(parts) / seconds


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
