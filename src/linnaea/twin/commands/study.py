"""What the studies of a world share: sensitivity analysis and calibration vary values over ranges in many runs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnaea.twin.commands.run_options import RunOptionsConfig

if TYPE_CHECKING:
    from linnaea.twin.data.world_data import WorldData
    from linnaea.twin.runs.plan import RunPlan

logger = logging.getLogger(__name__)

Range = tuple[str, float, float]
"""full name of a parameter, lowest and highest value"""


@dataclass(frozen=True, kw_only=True)
class StudyConfig(RunOptionsConfig):
    """What all studies of a world can be given."""

    parameter: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=LOW:HIGH"})
    "a value to vary or fit and its range; linnaea twin worlds WORLD --parameters lists the names"


def read_ranges(data: WorldData, parameters: Sequence[str]) -> list[Range]:
    """Read the ranges of parameters, and log those without the world's present value. Raise ValueError for bad ones."""
    from linnaea.twin.assembly.parameters import describe_out_of_range, read_range, resolve_parameter

    ranges = [(resolve_parameter(data, name), low, high) for name, low, high in map(read_range, parameters)]
    for line in describe_out_of_range(data, ranges):
        logger.info(line)
    return ranges


def prepare_study(config: StudyConfig, world: str, out_dir: Path, *, years: float, ensemble: int = 1) -> RunPlan:
    """Prepare the folder of a study of a world and return the plan that all of its runs are variants of."""
    from linnaea.twin.commands.run import TwinRunConfig, log_small_groups, make_plan

    plan = make_plan(
        TwinRunConfig(
            world=world,
            scenario=config.scenario,
            years=years,
            seed=config.seed,
            ensemble=ensemble,
            area=config.area,
            step_h=config.step_h,
        )
    )
    log_small_groups(world, config.area)
    out_dir.mkdir(parents=True, exist_ok=True)
    if config.scenario:
        shutil.copyfile(config.scenario, out_dir / plan.scenario)
    return plan


def vary_plan(plan: RunPlan, names: Sequence[str], values_p: Sequence[float]) -> RunPlan:
    """Return the plan with these values of parameters."""
    return replace(plan, settings=plan.settings + tuple(zip(names, map(float, values_p), strict=True)))
