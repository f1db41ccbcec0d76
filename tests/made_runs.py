"""Small finished runs of the tutorial's world, for tests of what is made from runs."""

from pathlib import Path

from linnaea.twin.commands.run import TwinRunConfig, main

GONE = """version = 1
name = "Foxes gone"
description = "Without foxes?"
[[intervention]]
kind = "remove"
species = "red fox"
from_day = 2
"""


def make_run(run_dir: Path, *, scenario: str = "", **changes) -> Path:
    """Run some days through the command's own main; return the folder of the run."""
    settings = {"days": 6.0, "every_days": 1.0, "ensemble": 3, "area": 0.15, "follow": 4, "processes": 1} | changes
    path = None
    if scenario:
        path = run_dir.parent / f"{run_dir.name}.toml"
        path.write_text(scenario, encoding="utf-8")
    assert main(TwinRunConfig(world="tutorial", out=run_dir, scenario=path, **settings)) == 0
    return run_dir
