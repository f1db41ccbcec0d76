"""Single values of a world by their dotted names, to change, vary and fit them.

`settings.catch_margin`, `landscape.rain_noise`, `ground.dt_h`, `animals.wildebeest.count`, `foods.clover.reserve`,
`species.wildebeest.yearly_survival`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from difflib import get_close_matches

from linnaea.twin.foodweb import FoodWeb
from linnaea.twin.species import NUMERIC
from linnaea.twin.world_data import Animal, Food, WorldData, animal_species, food_species

_PLAIN = ("settings", "landscape", "ground")


def _numbers(config: object) -> list[str]:
    """The fields of a dataclass that hold one number."""
    return [
        one.name
        for one in dataclasses.fields(config)
        if isinstance(getattr(config, one.name), int | float) and not isinstance(getattr(config, one.name), bool)
    ]


def parameter_names(data: WorldData) -> list[str]:
    """The names of all single numbers of a world that may be varied."""
    names = [f"{table}.{name}" for table in _PLAIN for name in _numbers(getattr(data, table))]
    names += [f"animals.{one}.{name}" for one in animal_species(data) for name in _numbers(Animal())]
    names += [f"foods.{one}.{name}" for one in food_species(data) for name in _numbers(Food())]
    for one in data.web.species.values():
        names += [f"species.{one.name}.{name}" for name in NUMERIC if not math.isnan(getattr(one, name))]
    return names


def get_value(data: WorldData, name: str) -> float:
    """The value of a name; nan where it is computed. ValueError with the nearest names for one that is not there."""
    known = parameter_names(data)
    if name not in known:
        near = get_close_matches(name, known, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"linnaea twin worlds {data.name} --parameters lists them"
        raise ValueError(f"parameter {name!r} is not one of world {data.name!r}; {hint}")
    table, rest = name.split(".", 1)
    if table in _PLAIN:
        return float(getattr(getattr(data, table), rest))
    one, field = rest.rsplit(".", 1)
    if table == "species":
        return float(getattr(data.web.species[one], field))
    kind = getattr(data, table).get(one, Animal() if table == "animals" else Food())
    return float(getattr(kind, field))


def grade_of(data: WorldData, name: str) -> str:
    """How well a value is known, as the world's file or table says."""
    table, rest = name.split(".", 1)
    if table == "species":
        one, field = rest.rsplit(".", 1)
        return data.web.species[one].grades.get(field, "unverified")
    return data.grades.get(name, data.grade)


def with_values(data: WorldData, values: Iterable[tuple[str, float]]) -> WorldData:
    """The world with other values. ValueError for an unknown name or an impossible value."""
    for name, value in values:
        data = _with_value(data, name, value)
    return data


def _with_value(data: WorldData, name: str, value: float) -> WorldData:
    present = get_value(data, name)
    table, rest = name.split(".", 1)
    if table in _PLAIN:
        old = getattr(data, table)
        return dataclasses.replace(data, **{table: dataclasses.replace(old, **{rest: _as(getattr(old, rest), value)})})
    one, field = rest.rsplit(".", 1)
    if table == "species":
        low, high = NUMERIC[field]["low"], NUMERIC[field]["high"]
        if not low <= value <= high:
            raise ValueError(f"{name} {value:g} is impossible; choose {low:g} to {high:g}")
        species = dict(data.web.species)
        grades = {**species[one].grades, field: f"unverified set by hand, was {present:g}"}
        species[one] = dataclasses.replace(species[one], **{field: value}, grades=grades)
        return dataclasses.replace(data, web=FoodWeb(species=species, links=data.web.links))
    entries = dict(getattr(data, table))
    old = entries.get(one, Animal() if table == "animals" else Food())
    entries[one] = dataclasses.replace(old, **{field: _as(getattr(old, field), value)})
    return dataclasses.replace(data, **{table: entries})


def _as(like: object, value: float) -> float | int:
    return round(value) if isinstance(like, int) else float(value)


def read_setting(text: str) -> tuple[str, float]:
    """(name, value) of "name=value"; ValueError when it is not of that form."""
    name, equals, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or not math.isfinite(value):
        raise ValueError(f"{text!r} sets nothing; write NAME=NUMBER, e.g. settings.catch_margin=2")
    return name.strip(), value


def read_range(text: str) -> tuple[str, float, float]:
    """(name, low, high) of "name=low:high"; ValueError when it is not of that form."""
    name, equals, span = text.partition("=")
    low, colon, high = span.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not equals or not colon or not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ValueError(f"{text!r} is no range; write NAME=LOW:HIGH, e.g. settings.catch_margin=1.5:3")
    return name.strip(), *ends
