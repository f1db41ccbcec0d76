"""Drawn pictures of made-up species, to try a training without a photograph: what a name says is what one sees.

Family is the shape, genus the colour of such a shape, species the markings. Place, size, turn and background are drawn
anew for each picture.
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
    """The 48 lineages with their common names."""
    return [
        (
            (
                "Figurae",
                "Planae",
                shape_class(corners),
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


def shape_class(corners: int) -> str:
    """The class of a shape: round or with corners."""
    return "Angulata" if corners else "Rotunda"


def draw(taxon: int, seed: int) -> bytes:
    """A picture of a taxon as the bytes of a PNG file, a pure function of both numbers."""
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
    pencil.polygon(_outline(x, y, radius, corners, turn), fill=ink)
    if mark == 1:
        pencil.polygon(_outline(x, y, radius * 0.62, corners, turn), outline="white", width=2)
    elif mark == 2:
        for angle in np.arange(4) * math.pi / 2 + turn:
            spot = (x + 0.35 * radius * math.cos(angle), y + 0.35 * radius * math.sin(angle))
            pencil.ellipse((spot[0] - 2, spot[1] - 2, spot[0] + 2, spot[1] + 2), fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _outline(x: float, y: float, radius: float, corners: int, turn: float) -> list[tuple[float, float]]:
    """Corners of a shape; five are a star's, none make it round."""
    n = {0: 40, 5: 10}.get(corners, corners)
    lengths = [radius * (0.45 if corners == 5 and at % 2 else 1) for at in range(n)]
    angles = [turn + 2 * math.pi * at / n for at in range(n)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(lengths, angles, strict=True)]


class SyntheticSource:
    """n pictures whose taxa take turns, in one part; see `linnaea.datasets.samples.Source`. `seed` gives other pictures of
    the same taxa."""

    def __init__(self, n: int, *, template: str = TEMPLATE, seed: int = 0):
        self.sizes_p = np.array([n], np.int64)
        self.rejects: list[Reject] = []
        self.notices: list[Reject] = []
        self.fingerprint = hash_bytes(LAYOUT, str(n), str(seed))
        self._taxa, self._template, self._seed = synthetic_taxa(), template, seed

    def part_name(self, part: int) -> str:
        """The name of the only part."""
        return "drawn"

    def taxa(self, part: int) -> np.ndarray:
        """A number int64 [n] for each picture, the same for the same taxon."""
        numbers = np.array([stable_id(*lineage) for lineage, _ in self._taxa], np.int64)
        return numbers[np.arange(self.sizes_p[0]) % len(numbers)]

    def lineages(self) -> set[tuple[str, ...]]:
        """The made-up lineages."""
        return {lineage for lineage, _ in self._taxa}

    def read(self, part: int, row: int, text_type: str) -> RawSample:
        """One picture with its text of that type."""
        taxon = row % len(self._taxa)
        lineage, common = self._taxa[taxon]
        text = self._template.format(taxon_text(lineage, text_type, common))
        data = draw(taxon, stable_id(str(self._seed), str(row)) % 2**32)
        return RawSample(key=f"{row:07}", data=data, text=text, lineage=lineage)
