"""A world described after the ODD protocol of 2020, made from what runs: the loop, its rules, the world's data.

Nothing here repeats what the code says elsewhere: phases come from the loop's docstring, submodels from the rules'
docstrings and fields, state variables from the animals' columns, values and grades from the tables.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from linnaea.options import field_help
from linnaea.store import atomic_path
from linnaea.twin.assembly.world_builder import build_world
from linnaea.twin.data.evidence import GRADES
from linnaea.twin.data.foodweb import compute_trophic_levels
from linnaea.twin.data.species import NUMERIC
from linnaea.twin.data.world_data import WorldData, select_animals, select_foods
from linnaea.twin.data.world_file import load_world
from linnaea.twin.engine import rng as random
from linnaea.twin.engine import world as loop
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.runs.ensemble import build_member
from linnaea.twin.runs.recorder import Record
from linnaea.twin.runs.results import Run
from linnaea.twin.scenarios.interventions import Intervene

_PHASE = re.compile(r"^ ?(\d+)\. (\w+): (.*)$", re.MULTILINE)
STREAMS = {name: number for name, number in vars(random).items() if name.isupper() and isinstance(number, int)}


def list_phases() -> list[tuple[int, str, str]]:
    """Number, name and meaning of the phases of a step, as the loop's docstring has them."""
    return [(int(number), name, text) for number, name, text in _PHASE.findall(loop.__doc__)]


def format_docstring(rule: Rule | type[Rule]) -> str:
    """A rule's docstring on one line."""
    return " ".join((rule.__doc__ or "").split())


@lru_cache(maxsize=256)
def _names_used(function: str, module: str) -> frozenset[str]:
    """Names in a function or class of a module and in all functions of that module that it calls."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    definitions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    seen, queue = set(), [function]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in definitions:
            nodes = list(ast.walk(definitions[name]))
            queue += [node.id for node in nodes if isinstance(node, ast.Name)]
            seen |= {f".{node.attr}" for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(seen)


def find_streams(rule: Rule) -> list[str]:
    """The random processes that a rule draws from, by the names of their streams."""
    used = _names_used(type(rule).__name__, type(rule).__module__)
    return [name.lower() for name in STREAMS if name in used and name != "FIRST_FREE"]


def find_columns(rule: Rule, world: World) -> list[str]:
    """The animals' state variables that a rule's code mentions."""
    used = _names_used(type(rule).__name__, type(rule).__module__)
    return [name for name in world.agents.columns if f".{name}" in used]


def write_odd(run: Run) -> Path:
    """Writes `odd.md` into a run's folder: what its first member was."""
    world, _ = build_member(run.plan, run.folder, 0)
    path = run.folder / "odd.md"
    with atomic_path(path) as temporary:
        temporary.write_text(describe_model(world, run.data, run.title), encoding="utf-8")
    return path


def describe_world(name: str | Path) -> str:
    """The description of a bundled world, or of a world's file."""
    data = load_world(name)
    return describe_model(build_world(data), data, data.name)


def describe_model(world: World, data: WorldData, title: str) -> str:
    """The description as Markdown, in the protocol's seven parts, with the world's tables behind."""
    parts = [
        f"# {title}: description after the ODD protocol",
        "Made from the code and the world's data; do not edit.",
        "## 1. Purpose and patterns",
        _purpose(data),
        "## 2. Entities, state variables and scales",
        _entities(world, data),
        "## 3. Process overview and scheduling",
        _schedule(world),
        "## 4. Design concepts",
        _concepts(world, data),
        "## 5. Initialization",
        _initial(world, data),
        "## 6. Input data",
        _input(world),
        "## 7. Submodels",
        _submodels(world),
        "## Values and how well they are known",
        _values(data),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _purpose(data: WorldData) -> str:
    return (
        f"{data.about}. The model is there to ask what an intervention changes in a community of animals and plants: the "
        "difference between paired runs with and without it, with an interval from an ensemble. It forecasts no real "
        "place.\n\nPatterns by which the rules below are judged: intake of grazers after Holling, kills of hunters at their "
        "attack rate, the final size of epidemics, growth by the life table, respiration after Kleiber, and fewer plants "
        "where predators are gone, each through these rules and this loop in a world made as this one is; a constant balance "
        "of energy; numbers that stay within an order of magnitude of the usual densities when nothing intervenes. Population "
        "cycles, walks, flocks, foraging and evolution of textbooks come out of the same loop with other rules, made for "
        "them; of the rules below they say nothing. The pages of `benchmarks/validation` have expected and obtained values."
    )


def _entities(world: World, data: WorldData) -> str:
    animals = [
        (f"`{one.name}`", one.help, "one step" if one.proposal else "life") for one in world.agents.columns.values()
    ] + [(f"`{name}`", "heritable trait", "life") for name in world.traits]
    layers = [(f"`{name}`", f"{layer.shape[0]} × {layer.shape[1]}") for name, layer in world.fields.items()]
    space = world.space
    unit, scale = ("km", 1000) if space.width_m >= 1000 else ("m", 1)
    parts = [
        f"**Animals**: every one is counted; {len(world.species)} species ({', '.join(world.species)}).",
        _table(("state variable", "meaning", "lasts for"), animals),
        f"**Ground**: layers over a rectangle, among them the foods ({', '.join(select_foods(data))}).",
        _table(("layer", "rows × columns"), layers),
        (
            f"**Scales**: {space.width_m / scale:g} × {space.height_m / scale:g} {unit}, "
            f"{'opposite borders joined' if space.torus else 'borders turn animals back'}; steps of {world.dt_h:g} h, a year "
            f"of {HOURS_A_YEAR:g} h in twelve equal months."
        ),
    ]
    return "\n\n".join(parts)


def _schedule(world: World) -> str:
    lines = ["Each step has these phases, in this order; within one, rules apply in the order given.", ""]
    for number, name, text in list_phases():
        lines.append(f"{number}. **{name}**: {text}")
        lines += [
            f"    - `{type(rule).__name__}`: {format_docstring(rule).split('. ')[0].rstrip('.')}."
            for rule in world.by_phase[name]
        ]
    lines += [
        "",
        "Rules decide from what stood at the phase `index`: no animal sees what another decided in the same step.",
    ]
    return "\n".join(lines)


def _concepts(world: World, data: WorldData) -> str:
    rules = world.rules
    sources = sorted({rule.source for rule in rules if rule.source})
    random_rules = [f"`{type(rule).__name__}` ({', '.join(found)})" for rule in rules if (found := find_streams(rule))]
    deciding = [f"`{type(rule).__name__}`" for rule in world.by_phase["decide"]]
    resolving = [f"`{type(rule).__name__}`" for rule in world.by_phase["resolve"]]
    herding = [f"`{type(rule).__name__}`" for rule in rules if "herd" in find_columns(rule, world)]
    watching = [f"`{type(rule).__name__}`" for rule in world.by_phase["observe"]]
    traits = ", ".join(data.traits)
    concepts = {
        "Basic principles": "energy budgets and rates that follow body mass; what rules follow: "
        + ("; ".join(sources) or "no named source")
        + ".",
        "Emergence": "numbers, age structure, ranges, functional responses and death by cause come out of the rules; no population curve is imposed.",
        "Adaptation": f"animals choose where to go and what to take by what they sense ({', '.join(deciding) or 'no rule decides'}).",
        "Objectives": "no fitness is computed; choices weigh food, distance, company and danger.",
        "Learning": "none."
        if "Census" not in {type(rule).__name__ for rule in rules}
        else "none beyond knowing the own range.",
        "Prediction": "none: animals read the present.",
        "Sensing": f"within the distances given in the rules at `decide`: {', '.join(deciding) or 'none'}.",
        "Interaction": f"claims on one prey or patch are settled in {', '.join(resolving) or 'no rule'}; contagion and flight act at a distance.",
        "Stochasticity": "counter-based random numbers, named by seed, step, process and animal, in "
        + (", ".join(random_rules) or "no rule")
        + ". Baseline and what-if share them.",
        "Collectives": f"herds, packs and territories: {', '.join(herding)}." if herding else "none.",
        "Observation": f"{', '.join(watching) or 'nothing'} at the phase `observe`; sensors see with errors, records without.",
    }
    if simpler := [text for rule in rules for text in rule.leaves_out]:
        concepts["Basic principles"] += " What it leaves out: " + " ".join(simpler)
    if traits:
        concepts["Adaptation"] += (
            f" Heritable traits ({traits}) pass from both parents and are selected by who survives."
        )
    return "\n\n".join(f"**{name}**: {text}" for name, text in concepts.items())


def _initial(world: World, data: WorldData) -> str:
    counts = world.counts()
    rows = [
        (name, data.web.species[name].scientific_name, f"{counts[i]:,}", f"{data.web.species[name].body_mass_kg:g}")
        for i, name in enumerate(world.species)
    ]
    foods = []
    for index, name in enumerate(world.parameters["food_names"]):
        kg = world.arrays["food"][index].sum() / world.parameters["food_kj_kg"][index]
        foods.append(
            (name, data.web.species[str(name)].diet, f"{kg / (world.space.width_m * world.space.height_m / 1e6):,.4g}")
        )
    return "\n\n".join(
        [
            "Herds are spread over the ground, ages as in a population that neither grows nor shrinks.",
            _table(("species", "scientific name", "animals", "adult mass, kg"), rows),
            _table(("food", "kind", "kg/km² at the start"), foods),
        ]
    )


def _input(world: World) -> str:
    found = [rule for rule in world.rules if isinstance(rule, Intervene)]
    if not found:
        return "No series from outside drives the model; weather is drawn from the world's monthly means."
    lines = ["A scenario intervenes, at the phase `intervene`:", ""]
    for one in found[0].interventions:
        values = {f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
        start, end, place = (values.pop(name) for name in ("start_h", "end_h", "place"))
        when = f"from year {start / HOURS_A_YEAR:g}" + (f" to {end / HOURS_A_YEAR:g}" if np.isfinite(end) else "")
        where = place.form or "everywhere"
        lines.append(
            f"- **{one.kind}** {when}, {where}: " + ", ".join(f"{name} {value}" for name, value in values.items())
        )
    return "\n".join(lines)


def _submodels(world: World) -> str:
    parts = []
    for _, phase, _ in list_phases():
        for rule in world.by_phase[phase]:
            parts.append(_submodel(rule, world))
    return "\n\n".join(parts)


def _submodel(rule: Rule, world: World) -> str:
    texts = field_help(type(rule))
    rows = [
        (f"`{one.name}`", _shown(getattr(rule, one.name)), texts.get(one.name, "")) for one in dataclasses.fields(rule)
    ]
    parts = [f"### {type(rule).__name__} ({rule.phase})", textwrap.dedent(format_docstring(rule))]
    if rule.source:
        parts.append(f"Source: {rule.source}.")
    if rows and not isinstance(rule, Intervene | Record):
        parts.append(_table(("parameter", "value", "meaning"), rows))
    if rule.leaves_out:
        parts.append("Leaves out: " + " ".join(rule.leaves_out))
    if streams := find_streams(rule):
        parts.append(f"Random processes: {', '.join(streams)}.")
    if columns := find_columns(rule, world):
        parts.append(f"State variables: {', '.join(f'`{name}`' for name in columns)}.")
    return "\n\n".join(parts)


def _shown(value: object) -> str:
    if dataclasses.is_dataclass(value):
        return "; ".join(f"{one.name} {_shown(getattr(value, one.name))}" for one in dataclasses.fields(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)


def _set(data: WorldData) -> list[tuple[str, object]]:
    """Names and values that the world's file may set: all settings, and of foods and animals what is not the default."""
    found: list[tuple[str, object]] = []
    for table in ("ground", "landscape", "settings"):
        one = getattr(data, table)
        found += [(f"{table}.{f.name}", getattr(one, f.name)) for f in dataclasses.fields(one)]
    for table in ("foods", "animals"):
        for name, one in getattr(data, table).items():
            plain = type(one)()
            for f in dataclasses.fields(one):
                value = getattr(one, f.name)
                if repr(value) != repr(getattr(plain, f.name)):
                    found.append((f"{table}.{name}.{f.name}", value))
    return found


def _values(data: WorldData) -> str:
    level = compute_trophic_levels(data.web)
    kinds = select_animals(data)
    names = [name for name in NUMERIC if name != "capacity_kg_km2"]
    parts = [
        "Every value has a grade: " + "; ".join(f"*{name}*: {text}" for name, text in GRADES.items()) + ".",
        (
            f"{len(data.unmeasured())} values of this world are not measured. The rules' own parameters (part 7) are unverified, "
            "unless the world's file sets them."
        ),
        "### The world's file",
        _table(
            ("value", "", "grade"),
            [(f"`{key}`", _shown(value), data.grades.get(key, data.grade)) for key, value in _set(data)],
        ),
        "### The web",
        _table(
            ("eater", "level", "eaten", "preference", "grade"),
            [(a.predator, f"{level[a.predator]:.1f}", a.prey, f"{a.preference:g}", a.grade) for a in data.web.links],
        ),
        "### Species",
        *[
            f"**{name}** ({one.scientific_name})\n\n"
            + _table(
                ("value", "", "unit", "grade"),
                [(n, f"{getattr(one, n):g}", NUMERIC[n].unit, one.grades.get(n, "")) for n in names],
            )
            for name, one in kinds.items()
        ],
    ]
    return "\n\n".join(parts)
