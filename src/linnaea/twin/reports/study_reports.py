"""Reports of sensitivity studies and calibrations, each one HTML file that needs nothing else.

Shape suffixes: q quantiles, p parameters, n particles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from linnaea.pages.chart import format_short
from linnaea.pages.elements import render_answer, render_figures, render_section, render_table
from linnaea.pages.page import render_header, write_page
from linnaea.twin.assembly.parameters import get_grade, get_value
from linnaea.twin.data.world_data import WorldData
from linnaea.twin.reports.run_sections import render_unverified
from linnaea.twin.reports.study_charts import (
    ParameterEffect,
    draw_effects,
    draw_morris_plot,
    draw_particles,
    draw_posterior,
)
from linnaea.twin.reports.tables import BAND

if TYPE_CHECKING:
    from linnaea.twin.inference.abc_smc import Posterior

MAX_SENTENCES, MAX_PAIRS = 12, 3
WIDE_SHARE = 0.8
"Share of the prior's width from which the counts hardly constrain a value."
TITLES = {"morris": "Morris screening", "sobol": "Sobol indices", "pawn": "PAWN indices"}
UNITS = {"morris": "animals", "sobol": "share of the variance", "pawn": "distance, 0 to 1"}


@dataclass(frozen=True, kw_only=True)
class EffectColumns:
    """How a method of sensitivity analysis reports an effect."""

    method: str
    "morris, sobol or pawn"
    meaning: str
    "what the effect's size means, for the report"
    size: str
    "column of the effect's size"
    beside: str
    "column of its uncertainty, or `chance`: the size that chance alone reaches"


def write_sensitivity(
    out_dir: Path, data: WorldData, columns: EffectColumns, rows: Sequence[Mapping], about: str
) -> Path:
    """Write `report.html` of a sensitivity study into `out_dir` and return its path.

    `rows` are those of sensitivity.csv.
    """
    by_species: dict[str, list[Mapping]] = {}
    for row in rows:
        by_species.setdefault(row["species"], []).append(row)
    bars, plots = [], []
    for species, own in by_species.items():
        bars.append(draw_effects(species, [_make_effect(row, columns) for row in own], UNITS[columns.method]))
        if columns.method == "morris":
            plots.append(draw_morris_plot(species, [(row["parameter"], row["mu_star"], row["sigma"]) for row in own]))
    mark = "what chance alone reaches in 95 % of cases" if columns.beside == "chance" else "the 95 % interval"
    head = ("species", "parameter", "range", columns.size, columns.beside, "grade")
    table = [
        (
            row["species"],
            row["parameter"],
            f"{row['low']:g} to {row['high']:g}",
            format_short(row[columns.size]),
            format_short(row[columns.beside]),
            row["grade"],
        )
        for row in rows
    ]
    parts = [
        render_answer(about, _format_strongest(by_species, columns)),
        render_section("What moves whom", render_figures(bars, wide=True), f"{columns.meaning}; the mark is {mark}."),
        render_section(
            "Alone or together",
            render_figures(plots),
            "Above the line the effect of a parameter depends on the others, or is not the same over its range.",
        ),
        render_section("In numbers", render_table(head, table, text_columns=(1, 5))),
        render_unverified(data.unmeasured()),
    ]
    title = f"{data.name}: which values matter"
    header = render_header(title, f"{TITLES[columns.method]}. {data.about}")
    return write_page(out_dir / "report.html", title, header, parts)


def _make_effect(row: Mapping, columns: EffectColumns) -> ParameterEffect:
    size, beside = row[columns.size], row[columns.beside]
    if columns.beside == "chance":
        return ParameterEffect(name=row["parameter"], size=size, chance=beside)
    return ParameterEffect(name=row["parameter"], size=size, low=size - beside, high=size + beside)


def _format_strongest(by_species: Mapping[str, Sequence[Mapping]], columns: EffectColumns) -> list[str]:
    """A sentence for each species that a parameter moves beyond its uncertainty, then how many no parameter moves."""
    size, beside = columns.size, columns.beside
    moved, n_still = [], 0
    for species, rows in by_species.items():
        first = max(rows, key=lambda row: row[size])
        if not first[size] > first[beside]:
            n_still += 1
            continue
        sign = "against" if beside == "chance" else "±"
        by_chance = " by chance" if beside == "chance" else ""
        effect = f"{size} {format_short(first[size])} {sign} {format_short(first[beside])}{by_chance}"
        moved.append(f"{species}: most by {first['parameter']}, {effect}.")
    sentences = moved[:MAX_SENTENCES]
    if len(moved) > MAX_SENTENCES:
        sentences.append(f"And {len(moved) - MAX_SENTENCES} more species, see below.")
    if n_still:
        sentences.append(
            f"{n_still} of {len(by_species)} species are moved by none of these values beyond the uncertainty of this "
            "number of runs."
        )
    return sentences


def write_calibration(
    out_dir: Path, data: WorldData, ranges: Sequence[tuple[str, float, float]], posterior: Posterior, observations: str
) -> Path:
    """Write `report.html` of a calibration into `out_dir` and return its path.

    `ranges` are the priors, (parameter, low, high); `observations` names what the values were fitted to.
    """
    charts, rows, sentences = [], [], []
    band_qp = np.array([posterior.quantile(share) for share in BAND])
    for index, (name, low, high) in enumerate(ranges):
        first, middle, last = (float(value) for value in band_qp[:, index])
        present = get_value(data, name)
        particles = (posterior.values_np[:, index], posterior.weights_n)
        charts.append(draw_posterior(name, particles, (low, high), (first, middle, last), present))
        is_wide = (last - first) / ((BAND[2] - BAND[0]) * (high - low)) >= WIDE_SHARE
        sentences.append(
            f"{name}: median {format_short(middle)}, 90 % interval {format_short(first)} to {format_short(last)}"
            + (f"; the observations hardly constrain it within {low:g} to {high:g}." if is_wide else ".")
        )
        now = "computed" if math.isnan(present) else f"{present:g}"
        rows.append(
            (name, now, get_grade(data, name), f"{low:g} to {high:g}", f"{middle:.4g}", f"{first:.4g} to {last:.4g}")
        )
    distances = ", ".join(f"{value:.3g}" for value in posterior.tolerances)
    about = (
        f"{posterior.simulated} simulations, {len(posterior.weights_n)} particles; fitted to {observations}. "
        f"Largest distance of each round: {distances}."
    )
    sentences.append("Fitted is not validated: these counts cannot show whether the values also hold for other counts.")
    head = ("parameter", "now", "grade", "range (prior)", "median", "5 to 95 %")
    parts = [
        render_answer(about, sentences),
        render_section(
            "What the counts say about each value",
            render_figures(charts),
            "Bars: probability after the counts, as a multiple of the uniform prior (dashed). Strip: 5 to 95 % with "
            "the median. Triangle: the present value of the world.",
        ),
        render_section(
            "Together",
            render_figures(_draw_pairs(posterior, ranges)),
            "Pairs of values that agree with the counts; a larger disc has more weight.",
        ),
        render_section("In numbers", render_table(head, rows, text_columns=[2])),
        render_unverified(data.unmeasured()),
    ]
    title = f"{data.name}: values fitted to counts"
    return write_page(out_dir / "report.html", title, render_header(title, data.about), parts)


def _draw_pairs(posterior: Posterior, ranges: Sequence[tuple[str, float, float]]) -> list[str]:
    """A plot of the particles for the pairs of parameters with the strongest correlation."""
    values_np, weights_n = posterior.values_np, posterior.weights_n
    pairs = []
    for i in range(len(ranges)):
        for j in range(i + 1, len(ranges)):
            covariance = np.cov(values_np[:, i], values_np[:, j], aweights=weights_n)
            spread = math.sqrt(covariance[0, 0] * covariance[1, 1])
            pairs.append((-abs(covariance[0, 1]) / spread if spread else 0.0, i, j))
    return [
        draw_particles(ranges[i], ranges[j], (values_np[:, i], values_np[:, j]), weights_n)
        for _, i, j in sorted(pairs)[:MAX_PAIRS]
    ]
