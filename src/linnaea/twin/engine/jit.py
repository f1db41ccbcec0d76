"""How the twin's functions become machine code, and where that code is kept between runs.

`@scalar` marks a function of numbers and arrays for one animal, `@kernel` a loop over animals that may use `prange`.
Both are compiled at the first call and kept on disk. `linnaea.twin.reference_models.flocking_cuda` makes CUDA kernels
of the same functions: every `@kernel` compiles for an H100 together with what it calls. Only flocks run there.

Rules that keep results the same on 1 and on N threads: no sum of floats across the turns of a `prange`, no fast
arithmetic (except in `@folding`, which allows it within the turn of one animal), one writer for every element.

Kernels take columns and parameters in NamedTuples of arrays. A `@kernel` must take each array that it writes out of its
tuple by name, before the loop: `energy = animals.energy`. When numba makes a loop parallel, it drops writes to
`animals.energy[i]`, and to `energy[i]` after `_, energy = animals`, without a word. A test checks all kernels.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

# Vector sine and its remainder loop's scalar sine may differ in the last bit, and where the remainder begins depends on
# the number of threads.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")
# Threads that spin while they wait make a step several times as long where other programs want the cores, too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numba

from linnaea.store import default_cache_dir, hash_bytes

_IMPORT = re.compile(rb"^\s*(?:from|import) linnaea\.twin\.([\w.]+)", re.MULTILINE)
_HERE = Path(__file__).parents[1]
KEPT_VERSIONS = 3
RUN_BEFORE = "run-before"
_used: dict[str, Path] = {}


def _sources(path: Path, found: dict[Path, bytes]) -> dict[Path, bytes]:
    """The source of a module and of all modules of the twin that it imports, directly or not."""
    if path not in found and path.is_file():
        found[path] = path.read_bytes()
        for name in _IMPORT.findall(found[path]):
            _sources(_HERE.joinpath(*name.decode().split(".")).with_suffix(".py"), found)
    return found


def source_hash(path: Path, *more: str) -> str:
    """A hash of a module's source, of all modules of the twin that it imports, and of more text."""
    sources = _sources(path, {})
    return hash_bytes(*more, *[sources[name] for name in sorted(sources)])


def _code_dir(path: Path) -> Path:
    """The folder of compiled code that belongs to exactly these sources.

    numba itself looks only at the file of the function that it compiles, not at those of the functions called.
    """
    return default_cache_dir() / "twin-code" / path.stem / source_hash(path, numba.__version__)


def _compile(function: Callable, **options) -> Callable:
    path = Path(function.__code__.co_filename)
    if "NUMBA_CACHE_DIR" not in os.environ:
        if str(path) not in _used:
            _used[str(path)] = _code_dir(path)
        numba.config.CACHE_DIR = str(_used[str(path)])
    return numba.njit(cache=True, error_model="numpy", **options)(function)


def needs_compilation(files: Iterable[str]) -> bool:
    """Whether some of these source files with kernels were never run, so that the first step takes long."""
    return any(path in _used and not (_used[path] / RUN_BEFORE).is_file() for path in files)


def mark_compiled(files: Iterable[str]) -> None:
    """Notes that a step with these source files has run; the folders exist as soon as a kernel is declared."""
    for path in files:
        if path in _used:
            _used[path].mkdir(parents=True, exist_ok=True)
            (_used[path] / RUN_BEFORE).touch()


def forget_stale_code() -> None:
    """Removes compiled code of older sources, except the newest few of each module."""
    for folder in {path.parent for path in _used.values()}:
        if folder.is_dir():
            by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in by_age[:-KEPT_VERSIONS]:
                shutil.rmtree(path, ignore_errors=True)


def scalar(function: Callable) -> Callable:
    """A function of one animal, compiled into the kernels that call it. It must not make arrays.

    It is always inlined: otherwise tuples of arrays are passed as hundreds of arguments. It counts no references to
    arrays, as it makes none: counting those of tuples took up to half of a kernel's time.
    """
    return _compile(function, forceinline=True, _nrt=False)


def kernel(function: Callable) -> Callable:
    """A loop over animals, spread over threads where it says `prange`."""
    return _compile(function, parallel=True)


def serial(function: Callable) -> Callable:
    """A loop over animals on one thread."""
    return _compile(function)


def folding(function: Callable) -> Callable:
    """A function of one animal whose sums over neighbours may be reordered, so that they use vector instructions.

    The order is fixed by the neighbours' list, hence the same on any number of threads; it may differ between machines.
    """
    return _compile(function, fastmath={"reassoc", "nsz", "contract", "nnan", "ninf"})


def use_threads(n_threads: int) -> None:
    """Sets how many threads the kernels use, 0 for all that numba started with. Raise ValueError beyond those."""
    most = numba.config.NUMBA_NUM_THREADS
    n_threads = n_threads or most
    if not 1 <= n_threads <= most:
        raise ValueError(f"threads: {n_threads} must be between 1 and {most}; NUMBA_NUM_THREADS sets the upper limit")
    numba.set_num_threads(n_threads)
