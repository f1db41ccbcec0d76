"""`linnaea twin worlds`: list the bundled worlds, or show what one is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnaea.twin.data.world_data import WorldData


@dataclass(frozen=True, kw_only=True)
class WorldsConfig:
    """List the bundled worlds, or show what one is made of and how well its values are known."""

    world: str = field(default="", metadata={"positional": True, "metavar": "WORLD"})
    "a world to show: its name, or the TOML file of your own"
    parameters: bool = False
    "list every value that may be set, varied or fitted, with its grade"
    odd: Path | None = None
    "write the world's description after the ODD protocol to this file"
    copy: Path | None = None
    "write the world's files into this folder, to change them: world.toml, species.csv and web.csv"

    def __post_init__(self) -> None:
        if not self.world and (self.parameters or self.odd or self.copy):
            raise ValueError(
                "--parameters, --odd and --copy need a world; name one, e.g. linnaea twin worlds tutorial --parameters"
            )


def main(config: WorldsConfig) -> int:
    """Print the list, or show one world; return 0."""
    from linnaea.terminal import format_table
    from linnaea.twin.data.world_file import list_bundled_worlds

    if config.world:
        show_world(config)
    else:
        print("\n".join(format_table((), list_bundled_worlds().items(), "ll")))
    return 0


def show_world(config: WorldsConfig) -> None:
    """Copy, describe or print one world."""
    from linnaea.store import atomic_path
    from linnaea.twin.data.world_file import copy_world, load_world
    from linnaea.twin.reports.odd import describe_world

    data = load_world(config.world)
    if config.copy:
        copy_world(config.world, config.copy)
        print(
            f"written to {config.copy}: world.toml, species.csv, web.csv; change them, then run "
            f"linnaea twin run {config.copy}"
        )
        return
    if config.odd:
        with atomic_path(config.odd) as temporary:
            temporary.write_text(describe_world(config.world), encoding="utf-8")
    if config.parameters:
        _print_parameters(data)
    else:
        _print_summary(data)


def _print_parameters(data: WorldData) -> None:
    """Print each value that may be set with its grade, separated by tabs."""
    from linnaea.twin.assembly.parameters import compute_defaults, get_grade, get_value, list_parameters

    filled = compute_defaults(data)
    for name in list_parameters(data):
        value, grade = filled.get(name) or (get_value(data, name), get_grade(data, name))
        print(f"{name}\t{value:g}\t{grade}")


def _print_summary(data: WorldData) -> None:
    """Print ground, animals and foods."""
    from linnaea.twin.data.world_data import compute_start_counts, select_foods

    ground = data.ground
    print(f"{data.name}: {data.about}")
    print(f"{ground.width_km:g} × {ground.height_km:g} km, steps of {ground.dt_h:g} h")
    print("animals at the start:")
    for name, count in compute_start_counts(data).items():
        one = data.web.species[name]
        print(f"  {count:>9,}  {name} ({one.scientific_name}), {one.body_mass_kg:g} kg, {one.diet}")
    print("foods: " + ", ".join(select_foods(data)))
    print(
        f"{len(data.unmeasured())} values were never checked against a source; --parameters lists all values with "
        "their grades"
    )
