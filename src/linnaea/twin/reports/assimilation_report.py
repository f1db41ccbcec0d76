"""The report of an assimilation: densities through time with the counts that corrected them.

Shape suffixes: s species, m members, w spans of time, q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linnaea.pages.elements import render_answer, render_figures, render_legend, render_section, render_table
from linnaea.pages.line_chart import BandedLine, LineChartOptions
from linnaea.pages.page import render_header, write_page
from linnaea.pages.style import BLUE, GREEN
from linnaea.twin.data.world_data import WorldData
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.reports.charts import draw_time_series
from linnaea.twin.reports.run_sections import render_unverified
from linnaea.twin.reports.tables import BAND

if TYPE_CHECKING:
    from linnaea.census.observation_model import Count
    from linnaea.twin.inference.ensemble_filter import AssimilationResult

LINES = (("corrected by the counts, then the forecast", BLUE, "solid"), ("before the span's counts", GREEN, "dotted"))
DENSITY_NOTE = (
    "Median and 5 to 95 % of the members; time since the start. Dots are counts, divided by what a unit of density "
    "makes their sensors count before anything is known about their detection; a dot on the upper edge lies beyond. "
    "The forecast stands on a grey background, where there were no counts."
)


def write_assimilation(
    out_dir: Path,
    data: WorldData,
    done: AssimilationResult,
    windows: Sequence[Sequence[Count]],
    start: str,
    notes: Sequence[str],
    parameters: Sequence[Mapping],
) -> Path:
    """Write `report.html` of an assimilation into `out_dir` and return its path.

    `windows` holds the counts of each span; `start` is the time at which the survey's clock begins; `notes` are
    sentences for the head of the answer; `parameters` are the rows of parameters.csv.
    """
    n = len(windows)
    learned = [row for row in parameters if row["validated"] != "never"]
    factors = [
        (str(row["parameter"]), f"{row['factor']:.3g}", f"{row['factor_q05']:.3g} to {row['factor_q95']:.3g}")
        for row in learned
    ]
    surprise = f"{np.nanmean(done.surprise_w):.1f}" if np.isfinite(done.surprise_w).any() else "an unknown number of"
    sentences = [
        *notes,
        f"Counts differ from their forecasts {surprise} times as much as the spread allows; 1 is as expected.",
        f"{len(parameters) - len(learned)} of {len(parameters)} parameters were never validated by these observations.",
    ]
    parts = [
        render_answer(f"{n} spans of counts since {start[:10]}, {done.before_wsm.shape[2]} members.", sentences),
        render_section(
            "Densities through time",
            render_legend(LINES) + render_figures(_draw_densities(done, windows)),
            DENSITY_NOTE,
        ),
        render_section("Animals per km²", _render_densities(done, n)),
        render_section(
            "What the counts say about the parameters",
            render_table(("parameter", "factor on the table's value", "5 to 95 %"), factors) if factors else "",
        ),
        render_unverified(data.unmeasured()),
    ]
    title = f"{data.name}: numbers corrected by observations"
    return write_page(out_dir / "report.html", title, render_header(title, data.about), parts)


def _draw_densities(done: AssimilationResult, windows: Sequence[Sequence[Count]]) -> list[str]:
    """A chart of each species: corrected densities, the forecast, and the counts."""
    n = len(windows)
    years_w = done.edges_h[1:] / HOURS_A_YEAR
    forecast_from = float(years_w[n - 1]) if len(years_w) > n else None
    charts = []
    for s, name in enumerate(done.animals):
        corrected = np.concatenate([done.after_wsm[:n, s], done.before_wsm[n:, s]])
        low, middle, high = np.quantile(corrected, BAND, axis=1)
        before = np.median(done.before_wsm[:, s], axis=1)
        (_, colour, _), (_, before_colour, dotted) = LINES
        lines = [
            BandedLine(name=name, middle_k=middle, low_k=low, high_k=high, colour=colour),
            BandedLine(
                name=f"{name} before the span's counts", middle_k=before, colour=before_colour, line_style=dotted
            ),
        ]
        options = LineChartOptions(
            y_label="animals per km²", points=_find_points(name, s, done, windows), shade_from=forecast_from
        )
        charts.append(draw_time_series(name, years_w, lines, options))
    return charts


def _render_densities(done: AssimilationResult, n: int) -> str:
    """Densities of each species at the last of `n` spans with counts and, if there is one, at the forecast's end."""
    times = [np.quantile(done.after_wsm[n - 1], BAND, axis=1)]
    head = ["species", "at the last count", "5 to 95 %"]
    if done.before_wsm.shape[0] > n:
        times.append(np.quantile(done.before_wsm[-1], BAND, axis=1))
        head += [f"{float(done.edges_h[-1] - done.edges_h[n]) / 24:g} days later", "5 to 95 %"]
    rows = []
    for s, name in enumerate(done.animals):
        row = [name]
        for low_s, middle_s, high_s in times:
            row += [f"{middle_s[s]:.4g}", f"{low_s[s]:.4g} to {high_s[s]:.4g}"]
        rows.append(row)
    return render_table(head, rows)


def _find_points(
    name: str, s: int, done: AssimilationResult, windows: Sequence[Sequence[Count]]
) -> list[tuple[float, float]]:
    """(year, animals per km²) of the counts under a species' own name, taken by themselves."""
    return [
        (float(done.edges_h[w : w + 2].mean()) / HOURS_A_YEAR, one.y / float(one.per_density_s[s]))
        for w, window in enumerate(windows)
        for one in window
        if one.name == name and one.per_density_s[s] > 0
    ]
