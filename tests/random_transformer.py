"""A transformer image encoder with random weights in a safetensors file: true structure, no meaning."""

from __future__ import annotations

import numpy as np

from linnaea.model.core.safetensors import read_safetensors, write_safetensors
from linnaea.model.graphs.vision_transformer import VisionConfig, expected_weights
from linnaea.model.runtimes.image_encoders import TransformerSource


def make_transformer(directory, *, seed: int = 0, change=None, name: str = "encoder", **fields) -> TransformerSource:
    """An encoder of three blocks. `change(weights)` may alter the arrays before they are written."""
    shape_fields = {"size": 32, "patch": 8, "width": 64, "n_layers": 3, "n_heads": 2, "dim": 24}
    config = VisionConfig(**shape_fields | fields)
    rng = np.random.default_rng(seed)
    weights = {}
    for key, shape in expected_weights(config).items():
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        value = rng.normal(0, scale, shape)
        weights[key] = (value + (1 if "norm" in key and key.endswith("weight") else 0)).astype(np.float32)
    weights["patch"] = rng.normal(0, (3 * config.patch**2) ** -0.5, weights["patch"].shape).astype(np.float32)
    if change is not None:
        change(weights)
    write_safetensors(directory / f"{name}.safetensors", weights)
    stored = read_safetensors(directory / f"{name}.safetensors")
    return TransformerSource(weights=stored, config=config, hash=f"{name}-{seed}")


def images_for(source: TransformerSource, n: int, seed: int = 1) -> np.ndarray:
    """uint8 [n, size, size, 3] images of differing brightness and contrast."""
    rng = np.random.default_rng(seed)
    size = source.config.size
    base, spread = rng.uniform(40, 215, (n, 1, 1, 3)), rng.uniform(5, 60, (n, 1, 1, 1))
    return np.clip(base + spread * rng.standard_normal((n, size, size, 3)), 0, 255).astype(np.uint8)
