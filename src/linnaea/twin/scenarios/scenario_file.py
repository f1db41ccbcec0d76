"""A what-if as a file: TOML or JSON with a version, a name and interventions in time and place.

    version = 1
    name = "Two dry years in the north"

    [[intervention]]
    kind = "drought"
    rain = 0.4
    from_year = 5
    to_year = 7
    box_km = [0, 50, 100, 100]

A time is a year of the run (0 its start, fractions allowed) or a day (`from_day`, `to_day`); without an end an
intervention lasts to the end of the run. A place is one of the forms in `places`; without it, everywhere. What each kind
takes, with units and ranges, is read from the classes in `interventions`; `format_schema` writes it down.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path

from linnaea.options import field_help, nearest
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import World
from linnaea.twin.scenarios.interventions import KINDS, Intervene, Intervention
from linnaea.twin.scenarios.regions import FORMS, UNITS, read_region

VERSION = 1
TOP_KEYS = {
    "version": f"version of this schema, {VERSION}",
    "name": "a short name, shown in reports",
    "description": "what is asked, in a sentence",
    "intervention": "what happens: one table for each",
}
TIME_KEYS = {
    "from_year": "year of the run in which it begins",
    "from_day": "the same as a day of the run",
    "to_year": "year in which it ends; without it, the end of the run",
    "to_day": "the same as a day",
}
_HOURS = {"year": HOURS_A_YEAR, "day": 24.0}
_PLUMBING = ("start_h", "end_h", "place")


def format_duration(hours: float) -> str:
    """A length of time as one asks for it: "2 years", "40 days", "1.1 years"."""
    years, days = hours / HOURS_A_YEAR, hours / 24
    if (round(4 * years, 6) % 1 == 0 and years) or (years >= 1 and (round(days, 6) % 1 or days >= 1000)):
        return "1 year" if years == 1 else f"{years:.4g} years"
    return "1 day" if days == 1 else f"{days:.4g} days"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A checked scenario; what a certain world lacks is found by `attach`."""

    name: str = ""
    "shown in reports"
    description: str = ""
    "what is asked"
    interventions: tuple[Intervention, ...] = ()
    "what happens, in the order of the file"
    where: str = "scenario"
    "the file it came from, for errors"


def read_scenario(path: Path | str) -> Scenario:
    """The scenario of a TOML or JSON file. ValueError in one line that names file, intervention, key, value and remedy."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no scenario file; give a .toml or .json file, see docs/twin.md")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ValueError(f"{path.name}: not valid {kind}: {error}; correct it there") from None
    return parse_scenario(content, path.name)


def parse_scenario(content: object, where: str = "scenario") -> Scenario:
    """The scenario of a file's content."""
    if not isinstance(content, Mapping):
        # What a file holds is a value to its reader, never a type that a caller chose.
        raise ValueError(f"{where}: {content!r} is no table; begin with version = {VERSION}")  # noqa: TRY004
    _check_keys(content, TOP_KEYS, where)
    if "version" not in content:
        raise ValueError(f"{where}: version is missing; write version = {VERSION} into the first line")
    if content["version"] != VERSION:
        raise ValueError(f"{where}: version {content['version']!r} is not read here; this program reads {VERSION}")
    for key in ("name", "description"):
        if not isinstance(content.get(key, ""), str):
            raise ValueError(f"{where}: {key} {content[key]!r} is no text; put it into quotation marks")  # noqa: TRY004
    tables = content.get("intervention", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ValueError(f"{where}: intervention is no list of tables; head each with [[intervention]]")
    return Scenario(
        name=content.get("name", "") or Path(where).stem,
        description=content.get("description", ""),
        interventions=tuple(_read_intervention(table, number, where) for number, table in enumerate(tables, 1)),
        where=where,
    )


def _check_keys(table: Mapping, known: Mapping | list, at: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"{at}: key {key!r} is unknown{nearest(str(key), known)}")


def list_own_fields(kind: type[Intervention]) -> list[Field]:
    """The fields of a kind that are keys of its table, without time and place."""
    return [one for one in fields(kind) if one.name not in _PLUMBING]


def _list_region_keys(kind: type[Intervention]) -> list[str]:
    return [f"{form}_{unit}" for form in kind.forms for unit in UNITS]


def _list_time_keys(kind: type[Intervention]) -> list[str]:
    return [key for key in TIME_KEYS if kind.lasts or key.startswith("from")]


def _read_intervention(table: Mapping, number: int, where: str) -> Intervention:
    at = f"{where}: intervention {number}"
    name = table.get("kind")
    if name not in KINDS:
        fault = f"kind {name!r} is unknown" if name else "kind is missing"
        raise ValueError(f"{at}: {fault}{nearest(str(name or ''), KINDS)}")
    kind, at = KINDS[name], f"{at} ({name})"
    _check_keys(
        table,
        ["kind", *[one.name for one in list_own_fields(kind)], *_list_time_keys(kind), *_list_region_keys(kind)],
        at,
    )
    values = {one.name: _read_value(one, table, at) for one in list_own_fields(kind) if one.name in table}
    missing = [one.name for one in list_own_fields(kind) if one.default is MISSING and one.name not in table]
    if missing:
        raise ValueError(f"{at}: {missing[0]} is missing; {field_help(kind)[missing[0]]}")
    return kind(**values, **_read_times(table, kind, at), **_read_region(table, kind, at))


def _read_value(one: Field, table: Mapping, at: str) -> object:
    given, low, high = table[one.name], one.metadata.get("low"), one.metadata.get("high")
    at = f"{at}: {one.name} {given!r}"
    if one.type.startswith("tuple[str"):
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f'{at} names no species; write "zebra" or ["zebra", "wildebeest"]')
        return tuple(dict.fromkeys(names))
    if one.type == "bool":
        if not isinstance(given, bool):
            raise ValueError(f"{at} is neither true nor false")
        return given
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not is_number or (one.type == "int" and given != int(given)):
        raise ValueError(
            f"{at} is no {'whole ' if one.type == 'int' else ''}number; write one from {low:g} to {high:g}"
        )
    if not low <= given <= high:
        raise ValueError(f"{at} is not between {low:g} and {high:g}; {field_help(get_kind(one, table))[one.name]}")
    return int(given) if one.type == "int" else float(given)


def get_kind(one: Field, table: Mapping) -> type[Intervention]:
    """The class of the table that a field belongs to."""
    return KINDS[table["kind"]]


def _read_times(table: Mapping, kind: type[Intervention], at: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for end, name in (("from", "start_h"), ("to", "end_h")):
        given = [key for key in (f"{end}_year", f"{end}_day") if key in table]
        if len(given) > 1:
            raise ValueError(f"{at}: {given[0]} and {given[1]} are both given; keep one of them")
        for key in given:
            time = table[key]
            if isinstance(time, bool) or not isinstance(time, int | float) or not math.isfinite(time) or time < 0:
                raise ValueError(
                    f"{at}: {key} {time!r} is no time; write a number of {key.removeprefix(end)[1:]}s from 0 on"
                )
            found[name] = time * _HOURS[key.removeprefix(f"{end}_")]
    if "start_h" not in found:
        raise ValueError(f"{at}: its beginning is missing; write from_year (0 is the start of the run) or from_day")
    if found.get("end_h", math.inf) <= found["start_h"]:
        last, first = (next(key for key in table if key.startswith(end)) for end in ("to_", "from_"))
        raise ValueError(
            f"{at}: {last} {table[last]} is not after {first} {table[first]}; write a later end or leave it out"
        )
    return found


def _read_region(table: Mapping, kind: type[Intervention], at: str) -> dict:
    given = [key for key in _list_region_keys(kind) if key in table]
    if len(given) > 1:
        raise ValueError(f"{at}: {given[0]} and {given[1]} are both given; a place is one of them")
    if not given and kind.placed:
        form = kind.forms[0]
        raise ValueError(f"{at}: its place is missing; write {form}_km = {FORMS[form]}")
    if not given:
        return {}
    form, unit = given[0].rsplit("_", 1)
    return {"place": read_region(form, unit, table[given[0]], f"{at}: {given[0]}")}


def attach(world: World, scenario: Scenario, hours: float, scientific: Mapping[str, str] | None = None) -> None:
    """Makes the scenario part of a world that has not begun its run of so many hours.

    `scientific` are the world's species by scientific name, which a scenario may use, too. ValueError for an intervention
    outside the map or the run, of an unknown species, or on what the world does not have.
    """
    interventions = tuple(_use_table_names(one, scientific or {}) for one in scenario.interventions)
    for number, one in enumerate(interventions, 1):
        at = f"{scenario.where}: intervention {number} ({one.kind})"
        one.check(world, at)
        if one.start_h >= hours:
            raise ValueError(
                f"{at}: it begins {format_duration(one.start_h)} after the start, after the end of the run of "
                f"{format_duration(hours)}; begin earlier or run longer with --years"
            )
    if interventions:
        world.add_rule(Intervene(interventions=interventions))


def _use_table_names(one: Intervention, scientific: Mapping[str, str]) -> Intervention:
    """The intervention with its species by the names of the world's table."""
    if not hasattr(one, "species"):
        return one
    return replace(one, species=tuple(dict.fromkeys(scientific.get(name, name) for name in one.species)))


def format_schema() -> str:
    """What a scenario file may hold, as Markdown; made from the classes."""
    lines = ["| key | what |", "| --- | --- |"]
    lines += [f"| `{key}` | {text} |" for key, text in TOP_KEYS.items()]
    lines += [
        "",
        "Each `[[intervention]]` has a `kind`, a time, and where it makes sense a place:",
        "",
        "| key | what |",
        "| --- | --- |",
    ]
    lines += [f"| `{key}` | {text} |" for key, text in TIME_KEYS.items()]
    lines += [f"| `{form}_km`, `{form}_m` | {text} |" for form, text in FORMS.items()]
    lines += ["", "| kind | what it does | keys | place | end |", "| --- | --- | --- | --- | --- |"]
    for name, kind in KINDS.items():
        about = " ".join((kind.__doc__ or "").split())
        keys = "; ".join(_describe_field(one, kind) for one in list_own_fields(kind))
        place = ", ".join(kind.forms) + (" (required)" if kind.placed else "") if kind.forms else "everywhere"
        lines.append(f"| `{name}` | {about} | {keys} | {place} | {'yes' if kind.lasts else 'happens once'} |")
    return "\n".join(lines) + "\n"


def _describe_field(one: Field, kind: type[Intervention]) -> str:
    low, high = one.metadata.get("low"), one.metadata.get("high")
    span = (
        f", {low:g} to {high:g}" if low is not None else ", one or a list" if one.type.startswith("tuple[str") else ""
    )
    default = "" if one.default is MISSING else f", default {json.dumps(one.default)}"
    return f"`{one.name}`: {field_help(kind)[one.name]}{span}{default}"
