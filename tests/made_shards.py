"""Small tar shards with tiny images, for the tests of training's data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from linnaea.datasets.shard_writer import write_shards

CAT = ("Animalia", "Chordata", "Mammalia", "Carnivora", "Felidae", "Felis", "Felis catus")
LION = (*CAT[:5], "Panthera", "Panthera leo")
ROSE = ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Rosa", "Rosa canina")
TAXA = ((CAT, "house cat"), (LION, ""), (ROSE, "dog rose"))


def image_bytes(number: int, side: int = 24) -> bytes:
    """A JPEG whose colours tell one number from another."""
    noise = np.random.default_rng(number).integers(0, 256, (3, 3, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side + 6), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def made_shards(folder: Path, n: int = 23, shard_size: int = 5) -> list[Path]:
    """Shards of n samples `s000` …, whose taxa take turns."""
    samples = ((f"s{i:03}", image_bytes(i), *TAXA[i % 3]) for i in range(n))
    return write_shards(samples, folder, shard_size=shard_size)
