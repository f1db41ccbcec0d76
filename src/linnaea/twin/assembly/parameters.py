"""Single values of a world by their dotted names, to change, vary and fit them.

Examples: `settings.catch_margin`, `landscape.rain_noise`, `ground.dt_h`, `animals.wildebeest.count`,
`foods.clover.reserve`, `species.wildebeest.yearly_survival`. A scientific name may replace a species' name.
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


def list_parameters(data: WorldData) -> list[str]:
    """The names of all single numbers of a world that may be varied."""
    names = [f"{table}.{name}" for table in _PLAIN for name in _numbers(getattr(data, table))]
    names += [f"animals.{one}.{name}" for one in select_animals(data) for name in _numbers(Animal())]
    names += [f"foods.{one}.{name}" for one in select_foods(data) for name in _numbers(Food())]
    for one in data.web.species.values():
        names += [f"species.{one.name}.{name}" for name in NUMERIC if not math.isnan(getattr(one, name))]
    return names


def resolve_parameter(data: WorldData, name: str) -> str:
    """The name as in `list_parameters`. Raise ValueError with the nearest names for an unknown one."""
    known = list_parameters(data)
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
    """The value of a name, nan if it is computed. Raise ValueError with the nearest names for an unknown one."""
    name = resolve_parameter(data, name)
    table, rest = name.split(".", 1)
    if table in _PLAIN:
        return float(getattr(getattr(data, table), rest))
    one, field = rest.rsplit(".", 1)
    if table == "species":
        return float(getattr(data.web.species[one], field))
    kind = getattr(data, table).get(one, Animal() if table == "animals" else Food())
    return float(getattr(kind, field))


# The field of the species table from which a value is computed when the world's file leaves it out.
_FROM = {
    "count": "density_per_km2",
    "range_km": "home_range_km2",
    "search_m": "day_range_km",
    "spacing_m": "body_mass_kg",
    "flight_m": "body_mass_kg",
}


def compute_defaults(data: WorldData) -> dict[str, tuple[float, str]]:
    """(value, grade) of every name that the world's file leaves out."""
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
    for name in list_parameters(data):
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


def get_value_in_use(data: WorldData, name: str) -> float:
    """The value of a name, computed if the world's file leaves it out."""
    name = resolve_parameter(data, name)
    value = get_value(data, name)
    return compute_defaults(data)[name][0] if math.isnan(value) else value


def describe_out_of_range(data: WorldData, ranges: Iterable[tuple[str, float, float]]) -> list[str]:
    """A line for every range that does not hold the world's own value."""
    lines = []
    for name, low, high in ranges:
        own = get_value_in_use(data, name)
        if not low <= own <= high:
            lines.append(
                f"the range of {name}, {low:g} to {high:g}, does not hold the value of world {data.name!r}, {own:g}"
            )
    return lines


def get_grade(data: WorldData, name: str) -> str:
    """How well a value is known, from the world's file or table."""
    name = resolve_parameter(data, name)
    table, rest = name.split(".", 1)
    if table == "species":
        one, field = rest.rsplit(".", 1)
        return data.web.species[one].grades.get(field, "unverified")
    return data.grades.get(name, data.grade)


def replace_values(data: WorldData, values: Iterable[tuple[str, float]]) -> WorldData:
    """The world with other values. Raise ValueError for an unknown name or an impossible value."""
    for name, value in values:
        data = _with_value(data, name, value)
    return data


def _with_value(data: WorldData, name: str, value: float) -> WorldData:
    name = resolve_parameter(data, name)
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
    """(name, value) of "name=value". Raise ValueError for another form."""
    name, equals, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or not math.isfinite(value):
        raise ValueError(f"{text!r} sets nothing; write NAME=NUMBER, for example settings.catch_margin=5")
    return name.strip(), value


def read_range(text: str) -> tuple[str, float, float]:
    """(name, low, high) of "name=low:high". Raise ValueError for another form."""
    name, equals, span = text.partition("=")
    low, colon, high = span.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not equals or not colon or not (math.isfinite(ends[0]) and math.isfinite(ends[1]) and ends[0] < ends[1]):
        raise ValueError(f"{text!r} must be a range; write NAME=LOW:HIGH, for example settings.catch_margin=4:8")
    return name.strip(), *ends
