"""Where the cache keeps what is derived from an image encoder: calibrations, 8-bit and bfloat16 graphs."""

from __future__ import annotations

from pathlib import Path

from linnaea.model.graphs.quantization import FORMAT
from linnaea.model.runtimes.image_encoders import TransformerSource
from linnaea.store import default_cache_dir


def encoder_dir(source: TransformerSource, what: str) -> Path:
    """The cache folder for `what` ("calibration", "openvino-bf16" …) derived from an encoder."""
    return default_cache_dir() / "towers" / f"{source.hash}-{what}-{FORMAT}"
