"""Differences of two runs, member by member: the mean of the paired differences with Student's interval.

A difference is called beyond chance only if it passes Benjamini and Hochberg's rule over all species (1995, Journal of
the Royal Statistical Society B 57, 289-300).

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import ArrayLike

    from linnaea.twin.runs.results import Run

SAME = {
    "world_hash": "the world's data",
    "code_hash": "the program's rules",
    "seed": "seed",
    "hours": "hours of the run",
    "every_h": "hours between records",
    "area_share": "area",
}
"fields of the plan that must be equal in two compared runs, and what a user calls them"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A quantity in the baseline and in the what-if, and how they differ, member by member."""

    base: float
    "mean of the baseline"
    whatif: float
    "mean of the what-if"
    difference: float
    "mean of the members' differences, what-if minus baseline"
    low: float
    "lower end of the interval of the mean difference; nan with fewer than two members"
    high: float
    "upper end"
    unpaired_sd: float
    "standard deviation of a difference without common random numbers"
    paired_sd: float
    "standard deviation of the members' differences"
    p: float
    "probability of a mean difference at least this large without an effect; nan with fewer than two members"
    pairs: int
    "number of members that both runs have"
    beyond_chance: bool = False
    "whether it passes the rule over the differences of all species"
    start: float = math.nan
    "mean number in the baseline at the start"
    base_end: float = math.nan
    "mean number in the baseline at the end"
    whatif_end: float = math.nan
    "mean number in the what-if at the end"
    base_gone: int = 0
    "number of members of the baseline in which the species is extinct at the end"
    whatif_gone: int = 0
    "number of members of the what-if in which it is"

    @property
    def relative(self) -> float:
        """The difference as a share of the baseline; nan if that is 0."""
        return self.difference / self.base if self.base else float("nan")

    @property
    def uniform(self) -> bool:
        """Whether several pairs all differ by the same number, so that their spread gives no interval."""
        return self.pairs > 1 and self.paired_sd <= 1e-9 * max(1.0, abs(self.difference))

    @property
    def changes_gone(self) -> bool:
        """Whether the species is extinct in more members of one run than of the other."""
        return self.base_gone != self.whatif_gone


def compare_paired(base_m: ArrayLike, whatif_m: ArrayLike, level: float = 0.9) -> Difference:
    """Return the difference of paired values [m] with its interval at this level."""
    import numpy as np
    from scipy.stats import t

    base_m, whatif_m = np.asarray(base_m, np.float64), np.asarray(whatif_m, np.float64)
    change_m, n = whatif_m - base_m, len(base_m)
    mean = float(change_m.mean())
    spread = float(change_m.std(ddof=1)) if n > 1 else float("nan")
    half = float(t.ppf(0.5 + level / 2, n - 1)) * spread / np.sqrt(n) if n > 1 else float("nan")
    apart = float(np.sqrt(base_m.var(ddof=1) + whatif_m.var(ddof=1))) if n > 1 else float("nan")
    found = Difference(
        base=float(base_m.mean()),
        whatif=float(whatif_m.mean()),
        difference=mean,
        low=mean - half,
        high=mean + half,
        unpaired_sd=apart,
        paired_sd=spread,
        p=math.nan,
        pairs=n,
    )
    if n < 2:
        return found
    if found.uniform:
        # Without spread Student's t is undefined. This is the probability that all signs agree by chance.
        p = 0.5 ** (n - 1) if mean else 1.0
    else:
        p = float(2 * t.sf(abs(mean) / (spread / np.sqrt(n)), n - 1))
    return replace(found, p=p)


def control_false_discoveries(p_s: ArrayLike, rate: float) -> np.ndarray:
    """Return which of several tests pass (bool [s]) if at most a share `rate` of those that pass may be due to chance.

    By Benjamini and Hochberg's rule the k smallest of s probabilities pass, for the largest k whose last one is at most
    rate k / s. An unknown probability (nan) never passes and is not counted.
    """
    import numpy as np

    p_s = np.asarray(p_s, np.float64)
    known = np.isfinite(p_s)
    ordered = np.sort(p_s[known])
    stand = ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    limit = ordered[np.flatnonzero(stand)[-1]] if stand.any() else -1.0
    return known & (np.where(known, p_s, np.inf) <= limit)


def check_pair(base: Run, whatif: Run) -> list[int]:
    """Return the members that both runs finished. Raise ValueError if the runs differ in more than their scenario."""
    for run in (base, whatif):
        if not run.whole:
            raise ValueError(
                f"{run.run_dir}: no member reached its end; the first said: {next(iter(run.failures.values()))}; "
                "look at its report, then continue with --resume"
            )
    if base.run_dir.resolve() == whatif.run_dir.resolve():
        raise ValueError(f"{base.run_dir} is compared with itself; give the folders of two runs, BASE and WHATIF")
    for key, name in SAME.items():
        ours, theirs = getattr(base.plan, key), getattr(whatif.plan, key)
        if ours != theirs:
            raise ValueError(
                f"{base.run_dir} and {whatif.run_dir} differ in {name} ({ours} and {theirs}); "
                "compared runs may differ in their scenario alone: run one of them again"
            )
    common = sorted(set(base.members) & set(whatif.members))
    if not common:
        raise ValueError(
            f"{base.run_dir} and {whatif.run_dir} have no member in common; run both with the same --ensemble"
        )
    return common


def compute_window_means(run: Run, members: list[int], last_years: float) -> np.ndarray:
    """Return each member's mean numbers over the last years: float64 [m, s]."""
    rows = [run.members.index(member) for member in members]
    late = run.time_y > run.time_y[-1] - last_years + 1e-9
    return run.records["counts"][rows][:, late].mean(1)


def compare_runs(base: Run, whatif: Run, last_years: float = 1.0, level: float = 0.9) -> dict[str, Difference]:
    """Return the difference in mean numbers over the last years, and the numbers at start and end, of each species."""
    members = check_pair(base, whatif)
    ours, theirs = compute_window_means(base, members, last_years), compute_window_means(whatif, members, last_years)
    start_m, base_end_m, whatif_end_m = (
        run.records["counts"][[run.members.index(member) for member in members], place]
        for run, place in ((base, 0), (base, -1), (whatif, -1))
    )
    found = [compare_paired(ours[:, i], theirs[:, i], level) for i in range(len(base.species))]
    stand = control_false_discoveries([one.p for one in found], 1 - level)
    return {
        name: replace(
            found[i],
            beyond_chance=bool(stand[i]),
            start=float(start_m[:, i].mean()),
            base_end=float(base_end_m[:, i].mean()),
            whatif_end=float(whatif_end_m[:, i].mean()),
            base_gone=int((base_end_m[:, i] == 0).sum()),
            whatif_gone=int((whatif_end_m[:, i] == 0).sum()),
        )
        for i, name in enumerate(base.species)
    }


def make_comparison_table(found: Mapping[str, Difference]) -> pl.DataFrame:
    """Return the differences as a polars frame with one row for each species."""
    import polars as pl

    columns = (
        "base",
        "whatif",
        "difference",
        "low",
        "high",
        "relative",
        "paired_sd",
        "unpaired_sd",
        "p",
        "beyond_chance",
        "start",
        "base_end",
        "whatif_end",
        "base_gone",
        "whatif_gone",
        "pairs",
    )
    rows = [{"species": name} | {column: getattr(one, column) for column in columns} for name, one in found.items()]
    return pl.DataFrame(rows)


def make_difference_series(base: Run, whatif: Run, level: float = 0.9) -> pl.DataFrame:
    """Return the mean difference with its interval for every record and species, as a polars frame."""
    import numpy as np
    import polars as pl
    from scipy.stats import t

    members = check_pair(base, whatif)
    rows = [[run.members.index(member) for member in members] for run in (base, whatif)]
    change = whatif.records["counts"][rows[1]].astype(np.float64) - base.records["counts"][rows[0]]
    mean, n = change.mean(0), len(members)
    half = np.full_like(mean, np.nan)
    if n > 1:
        half = float(t.ppf(0.5 + level / 2, n - 1)) * change.std(0, ddof=1) / np.sqrt(n)
    k, s = mean.shape
    return pl.DataFrame(
        {
            "year": np.repeat(base.time_y[:k], s),
            "species": list(base.species) * k,
            "difference": mean.ravel(),
            "low": (mean - half).ravel(),
            "high": (mean + half).ravel(),
        }
    )
