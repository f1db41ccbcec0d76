"""Fit wolves and moose of Isle Royale to 1959–1995, forecast 1996–2019, and score against a random walk.

    python benchmarks/validation/isle_royale.py --counts FILE

FILE is a table with the columns year, wolves, moose and predation rate below one line of headings. The script reads it
in its place; no part of it is in the project. The model is the program's mean-field system as a yearly map: moose with
logistic growth, wolves that eat them with saturation and interference, noise on both. The parameters are the mode of
their posterior for 1959–1995 (from the yearly changes of the counts and from the predation rates); the forecast draws
them around that mode. The random walk is that of the logarithms, without drift; its step comes from the same years.
Both start from the counts of 1995 and see no later data. Priors and structure were written down before the forecast was
first scored.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]

from hardware import describe_hardware, show_command, write_result
from linnaea.twin.inference.forecast_scores import coverage, crps
from linnaea.twin.meanfield.equations import Rates, compute_per_capita_rates, iterate
from linnaea.twin.meanfield.model import Link, MeanFieldModel, Node

COUNTS = HERE.parents[2] / "shared/data/ecology/isle_royale_wolf_moose.csv"
LAST_FITTED = 1995
# Median and s.d. of the logarithm. The rates come from general knowledge of large herbivores and wolves; they are wide
# enough to be wrong.
PRIORS = {
    "growth": (0.25, 0.5),
    "capacity": (2500.0, 0.7),
    "attack": (0.01, 1.0),
    "handling": (0.1, 1.0),
    "interference": (0.1, 1.0),
    "efficiency": (0.05, 1.0),
    "loss": (0.3, 0.7),
    "moose_noise": (0.1, 0.7),
    "wolf_noise": (0.3, 0.7),
    "kill_error": (0.4, 0.7),
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The table: years [t], animals [2, t] (moose, wolves), and kills per wolf and year [t], NaN where unknown."""

    year_t: np.ndarray
    animals_2t: np.ndarray
    kills_t: np.ndarray

    def until(self, last: int) -> Counts:
        """Return the years up to and including `last`."""
        keep = self.year_t <= last
        return Counts(year_t=self.year_t[keep], animals_2t=self.animals_2t[:, keep], kills_t=self.kills_t[keep])


def read_counts(path: Path) -> Counts:
    """Read the counts of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no counts; give --counts FILE with year, wolves, moose, predation rate")
    with path.open(encoding="utf-8-sig") as file:
        next(file)
        rows = [row for row in csv.DictReader(file) if (row["year"] or "").isdigit()]

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.nan

    wolves, moose, share = (
        np.array([number(row[key]) for row in rows]) for key in ("wolves", "moose", "predation rate")
    )
    return Counts(
        year_t=np.array([int(row["year"]) for row in rows]),
        animals_2t=np.array([moose, wolves]),
        kills_t=share * moose / wolves,
    )


def make_model(value: dict[str, float], moose: float = 0.0, wolves: float = 0.0, noisy: bool = True) -> MeanFieldModel:
    """Return the island as a yearly map, in animals."""
    share = 1.0 if noisy else 0.0
    link = Link(
        predator="wolf",
        prey="moose",
        attack=value["attack"],
        handling=value["handling"],
        efficiency=min(value["efficiency"], 1.0),
    )
    nodes = (
        Node(
            name="moose",
            start=moose,
            growth=value["growth"],
            capacity=value["capacity"],
            noise=share * value["moose_noise"],
        ),
        Node(
            name="wolf",
            start=wolves,
            metabolism=value["loss"],
            interference=value["interference"],
            noise=share * value["wolf_noise"],
        ),
    )
    return MeanFieldModel(nodes=nodes, links=(link,), extinct_below=0.5, time_unit="y", density_unit="animals")


def misfit(log_value: np.ndarray, counts: Counts) -> float:
    """Return minus the logarithm of the posterior, from the parameters' logarithms in the order of `PRIORS`."""
    with np.errstate(over="ignore"):
        value = dict(zip(PRIORS, np.exp(log_value), strict=True))
    if not all(1e-12 < one < 1e12 for one in value.values()):
        return 1e12
    rates = Rates(make_model(value))
    change_2t = np.diff(np.log(counts.animals_2t), axis=1)
    rest_2t = change_2t - compute_per_capita_rates(rates, counts.animals_2t[:, :-1])
    total = 0.0
    for rest_t, noise in zip(rest_2t, (value["moose_noise"], value["wolf_noise"]), strict=True):
        total += 0.5 * float((rest_t / noise) @ (rest_t / noise)) + len(rest_t) * math.log(noise)
    kills_t = rates.compute_feeding(counts.animals_2t)[0] / counts.animals_2t[1]
    known = np.isfinite(counts.kills_t)
    rest_t = np.log(counts.kills_t[known] / kills_t[known]) / value["kill_error"]
    total += 0.5 * float(rest_t @ rest_t) + known.sum() * math.log(value["kill_error"])
    middle, wide = np.array([(math.log(median), spread) for median, spread in PRIORS.values()]).T
    return total + 0.5 * float((((log_value - middle) / wide) ** 2).sum())


def fit(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Return the mode of the parameters' logarithms [p] and their covariance [p, p] from the curvature there."""
    from scipy.optimize import minimize

    middle, wide = np.array([(math.log(median), spread) for median, spread in PRIORS.values()]).T
    rng = np.random.default_rng(0)
    starts = [middle, *(middle + 0.5 * wide * rng.normal(size=(7, len(middle))))]
    tries = [minimize(misfit, start, (counts,), method="BFGS") for start in starts]
    best = min(tries, key=lambda found: found.fun)
    found = minimize(
        misfit,
        best.x,
        (counts,),
        method="Nelder-Mead",
        options={"maxiter": 4000, "maxfev": 4000, "xatol": 1e-7, "fatol": 1e-9, "adaptive": True},
    )
    n, step = len(found.x), 1e-3
    curve = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            a, b = np.eye(n)[i] * step, np.eye(n)[j] * step
            curve[i, j] = (
                misfit(found.x + a + b, counts)
                - misfit(found.x + a - b, counts)
                - misfit(found.x - a + b, counts)
                + misfit(found.x - a - b, counts)
            ) / (4 * step**2)
    return found.x, np.linalg.inv((curve + curve.T) / 2)


def forecast(mode, covariance, animals_2, years: int, n_draws: int, n_each: int, seed: int) -> np.ndarray:
    """Return members [m, 2, years] of the model, starting from these animals."""
    rng = np.random.default_rng(seed)
    parts = []
    for draw, log_value in enumerate(rng.multivariate_normal(mode, covariance, n_draws)):
        made = make_model(dict(zip(PRIORS, np.exp(log_value), strict=True)), *map(float, animals_2))
        members = iterate(made, years, n_each, seed * 1_000_003 + draw).state_tsc[1:]
        parts.append(members.transpose(2, 1, 0))
    return np.concatenate(parts)


def walk(counts: Counts, animals_2, years: int, n_members: int, seed: int) -> np.ndarray:
    """Return members [m, 2, years] of a random walk of the logarithms with the step of the counts."""
    rng = np.random.default_rng(seed)
    step_2 = np.sqrt((np.diff(np.log(counts.animals_2t), axis=1) ** 2).mean(1))
    steps = rng.normal(size=(n_members, 2, years)) * step_2[:, None]
    return np.asarray(animals_2, float)[:, None] * np.exp(steps.cumsum(2))


def score_rows(what: str, ours, walks, truth_2t: np.ndarray) -> list[str]:
    """Return lines of a table: CRPS of model and random walk, their ratio, coverage of the 90 % intervals."""
    lines = []
    for index, name in enumerate(("moose", "wolves")):
        for unit, change in (("animals", lambda x: x), ("logarithm", lambda x: np.log(np.maximum(x, 0.5)))):
            model, naive = (float(crps(change(m[:, index]), change(truth_2t[index])).mean()) for m in (ours, walks))
            held = [coverage(members[:, index], truth_2t[index]) for members in (ours, walks)]
            lines.append(
                f"| {what} | {name}, {unit} | {model:.4g} | {naive:.4g} | {model / naive:.3f} | "
                f"{held[0]:.0%} | {held[1]:.0%} |"
            )
    return lines


def one_step(mode, covariance, counts: Counts, fitted: Counts, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return members [m, 2, t] of model and random walk a year ahead, each starting from the count before it."""
    late = np.flatnonzero(counts.year_t > LAST_FITTED)
    before = [counts.animals_2t[:, index - 1] for index in late]
    ours = [forecast(mode, covariance, animals, 1, n // 10, 10, seed + i) for i, animals in enumerate(before)]
    walks = [walk(fitted, animals, 1, n, seed + i) for i, animals in enumerate(before)]
    return np.concatenate(ours, axis=2), np.concatenate(walks, axis=2)


def main(argv: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=Path, default=COUNTS, help="table of counts")
    parser.add_argument("--draws", type=int, default=400, help="parameter draws of the forecast, with ten members each")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draws")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="folder for the result page")
    options = parser.parse_args(argv)
    counts = read_counts(options.counts)
    fitted = counts.until(LAST_FITTED)
    mode, covariance = fit(fitted)
    truth_2t = counts.animals_2t[:, counts.year_t > LAST_FITTED]
    years, first, last = truth_2t.shape[1], LAST_FITTED + 1, int(counts.year_t[-1])
    ours = forecast(mode, covariance, fitted.animals_2t[:, -1], years, options.draws, 10, options.seed)
    walks = walk(fitted, fitted.animals_2t[:, -1], years, len(ours), options.seed)
    rows = score_rows(f"{first}–{last} from {LAST_FITTED}", ours, walks, truth_2t)
    rows += score_rows("the same, without 2019", ours[:, :, :-1], walks[:, :, :-1], truth_2t[:, :-1])
    rows += score_rows(
        "a year ahead, each year", *one_step(mode, covariance, counts, fitted, 1000, options.seed), truth_2t
    )
    spread = np.sqrt(np.diag(covariance))
    lines = [
        "# Isle Royale: wolves and moose, forecast from 1995",
        "",
        f"- hardware: {describe_hardware()}",
        f"- command: `{show_command('validation/isle_royale', sys.argv[1:] if argv is None else argv)}`",
        (
            f"- counts: read from `{options.counts.name}` ({counts.year_t[0]}–{last}; wolves, moose, predation rate), "
            "a copy of the"
        ),
        "  long-term study's table; the file and its values are not part of the project",
        f"- fitted to {fitted.year_t[0]}–{LAST_FITTED} only: {fitted.animals_2t.shape[1] - 1} changes of both counts,",
        f"  {int(np.isfinite(fitted.kills_t).sum())} predation rates",
        f"- {len(ours)} members: {options.draws} draws of the parameters with ten runs each; as many random walks",
        "- 2019 follows the release of wolves from elsewhere, which no model of the island alone can know",
        "",
        "| forecast | of | CRPS, model | CRPS, random walk | ratio | 90 % interval contains, model | random walk |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "A ratio below 1 is better than the random walk.",
        "",
        "## Parameters (per year; mode, factor of one s.d., prior median, factor of its s.d.)",
        "",
        "| parameter | mode | factor | prior | factor |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {math.exp(mode[i]):.4g} | {math.exp(spread[i]):.3g} | {median:g} | {math.exp(wide):.3g} |"
            for i, (name, (median, wide)) in enumerate(PRIORS.items())
        ),
        "",
        "## Median and 90 % interval of the forecast",
        "",
        "| year | moose | wolves |",
        "| --- | --- | --- |",
    ]
    low, middle, high = np.quantile(ours, [0.05, 0.5, 0.95], axis=0)
    for t in range(0, years, 4):
        shown = [f"{middle[i, t]:.0f} ({low[i, t]:.0f}–{high[i, t]:.0f})" for i in (0, 1)]
        lines.append(f"| {first + t} | {shown[0]} | {shown[1]} |")
    write_result(options.results, "isle_royale", lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
