"""The contract of a model: images and names in, unit vectors out.

Shape suffixes: b batch, h w pixels, c channels, n names, d vector dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an upright RGB image becomes the model's pixels."""

    size: int = 224
    "side of the model's square input, in pixels"
    resize: str = "squash"
    "`shortest` (short side to size, centre crop), `squash` (both sides to size) or `longest` (pad)"
    interpolation: str = "bicubic"
    "`bicubic` or `bilinear`, antialiased"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    "subtracted after scaling to 0..1"
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    "divided by after the subtraction"

    def __post_init__(self):
        if self.resize not in ("shortest", "squash", "longest"):
            raise ValueError(f"unknown resize {self.resize!r}; choose shortest, squash or longest")
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(f"unknown interpolation {self.interpolation!r}; choose bicubic or bilinear")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The facts about a model that other stages need without running it."""

    name: str
    hash: str
    "content hash of everything that changes the vectors"
    dim: int
    logit_scale: float
    "factor on cosines before a softmax"
    preprocess: Preprocess
    text_type: str = "taxonomic"
    "text of a taxon in the name table: one of `linnaea.taxonomy.name_text.TEXT_TYPES`"
    templates: tuple[str, ...] = ("{}",)
    "each name is embedded in each template; the unit vectors are averaged and normalised"
    label_templates: tuple[str, ...] = ()
    "the same for a user's own labels; empty if labels use `templates`"
    negative_prompts: tuple[str, ...] = ()
    "texts of things that are not organisms; they compete with the taxa in the softmax"
    calibration: dict = field(default_factory=dict)
    "parameters for `linnaea.identify.naming.calibration`; empty if none were fitted"
    common_names: dict[str, str] = field(default_factory=dict)
    "common name -> 'rank:scientific name', as in training"


@runtime_checkable
class Model(Protocol):
    """The contract. Call an implementation from one thread at a time."""

    card: ModelCard

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images [b, size, size, 3]."""
        ...

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts exactly as given (templates already applied)."""
        ...
