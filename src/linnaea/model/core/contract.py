"""What every model offers: images and names in, unit vectors out.

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
    "side of the square that the model sees, in pixels"
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
    """What the stages above need to know of a model without running it."""

    name: str
    hash: str
    "content hash of everything that changes its vectors"
    dim: int
    logit_scale: float
    "cosines are multiplied by it before a softmax"
    preprocess: Preprocess
    text_type: str = "taxonomic"
    "how a taxon is written for the name table: one of `linnaea.taxonomy.name_text.TEXT_TYPES`"
    templates: tuple[str, ...] = ("{}",)
    "each name is embedded in each template; the unit vectors are averaged and made unit again"
    label_templates: tuple[str, ...] = ()
    "the same for labels of the user's own, which are few; empty where they are written as names are"
    negative_prompts: tuple[str, ...] = ()
    "names of what is no organism; they stand in the softmax beside the taxa"
    calibration: dict = field(default_factory=dict)
    "parameters for `linnaea.identify.naming.calibration`; empty where none were fitted"
    common_names: dict[str, str] = field(default_factory=dict)
    "common name -> 'rank:scientific name' that the model was trained with"


@runtime_checkable
class Model(Protocol):
    """The contract. Implementations are safe to call from one thread at a time."""

    card: ModelCard

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of preprocessed uint8 images [b, size, size, 3]."""
        ...

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts exactly as given (templates already applied)."""
        ...
