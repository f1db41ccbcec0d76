"""The outline of the land, for small maps.

`world_land.json` is Natural Earth's land at 1:110 million (public domain, naturalearthdata.com), from the package
world-atlas 2.0.2 (ISC licence), rounded to a tenth of a degree: 126 rings, 5,114 points.
"""

from __future__ import annotations

from importlib.resources import files


def read_world_land() -> str:
    """JSON text: a list of rings, each a flat list lon, lat, lon, lat, … in tenths of a degree."""
    return files("linnaea.pages").joinpath("world_land.json").read_text(encoding="utf-8").strip()
