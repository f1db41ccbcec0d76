"""A what-if beside its baseline as one HTML page: the answer first, then curves, differences, numbers and maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from linnaea.pages.html import answer, figures, html_table, image, key, scale_bar, section, unverified, write_page
from linnaea.twin.reports.charts import BLUE, ORANGE, Curve, curve_chart, difference_png, short
from linnaea.twin.reports.comparison_text import amount, caveats, gone, interval, share, span
from linnaea.twin.reports.run_report import (
    band_note,
    by_number,
    cell_km2,
    ground_km,
    made,
    population_charts,
    scenario_text,
)
from linnaea.twin.reports.tables import bands, hosts
from linnaea.twin.runs.paired_differences import Difference, check_pair, difference_series
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
    lines = key(LINES, band_note(base))
    parts = [
        _answer(found, last_years, level, len(check_pair(base, whatif)), notes),
        section("Side by side", lines + population_charts(runs)),
        section(
            "The difference",
            _difference_charts(base, whatif, level),
            f"What-if less baseline, mean of the pairs with its {100 * level:g} % interval.",
        ),
        section("In numbers", _difference_table(found), " ".join([ENDS, *caveats(found, level)])),
        section("Who was ill", _ill_charts(runs), "Ill animals at each record."),
        section(
            "Where it changed", _difference_maps(base, whatif), "Animals per km², what-if less baseline; north is up."
        ),
        unverified(whatif.data.unmeasured()),
        made(base),
        made(whatif),
    ]
    about = scenario_text(whatif) or whatif.data.about
    return write_page(out / "report.html", f"{whatif.title}, against {base.title}", about, parts)


def _answer(found: dict[str, Difference], last_years: float, level: float, pairs: int, notes: Sequence[str]) -> str:
    head = f"Mean of the {span(last_years)}, {pairs} pair{'s' * (pairs > 1)} of members."
    return answer(head, [*told(found, level), *notes])


def told(found: dict[str, Difference], level: float) -> list[str]:
    """The answer in sentences: who differs beyond chance, who is gone in more members of one run, and what is left."""
    notable = sorted(
        (one for one in found.items() if one[1].beyond_chance or one[1].changes_gone),
        key=lambda one: (not one[1].beyond_chance, -abs(one[1].relative) if one[1].base else 0.0),
    )
    said = [_sentence(name, one, level) for name, one in notable[:MOST_TOLD]]
    if more := len(notable) - len(said):
        said.append(f"And {more} more, see the table.")
    rest = len(found) - sum(one.beyond_chance for one in found.values())
    first, *others = caveats(found, level)
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
    part = f" ({share(one)})" if share(one) else ""
    size = f"{amount(abs(one.difference))} {way}{part}" if one.difference else "the same mean number"
    mean = (
        ""
        if one.pairs < 2
        else f"; {interval(one)}"
        if one.uniform
        else f"; {100 * level:g} % interval {interval(one)}"
    )
    doubt = "" if one.beyond_chance or one.pairs < 2 else ", not beyond chance"
    end = f"At the end {amount(one.base_end)} and {amount(one.whatif_end)}" + (f", {gone(one)}" if gone(one) else "")
    return f"{name}: {size}, {amount(one.base)} → {amount(one.whatif)}{mean}{doubt}. {end}."


def _difference_charts(base: Run, whatif: Run, level: float) -> str:
    frame = difference_series(base, whatif, level)
    charts, s = [], len(base.species)
    for index, name in enumerate(base.species):
        mean, low, high = (frame[column].to_numpy()[index::s] for column in ("difference", "low", "high"))
        several = np.isfinite(low).all()
        curve = Curve(
            name=name, middle=mean, low=low if several else None, high=high if several else None, colour=ORANGE
        )
        charts.append(curve_chart(name, base.time_y, [curve]))
    return figures(charts)


def _difference_table(found: dict[str, Difference]) -> str:
    head = ("species", "start", "mean", "difference", "interval", "share", "beyond chance", "ends at", "gone in")
    rows = [
        (
            name,
            amount(one.start),
            f"{amount(one.base)} → {amount(one.whatif)}",
            amount(one.difference, True),
            interval(one),
            share(one),
            "yes" if one.beyond_chance else "",
            f"{amount(one.base_end)} → {amount(one.whatif_end)}",
            f"{one.base_gone} → {one.whatif_gone} of {one.pairs}" if gone(one) else "",
        )
        for name, one in found.items()
    ]
    return html_table(head, rows, ["sure" if one.beyond_chance or one.changes_gone else "" for one in found.values()])


def _ill_charts(runs: list[tuple[Run, str, str, str]]) -> str:
    charts = []
    for row in sorted({row for run, *_ in runs for row in hosts(run)}):
        curves = []
        for run, label, colour, dashes in runs:
            low, middle, high = bands(run.records["health"][:, :, row, 1])
            several = len(run.members) > 1
            curves.append(
                Curve(
                    name=label,
                    middle=middle,
                    low=low if several else None,
                    high=high if several else None,
                    colour=colour,
                    dashes=dashes,
                )
            )
        charts.append(curve_chart(runs[0][0].species[row], runs[0][0].time_y, curves))
    return figures(charts)


def _difference_maps(base: Run, whatif: Run) -> str:
    if base.records["map"].shape[1:] != whatif.records["map"].shape[1:]:
        return ""
    change = (whatif.records["map"].mean(0) - base.records["map"].mean(0)) / cell_km2(base, base.records["map"].shape)
    scale, pictures, captions = scale_bar(ground_km(base)[0]), [], []
    for row in by_number(base, MOST_MAPS):
        name, largest = base.species[row], float(np.abs(change[row]).max())
        pictures.append(
            image(difference_png(change[row], largest), f"difference of {name}") + scale + "<div class='ramp two'>"
            f"</div><div class=ends><span>{short(-largest)}</span><span>0</span><span>+{short(largest)}</span></div>"
        )
        captions.append(name)
    return figures(pictures, captions)
