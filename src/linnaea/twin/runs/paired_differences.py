"""What two runs differ in, member by member: the mean of paired differences with Student's interval.

A difference is called beyond chance only when Benjamini and Hochberg's rule over all species lets it stand.

Shape suffixes: m members, k records, s species.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

SAME = {
    "world_hash": "the world's data",
    "code_hash": "the program's rules",
    "seed": "seed",
    "hours": "hours of the run",
    "every_h": "hours between records",
    "area_share": "area",
}
"fields of a plan that two compared runs share, by what they are to a user"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a quantity is in the baseline and in the what-if, and how they differ, member by member."""

    base: float
    whatif: float
    difference: float
    low: float
    "lower end of the interval of the mean difference; nan with fewer than two members"
    high: float
    "upper end"
    unpaired_sd: float
    "standard deviation that the difference would have without common random numbers"
    paired_sd: float
    "standard deviation of the members' differences"
    p: float
    "chance of a mean difference at least so large if nothing were changed; nan with fewer than two members"
    pairs: int
    "members that both runs have"
    beyond_chance: bool = False
    "whether it stands among the differences of all species"
    start: float = math.nan
    "mean number in the baseline at the start"
    base_end: float = math.nan
    "mean number in the baseline at the end"
    whatif_end: float = math.nan
    "mean number in the what-if at the end"
    base_gone: int = 0
    "members of the baseline in which the species is gone at the end"
    whatif_gone: int = 0
    "members of the what-if in which it is"

    @property
    def relative(self) -> float:
        """The difference as a share of the baseline; nan where that is 0."""
        return self.difference / self.base if self.base else float("nan")

    @property
    def uniform(self) -> bool:
        """Whether all of several pairs differ by the same, so that their spread gives no interval."""
        return self.pairs > 1 and self.paired_sd <= 1e-9 * max(1.0, abs(self.difference))

    @property
    def changes_gone(self) -> bool:
        """Whether the species is gone in more members of one run than of the other."""
        return self.base_gone != self.whatif_gone


def compare_paired(base_m, whatif_m, level: float = 0.9) -> Difference:
    """The difference of paired values [m] with its interval at this level."""
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
        # Without spread Student's t is silent or blind; that all signs agree by chance has this probability.
        p = 0.5 ** (n - 1) if mean else 1.0
    else:
        p = float(2 * t.sf(abs(mean) / (spread / np.sqrt(n)), n - 1))
    return replace(found, p=p)


def control_false_discoveries(p_s, rate: float):
    """Which of several tests stand (bool [s]) if a share of at most `rate` of those that do may be chance's.

    Benjamini and Hochberg's rule: of the k smallest of s probabilities, the largest k whose last is at most rate k / s. A
    probability that is not known (nan) never stands, and is not counted.
    """
    import numpy as np

    p_s = np.asarray(p_s, np.float64)
    known = np.isfinite(p_s)
    ordered = np.sort(p_s[known])
    stand = ordered <= rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    limit = ordered[np.flatnonzero(stand)[-1]] if stand.any() else -1.0
    return known & (np.where(known, p_s, np.inf) <= limit)


def check_pair(base, whatif) -> list[int]:
    """The members that both runs finished. ValueError unless they are two runs of one world, seed, length and size."""
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
                "a comparison needs all the same but the scenario: run one of them again"
            )
    common = sorted(set(base.members) & set(whatif.members))
    if not common:
        raise ValueError(
            f"{base.run_dir} and {whatif.run_dir} have no member in common; run both with the same --ensemble"
        )
    return common


def compute_window_means(run, members: list[int], last_years: float):
    """Each member's mean numbers over the last years: float64 [m, s]."""
    rows = [run.members.index(member) for member in members]
    late = run.time_y > run.time_y[-1] - last_years + 1e-9
    return run.records["counts"][rows][:, late].mean(1)


def compare_runs(base, whatif, last_years: float = 1.0, level: float = 0.9) -> dict[str, Difference]:
    """The differences in mean numbers of each species over the last years, and how each began and ended."""
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


def make_comparison_table(found: dict[str, Difference]):
    """The differences as a polars frame, a row a species."""
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


def make_difference_series(base, whatif, level: float = 0.9):
    """Mean difference with its interval at every record and species, as a polars frame."""
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
