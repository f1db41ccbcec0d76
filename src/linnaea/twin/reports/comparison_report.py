"""The report of a comparison of a what-if with its baseline: the answer, curves, differences, numbers and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from linnaea.pages.elements import render_answer, render_figures, render_legend, render_section, render_table
from linnaea.pages.line_chart import BandedLine, LineChartOptions
from linnaea.pages.map_chart import draw_difference_map
from linnaea.pages.page import render_header, write_page
from linnaea.pages.style import BLUE, ORANGE
from linnaea.twin.reports.charts import draw_time_series
from linnaea.twin.reports.comparison_text import (
    format_amount,
    format_caveats,
    format_extinctions,
    format_interval,
    format_period,
    format_share,
)
from linnaea.twin.reports.run_sections import (
    RunLine,
    describe_bands,
    draw_populations,
    make_run_line,
    measure_cell_km2,
    measure_ground_km,
    read_scenario_text,
    render_provenance,
    render_unverified,
    sort_by_number,
)
from linnaea.twin.reports.tables import find_hosts
from linnaea.twin.runs.paired_differences import Difference, check_pair, make_difference_series
from linnaea.twin.runs.results import Run

MAX_MAPS, MAX_SENTENCES = 9, 12
TABLE_NOTE = (
    "Where there are two numbers, the baseline stands left of the arrow and the what-if right of it. The last column "
    "says in how many members a species is extinct at the end."
)
LINES = (("baseline", BLUE, "dashed"), ("what-if", ORANGE, "solid"))


def write_comparison(
    base: Run,
    whatif: Run,
    found: Mapping[str, Difference],
    last_years: float,
    level: float,
    out_dir: Path,
    notes: Sequence[str] = (),
) -> Path:
    """Write `report.html` on a what-if beside its baseline into `out_dir` and return its path.

    `found` are the differences by species at this `level` of confidence, means of the last `last_years`; `notes` are
    sentences for the end of the answer.
    """
    run_lines = [
        RunLine(run=run, label=label, colour=colour, line_style=line_style)
        for run, (label, colour, line_style) in zip((base, whatif), LINES, strict=True)
    ]
    n_pairs = len(check_pair(base, whatif))
    head = f"Mean of the {format_period(last_years)}, {n_pairs} pair{'s' * (n_pairs > 1)} of members."
    parts = [
        render_answer(head, [*format_findings(found, level), *notes]),
        render_section("Side by side", render_legend(LINES, describe_bands(base)) + draw_populations(run_lines)),
        render_section(
            "The difference",
            _draw_differences(base, whatif, level),
            f"What-if minus baseline, mean of the pairs with its {100 * level:g} % interval.",
        ),
        render_section("In numbers", _render_differences(found), " ".join([TABLE_NOTE, *format_caveats(found, level)])),
        render_section("Who was ill", _draw_ill(run_lines), "Ill animals at each record."),
        render_section(
            "Where it changed",
            _draw_difference_maps(base, whatif),
            "Animals per km², what-if minus baseline; north is up. The shade follows the difference's square root.",
        ),
        render_unverified(whatif.data.unmeasured()),
        render_provenance(base),
        render_provenance(whatif),
    ]
    title, about = f"{whatif.title}, compared with {base.title}", read_scenario_text(whatif) or whatif.data.about
    return write_page(out_dir / "report.html", title, render_header(title, about), parts)


def format_findings(found: Mapping[str, Difference], level: float) -> list[str]:
    """The answer in sentences: species that differ beyond chance or in extinctions, then a summary of the rest."""
    notable = sorted(
        (one for one in found.items() if one[1].beyond_chance or one[1].changes_gone),
        key=lambda one: (not one[1].beyond_chance, -abs(one[1].relative) if one[1].base else 0.0),
    )
    sentences = [_format_finding(name, one, level) for name, one in notable[:MAX_SENTENCES]]
    if more := len(notable) - len(sentences):
        sentences.append(f"And {more} more, see the table.")
    first, *others = format_caveats(found, level)
    if next(iter(found.values())).pairs < 2:
        return [*sentences, first]
    rest = len(found) - sum(one.beyond_chance for one in found.values())
    if rest == len(found):
        sentences.append("No species differs beyond chance in its mean number.")
        if not notable and any(one.difference for one in found.values()):
            name, nearest = min(found.items(), key=lambda one: one[1].p)
            sentences.append("Nearest to it: " + _format_finding(name, nearest, level))
    elif rest:
        numbers = "mean number does" if rest == 1 else "mean numbers do"
        sentences.append(f"Of {rest} other species the {numbers} not differ beyond chance.")
    return [*sentences, *others]


def _format_finding(name: str, one: Difference, level: float) -> str:
    """One sentence on one species: size of the difference, interval, numbers at the end."""
    size = "the same mean number"
    if one.difference:
        share = f" ({format_share(one)})" if format_share(one) else ""
        size = f"{format_amount(abs(one.difference))} {'more' if one.difference > 0 else 'fewer'}{share}"
    interval = ""
    if one.pairs > 1:
        interval = f"; {'' if one.uniform else f'{100 * level:g} % interval '}{format_interval(one)}"
    doubt = "" if one.beyond_chance or one.pairs < 2 else ", not beyond chance"
    end = f"At the end {format_amount(one.base_end)} and {format_amount(one.whatif_end)}"
    if extinct := format_extinctions(one):
        end += f", {extinct}"
    return f"{name}: {size}, {format_amount(one.base)} → {format_amount(one.whatif)}{interval}{doubt}. {end}."


def _draw_differences(base: Run, whatif: Run, level: float) -> str:
    """The mean difference of each species through time with its interval."""
    frame = make_difference_series(base, whatif, level)
    charts, n_species = [], len(base.species)
    for row, name in enumerate(base.species):
        mean, low, high = (frame[column].to_numpy()[row::n_species] for column in ("difference", "low", "high"))
        band = {"low_k": low, "high_k": high} if np.isfinite(low).all() else {}
        charts.append(
            draw_time_series(name, base.time_y, [BandedLine(name=name, middle_k=mean, colour=ORANGE, **band)])
        )
    return render_figures(charts)


def _render_differences(found: Mapping[str, Difference]) -> str:
    head = ("species", "start", "mean", "difference", "interval", "share", "beyond chance", "ends at", "extinct in")
    rows = [
        (
            name,
            format_amount(one.start),
            f"{format_amount(one.base)} → {format_amount(one.whatif)}",
            format_amount(one.difference, sign=True),
            format_interval(one),
            format_share(one),
            "yes" if one.beyond_chance else "",
            f"{format_amount(one.base_end)} → {format_amount(one.whatif_end)}",
            f"{one.base_gone} → {one.whatif_gone} of {one.pairs}" if format_extinctions(one) else "",
        )
        for name, one in found.items()
    ]
    return render_table(head, rows, ["sure" if one.beyond_chance or one.changes_gone else "" for one in found.values()])


def _draw_ill(run_lines: Sequence[RunLine]) -> str:
    """Ill animals of each host in either run."""
    first, charts = run_lines[0].run, []
    for row in sorted({row for one in run_lines for row in find_hosts(one.run)}):
        lines = [make_run_line(one, one.run.records["health"][:, :, row, 1], first.species[row]) for one in run_lines]
        charts.append(
            draw_time_series(
                first.species[row], first.time_y, lines, LineChartOptions(name_lines=True, whole_numbers=True)
            )
        )
    return render_figures(charts)


def _draw_difference_maps(base: Run, whatif: Run) -> str:
    """Maps of the differences in density; "" if the two grounds differ."""
    if base.records["map"].shape[1:] != whatif.records["map"].shape[1:]:
        return ""
    change = whatif.records["map"].mean(0) - base.records["map"].mean(0)
    change = change / measure_cell_km2(base, change.shape)
    size_km = measure_ground_km(base)
    return render_figures(
        draw_difference_map(base.species[row], change[row], size_km, "per km²")
        for row in sort_by_number(base, MAX_MAPS)
    )
