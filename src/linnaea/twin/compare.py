"""`linnaea twin compare BASE WHATIF`: what an intervention changes, member by member, with an interval.

Member m of both runs has the same seed, so that what differs is the intervention's. The interval is Student's, of the
mean of the paired differences: it says how well the model's mean answer is known, not how true the model is. With many
species some intervals miss 0 by chance alone; a difference is called beyond chance only when Benjamini and Hochberg's rule
over all species lets it stand.

Legend: m members, k records, s species.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

SAME = {
    "world_hash": "the world's data", "code_hash": "the program's rules", "seed": "seed", "hours": "hours of the run",
    "every_h": "hours between records", "area_share": "area",
}  # fmt: skip
"fields of a plan that two compared runs share, by what they are to a user"
FEW_PAIRS = 5
"fewer pairs tell little of the spread between members"
ONE_PAIR = "One pair of runs tells no chance from effect: run both with --ensemble 8 or more."


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
    found = Difference(
        base=float(base_m.mean()), whatif=float(whatif_m.mean()), difference=mean, low=mean - half, high=mean + half,
        unpaired_sd=apart, paired_sd=spread, p=math.nan, pairs=n,
    )  # fmt: skip
    if n < 2:
        return found
    if found.uniform:
        # Without spread Student's t is silent or blind; that all signs agree by chance has this probability.
        p = 0.5 ** (n - 1) if mean else 1.0
    else:
        p = float(2 * t.sf(abs(mean) / (spread / np.sqrt(n)), n - 1))
    return replace(found, p=p)


def beyond_chance(p_s, rate: float):
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
            raise ValueError(f"{run.folder}: no member reached its end; the first said: {next(iter(run.failures.values()))}; "
                             "look at its report, then go on with --resume")  # fmt: skip
    if base.folder.resolve() == whatif.folder.resolve():
        raise ValueError(f"{base.folder} is compared with itself; give the folders of two runs, BASE and WHATIF")
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
    """The differences in mean numbers of each species over the last years, and how each began and ended."""
    members = check_pair(base, whatif)
    ours, theirs = window_means(base, members, last_years), window_means(whatif, members, last_years)
    start_m, base_end_m, whatif_end_m = (
        run.records["counts"][[run.members.index(member) for member in members], place]
        for run, place in ((base, 0), (base, -1), (whatif, -1))
    )
    found = [paired(ours[:, i], theirs[:, i], level) for i in range(len(base.species))]
    stand = beyond_chance([one.p for one in found], 1 - level)
    return {
        name: replace(
            found[i], beyond_chance=bool(stand[i]), start=float(start_m[:, i].mean()),
            base_end=float(base_end_m[:, i].mean()), whatif_end=float(whatif_end_m[:, i].mean()),
            base_gone=int((base_end_m[:, i] == 0).sum()), whatif_gone=int((whatif_end_m[:, i] == 0).sum()),
        )
        for i, name in enumerate(base.species)
    }  # fmt: skip


def comparison_table(found: dict[str, Difference]):
    """The differences as a polars frame, a row a species."""
    import polars as pl

    columns = (
        "base", "whatif", "difference", "low", "high", "relative", "paired_sd", "unpaired_sd", "p", "beyond_chance", "start",
        "base_end", "whatif_end", "base_gone", "whatif_gone", "pairs",
    )  # fmt: skip
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
    from linnaea.twin.compare_report import write_comparison
    from linnaea.twin.finished import load_run

    base, whatif = load_run(config.base), load_run(config.whatif)
    found = compare(base, whatif, config.last_years, config.level)
    out = config.out or config.whatif / "compared"
    out.mkdir(parents=True, exist_ok=True)
    frames = {"comparison": comparison_table(found), "differences": difference_series(base, whatif, config.level)}
    for name, frame in frames.items():
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.write_csv(temporary)
    notes = without_effect(base, whatif)
    path = write_comparison(base, whatif, found, config.last_years, config.level, out, notes)
    for line in [*lines(found, config.last_years, config.level), *(f"  {note}" for note in notes)]:
        print(line)
    print(f"written to {out}: comparison.csv, differences.csv, {path.name}")
    return 0


def without_effect(*runs) -> list[str]:
    """Sentences on the interventions of these runs that could not change anything, as their manifests have them."""
    from linnaea.store import read_manifest

    return [
        f"{run.plan.scenario}: {line}."
        for run in runs
        for line in (read_manifest(run.folder) or {}).get("without_effect", ())
    ]


def amount(value: float, sign: bool = False) -> str:
    """A number of animals as answers show it: one decimal below 100, two below 1, whole above; "–" when it is not known."""
    if not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.95 or value == 0 else 2
    return f"{value:{'+' if sign and value else ''},.{digits}f}"


def share(one: Difference) -> str:
    """The difference as a share of the baseline, as text; "" where either is 0."""
    if not (one.base and one.difference):
        return ""
    percent = 100 * one.relative
    return f"{percent:+.{0 if abs(percent) >= 0.95 else 1}f} %"


def interval(one: Difference) -> str:
    """The interval as text; without a spread between the pairs, or with one pair, there is none."""
    if one.pairs < 2:
        return "–"
    if one.uniform:
        return "the same in both pairs" if one.pairs == 2 else f"the same in all {one.pairs} pairs"
    return f"{amount(one.low, True)} to {amount(one.high, True)}"


def gone(one: Difference) -> str:
    """In how many members of each run the species is gone at the end, as text; "" where it is in none."""
    if not (one.base_gone or one.whatif_gone):
        return ""
    return f"gone in {one.whatif_gone} of {one.pairs} what-ifs, {one.base_gone} of {one.pairs} baselines"


def span(last_years: float) -> str:
    """The time at the end over which numbers are averaged, as text."""
    return "last year" if last_years == 1 else f"last {last_years:g} years"


def caveats(found: Mapping[str, Difference], level: float) -> list[str]:
    """What the marks of a comparison mean, and how far they can be relied on: whole sentences."""
    pairs = next(iter(found.values())).pairs
    if pairs < 2:
        return [ONE_PAIR]
    chance, n = 1 - level, len(found)
    missing = sum(1 for one in found.values() if not (one.uniform or one.low <= 0 <= one.high))
    rule = (
        f"Beyond chance: of the differences marked so at most about {100 * chance:.0f} % are expected to be chance's (Benjamini "
        f"and Hochberg's rule over {n} species). Single {100 * level:g} % intervals miss 0 by chance alone in about "
        f"{chance * n:.1f} of {n} species; here {missing} do."
    )
    told = [rule]
    if pairs < FEW_PAIRS:
        told.append(f"{pairs} pairs are few: the spread between members is hardly known. Take 8 or more; --ensemble 8 --resume adds "
                    "to what is there.")  # fmt: skip
    return told


def lines(found: Mapping[str, Difference], last_years: float, level: float) -> list[str]:
    """The answer as text: a row a species, then what the marks mean."""
    pairs = next(iter(found.values())).pairs
    what = f"{pairs} pair{'s' * (pairs > 1)} of members, numbers as means of the {span(last_years)}, {100 * level:g} % intervals"
    head = ("", "start", "baseline", "what-if", "difference", "interval", "", "", "at the end", "")
    rows = [head]
    for name, one in found.items():
        rows.append((
            name, amount(one.start), amount(one.base), amount(one.whatif), amount(one.difference, True), interval(one),
            share(one) and f"({share(one)})", "*" if one.beyond_chance else "",
            f"{amount(one.base_end)} / {amount(one.whatif_end)}", gone(one),
        ))  # fmt: skip
    width = [max(len(row[column]) for row in rows) for column in range(len(head))]
    left = (0, 5, 7, 9)
    told = [
        "  " + "  ".join(cell.ljust(wide) if place in left else cell.rjust(wide)
                         for place, (cell, wide) in enumerate(zip(row, width, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    first, *rest = caveats(found, level)
    return [what, *told, f"  {'* ' * (pairs > 1)}{first}", *(f"  {text}" for text in rest)]
