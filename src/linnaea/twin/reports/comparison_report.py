"""A what-if beside its baseline as one HTML page: the answer first, then curves, differences, numbers and maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linnaea.pages.html import (
    render_answer,
    render_figures,
    render_image,
    render_legend,
    render_scale_bar,
    render_section,
    render_table,
    render_unverified,
    write_page,
)
from linnaea.twin.reports.charts import BLUE, ORANGE, BandedLine, draw_lines, encode_difference_map, format_short
from linnaea.twin.reports.comparison_text import (
    format_amount,
    format_caveats,
    format_extinctions,
    format_interval,
    format_period,
    format_share,
)
from linnaea.twin.reports.run_report import (
    describe_bands,
    draw_populations,
    measure_cell_km2,
    measure_ground_km,
    rank_by_number,
    read_scenario_text,
    render_provenance,
)
from linnaea.twin.reports.tables import compute_bands, find_hosts
from linnaea.twin.runs.paired_differences import Difference, check_pair, make_difference_series
from linnaea.twin.runs.results import Run

MOST_MAPS, MOST_TOLD = 9, 12
ENDS = "Where there are two numbers, the baseline's stands left of the arrow; a species is gone in so many members at the end."
LINES = (("baseline", BLUE, "5 3"), ("what-if", ORANGE, ""))


def write_comparison(
    base: Run,
    whatif: Run,
    found: dict[str, Difference],
    last_years: float,
    level: float,
    out: Path,
    notes: Sequence[str] = (),
) -> Path:
    """Writes `report.html` with a what-if beside its baseline into `out`; `notes` are sentences for the end of the answer."""
    runs = [(run, *line) for run, line in zip((base, whatif), LINES, strict=True)]
    lines = render_legend(LINES, describe_bands(base))
    parts = [
        _answer(found, last_years, level, len(check_pair(base, whatif)), notes),
        render_section("Side by side", lines + draw_populations(runs)),
        render_section(
            "The difference",
            _difference_charts(base, whatif, level),
            f"What-if less baseline, mean of the pairs with its {100 * level:g} % interval.",
        ),
        render_section("In numbers", _difference_table(found), " ".join([ENDS, *format_caveats(found, level)])),
        render_section("Who was ill", _ill_charts(runs), "Ill animals at each record."),
        render_section(
            "Where it changed", _difference_maps(base, whatif), "Animals per km², what-if less baseline; north is up."
        ),
        render_unverified(whatif.data.unmeasured()),
        render_provenance(base),
        render_provenance(whatif),
    ]
    about = read_scenario_text(whatif) or whatif.data.about
    return write_page(out / "report.html", f"{whatif.title}, against {base.title}", about, parts)


def _answer(found: dict[str, Difference], last_years: float, level: float, pairs: int, notes: Sequence[str]) -> str:
    head = f"Mean of the {format_period(last_years)}, {pairs} pair{'s' * (pairs > 1)} of members."
    return render_answer(head, [*format_findings(found, level), *notes])


def format_findings(found: dict[str, Difference], level: float) -> list[str]:
    """The answer in sentences: who differs beyond chance, who is gone in more members of one run, and what is left."""
    notable = sorted(
        (one for one in found.items() if one[1].beyond_chance or one[1].changes_gone),
        key=lambda one: (not one[1].beyond_chance, -abs(one[1].relative) if one[1].base else 0.0),
    )
    said = [_sentence(name, one, level) for name, one in notable[:MOST_TOLD]]
    if more := len(notable) - len(said):
        said.append(f"And {more} more, see the table.")
    rest = len(found) - sum(one.beyond_chance for one in found.values())
    first, *others = format_caveats(found, level)
    if next(iter(found.values())).pairs < 2:
        return [*said, first]
    if rest == len(found):
        said.append("No species differs beyond chance in its mean number.")
        if not notable and any(one.difference for one in found.values()):
            said.append("Nearest to it: " + _sentence(*min(found.items(), key=lambda one: one[1].p), level))
    elif rest:
        said.append(f"Of {rest} other species no mean number differs beyond chance.")
    return [*said, *others]


def _sentence(name: str, one: Difference, level: float) -> str:
    way = "more" if one.difference > 0 else "fewer"
    part = f" ({format_share(one)})" if format_share(one) else ""
    size = f"{format_amount(abs(one.difference))} {way}{part}" if one.difference else "the same mean number"
    mean = (
        ""
        if one.pairs < 2
        else f"; {format_interval(one)}"
        if one.uniform
        else f"; {100 * level:g} % interval {format_interval(one)}"
    )
    doubt = "" if one.beyond_chance or one.pairs < 2 else ", not beyond chance"
    end = f"At the end {format_amount(one.base_end)} and {format_amount(one.whatif_end)}" + (
        f", {format_extinctions(one)}" if format_extinctions(one) else ""
    )
    return f"{name}: {size}, {format_amount(one.base)} → {format_amount(one.whatif)}{mean}{doubt}. {end}."


def _difference_charts(base: Run, whatif: Run, level: float) -> str:
    frame = make_difference_series(base, whatif, level)
    charts, s = [], len(base.species)
    for index, name in enumerate(base.species):
        mean, low, high = (frame[column].to_numpy()[index::s] for column in ("difference", "low", "high"))
        several = np.isfinite(low).all()
        curve = BandedLine(
            name=name, middle=mean, low=low if several else None, high=high if several else None, colour=ORANGE
        )
        charts.append(draw_lines(name, base.time_y, [curve]))
    return render_figures(charts)


def _difference_table(found: dict[str, Difference]) -> str:
    head = ("species", "start", "mean", "difference", "interval", "share", "beyond chance", "ends at", "gone in")
    rows = [
        (
            name,
            format_amount(one.start),
            f"{format_amount(one.base)} → {format_amount(one.whatif)}",
            format_amount(one.difference, True),
            format_interval(one),
            format_share(one),
            "yes" if one.beyond_chance else "",
            f"{format_amount(one.base_end)} → {format_amount(one.whatif_end)}",
            f"{one.base_gone} → {one.whatif_gone} of {one.pairs}" if format_extinctions(one) else "",
        )
        for name, one in found.items()
    ]
    return render_table(head, rows, ["sure" if one.beyond_chance or one.changes_gone else "" for one in found.values()])


def _ill_charts(runs: list[tuple[Run, str, str, str]]) -> str:
    charts = []
    for row in sorted({row for run, *_ in runs for row in find_hosts(run)}):
        curves = []
        for run, label, colour, dashes in runs:
            low, middle, high = compute_bands(run.records["health"][:, :, row, 1])
            several = len(run.members) > 1
            curves.append(
                BandedLine(
                    name=label,
                    middle=middle,
                    low=low if several else None,
                    high=high if several else None,
                    colour=colour,
                    dashes=dashes,
                )
            )
        charts.append(draw_lines(runs[0][0].species[row], runs[0][0].time_y, curves))
    return render_figures(charts)


def _difference_maps(base: Run, whatif: Run) -> str:
    if base.records["map"].shape[1:] != whatif.records["map"].shape[1:]:
        return ""
    change = (whatif.records["map"].mean(0) - base.records["map"].mean(0)) / measure_cell_km2(
        base, base.records["map"].shape
    )
    scale, pictures, captions = render_scale_bar(measure_ground_km(base)[0]), [], []
    for row in rank_by_number(base, MOST_MAPS):
        name, largest = base.species[row], float(np.abs(change[row]).max())
        pictures.append(
            render_image(encode_difference_map(change[row], largest), f"difference of {name}")
            + scale
            + "<div class='ramp two'>"
            f"</div><div class=ends><span>{format_short(-largest)}</span><span>0</span><span>+{format_short(largest)}</span></div>"
        )
        captions.append(name)
    return render_figures(pictures, captions)
