"""The description of a world after the ODD protocol (Grimm et al. 2020), made from what runs.

Nothing here repeats what the code says elsewhere: phases come from the loop's docstring, submodels from the docstrings
and fields of the rules, state variables from the animals' columns, values and grades from the tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
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
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import Rule, World
from linnaea.twin.reports.rule_facts import find_columns, find_streams, format_docstring, list_phases
from linnaea.twin.runs.member import build_member
from linnaea.twin.runs.recorder import Record
from linnaea.twin.runs.results import Run
from linnaea.twin.scenarios.interventions import Intervene


def write_odd(run: Run) -> Path:
    """Write `odd.md`, the description of the first member, into a run's folder; return its path."""
    world, _ = build_member(run.plan, run.run_dir, 0)
    path = run.run_dir / "odd.md"
    with atomic_path(path) as temporary:
        temporary.write_text(describe_model(world, run.data, run.title), encoding="utf-8")
    return path


def describe_world(name_or_path: str | Path) -> str:
    """The description of a bundled world, or of the world in a file, as Markdown."""
    data = load_world(name_or_path)
    return describe_model(build_world(data), data, data.name)


def describe_model(world: World, data: WorldData, title: str) -> str:
    """The description as Markdown: the seven parts of the protocol, then the world's values."""
    parts = [
        f"# {title}: description after the ODD protocol",
        "Generated from the code and the world's data; do not edit.",
        "## 1. Purpose and patterns",
        _describe_purpose(data),
        "## 2. Entities, state variables and scales",
        _describe_entities(world, data),
        "## 3. Process overview and scheduling",
        _describe_schedule(world),
        "## 4. Design concepts",
        _describe_concepts(world, data),
        "## 5. Initialization",
        _describe_initial_state(world, data),
        "## 6. Input data",
        _describe_input(world),
        "## 7. Submodels",
        _describe_submodels(world),
        "## Values and how well they are known",
        _describe_values(data),
    ]
    return "\n\n".join(parts) + "\n"


def _format_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _describe_purpose(data: WorldData) -> str:
    return (
        f"{data.about}. The purpose of the model is to ask what an intervention changes in a community of animals and "
        "plants: the difference between paired runs with and without it, with an interval from an ensemble. It does "
        "not forecast any real place.\n\n"
        "These patterns test the rules below, through this loop and in worlds that are built in the same way: the "
        "intake of grazers after Holling, kills of hunters at their attack rate, the final size of epidemics, "
        "growth by the life table, respiration after Kleiber, fewer plants where predators are removed, a "
        "constant balance of energy, and numbers that stay within an order of magnitude of the usual densities "
        "without an intervention. Population cycles, walks, flocks, foraging and evolution of textbooks also come "
        "out of this loop, but with other rules that were written for them; they do not test the rules below. The "
        "pages of `benchmarks/validation` compare expected with obtained values."
    )


def _describe_entities(world: World, data: WorldData) -> str:
    animals = [
        (f"`{one.name}`", one.help, "one step" if one.proposal else "life") for one in world.agents.columns.values()
    ] + [(f"`{name}`", "heritable trait", "life") for name in world.traits]
    layers = [(f"`{name}`", f"{layer.shape[0]} × {layer.shape[1]}") for name, layer in world.fields.items()]
    space = world.space
    unit, scale = ("km", 1000) if space.width_m >= 1000 else ("m", 1)
    parts = [
        f"**Animals**: each animal is simulated; {len(world.species)} species ({', '.join(world.species)}).",
        _format_table(("state variable", "meaning", "lasts for"), animals),
        f"**Ground**: layers over a rectangle, among them the foods ({', '.join(select_foods(data))}).",
        _format_table(("layer", "rows × columns"), layers),
        (
            f"**Scales**: {space.width_m / scale:g} × {space.height_m / scale:g} {unit}, "
            f"{'opposite borders joined' if space.torus else 'borders turn animals back'}; steps of {world.dt_h:g} h, "
            f"a year of {HOURS_A_YEAR:g} h in twelve equal months."
        ),
    ]
    return "\n\n".join(parts)


def _describe_schedule(world: World) -> str:
    lines = ["Each step has these phases, in this order; within a phase, rules apply in the order given.", ""]
    for number, name, text in list_phases():
        lines.append(f"{number}. **{name}**: {text}")
        lines += [
            f"    - `{type(rule).__name__}`: {format_docstring(rule).split('. ')[0].rstrip('.')}."
            for rule in world.by_phase[name]
        ]
    lines += [
        "",
        "Rules decide from the state at the phase `index`: no animal sees what another one decides in the same step.",
    ]
    return "\n".join(lines)


def _name_rules(rules: Iterable[Rule]) -> str:
    return ", ".join(f"`{type(rule).__name__}`" for rule in rules)


def _describe_concepts(world: World, data: WorldData) -> str:
    """The design concepts, in the protocol's order."""
    rules = world.rules
    deciding, resolving, watching = (_name_rules(world.by_phase[phase]) for phase in ("decide", "resolve", "observe"))
    herding = _name_rules(rule for rule in rules if "herd" in find_columns(rule, world))
    learns = any(type(rule).__name__ == "Census" for rule in rules)
    concepts = {
        "Basic principles": _describe_principles(rules),
        "Emergence": "numbers, age structure, ranges, functional responses and deaths by cause result from the rules; "
        "no population curve is imposed.",
        "Adaptation": _describe_adaptation(deciding, data),
        "Objectives": "no fitness is computed; choices weigh food, distance, company and danger.",
        "Learning": "only the knowledge of an animal's own range." if learns else "none.",
        "Prediction": "none: animals read the present.",
        "Sensing": f"within the distances given in the rules at `decide`: {deciding or 'none'}.",
        "Interaction": f"claims on the same prey or patch are settled in {resolving or 'no rule'}; contagion and "
        "flight act at a distance.",
        "Stochasticity": _describe_stochasticity(rules),
        "Collectives": f"herds, packs and territories: {herding}." if herding else "none.",
        "Observation": f"{watching or 'nothing'} at the phase `observe`; sensors make errors, records do not.",
    }
    return "\n\n".join(f"**{name}**: {text}" for name, text in concepts.items())


def _describe_principles(rules: Sequence[Rule]) -> str:
    sources = sorted({rule.source for rule in rules if rule.source})
    listed = "; ".join(sources) or "none named"
    text = f"energy budgets and rates that scale with body mass; sources of the rules: {listed}."
    if left_out := [sentence for rule in rules for sentence in rule.leaves_out]:
        text += " Left out: " + " ".join(left_out)
    return text


def _describe_adaptation(deciding: str, data: WorldData) -> str:
    text = f"animals choose where to go and what to take by what they sense ({deciding or 'no rule decides'})."
    if data.traits:
        text += f" Heritable traits ({', '.join(data.traits)}) come from both parents; survival selects them."
    return text


def _describe_stochasticity(rules: Sequence[Rule]) -> str:
    drawing = [f"`{type(rule).__name__}` ({', '.join(streams)})" for rule in rules if (streams := find_streams(rule))]
    return (
        "counter-based random numbers, identified by seed, step, process and animal, in "
        f"{', '.join(drawing) or 'no rule'}. Baseline and what-if share them."
    )


def _describe_initial_state(world: World, data: WorldData) -> str:
    counts = world.counts()
    rows = [
        (name, data.web.species[name].scientific_name, f"{counts[i]:,}", f"{data.web.species[name].body_mass_kg:g}")
        for i, name in enumerate(world.species)
    ]
    foods = []
    for index, name in enumerate(world.parameters.foods.names):
        kg = world.arrays["food"][index].sum() / world.parameters.foods.kj_kg[index]
        foods.append(
            (name, data.web.species[str(name)].diet, f"{kg / (world.space.width_m * world.space.height_m / 1e6):,.4g}")
        )
    return "\n\n".join(
        [
            "Herds are spread over the ground; ages are those of a population that neither grows nor shrinks.",
            _format_table(("species", "scientific name", "animals", "adult mass, kg"), rows),
            _format_table(("food", "kind", "kg/km² at the start"), foods),
        ]
    )


def _describe_input(world: World) -> str:
    found = [rule for rule in world.rules if isinstance(rule, Intervene)]
    if not found:
        return "No external series drives the model; weather is drawn from the world's monthly means."
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


def _describe_submodels(world: World) -> str:
    parts = []
    for _, phase, _ in list_phases():
        for rule in world.by_phase[phase]:
            parts.append(_describe_submodel(rule, world))
    return "\n\n".join(parts)


def _describe_submodel(rule: Rule, world: World) -> str:
    texts = field_help(type(rule))
    rows = [
        (f"`{one.name}`", _format_value(getattr(rule, one.name)), texts.get(one.name, ""))
        for one in dataclasses.fields(rule)
    ]
    parts = [f"### {type(rule).__name__} ({rule.phase})", format_docstring(rule)]
    if rule.source:
        parts.append(f"Source: {rule.source}.")
    if rows and not isinstance(rule, Intervene | Record):
        parts.append(_format_table(("parameter", "value", "meaning"), rows))
    if rule.leaves_out:
        parts.append("Leaves out: " + " ".join(rule.leaves_out))
    if streams := find_streams(rule):
        parts.append(f"Random processes: {', '.join(streams)}.")
    if columns := find_columns(rule, world):
        parts.append(f"State variables: {', '.join(f'`{name}`' for name in columns)}.")
    return "\n\n".join(parts)


def _format_value(value: object) -> str:
    if dataclasses.is_dataclass(value):
        return "; ".join(f"{one.name} {_format_value(getattr(value, one.name))}" for one in dataclasses.fields(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(map(_format_value, value)) or "none"
    return str(value)


def _list_settings(data: WorldData) -> list[tuple[str, object]]:
    """Names and values of the world's file: all settings, and the values of foods and animals that are not defaults."""
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


def _describe_values(data: WorldData) -> str:
    level = compute_trophic_levels(data.web)
    kinds = select_animals(data)
    names = [name for name in NUMERIC if name != "capacity_kg_km2"]
    parts = [
        "Every value has a grade: " + "; ".join(f"*{name}*: {text}" for name, text in GRADES.items()) + ".",
        (
            f"{len(data.unmeasured())} values of this world are not measured. The rules' own parameters (part 7) are "
            "unverified, unless the world's file sets them."
        ),
        "### The world's file",
        _format_table(
            ("value", "", "grade"),
            [
                (f"`{key}`", _format_value(value), data.grades.get(key, data.grade))
                for key, value in _list_settings(data)
            ],
        ),
        "### The web",
        _format_table(
            ("eater", "level", "eaten", "preference", "grade"),
            [(a.predator, f"{level[a.predator]:.1f}", a.prey, f"{a.preference:g}", a.grade) for a in data.web.links],
        ),
        "### Species",
        *[
            f"**{name}** ({one.scientific_name})\n\n"
            + _format_table(
                ("value", "", "unit", "grade"),
                [(n, f"{getattr(one, n):g}", NUMERIC[n].unit, one.grades.get(n, "")) for n in names],
            )
            for name, one in kinds.items()
        ],
    ]
    return "\n\n".join(parts)
