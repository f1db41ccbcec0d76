"""A model without weights, for tests: vectors come from colour statistics and hashed words. Deterministic."""

from __future__ import annotations

import hashlib

import numpy as np

from linnaea.model.core.contract import ModelCard, Preprocess


class PlaceholderModel:
    """Follows the contract in microseconds. Texts that share words have similar vectors, as in a real model.

    An image painted by `paint(text)` gets the vector of that text, so tests can make a photograph "of" any taxon.

    Shape suffixes: b images, h w pixels, c channels.
    """

    def __init__(self, dim: int = 64, logit_scale: float = 50.0, negative_prompts: tuple[str, ...] = ("no organism",)):
        self.card = ModelCard(
            name="placeholder",
            hash=f"placeholder-{dim}",
            dim=dim,
            logit_scale=logit_scale,
            preprocess=Preprocess(size=16, resize="squash", interpolation="bilinear"),
            negative_prompts=negative_prompts,
        )

    def _embed_word(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        return np.random.default_rng(seed).standard_normal(self.card.dim)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors float32 [n, d] of texts."""
        out = np.zeros((len(texts), self.card.dim), np.float32)
        for row, text in enumerate(texts):
            words = text.split() or [""]
            out[row] = sum(self._embed_word(word) * (1 + i) for i, word in enumerate(words))
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def paint(self, text: str) -> np.ndarray:
        """A uint8 image [16, 16, 3] that `encode_images` turns into (nearly) the vector of `text`."""
        vector = self.encode_texts([text])[0]
        flat = np.full(16 * 16 * 3, 128.0)
        flat[: 4 * self.card.dim] = np.repeat(128 + vector / np.abs(vector).max() * 120, 4)
        return flat.reshape(16, 16, 3).round().astype(np.uint8)

    def encode_images(self, images_bhwc: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [b, d] of uint8 images [b, 16, 16, 3]."""
        b = len(images_bhwc)
        flat = images_bhwc.reshape(b, -1)[:, : 4 * self.card.dim].astype(np.float32) - 128
        out = flat.reshape(b, self.card.dim, 4).mean(2) + 1e-6
        return out / np.linalg.norm(out, axis=1, keepdims=True)
