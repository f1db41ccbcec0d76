"""The runtimes of an image encoder: their names, the libraries they need, and which of them work on this machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Protocol

DEFAULT_RUNTIME = "onnxruntime"
# The fastest first, as measured on processors with 8-bit and bfloat16 instructions.
RUNTIMES = ("openvino-w8a8", "onnxruntime-int8", "openvino-bf16", "torch", "openvino", DEFAULT_RUNTIME)
RUNTIME_CHOICES = (
    "auto",
    DEFAULT_RUNTIME,
    "onnxruntime-int8",
    "openvino",
    "openvino-bf16",
    "openvino-w8a8",
    "torch",
)
CALIBRATED = ("openvino-w8a8", "onnxruntime-int8")
EXTRAS = {"openvino": "pip install 'linnaea[openvino]'", "torch": "pip install 'linnaea[torch]'"}


class RunsIn(Protocol):
    """Something that lists the runtimes that can run it."""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names from `RUNTIMES`."""
        ...


def engine_of(runtime: str) -> str:
    """The library that a runtime is part of."""
    return runtime.partition("-")[0]


def is_installed(runtime: str) -> bool:
    """Whether the library of a runtime can be imported."""
    return find_spec(engine_of(runtime)) is not None


def engine_version(runtime: str) -> str:
    """Name and version of the library, e.g. "onnxruntime 1.32.0"."""
    try:
        return f"{engine_of(runtime)} {version(engine_of(runtime))}"
    except PackageNotFoundError:  # other builds of onnxruntime have other package names
        return engine_of(runtime)


def supports_bfloat16() -> bool:
    """Whether OpenVINO multiplies bfloat16 numbers in hardware on this processor."""
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def check_runtime(runtime: str, source: RunsIn | None = None) -> None:
    """Raise ValueError, with the remedy, for a runtime that is unknown, not installed or not for this encoder."""
    if runtime not in RUNTIME_CHOICES:
        raise ValueError(f"unknown runtime {runtime!r}; choose one of {', '.join(RUNTIME_CHOICES)}")
    if runtime == "auto":
        return
    if not is_installed(runtime):
        raise ValueError(f"--runtime {runtime} needs {engine_of(runtime)}: {EXTRAS[engine_of(runtime)]}")
    if source is not None and runtime not in source.runtimes:
        raise ValueError(
            f"--runtime {runtime} needs a transformer model; choose {', '.join(reversed(source.runtimes))} for this one"
        )
    if runtime == "openvino-bf16" and not supports_bfloat16():
        raise ValueError("--runtime openvino-bf16: this processor has no bfloat16; choose openvino or onnxruntime-int8")
