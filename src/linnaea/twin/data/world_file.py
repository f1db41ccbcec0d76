"""The file of a world: TOML with settings, and CSV tables of species and links.

The file (format 1) has the tables `ground`, `landscape`, `settings`, `foods.<name>`, `animals.<name>` and `grades`. Its
species and food web are CSV tables beside it, or those that come with the program. Every value that the file sets has
the file's `grade` unless `grades` gives another; a value that it leaves out has its default.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import resources
from pathlib import Path
from typing import Any

from linnaea.standards.typed_values import check_type, is_number
from linnaea.twin.data.evidence import check_grade
from linnaea.twin.data.foodweb import FoodWeb, load_bundled_web, read_web
from linnaea.twin.data.species import load_bundled_species, read_species
from linnaea.twin.data.world_data import WorldData, check_world
from linnaea.twin.data.world_settings import TABLES, check_number

FORMAT = 1
TOP_KEYS = {
    "format": f"must be {FORMAT}, the only format there is",
    "name": "name of the world; also the name of the bundled food web if `web` is missing",
    "about": "a sentence about the world",
    "grade": "how well the values of the file are known: `measured` with a source, `allometric`, `tuned`, `unverified`",
    "species": "file of the species table; without it the table that comes with the program",
    "web": "file of the food web: columns predator, prey, grade, and optionally preference, max_ingestion_per_y, hill, "
    "efficiency, loop",
    "pools": "list of animals that are kept as biomass, not one by one",
    "traits": "list of heritable traits",
    "ground": "table: size, step",
    "landscape": "table: cells, hills, rain, temperature, water",
    "settings": "table: parameters that all animals share",
    "foods": "a table `[foods.NAME]` for each plant, dead matter or pool that differs from the default",
    "animals": "a table `[animals.NAME]` for each animal that differs from the default",
    "grades": "table: grades of single values by their dotted names",
}
"key at the top of the file -> what it is"
_LISTS = ("pools", "traits")
_TABLES = (*TABLES, "grades")


def list_bundled_worlds() -> dict[str, str]:
    """Return the names of the worlds that come with the program, each with a sentence about it."""
    folder = resources.files("linnaea.twin").joinpath("worlds")
    found = {p.name.removesuffix(".toml"): p for p in folder.iterdir() if p.name.endswith(".toml")}
    return {name: tomllib.loads(found[name].read_text("utf-8")).get("about", "") for name in sorted(found)}


def load_world(name_or_path: str | Path) -> WorldData:
    """Return the data of a bundled world or of a world's TOML file. Raise ValueError for an impossible value."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_dir():
        path = path / "world.toml" if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no world found; give a TOML file or one of {', '.join(list_bundled_worlds())}"
            )
        text, folder = path.read_text("utf-8"), path.parent
    else:
        file = resources.files("linnaea.twin").joinpath(f"worlds/{name_or_path}.toml")
        if not file.is_file():
            raise ValueError(
                f"world {str(name_or_path)!r} is not bundled; give a TOML file or one of "
                f"{', '.join(list_bundled_worlds())}"
            )
        text, folder = file.read_text("utf-8"), None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    return parse_world(raw, folder)


def parse_world(raw: Mapping, folder_path: Path | None = None) -> WorldData:
    """Return the data of a world from its parsed file.

    `folder_path` is the folder of the world's own tables, None for a bundled world.
    """
    _check_top(raw)
    data = WorldData(
        name=raw["name"],
        about=raw.get("about", ""),
        grade=check_grade(raw["grade"], "world: grade"),
        ground=_parse_table(raw["ground"], "ground"),
        landscape=_parse_table(raw.get("landscape", {}), "landscape"),
        settings=_parse_table(raw.get("settings", {}), "settings"),
        web=_read_web(raw, folder_path),
        pools=tuple(raw.get("pools", ())),
        foods={name: _parse_table(values, f"foods.{name}") for name, values in raw.get("foods", {}).items()},
        animals={name: _parse_table(values, f"animals.{name}") for name, values in raw.get("animals", {}).items()},
        traits=tuple(raw.get("traits", ())),
        grades={key: check_grade(grade, f"world: grades.{key}") for key, grade in raw.get("grades", {}).items()},
    )
    check_world(data)
    return data


def _check_top(raw: Mapping) -> None:
    """Raise ValueError for unknown, missing or wrongly typed keys at the top of a file, or another format."""
    for key, value in raw.items():
        if key not in TOP_KEYS:
            raise ValueError(f"world: {key!r} is unknown; known are {', '.join(TOP_KEYS)}")
        if key != "format":
            _check_top_type(key, value)
    if raw.get("format") != FORMAT:
        raise ValueError(f"world: format {raw.get('format')} is not {FORMAT}, the only one that this version reads")
    for key in ("name", "grade", "ground"):
        if key not in raw:
            raise ValueError(f"world: {key} is missing; write it into the file")


def _check_top_type(key: str, value: object) -> None:
    if key in _LISTS:
        kind, wanted = list, 'a list, not {}; write ["one", "two"]'
    elif key in _TABLES:
        kind, wanted = Mapping, f"a table, not {{}}; head it with [{key}]"
    else:
        kind, wanted = str, "text, not {}; write it in quotation marks"
    if not isinstance(value, kind):
        raise ValueError(f"world: {key} must be {wanted.format(repr(value))}")  # noqa: TRY004


def _read_web(raw: Mapping, folder_path: Path | None) -> FoodWeb:
    """Return the food web of a file: its own tables if it names them, else those that come with the program."""
    own = folder_path is not None
    species = read_species(folder_path / raw["species"]) if own and "species" in raw else load_bundled_species()
    if own and "web" in raw:
        return read_web(folder_path / raw["web"], species)
    return load_bundled_web(raw.get("web", raw["name"]), species)


def _parse_table(values: Mapping, where: str) -> Any:
    """Return the object of a table such as `settings` or `animals.NAME`; its class is that of `TABLES`."""
    table = where.split(".")[0]
    cls = TABLES[table]
    own = {f.name: f for f in fields(cls)}
    if not isinstance(values, Mapping):
        raise ValueError(f"world: {where} must be a table, not {values!r}; head it with [{where}]")  # noqa: TRY004
    for key, value in values.items():
        at = f"world: {where}.{key}"
        if key not in own:
            raise ValueError(f"{at} is unknown; known are {', '.join(sorted(own))}")
        check_type(own[key], value, at)
        if is_number(value):
            check_number(table, key, value, at)
    for key, one in own.items():
        if key not in values and one.default is one.default_factory is MISSING:
            raise ValueError(f"world: {where}.{key} is missing; write it into the file")
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def copy_world(name: str, folder_path: Path) -> None:
    """Write the files of a bundled world into a folder, complete and with their comments.

    Raise ValueError if one of the files exists.
    """
    load_world(name)
    file = resources.files("linnaea.twin").joinpath(f"worlds/{name}.toml")
    if not file.is_file():
        raise ValueError(f"{name} is not a bundled world; copy the files of your own world as they are")
    files = _collect_files(file.read_text("utf-8"))
    for one in files:
        if (folder_path / one).exists():
            raise ValueError(f"{folder_path / one} exists; choose another --copy")
    folder_path.mkdir(parents=True, exist_ok=True)
    for one, content in files.items():
        (folder_path / one).write_text(content, encoding="utf-8")


def _collect_files(text: str) -> dict[str, str]:
    """Return file name -> content of a bundled world as a world of one's own; `text` is its TOML file."""
    tables = resources.files("linnaea.twin").joinpath("tables")
    raw = tomllib.loads(text)
    web = raw.get("web", raw["name"])
    species = load_bundled_web(web, load_bundled_species()).species
    whole = tables.joinpath("species.csv").read_text("utf-8").splitlines()
    head = next(i for i, line in enumerate(whole) if not line.startswith("#")) + 1
    rows = [line for line in whole[head:] if next(csv.reader([line]), [""])[0].strip() in species]
    kept = "".join(line for line in text.splitlines(True) if not line.startswith(("format", "species =", "web =")))
    return {
        "world.toml": f'format = {FORMAT}\nspecies = "species.csv"\nweb = "web.csv"\n{kept}',
        "species.csv": "\n".join([*whole[:head], *rows, ""]),
        "web.csv": tables.joinpath(f"{web}_web.csv").read_text("utf-8"),
    }
