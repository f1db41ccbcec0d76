"""Which runtime a model's image tower may be trusted with: full precision and the fast form side by side, on real photographs.

A fast form is used of its own accord only where, on 32 photographs, it gives the same first names (.99 of them) and the same
vectors (centred cosine .995). What a check found is kept in the cache, one small JSON file a model, under the runtime, its
version, the processor and the names that were chosen from.

Shape suffixes: b images, d vector dimensions.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.model.runtimes.image_encoders import (
    CALIBRATED,
    DEFAULT,
    RUNTIMES,
    HasImageTower,
    TowerSource,
    check_runtime,
    engine_version,
    open_image_tower,
)
from linnaea.store import default_cache_dir, hash_bytes, write_json

N_CHECK = 32
LEAST_SAME_NAMES = 0.99
LEAST_COSINE = 0.995
# A check runs some 64 photographs in full precision and 32 in each fast form; a shorter run is done sooner without.
LEAST_RUN = 200
# What decides about the kernels that a library picks, as Linux calls it.
CPU_FLAGS = re.compile(r"avx2|avx512\w*|avx_vnni|amx_\w+|asimd\w*|i8mm|bf16|sve\w*")

Sample = Callable[[int], np.ndarray]
Label = Callable[[np.ndarray], Sequence]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found: the share of photographs with the same first name (None where no names were at hand), the mean
    centred cosine, and the speed of both."""

    runtime: str
    engine: str
    cpu: str
    plans: str
    "hash of the calibration; empty where there is none"
    names: str
    "hash of the names that were chosen from"
    n: int
    same_names: float | None
    cosine: float
    images_per_s: float
    full_images_per_s: float

    @property
    def passes(self) -> bool:
        """Whether the fast form may be used of its own accord."""
        return self.same_names is not None and self.same_names >= LEAST_SAME_NAMES and self.cosine >= LEAST_COSINE

    def words(self) -> str:
        """What was found, as part of a line."""
        names = "names not compared" if self.same_names is None else f"same names {self.same_names:.3f}"
        ratio = self.images_per_s / self.full_images_per_s
        return f"{self.n} photographs: {names}, centred cosine {self.cosine:.4f}, {ratio:.1f} times as fast as full precision"


def describe_cpu() -> str:
    """The processor's name and a hash of its vector instructions."""
    name, flags = platform.processor() or platform.machine(), ""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        name = named[1].strip() if named else name
        listed = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
        flags = " ".join(sorted(flag for flag in listed[1].split() if CPU_FLAGS.fullmatch(flag))) if listed else ""
    return f"{name} {hash_bytes(flags)[:6]}"


def centred_cosine(vectors_bd: np.ndarray, other_bd: np.ndarray) -> float:
    """The mean cosine of rows, each set's mean taken off first: what all images share cannot hide what differs."""
    a, b = (x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in (vectors_bd, other_bd))
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alone = norm < 1e-12  # nothing is left of a set of equal images
    cosine = (a * b).sum(1) / np.where(alone, 1, norm)
    return float(np.where(alone, np.abs(vectors_bd - other_bd).max(1) < 1e-3, cosine).mean())


def _plans(source: TowerSource, runtime: str) -> str:
    if runtime not in CALIBRATED:
        return ""
    from linnaea.model.runtimes.int8_calibration import calibration_hash

    return calibration_hash(source)


def _full_name(source: TowerSource, runtime: str) -> str:
    return f"{runtime}:{plans}" if (plans := _plans(source, runtime)) else runtime


def _path(source: TowerSource) -> Path:
    return default_cache_dir() / "runtimes" / f"{source.hash}.json"


def read_verdicts(source: TowerSource, names: str = "") -> dict[str, Verdict]:
    """The kept verdicts that hold here and now, by runtime. Where `names` is empty, those of any names, the worst first."""
    try:
        kept = [Verdict(**entry) for entry in json.loads(_path(source).read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):
        return {}
    cpu = describe_cpu()
    valid: dict[str, list[Verdict]] = {}
    for verdict in kept:
        here = (verdict.cpu, verdict.engine) == (cpu, engine_version(verdict.runtime))
        if here and verdict.plans == _plans(source, verdict.runtime) and names in ("", verdict.names):
            valid.setdefault(verdict.runtime, []).append(verdict)
    # one that compared no names says less than any other
    return {runtime: min(found, key=lambda v: (v.same_names is None, v.passes)) for runtime, found in valid.items()}


def _keep(source: TowerSource, verdict: Verdict) -> None:
    path, key = _path(source), ("runtime", "engine", "cpu", "plans", "names")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        entries = []
    new = asdict(verdict)
    others = [entry for entry in entries if [entry.get(k) for k in key] != [new[k] for k in key]]
    with suppress(OSError):  # a full disk costs the next run another check
        write_json(path, [*others, new])


def _check(
    source: TowerSource,
    runtimes: Sequence[str],
    images_bhwc: np.ndarray,
    label: Label | None,
    names: str,
    *,
    strict: bool,
) -> list[Verdict]:
    """Verdicts of runtimes, on half of the images where the others suffice to calibrate. One tower is in memory at a time."""
    checked, rest = images_bhwc[::2][:N_CHECK], images_bhwc[1::2]
    if len(images_bhwc) < 2 * N_CHECK:
        checked, rest = images_bhwc[:N_CHECK], images_bhwc

    def run(runtime: str) -> tuple[np.ndarray, float]:
        tower = open_image_tower(source, runtime, images=lambda: rest)
        tower.encode(checked[:1])
        start = time.perf_counter()
        return tower.encode(checked), len(checked) / (time.perf_counter() - start)

    full_bd, full_speed = run(DEFAULT)
    full_names = None if label is None else list(label(full_bd))
    verdicts = []
    for runtime in runtimes:
        try:
            fast_bd, speed = run(runtime)
        except (ImportError, OSError, RuntimeError):  # a broken installation, a full disk
            if strict:
                raise
            continue
        same = None
        if full_names is not None:
            same = float(np.mean([a == b for a, b in zip(full_names, label(fast_bd), strict=True)]))
        verdict = Verdict(
            runtime=runtime,
            engine=engine_version(runtime),
            cpu=describe_cpu(),
            plans=_plans(source, runtime),
            names=names,
            n=len(checked),
            same_names=same,
            cosine=round(centred_cosine(full_bd, fast_bd), 6),
            images_per_s=round(speed, 3),
            full_images_per_s=round(full_speed, 3),
        )
        _keep(source, verdict)
        verdicts.append(verdict)
    return verdicts


def candidates(source: TowerSource) -> list[str]:
    """The runtimes other than the default one that are installed and can run this tower here, the fastest first."""
    found = []
    for runtime in RUNTIMES:
        if runtime == DEFAULT or (runtime == "torch" and not _has_cuda()):
            continue
        with suppress(ValueError):
            check_runtime(runtime, source)
            found.append(runtime)
    return found


def _has_cuda() -> bool:
    if shutil.which("nvidia-smi") is None:  # spares the seconds that importing torch takes
        return False
    with suppress(ImportError):
        import torch

        return torch.cuda.is_available()
    return False


def settle_runtime(
    model,
    wanted: str,
    *,
    sample: Sample,
    n_images: int,
    label: Label | None = None,
    names: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Gives `model` the image tower that `wanted` asks for, and tells in a record what it is and what its check found.

    `auto` takes the fastest runtime that passes, else full precision; a runtime that is asked for by name is used even if
    it fails, with a warning. `sample(n)` gives up to n preprocessed photographs of the run, uint8 [b, size, size, 3], and is
    called only if a check or a calibration is needed. `label` gives the first names of vectors, `names` is the hash of what
    they are chosen from. Raises ValueError, with the remedy, for a runtime that cannot be used.
    """
    check_runtime(wanted)
    if not isinstance(model, HasImageTower):
        if wanted not in ("auto", DEFAULT):
            raise ValueError(f"the model {model.card.name} has one way to run; leave --runtime {wanted} out")
        return {"runtime": DEFAULT}
    source, runtime, verdict = model.image_source, DEFAULT, None
    if wanted != DEFAULT:
        check_runtime(wanted, source)
        settle = _settle_auto if wanted == "auto" else _settle_named
        runtime, verdict = settle(source, wanted, sample, n_images, label, names, say)
    if model.runtime != _full_name(source, runtime):
        tower = open_image_tower(source, runtime, images=lambda: sample(2 * N_CHECK))
        model.use_image_tower(tower, _full_name(source, runtime))
    record = {"runtime": model.runtime, "engine": engine_version(runtime), "asked_for": wanted}
    return record | {"check": None if verdict is None else asdict(verdict) | {"passes": verdict.passes}}


def _settle_named(source, wanted, sample, n_images, label, names, say) -> tuple[str, Verdict | None]:
    verdict = read_verdicts(source, names if label else "").get(wanted)
    if verdict is None and n_images >= N_CHECK:
        images = sample(2 * N_CHECK)
        if len(images) >= N_CHECK:
            (verdict,) = _check(source, [wanted], images, label, names, strict=True)
    if verdict is None:
        say(f"runtime: {wanted}, unchecked: a check needs {N_CHECK} photographs")
    elif verdict.passes or (verdict.same_names is None and verdict.cosine >= LEAST_COSINE):
        say(f"runtime: {wanted} ({verdict.words()})")
    else:
        say(
            f"warning: --runtime {wanted} fails its check ({verdict.words()}); its answers are not those of full precision: "
            "leave it out for those"
        )
    return wanted, verdict


def _settle_auto(source, _wanted, sample, n_images, label, names, say) -> tuple[str, Verdict | None]:
    known = read_verdicts(source, names if label else "")
    possible = candidates(source)
    best = fastest(known.get(runtime) for runtime in possible)
    missing = [runtime for runtime in possible if runtime not in known]
    if best is not None and missing == ["openvino"]:
        missing = []
    images = sample(2 * N_CHECK) if missing and label and n_images >= LEAST_RUN else ()
    if len(images) >= N_CHECK:
        say(f"checking {len(missing)} faster ways to run this model, once")
        # full precision in another library is worth a look only where nothing faster holds
        quick = [runtime for runtime in missing if runtime != "openvino"]
        found = _check(source, quick, images, label, names, strict=False) if quick else []
        best = fastest([best, *found])
        if best is None and "openvino" in missing:
            best = fastest(_check(source, ["openvino"], images, label, names, strict=False))
    if best is not None:
        say(f"runtime: {best.runtime} ({best.words()})")
        return best.runtime, best
    why = (
        "no faster one passed its check"
        if not missing or len(images)
        else f"a check takes a run of {LEAST_RUN} photographs"
    )
    say(f"runtime: {DEFAULT} ({why if possible else 'no faster one is installed'})")
    return DEFAULT, None


def fastest(verdicts) -> Verdict | None:
    """The verdict with the most images a second among those that pass and are faster than full precision."""
    good = [v for v in verdicts if v is not None and v.passes and v.images_per_s > v.full_images_per_s]
    return max(good, key=lambda verdict: verdict.images_per_s, default=None)
