"""The report of one run: an HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from linnaea.pages.bar_chart import draw_stacked_bars
from linnaea.pages.elements import (
    render_figures,
    render_legend,
    render_scale_bar,
    render_section,
    render_table,
    render_wide_figure,
)
from linnaea.pages.line_chart import BandedLine, LineChartOptions
from linnaea.pages.map_chart import draw_map, encode_frames
from linnaea.pages.page import render_header, write_page
from linnaea.pages.style import BLUE, GREEN, ORANGE, PURPLE
from linnaea.pages.time_lapse import render_time_lapse
from linnaea.twin.data.foodweb import lay_out_web
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.engine.world import CAUSES
from linnaea.twin.reports.charts import draw_phase_plot, draw_time_series, make_line
from linnaea.twin.reports.food_web_chart import draw_food_web
from linnaea.twin.reports.run_sections import (
    RunLine,
    describe_bands,
    draw_populations,
    format_record_interval,
    measure_cell_km2,
    measure_ground_km,
    render_provenance,
    render_unverified,
    sort_by_number,
)
from linnaea.twin.reports.tables import compute_bands, compute_flows, find_hosts, list_trait_columns
from linnaea.twin.runs.recorder import HEALTH, WEATHER
from linnaea.twin.runs.results import Run
from linnaea.twin.scenarios.scenario_file import format_duration

MAX_MAPS, MAX_LAPSES, MAX_FOOD_LAPSES, MAX_PHASES = 9, 12, 4, 3
WEB_NOTE = (
    "Lines go from the eaten to the eater. Their width is the square root of the energy flow; grey links carried "
    "nothing. Higher means a higher trophic level; plants and dead matter stand at 1, carcasses at the mean of the "
    "animals that do not feed on them. A disc grows with the square root of biomass. Killed prey counts at adult body "
    "mass."
)
DEATH_NOTE = (
    "Mean of the members. Background covers all deaths that the world does not simulate (accidents, cold, illnesses "
    "other than a scenario's) at the yearly survival of the species table, which is lower for the young. Age is the "
    "same rate, which rises in the last quarter of the life span. Point at a narrow part to read its name."
)
NO_EFFECT_NOTE = (
    "The scenario's file asks for this, but this world cannot do it. Numbers that stay the same are no answer to it."
)
MAP_NOTE = (
    "Animals per km², mean over time and members; north is up. The shade follows the square root of the density, so "
    "that low densities stay visible."
)
HEALTH_LINES = tuple(zip(HEALTH, (BLUE, ORANGE, GREEN, PURPLE), ("solid", "dashed", "dotted", "dashed"), strict=True))


def write_report(run: Run, without_effect: Sequence[str] = ()) -> Path:
    """Write `report.html` into the run's folder and return its path.

    `without_effect` names the interventions that cannot change anything; they stand at the head of the report.
    """
    parts = [
        render_section("Without effect", "".join(f"<p>{escape(line)}.</p>" for line in without_effect), NO_EFFECT_NOTE),
        render_section("Members that failed", _render_failures(run), describe_failures(run)),
        render_section("Numbers", draw_populations([RunLine(run=run)]), describe_bands(run)),
        render_section("What became of each species", _render_summary(run)),
        render_section("Who eats whom", _render_food_web(run), WEB_NOTE),
        render_section("Time-lapse", _render_time_lapse(run), "The first member; the shade follows the square root."),
        render_section("Where they were", _render_maps(run), MAP_NOTE),
        render_section(
            "One against the other", _render_phases(run), "Medians; the ring is the start, the disc the end."
        ),
        render_section("Causes of death", _render_deaths(run), DEATH_NOTE),
        render_section("Health", _render_health(run), _describe_health(run)),
        render_section("Food and weather", _render_surroundings(run)),
        render_section("Heritable traits", _render_traits(run), "Mean and standard deviation over the animals."),
        render_unverified(run.data.unmeasured()),
        render_provenance(run),
    ]
    return write_page(run.run_dir / "report.html", run.title, render_header(run.title, run.data.about), parts)


def describe_failures(run: Run) -> str:
    """One or two sentences on how tables and charts treat members that failed; "" if none did."""
    if not run.failures:
        return ""
    failed = f"{len(run.failures)} of {run.plan.members}"
    if run.whole:
        return (
            f"{failed} members failed. Means, maps and bands leave them out. Tables with a row for each member hold "
            "what they reached."
        )
    return (
        f"No member reached the end: {failed} failed. Means, maps and bands are of {len(run.members)} of them, up to "
        f"{format_duration(run.hours)}; energy flows are then not known. Tables with a row for each member hold what "
        "each reached."
    )


def _render_failures(run: Run) -> str:
    """The members that failed, how far they came, and why."""
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
    return render_table(("member", "recorded", "in means", "reason"), rows, text_columns=[3])


def _render_summary(run: Run) -> str:
    counts = run.records["counts"]
    rows = []
    for row, name in enumerate(run.species):
        low, middle, high = np.quantile(counts[:, -1, row], (0.05, 0.5, 0.95))
        gone = (counts[:, -1, row] == 0).mean()
        rows.append(
            (
                name,
                f"{counts[:, 0, row].mean():,.0f}",
                f"{middle:,.0f}",
                f"{low:,.0f} to {high:,.0f}",
                f"{100 * gone:.0f} %" if gone else "",
            )
        )
    return render_table(("species", "at the start", "at the end", "5 to 95 %", "extinct in"), rows)


def _render_food_web(run: Run) -> str:
    biomass = dict(zip(run.species, run.records["mass_kg"].mean((0, 1)), strict=True))
    if run.foods:
        biomass |= dict(zip(run.foods, run.records["food_kg"].mean((0, 1)), strict=True))
    flows = compute_flows(run)
    return render_wide_figure(draw_food_web(lay_out_web(run.data.web, flows or None, biomass)))


def _render_time_lapse(run: Run) -> str:
    frames = run.frames.get("frames")
    if frames is None or len(frames) < 2:
        return ""
    sprites = {
        run.species[row]: encode_frames(frames[:, row], float(frames[:, row].max()))
        for row in sort_by_number(run, MAX_LAPSES)
    }
    for index, name in enumerate(run.foods[:MAX_FOOD_LAPSES]):
        layer = run.frames["food_frames"][:, index]
        sprites[name] = encode_frames(layer, float(layer.max()))
    if not sprites:
        return ""
    years = [round(float(hour) / HOURS_A_YEAR, 4) for hour in run.frames["frame_h"]]
    return render_time_lapse(sprites, frames.shape[2:], years, render_scale_bar(measure_ground_km(run)[0]))


def _render_maps(run: Run) -> str:
    density = run.records["map"].mean(0)
    density = density / measure_cell_km2(run, density.shape)
    size_km = measure_ground_km(run)
    return render_figures(
        draw_map(run.species[row], density[row], size_km, "per km²") for row in sort_by_number(run, MAX_MAPS)
    )


def _render_phases(run: Run) -> str:
    """The strongest links between counted animals, else between animals and their food."""
    middle = dict(zip(run.species, np.median(run.records["counts"], 0).T, strict=True))
    if run.foods:
        middle |= dict(zip(run.foods, np.median(run.records["food_kg"], 0).T, strict=True))
    links = sorted(compute_flows(run).items(), key=lambda link: (link[0][1] not in run.species, -link[1]))
    charts = []
    for (eater, eaten), _ in links[:MAX_PHASES]:
        unit = "" if eaten in run.species else ", kg"
        charts.append(draw_phase_plot(f"{eaten}{unit}", eater, middle[eaten], middle[eater]))
    return render_figures(charts)


def _render_deaths(run: Run) -> str:
    years = max(run.hours / HOURS_A_YEAR, 1e-9)
    mean = run.records["died"][:, -1].mean(0) / years
    deaths = {
        name: {cause: float(mean[i, j]) for j, cause in enumerate(CAUSES) if j and mean[i, j] > 0}
        for i, name in enumerate(run.species)
        if mean[i].sum() > 0
    }
    return render_wide_figure(draw_stacked_bars("deaths by cause", deaths, "a year"))


def _render_health(run: Run) -> str:
    """Susceptible, ill, recovered and vaccinated animals of each host through time."""
    hosts, several = find_hosts(run), len(run.members) > 1
    if not hosts:
        return ""
    present = [index for index in range(len(HEALTH)) if run.records["health"][:, :, hosts, index].any()]
    options = LineChartOptions(name_lines=True, whole_numbers=True)
    charts = []
    for row in hosts:
        lines = []
        for index in present:
            values = run.records["health"][:, :, row, index]
            if values.any():
                name, colour, line_style = HEALTH_LINES[index]
                bands = compute_bands(values)
                lines.append(make_line(name, bands, several=several, colour=colour, line_style=line_style))
        charts.append(draw_time_series(run.species[row], run.time_y, lines, options))
    return render_legend(HEALTH_LINES[index] for index in present) + render_figures(charts)


def _describe_health(run: Run) -> str:
    return (
        f"Animals by state of health, recorded every {format_record_interval(run)}; the recovered and the vaccinated "
        "are immune. What starts and ends between two records does not show; --every-days records more often."
    )


def _render_surroundings(run: Run) -> str:
    charts = []
    for index, name in enumerate(run.foods):
        line = make_line(name, compute_bands(run.records["food_kg"][:, :, index]), several=True, colour=GREEN)
        charts.append(draw_time_series(name, run.time_y, [line], LineChartOptions(y_label="kg")))
    for index, (label, unit) in enumerate(WEATHER.values()):
        values = run.records["weather"][..., index]
        if np.isfinite(values).all() and np.ptp(values) > 0:
            line = make_line(label, compute_bands(values), several=True)
            options = LineChartOptions(y_label=unit, from_zero=unit != "°C")
            charts.append(draw_time_series(label, run.time_y, [line], options))
    return render_figures(charts)


def _render_traits(run: Run) -> str:
    charts = []
    for index, trait in enumerate(list_trait_columns(run)):
        if trait not in run.data.traits:
            continue
        for row, name in enumerate(run.species):
            mean, sd = (np.nanmean(run.records["traits"][:, :, row, index, part], 0) for part in (0, 1))
            if np.isfinite(mean).any() and np.nanmax(np.abs(mean)) > 0:
                line = BandedLine(name=name, middle_k=mean, low_k=mean - sd, high_k=mean + sd)
                charts.append(
                    draw_time_series(f"{name}: {trait}", run.time_y, [line], LineChartOptions(from_zero=False))
                )
    return render_figures(charts)
