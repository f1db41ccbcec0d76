"""A run as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from linnaea.pages.html import (
    render_figures,
    render_image,
    render_legend,
    render_scale_bar,
    render_section,
    render_table,
    render_unverified,
    write_page,
)
from linnaea.pages.style import SCRIPT
from linnaea.twin.data.foodweb import lay_out_web
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import CAUSES
from linnaea.twin.reports.charts import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    BandedLine,
    draw_food_web,
    draw_lines,
    draw_phase_plot,
    draw_stacked_bars,
    encode_map,
    format_short,
)
from linnaea.twin.reports.tables import compute_bands, compute_flows, find_hosts, list_trait_columns
from linnaea.twin.runs.recorder import HEALTH, WEATHER
from linnaea.twin.runs.results import Run
from linnaea.twin.scenarios.scenario_file import format_duration

MOST_MAPS, MOST_LAPSES, MOST_PHASES = 9, 12, 3
WEB_NOTE = (
    "Arrows go from the eaten to the eater and are as wide as the root of the energy; higher is a higher trophic level; discs "
    "by the root of biomass. Grey links carried nothing. Of prey, bodies are counted at adult mass. Plants and dead matter stand "
    "at 1, carcasses at the mean of the animals that do not feed on them."
)
DEATH_NOTE = (
    "Background is every death that the world does not act out: accidents, cold, illnesses other than a scenario's, at the "
    "yearly survival of the species table, which is lower for the young; age is the same rate, rising, in the last quarter of the "
    "life span. A member's mean; a narrow piece says what it is when pointed at."
)
HEALTH_LINES = tuple(zip(HEALTH, (BLUE, ORANGE, GREEN, PURPLE), ("", "5 3", "2 2", "9 3"), strict=True))


IDLE_NOTE = (
    "What the scenario's file asks for, but this world cannot do: that numbers stay the same is no answer to it."
)


def write_report(run: Run, without_effect: Sequence[str] = ()) -> Path:
    """Writes `report.html` into the run's folder, with the interventions that cannot change anything named at its head."""
    parts = [
        render_section("Without effect", "".join(f"<p>{escape(line)}.</p>" for line in without_effect), IDLE_NOTE),
        render_section("Members that failed", _failed(run), describe_failures(run)),
        render_section("Numbers", draw_populations([(run, "", BLUE, "")]), describe_bands(run)),
        render_section("What became of whom", _summary_table(run)),
        render_section("Who eats whom", _web(run), WEB_NOTE),
        render_section("Time-lapse", _lapse(run), "The first member; the root of the number in a cell sets its shade."),
        render_section("Where they were", _maps(run), "Animals per km², mean over time and members; north is up."),
        render_section("One against the other", _phases(run), "Medians; the ring is the start, the disc the end."),
        render_section("Causes of death", draw_stacked_bars(_deaths(run)), DEATH_NOTE),
        render_section("Health", _health(run), _health_note(run)),
        render_section("Food and weather", _surroundings(run)),
        render_section("Heritable traits", _trait_charts(run)),
        render_unverified(run.data.unmeasured()),
        render_provenance(run),
    ]
    return write_page(run.folder / "report.html", run.title, run.data.about, parts)


def describe_failures(run: Run) -> str:
    """What the tables and the page make of members that failed, in a sentence or two; "" where none did."""
    if not run.failures:
        return ""
    failed, members = f"{len(run.failures)} of {run.plan.members}", "members" if run.plan.members > 1 else "member"
    if run.whole:
        return (
            f"{failed} {members} failed. Means, maps and bands leave them out; tables with a row for each member have them as "
            "far as they went."
        )
    return (
        f"No member reached the end: {failed} failed. Means, maps and bands are of {len(run.members)} of them, up to "
        f"{format_duration(run.hours)}; who eats whom is not known then. Tables with a row for each member go on as far as each went."
    )


def _failed(run: Run) -> str:
    """The members that failed, how far they went, and why."""
    if not run.failures:
        return ""
    rows = [
        (
            str(member + 1),
            format_duration(run.lived_h(member)) if member in run.broken else "nothing",
            "yes" if member in run.members else "no",
            reason,
        )
        for member, reason in run.failures.items()
    ]
    return render_table(("member", "written down", "in means", "reason"), rows)


def describe_bands(run: Run) -> str:
    """What lines and bands are."""
    many = len(run.members)
    return "A single run: chance alone would give others." if many == 1 else f"Median and 5 to 95 % of {many} members."


def draw_populations(runs: list[tuple[Run, str, str, str]]) -> str:
    """Numbers of each species through time, of one run or several: each with its label, colour and dashes."""
    charts = []
    for index, name in enumerate(runs[0][0].species):
        curves = []
        for run, label, colour, dashes in runs:
            low, middle, high = compute_bands(run.records["counts"][:, :, index])
            several = len(run.members) > 1
            curves.append(
                BandedLine(
                    name=label or name,
                    middle=middle,
                    low=low if several else None,
                    high=high if several else None,
                    colour=colour,
                    dashes=dashes,
                )
            )
        charts.append(draw_lines(name, runs[0][0].time_y, curves))
    return render_figures(charts)


def _summary_table(run: Run) -> str:
    counts = run.records["counts"]
    rows = []
    for index, name in enumerate(run.species):
        low, middle, high = np.quantile(counts[:, -1, index], (0.05, 0.5, 0.95))
        gone = (counts[:, -1, index] == 0).mean()
        rows.append(
            (
                name,
                f"{counts[:, 0, index].mean():,.0f}",
                f"{middle:,.0f}",
                f"{low:,.0f} to {high:,.0f}",
                f"{100 * gone:.0f} %" if gone else "",
            )
        )
    return render_table(("species", "at the start", "at the end", "5 to 95 %", "gone in"), rows)


def _health(run: Run) -> str:
    """Susceptible, ill, recovered and vaccinated animals of each host through time."""
    charts, several = [], len(run.members) > 1
    known = find_hosts(run)
    if not known:
        return ""
    there = [index for index in range(len(HEALTH)) if run.records["health"][:, :, known, index].any()]
    for row in known:
        curves = []
        for name, colour, dashes, values in ((*HEALTH_LINES[i], run.records["health"][:, :, row, i]) for i in there):
            if values.any():
                low, middle, high = compute_bands(values)
                curves.append(
                    BandedLine(
                        name=name,
                        middle=middle,
                        low=low if several else None,
                        high=high if several else None,
                        colour=colour,
                        dashes=dashes,
                    )
                )
        charts.append(draw_lines(run.species[row], run.time_y, curves))
    return render_legend(HEALTH_LINES[index] for index in there) + render_figures(charts)


def format_record_interval(run: Run) -> str:
    """Time between two records, as text: "day", "30.4 days"."""
    number = run.plan.every_h / 24
    return "day" if number == 1 else f"{number:.3g} days"


def _health_note(run: Run) -> str:
    return (
        f"Animals by state of health, a record every {format_record_interval(run)}; the recovered and the vaccinated are immune. "
        "What comes and goes between two records does not show: --every-days writes them down more often."
    )


def _web(run: Run) -> str:
    biomass = dict(zip(run.species, run.records["mass_kg"].mean((0, 1)), strict=True))
    if run.foods:
        biomass |= dict(zip(run.foods, run.records["food_kg"].mean((0, 1)), strict=True))
    found = compute_flows(run)
    return f"<figure>{draw_food_web(lay_out_web(run.data.web, found or None, biomass))}</figure>"


def rank_by_number(run: Run, most: int) -> list[int]:
    """Rows of the species, the most numerous first."""
    mean = run.records["counts"].mean((0, 1))
    return [int(row) for row in np.argsort(-mean, kind="stable") if mean[row] > 0][:most]


def measure_ground_km(run: Run) -> tuple[float, float]:
    """Width and height of the ground that was run, km."""
    side = run.plan.area_share**0.5
    return run.data.ground.width_km * side, run.data.ground.height_km * side


def measure_cell_km2(run: Run, shape: tuple[int, ...]) -> float:
    """Area of a cell of maps of this shape [..., R, C]."""
    width, height = measure_ground_km(run)
    return width * height / (shape[-1] * shape[-2])


def _maps(run: Run) -> str:
    density = run.records["map"].mean(0)
    density = density / measure_cell_km2(run, density.shape)
    scale = render_scale_bar(measure_ground_km(run)[0])
    pictures, captions = [], []
    for row in rank_by_number(run, MOST_MAPS):
        name, highest = run.species[row], float(density[row].max())
        pictures.append(
            render_image(encode_map(density[row], highest), f"map of {name}")
            + scale
            + f"<div class='ramp one'></div><div class=ends><span>0</span><span>{format_short(highest)}</span></div>"
        )
        captions.append(escape(name))
    return render_figures(pictures, captions)


def _lapse(run: Run) -> str:
    frames = run.frames.get("frames")
    if frames is None or len(frames) < 2:
        return ""
    sprites = {
        run.species[row]: encode_map(frames[:, row], float(frames[:, row].max()))
        for row in rank_by_number(run, MOST_LAPSES)
    }
    for index, name in enumerate(run.foods[:4]):
        layer = run.frames["food_frames"][:, index]
        sprites[name] = encode_map(layer, float(layer.max()))
    if not sprites:
        return ""
    rows, columns = frames.shape[2:]
    content = {
        "rows": rows,
        "columns": columns,
        "sprites": sprites,
        "years": [round(float(h) / HOURS_A_YEAR, 4) for h in run.frames["frame_h"]],
    }
    options = "".join(f"<option>{escape(name)}</option>" for name in sprites)
    # "</" would end the script.
    data = json.dumps(content).replace("</", "<\\/")
    return (
        f"<canvas id=lapse width={columns * 15} height={rows * 15} role=img aria-label='time-lapse'></canvas>"
        f"<div class=under>{render_scale_bar(measure_ground_km(run)[0])}</div><div class=player>"
        f"<button id=play type=button>Play</button><label>show <select id=who>{options}</select></label>"
        f"<input id=frame type=range min=0 max={len(frames) - 1} value=0 aria-label='moment'><output id=when></output></div>"
        "<noscript>The time-lapse needs scripts; the maps below do not.</noscript>"
        f"<script type=application/json id=lapse-data>{data}</script><script>{SCRIPT}</script>"
    )


def _phases(run: Run) -> str:
    """The strongest links between counted animals, else between them and their food."""
    middle = dict(zip(run.species, np.median(run.records["counts"], 0).T, strict=True))
    if run.foods:
        middle |= {name: values for name, values in zip(run.foods, np.median(run.records["food_kg"], 0).T, strict=True)}
    found = sorted(compute_flows(run).items(), key=lambda one: (one[0][1] not in run.species, -one[1]))
    charts = []
    for (eater, eaten), _ in found[:MOST_PHASES]:
        unit = "" if eaten in run.species else ", kg"
        charts.append(draw_phase_plot(f"{eaten}{unit}", eater, middle[eaten], middle[eater]))
    return render_figures(charts)


def _deaths(run: Run) -> dict[str, dict[str, float]]:
    years = max(run.hours / HOURS_A_YEAR, 1e-9)
    mean = run.records["died"][:, -1].mean(0) / years
    return {
        name: {cause: float(mean[i, j]) for j, cause in enumerate(CAUSES) if j and mean[i, j] > 0}
        for i, name in enumerate(run.species)
        if mean[i].sum() > 0
    }


def _surroundings(run: Run) -> str:
    charts = []
    for index, name in enumerate(run.foods):
        low, middle, high = compute_bands(run.records["food_kg"][:, :, index])
        charts.append(
            draw_lines(
                name, run.time_y, [BandedLine(name=name, middle=middle, low=low, high=high, colour=GREEN)], unit="kg"
            )
        )
    for index, (label, unit) in enumerate(WEATHER.values()):
        values = run.records["weather"][..., index]
        if np.isfinite(values).all() and np.ptp(values) > 0:
            low, middle, high = compute_bands(values)
            curve = BandedLine(name=label, middle=middle, low=low, high=high, colour=BLUE)
            charts.append(draw_lines(label, run.time_y, [curve], zero=unit != "°C", unit=unit))
    return render_figures(charts)


def _trait_charts(run: Run) -> str:
    charts = []
    for index, trait in enumerate(list_trait_columns(run)):
        if trait not in run.data.traits:
            continue
        for row, name in enumerate(run.species):
            mean, spread = (np.nanmean(run.records["traits"][:, :, row, index, part], 0) for part in (0, 1))
            if np.isfinite(mean).any() and np.nanmax(np.abs(mean)) > 0:
                curve = BandedLine(name=name, middle=mean, low=mean - spread, high=mean + spread)
                charts.append(draw_lines(f"{name}: {trait}", run.time_y, [curve], zero=False))
    return render_figures(charts)


def read_scenario_text(run: Run) -> str:
    """What the scenario's file says of itself; "" without one."""
    if not run.plan.scenario:
        return ""
    from linnaea.twin.scenarios.scenario_file import read_scenario

    return read_scenario(run.folder / run.plan.scenario).description


def render_provenance(run: Run) -> str:
    """The part that says how to make the run again."""
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
    content = (run.folder / plan.scenario).read_text("utf-8") if plan.scenario else ""
    scenario = (
        f"<details><summary>{escape(plan.scenario)}</summary><pre>{escape(content)}</pre></details>" if content else ""
    )
    return f"<section><h2>How it was made: {escape(run.title)}</h2><p>{listed}.</p>{failed}{scenario}</section>"
