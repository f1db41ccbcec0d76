"""Checks whether a fast runtime may replace full precision for a model: both run on the same photographs.

`--runtime auto` uses a fast form only if, on 32 photographs, its first names (0.99 of them) and its vectors (mean
centred cosine 0.995) agree with full precision. The result of a check is cached in one small JSON file per model, keyed
by runtime, library version, processor and the set of names.

Shape suffixes: b images, d vector dimensions.
"""

from __future__ import annotations

import json
import logging
import platform
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from linnaea.model.runtimes.encoder_factory import ImageEncoderMixin, open_image_encoder
from linnaea.model.runtimes.image_encoders import EncoderSource, TransformerSource
from linnaea.model.runtimes.int8_calibration import calibration_hash
from linnaea.model.runtimes.runtime_names import (
    CALIBRATED,
    DEFAULT_RUNTIME,
    RUNTIMES,
    check_runtime,
    engine_version,
)
from linnaea.store import default_cache_dir, hash_bytes, write_json

logger = logging.getLogger(__name__)

N_CHECK = 32
LEAST_SAME_NAMES = 0.99
LEAST_COSINE = 0.995
# A check runs 32 photographs in each form, and up to 64 for a calibration. A shorter run finishes sooner without it.
LEAST_RUN = 200
# Processor flags (Linux names) that decide which kernels a library uses.
CPU_FLAGS = re.compile(r"avx2|avx512\w*|avx_vnni|amx_\w+|asimd\w*|i8mm|bf16|sve\w*")

Sample = Callable[[int], np.ndarray]
LabelFunction = Callable[[np.ndarray], Sequence]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a check: agreement with full precision, and the speed of both.

    `same_names` is the share of photographs with the same first name, None if the check had no names.
    """

    runtime: str
    engine: str
    cpu: str
    plans: str
    "hash of the calibration; empty if there is none"
    names: str
    "hash of the set of names"
    n: int
    same_names: float | None
    cosine: float
    images_per_s: float
    full_images_per_s: float

    @property
    def passes(self) -> bool:
        """Whether `auto` may use the fast form."""
        return self.same_names is not None and self.same_names >= LEAST_SAME_NAMES and self.cosine >= LEAST_COSINE

    def summary(self) -> str:
        """The result as part of a log line."""
        names = "names not compared" if self.same_names is None else f"same names {self.same_names:.3f}"
        ratio = self.images_per_s / self.full_images_per_s
        return (
            f"{self.n} photographs: {names}, centred cosine {self.cosine:.4f}, "
            f"{ratio:.1f} times as fast as full precision"
        )


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
    """The mean cosine of matching rows after centring each set: a shared offset would hide differences."""
    a, b = (x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in (vectors_bd, other_bd))
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alone = norm < 1e-12  # all images of a set are equal
    cosine = (a * b).sum(1) / np.where(alone, 1, norm)
    return float(np.where(alone, np.abs(vectors_bd - other_bd).max(1) < 1e-3, cosine).mean())


def _plans_hash(source: EncoderSource, runtime: str) -> str:
    calibrated = runtime in CALIBRATED and isinstance(source, TransformerSource)
    return calibration_hash(source) if calibrated else ""


def _full_name(source: EncoderSource, runtime: str) -> str:
    return f"{runtime}:{plans}" if (plans := _plans_hash(source, runtime)) else runtime


def _verdicts_path(source: EncoderSource) -> Path:
    return default_cache_dir() / "runtimes" / f"{source.hash}.json"


def read_verdicts(source: EncoderSource, names: str = "") -> dict[str, Verdict]:
    """The cached verdicts that are valid on this machine, by runtime.

    With empty `names`, verdicts for any set of names count, and the worst one of each runtime is returned.
    """
    try:
        kept = [Verdict(**entry) for entry in json.loads(_verdicts_path(source).read_text(encoding="utf-8"))]
    except (FileNotFoundError, ValueError, TypeError):
        return {}
    cpu = describe_cpu()
    valid: dict[str, list[Verdict]] = {}
    for verdict in kept:
        here = (verdict.cpu, verdict.engine) == (cpu, engine_version(verdict.runtime))
        if here and verdict.plans == _plans_hash(source, verdict.runtime) and names in ("", verdict.names):
            valid.setdefault(verdict.runtime, []).append(verdict)
    # A verdict with names is preferred over one without.
    return {runtime: min(found, key=lambda v: (v.same_names is None, v.passes)) for runtime, found in valid.items()}


def _save_verdict(source: EncoderSource, verdict: Verdict) -> None:
    path, key = _verdicts_path(source), ("runtime", "engine", "cpu", "plans", "names")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        entries = []
    new = asdict(verdict)
    others = [entry for entry in entries if [entry.get(k) for k in key] != [new[k] for k in key]]
    with suppress(OSError):  # on a full disk the next run checks again
        write_json(path, [*others, new])


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The run that a runtime is selected for."""

    source: EncoderSource
    sample: Sample
    n_images: int
    label: LabelFunction | None
    names: str

    def read_verdicts(self) -> dict[str, Verdict]:
        return read_verdicts(self.source, self.names if self.label else "")

    def check(self, runtimes: Sequence[str], images_bhwc: np.ndarray, *, strict: bool) -> list[Verdict]:
        """Verdicts on runtimes. Only one encoder is in memory at a time.

        Half of the images are checked and the other half calibrate, if there are enough. `strict` raises errors of a
        broken installation or a full disk; otherwise such a runtime is skipped.
        """
        checked, rest = images_bhwc[::2][:N_CHECK], images_bhwc[1::2]
        if len(images_bhwc) < 2 * N_CHECK:
            checked, rest = images_bhwc[:N_CHECK], images_bhwc

        def run(runtime: str) -> tuple[np.ndarray, float]:
            encoder = open_image_encoder(self.source, runtime, images=lambda: rest)
            encoder.encode(checked[:1])
            start = time.perf_counter()
            return encoder.encode(checked), len(checked) / (time.perf_counter() - start)

        full_bd, full_speed = run(DEFAULT_RUNTIME)
        full_names = None if self.label is None else list(self.label(full_bd))
        verdicts = []
        for runtime in runtimes:
            try:
                fast_bd, speed = run(runtime)
            except (ImportError, OSError, RuntimeError):
                if strict:
                    raise
                continue
            same = None
            if full_names is not None:
                same = float(np.mean([a == b for a, b in zip(full_names, self.label(fast_bd), strict=True)]))
            verdict = Verdict(
                runtime=runtime,
                engine=engine_version(runtime),
                cpu=describe_cpu(),
                plans=_plans_hash(self.source, runtime),
                names=self.names,
                n=len(checked),
                same_names=same,
                cosine=round(centred_cosine(full_bd, fast_bd), 6),
                images_per_s=round(speed, 3),
                full_images_per_s=round(full_speed, 3),
            )
            _save_verdict(self.source, verdict)
            verdicts.append(verdict)
        return verdicts


def candidates(source: EncoderSource) -> list[str]:
    """The installed runtimes, other than the default, that can run this encoder here; the fastest first."""
    found = []
    for runtime in RUNTIMES:
        if runtime == DEFAULT_RUNTIME or (runtime == "torch" and not _has_cuda()):
            continue
        with suppress(ValueError):
            check_runtime(runtime, source)
            found.append(runtime)
    return found


def _has_cuda() -> bool:
    if shutil.which("nvidia-smi") is None:  # importing torch takes seconds
        return False
    with suppress(ImportError):
        import torch

        return torch.cuda.is_available()
    return False


def select_runtime(
    model, wanted: str, *, sample: Sample, n_images: int, label: LabelFunction | None = None, names: str = ""
) -> dict:
    """Open the image encoder of `model` in the runtime `wanted`; returns a record of the runtime and its check.

    `auto` takes the fastest runtime that passes its check, else full precision. A runtime that is asked for by name is
    used even if it fails, with a warning. `sample(n)` returns up to n preprocessed photographs of the run, uint8
    [b, size, size, 3]; it is called only for a check or a calibration. `label` returns the first names of vectors,
    `names` is the hash of the set of names. Raises ValueError, with the remedy, for a runtime that cannot be used.
    """
    check_runtime(wanted)
    if not isinstance(model, ImageEncoderMixin):
        if wanted not in ("auto", DEFAULT_RUNTIME):
            raise ValueError(f"the model {model.card.name} runs in one way only; omit --runtime {wanted}")
        return {"runtime": DEFAULT_RUNTIME}
    source, runtime, verdict = model.image_source, DEFAULT_RUNTIME, None
    if wanted != DEFAULT_RUNTIME:
        check_runtime(wanted, source)
        run = _Run(source=source, sample=sample, n_images=n_images, label=label, names=names)
        runtime, verdict = _choose_fastest(run) if wanted == "auto" else (wanted, _check_named(run, wanted))
    if model.runtime != _full_name(source, runtime):
        encoder = open_image_encoder(source, runtime, images=lambda: sample(2 * N_CHECK))
        model.use_image_encoder(encoder, _full_name(source, runtime))
    record = {"runtime": model.runtime, "engine": engine_version(runtime), "asked_for": wanted}
    return record | {"check": None if verdict is None else asdict(verdict) | {"passes": verdict.passes}}


def _check_named(run: _Run, wanted: str) -> Verdict | None:
    """The verdict on the runtime that was asked for by name, logged; None if there are too few photographs."""
    verdict = run.read_verdicts().get(wanted)
    if verdict is None and run.n_images >= N_CHECK:
        images = run.sample(2 * N_CHECK)
        if len(images) >= N_CHECK:
            (verdict,) = run.check([wanted], images, strict=True)
    if verdict is None:
        logger.info(f"runtime: {wanted}, unchecked: a check needs {N_CHECK} photographs")
    elif verdict.passes or (verdict.same_names is None and verdict.cosine >= LEAST_COSINE):
        logger.info(f"runtime: {wanted} ({verdict.summary()})")
    else:
        logger.warning(
            f"--runtime {wanted} fails its check ({verdict.summary()}): its answers differ from full precision; omit "
            "--runtime for full precision"
        )
    return verdict


def _choose_fastest(run: _Run) -> tuple[str, Verdict | None]:
    """The fastest runtime that passes its check, with its verdict, else full precision. Checks once where it pays."""
    known, possible = run.read_verdicts(), candidates(run.source)
    best = fastest(known.get(runtime) for runtime in possible)
    missing = [runtime for runtime in possible if runtime not in known]
    if best is not None and missing == ["openvino"]:
        missing = []
    images = run.sample(2 * N_CHECK) if missing and run.label and run.n_images >= LEAST_RUN else ()
    if len(images) >= N_CHECK:
        best = _check_missing(run, missing, images, best)
    if best is not None:
        logger.info(f"runtime: {best.runtime} ({best.summary()})")
        return best.runtime, best
    if not possible:
        reason = "no faster runtime is installed"
    elif missing and not len(images):
        reason = f"a check needs a run of {LEAST_RUN} photographs"
    else:
        reason = "no faster runtime passed its check"
    logger.info(f"runtime: {DEFAULT_RUNTIME} ({reason})")
    return DEFAULT_RUNTIME, None


def _check_missing(run: _Run, missing: Sequence[str], images: np.ndarray, best: Verdict | None) -> Verdict | None:
    """Check the runtimes that have no verdict yet; the fastest verdict that passes, `best` included."""
    logger.info(f"checking {len(missing)} faster runtimes for this model, once")
    # Full precision in OpenVINO is worth a check only if nothing faster passes.
    quick = [runtime for runtime in missing if runtime != "openvino"]
    found = run.check(quick, images, strict=False) if quick else []
    best = fastest([best, *found])
    if best is None and "openvino" in missing:
        best = fastest(run.check(["openvino"], images, strict=False))
    return best


def fastest(verdicts) -> Verdict | None:
    """The verdict with the most images per second among those that pass and are faster than full precision."""
    good = [v for v in verdicts if v is not None and v.passes and v.images_per_s > v.full_images_per_s]
    return max(good, key=lambda verdict: verdict.images_per_s, default=None)
