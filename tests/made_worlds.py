"""Small worlds for tests: the bundled ones cut down."""

from __future__ import annotations

import dataclasses

from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.world_data import WorldData
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine.world import World


def changed(
    name: str = "tutorial", *, settings: dict | None = None, animals: dict | None = None, **others
) -> WorldData:
    """A bundled world's data with some values changed; `animals` maps a species to the fields to change."""
    data = load_world(name)
    if settings:
        data = dataclasses.replace(data, settings=dataclasses.replace(data.settings, **settings))
    for species, values in (animals or {}).items():
        from linnaea.twin.data.world_settings import Animal

        own = dataclasses.replace(data.animals.get(species, Animal()), **values)
        data = dataclasses.replace(data, animals={**data.animals, species: own})
    return dataclasses.replace(data, **others)


def small(name: str = "tutorial", **options) -> World:
    """A bundled world on a small part of its ground."""
    return build_world(name, **({"area_share": 0.2, "dt_h": 6.0, "seed": 1} | options))
