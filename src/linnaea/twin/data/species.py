"""The species of a world: a table with one row a species, and how well every value is known.

A table is a CSV file. Its columns are `name`, the fields of `Species`, `grade` (how well the filled cells of the row
are known) and, where one value is known differently, a column `<field>_grade`. An empty cell is computed from body mass
and graded allometric, with the formula; the formulae's coefficients are unverified. Lines that begin with # are
remarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path

from linnaea.standards.commented_csv import check_width, parse_rows, read_csv_text
from linnaea.twin.data.allometry import LAWS
from linnaea.twin.data.evidence import ALLOMETRIC, check_grade, is_measured

BASAL = ("grass", "woody", "seed", "dead")
"kinds of what eats nothing: swards, trees and shrubs, seeds, dead matter (carcasses, dung, litter)"
EATS = {
    "grazer": ("grass",),
    "browser": ("woody",),
    "mixed": ("grass", "woody"),
    "granivore": ("seed",),
    "insectivore": ("animal",),
    "carnivore": ("animal", "dead"),
    "scavenger": ("dead",),
    "detritivore": ("dead",),
    "omnivore": ("grass", "woody", "seed", "animal", "dead"),
}
"what an animal of each diet may eat: kinds of basal species, or animals"
ACTIVITIES = ("diurnal", "nocturnal", "crepuscular", "cathemeral")
_FLESH = ("carnivore", "insectivore", "scavenger")


def _make_field(unit: str, low: float, high: float, law: str = "", blank: float | None = None, basal: bool = False):
    """A numeric field: its unit, its possible range, and what fills an empty cell (a law of body mass, or a number)."""
    return field(
        default=math.nan, metadata={"unit": unit, "low": low, "high": high, "law": law, "blank": blank, "basal": basal}
    )


@dataclass(frozen=True, kw_only=True)
class Species:
    """One species; what does not apply to it is nan."""

    name: str
    "short name, unique in its table, which webs and scenarios use"
    scientific_name: str
    "binomial, or the group where a row stands for many species"
    diet: str
    "grass, woody, seed or dead for what eats nothing; else what an animal eats"
    body_mass_kg: float = _make_field("kg", 1e-9, 2e5, basal=True)
    "mean adult mass; of a plant or a carcass one unit that is eaten"
    walk_speed_km_h: float = _make_field("km/h", 1e-5, 40, "walk_speed")
    "speed of an undisturbed animal on its way"
    max_speed_km_h: float = _make_field("km/h", 1e-5, 200, "max_speed")
    "speed of flight or pursuit"
    day_range_km: float = _make_field("km", 1e-5, 500, "day_range")
    "path of a day"
    home_range_km2: float = _make_field("km2", 1e-9, 1e6, "home_range")
    "area that an animal uses in a year"
    litter_size: float = _make_field("young", 0.1, 1e4, blank=1.0)
    "young of a birth or clutch"
    births_per_y: float = _make_field("1/y", 0.0, 400, blank=1.0)
    "births or clutches of a mature female in a year; 0 for those that are born elsewhere, as workers of a nest outside"
    gestation_d: float = _make_field("d", 0.1, 800, "gestation")
    "from mating to birth or hatching"
    birth_months: tuple[int, ...] = ()
    "calendar months of births; empty is all year"
    maturity_y: float = _make_field("y", 0.01, 40, "maturity")
    "age of a female's first birth"
    life_span_y: float = _make_field("y", 0.02, 250, "life_span")
    "age that few pass in the wild"
    yearly_survival: float = _make_field("", 0.0, 0.9999, blank=0.85)
    "share of adults that live through a year where nothing preys on them"
    young_survival: float = _make_field("", 0.0, 0.9999, blank=0.5)
    "share of the young that live through their first year where nothing preys on them"
    herd_size: float = _make_field("", 1, 1e5, blank=1.0)
    "animals that stay together"
    density_per_km2: float = _make_field("1/km2", 1e-6, 1e11, "density")
    "usual density in good habitat"
    activity: str = "cathemeral"
    "diurnal, nocturnal, crepuscular or cathemeral"
    growth_per_y: float = _make_field("1/y", 1e-3, 400, "growth_rate", basal=True)
    "greatest rate of increase; of seeds the rate at which bare ground fills; of dead matter its rate of decay"
    capacity_kg_km2: float = _make_field("kg/km2", 1e-9, 1e10, blank=1e5, basal=True)
    "biomass of a basal species that nothing eats; of dead matter what is there at first"
    grades: Mapping[str, str] = field(default_factory=dict)
    "field to how well its value is known"

    def __post_init__(self) -> None:
        check_species(self, self.name)

    @property
    def basal(self) -> bool:
        """Whether it eats nothing: plants, seeds, dead matter."""
        return self.diet in BASAL

    @property
    def kind(self) -> str:
        """What it is to a predator: its kind of basal species, or animal."""
        return self.diet if self.basal else "animal"

    def unmeasured(self) -> tuple[str, ...]:
        """Names of the values that no source stands behind."""
        return tuple(name for name, grade in self.grades.items() if not is_measured(grade))


NUMERIC = {f.name: f.metadata for f in fields(Species) if "unit" in f.metadata}
_ANIMAL_ONLY = tuple(name for name, about in NUMERIC.items() if not about["basal"])
_BASAL_ONLY = ("capacity_kg_km2",)


def read_species(path: Path | str) -> dict[str, Species]:
    """The species of a CSV table, by name, in its order. ValueError names the first impossible value."""
    path = Path(path)
    return parse_species(read_csv_text(path, "species table", "name, scientific_name, diet …"), path.name)


def load_bundled_species() -> dict[str, Species]:
    """The species that come with the program, by name."""
    return parse_species(
        resources.files("linnaea.twin").joinpath("tables/species.csv").read_text("utf-8"), "species.csv"
    )


def parse_species(text: str, where: str = "species table") -> dict[str, Species]:
    """The species of a table's text, by name. `where` begins an error."""
    rows = parse_rows(text)
    known = {f.name for f in fields(Species)} - {"grades"}
    columns = known | {"grade"} | {f"{name}_grade" for name in known}
    strange = [column for column in rows.fieldnames or () if column not in columns]
    if strange:
        raise ValueError(f"{where}: column {strange[0]!r} is unknown; known are {', '.join(sorted(known))} and grade")
    lacking = [column for column in ("name", "diet", "body_mass_kg", "grade") if column not in (rows.fieldnames or ())]
    if lacking:
        raise ValueError(
            f"{where}: column {lacking[0]!r} is missing; every species needs name, diet, body_mass_kg, grade"
        )
    table: dict[str, Species] = {}
    for row in rows:
        check_width(row, where)
        species = make_species({key: value.strip() for key, value in row.items()}, where)
        if species.name in table:
            raise ValueError(f"{where}: species {species.name!r} stands there twice; remove one row or rename it")
        table[species.name] = species
    if not table:
        raise ValueError(f"{where}: no species; write at least one row")
    return table


def make_species(row: Mapping[str, str], where: str = "species table") -> Species:
    """A species from its cells as text, with empty ones filled from body mass. ValueError names species, field,
    value.
    """
    name = row.get("name", "")
    at = f"{where}: {name or 'a species without a name'}"
    if not name:
        raise ValueError(f"{at}; write its name into the first column")
    diet = row.get("diet", "")
    if diet not in (*BASAL, *EATS):
        raise ValueError(f"{at}: diet {diet!r} is unknown; known are {', '.join((*BASAL, *EATS))}")
    base = check_grade(row.get("grade", ""), f"{at}: grade")
    idle = _ANIMAL_ONLY if diet in BASAL else _BASAL_ONLY
    values: dict[str, object] = {}
    grades: dict[str, str] = {}
    for key, about in NUMERIC.items():
        text = row.get(key, "")
        if key in idle:
            if text:
                raise ValueError(f"{at}: {key} {text} does not apply to diet {diet!r}; leave the cell empty")
            continue
        if text:
            values[key] = _parse_number(text, key, about, at)
            grades[key] = check_grade(row.get(f"{key}_grade", "") or base, f"{at}: {key}_grade")
        else:
            values[key], grades[key] = _fill_empty(key, about, diet, float(values.get("body_mass_kg", math.nan)), at)
    try:
        return Species(
            name=name,
            scientific_name=row.get("scientific_name", "") or name,
            diet=diet,
            birth_months=_parse_months(row.get("birth_months", ""), at),
            activity=row.get("activity", "") or "cathemeral",
            grades=grades | {key: base for key in ("diet", "birth_months", "activity") if row.get(key)},
            **values,
        )
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None


def _parse_number(text: str, key: str, about: Mapping, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{at}: {key} {text!r} is no number; write one in {about['unit'] or 'plain units'}") from None
    _check_range(value, text, key, about, at)
    return value


def _check_range(value: float, shown: object, key: str, about: Mapping, at: str) -> None:
    if not about["low"] <= value <= about["high"]:
        possible = f"{about['low']:g} to {about['high']:g} {about['unit']}".strip()
        raise ValueError(f"{at}: {key} {shown} is impossible; write a value of {possible}, or leave the cell empty")


def _fill_empty(key: str, about: Mapping, diet: str, mass: float, at: str) -> tuple[float, str]:
    if key == "body_mass_kg":
        raise ValueError(f"{at}: body_mass_kg is empty; everything else can be computed from it, it from nothing")
    if about["law"]:
        suffix = "_carnivore" if diet in _FLESH else "_herbivore"
        law = LAWS.get(about["law"]) or LAWS[about["law"] + suffix]
        value = min(max(law(mass), about["low"]), about["high"])
        return value, f"{ALLOMETRIC} {law.formula}, coefficient {law.grade}"
    return about["blank"], f"unverified default {about['blank']:g}"


def _parse_months(text: str, at: str) -> tuple[int, ...]:
    """Months of "2-4" or "11 12 1"; a span may pass the new year."""
    months: list[int] = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ValueError(f"{at}: birth_months {text!r} is no list of months; write 2-4 or 11 12 1")
        start, end = int(first), int(last or first)
        if not (1 <= start <= 12 and 1 <= end <= 12):
            raise ValueError(f"{at}: birth_months {text!r} holds a month outside 1 to 12; write months in numbers")
        months += [(start - 1 + step) % 12 + 1 for step in range((end - start) % 12 + 1)]
    return tuple(dict.fromkeys(months))


def check_species(species: Species, at: str) -> None:
    """Nothing; ValueError in one line for the first value that cannot be, `at` before it."""
    if species.diet not in (*BASAL, *EATS):
        raise ValueError(f"{at}: diet {species.diet!r} is unknown; known are {', '.join((*BASAL, *EATS))}")
    for key, about in NUMERIC.items():
        value = getattr(species, key)
        if key == "body_mass_kg" or not math.isnan(value):
            _check_range(value, value, key, about, at)
    if species.activity not in ACTIVITIES:
        raise ValueError(f"{at}: activity {species.activity!r} is unknown; known are {', '.join(ACTIVITIES)}")
    if species.maturity_y >= species.life_span_y:
        raise ValueError(
            f"{at}: maturity_y {species.maturity_y:g} is not below life_span_y {species.life_span_y:g}; it would never breed"
        )
    if species.max_speed_km_h < species.walk_speed_km_h:
        raise ValueError(
            f"{at}: max_speed_km_h {species.max_speed_km_h:g} is below walk_speed_km_h {species.walk_speed_km_h:g}; raise it"
        )
    most = 24 * species.max_speed_km_h
    if species.day_range_km > most:
        raise ValueError(
            f"{at}: day_range_km {species.day_range_km:g} cannot be walked in a day; write at most {most:g}"
        )
