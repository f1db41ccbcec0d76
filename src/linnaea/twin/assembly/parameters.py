"""Single values of a world by their dotted names, to change, vary and fit them.

`settings.catch_margin`, `landscape.rain_noise`, `ground.dt_h`, `animals.wildebeest.count`, `foods.clover.reserve`,
`species.wildebeest.yearly_survival`. In the place of a species' name its scientific name may stand.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from linnaea.options import nearest
from linnaea.twin.data.foodweb import FoodWeb
from linnaea.twin.data.species import NUMERIC
from linnaea.twin.data.world_data import (
    WorldData,
    compute_start_counts,
    map_scientific_names,
    select_animals,
    select_foods,
)
from linnaea.twin.data.world_settings import Animal, Food, check_number

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
    names += [f"animals.{one}.{name}" for one in select_animals(data) for name in _numbers(Animal())]
    names += [f"foods.{one}.{name}" for one in select_foods(data) for name in _numbers(Food())]
    for one in data.web.species.values():
        names += [f"species.{one.name}.{name}" for name in NUMERIC if not math.isnan(getattr(one, name))]
    return names


def full_name(data: WorldData, name: str) -> str:
    """The name as `parameter_names` has it. ValueError with the nearest names for one that is not there."""
    known = parameter_names(data)
    if name in known:
        return name
    table, _, rest = name.partition(".")
    one, _, field = rest.rpartition(".")
    common = f"{table}.{map_scientific_names(data).get(one, one)}.{field}"
    if common in known:
        return common
    hint = nearest(name, known, otherwise=f"linnaea twin worlds {data.name} --parameters lists them")
    raise ValueError(f"parameter {name!r} is not one of world {data.name!r}{hint}")


def get_value(data: WorldData, name: str) -> float:
    """The value of a name; nan where it is computed. ValueError with the nearest names for one that is not there."""
    name = full_name(data, name)
    table, rest = name.split(".", 1)
    if table in _PLAIN:
        return float(getattr(getattr(data, table), rest))
    one, field = rest.rsplit(".", 1)
    if table == "species":
        return float(getattr(data.web.species[one], field))
    kind = getattr(data, table).get(one, Animal() if table == "animals" else Food())
    return float(getattr(kind, field))


# What a value is computed from, a field of the species table, when the world's file leaves it out.
_FROM = {
    "count": "density_per_km2",
    "range_km": "home_range_km2",
    "search_m": "day_range_km",
    "spacing_m": "body_mass_kg",
    "flight_m": "body_mass_kg",
}


def compute_defaults(data: WorldData) -> dict[str, tuple[float, str]]:
    """(value, grade) in use of every name whose own value is nan."""
    import numpy as np

    from linnaea.twin.assembly.rule_parameters import make_parameters
    from linnaea.twin.engine.agents import HOURS_A_YEAR

    counts, flat = compute_start_counts(data), np.ones((1, 1))
    p, _ = make_parameters(data, {"rain_share": flat}, data.landscape.cell_km**2, data.ground.dt_h, counts)
    found = {
        "count": list(counts.values()),
        "range_km": p.movement.range_m / 1000,
        "search_m": p.hunting.search_m,
        "spacing_m": p.groups.herd_spacing_m,
        "flight_m": p.movement.flight_m,
        "wither_per_y": p.foods.wither_h * HOURS_A_YEAR,
        "moist_half_mm": p.foods.moist_half_mm,
        "burns": p.foods.burns,
    }
    rows = {"animals": list(select_animals(data)), "foods": list(select_foods(data))}
    values = {}
    for name in parameter_names(data):
        if math.isnan(get_value(data, name)):
            table, rest = name.split(".", 1)
            one, field = rest.rsplit(".", 1)
            grade = (
                f"{data.web.species[one].grades.get(_FROM[field], data.grade)}; from {_FROM[field]}"
                if field in _FROM
                else (f"{data.grade}; usual for its kind")
            )
            values[name] = float(found[field][rows[table].index(one)]), grade
    return values


def value_in_use(data: WorldData, name: str) -> float:
    """The value of a name, computed or not."""
    name = full_name(data, name)
    value = get_value(data, name)
    return compute_defaults(data)[name][0] if math.isnan(value) else value


def describe_out_of_range(data: WorldData, ranges: Iterable[tuple[str, float, float]]) -> list[str]:
    """A line for every range that does not hold the world's own value."""
    told = []
    for name, low, high in ranges:
        own = value_in_use(data, name)
        if not low <= own <= high:
            told.append(
                f"the range of {name}, {low:g} to {high:g}, does not hold the value of world {data.name!r}, {own:g}"
            )
    return told


def grade_of(data: WorldData, name: str) -> str:
    """How well a value is known, as the world's file or table says."""
    name = full_name(data, name)
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
    name = full_name(data, name)
    present = get_value(data, name)
    table, rest = name.split(".", 1)
    check_number(table, rest.rsplit(".", 1)[-1], value, name)
    side_km = min(data.ground.width_km, data.ground.height_km)
    if name == "landscape.cell_km" and value > side_km:
        raise ValueError(f"{name} {value:g} is more than the map's {side_km:g} km; choose less")
    if table in _PLAIN:
        old = getattr(data, table)
        return dataclasses.replace(data, **{table: dataclasses.replace(old, **{rest: _as(getattr(old, rest), value)})})
    one, field = rest.rsplit(".", 1)
    if table == "species":
        low, high = NUMERIC[field].low, NUMERIC[field].high
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
        raise ValueError(f"{text!r} sets nothing; write NAME=NUMBER, e.g. settings.catch_margin=5")
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
        raise ValueError(f"{text!r} is no range; write NAME=LOW:HIGH, e.g. settings.catch_margin=4:8")
    return name.strip(), *ends
