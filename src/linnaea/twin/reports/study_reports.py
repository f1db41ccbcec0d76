"""Pages of the studies of a world: sensitivity, calibration, assimilation; each one HTML file that needs nothing else.

Shape suffixes: d animals, s species, m members, w spans of time, q quantiles, p parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linnaea.pages.html import (
    render_answer,
    render_figures,
    render_legend,
    render_section,
    render_table,
    render_unverified,
    write_page,
)
from linnaea.twin.assembly.parameters import get_value, grade_of
from linnaea.twin.data.world_data import WorldData
from linnaea.twin.engine.agents import HOURS_A_YEAR
from linnaea.twin.reports.charts import BLUE, GREEN, BandedLine, draw_lines, format_short
from linnaea.twin.reports.study_charts import (
    ParameterEffect,
    draw_effects,
    draw_morris_plot,
    draw_particles,
    draw_posterior,
)

if TYPE_CHECKING:
    from linnaea.twin.inference.abc_smc import Posterior
    from linnaea.twin.inference.ensemble_filter import AssimilationResult
    from linnaea.twin.inference.observation_model import Count

MOST_TOLD = 12
WIDE = 0.8
"share of the prior's width beyond which counts hardly tell a value"
TITLES = {"morris": "Morris screening", "sobol": "Sobol indices", "pawn": "PAWN indices"}
UNITS = {"morris": "animals", "sobol": "share of the variance", "pawn": "distance, 0 to 1"}
BAND = (0.05, 0.5, 0.95)


def write_sensitivity(
    folder: Path,
    data: WorldData,
    method: str,
    meaning: str,
    size: str,
    beside: str,
    rows: Sequence[Mapping],
    about: str,
) -> Path:
    """Writes `report.html` of a sensitivity study into `folder`.

    `rows` are those of sensitivity.csv; `size` and `beside` name the columns of the effect and of what stands beside it.
    """
    by_species: dict[str, list[Mapping]] = {}
    for row in rows:
        by_species.setdefault(row["species"], []).append(row)
    bars, plots = [], []
    for species, own in by_species.items():
        bars.append(draw_effects(species, [_effect(row, size, beside) for row in own], UNITS[method]))
        if method == "morris":
            plots.append(draw_morris_plot(species, [(row["parameter"], row["mu_star"], row["sigma"]) for row in own]))
    mark = "what chance alone brings in 95 % of cases" if beside == "chance" else "the 95 % interval"
    head = ("species", "parameter", "range", size, beside, "grade")
    table = [
        (
            row["species"],
            row["parameter"],
            f"{row['low']:g} to {row['high']:g}",
            format_short(row[size]),
            format_short(row[beside]),
            row["grade"],
        )
        for row in rows
    ]
    parts = [
        render_answer(about, _strongest(by_species, size, beside)),
        render_section("What moves whom", render_figures(bars, wide=True), f"{meaning}; the mark shows {mark}."),
        render_section(
            "Alone or together",
            render_figures(plots),
            "Above the line the effect of a parameter depends on the others, or is not the same over its range.",
        ),
        render_section("In numbers", render_table(head, table)),
        render_unverified(data.unmeasured()),
    ]
    return write_page(
        folder / "report.html", f"{data.name}: which values matter", f"{TITLES[method]}. {data.about}", parts
    )


def _effect(row: Mapping, size: str, beside: str) -> ParameterEffect:
    if beside == "chance":
        return ParameterEffect(name=row["parameter"], size=row[size], chance=row[beside])
    return ParameterEffect(
        name=row["parameter"], size=row[size], low=row[size] - row[beside], high=row[size] + row[beside]
    )


def _strongest(by_species: Mapping[str, Sequence[Mapping]], size: str, beside: str) -> list[str]:
    """A sentence for each species that a parameter moves beyond its uncertainty, then how many are moved by none."""
    told, still = [], 0
    for species, rows in by_species.items():
        first = max(rows, key=lambda row: row[size])
        if not first[size] > first[beside]:
            still += 1
            continue
        sign = "beside" if beside == "chance" else "±"
        told.append(
            f"{species}: most by {first['parameter']}, {size} {format_short(first[size])} {sign} {format_short(first[beside])}."
        )
    said = told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        said.append(f"And {len(told) - MOST_TOLD} more species, see below.")
    if still:
        said.append(
            f"{still} of {len(by_species)} species are moved by none of these values beyond the uncertainty of so few runs."
        )
    return said


def write_calibration(
    folder: Path, data: WorldData, ranges: Sequence[tuple[str, float, float]], posterior: Posterior, observations: str
) -> Path:
    """Writes `report.html` of a calibration into `folder`: prior and posterior of each parameter."""
    charts, rows, told = [], [], []
    band_qp = np.array([posterior.quantile(share) for share in BAND])
    for index, (name, low, high) in enumerate(ranges):
        first, middle, last = (float(value) for value in band_qp[:, index])
        present = get_value(data, name)
        charts.append(
            draw_posterior(
                name, posterior.values_np[:, index], posterior.weights_n, (low, high), (first, middle, last), present
            )
        )
        hardly = (last - first) / (0.9 * (high - low)) >= WIDE
        told.append(
            f"{name}: median {format_short(middle)}, 90 % interval {format_short(first)} to {format_short(last)}"
            + (f"; the observations hardly tell it within {low:g} to {high:g}." if hardly else ".")
        )
        now = "computed" if math.isnan(present) else f"{present:g}"
        rows.append(
            (name, now, grade_of(data, name), f"{low:g} to {high:g}", f"{middle:.4g}", f"{first:.4g} to {last:.4g}")
        )
    distances = ", ".join(f"{value:.3g}" for value in posterior.tolerances)
    about = (
        f"{posterior.simulated} simulations, {len(posterior.weights_n)} particles; fitted to {observations}. "
        f"Largest distance of each round: {distances}."
    )
    head = ("parameter", "now", "grade", "range (prior)", "median", "5 to 95 %")
    parts = [
        render_answer(
            about,
            [*told, "Fitted is not validated: whether the values hold for other counts, these counts do not say."],
        ),
        render_section(
            "What the counts say of each value",
            render_figures(charts),
            "Bars: probability after the counts, as a multiple of the even prior (dashed). Strip: 5 to 95 % with the median. "
            "Triangle: the value that the world has now.",
        ),
        render_section(
            "Together",
            render_figures(_pairs(posterior, ranges)),
            "Pairs of values that agree with the counts; larger weighs more.",
        ),
        render_section("In numbers", render_table(head, rows)),
        render_unverified(data.unmeasured()),
    ]
    return write_page(folder / "report.html", f"{data.name}: values fitted to counts", data.about, parts)


def _pairs(posterior: Posterior, ranges: Sequence[tuple[str, float, float]]) -> list[str]:
    """A plot of the particles for the three pairs of parameters that hang together most."""
    values_np, weights_n = posterior.values_np, posterior.weights_n
    found = []
    for i in range(len(ranges)):
        for j in range(i + 1, len(ranges)):
            together = np.cov(values_np[:, i], values_np[:, j], aweights=weights_n)
            spread = math.sqrt(together[0, 0] * together[1, 1])
            found.append((-abs(together[0, 1]) / spread if spread else 0.0, i, j))
    return [
        draw_particles(ranges[i], ranges[j], values_np[:, i], values_np[:, j], weights_n)
        for _, i, j in sorted(found)[:3]
    ]


def write_assimilation(
    folder: Path,
    data: WorldData,
    done: AssimilationResult,
    windows: Sequence[Sequence[Count]],
    start: str,
    notes: Sequence[str],
    parameters: Sequence[Mapping],
) -> Path:
    """Writes `report.html` of an assimilation into `folder`: densities through time with counts, and what they told.

    `start` is the time at which the survey's clock begins; `parameters` are the rows of parameters.csv.
    """
    n = len(windows)
    years_w = done.edges_h[1:] / HOURS_A_YEAR
    charts = []
    for s, name in enumerate(done.animals):
        corrected = np.concatenate([done.after_wsm[:n, s], done.before_wsm[n:, s]])
        low, middle, high = np.quantile(corrected, BAND, axis=1)
        free = np.median(done.before_wsm[:, s], axis=1)
        curves = [
            BandedLine(name=name, middle=middle, low=low, high=high, colour=BLUE),
            BandedLine(name=f"{name} before the span's counts", middle=free, colour=GREEN, dashes="2 3"),
        ]
        forecast = float(years_w[n - 1]) if len(years_w) > n else None
        charts.append(
            draw_lines(
                name, years_w, curves, unit="animals a km²", dots=_dots(name, s, done, windows), since_y=forecast
            )
        )
    last = np.quantile(done.after_wsm[n - 1], BAND, axis=1)
    ahead = np.quantile(done.before_wsm[-1], BAND, axis=1) if len(years_w) > n else None
    head = ["species", "at the last count", "5 to 95 %"] + (
        [f"{_days(done, n):g} days on", "5 to 95 %"] if ahead is not None else []
    )
    rows = []
    for s, name in enumerate(done.animals):
        row = [name, f"{last[1, s]:.4g}", f"{last[0, s]:.4g} to {last[2, s]:.4g}"]
        rows.append(
            row + ([f"{ahead[1, s]:.4g}", f"{ahead[0, s]:.4g} to {ahead[2, s]:.4g}"] if ahead is not None else [])
        )
    lines = render_legend(
        [("corrected by the counts, then the forecast", BLUE, ""), ("before the counts of its span", GREEN, "2 3")]
    )
    learned = [row for row in parameters if row["validated"] != "never"]
    factors = [
        (str(row["parameter"]), f"{row['factor']:.3g}", f"{row['factor_q05']:.3g} to {row['factor_q95']:.3g}")
        for row in learned
    ]
    surprise = f"{np.nanmean(done.surprise_w):.1f}" if np.isfinite(done.surprise_w).any() else "not known"
    told = [
        *notes,
        f"Counts differ from their forecasts {surprise} times as much as the spread allows; 1 is as expected.",
        f"{len(parameters) - len(learned)} of {len(parameters)} parameters were never validated by these observations.",
    ]
    parts = [
        render_answer(f"{n} spans of counts since {start[:10]}, {done.before_wsm.shape[2]} members.", told),
        render_section(
            "Densities through time",
            lines + render_figures(charts),
            "Median and 5 to 95 % of the members; years since the start. Dots are counts, divided by what a unit of density "
            "makes their sensors count before anything is known of their detection; a dot on the upper edge lies beyond. "
            "On grey ground there were no counts: the forecast.",
        ),
        render_section("Animals a km²", render_table(head, rows)),
        render_section(
            "What the counts told of the parameters",
            render_table(("parameter", "factor to the table", "5 to 95 %"), factors) if factors else "",
        ),
        render_unverified(data.unmeasured()),
    ]
    return write_page(folder / "report.html", f"{data.name}: numbers corrected by observations", data.about, parts)


def _days(done: AssimilationResult, n: int) -> float:
    """Days from the last count to the end of the forecast."""
    return float(done.edges_h[-1] - done.edges_h[n]) / 24


def _dots(name: str, s: int, done: AssimilationResult, windows: Sequence[Sequence[Count]]) -> list[tuple[float, float]]:
    """(year, animals a km²) that the counts under a species' own name say by themselves."""
    return [
        (float(done.edges_h[w : w + 2].mean()) / HOURS_A_YEAR, one.y / float(one.per_density_s[s]))
        for w, window in enumerate(windows)
        for one in window
        if one.name == name and one.per_density_s[s] > 0
    ]
