"""Drawn pictures of made-up species, to try training without photographs.

The family is the shape, the genus the colour of the shape, the species its markings. Position, size, rotation and
background are random for each picture.
"""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
from PIL import Image, ImageDraw

from linnaea.datasets.group_ids import stable_id
from linnaea.datasets.samples import TEMPLATE, RawSample, Reject
from linnaea.store import hash_bytes
from linnaea.taxonomy.name_text import taxon_text

LAYOUT = "1"
SIDE = 48
SHAPES = {
    "Circulidae": ("Circulus", 0),
    "Trigonidae": ("Trigon", 3),
    "Quadridae": ("Quadrum", 4),
    "Stellidae": ("Stella", 5),
}
COLOURS = {"ruber": ("red", 0.0), "flavus": ("yellow", 0.15), "viridis": ("green", 0.35), "caeruleus": ("blue", 0.62)}
MARKS = {"simplex": "plain", "anulatus": "ringed", "punctatus": "spotted"}


def synthetic_taxa() -> list[tuple[tuple[str, ...], str]]:
    """Return the 48 lineages with their common names."""
    return [
        (
            (
                "Figurae",
                "Planae",
                class_name(corners),
                "Tractales",
                family,
                f"{stem}{colour}",
                f"{stem}{colour} {mark}",
            ),
            f"{MARKS[mark]} {COLOURS[colour][0]} {stem.lower()}",
        )
        for family, (stem, corners) in SHAPES.items()
        for colour in COLOURS
        for mark in MARKS
    ]


def class_name(corners: int) -> str:
    """Return the taxonomic class of a shape: round or with corners."""
    return "Angulata" if corners else "Rotunda"


def draw_picture(taxon: int, seed: int) -> bytes:
    """Draw a picture of a taxon as the bytes of a PNG file, a pure function of both numbers."""
    rng = np.random.default_rng((taxon, seed))
    shape, rest = divmod(taxon, len(COLOURS) * len(MARKS))
    colour, mark = divmod(rest, len(MARKS))
    corners, hue = list(SHAPES.values())[shape][1], list(COLOURS.values())[colour][1]
    background = Image.fromarray(rng.integers(90, 200, (4, 4, 3), np.uint8))
    image = background.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pencil = ImageDraw.Draw(image)
    radius = SIDE * rng.uniform(0.26, 0.4)
    x, y = (rng.uniform(radius, SIDE - radius) for _ in range(2))
    ink = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, rng.uniform(0.75, 1), rng.uniform(0.7, 1)))
    turn = rng.uniform(0, 2 * math.pi)
    pencil.polygon(_find_corners(x, y, radius, corners, turn), fill=ink)
    if mark == 1:
        pencil.polygon(_find_corners(x, y, radius * 0.62, corners, turn), outline="white", width=2)
    elif mark == 2:
        for angle in np.arange(4) * math.pi / 2 + turn:
            spot = (x + 0.35 * radius * math.cos(angle), y + 0.35 * radius * math.sin(angle))
            pencil.ellipse((spot[0] - 2, spot[1] - 2, spot[0] + 2, spot[1] + 2), fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _find_corners(x: float, y: float, radius: float, corners: int, turn: float) -> list[tuple[float, float]]:
    """Return the corners of a shape: five make a star, none a circle."""
    n = {0: 40, 5: 10}.get(corners, corners)
    lengths = [radius * (0.45 if corners == 5 and at % 2 else 1) for at in range(n)]
    angles = [turn + 2 * math.pi * at / n for at in range(n)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(lengths, angles, strict=True)]


class SyntheticSource:
    """`n` pictures in one part, whose taxa alternate; see `linnaea.datasets.samples.SampleSource`.

    Another `seed` gives other pictures of the same taxa.
    """

    def __init__(self, n: int, *, template: str = TEMPLATE, seed: int = 0):
        self.sizes_p = np.array([n], np.int64)
        self.rejects: list[Reject] = []
        self.notices: list[Reject] = []
        self.fingerprint = hash_bytes(LAYOUT, str(n), str(seed))
        self._taxa, self._template, self._seed = synthetic_taxa(), template, seed

    def part_name(self, part: int) -> str:
        """Name of the only part."""
        return "drawn"

    def taxa(self, part: int) -> np.ndarray:
        """An int64 [n] for the pictures, equal for equal taxa."""
        numbers = np.array([stable_id(*lineage) for lineage, _ in self._taxa], np.int64)
        return numbers[np.arange(self.sizes_p[0]) % len(numbers)]

    def lineages(self) -> set[tuple[str, ...]]:
        """The lineages of the made-up species."""
        return {lineage for lineage, _ in self._taxa}

    def read(self, part: int, row: int, text_type: str) -> RawSample:
        """Draw one picture with its text of the given type."""
        taxon = row % len(self._taxa)
        lineage, common = self._taxa[taxon]
        text = self._template.format(taxon_text(lineage, text_type, common))
        data = draw_picture(taxon, stable_id(str(self._seed), str(row)) % 2**32)
        return RawSample(key=f"{row:07}", data=data, text=text, lineage=lineage)
