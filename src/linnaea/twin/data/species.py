"""The species of a world: a table with one row for each species, and a grade for each value.

A table is a CSV file. Its columns are the fields of `Species`, `grade` (how well the filled cells of the row are known)
and `<field>_grade` for a value with another grade. An empty cell is computed from body mass and graded allometric, with
the formula; the coefficients of the formulas are unverified. Lines that begin with # are comments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path

from linnaea.standards.commented_csv import check_width, parse_rows, read_csv_text
from linnaea.twin.data.allometry import LAWS
from linnaea.twin.data.evidence import ALLOMETRIC, check_grade, is_measured

BASAL = ("grass", "woody", "seed", "dead")
"kinds of basal species: swards, trees and shrubs, seeds, dead matter (carcasses, dung, litter)"
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
"diet of an animal -> what it may eat: kinds of basal species, or animals"
ACTIVITIES = ("diurnal", "nocturnal", "crepuscular", "cathemeral")
_FLESH = ("carnivore", "insectivore", "scavenger")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a numeric column of the table holds."""

    unit: str
    "unit, empty for numbers without one"
    low: float
    "smallest possible value"
    high: float
    "largest possible value"
    law: str = ""
    "law of body mass in `allometry.LAWS` that fills an empty cell, without its ending for carnivores or herbivores"
    default: float | None = None
    "number that fills an empty cell where there is no law"
    basal: bool = False
    "whether basal species have it, too"


def _quantity(unit: str, low: float, high: float, **more) -> float:
    """Declare a numeric field of a species, nan unless it is given."""
    return field(default=math.nan, metadata={"quantity": Quantity(unit=unit, low=low, high=high, **more)})


@dataclass(frozen=True, kw_only=True)
class Species:
    """One species; a value that does not apply to it is nan."""

    name: str
    "short name, unique in the table; food webs and scenarios use it"
    scientific_name: str
    "binomial name, or the name of a group if the row stands for many species"
    diet: str
    "grass, woody, seed or dead for a basal species; else a diet of `EATS`"
    body_mass_kg: float = _quantity("kg", 1e-9, 2e5, basal=True)
    "mean mass of an adult; of a basal species the unit that is eaten"
    walk_speed_km_h: float = _quantity("km/h", 1e-5, 40, law="walk_speed")
    "speed of an undisturbed animal that travels"
    max_speed_km_h: float = _quantity("km/h", 1e-5, 200, law="max_speed")
    "speed of flight or pursuit"
    day_range_km: float = _quantity("km", 1e-5, 500, law="day_range")
    "distance walked in a day"
    home_range_km2: float = _quantity("km2", 1e-9, 1e6, law="home_range")
    "area that an animal uses in a year"
    litter_size: float = _quantity("young", 0.1, 1e4, default=1.0)
    "young per birth or clutch"
    births_per_y: float = _quantity("1/y", 0.0, 400, default=1.0)
    "births or clutches of a mature female in a year; 0 for animals born outside the world, such as workers of a nest"
    gestation_d: float = _quantity("d", 0.1, 800, law="gestation")
    "time from mating to birth or hatching"
    birth_months: tuple[int, ...] = ()
    "calendar months of births; empty for births all year"
    maturity_y: float = _quantity("y", 0.01, 40, law="maturity")
    "age of a female's first birth"
    life_span_y: float = _quantity("y", 0.02, 250, law="life_span")
    "age that few animals exceed in the wild"
    yearly_survival: float = _quantity("", 0.0, 0.9999, default=0.85)
    "share of adults that survive a year without predators"
    young_survival: float = _quantity("", 0.0, 0.9999, default=0.5)
    "share of the young that survive their first year without predators"
    herd_size: float = _quantity("", 1, 1e5, default=1.0)
    "number of animals in a group"
    density_per_km2: float = _quantity("1/km2", 1e-6, 1e11, law="density")
    "usual density in good habitat"
    activity: str = "cathemeral"
    "diurnal, nocturnal, crepuscular or cathemeral"
    growth_per_y: float = _quantity("1/y", 1e-3, 400, law="growth_rate", basal=True)
    "greatest rate of increase; of seeds the rate at which bare ground fills; of dead matter the rate of decay"
    capacity_kg_km2: float = _quantity("kg/km2", 1e-9, 1e10, default=1e5, basal=True)
    "biomass of a basal species without consumers; of dead matter the amount at the start"
    grades: Mapping[str, str] = field(default_factory=dict)
    "field -> grade of its value"

    def __post_init__(self) -> None:
        check_species(self, self.name)

    @property
    def basal(self) -> bool:
        """Whether it is a plant, seeds or dead matter, which eat nothing."""
        return self.diet in BASAL

    @property
    def kind(self) -> str:
        """What it is to a consumer: the kind of basal species, or animal."""
        return self.diet if self.basal else "animal"

    def unmeasured(self) -> tuple[str, ...]:
        """Return the names of the values without a source."""
        return tuple(name for name, grade in self.grades.items() if not is_measured(grade))


NUMERIC: dict[str, Quantity] = {f.name: f.metadata["quantity"] for f in fields(Species) if "quantity" in f.metadata}
_ANIMAL_ONLY = tuple(name for name, quantity in NUMERIC.items() if not quantity.basal)
_BASAL_ONLY = ("capacity_kg_km2",)


def read_species(path: Path | str) -> dict[str, Species]:
    """Return the species of a CSV table by name, in the order of its rows. Raise ValueError for an impossible value."""
    path = Path(path)
    return parse_species(read_csv_text(path, "species table", "name, scientific_name, diet …"), path.name)


def load_bundled_species() -> dict[str, Species]:
    """Return the species that come with the program, by name."""
    return parse_species(
        resources.files("linnaea.twin").joinpath("tables/species.csv").read_text("utf-8"), "species.csv"
    )


def parse_species(text: str, where: str = "species table") -> dict[str, Species]:
    """Return the species of a table's text by name. Errors begin with `where`."""
    rows = parse_rows(text)
    _check_columns(rows.fieldnames or (), where)
    table: dict[str, Species] = {}
    for row in rows:
        check_width(row, where)
        species = make_species({key: value.strip() for key, value in row.items()}, where)
        if species.name in table:
            raise ValueError(f"{where}: species {species.name!r} has two rows; remove one of them or rename it")
        table[species.name] = species
    if not table:
        raise ValueError(f"{where}: no species; write at least one row")
    return table


def _check_columns(columns: Sequence[str], where: str) -> None:
    known = {f.name for f in fields(Species)} - {"grades"}
    strange = [one for one in columns if one not in known | {"grade"} | {f"{name}_grade" for name in known}]
    if strange:
        raise ValueError(f"{where}: column {strange[0]!r} is unknown; known are {', '.join(sorted(known))} and grade")
    lacking = [one for one in ("name", "diet", "body_mass_kg", "grade") if one not in columns]
    if lacking:
        raise ValueError(
            f"{where}: column {lacking[0]!r} is missing; every species needs name, diet, body_mass_kg, grade"
        )


def make_species(row: Mapping[str, str], where: str = "species table") -> Species:
    """Return the species of a row of text cells, with empty cells filled from body mass.

    Raise ValueError, with species, field and value, for what is impossible.
    """
    name = row.get("name", "")
    at = f"{where}: {name or 'a species without a name'}"
    if not name:
        raise ValueError(f"{at}; write its name into the first column")
    diet = row.get("diet", "")
    _check_diet(diet, at)
    base = check_grade(row.get("grade", ""), f"{at}: grade")
    values, grades = _read_quantities(row, diet, base, at)
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


def _read_quantities(row: Mapping[str, str], diet: str, base: str, at: str) -> tuple[dict[str, float], dict[str, str]]:
    """Return the numeric values of a row and their grades; `base` is the grade of the row."""
    unused = _ANIMAL_ONLY if diet in BASAL else _BASAL_ONLY
    values: dict[str, float] = {}
    grades: dict[str, str] = {}
    for key, quantity in NUMERIC.items():
        text = row.get(key, "")
        if key in unused:
            if text:
                raise ValueError(f"{at}: {key} {text} does not apply to diet {diet!r}; leave the cell empty")
            continue
        if text:
            values[key] = _parse_number(text, key, quantity, at)
            grades[key] = check_grade(row.get(f"{key}_grade", "") or base, f"{at}: {key}_grade")
        else:
            values[key], grades[key] = _fill_empty(key, quantity, diet, values.get("body_mass_kg", math.nan), at)
    return values, grades


def _parse_number(text: str, key: str, quantity: Quantity, at: str) -> float:
    try:
        value = float(text)
    except ValueError:
        unit = f" in {quantity.unit}" if quantity.unit else ""
        raise ValueError(f"{at}: {key} must be a number{unit}, not {text!r}") from None
    _check_range(value, text, key, quantity, at)
    return value


def _check_range(value: float, shown: object, key: str, quantity: Quantity, at: str) -> None:
    if not quantity.low <= value <= quantity.high:
        possible = f"{quantity.low:g} to {quantity.high:g} {quantity.unit}".strip()
        raise ValueError(f"{at}: {key} {shown} is impossible; write a value of {possible}, or leave the cell empty")


def _fill_empty(key: str, quantity: Quantity, diet: str, mass: float, at: str) -> tuple[float, str]:
    """Return the value and the grade of an empty cell."""
    if key == "body_mass_kg":
        raise ValueError(f"{at}: body_mass_kg is empty; write the mass, from which other values can be computed")
    if quantity.law:
        suffix = "_carnivore" if diet in _FLESH else "_herbivore"
        law = LAWS.get(quantity.law) or LAWS[quantity.law + suffix]
        value = min(max(law(mass), quantity.low), quantity.high)
        return value, f"{ALLOMETRIC} {law.formula}, coefficient {law.grade}"
    return quantity.default, f"unverified default {quantity.default:g}"


def _parse_months(text: str, at: str) -> tuple[int, ...]:
    """Return the months of "2-4" or "11 12 1"; a range may include the new year."""
    months: list[int] = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise ValueError(f"{at}: birth_months {text!r} must be a list of months; write 2-4 or 11 12 1")
        start, end = int(first), int(last or first)
        if not (1 <= start <= 12 and 1 <= end <= 12):
            raise ValueError(f"{at}: birth_months {text!r} must be months from 1 to 12; write 2-4 or 11 12 1")
        months += [(start - 1 + step) % 12 + 1 for step in range((end - start) % 12 + 1)]
    return tuple(dict.fromkeys(months))


def check_species(species: Species, at: str) -> None:
    """Raise ValueError, beginning with `at`, for the first impossible value."""
    _check_diet(species.diet, at)
    for key, quantity in NUMERIC.items():
        value = getattr(species, key)
        if key == "body_mass_kg" or not math.isnan(value):
            _check_range(value, value, key, quantity, at)
    if species.activity not in ACTIVITIES:
        raise ValueError(f"{at}: activity {species.activity!r} is unknown; known are {', '.join(ACTIVITIES)}")
    if species.maturity_y >= species.life_span_y:
        raise ValueError(
            f"{at}: maturity_y {species.maturity_y:g} must be below life_span_y {species.life_span_y:g}; else it never "
            "breeds"
        )
    if species.max_speed_km_h < species.walk_speed_km_h:
        raise ValueError(
            f"{at}: max_speed_km_h {species.max_speed_km_h:g} is below walk_speed_km_h {species.walk_speed_km_h:g}; "
            "raise it"
        )
    most = 24 * species.max_speed_km_h
    if species.day_range_km > most:
        raise ValueError(
            f"{at}: day_range_km {species.day_range_km:g} is too far for a day at the greatest speed; write at most "
            f"{most:g}"
        )


def _check_diet(diet: str, at: str) -> None:
    if diet not in (*BASAL, *EATS):
        raise ValueError(f"{at}: diet {diet!r} is unknown; known are {', '.join((*BASAL, *EATS))}")
