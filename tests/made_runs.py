"""Small finished runs of the tutorial's world, for tests of what is made from runs."""

from pathlib import Path

from linnaea.twin.commands.run import TwinRunConfig, main

GONE = 'version = 1\nname = "Foxes gone"\ndescription = "Without foxes?"\n[[intervention]]\nkind = "remove"\nspecies = "red fox"\nfrom_day = 2\n'


def make_run(folder: Path, *, scenario: str = "", **changes) -> Path:
    """A run of some days in `folder`, through the command's own main."""
    settings = {"days": 6.0, "every_days": 1.0, "ensemble": 3, "area": 0.15, "follow": 4, "processes": 1} | changes
    path = None
    if scenario:
        path = folder.parent / f"{folder.name}.toml"
        path.write_text(scenario, encoding="utf-8")
    assert main(TwinRunConfig(world="tutorial", out=folder, scenario=path, **settings)) == 0
    return folder
