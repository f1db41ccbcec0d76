"""`linnaea twin compare BASE WHATIF`: what an intervention changes, member by member, with an interval.

Member m of both runs has the same seed, so that what differs is the intervention's. The interval is Student's, of the
mean of the paired differences: it says how well the model's mean answer is known, not how true the model is.

Legend: m members, k records, s species.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

SAME = {
    "world_hash": "the world's data", "code_hash": "the program's rules", "seed": "seed", "hours": "hours of the run",
    "every_h": "hours between records", "area_share": "area",
}  # fmt: skip
"fields of a plan that two compared runs share, by what they are to a user"


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare a what-if with its baseline: differences that are the intervention's own, with intervals, and a report."""

    base: Path = field(metadata={"positional": True, "metavar": "BASE"})
    "folder of the run without the intervention"
    whatif: Path = field(metadata={"positional": True, "metavar": "WHATIF"})
    "folder of the run with it"
    last_years: float = 1.0
    "years at the end over which numbers are averaged"
    level: float = 0.9
    "of the intervals, 0 to 1"
    out: Path | None = None
    "folder for comparison.csv, differences.csv and report.html (default: WHATIF/compared)"

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"--level {self.level:g} is not between 0 and 1; 0.9 is usual")
        if not self.last_years > 0:
            raise ValueError(f"--last-years {self.last_years:g}: give a number above 0")


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

    @property
    def relative(self) -> float:
        """The difference as a share of the baseline; nan where that is 0."""
        return self.difference / self.base if self.base else float("nan")


def paired(base_m, whatif_m, level: float = 0.9) -> Difference:
    """The difference of paired values [m] with its interval at this level."""
    import numpy as np
    from scipy.stats import t

    base_m, whatif_m = np.asarray(base_m, np.float64), np.asarray(whatif_m, np.float64)
    change_m, n = whatif_m - base_m, len(base_m)
    mean = float(change_m.mean())
    spread = float(change_m.std(ddof=1)) if n > 1 else float("nan")
    half = float(t.ppf(0.5 + level / 2, n - 1)) * spread / np.sqrt(n) if n > 1 else float("nan")
    apart = float(np.sqrt(base_m.var(ddof=1) + whatif_m.var(ddof=1))) if n > 1 else float("nan")
    return Difference(
        base=float(base_m.mean()), whatif=float(whatif_m.mean()), difference=mean, low=mean - half, high=mean + half,
        unpaired_sd=apart, paired_sd=spread,
    )  # fmt: skip


def check_pair(base, whatif) -> list[int]:
    """The members that both runs have. ValueError unless they are of one world, seed, length and size."""
    for key, name in SAME.items():
        ours, theirs = getattr(base.plan, key), getattr(whatif.plan, key)
        if ours != theirs:
            raise ValueError(f"{base.folder} and {whatif.folder} differ in {name} ({ours} and {theirs}); "
                             "a comparison needs all the same but the scenario: run one of them again")  # fmt: skip
    common = sorted(set(base.members) & set(whatif.members))
    if not common:
        raise ValueError(f"{base.folder} and {whatif.folder} have no member in common; run both with the same --ensemble")
    return common


def window_means(run, members: list[int], last_years: float):
    """Each member's mean numbers over the last years: float64 [m, s]."""
    rows = [run.members.index(member) for member in members]
    late = run.time_y > run.time_y[-1] - last_years + 1e-9
    return run.records["counts"][rows][:, late].mean(1)


def compare(base, whatif, last_years: float = 1.0, level: float = 0.9) -> dict[str, Difference]:
    """The differences in mean numbers of each species over the last years."""
    members = check_pair(base, whatif)
    ours, theirs = window_means(base, members, last_years), window_means(whatif, members, last_years)
    return {name: paired(ours[:, i], theirs[:, i], level) for i, name in enumerate(base.species)}


def comparison_table(found: dict[str, Difference]):
    """The differences as a polars frame, a row a species."""
    import polars as pl

    columns = ("base", "whatif", "difference", "low", "high", "relative", "paired_sd", "unpaired_sd")
    rows = [{"species": name} | {column: getattr(one, column) for column in columns} for name, one in found.items()]
    return pl.DataFrame(rows)


def difference_series(base, whatif, level: float = 0.9):
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


def main(config: CompareConfig) -> int:
    """Compares two runs, prints the answer and writes tables and a report; exit code 0."""
    from linnaea.store import atomic_path
    from linnaea.twin.ensemble import load_run
    from linnaea.twin.report import write_comparison

    base, whatif = load_run(config.base), load_run(config.whatif)
    found = compare(base, whatif, config.last_years, config.level)
    out = config.out or config.whatif / "compared"
    out.mkdir(parents=True, exist_ok=True)
    frames = {"comparison": comparison_table(found), "differences": difference_series(base, whatif, config.level)}
    for name, frame in frames.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.write_csv(temporary)
    path = write_comparison(base, whatif, found, config.last_years, config.level, out)
    for line in lines(found, config, len(check_pair(base, whatif))):
        print(line)
    print(f"written to {out}: comparison.csv, differences.csv, {path.name}")
    return 0


def lines(found: dict[str, Difference], config: CompareConfig, members: int) -> list[str]:
    """The answer as text, a line a species."""
    width = max(map(len, found))
    what = f"{members} pairs of members, mean of the last {config.last_years:g} years, {100 * config.level:g} % intervals"
    told = [what]
    for name, one in found.items():
        sure = "" if one.low <= 0 <= one.high or one.low != one.low else "  *"
        share = "" if one.relative != one.relative else f" ({100 * one.relative:+.0f} %)"
        told.append(f"  {name:<{width}}  {one.base:>10,.1f} → {one.whatif:>10,.1f}   {one.difference:+,.1f} "
                    f"[{one.low:+,.1f}, {one.high:+,.1f}]{share}{sure}")  # fmt: skip
    return [*told, "  * the interval excludes 0"]
