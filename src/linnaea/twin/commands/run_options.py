"""Options that the commands with runs share: scenario, seed, size of the world, length of a step, processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunOptionsConfig:
    """What all runs of a world can be given, besides the world."""

    scenario: Path | None = None
    "a what-if for all runs: TOML or JSON file, see docs/twin.md"
    seed: int = 0
    "seed of all random numbers; the same seed gives the same results"
    area: float = 1.0
    "area of the world as a multiple of the area in its file, at the same densities"
    step_h: float | None = None
    """hours of a step, by default those of the world's file; 24 is many times as fast, but loses the rhythm of the day
    and trips to water"""
    processes: int = 0
    "runs at the same time; 0: as many as there are cores"


def check_positive(config: object, *names: str) -> None:
    """Raise ValueError for an option that is given and is not a finite number above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: give a number above 0")
