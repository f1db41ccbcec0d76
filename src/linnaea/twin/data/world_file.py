"""A world as data: a TOML file with settings, and tables of species and links; read, checked and graded.

The file (format 1) has the tables `ground`, `landscape`, `settings`, `foods.<name>`, `animals.<name>` and `grades`; its
species and web are CSV tables beside it, or those that come with the program. Every value that the file sets is of the
file's `grade`, unless `grades` says otherwise; what it leaves out has the default below.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib import resources
from pathlib import Path

from linnaea.standards.typed_values import check_type, is_number
from linnaea.twin.data.evidence import check_grade
from linnaea.twin.data.foodweb import FoodWeb, load_bundled_web, read_web
from linnaea.twin.data.landscape import Landscape
from linnaea.twin.data.species import Species, load_bundled_species, read_species

FORMAT = 1
TOP_KEYS = {
    "format": f"{FORMAT}, the only one there is",
    "name": "of the world; a bundled web of that name is used where `web` is missing",
    "about": "a sentence",
    "grade": "how well the values of this file are known: `measured` with a source, `allometric`, `tuned` or `unverified`",
    "species": "file of the species table; without it the program's own",
    "web": "file of the food web: columns predator, prey, grade, and where they are known preference, hill, efficiency, loop",
    "pools": "list of animals that are kept as biomass, not one by one",
    "traits": "list of heritable traits",
    "ground": "table: size, step",
    "landscape": "table: cells, hills, rain, temperature, water",
    "settings": "table: what holds for all animals",
    "foods": "a table `[foods.NAME]` for a plant, dead matter or pool that differs from the default",
    "animals": "a table `[animals.NAME]` for an animal that does",
    "grades": "table: grades of single values, by their dotted names",
}
"""What the file of a world may hold at its top, and what each is."""


RANGES = {
    "ground": {
        "width_km": (1e-6, 1e5),
        "height_km": (1e-6, 1e5),
        "search_m": (1e-4, 1e6),
        "dt_h": (1e-3, 730.5),
        "every_h": (1e-3, 730.5),
    },
    "settings": {
        "intake_margin": (0, 100),
        "maintenance": (0, 1),
        "fat_share": (0, 1),
        "young_share": (0, 1),
        "half_plants": (0, 1e3),
        "half_dead": (0, 1e3),
        "half_pools": (0, 1e3),
        "catch_margin": (0, 1e3),
        "plant_efficiency": (0, 1),
        "flesh_efficiency": (0, 1),
        "cold_blood": (0, 1),
        "hunger": (0, 1),
        "meal": (0, 10),
        "switching": (0, 10),
        "care": (0, 1),
        "territory": (0, 10),
        "fires_per_km2_y": (0, 1e3),
        "contact_m": (0, 1e5),
    },
    "landscape": {
        "cell_km": (1e-6, 1e4),
        "hill_km": (1e-6, 1e5),
        "rain_east": (-2, 2),
        "rain_north": (-2, 2),
        "rain_noise": (0, 3),
        "water_share": (0, 1),
        "pond_mm": (0, 1e5),
        "map_seed": (0, 2**53),
    },
    "foods": {
        "rain_slope": (-10, 10),
        "wither_per_y": (0, 1e3),
        "moist_half_mm": (0, 1e4),
        "reserve": (0, 1),
        "burns": (0, 1),
        "inflow_per_y": (0, 1e3),
    },
    "animals": {
        "count": (0, 1e8),
        "green": (0, 1),
        "drink_every_h": (0, 8766),
        "range_km": (1e-6, 1e5),
        "search_m": (1e-6, 1e6),
        "spacing_m": (0, 1e5),
        "half": (1e-6, 1e3),
        "prime": (0, 100),
        "flight_m": (0, 1e5),
        "arrivals_per_y": (0, 1e4),
    },
}
"""What a single number of each table can be at all; outside it a world is impossible, not merely unlike any real one."""


def check_number(table: str, key: str, value: float, at: str) -> None:
    """Nothing; ValueError that begins with `at` for a number outside its range. nan, what is computed, passes."""
    low, high = RANGES.get(table, {}).get(key, (-math.inf, math.inf))
    if not (low <= value <= high or math.isnan(value)):
        raise ValueError(f"{at} {value:g} is impossible; choose {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class Ground:
    """How large a world is, and how time goes in it."""

    width_km: float
    "from west to east, kilometres"
    height_km: float
    "from south to north, kilometres"
    search_m: float = 500.0
    "side of a cell in which animals look for each other, metres"
    dt_h: float = 1.0
    "length of a step, hours"
    every_h: float = 24.0
    "hours between two rounds of what need not happen in every step: growth, decay, mating, plans"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"ground: {one.name} {value} is impossible; give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for all animals of a world."""

    intake_margin: float = 2.5
    "most that an animal digests, as a multiple of its field metabolic rate"
    maintenance: float = 0.85
    "share of the field metabolic rate that is spent at rest"
    fat_share: float = 0.15
    "fat of a well-fed animal, as a share of its mass"
    young_share: float = 0.1
    "mass of a weaned young against an adult's, at most; a whole litter has at most twice that"
    half_plants: float = 0.6
    "plants at which half of the most is eaten, as a share of their usual biomass"
    half_dead: float = 0.1
    "the same of carcasses and other dead matter"
    half_pools: float = 0.5
    "the same of animals kept as pools"
    catch_margin: float = 6.0
    "what a hungry predator can catch at the usual density of its prey, as a multiple of its needs"
    plant_efficiency: float = 0.45
    "share of eaten plants that is assimilated"
    flesh_efficiency: float = 0.85
    "share of eaten flesh and dead matter that is assimilated"
    cold_blood: float = 0.08
    "metabolic rate of a cold-blooded animal at the usual temperature against a warm-blooded one's"
    hunger: float = 0.6
    "filling of its own store, or of its group's on average, below which a predator hunts"
    meal: float = 0.5
    "most that an animal eats of a kill while it stays there, as a share of its own mass"
    switching: float = 1.0
    "power of a kind's number, against its usual one, with which hunters prefer it among what they meet; 0 no switching"
    care: float = 0.5
    "how far a herd that surely notices a predator lowers its success, 0 to 1"
    territory: float = 0.85
    "distance of territories against the side of the square that a group has at its usual density"
    trait: str = ""
    "heritable trait that decides which foods suit an animal"
    fires_per_km2_y: float = 0.0
    "fires lit a year on a square kilometre of dry ground with plenty of fuel"
    contact_m: float = 50.0
    "distance at which a disease passes, metres"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"settings: {one.name} {value} is impossible; give a number ≥ 0")


@dataclass(frozen=True, kw_only=True)
class Food:
    """How a plant, dead matter or a pool of small animals behaves; nan is the default of its kind."""

    rain_slope: float = 0.0
    "change of its capacity with the rain of a place, as shares of both"
    wither_per_y: float = math.nan
    "share that withers in a year"
    moist_half_mm: float = math.nan
    "rain of a month at which it grows at half its speed"
    reserve: float = 0.03
    "share of its capacity that lives on in roots and seeds"
    burns: float = math.nan
    "share that a fire takes"
    inflow_per_y: float = 0.0
    "dead matter that comes in from outside in a year, as a multiple of its usual biomass"
    fuel: bool = False
    "whether it carries fires, as dry grass does"


@dataclass(frozen=True, kw_only=True)
class Animal:
    """How a species lives in this world; nan is computed from the species table."""

    count: float = math.nan
    "animals at the start, in a world of the file's size; nan is the usual density"
    free_ranging: bool = False
    "whether it has no territory, and follows food wherever it is"
    green: float = 0.0
    "weight of fresh green against mere mass of food, 0 to 1"
    drink_every_h: float = 0.0
    "hours between two drinks; 0 for those that need none"
    range_km: float = math.nan
    "distance over which it knows the land"
    search_m: float = math.nan
    "distance at which a predator searches"
    spacing_m: float = math.nan
    "distance between animals of a herd"
    half: float = 1.0
    "food at which it eats half of its most, against others of its diet: low for those that live on little"
    prime: float = 1.0
    "how easily it is killed in its best years, where the young count 2.5 and the old 2: low for the large and strong"
    flight_m: float = math.nan
    "distance at which it runs from hunters, metres"
    one_breeds: bool = False
    "whether only the oldest female of a group bears young, and the others help"
    cold_blooded: bool = False
    "whether its metabolism follows the temperature"
    arrivals_per_y: float = 0.0
    "groups that come from outside in a year when it is gone here"
    trait_mean: tuple[float, ...] = ()
    "mean of each heritable trait"
    trait_sd: tuple[float, ...] = ()
    "standard deviation of each trait"
    heritability: tuple[float, ...] = ()
    "share of its variance that is additive"
    best_trait: Mapping[str, float] = field(default_factory=dict)
    "value of the trait that suits a food best"
    trait_width: Mapping[str, float] = field(default_factory=dict)
    "how far from the best a food is still taken (standard deviation of a bell curve)"


@dataclass(frozen=True, kw_only=True)
class WorldData:
    """A world as data, checked."""

    name: str
    about: str
    grade: str
    ground: Ground
    landscape: Landscape
    settings: Settings
    web: FoodWeb
    pools: tuple[str, ...]
    foods: Mapping[str, Food]
    animals: Mapping[str, Animal]
    traits: tuple[str, ...]
    grades: Mapping[str, str]

    def unmeasured(self) -> tuple[str, ...]:
        """Names of the values that no source stands behind: of the file, the species table and the links."""
        own = [key for key in list_values(self) if not self.grades.get(key, self.grade).startswith("measured")]
        table = [f"{s.name}.{key}" for s in self.web.species.values() for key in s.unmeasured()]
        links = [f"{a.predator} eats {a.prey}" for a in self.web.links if not a.grade.startswith("measured")]
        return (*own, *table, *links)


def list_bundled_worlds() -> dict[str, str]:
    """Names of the worlds that come with the program, and what each is about."""
    folder = resources.files("linnaea.twin").joinpath("worlds")
    found = {p.name.removesuffix(".toml"): p for p in folder.iterdir() if p.name.endswith(".toml")}
    return {name: tomllib.loads(found[name].read_text("utf-8")).get("about", "") for name in sorted(found)}


def load_world(name: str | Path) -> WorldData:
    """The data of a bundled world, or of a world's TOML file. ValueError in one line for what cannot be."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_dir():
        path = path / "world.toml" if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no world; give a TOML file or one of {', '.join(list_bundled_worlds())}")
        text, folder = path.read_text("utf-8"), path.parent
    else:
        file = resources.files("linnaea.twin").joinpath(f"worlds/{name}.toml")
        if not file.is_file():
            raise ValueError(
                f"world {str(name)!r} is not bundled; known are {', '.join(list_bundled_worlds())}, or give a TOML file"
            )
        text, folder = file.read_text("utf-8"), None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: no TOML file: {error}") from None
    return parse_world(raw, folder)


def parse_world(raw: Mapping, folder: Path | None = None) -> WorldData:
    """The data of a world from its parsed file; `folder` is where its tables lie, None for the bundled ones."""
    for key in raw:
        if key not in TOP_KEYS:
            raise ValueError(f"world: {key!r} is unknown; known are {', '.join(TOP_KEYS)}")
        is_list, is_table = (
            key in ("pools", "traits"),
            key in ("ground", "landscape", "settings", "foods", "animals", "grades"),
        )
        if key != "format" and not isinstance(raw[key], list if is_list else Mapping if is_table else str):
            wanted = (
                'list; write ["one", "two"]'
                if is_list
                else f"table; head it with [{key}]"
                if is_table
                else "text; write it in quotation marks"
            )
            raise ValueError(f"world: {key} {raw[key]!r} is no {wanted}")
    if raw.get("format") != FORMAT:
        raise ValueError(f"world: format {raw.get('format')} is not {FORMAT}, the only one this version reads")
    for key in ("name", "grade", "ground"):
        if key not in raw:
            raise ValueError(f"world: {key} is missing; write it into the file")
    table = read_species(folder / raw["species"]) if "species" in raw and folder else load_bundled_species()
    if "web" in raw and folder:
        web = read_web(folder / raw["web"], table)
    else:
        web = load_bundled_web(raw.get("web", raw["name"]), table)
    pools, traits = tuple(raw.get("pools", ())), tuple(raw.get("traits", ()))
    data = WorldData(
        name=raw["name"],
        about=raw.get("about", ""),
        grade=check_grade(raw["grade"], "world: grade"),
        ground=_config(Ground, raw["ground"], "ground"),
        landscape=_config(Landscape, raw.get("landscape", {}), "landscape"),
        settings=_config(Settings, raw.get("settings", {}), "settings"),
        web=web,
        pools=pools,
        foods={n: _config(Food, v, f"foods.{n}") for n, v in raw.get("foods", {}).items()},
        animals={n: _config(Animal, v, f"animals.{n}") for n, v in raw.get("animals", {}).items()},
        traits=traits,
        grades={key: check_grade(grade, f"world: grades.{key}") for key, grade in raw.get("grades", {}).items()},
    )
    _check(data)
    return data


def copy_world(name: str, folder: Path) -> None:
    """Writes a bundled world's files into a folder, complete and with their remarks. ValueError when files are there."""
    load_world(name)
    source = resources.files("linnaea.twin")
    file = source.joinpath(f"worlds/{name}.toml")
    if not file.is_file():
        raise ValueError(f"{name} is a world of your own; copy its files as they are")
    text = file.read_text("utf-8")
    raw = tomllib.loads(text)
    species = load_bundled_web(raw.get("web", raw["name"]), load_bundled_species()).species
    whole = source.joinpath("tables/species.csv").read_text("utf-8").splitlines()
    head = next(i for i, line in enumerate(whole) if not line.startswith("#")) + 1
    rows = [line for line in whole[head:] if next(csv.reader([line]), [""])[0].strip() in species]
    kept = "".join(line for line in text.splitlines(True) if not line.startswith(("format", "species =", "web =")))
    files = {
        "world.toml": f'format = {FORMAT}\nspecies = "species.csv"\nweb = "web.csv"\n{kept}',
        "species.csv": "\n".join([*whole[:head], *rows, ""]),
        "web.csv": source.joinpath(f"tables/{raw.get('web', raw['name'])}_web.csv").read_text("utf-8"),
    }
    for one in files:
        if (folder / one).exists():
            raise ValueError(f"{folder / one} is there; choose another --copy")
    folder.mkdir(parents=True, exist_ok=True)
    for one, content in files.items():
        (folder / one).write_text(content, encoding="utf-8")


def _config(cls: type, values: Mapping, where: str):
    own = {f.name: f for f in fields(cls)}
    if not isinstance(values, Mapping):
        raise ValueError(f"world: {where} {values!r} is no table; head it with [{where}]")  # noqa: TRY004
    for key, value in values.items():
        at = f"world: {where}.{key}"
        if key not in own:
            raise ValueError(f"{at} is unknown; known are {', '.join(sorted(own))}")
        check_type(own[key], value, at)
        if is_number(value):
            check_number(where.split(".")[0], key, value, at)
    for key, one in own.items():
        if key not in values and one.default is one.default_factory is MISSING:
            raise ValueError(f"world: {where}.{key} is missing; write it into the file")
    return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})


def _check(data: WorldData) -> None:
    for name in (*data.pools, *data.animals, *data.foods):
        if name not in data.web.species:
            raise ValueError(f"world: {name!r} is not in the food web; add it there or remove it here")
    for name in data.pools:
        if data.web.species[name].basal:
            raise ValueError(f"world: pool {name!r} is no animal; plants and dead matter are layers by themselves")
    for name, one in data.animals.items():
        if data.web.species[name].basal or name in data.pools:
            raise ValueError(f"world: {name!r} is a food, not an animal that is counted; write it under foods")
        if data.traits and one.trait_mean and len(one.trait_mean) != len(data.traits):
            raise ValueError(
                f"world: animals.{name}.trait_mean has {len(one.trait_mean)} values, the traits are {len(data.traits)}"
            )
    for key in data.grades:
        if key not in list_values(data):
            raise ValueError(f"world: grades.{key} grades no value of this file")


def list_values(data: WorldData) -> tuple[str, ...]:
    """Dotted names of the values that the file may grade: of ground, landscape, settings, foods and animals."""
    names = [f"{t}.{f.name}" for t in ("ground", "landscape", "settings") for f in fields(getattr(data, t))]
    for table in ("foods", "animals"):
        names += [f"{table}.{name}.{f.name}" for name, one in getattr(data, table).items() for f in fields(one)]
    return tuple(names)


def select_animals(data: WorldData) -> dict[str, Species]:
    """The species of which every animal is counted, in the order of the world's rows."""
    return {name: one for name, one in data.web.species.items() if not one.basal and name not in data.pools}


def select_foods(data: WorldData) -> dict[str, Species]:
    """The species that are layers: plants, dead matter, pools, in the order of the stack."""
    return {name: one for name, one in data.web.species.items() if one.basal or name in data.pools}


def compute_start_counts(data: WorldData, share: float = 1.0) -> dict[str, int]:
    """Animals of each species at the start, in a world with this share of the file's area."""
    area = data.ground.width_km * data.ground.height_km
    counts = {}
    for name, one in select_animals(data).items():
        count = data.animals.get(name, Animal()).count
        counts[name] = round((one.density_per_km2 * area if math.isnan(count) else count) * share)
    return counts


def find_small_groups(data: WorldData, share: float) -> dict[str, int]:
    """Species that on this share of the area start with fewer than one group, though on all of it they have one: animals."""
    whole, here = compute_start_counts(data), compute_start_counts(data, share)
    group = {name: round(one.herd_size) for name, one in select_animals(data).items()}
    return {name: count for name, count in here.items() if count < group[name] <= whole[name]}


def map_scientific_names(data: WorldData) -> dict[str, str]:
    """Names in the world's table by scientific name, of those that it has once."""
    all_names = [one.scientific_name for one in data.web.species.values()]
    return {
        one.scientific_name: name
        for name, one in data.web.species.items()
        if all_names.count(one.scientific_name) == 1 and one.scientific_name not in data.web.species
    }
