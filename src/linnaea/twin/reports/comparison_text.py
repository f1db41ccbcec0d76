"""The answer of a comparison in words and numbers, for the terminal and for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from linnaea.terminal import format_table
from linnaea.twin.runs.paired_differences import Difference

FEW_PAIRS = 5
"Fewer pairs than this say little about the spread between members."

ONE_PAIR = "One pair of runs cannot separate an effect from chance: run both with --ensemble 8 or more."


def format_amount(value: float, sign: bool = False) -> str:
    """A number of animals: one decimal below 100, two below 1, whole above; "–" if it is not known."""
    if not math.isfinite(value):
        return "–"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.95 or value == 0 else 2
    return f"{value:{'+' if sign and value else ''},.{digits}f}"


def format_share(one: Difference) -> str:
    """The difference as a percentage of the baseline; "" if either is 0."""
    if not (one.base and one.difference):
        return ""
    percent = 100 * one.relative
    return f"{percent:+.{0 if abs(percent) >= 0.95 else 1}f} %"


def format_interval(one: Difference) -> str:
    """The interval as text; in words if the pairs have no spread, "–" for a single pair."""
    if one.pairs < 2:
        return "–"
    if one.uniform:
        return "the same in both pairs" if one.pairs == 2 else f"the same in all {one.pairs} pairs"
    return f"{format_amount(one.low, True)} to {format_amount(one.high, True)}"


def format_extinctions(one: Difference) -> str:
    """In how many members of each run the species is extinct at the end; "" if in none."""
    if not (one.base_gone or one.whatif_gone):
        return ""
    return f"extinct in {one.whatif_gone} of {one.pairs} what-ifs, {one.base_gone} of {one.pairs} baselines"


def format_period(last_years: float) -> str:
    """The time at the end over which numbers are averaged: "last year", "last 2 years"."""
    return "last year" if last_years == 1 else f"last {last_years:g} years"


def format_caveats(found: Mapping[str, Difference], level: float) -> list[str]:
    """Sentences that say what the marks of a comparison mean and how far they can be relied on."""
    pairs = next(iter(found.values())).pairs
    if pairs < 2:
        return [ONE_PAIR]
    chance, n = 1 - level, len(found)
    missing = sum(1 for one in found.values() if not (one.uniform or one.low <= 0 <= one.high))
    rule = (
        f"Beyond chance: of the differences marked in this way, at most about {100 * chance:.0f} % are expected to be "
        f"due to chance (rule of Benjamini and Hochberg over {n} species). By chance alone, single {100 * level:g} % "
        f"intervals miss 0 in about {chance * n:.1f} of {n} species; here {missing} do."
    )
    caveats = [rule]
    if pairs < FEW_PAIRS:
        caveats.append(
            f"{pairs} pairs are few: the spread between members is hardly known. Use 8 or more; --ensemble 8 --resume "
            "adds to the existing runs."
        )
    return caveats


def format_comparison(found: Mapping[str, Difference], last_years: float, level: float) -> list[str]:
    """The answer as lines of text: one row for each species, then what the marks mean."""
    pairs = next(iter(found.values())).pairs
    title = (
        f"{pairs} pair{'s' * (pairs > 1)} of members, numbers as means of the {format_period(last_years)}, "
        f"{100 * level:g} % intervals"
    )
    head = ("", "start", "baseline", "what-if", "difference", "interval", "", "", "at the end", "")
    rows = [
        (
            name,
            format_amount(one.start),
            format_amount(one.base),
            format_amount(one.whatif),
            format_amount(one.difference, sign=True),
            format_interval(one),
            format_share(one) and f"({format_share(one)})",
            "*" if one.beyond_chance else "",
            f"{format_amount(one.base_end)} / {format_amount(one.whatif_end)}",
            format_extinctions(one),
        )
        for name, one in found.items()
    ]
    table = format_table(head, rows, justify="lrrrrlrlrl", indent=2)
    first, *rest = format_caveats(found, level)
    return [title, *table, f"  {'* ' * (pairs > 1)}{first}", *(f"  {text}" for text in rest)]
