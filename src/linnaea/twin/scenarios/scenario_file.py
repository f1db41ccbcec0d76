"""Scenario files: TOML or JSON with a version, a name, and interventions in time and space.

    version = 1
    name = "Two dry years in the north"

    [[intervention]]
    kind = "drought"
    rain = 0.4
    from_year = 5
    to_year = 7
    box_km = [0, 50, 100, 100]

A time is a year of the run (0 is its start, fractions are allowed) or a day (`from_day`, `to_day`). Without an end an
intervention lasts to the end of the run. A region has one of the forms of `regions`; without a region an intervention
acts everywhere. The keys of each kind, with units and ranges, come from the classes in `interventions`; `format_schema`
lists them.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path

from linnaea.options import field_help, nearest
from linnaea.standards.typed_values import is_number
from linnaea.twin.data.bounds import get_bounds
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import World
from linnaea.twin.scenarios.intervention import Intervention
from linnaea.twin.scenarios.interventions import KINDS, Intervene
from linnaea.twin.scenarios.regions import EVERYWHERE, FORMS, UNITS, Region, read_region

VERSION = 1
TOP_KEYS = {
    "version": f"version of this schema, {VERSION}",
    "name": "a short name, shown in reports",
    "description": "the question, in a sentence",
    "intervention": "what happens: one table for each intervention",
}
TIME_KEYS = {
    "from_year": "year of the run in which it begins",
    "from_day": "the same as a day of the run",
    "to_year": "year in which it ends; without it the end of the run",
    "to_day": "the same as a day",
}
_HOURS = {"year": HOURS_A_YEAR, "day": 24.0}
# Fields of an intervention that are read from the keys of time and region.
_SHARED_FIELDS = ("start_h", "end_h", "place")


def format_duration(hours: float) -> str:
    """Return a duration in words: "2 years", "40 days", "1.1 years"."""
    years, days = hours / HOURS_A_YEAR, hours / 24
    if (round(4 * years, 6) % 1 == 0 and years) or (years >= 1 and (round(days, 6) % 1 or days >= 1000)):
        return "1 year" if years == 1 else f"{years:.4g} years"
    return "1 day" if days == 1 else f"{days:.4g} days"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A checked scenario; `attach` checks it against a world."""

    name: str = ""
    "shown in reports"
    description: str = ""
    "the question"
    interventions: tuple[Intervention, ...] = ()
    "what happens, in the order of the file"
    where: str = "scenario"
    "name of the file, for errors"


def read_scenario(path: Path | str) -> Scenario:
    """Return the scenario of a TOML or JSON file.

    Raise ValueError with file, intervention, key, value and remedy for a mistake in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no scenario file found; give a .toml or .json file, see docs/twin.md")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ValueError(f"{path.name}: not valid {kind}: {error}; correct it there") from None
    return parse_scenario(content, path.name)


def parse_scenario(content: object, where: str = "scenario") -> Scenario:
    """Return the scenario of a file's content. Errors begin with `where`."""
    if not isinstance(content, Mapping):
        # The content of a file is a value; its type is not a caller's mistake.
        raise ValueError(f"{where}: must be a table, not {content!r}; begin with version = {VERSION}")  # noqa: TRY004
    _check_keys(content, TOP_KEYS, where)
    if "version" not in content:
        raise ValueError(f"{where}: version is missing; write version = {VERSION} into the first line")
    if content["version"] != VERSION:
        raise ValueError(f"{where}: version {content['version']!r} is unknown; this program reads version {VERSION}")
    for key in ("name", "description"):
        if not isinstance(content.get(key, ""), str):
            raise ValueError(f"{where}: {key} must be text, not {content[key]!r}; put it into quotation marks")  # noqa: TRY004
    tables = content.get("intervention", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ValueError(f"{where}: intervention must be a list of tables; head each with [[intervention]]")
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
    """Return the fields of a kind that are keys of its table, without time and region."""
    return [one for one in fields(kind) if one.name not in _SHARED_FIELDS]


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
    own = list_own_fields(kind)
    _check_keys(table, ["kind", *[one.name for one in own], *_list_time_keys(kind), *_list_region_keys(kind)], at)
    values = {one.name: _read_value(one, table[one.name], kind, at) for one in own if one.name in table}
    missing = [one.name for one in own if one.default is MISSING and one.name not in table]
    if missing:
        raise ValueError(f"{at}: {missing[0]} is missing; {field_help(kind)[missing[0]]}")
    start_h, end_h = _read_times(table, at)
    return kind(**values, start_h=start_h, end_h=end_h, place=_read_region(table, kind, at))


def _read_value(one: Field, given: object, kind: type[Intervention], at: str) -> object:
    """Return the value of one key. Raise ValueError for a wrong type or a number outside its range."""
    at = f"{at}: {one.name}"
    if one.type.startswith("tuple[str"):
        return _read_names(given, at)
    if one.type == "bool":
        if not isinstance(given, bool):
            raise ValueError(f"{at} must be true or false, not {given!r}")
        return given
    low, high = get_bounds(one)
    whole = one.type == "int"
    if not is_number(given) or not math.isfinite(given) or (whole and given != int(given)):
        what = "whole number" if whole else "number"
        raise ValueError(f"{at} must be a {what}, not {given!r}; write one from {low:g} to {high:g}")
    if not low <= given <= high:
        raise ValueError(f"{at} {given!r} must be between {low:g} and {high:g}; {field_help(kind)[one.name]}")
    return int(given) if whole else float(given)


def _read_names(given: object, at: str) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f'{at} {given!r} must name species; write "zebra" or ["zebra", "wildebeest"]')
    return tuple(dict.fromkeys(names))


def _read_times(table: Mapping, at: str) -> tuple[float, float]:
    """Return the hours at which an intervention begins and ends, inf for the end of the run."""
    start_h, end_h = _read_time(table, "from", at), _read_time(table, "to", at)
    if start_h is None:
        raise ValueError(f"{at}: its beginning is missing; write from_year (0 is the start of the run) or from_day")
    if end_h is not None and end_h <= start_h:
        last, first = (next(key for key in table if key.startswith(end)) for end in ("to_", "from_"))
        raise ValueError(
            f"{at}: {last} {table[last]} is not after {first} {table[first]}; write a later end or leave it out"
        )
    return start_h, math.inf if end_h is None else end_h


def _read_time(table: Mapping, end: str, at: str) -> float | None:
    """Return the hour of `from_year` or `from_day` (of `to_…` for end "to"), None if neither is given."""
    given = [key for key in (f"{end}_year", f"{end}_day") if key in table]
    if not given:
        return None
    if len(given) > 1:
        raise ValueError(f"{at}: {given[0]} and {given[1]} are both given; keep one of them")
    key, time = given[0], table[given[0]]
    unit = key.removeprefix(f"{end}_")
    if not is_number(time) or not math.isfinite(time) or time < 0:
        raise ValueError(f"{at}: {key} must be a time, not {time!r}; write a number of {unit}s from 0 on")
    return time * _HOURS[unit]


def _read_region(table: Mapping, kind: type[Intervention], at: str) -> Region:
    given = [key for key in _list_region_keys(kind) if key in table]
    if len(given) > 1:
        raise ValueError(f"{at}: {given[0]} and {given[1]} are both given; give one region")
    if not given and kind.placed:
        form = kind.forms[0]
        raise ValueError(f"{at}: its region is missing; write {form}_km = {FORMS[form]}")
    if not given:
        return EVERYWHERE
    form, unit = given[0].rsplit("_", 1)
    return read_region(form, unit, table[given[0]], f"{at}: {given[0]}")


def attach(world: World, scenario: Scenario, hours: float, scientific: Mapping[str, str] | None = None) -> None:
    """Add a scenario to a world before its run of `hours` hours.

    `scientific` maps scientific names to the world's own names; a scenario may use both. Raise ValueError for an
    intervention outside the map or the run, for an unknown species, and for what the world does not have.
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
    """Return the intervention with its species by the names of the world's table."""
    if not hasattr(one, "species"):
        return one
    return replace(one, species=tuple(dict.fromkeys(scientific.get(name, name) for name in one.species)))


def format_schema() -> str:
    """Return the keys of a scenario file as Markdown, made from the classes."""
    lines = ["| key | what |", "| --- | --- |"]
    lines += [f"| `{key}` | {text} |" for key, text in TOP_KEYS.items()]
    lines += [
        "",
        "Each `[[intervention]]` has a `kind`, a time and, where it makes sense, a region:",
        "",
        "| key | what |",
        "| --- | --- |",
    ]
    lines += [f"| `{key}` | {text} |" for key, text in TIME_KEYS.items()]
    lines += [f"| `{form}_km`, `{form}_m` | {text} |" for form, text in FORMS.items()]
    lines += ["", "| kind | what it does | keys | region | end |", "| --- | --- | --- | --- | --- |"]
    for name, kind in KINDS.items():
        about = " ".join((kind.__doc__ or "").split())
        keys = "; ".join(_describe_field(one, kind) for one in list_own_fields(kind))
        region = ", ".join(kind.forms) + (" (required)" if kind.placed else "") if kind.forms else "everywhere"
        lines.append(f"| `{name}` | {about} | {keys} | {region} | {'yes' if kind.lasts else 'happens once'} |")
    return "\n".join(lines) + "\n"


def _describe_field(one: Field, kind: type[Intervention]) -> str:
    bounds = get_bounds(one)
    if bounds:
        allowed = f", {bounds.low:g} to {bounds.high:g}"
    else:
        allowed = ", one or a list" if one.type.startswith("tuple[str") else ""
    default = "" if one.default is MISSING else f", default {json.dumps(one.default)}"
    return f"`{one.name}`: {field_help(kind)[one.name]}{allowed}{default}"
