"""Sections of a report that one run and a comparison of two runs share, and what they are made of.

Shape suffixes: R and C rows and columns of a map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from linnaea.pages.elements import render_figures
from linnaea.pages.line_chart import LineChartOptions
from linnaea.pages.style import BLUE
from linnaea.twin.reports.charts import draw_time_series, make_line
from linnaea.twin.reports.tables import compute_bands
from linnaea.twin.runs.results import Run
from linnaea.twin.scenarios.scenario_file import format_duration


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A run with the look of its lines."""

    run: Run
    label: str = ""
    "name of its lines; empty: the name of the species"
    colour: str = BLUE
    line_style: str = "solid"


def describe_bands(run: Run) -> str:
    """A sentence that explains lines and bands."""
    n = len(run.members)
    if n == 1:
        return "A single run; another seed would give other numbers."
    return f"Median and 5 to 95 % of {n} members."


def draw_populations(run_lines: Sequence[RunLine]) -> str:
    """Numbers of each species through time, of one run or of several."""
    first = run_lines[0].run
    options = LineChartOptions(name_lines=len(run_lines) > 1, whole_numbers=True)
    charts = []
    for row, name in enumerate(first.species):
        lines = [make_run_line(one, one.run.records["counts"][:, :, row], name) for one in run_lines]
        charts.append(draw_time_series(name, first.time_y, lines, options))
    return render_figures(charts)


def make_run_line(one: RunLine, values_mk: np.ndarray, name: str):
    """The line of a run's values [m, k]."""
    several = len(one.run.members) > 1
    bands = compute_bands(values_mk)
    return make_line(one.label or name, bands, several=several, colour=one.colour, line_style=one.line_style)


def sort_by_number(run: Run, limit: int) -> list[int]:
    """Rows of the species, the most numerous first; species that were never there are left out."""
    mean = run.records["counts"].mean((0, 1))
    return [int(row) for row in np.argsort(-mean, kind="stable") if mean[row] > 0][:limit]


def measure_ground_km(run: Run) -> tuple[float, float]:
    """Width and height of the ground of the run, km."""
    side = run.plan.area_share**0.5
    return run.data.ground.width_km * side, run.data.ground.height_km * side


def measure_cell_km2(run: Run, shape: tuple[int, ...]) -> float:
    """Area of a cell of maps of `shape` [..., R, C], km²."""
    width, height = measure_ground_km(run)
    return width * height / (shape[-1] * shape[-2])


def read_scenario_text(run: Run) -> str:
    """The description in the scenario's file; "" without a scenario."""
    if not run.plan.scenario:
        return ""
    from linnaea.twin.scenarios.scenario_file import read_scenario

    return read_scenario(run.run_dir / run.plan.scenario).description


def format_record_interval(run: Run) -> str:
    """Time between two records: "6 h", "day", "30.4 days"."""
    if run.plan.every_h < 24:
        return f"{run.plan.every_h:g} h"
    days = run.plan.every_h / 24
    return "day" if days == 1 else f"{days:.3g} days"


def render_unverified(names: Iterable[str]) -> str:
    """The section that lists the values without a source."""
    names = list(names)
    listed = ", ".join(escape(name) for name in names)
    return (
        "<section><h2>What was never checked</h2>"
        f"<p>{len(names):,} values of this world have no source that was read: they are general knowledge, or computed "
        "from body mass. An interval shows how far chance moves the model's answer; it does not include the error of "
        "these values.</p>"
        f"<details><summary>list them</summary><p class=soft>{listed}</p></details></section>"
    )


def render_provenance(run: Run) -> str:
    """The section that says how to make the run again."""
    plan, (width, height) = run.plan, measure_ground_km(run)
    size = f"{width:.3g} × {height:.3g} km"
    facts = {
        "world": plan.world,
        "length": format_duration(plan.hours) + ("" if run.whole else f", not reached ({format_duration(run.hours)})"),
        "seed": str(plan.seed),
        "members": f"{len(run.members)} of {plan.members}",
        "area": f"{plan.area_share:g} of the world's ({size})" if plan.area_share != 1 else size,
        "step": f"{run.data.ground.dt_h:g} h",
        "records": f"every {format_record_interval(run)}",
    }
    facts |= {name: f"{value:g}" for name, value in plan.settings if name != "ground.dt_h"}
    failed = "".join(f"<p>Member {member + 1} failed: {escape(reason)}</p>" for member, reason in run.failures.items())
    listed = "; ".join(f"{name} {escape(value)}" for name, value in facts.items())
    content = (run.run_dir / plan.scenario).read_text("utf-8") if plan.scenario else ""
    scenario = (
        f"<details><summary>{escape(plan.scenario)}</summary><pre>{escape(content)}</pre></details>" if content else ""
    )
    return f"<section><h2>How it was made: {escape(run.title)}</h2><p>{listed}.</p>{failed}{scenario}</section>"
